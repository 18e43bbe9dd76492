"""Peers: the hubs as the crawler sees them, what they agreed to, how fresh and how well they are.

A peer's row carries its own schedule: `due_at` is when it is next followed or looked at,
`attempts` and `last_error` tell of the failures since it last answered.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ForeignKey, String, UniqueConstraint, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.errors import NotFoundError
from commons.groups import Hub, HubState
from commons.jobs import Scheduled
from crawler.changes import withdraw_each
from crawler.delivery import Delivery
from crawler.kept import PutAside, forget_hub
from marketplace.listings import Listing, WithdrawnReason, shown

LOOK_AGAIN: Final = timedelta(days=7)
GONE_AFTER: Final = timedelta(days=30)
FAILURES_TO_STALE: Final = 3


class PeerKind(StrEnum):
    """By what a hub is read: what its actor is, or which other source it offers."""

    ACTIVITYPUB = "activitypub"
    INSTANCE = "instance"
    RELAY = "relay"
    KOMUNITIN = "komunitin"
    MURMURATIONS = "murmurations"
    CES = "ces"
    TIMEOVERFLOW = "timeoverflow"
    FASP = "fasp"
    PUSH = "push"


FOLLOWS: Final = frozenset({PeerKind.ACTIVITYPUB, PeerKind.INSTANCE, PeerKind.RELAY})
"""Kinds that are followed; the others are read from where they publish, or push by themselves."""


class PeerState(StrEnum):
    """How far we are with a hub."""

    DISCOVERED = "discovered"
    CONSENTED = "consented"
    FOLLOWING = "following"
    LIVE = "live"
    STALE = "stale"
    GONE = "gone"
    BLOCKED = "blocked"


_ANYWHERE: Final = frozenset({PeerState.DISCOVERED, PeerState.BLOCKED})
TRANSITIONS: Final[dict[PeerState, frozenset[PeerState]]] = {
    PeerState.DISCOVERED: frozenset({PeerState.CONSENTED, PeerState.BLOCKED}),
    PeerState.CONSENTED: _ANYWHERE | {PeerState.FOLLOWING, PeerState.GONE},
    PeerState.FOLLOWING: _ANYWHERE | {PeerState.LIVE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.LIVE: _ANYWHERE | {PeerState.STALE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.STALE: _ANYWHERE | {PeerState.LIVE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.GONE: _ANYWHERE | {PeerState.CONSENTED},
    PeerState.BLOCKED: frozenset({PeerState.DISCOVERED}),
}
"""Whoever blocks us may take that back only by agreeing anew, hence `discovered`."""

INDEXED: Final = frozenset(
    {PeerState.CONSENTED, PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE}
)
"""States in which a hub's listings are taken."""

FOLLOWED: Final = frozenset({PeerState.LIVE, PeerState.STALE})
"""States in which a hub's outbox is read."""


class Peer(Scheduled, Base):
    """A hub's actor or other source, and where it has been read to.

    `group_id` is empty for what is only discovered and for relays; `found_by` says how it was
    discovered. `consent_evidence` is what shows that the hub agreed; without `consented_at` there
    is no consent. `crawl_page` and `crawl_offset` say where an unfinished crawl goes on, and
    `crawl_began_at` when the crawl under way, or else the last one, began.
    """

    __tablename__ = "peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    actor_uri: Mapped[str] = mapped_column(String(2048))
    kind: Mapped[PeerKind] = mapped_column(enum_column(PeerKind))
    found_by: Mapped[str] = mapped_column(String(2048))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    state: Mapped[PeerState] = mapped_column(enum_column(PeerState))
    state_since: Mapped[datetime]
    consented_at: Mapped[datetime | None]
    consent_evidence: Mapped[dict[str, Any] | None]
    follow_uri: Mapped[str | None] = mapped_column(String(2048))
    last_heard_at: Mapped[datetime | None]
    last_looked_at: Mapped[datetime | None]
    keys_fetched_at: Mapped[datetime | None]
    crawl_page: Mapped[str | None] = mapped_column(String(2048))
    crawl_offset: Mapped[int] = mapped_column(default=0)
    crawl_began_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("actor_uri"), UniqueConstraint("group_id"))


class CrawledPage(Base):
    """A page that the crawl under way has seen, so that a cycle ends; emptied at its end."""

    __tablename__ = "crawled_pages"

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    page_uri: Mapped[str] = mapped_column(String(2048), primary_key=True)


@dataclass(frozen=True)
class PeerReport:
    """A peer's health, for its operator; `failures` are those since it last answered."""

    group_id: str
    actor_uri: str
    state: PeerState
    state_since: datetime
    consented_at: datetime | None
    last_heard_at: datetime | None
    last_looked_at: datetime | None
    next_look_at: datetime | None
    failures: int
    last_error: str | None
    listings: int
    put_aside: int


def by_group(session: Session, group_id: str, *, lock: bool = False) -> Peer:
    """Return the peer of a group, or raise NotFoundError; `lock` it to the commit."""
    query = select(Peer).where(Peer.group_id == group_id)
    peer = session.scalar(query.with_for_update() if lock else query)
    if peer is None:
        raise NotFoundError(f"the crawler knows no hub of the group {group_id!r}")
    return peer


def discover(
    session: Session,
    actor_uri: str,
    *,
    found_by: str,
    kind: PeerKind = PeerKind.ACTIVITYPUB,
    group_id: str | None = None,
) -> Peer:
    """Return the peer of an address, new where there is none; nothing is indexed yet.

    A `group_id` is given to a peer that had none.
    """
    peer = session.scalar(select(Peer).where(Peer.actor_uri == actor_uri))
    if peer is None:
        peer = Peer(
            actor_uri=actor_uri,
            kind=kind,
            found_by=found_by[:2048],
            group_id=group_id,
            state=PeerState.DISCOVERED,
            state_since=now(session),
            attempts=0,
            crawl_offset=0,
        )
        session.add(peer)
    peer.group_id = peer.group_id or group_id
    session.flush()
    return peer


def consent(session: Session, peer: Peer, evidence: dict[str, Any]) -> None:
    """Record the hub's word that its members' public listings may be indexed.

    A hub that blocked us takes that back by it.
    """
    if peer.consented_at is None:
        peer.consented_at = now(session)
        peer.consent_evidence = evidence
        session.flush()
    move(session, peer.id, PeerState.BLOCKED, PeerState.DISCOVERED)
    for source in (PeerState.DISCOVERED, PeerState.GONE):
        move(session, peer.id, source, PeerState.CONSENTED)
    session.refresh(peer)


def revoke(session: Session, peer: Peer, state: PeerState = PeerState.DISCOVERED) -> None:
    """Take the hub's consent back and withdraw what was indexed of its group.

    `state` is `blocked` where the hub blocks us.
    """
    peer.consented_at = peer.consent_evidence = peer.due_at = None
    session.flush()
    if peer.state is not state:
        move(session, peer.id, peer.state, state)
    _withdraw_all(session, peer, WithdrawnReason.CONSENT)
    session.refresh(peer)


def move(session: Session, peer_id: int, source: PeerState, target: PeerState) -> bool:
    """Move a peer from one state to another; False where it is not, or no longer, in `source`."""
    if target not in TRANSITIONS[source]:
        raise ValueError(f"a peer does not go from {source} to {target}")
    moved = session.execute(
        update(Peer)
        .where(Peer.id == peer_id, Peer.state == source)
        .values(state=target, state_since=now(session))
        .returning(Peer.id)
    )
    return moved.scalar() is not None


def schedule(session: Session, peer_id: int, due_at: datetime | None = None) -> None:
    """Have the peer looked at at `due_at`, by default now."""
    session.execute(
        update(Peer).where(Peer.id == peer_id).values(due_at=due_at or now(session), attempts=0)
    )


def heard(session: Session, peer_id: int) -> None:
    """Note that the hub spoke to us or answered; one that was given up is followed anew."""
    state = session.scalar(
        update(Peer)
        .where(Peer.id == peer_id)
        .values(last_heard_at=now(session))
        .returning(Peer.state)
    )
    if state is PeerState.GONE and move(session, peer_id, state, PeerState.CONSENTED):
        schedule(session, peer_id)
    if state is PeerState.STALE:
        move(session, peer_id, state, PeerState.LIVE)


def accepted(session: Session, peer_id: int) -> None:
    """Note that the hub accepted our Follow: its outbox is read now."""
    if move(session, peer_id, PeerState.FOLLOWING, PeerState.LIVE):
        schedule(session, peer_id)


def rejected(session: Session, peer_id: int) -> None:
    """Note that the hub refuses our Follow, or ended it: its word on indexing still stands."""
    for source in (PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE):
        move(session, peer_id, source, PeerState.CONSENTED)
    session.execute(
        update(Peer)
        .where(Peer.id == peer_id)
        .values(due_at=None, last_error="the hub rejected our Follow")
    )


def failed(session: Session, peer_id: int, *, gone: bool) -> PeerState:
    """Note that the hub did not answer, or that its actor is gone; return its state now.

    After 30 days without any answer it is gone, and with it its listings.
    """
    peer = session.get_one(Peer, peer_id)
    silent_since = peer.last_heard_at or peer.state_since
    if gone or now(session) - silent_since >= GONE_AFTER:
        if PeerState.GONE in TRANSITIONS[peer.state]:
            move(session, peer_id, peer.state, PeerState.GONE)
            _withdraw_all(session, peer, WithdrawnReason.HUB_GONE)
    elif peer.attempts + 1 >= FAILURES_TO_STALE:
        move(session, peer_id, PeerState.LIVE, PeerState.STALE)
    session.refresh(peer)
    return peer.state


def may_index(session: Session, peer: Peer) -> bool:
    """Tell whether what a peer sends is taken: it agreed, and the operator has not suspended it.

    Whether it is admitted concerns clearing alone.
    """
    return peer.state in INDEXED and not is_suspended(session, peer)


def is_suspended(session: Session, peer: Peer) -> bool:
    """Tell whether the operator has suspended a peer's hub."""
    hub = session.get(Hub, peer.group_id) if peer.group_id else None
    return hub is not None and hub.state is HubState.SUSPENDED


def _withdraw_all(session: Session, peer: Peer, reason: WithdrawnReason) -> None:
    """Withdraw every listing of a hub's group and drop all else that was kept of it."""
    uris = session.scalars(
        select(Listing.uri).where(Listing.group_id == peer.group_id, Listing.withdrawn_at.is_(None))
    ).all()
    withdraw_each(session, uris, reason)
    forget_hub(session, peer.id)


def peer_report(session: Session, group_id: str) -> PeerReport:
    """Return how the crawler stands with a group's hub; NotFoundError where it knows none.

    Deliveries that the hub does not take count as its failures too.
    """
    peer = by_group(session, group_id)
    waiting = session.scalar(
        select(Delivery)
        .where(
            Delivery.peer_id == peer.id,
            Delivery.delivered_at.is_(None),
            Delivery.last_error.is_not(None),
        )
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    return PeerReport(
        group_id=group_id,
        actor_uri=peer.actor_uri,
        state=peer.state,
        state_since=peer.state_since,
        consented_at=peer.consented_at,
        last_heard_at=peer.last_heard_at,
        last_looked_at=peer.last_looked_at,
        next_look_at=waiting.due_at if waiting else peer.due_at,
        failures=peer.attempts + (waiting.attempts if waiting else 0),
        last_error=peer.last_error or (waiting.last_error if waiting else None),
        listings=session.scalar(select(func.count()).where(Listing.group_id == group_id, shown()))
        or 0,
        put_aside=session.scalar(select(func.count()).where(PutAside.peer_id == peer.id)) or 0,
    )
