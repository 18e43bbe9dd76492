"""Peers: the hubs as the crawler sees them, what they agreed to, how fresh and how well they are.

A peer's row carries its own schedule: `due_at` is when it is next followed or looked at,
`attempts` and `last_error` tell of the failures since it last answered.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    String,
    UniqueConstraint,
    and_,
    delete,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.errors import NotFoundError
from commons.groups import Hub, HubState
from commons.jobs import Scheduled
from crawler.changes import withdraw_each
from crawler.delivery import Delivery
from crawler.kept import forget_hub
from marketplace.consent import ConsentBasis
from marketplace.listings import Listing, WithdrawnReason

LOOK_AGAIN: Final = timedelta(days=6)
"""With the day within which a listing is not confirmed anew, each is looked at weekly."""
PULL_AGAIN: Final = timedelta(days=1)
"""What pushes nothing is read daily."""
GONE_AFTER: Final = timedelta(days=30)
FAILURES_TO_STALE: Final = 3
ACCEPTED_SOON: Final = timedelta(minutes=2)
"""A crawl that began so shortly before the Accept has missed nothing worth reading it again."""
BY_REGISTRATION: Final = "its registration"
"""How a hub was found that last told us by registering what it agrees to, or that it does not."""
LEFT: Final = "the operator of this service, who left it"
"""How a hub is noted that comes back by the operator's word alone."""


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


class Covers(StrEnum):
    """For whom a hub's consent speaks, as its evidence says."""

    MEMBERS = "members"
    ITS_OWN = "its own"


_ANYWHERE: Final = frozenset({PeerState.DISCOVERED, PeerState.BLOCKED})
TRANSITIONS: Final[dict[PeerState, frozenset[PeerState]]] = {
    PeerState.DISCOVERED: frozenset({PeerState.CONSENTED, PeerState.BLOCKED}),
    PeerState.CONSENTED: _ANYWHERE | {PeerState.FOLLOWING, PeerState.LIVE, PeerState.GONE},
    PeerState.FOLLOWING: _ANYWHERE | {PeerState.LIVE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.LIVE: _ANYWHERE | {PeerState.STALE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.STALE: _ANYWHERE | {PeerState.LIVE, PeerState.CONSENTED, PeerState.GONE},
    PeerState.GONE: _ANYWHERE | {PeerState.CONSENTED},
    PeerState.BLOCKED: frozenset({PeerState.DISCOVERED}),
}
"""Whoever blocks us may take that back only by agreeing anew, hence `discovered`.

What is read without being followed goes from `consented` to `live` at its first good crawl.
"""

INDEXED: Final = frozenset(
    {PeerState.CONSENTED, PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE}
)
"""States in which a hub is read and its listings are taken; an Accept may come days later."""


class Peer(Scheduled, Base):
    """A hub's actor or other source, and where it has been read to.

    `group_id` is empty for what is only discovered and for relays; `found_by` says how it was
    discovered. `consent_evidence` is what shows that the hub agreed; without `consented_at` there
    is no consent. `refused_at` is when an actor that was only asked said no; `blocks_us` tells that
    a hub itself blocks us, which the end of an operator's block of its domain does not end. A
    `follow_uri` in the state `consented` is of a Follow that was rejected.

    A look is a crawl of all that the hub publishes, which began at `crawl_began_at` and ended at
    `crawled_at`, and then a second look at each listing that it did not confirm, which ends at
    `last_looked_at`. `crawl_page` and `crawl_offset` say where an unfinished crawl goes on;
    `crawl_page` is the last listing looked at during the second look.
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
    blocks_us: Mapped[bool] = mapped_column(default=False)
    refused_at: Mapped[datetime | None]
    follow_uri: Mapped[str | None] = mapped_column(String(2048))
    last_heard_at: Mapped[datetime | None]
    last_looked_at: Mapped[datetime | None]
    keys_fetched_at: Mapped[datetime | None]
    crawl_page: Mapped[str | None] = mapped_column(String(2048))
    crawl_offset: Mapped[int] = mapped_column(default=0)
    crawl_began_at: Mapped[datetime | None]
    crawled_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("actor_uri"), UniqueConstraint("group_id"))


class CrawledPage(Base):
    """A page that the crawl under way has seen, so that a cycle ends; emptied at its end."""

    __tablename__ = "crawled_pages"

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    page_uri: Mapped[str] = mapped_column(String(2048), primary_key=True)


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


def consent(session: Session, peer: Peer, evidence: dict[str, Any], covers: Covers) -> None:
    """Record the hub's word that the public listings of those it `covers` may be indexed.

    A hub that blocked us takes that back by it.
    """
    if peer.consented_at is None:
        peer.consented_at = now(session)
        peer.consent_evidence = evidence
    peer.refused_at = None
    cover(session, peer, covers)
    unblocked(session, peer.id)
    for source in (PeerState.DISCOVERED, PeerState.GONE):
        if move(session, peer.id, source, PeerState.CONSENTED):
            start_over(session, peer.id)
    session.refresh(peer)
    if peer.state is PeerState.CONSENTED:
        peer.follow_uri = None  # it may think better of having rejected us
        session.flush()


def cover(session: Session, peer: Peer, covers: Covers) -> None:
    """Record for whom a hub's consent speaks; of others nothing stays that stands on it."""
    if (peer.consent_evidence or {}).get("covers") != covers:
        peer.consent_evidence = {**(peer.consent_evidence or {}), "covers": covers}
    session.flush()
    if covers is Covers.MEMBERS or peer.group_id is None:
        return
    others = select(Listing.uri).where(
        Listing.group_id == peer.group_id,
        Listing.withdrawn_at.is_(None),
        Listing.consent_basis == ConsentBasis.HUB,
        Listing.author_uri != peer.actor_uri,
    )
    if uris := session.scalars(others).all():
        withdraw_each(session, uris, WithdrawnReason.CONSENT)


def revoke(
    session: Session,
    peer: Peer,
    state: PeerState = PeerState.DISCOVERED,
    reason: WithdrawnReason = WithdrawnReason.CONSENT,
) -> None:
    """Take the hub's consent back and withdraw what was indexed of its group.

    `state` is `blocked` where the hub blocks us, or our operator its domain, as `reason` says.
    """
    if state is PeerState.BLOCKED and reason is WithdrawnReason.CONSENT:
        peer.blocks_us = True
    peer.consented_at = peer.consent_evidence = peer.follow_uri = peer.due_at = None
    session.flush()
    if peer.state is not state:
        move(session, peer.id, peer.state, state)
    cancel_deliveries(
        session, and_(Delivery.peer_id == peer.id, Delivery.about.is_not(None)), "not followed now"
    )
    withdraw_all(session, peer, reason)
    session.refresh(peer)


def unblocked(session: Session, peer_id: int) -> None:
    """Note that a hub no longer blocks us; nothing is indexed before it agrees anew."""
    session.execute(update(Peer).where(Peer.id == peer_id).values(blocks_us=False))
    move(session, peer_id, PeerState.BLOCKED, PeerState.DISCOVERED)


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


def start_over(session: Session, peer_id: int) -> None:
    """Have a peer followed and read anew, from the beginning and at once."""
    session.execute(update(Peer).where(Peer.id == peer_id).values(follow_uri=None))
    read_anew(session, peer_id)


def read_anew(session: Session, peer_id: int) -> None:
    """Have a peer read from the beginning and at once, and all asked for that this leaves out."""
    session.execute(
        update(Peer)
        .where(Peer.id == peer_id)
        .values(
            crawl_page=None,
            crawl_offset=0,
            crawl_began_at=None,
            crawled_at=None,
            last_looked_at=None,
        )
    )
    session.execute(delete(CrawledPage).where(CrawledPage.peer_id == peer_id))
    schedule(session, peer_id)


def heard(session: Session, peer_id: int) -> None:
    """Note that the hub spoke to us or answered; one that was given up is followed anew."""
    state = session.scalar(
        update(Peer)
        .where(Peer.id == peer_id)
        .values(last_heard_at=now(session))
        .returning(Peer.state)
    )
    if state is PeerState.GONE and move(session, peer_id, state, PeerState.CONSENTED):
        start_over(session, peer_id)
    if state is PeerState.STALE:
        move(session, peer_id, state, PeerState.LIVE)


def accepted(session: Session, peer_id: int) -> None:
    """Note that the hub accepted our Follow; what it published since it was read is read now."""
    if not move(session, peer_id, PeerState.FOLLOWING, PeerState.LIVE):
        return
    began_at = session.get_one(Peer, peer_id, populate_existing=True).crawl_began_at
    if began_at is None or now(session) - began_at > ACCEPTED_SOON:
        schedule(session, peer_id)


def rejected(session: Session, peer_id: int) -> None:
    """Note that the hub refuses our Follow, or ended it: its word on indexing still stands.

    No other Follow is sent; what it publishes is still read.
    """
    for source in (PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE):
        move(session, peer_id, source, PeerState.CONSENTED)
    session.execute(
        update(Peer).where(Peer.id == peer_id).values(last_error="the hub rejected our Follow")
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
            withdraw_all(session, peer, WithdrawnReason.HUB_GONE)
    elif peer.attempts + 1 >= FAILURES_TO_STALE:
        move(session, peer_id, PeerState.LIVE, PeerState.STALE)
    session.refresh(peer)
    return peer.state


def may_index(session: Session, peer: Peer) -> bool:
    """Tell whether what a peer sends is taken: it agreed, and the operator has not suspended it.

    Whether it is admitted concerns clearing alone.
    """
    return peer.state in INDEXED and not is_suspended(session, peer)


def covers(peer: Peer, author_uri: str) -> bool:
    """Tell whether a peer's consent speaks for an author: at least for itself."""
    if peer.consented_at is None:
        return False
    covers_members = (peer.consent_evidence or {}).get("covers") == Covers.MEMBERS
    return covers_members or author_uri == peer.actor_uri


def is_suspended(session: Session, peer: Peer) -> bool:
    """Tell whether the operator has suspended a peer's hub."""
    hub = session.get(Hub, peer.group_id) if peer.group_id else None
    return hub is not None and hub.state is HubState.SUSPENDED


def withdraw_all(session: Session, peer: Peer, reason: WithdrawnReason) -> None:
    """Withdraw every listing of a hub's group and drop all else that was kept of it."""
    if peer.group_id is not None:
        mine = (Listing.group_id == peer.group_id, Listing.withdrawn_at.is_(None))
        withdraw_each(session, session.scalars(select(Listing.uri).where(*mine)).all(), reason)
    forget_hub(session, peer.id)


def cancel_deliveries(session: Session, which: ColumnElement[bool], reason: str) -> None:
    """Give up those of our activities that still wait to be delivered."""
    session.execute(
        update(Delivery)
        .where(Delivery.due_at.is_not(None), which)
        .values(due_at=None, activity={}, last_error=reason)
    )
