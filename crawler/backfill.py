"""Back-fill: a hub's outbox read page by page, within budgets, each page committed by itself."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError
from commons.fetch import Door
from commons.groups import Hub
from crawler.intake import (
    REMOVALS,
    failed_arrival,
    prepare_each,
    removed,
    unwrap,
)
from crawler.kept import PutAside, put_aside, taken
from crawler.origins import fetch_object, may_come
from crawler.peers import CrawledPage, Peer, may_index
from crawler.proving import stands_in
from crawler.settling import Arrival, Removal, remove, settle
from crawler.terms import Document, first_id, get, id_of, same_origin, types, values

_COLLECTIONS: Final = frozenset(
    {"Collection", "OrderedCollection", "CollectionPage", "OrderedCollectionPage"}
)


@dataclass(frozen=True)
class Budget:
    """How much one crawl reads before it lets others go first, and how far it goes at all.

    `looks` is how many listings the second look asks for before others get their turn.
    """

    pages: int = 50
    items: int = 1_000
    pages_in_all: int = 5_000
    looks: int = 100


@dataclass(frozen=True)
class _Page:
    """What a page holds; `following` is empty on the last one."""

    items: list[Any]
    following: str


@dataclass(frozen=True)
class _Crawl:
    """What one hub publishes being read."""

    engine: Engine
    door: Door
    peer_id: int
    outbox_uri: str
    beside: Mapping[str, Sequence[str] | None]


async def crawl(  # noqa: PLR0913 (what it works with, and where the hub publishes)
    engine: Engine,
    door: Door,
    peer_id: int,
    outbox_uri: str,
    budget: Budget | None = None,
    *,
    beside: Mapping[str, Sequence[str] | None] = MappingProxyType({}),
) -> bool:
    """Read a hub's outbox from where the last crawl stopped; return whether its end is reached.

    `beside` are what else it publishes, by address: the items where they are known already, None
    for a collection to be read; the budget holds for all of it. Another host's pages and pages
    already seen are not read, `totalItems` is not believed, and an endless outbox ends after
    `pages_in_all`. What cannot be read, or may not by the host's robots.txt, is put aside;
    FetchError where a page cannot be had now.
    """
    budget = budget or Budget()
    errand = door.errand(outbox_uri, crawling=True, anew=True)
    under_way = _Crawl(engine, errand, peer_id, outbox_uri, beside)
    page_uri, offset = _cursor(under_way)
    items_left = budget.items
    for _ in range(budget.pages):
        seen = _seen(under_way)
        if page_uri in seen:
            page_uri, offset = _another(under_way, seen), 0
        if not page_uri or len(seen) >= budget.pages_in_all:
            break
        page = await _page(under_way, page_uri)
        another = _another(under_way, {*seen, page_uri})
        if page is None:
            page_uri, offset = another, 0
            continue
        batch = page.items[offset : offset + items_left]
        offset += len(batch)
        items_left -= len(batch)
        is_read = offset >= len(page.items)
        going_on = (page.following or another, 0) if is_read else (page_uri, offset)
        await _take(under_way, page_uri, batch, going_on)
        page_uri, offset = going_on
        if not page_uri:
            break
        if items_left <= 0:
            return False
    else:
        if page_uri:
            return False
    _finish(under_way)
    return True


def _cursor(under_way: _Crawl) -> tuple[str, int]:
    with reading(under_way.engine) as session:
        peer = session.scalars(select(Peer).where(Peer.id == under_way.peer_id)).one()
        first = under_way.outbox_uri or _another(under_way, set())
        return peer.crawl_page or first, peer.crawl_offset


def _seen(under_way: _Crawl) -> set[str]:
    """Return the pages that have been read in this crawl."""
    mine = CrawledPage.peer_id == under_way.peer_id
    with reading(under_way.engine) as session:
        return set(session.scalars(select(CrawledPage.page_uri).where(mine)))


def _another(under_way: _Crawl, seen: Collection[str]) -> str:
    """Return what else the hub publishes and has not been read yet; empty where there is none."""
    return next((uri for uri in under_way.beside if uri not in seen), "")


def _finish(under_way: _Crawl) -> None:
    with transaction(under_way.engine) as session:
        session.execute(
            update(Peer).where(Peer.id == under_way.peer_id).values(crawl_page=None, crawl_offset=0)
        )
        session.execute(delete(CrawledPage).where(CrawledPage.peer_id == under_way.peer_id))


async def _page(under_way: _Crawl, page_uri: str) -> _Page | None:
    """Fetch a page; None where it answers and there is nothing to be read, now or later."""
    known = under_way.beside.get(page_uri)
    if known is not None:
        return _Page(list(known), "")
    try:
        document = await _collection(under_way.door, page_uri)
    except (FetchError, InvalidError, MalformedError) as error:
        is_first = page_uri == under_way.outbox_uri
        if isinstance(error, FetchError) and not _is_unreadable(error, is_first=is_first):
            raise
        with transaction(under_way.engine) as session:
            session.add(CrawledPage(peer_id=under_way.peer_id, page_uri=page_uri))
            put_aside(session, under_way.peer_id, page_uri, error.detail, is_vouched=True)
        return None
    first = get(document, "first")
    parts = [document, *([first] if isinstance(first, dict) else [])]
    items = [
        item for part in parts for term in ("orderedItems", "items") for item in values(part, term)
    ]
    following = first_id(parts[-1], "next") or ("" if isinstance(first, dict) else id_of(first))
    is_own = same_origin(following, page_uri)
    return _Page(items, following if is_own and following != page_uri else "")


async def _collection(door: Door, page_uri: str) -> Document:
    document = await fetch_object(door, page_uri)
    if not types(document) & _COLLECTIONS:
        raise MalformedError("an outbox is a collection")
    return document


def _is_unreadable(error: FetchError, *, is_first: bool) -> bool:
    """Tell whether trying again is no use: no page, none for us, or a later page is gone."""
    if error.status is None:
        return error.final  # never asked: by our own rules, or by the host's robots.txt
    if may_come(error):
        return False
    return not (error.final and is_first)


async def _take(
    under_way: _Crawl, page_uri: str, batch: list[Any], going_on: tuple[str, int]
) -> None:
    """Take a page's items and move the cursor on, in one transaction."""
    arrivals, removals = await _read(under_way.engine, under_way.door, batch, page_uri)
    with transaction(under_way.engine) as session:
        _move_on(session, under_way.peer_id, page_uri, going_on)
        taken(session, under_way.peer_id, [page_uri])
        told = [replace(arrival, is_vouched=True) for arrival in arrivals]  # in its own collection
        _settle(session, under_way.peer_id, told, removals)


async def try_again(engine: Engine, door: Door, aside_id: int) -> None:
    """Read once more an item that could not be had; FetchError where it still cannot."""
    with reading(engine) as session:
        row = session.get_one(PutAside, aside_id)
        hub = session.scalars(
            select(Hub).join(Peer, Peer.group_id == Hub.group_id).where(Peer.id == row.peer_id)
        ).one()
        peer_id, uri, item, is_vouched = row.peer_id, row.uri, row.uri, row.is_vouched
        if row.document is not None:
            item = json.loads(row.document)
        speaker = hub.outbox_uri or uri
    errand = door.errand(speaker, crawling=True)
    arrivals, removals = await _read(engine, errand, [item], speaker)
    late = next((arrival for arrival in arrivals if arrival.is_late), None)
    if late is not None:
        raise FetchError(late.reason)
    with transaction(engine) as session:
        taken(session, peer_id, [uri])
        told = [replace(arrival, is_vouched=is_vouched) for arrival in arrivals]
        _settle(session, peer_id, told, removals)


async def _read(
    engine: Engine, door: Door, items: Sequence[Any], speaker: str
) -> tuple[list[Arrival], list[Removal]]:
    """Return what the items of an outbox bring, and what they remove."""
    removals: list[Removal] = []
    failures: dict[int, LocalPayError] = {}
    documents: dict[int, tuple[Document, str | None]] = {}
    for place, item in enumerate(items):
        try:
            proven = await stands_in(engine, door, item, speaker)
            document = await unwrap(door, proven or item, id_of(proven) or speaker)
            if types(document) & REMOVALS:
                removals += removed(document)
            else:
                documents[place] = document, _announcer(item)
        except LocalPayError as error:
            failures[place] = error
    prepared = await prepare_each(engine, door, list(documents.values()), set())
    arrivals: dict[int, list[Arrival]] = {}
    for place, brought in zip(documents, prepared, strict=True):
        if isinstance(brought, LocalPayError):
            failures[place] = brought
        else:
            arrivals[place] = brought
    for place, failure in failures.items():
        arrivals[place] = [failed_arrival(items[place], speaker, failure)]
    return [arrival for place in sorted(arrivals) for arrival in arrivals[place]], removals


def _settle(
    session: Session, peer_id: int, arrivals: list[Arrival], removals: list[Removal]
) -> None:
    settle(session, peer_id, arrivals)
    if may_index(session, session.get_one(Peer, peer_id)):
        remove(session, removals)


def _move_on(session: Session, peer_id: int, page_uri: str, going_on: tuple[str, int]) -> None:
    following, offset = going_on
    session.execute(
        update(Peer)
        .where(Peer.id == peer_id)
        .values(crawl_page=following or None, crawl_offset=offset, last_heard_at=now(session))
    )
    if following != page_uri:
        session.add(CrawledPage(peer_id=peer_id, page_uri=page_uri))
        session.flush()


def _announcer(item: object) -> str | None:
    """Return the group that announces an item of its outbox."""
    if isinstance(item, dict) and "Announce" in types(item):
        return first_id(item, "actor") or None
    return None
