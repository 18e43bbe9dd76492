"""Murmurations: an index names profiles, each of which is fetched where it lives.

A profile of an offer or want becomes a listing; one of a complementary currency names a hub that
is discovered. A profile is known by its own address, and its contact details are never read.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError
from commons.fetch import Door
from crawler.origins import is_gone, may_come
from crawler.peers import PeerKind
from crawler.sources import Batch, Lead, wording
from crawler.terms import (
    Document,
    first_id,
    get,
    moment,
    number,
    objects,
    origin,
    same_origin,
    text,
    texts,
)
from crawler.vocabulary import Found
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans

ACCEPT: Final = "application/json, application/vnd.api+json, application/ld+json"
OFFERS: Final = "offers_wants_schema-v0.1.0"
CURRENCIES: Final = "complementary_currencies-v2.0.0"
PAGE_NODES: Final = 50
"""How many nodes are asked for at once: each is a fetch of its own, and a page is taken whole."""
NODES_MOST: Final = 10_000
"""How many nodes of a question an index gives at all."""

_QUESTIONS: Final = ((OFFERS, "posted"), (OFFERS, "deleted"), (CURRENCIES, "posted"))
_CURSOR: Final = re.compile(r"([0-2]) ([1-9][0-9]{0,2})")
_PAYMENTS: Final = {
    "buy-sell": Payment(PaymentMeans.UNSPECIFIED),
    "receive-donate": Payment(PaymentMeans.GIFT),
    "borrow-lend": Payment(PaymentMeans.GIFT, text="borrow-lend"),
    "rent-lease": Payment(PaymentMeans.UNSPECIFIED, text="rent-lease"),
}


@dataclass(frozen=True)
class _Node:
    """A profile that an index names, and when the index saw it change last."""

    profile_url: str
    updated: datetime | None
    is_deleted: bool


class Murmurations:
    """Reads an index, such as `https://index.example`, and the profiles that it names."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return one page of one question; the cursor is the question's and the page's number."""
        match = _CURSOR.fullmatch(cursor or "")
        question, page = (int(match[1]), int(match[2])) if match else (0, 1)
        schema, status = _QUESTIONS[question]
        asked = {"schema": schema, "status": status, "page": page, "page_size": PAGE_NODES}
        url = f"{address.rstrip('/')}/v2/nodes?{urlencode(asked)}"
        document = (await door.get_json(url, accept=ACCEPT)).body
        nodes, refused = _nodes(document, url)
        read = [await _read(door, node, schema) for node in nodes]
        return Batch(
            found=tuple(one for batch in read for one in batch.found),
            refused=(*refused, *(one for batch in read for one in batch.refused)),
            cursor=_following(document, question, page),
            gone=tuple(one for batch in read for one in batch.gone),
            late=tuple(one for batch in read for one in batch.late),
            leads=tuple(one for batch in read for one in batch.leads),
        )


def read_profile(profile: Document, profile_url: str, updated: datetime | None = None) -> Found:
    """Return the offer or want of a profile, whose version is of when the index saw it change.

    Raises InvalidError where it breaks a rule of its schema.
    """
    kind = text(profile, "exchange_type")
    if OFFERS not in texts(profile, "linked_schemas") or kind not in set(ListingType):
        raise InvalidError("exchange_type", f"must be offer or want, by {OFFERS}")
    place = next(objects(profile, "geolocation"), profile)
    image, page = first_id(profile, "image"), first_id(profile, "details_url")
    draft = Draft(
        uri=profile_url,
        type=ListingType(kind),
        title=text(profile, "title"),
        author_uri=profile_url,
        body=text(profile, "description"),
        categories=texts(profile, "tags"),
        image=image if origin(image) else None,
        url=page if origin(page) else None,
        lat=_degrees(place, "lat", "latitude"),
        lon=_degrees(place, "lon", "longitude"),
        remote=text(profile, "geographic_scope") == "international",
        payments=_payments(texts(profile, "transaction_type")),
        updated=updated,
        expires_at=moment(profile, "expires_at", "expires"),
    )
    return wording.found(draft)


def read_currency(profile: Document, profile_url: str) -> Lead:
    """Return the hub that a complementary currency's profile names; InvalidError where none."""
    address = first_id(profile, "primary_url")
    if CURRENCIES not in texts(profile, "linked_schemas") or origin(address) is None:
        raise InvalidError("primary_url", f"must be an address, by {CURRENCIES}")
    return Lead(address, PeerKind.ACTIVITYPUB, profile_url)


async def _read(door: Door, node: _Node, schema: str) -> Batch:
    """Return what became of one node: its profile's listing or hub, or why there is none."""
    uri = node.profile_url
    if node.is_deleted:
        return Batch((), gone=((uri, node.updated),))
    try:
        fetched = await door.get_json(uri, accept=ACCEPT)
        if not same_origin(fetched.url, uri):
            return Batch((), refused=((uri, "it is answered by another origin"),))
        if schema == CURRENCIES:
            return Batch((), leads=(read_currency(fetched.body, uri),))
        found = await asyncio.to_thread(read_profile, fetched.body, uri, node.updated)
        return Batch((found,))
    except LocalPayError as error:
        return _failed(uri, error)


def _failed(uri: str, error: LocalPayError) -> Batch:
    if isinstance(error, FetchError) and is_gone(error):
        return Batch((), gone=((uri, None),))
    if isinstance(error, FetchError) and may_come(error):
        return Batch((), late=((uri, error.detail),))
    return Batch((), refused=((uri, error.detail),))


def _nodes(document: Document, url: str) -> tuple[list[_Node], list[tuple[str, str]]]:
    data = document.get("data", [])
    if not isinstance(data, list) or "errors" in document:
        raise MalformedError("a page of a Murmurations index has its nodes in data")
    nodes: dict[str, _Node] = {}
    refused = []
    for told in data[:NODES_MOST]:
        try:
            node = _node(told if isinstance(told, dict) else {})
            nodes[node.profile_url] = node
        except InvalidError as error:
            refused.append((url, error.detail))
    return list(nodes.values()), refused


def _node(told: Document) -> _Node:
    uri = text(told, "profile_url")
    if origin(uri) is None:
        raise InvalidError("profile_url", "must be an http or https address")
    return _Node(uri, moment(told, "last_updated"), text(told, "status") == "deleted")


def _following(document: Document, question: int, page: int) -> str | None:
    """Return where to go on: the next page, else the next question; its host is never theirs."""
    links = get(document, "links")
    is_full = len(document.get("data", [])) >= PAGE_NODES
    has_next = bool(first_id(links, "next")) if isinstance(links, dict) else is_full
    if has_next and document.get("data") and (page + 1) * PAGE_NODES <= NODES_MOST:
        return f"{question} {page + 1}"
    return f"{question + 1} 1" if question + 1 < len(_QUESTIONS) else None


def _degrees(place: Document, *terms: str) -> float | None:
    told = (number(place, term, f"geolocation.{terms[0]}") for term in terms)
    return next((degrees for degrees in told if degrees is not None), None)


def _payments(transactions: tuple[str, ...]) -> tuple[Payment, ...]:
    unknown = (Payment(PaymentMeans.UNSPECIFIED),)
    told = [_PAYMENTS.get(one, Payment(PaymentMeans.UNSPECIFIED, text=one)) for one in transactions]
    return tuple(dict.fromkeys(told)) or unknown
