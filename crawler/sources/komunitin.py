"""Komunitin's social interface (JSON:API): a group's offers and needs, page by page.

An address is that of one group, `https://host/GROUP`; that of the whole interface, `https://host`,
names its groups, which are discovered and not read.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError
from commons.fetch import Door
from commons.json_reading import read_json
from crawler.origins import may_come
from crawler.peers import PeerKind
from crawler.sources import Batch, Lead, wording
from crawler.terms import Document, first_id, get, moment, objects, origin, same_origin, text, texts
from crawler.vocabulary import Found
from marketplace.categories import categories as shared_categories
from marketplace.categories import term_of
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision
from marketplace.prices import read_amount, read_price

ACCEPT: Final = "application/vnd.api+json, application/json"

_TYPES: Final = {"offers": ListingType.OFFER, "needs": ListingType.WANT}
_INCLUDE: Final = urlencode({"include": "category,member"})
_PARTS_FETCHED_MOST: Final = 60
# A string, or a comma after which an array or an object ends; strings are taken whole, even one
# that does not end, so that none is gone through twice.
_TRAILING: Final = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*+[}\]])', re.DOTALL)
_PUBLIC: Final = "public"
_GROUPS_OWN: Final = {PaymentMeans.TIME, PaymentMeans.UNSPECIFIED}
_WITHHELD: Final = {401, 403}
_POINT: Final = 2
_IN_QUERY: Final = "%/:?@!$&'()*+,;=~-._"
_LONGEST_ADDRESS: Final = 2_000  # with the collection's name before it, it is what a peer keeps

Key = tuple[str, str]
Resources = dict[Key, Document]


@dataclass(frozen=True)
class _Part:
    """Where one of a listing's related resources is: its type and id, and its address."""

    key: Key
    address: str


class Komunitin:
    """Reads a group, or which groups there are."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return one page; the cursor is the collection's name and the page's address."""
        address = address.rstrip("/")
        is_whole = not urlsplit(address).path.strip("/")
        collection, _, page_url = (cursor or "").partition(" ")
        collection = collection or ("groups" if is_whole else "offers")
        page_url = page_url or f"{address}/{collection}" + ("" if is_whole else f"?{_INCLUDE}")
        document = await _fetch(door, page_url)
        following = _following(document, page_url)
        if is_whole:
            leads, refused = read_groups(document, address)
            going_on = f"groups {following}" if following else None
            return Batch((), tuple(refused), going_on, leads=tuple(leads))
        if following:
            going_on = f"{collection} {following}"
        else:
            going_on = f"needs {address}/needs?{_INCLUDE}" if collection == "offers" else None
        more = await _related(door, document, address, collection)
        found, refused = await asyncio.to_thread(read_page, document, address, collection, more)
        return Batch(tuple(found), tuple(refused), going_on)


def read_tolerantly(body: bytes) -> Document:
    """Read a JSON object as strictly as any, but for commas before the end of a list or object.

    Raises MalformedError.
    """
    try:
        plain = _TRAILING.sub(r"\1", body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MalformedError("this is no JSON in UTF-8") from error
    document = read_json(plain.encode())
    if not isinstance(document, dict):
        raise MalformedError("a document of JSON:API is an object")
    return document


def read_page(
    document: Document, address: str, collection: str = "offers", more: Resources | None = None
) -> tuple[list[Found], list[tuple[str, str]]]:
    """Return the public listings of a page, and which were refused (URI and reason).

    `more` are related resources that are not included. What is hidden leaves no word behind.
    Raises MalformedError where it is no page of JSON:API.
    """
    related = {**(more or {}), **_included(document)}
    found: dict[str, Found] = {}
    refused = []
    for item in _items(document):
        if not _is_public(item):
            continue
        uri = _self(item) or f"{address}/{collection}"
        try:
            if item.get("type") != collection:
                raise InvalidError("type", f"must be {collection}")
            draft = _draft(item, address, collection, related)
            if draft is None:
                continue
            uri = draft.uri
            if uri in found:
                raise InvalidError("links", "must have a self that no other on the page has")
            found[uri] = wording.found(draft)
        except LocalPayError as error:
            refused.append((uri, error.detail))
    return list(found.values()), refused


def read_groups(document: Document, address: str) -> tuple[list[Lead], list[tuple[str, str]]]:
    """Return the public groups of the interface as what is discovered, and which were refused."""
    leads, refused = [], []
    for item in _items(document):
        if text(_attributes(item), "access") != _PUBLIC:
            continue
        code = text(_attributes(item), "code")
        uri = _self(item) or f"{address}/{quote(code, safe='')}"
        if same_origin(uri, address) and urlsplit(uri).path.strip("/"):
            leads.append(Lead(uri, PeerKind.KOMUNITIN, f"{address}/groups"))
        else:
            refused.append((f"{address}/groups", "a group must have a self of the same origin"))
    return leads, refused


async def _fetch(door: Door, url: str) -> Document:
    fetched = await door.get_text(url, accept=ACCEPT)
    if not same_origin(fetched.url, url):
        raise InvalidError("address", "must be answered by its own origin")
    return await asyncio.to_thread(read_tolerantly, fetched.body)


def _following(document: Document, page_url: str) -> str:
    """Return the next page's address, empty at the end; InvalidError where it is of another host.

    To go on without it would be to take what is missing for deleted.
    """
    told = first_id(_object(document, "links"), "next")
    if not told:
        return ""
    parts = urlsplit(_joined(page_url, told))
    # Its own links have the brackets of `page[after]` as they are, which no URL may.
    following = parts._replace(query=quote(parts.query, safe=_IN_QUERY)).geturl()
    if not same_origin(following, page_url) or len(following) > _LONGEST_ADDRESS:
        raise InvalidError("links.next", "must be of the origin of its page")
    return "" if following == page_url else following


async def _related(door: Door, document: Document, address: str, collection: str) -> Resources:
    """Fetch the categories and members that a page's public listings name and do not include.

    Whose member is not to be had has no place of its own.
    """
    included = _included(document)
    public = [item for item in _items(document) if _is_public(item)]
    parts = {part.key: part for item in public for part in _parts(item, address)}
    missing = [part for key, part in parts.items() if key not in included]
    more: Resources = {}
    for part in missing[:_PARTS_FETCHED_MOST] if collection in _TYPES else ():
        try:
            fetched = await _fetch(door, part.address)
        except FetchError as error:
            if may_come(error) and error.status not in _WITHHELD:
                raise
            continue
        more[part.key] = _object(fetched, "data")
    return more


def _parts(item: Document, address: str) -> Iterator[_Part]:
    relationships = _object(item, "relationships")
    for name, kind in (("category", "categories"), ("member", "members")):
        relation = _object(relationships, name)
        linked = first_id(_object(relation, "links"), "related")
        number = text(_object(relation, "data"), "id")
        uri = _joined(f"{address}/", linked or f"{kind}/{quote(number, safe='')}")
        if (linked or number) and same_origin(uri, address):
            yield _Part((kind, number or uri), uri)


def _draft(item: Document, address: str, collection: str, related: Resources) -> Draft | None:
    """Return a listing; None where its member is not active."""
    told = _attributes(item)
    parts = {part.key[0]: _attributes(related.get(part.key, {})) for part in _parts(item, address)}
    member = parts.get("members", {})
    if text(member, "state") not in {"", "active"}:
        return None
    place = _place(member) if text(member, "access") in {"", _PUBLIC} else None
    meta = _object(item, "meta")
    content = text(told, "content")
    return Draft(
        uri=_uri(item, address, collection),
        type=_TYPES[collection],
        title=text(told, "name") or wording.title_of(content),
        author_uri=address,
        body=content,
        categories=_categories(parts.get("categories", {})),
        image=_image(told),
        group_uri=address,
        place_name=place[0] if place else None,
        lat=place[1] if place else None,
        lon=place[2] if place else None,
        precision=Precision.CELL if place else Precision.GROUP,
        payments=_payments(text(told, "price").strip()),
        published=moment(told, "created") or moment(meta, "created"),
        updated=moment(told, "updated") or moment(meta, "updated"),
        expires_at=moment(told, "expires"),
    )


def _uri(item: Document, address: str, collection: str) -> str:
    name = text(_attributes(item), "code") or text(item, "id")
    uri = _self(item) or f"{address}/{collection}/{quote(name, safe='')}"
    if not same_origin(uri, address):
        raise InvalidError("links.self", "must be of the origin of its page")
    return uri


def _payments(price: str) -> tuple[Payment, ...]:
    """Read a price; what it counts in, where it does not say, is the group's currency.

    An hour too may be what the group's currency is called by, so it stays in words.
    """
    if not price or (amount := read_amount(price)) is not None:
        return (Payment(PaymentMeans.GROUP_DEFAULT, amount=amount if price else None),)
    told = read_price(price)
    if told and all(way.means not in _GROUPS_OWN for way in told):
        return told
    return (Payment(PaymentMeans.GROUP_DEFAULT, text=price),)


def _categories(category: Document) -> tuple[str, ...]:
    """Return a category's name, with its CPA codes where the name alone tells nothing."""
    name = text(category, "name") or text(category, "code")
    codes = [f"CPA {code.strip()}" for code in texts(category, "cpa")]
    known = (
        []
        if term_of(name) in shared_categories()
        else [code for code in codes if term_of(code) in shared_categories()]
    )
    return tuple(one for one in (name, *known) if one)


def _place(member: Document) -> tuple[str | None, float, float] | None:
    """Return where a member is, by GeoJSON's order of longitude and latitude."""
    location = _object(member, "location")
    point = get(location, "coordinates")
    is_point = (
        isinstance(point, list) and len(point) >= _POINT and text(location, "type") == "Point"
    )
    if not is_point or not all(_is_number(one) for one in point[:_POINT]):
        return None
    return text(location, "name") or None, float(point[1]), float(point[0])


def _image(told: Document) -> str | None:
    images = get(told, "images")
    named = [
        one if isinstance(one, str) else first_id({"image": one}, "image")
        for one in (images if isinstance(images, list) else [])
    ]
    return next((address for address in named if origin(address)), None)


def _items(document: Document) -> list[Document]:
    data = document.get("data")
    if not isinstance(data, list):
        raise MalformedError("no list of Komunitin: a page of JSON:API has its resources in data")
    return [item for item in data if isinstance(item, dict)]


def _included(document: Document) -> Resources:
    told = objects(document, "included")
    return {(text(one, "type"), text(one, "id")): one for one in told}


def _is_public(item: Document) -> bool:
    told = _attributes(item)
    return text(told, "access") == _PUBLIC and text(told, "state") == "published"


def _self(item: Document) -> str:
    return first_id(_object(item, "links"), "self")


def _attributes(item: Document) -> Document:
    return _object(item, "attributes")


def _object(document: Document, name: str) -> Document:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:
        return ""  # of no origin, so it is refused


def _is_number(value: Any) -> bool:  # noqa: ANN401 (JSON may be anything)
    return isinstance(value, int | float) and not isinstance(value, bool)
