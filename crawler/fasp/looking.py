"""An announced object looked at where it lives, when it is announced and then weekly."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urljoin

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from commons.database import now, transaction
from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError, TooLargeError
from commons.fetch import Door
from commons.groups import Group
from crawler.changes import withdraw_each
from crawler.fasp.rows import FETCHES_MOST, AnnouncedObject, FaspServer, accepted_peer
from crawler.intake import prepare, unwrap
from crawler.origins import fetch_object
from crawler.peers import GONE_AFTER, LOOK_AGAIN, Peer
from crawler.settling import Arrival, settle
from crawler.terms import id_of, same_origin, types
from marketplace.listings import Listing, WithdrawnReason
from marketplace.payment import PaymentMeans

_NOT_THERE: Final = frozenset({404, 410, 451})
_UNREADABLE: Final = (InvalidError, MalformedError, TooLargeError)


@dataclass(frozen=True)
class _Look:
    """One announced object being looked at."""

    engine: Engine
    row_id: int
    due_at: datetime | None
    uri: str
    listing_uris: frozenset[str]
    group_uri: str | None
    peer_id: int
    base_url: str


async def look(engine: Engine, door: Door, row_id: int) -> datetime | None:
    """Settle what an announced object holds now; return when to look again, None for never.

    Who may be indexed is decided as ever, by the author's word and the hub's; the server that
    announced it has no say. What is no listing is forgotten, and what has a hub here is that hub's
    from then on. FetchError where its origin does not answer.
    """
    under_way = _begin(engine, row_id)
    if under_way is None:
        return None
    is_own = same_origin(under_way.uri, under_way.base_url)
    errand = door.errand(under_way.base_url, crawling=not is_own, fetches=FETCHES_MOST)
    try:
        arrivals = await _arrivals(under_way, errand)
    except FetchError as error:
        if error.status not in _NOT_THERE:
            raise
        arrivals = []
    except _UNREADABLE as error:
        if under_way.listing_uris:
            raise FetchError(error.detail) from error  # it may be mended
        arrivals = []
    with transaction(engine) as session:
        return _settle(session, under_way, arrivals)


def give_up(session: Session, row_id: int, _reason: str) -> None:
    """Forget an object that cannot be had; one that holds listings is asked for for 30 days."""
    row = session.get_one(AnnouncedObject, row_id)
    since = now(session) - GONE_AFTER
    if row.listing_uris and row.looked_at is not None and row.looked_at > since:
        row.due_at, row.attempts = now(session) + LOOK_AGAIN, 0
        return
    _withdraw(session, row.listing_uris, WithdrawnReason.HUB_GONE)
    session.delete(row)


def _begin(engine: Engine, row_id: int) -> _Look | None:
    """Return what is to be looked at; None, and nothing kept, where its server is not accepted."""
    with transaction(engine) as session:
        row = session.get(AnnouncedObject, row_id)
        if row is None:
            return None
        server = session.get_one(FaspServer, row.server_id)
        peer = accepted_peer(session, server)
        if peer is None:
            _withdraw(session, row.listing_uris, WithdrawnReason.OPERATOR)
            session.execute(delete(AnnouncedObject).where(AnnouncedObject.id == row_id))
            return None
        uris = frozenset(str(uri) for uri in row.listing_uris)
        group_uri = _group_of(session, row.uri)
        return _Look(
            engine, row_id, row.due_at, row.uri, uris, group_uri, peer.id, str(server.base_url)
        )


def _group_of(session: Session, uri: str) -> str | None:
    """Return the group in whose currency a listing is paid that says no more than that."""
    listing = session.scalar(select(Listing).where(Listing.uri == uri))
    if listing is None or listing.group_id is None:
        return None
    by_group = any(one["means"] == PaymentMeans.GROUP_DEFAULT for one in listing.payments)
    return session.get_one(Group, listing.group_id).uri if by_group else None


async def _arrivals(under_way: _Look, door: Door) -> list[Arrival]:
    document = await fetch_object(door, under_way.uri)
    if "Tombstone" in types(document):
        return []
    document = await unwrap(door, document, id_of(document) or under_way.uri)
    try:
        return await prepare(under_way.engine, door, document, under_way.group_uri, set())
    except LocalPayError as error:
        if isinstance(error, FetchError) and error.status in _NOT_THERE:
            raise FetchError(error.detail) from error  # the author is, not the object
        raise


def _settle(session: Session, under_way: _Look, arrivals: list[Arrival]) -> datetime | None:
    """Store what was found, withdraw what is there no longer, and keep or forget the row."""
    hub_id = _hub_of(session, under_way.uri)
    settle(session, hub_id or under_way.peer_id, arrivals)
    found = {arrival.uri for arrival in arrivals}
    _withdraw(session, {under_way.uri, *under_way.listing_uris} - found, WithdrawnReason.MISSING)
    held = sorted(
        session.scalars(
            select(Listing.uri).where(
                Listing.uri.in_(found), Listing.withdrawn_at.is_(None), Listing.group_id.is_(None)
            )
        )
    )
    mine = AnnouncedObject.id == under_way.row_id
    if held:
        kept = {"listing_uris": held, "looked_at": now(session)}
        session.execute(update(AnnouncedObject).where(mine).values(**kept))
        return now(session) + LOOK_AGAIN
    # Whoever announced it again meanwhile wants it looked at then.
    session.execute(delete(AnnouncedObject).where(mine, AnnouncedObject.due_at == under_way.due_at))
    return None


def _hub_of(session: Session, uri: str) -> int | None:
    """Return the peer of a hub at whose origin an object lives; None where there is none."""
    start = urljoin(uri, "/")
    query = select(Peer.id).where(
        Peer.actor_uri.startswith(start, autoescape=True), Peer.group_id.is_not(None)
    )
    return session.scalar(query.order_by(Peer.id).limit(1))


def _withdraw(session: Session, uris: Iterable[str], reason: WithdrawnReason) -> None:
    """Withdraw what still has no hub here; what is a hub's by now is that hub's to take back."""
    named = Listing.uri.in_(list(uris))
    gone = session.scalars(select(Listing.uri).where(named, Listing.group_id.is_(None))).all()
    if gone:
        withdraw_each(session, gone, reason)
