"""The second look: what a crawl did not confirm is asked for at its origin, one by one.

An outbox that holds only the newest says nothing about the rest, so each listing is asked for
where it lives: it may be gone, changed, or no longer for everybody.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Engine, and_, or_, select, update
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import FetchError, InvalidError, MalformedError, TooLargeError
from commons.fetch import Door
from crawler.changes import withdraw_each
from crawler.intake import prepare, removed
from crawler.origins import fetch_object
from crawler.peers import GONE_AFTER, Peer, may_index
from crawler.settling import Arrival, remove, settle
from crawler.terms import Document, id_of, same_origin, types
from marketplace.consent import ConsentBasis
from marketplace.listings import COMES_BACK, CONFIRM_AGAIN, Listing, WithdrawnReason
from marketplace.payment import PaymentMeans

_SILENCES_MOST: Final = 3
_ADDRESSES_MOST: Final = 3
_GONE: Final = 410
_NOT_THERE: Final = frozenset({404, 451})
_FIRST: Final = ""  # before every listing's id


@dataclass(frozen=True)
class _Doubted:
    """A listing that a crawl did not confirm, and where else it can be had."""

    id: str
    uri: str
    addresses: tuple[str, ...]
    group_uri: str | None
    is_long_silent: bool
    is_vouched: bool


@dataclass(frozen=True)
class _Look:
    """One hub's listings being looked at again."""

    engine: Engine
    door: Door
    peer_id: int
    peer_uri: str


class _GoneError(Exception):
    """The origin says that a listing is no longer there, and perhaps why and since when."""

    def __init__(self, tombstone: Document | None = None) -> None:
        super().__init__()
        self.tombstone = tombstone


async def look(engine: Engine, door: Door, peer_id: int, most: int) -> bool:
    """Ask for listings of a hub that its last crawl did not confirm; return whether all were.

    At most `most` are, gone on with from where the last call stopped. What its origin says is gone
    is withdrawn; what changed, or is no longer for everybody, is settled like any arrival; what
    cannot be had now is left for the next look, until its origin has been silent for 30 days.
    FetchError where one listing after the other cannot be had at all.
    """
    doubted, under_way = _doubted(engine, door, peer_id, most)
    silences = 0
    for listing in doubted:
        has_answered = await _look_at(under_way, listing)
        silences = 0 if has_answered else silences + 1
        with transaction(engine) as session:
            looked_at = update(Peer).where(Peer.id == peer_id).values(crawl_page=listing.id)
            session.execute(looked_at)
        if silences == _SILENCES_MOST:
            raise FetchError("listings cannot be had at their origin")
    return len(doubted) < most


def withdraw_unconfirmed(session: Session, peer: Peer) -> int:
    """Withdraw what a whole crawl of a source did not find; return how much that was.

    The source is the only place where its listings can be had. They come back with it.
    """
    if peer.group_id is None or peer.crawl_began_at is None:
        return 0
    mine = and_(Listing.group_id == peer.group_id, _stood_before(peer.crawl_began_at))
    uris = session.scalars(select(Listing.uri).where(mine)).all()
    return withdraw_each(session, uris, WithdrawnReason.MISSING)


def _stood_before(began_at: datetime) -> ColumnElement[bool]:
    """Condition of the listings that a crawl did not confirm; it confirms each once a day."""
    return and_(Listing.withdrawn_at.is_(None), Listing.confirmed_at <= began_at - CONFIRM_AGAIN)


def _doubted(engine: Engine, door: Door, peer_id: int, most: int) -> tuple[list[_Doubted], _Look]:
    with reading(engine) as session:
        peer = session.get_one(Peer, peer_id)
        under_way = _Look(engine, door.errand(peer.actor_uri), peer_id, peer.actor_uri)
        if peer.crawl_began_at is None or not may_index(session, peer):
            return [], under_way
        query = (
            select(Listing)
            .where(Listing.group_id == peer.group_id, _unconfirmed(peer, peer.crawl_began_at))
            .where(Listing.id > (peer.crawl_page or _FIRST))
            .order_by(Listing.id)
            .limit(most)
        )
        long_ago = now(session) - GONE_AFTER
        return [_doubt(row, peer, long_ago) for row in session.scalars(query)], under_way


def _unconfirmed(peer: Peer, began_at: datetime) -> ColumnElement[bool]:
    """Condition of what is asked for: at the first look after a return, also what went with it."""
    if peer.last_looked_at is not None or peer.group_id is None:
        return _stood_before(began_at)
    stands = and_(Listing.withdrawn_at.is_(None), Listing.confirmed_at < began_at)
    return or_(stands, Listing.withdrawn_reason.in_(COMES_BACK))


def _doubt(row: Listing, peer: Peer, long_ago: datetime) -> _Doubted:
    same = [uri for uri in row.same_as if isinstance(uri, str) and same_origin(uri, row.uri)]
    by_group = any(one["means"] == PaymentMeans.GROUP_DEFAULT for one in row.payments)
    return _Doubted(
        row.id,
        row.uri,
        tuple(dict.fromkeys([row.uri, *same]))[:_ADDRESSES_MOST],
        peer.actor_uri if by_group else None,
        row.withdrawn_at is None and row.confirmed_at < long_ago,
        row.consent_basis is ConsentBasis.HUB,
    )


async def _look_at(under_way: _Look, listing: _Doubted) -> bool:
    """Do what the origin of a listing says; return whether it answered at all."""
    try:
        arrivals = await _fetch(under_way, listing)
    except _GoneError as gone:
        _gone(under_way, listing, gone.tombstone)
        return True
    except (FetchError, InvalidError, MalformedError, TooLargeError) as error:
        if listing.is_long_silent:
            _withdraw(under_way, listing.uri, WithdrawnReason.HUB_GONE)
        return not isinstance(error, FetchError) or error.status is not None or error.final
    with transaction(under_way.engine) as session:
        told = [replace(arrival, is_vouched=listing.is_vouched) for arrival in arrivals]
        settle(session, under_way.peer_id, told)
    return True


async def _fetch(under_way: _Look, listing: _Doubted) -> list[Arrival]:
    """Return a listing as its origin has it now; _GoneError where that has it no longer."""
    for address in listing.addresses:
        try:
            document = await fetch_object(under_way.door.errand(address), address)
        except FetchError as error:
            if error.status == _GONE and address == listing.uri:
                raise _GoneError({"type": "Tombstone", "id": listing.uri}) from error
            if error.status not in _NOT_THERE | {_GONE}:
                raise
            continue
        except InvalidError:
            continue  # another origin answers for it, which may not
        if "Tombstone" in types(document):
            raise _GoneError(document)
        found = await prepare(under_way.engine, under_way.door, document, listing.group_uri, set())
        if arrivals := [arrival for arrival in found if arrival.uri == listing.uri]:
            return arrivals
    raise _GoneError


def _gone(under_way: _Look, listing: _Doubted, tombstone: Document | None) -> None:
    if tombstone is None or id_of(tombstone) != listing.uri:
        _withdraw(under_way, listing.uri, WithdrawnReason.MISSING)
        return
    with transaction(under_way.engine) as session:
        remove(session, removed(tombstone))


def _withdraw(under_way: _Look, uri: str, reason: WithdrawnReason) -> None:
    with transaction(under_way.engine) as session:
        withdraw_each(session, [uri], reason)
