"""Offers and wants read from documents of FEP-0837, bare or inside activities; pure."""

from dataclasses import dataclass
from typing import Final

from commons.errors import InvalidError
from crawler.terms import (
    Document,
    decimal_text,
    first_id,
    get,
    id_of,
    ids,
    local_name,
    moment,
    number,
    objects,
    origin,
    text,
    texts,
    types,
    values,
)
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans, is_amount, resolve
from marketplace.prices import read_amount, read_price

PURPOSES: Final = {"offer": ListingType.OFFER, "request": ListingType.WANT}
PROPOSAL_RELATION: Final = "https://w3id.org/valueflows/ont/vf#Proposal"

CARRIERS: Final = frozenset({"Create", "Update", "Announce", "Add"})
_NESTED_MOST: Final = 3  # a group's Announce of a member's Create of a Proposal
_ENDS: Final = ("hasEnd", "due", "endTime", "expires_at", "expires")
_GROUPS: Final = ("inScopeOf", "audience")
_WIKIDATA: Final = ("www.wikidata.org", "wikidata.org")
_PLURAL_UNIT: Final = "one"  # the unit of things that are counted, no currency


@dataclass(frozen=True)
class Found:
    """An offer or want, with what its document says about being indexed.

    `searchable_by` is None where nothing is said; `to` is empty where nobody is addressed.
    """

    draft: Draft
    to: tuple[str, ...] = ()
    searchable_by: tuple[str, ...] | None = None
    noindex: bool = False


def read(document: Document, *, group_uri: str | None = None) -> list[Found]:
    """Return the offers and wants in an activity or a bare document; none is no error.

    `group_uri` is the group that a document without one of its own came by. Raises InvalidError
    where a proposal breaks a rule of its form; its values are checked by `marketplace.drafts`.
    """
    return _read(document, {}, group_uri, _NESTED_MOST)


def is_proposal(document: Document) -> bool:
    """Tell whether a document is itself an offer or want of a kind that is read here."""
    return "Proposal" in types(document)


def payment_links(actor: Document) -> list[str]:
    """Return the addresses of the proposals that an actor links as ways to pay (FEP-0ea0)."""
    return [
        href
        for link in objects(actor, "attachment")
        if {"payment", PROPOSAL_RELATION} <= set(texts(link, "rel")) and (href := id_of(link))
    ]


def _read(document: Document, carrier: Document, group: str | None, depth: int) -> list[Found]:
    kinds = types(document)
    if is_proposal(document):
        return [_proposal(document, carrier, group)]
    if not kinds & CARRIERS or depth == 0:
        return []
    if "Announce" in kinds:
        group = group or first_id(document, "actor") or None
    return [
        found
        for embedded in objects(document, "object")
        for found in _read(embedded, document, _group(document) or group, depth - 1)
    ]


def _proposal(document: Document, carrier: Document, group: str | None) -> Found:
    purpose = local_name(text(document, "purpose"))
    if purpose not in PURPOSES:
        raise InvalidError("purpose", "must be offer or request")
    primary = next(objects(document, "publishes"), {})
    group = _group(document) or group
    place = next(objects(document, "location"), {})
    draft = Draft(
        uri=id_of(document),
        type=PURPOSES[purpose],
        title=_in_language(document, "name"),
        author_uri=first_id(document, "attributedTo", "actor") or first_id(carrier, "actor"),
        body=_in_language(document, "content") or _in_language(document, "summary"),
        language=_language(document),
        categories=_categories(document, primary),
        image=_image(document),
        url=_page(document),
        group_uri=group,
        place_name=text(place, "name") or None,
        lat=number(place, "latitude", "lat"),
        lon=number(place, "longitude", "lon"),
        payments=_payments(document, group),
        published=moment(document, "published"),
        updated=moment(document, "updated"),
        expires_at=moment(document, *_ENDS) or moment(primary, *_ENDS),
    )
    return Found(
        draft=draft,
        to=ids(document, "to") or ids(carrier, "to"),
        searchable_by=searchable_by(document),
        noindex=asks_noindex(document),
    )


def searchable_by(document: Document) -> tuple[str, ...] | None:
    """Return whom an object or actor lets search for it (FEP-268d); None where it is silent."""
    if get(document, "searchableBy") is None:
        return None
    return ids(document, "searchableBy")


def asks_noindex(document: Document) -> bool:
    """Tell whether `xRobotsTag` asks not to be indexed."""
    tags = ",".join(texts(document, "xRobotsTag")).lower()
    return "noindex" in tags or "none" in (tag.strip() for tag in tags.split(","))


def _payments(document: Document, group: str | None) -> tuple[Payment, ...]:
    """Read how the other side is paid; without a word of it a group's currency, else a gift."""
    reciprocal = next(objects(document, "reciprocal"), None)
    if reciprocal is None:
        return (Payment(PaymentMeans.GROUP_DEFAULT if group else PaymentMeans.GIFT),)
    quantity = next(objects(reciprocal, "resourceQuantity"), {})
    written = decimal_text(quantity, "hasNumericalValue")
    amount = written if written and is_amount(written) else read_amount(written or "")
    unit = _unit(quantity)
    currency = None
    for named in (first_id(reciprocal, "resourceConformsTo"), unit):
        means, found = resolve(named)
        if means is not PaymentMeans.UNSPECIFIED:
            return (Payment(means, found, amount, written if amount is None else None),)
        currency = currency or found
    unit = "" if unit == _PLURAL_UNIT else unit
    if currency is not None:
        return (Payment(PaymentMeans.UNSPECIFIED, currency, amount),)
    thing = text(reciprocal, "resourceConformsTo")
    if told := _told(unit or thing, written, amount):
        return told
    if thing and not unit:
        return (Payment(PaymentMeans.BARTER, text=thing),)
    words = " ".join(filter(None, (written if amount is None else None, unit)))
    return (Payment(PaymentMeans.UNSPECIFIED, None, amount, words or None),)


def _told(words: str, written: str | None, amount: str | None) -> tuple[Payment, ...]:
    """Read a price in words, whose amount may stand within them or apart from them."""
    if amount is None:
        return read_price(f"{written or ''} {words}")
    return read_price(words, amount=amount) or read_price(words)


def _unit(quantity: Document) -> str:
    """Return a unit given as a text, a URI or an object."""
    unit = next(iter(values(quantity, "hasUnit")), "")
    if isinstance(unit, dict):
        return text(unit, "label", "symbol") or id_of(unit)
    return unit if isinstance(unit, str) else ""


def _group(document: Document) -> str | None:
    return first_id(document, *_GROUPS) or None


def _in_language(document: Document, term: str) -> str:
    """Return a text, or the first of its language map's where it stands only there."""
    return text(document, term) or next(iter(_translations(document, term).values()), "")


def _translations(document: Document, term: str) -> dict[str, str]:
    mapped = get(document, f"{term}Map")
    if not isinstance(mapped, dict):
        return {}
    return {tag: written for tag, written in mapped.items() if isinstance(written, str)}


def _language(document: Document) -> str | None:
    """Return the language that the text is marked with, by its map or by the context."""
    for term in ("content", "name", "summary"):
        shown = _in_language(document, term)
        for tag, written in _translations(document, term).items():
            if written == shown:
                return tag
    for context in values(document, "@context"):
        marked = context.get("@language") if isinstance(context, dict) else None
        if isinstance(marked, str):
            return marked
    return None


def _categories(document: Document, primary: Document) -> tuple[str, ...]:
    hashtags = [
        text(tag, "name").removeprefix("#")
        for tag in objects(document, "tag")
        if "Hashtag" in types(tag)
    ]
    named = [
        text(value, "value")
        for value in objects(document, "attachment")
        if "PropertyValue" in types(value) and text(value, "name").lower() == "category"
    ]
    classified = [name for name in texts(primary, "resourceClassifiedAs") if origin(name) is None]
    of_what = [*ids(primary, "resourceClassifiedAs"), *ids(primary, "resourceConformsTo")]
    items = [uri for uri in of_what if (origin(uri) or ("", "", None))[1] in _WIKIDATA]
    told = [*hashtags, *named, *classified, *items]
    return tuple(dict.fromkeys(name for name in told if name))


def _image(document: Document) -> str | None:
    for attached in [*objects(document, "image"), *objects(document, "attachment")]:
        is_picture = text(attached, "mediaType").startswith("image/")
        if is_picture or "Image" in types(attached):
            address = first_id(attached, "url", "href")
            if origin(address):
                return address
    return None


def _page(document: Document) -> str | None:
    return next((address for address in ids(document, "url") if origin(address)), None)
