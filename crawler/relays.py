"""Relays (FEP-ae0c): followed in the style that they speak, and believed in nothing.

What a relay passes on is fetched at its origin, where only its author's own word or its home hub's
consent counts. A relay has no group and no consent of its own.
"""

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Engine, ForeignKey, String, func, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now, transaction
from commons.errors import ConflictError, FetchError, InvalidError, MalformedError, NotFoundError
from commons.fetch import Door
from commons.groups import Hub
from commons.settings import Settings
from crawler import delivery, peers
from crawler.actor import accept_follow, actor_uri, follow, undo_follow
from crawler.changes import withdraw_each
from crawler.fasp.rows import AnnouncedObject
from crawler.finding import Finding, find_relay, read_address
from crawler.origins import Actor, fetch_actor
from crawler.peers import LOOK_AGAIN, Peer, PeerKind, PeerState
from crawler.registration import check_inbox
from crawler.terms import PUBLIC
from marketplace.listings import Listing, WithdrawnReason

FOUND_BY: Final = "the operator, as a relay"
_GONE: Final = 410
_ASKED: Final = frozenset({PeerState.CONSENTED, PeerState.FOLLOWING})
_LIVE: Final = frozenset({PeerState.LIVE, PeerState.STALE})
_FOLLOWING: Final = _LIVE | {PeerState.FOLLOWING}


class RelayStyle(StrEnum):
    """What a relay expects to be followed: the whole public, or its own actor."""

    MASTODON = "mastodon"
    LITEPUB = "litepub"


class Relay(Base):
    """How a relay is followed."""

    __tablename__ = "relays"

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    style: Mapped[RelayStyle] = mapped_column(enum_column(RelayStyle))
    inbox_uri: Mapped[str] = mapped_column(String(2048))


async def join_relay(
    engine: Engine, door: Door, settings: Settings, address: str, style: RelayStyle
) -> tuple[Finding, PeerState | None]:
    """Find the relay at an address, its actor's or its inbox's, and have it followed.

    Returns what was tried with the peer's state, which is None where no actor was found. Raises
    InvalidError where the address is none, ConflictError where it is followed as a group.
    """
    finding = await find_relay(door, read_address(address, allow_loopback=settings.allow_loopback))
    if finding.actor is None:
        return finding, None
    return finding, await asyncio.to_thread(_begin, engine, finding.actor, style)


def _begin(engine: Engine, actor: Actor, style: RelayStyle) -> PeerState:
    check_inbox(actor)
    with transaction(engine) as session:
        peer = peers.discover(session, actor.id, found_by=FOUND_BY, kind=PeerKind.RELAY)
        if peer.group_id is not None:
            raise ConflictError(f"{actor.id} is followed as the group {peer.group_id!r}")
        peer.kind = PeerKind.RELAY
        relay = session.get(Relay, peer.id)
        if relay is None:
            relay = Relay(peer_id=peer.id)
            session.add(relay)
        relay.style, relay.inbox_uri = style, actor.inbox
        session.flush()
        for source in (PeerState.DISCOVERED, PeerState.GONE):
            if peers.move(session, peer.id, source, PeerState.CONSENTED):
                peers.start_over(session, peer.id)
        peers.schedule(session, peer.id)
        session.refresh(peer)
        return peer.state


async def attend_relay(
    engine: Engine, door: Door, settings: Settings, peer_id: int
) -> datetime | None:
    """Do what is next for a relay, and return when it is next due; None where nothing is.

    It is sent a Follow, again each week until it answers; then its actor is looked at weekly.
    FetchError where that does not answer, which is noted in the peer's state.
    """
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        if peer.state in _ASKED:
            return _follow(session, settings, peer)
        if peer.state not in _LIVE:
            return None
        uri = peer.actor_uri
    try:
        actor = await fetch_actor(door.errand(uri), uri)
        check_inbox(actor)
    except (FetchError, InvalidError, MalformedError) as error:
        gone = isinstance(error, FetchError) and error.status == _GONE
        with transaction(engine) as session:
            if peers.failed(session, peer_id, gone=gone) is PeerState.GONE:
                return None
        raise FetchError(error.detail) from error
    with transaction(engine) as session:
        session.get_one(Relay, peer_id).inbox_uri = actor.inbox
        peers.heard(session, peer_id)
        return now(session) + LOOK_AGAIN


def _follow(session: Session, settings: Settings, peer: Peer) -> datetime | None:
    """Send a Follow on its way, unless the relay has been silent for too long."""
    is_waiting = peer.state is PeerState.FOLLOWING
    if is_waiting and peers.failed(session, peer.id, gone=False) is PeerState.GONE:
        return None
    moment = now(session)
    peer.follow_uri = f"{actor_uri(settings)}/follows/{peer.id}-{int(moment.timestamp())}"
    session.flush()
    relay = session.get_one(Relay, peer.id)
    activity = follow(settings, peer.follow_uri, _followed(relay, peer))
    delivery.enqueue(session, peer.id, relay.inbox_uri, activity)
    peers.move(session, peer.id, PeerState.CONSENTED, PeerState.FOLLOWING)
    return moment + LOOK_AGAIN


def _followed(relay: Relay | None, peer: Peer) -> str:
    is_public = relay is not None and relay.style is RelayStyle.MASTODON
    return PUBLIC if is_public else peer.actor_uri


def answer_follow(session: Session, our_actor: str, peer_id: int, follow_id: str) -> None:
    """Accept a relay's own Follow, which LitePub's send back to whoever follows them."""
    relay, peer = session.get_one(Relay, peer_id), session.get_one(Peer, peer_id)
    activity = accept_follow(our_actor, follow_id, peer.actor_uri)
    delivery.enqueue(session, peer_id, relay.inbox_uri, activity)


def leave(session: Session, settings: Settings, address: str) -> Peer:
    """Stop following a hub or relay and withdraw what was indexed of it; it is told by an Undo.

    `address` is its actor, a relay's inbox or the group's short id. What relays brought goes with
    the last of them, since it is not kept by which of them it came. Raises NotFoundError.
    """
    inboxes = select(Relay.peer_id).where(Relay.inbox_uri == address)
    named = or_(Peer.actor_uri == address, Peer.group_id == address, Peer.id.in_(inboxes))
    peer = session.scalar(select(Peer).where(named).with_for_update())
    if peer is None:
        raise NotFoundError(f"nothing is followed at {address!r}")
    relay = session.get(Relay, peer.id)
    hub = session.get(Hub, peer.group_id) if peer.group_id else None
    inbox_uri = relay.inbox_uri if relay else hub.inbox_uri if hub else None
    follow_uri = peer.follow_uri if peer.state in _FOLLOWING else None
    if relay is None:
        peer.found_by = peers.LEFT
    peers.revoke(session, peer)  # which gives up whatever Follow still waits
    if inbox_uri is not None and follow_uri is not None:
        activity = undo_follow(settings, follow_uri, _followed(relay, peer))
        delivery.enqueue(session, peer.id, inbox_uri, activity)
    if relay is not None and not _others_followed(session):
        _withdraw_relayed(session)
    return peer


def _others_followed(session: Session) -> bool:
    followed = select(func.count()).where(
        Peer.kind == PeerKind.RELAY, Peer.state.in_(_ASKED | _FOLLOWING)
    )
    return bool(session.scalar(followed))


def _withdraw_relayed(session: Session) -> None:
    """Withdraw the listings that have no hub here: relays bring such, and servers that share."""
    shared = {uri for some in session.scalars(select(AnnouncedObject.listing_uris)) for uri in some}
    relayed = select(Listing.uri).where(Listing.group_id.is_(None), Listing.withdrawn_at.is_(None))
    uris = [uri for uri in session.scalars(relayed) if uri not in shared]
    withdraw_each(session, uris, WithdrawnReason.CONSENT)
