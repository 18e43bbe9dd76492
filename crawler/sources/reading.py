"""Sources that are pulled, read from where they stopped, within budgets, each page by itself."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from commons.database import draw, now, reading, transaction
from commons.errors import FetchError, InvalidError, MalformedError
from commons.fetch import Door
from crawler import refusals
from crawler.backfill import Budget
from crawler.changes import begin, withdraw_each
from crawler.discovering import note
from crawler.kept import Aside, PutAside, put_aside_each
from crawler.origins import may_come
from crawler.peers import FOLLOWS, CrawledPage, Peer, PeerKind, PeerState, heard, may_index
from crawler.settling import Arrival, Removal, remove, settle
from crawler.sources import Batch, Lead, Source
from crawler.sources.ces import Ces
from crawler.sources.komunitin import Komunitin
from crawler.sources.murmurations import Murmurations
from crawler.sources.timeoverflow import TimeOverflow
from crawler.vocabulary import Found
from marketplace.listings import COUNTER, Listing, WithdrawnReason

SOURCES: Final[dict[PeerKind, Source]] = {
    PeerKind.KOMUNITIN: Komunitin(),
    PeerKind.MURMURATIONS: Murmurations(),
    PeerKind.CES: Ces(),
    PeerKind.TIMEOVERFLOW: TimeOverflow(),
}
BY_HAND: Final = "by_hand"
"""Where a peer's evidence says so, nothing is fetched: its files are given to the operator."""
SETTLED_AT_ONCE: Final = 200
"""How many listings of a page are stored in one transaction, so that others get their turn."""


@dataclass(frozen=True)
class _Crawl:
    """One source being read."""

    engine: Engine
    door: Door
    peer_id: int
    source: Source
    address: str


async def crawl(engine: Engine, door: Door, peer_id: int, budget: Budget | None = None) -> bool:
    """Read a source from where the last crawl stopped; return whether its end is reached.

    What is refused is put aside with the reason. A page that was read before ends the crawl. Raises
    FetchError, InvalidError and MalformedError where a page cannot be had or read: it is asked for
    again, or, if that is no use, the source is read anew from its beginning.
    """
    budget = budget or Budget()
    under_way, cursor, offset = _begin(engine, door, peer_id)
    items_left = budget.items
    for _ in range(budget.pages):
        if _is_over(under_way, cursor, budget):
            break
        batch = await _page(under_way, cursor)
        while offset < len(batch.found) and items_left > 0:
            part = batch.found[offset : offset + min(SETTLED_AT_ONCE, items_left)]
            offset += len(part)
            items_left -= len(part)
            _take(under_way, part, cursor, offset)
        if offset < len(batch.found):
            return False
        _take_rest(under_way, batch, cursor)
        items_left -= len(batch.refused) + len(batch.late) + len(batch.gone) + len(batch.leads)
        cursor, offset = batch.cursor, 0
        if cursor is None:
            break
        if items_left <= 0:
            return False
    else:
        return False
    _finish(under_way)
    return True


def is_by_hand(peer: Peer) -> bool:
    """Tell whether nothing is fetched of a source, since its files are read by hand."""
    return bool((peer.consent_evidence or {}).get(BY_HAND))


def arrivals(found: tuple[Found, ...] | list[Found]) -> list[Arrival]:
    """Return what a source holds as what `intake.settle` takes; nothing is kept as it came."""
    return [
        Arrival(one.draft.uri, one, author_uri=one.draft.author_uri, is_vouched=True)
        for one in found
    ]


def put_aside_refused(session: Session, peer_id: int, refused: tuple[tuple[str, str], ...]) -> None:
    """Keep what was refused and why, without what it says."""
    asides = [Aside(uri, reason, is_vouched=True) for uri, reason in refused]
    put_aside_each(session, peer_id, asides)


def _begin(engine: Engine, door: Door, peer_id: int) -> tuple[_Crawl, str | None, int]:
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        if peer.crawl_page is None and peer.crawl_offset == 0:
            peer.crawl_began_at = now(session)
            refusals.reset(session, peer_id)
            session.execute(delete(CrawledPage).where(CrawledPage.peer_id == peer_id))
        errand = door.errand(peer.actor_uri, crawling=True, anew=True)
        under_way = _Crawl(engine, errand, peer_id, SOURCES[peer.kind], peer.actor_uri)
        return under_way, peer.crawl_page, peer.crawl_offset


def _is_over(under_way: _Crawl, cursor: str | None, budget: Budget) -> bool:
    """Tell whether a page has been read in this crawl, or the crawl has read enough."""
    with reading(under_way.engine) as session:
        pages = select(CrawledPage).where(CrawledPage.peer_id == under_way.peer_id)
        read_before = session.scalar(pages.where(CrawledPage.page_uri == _page_uri(cursor)))
        count = session.scalar(select(func.count()).select_from(pages.subquery())) or 0
        return read_before is not None or count >= budget.pages_in_all


async def _page(under_way: _Crawl, cursor: str | None) -> Batch:
    try:
        return await under_way.source.read(under_way.door, under_way.address, cursor)
    except (FetchError, InvalidError, MalformedError) as error:
        if not (isinstance(error, FetchError) and may_come(error)):
            _forget_progress(under_way)
        raise


def _take(under_way: _Crawl, found: tuple[Found, ...], cursor: str | None, offset: int) -> None:
    """Store a part of a page and note how far that is, in one transaction."""
    with transaction(under_way.engine) as session:
        _move_on(session, under_way.peer_id, cursor, offset)
        settle(session, under_way.peer_id, arrivals(found))


def _take_rest(under_way: _Crawl, batch: Batch, cursor: str | None) -> None:
    """Take what a page says besides its listings, and move the cursor on, in one transaction."""
    peer_id = under_way.peer_id
    with transaction(under_way.engine) as session:
        _move_on(session, peer_id, batch.cursor, 0)
        session.add(CrawledPage(peer_id=peer_id, page_uri=_page_uri(cursor)))
        peer = session.get_one(Peer, peer_id, populate_existing=True)
        if not may_index(session, peer):
            return
        begin(session)
        _withdraw(session, _own(session, peer, batch.gone))
        _keep(session, peer, [uri for uri, _ in batch.late])
        put_aside_refused(session, peer_id, batch.refused + batch.late)
        for lead in batch.leads:
            _note(session, lead)


def _move_on(session: Session, peer_id: int, cursor: str | None, offset: int) -> None:
    session.execute(
        update(Peer).where(Peer.id == peer_id).values(crawl_page=cursor, crawl_offset=offset)
    )
    heard(session, peer_id)


def _own(session: Session, peer: Peer, gone: tuple[Removal, ...]) -> list[Removal]:
    """Return those of the removals that are of the source's own listings: it has no other's."""
    own = select(Listing.uri).where(
        Listing.uri.in_([uri for uri, _ in gone]), Listing.group_id == peer.group_id
    )
    known = set(session.scalars(own))
    return [removal for removal in gone if removal[0] in known]


def _withdraw(session: Session, gone: list[Removal]) -> None:
    """Withdraw what is deleted, for good, and what is missing, until it is there again."""
    remove(session, [(uri, at) for uri, at in gone if at is not None])
    missing = [uri for uri, at in gone if at is None]
    withdraw_each(session, missing, WithdrawnReason.MISSING)


def _note(session: Session, lead: Lead) -> None:
    """Note a hub within bounds; one that is not followed waits until its operator agrees."""
    peer = note(session, lead.address, found_by=lead.found_by, kind=lead.kind)
    if peer is not None and peer.state is PeerState.DISCOVERED and peer.kind not in FOLLOWS:
        peer.due_at = None


def _keep(session: Session, peer: Peer, uris: list[str]) -> None:
    """Confirm what the source still lists and what could not be looked at now."""
    kept = select(Listing).where(
        Listing.uri.in_(uris),
        Listing.group_id == peer.group_id,
        Listing.withdrawn_at.is_(None),
    )
    for listing in session.scalars(kept.order_by(Listing.uri).with_for_update()):
        listing.confirmed_at = now(session)
        listing.revision = draw(session, COUNTER)


def _finish(under_way: _Crawl) -> None:
    """End the crawl; what was put aside before it is no longer refused."""
    with transaction(under_way.engine) as session:
        peer = session.get_one(Peer, under_way.peer_id, with_for_update=True)
        session.execute(
            delete(PutAside).where(PutAside.peer_id == peer.id, PutAside.at < peer.crawl_began_at)
        )
    _forget_progress(under_way)


def _forget_progress(under_way: _Crawl) -> None:
    with transaction(under_way.engine) as session:
        session.execute(
            update(Peer).where(Peer.id == under_way.peer_id).values(crawl_page=None, crawl_offset=0)
        )
        session.execute(delete(CrawledPage).where(CrawledPage.peer_id == under_way.peer_id))


def _page_uri(cursor: str | None) -> str:
    return cursor or ""
