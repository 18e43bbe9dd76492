"""Servers that share content with us, and what they announced: the rows, and how far we are."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.errors import NotFoundError
from commons.jobs import Scheduled
from crawler.peers import Peer, may_index

FETCHES_MOST: Final = 20
"""How many announced objects of one message are looked at a minute."""
BACKLOG_MOST: Final = 5_000
"""How many announced objects of one server may wait."""


class FaspState(StrEnum):
    """How far a server and we are with each other.

    `requested`: somebody named it, and our operator has not answered. `registered`: keys are
    exchanged. `active`: its administrator lets it share content with us.
    """

    REQUESTED = "requested"
    REGISTERED = "registered"
    ACTIVE = "active"


TRANSITIONS: Final[dict[FaspState, frozenset[FaspState]]] = {
    FaspState.REQUESTED: frozenset({FaspState.REGISTERED}),
    FaspState.REGISTERED: frozenset({FaspState.ACTIVE}),
    FaspState.ACTIVE: frozenset({FaspState.REGISTERED}),
}


class FaspServer(Scheduled, Base):
    """A fediverse server; `address` is its origin, as it was named to us.

    `server_id` is ours for it and `fasp_id` its for us: each signs with the id that the other side
    gave it. `public_key` is its Ed25519 key, in base64. `backfill_id` is that of
    what we asked it for, of which there is more while `has_more`; `continuations` are those that
    were asked for.
    """

    __tablename__ = "fasp_servers"

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(String(2048))
    server_id: Mapped[str] = mapped_column(String(64))
    state: Mapped[FaspState] = mapped_column(enum_column(FaspState))
    state_since: Mapped[datetime]
    requested_at: Mapped[datetime]
    base_url: Mapped[str | None] = mapped_column(String(2048))
    fasp_id: Mapped[str | None] = mapped_column(String(255))
    public_key: Mapped[str | None] = mapped_column(String(64))
    completion_uri: Mapped[str | None] = mapped_column(String(2048))
    peer_id: Mapped[int | None] = mapped_column(ForeignKey("peers.id"))
    subscription_id: Mapped[str | None] = mapped_column(String(255))
    backfill_id: Mapped[str | None] = mapped_column(String(255))
    has_more: Mapped[bool] = mapped_column(default=False)
    continuations: Mapped[int] = mapped_column(default=0)

    __table_args__ = (UniqueConstraint("address"), UniqueConstraint("server_id"))


class AnnouncedObject(Scheduled, Base):
    """An object that a server announced, while it waits or holds listings that have no hub here.

    What several servers announce is the first one's. `listing_uris` are the listings found in it,
    `looked_at` is when it was last looked at where it lives; `due_at` is when next.
    """

    __tablename__ = "announced_objects"

    id: Mapped[int] = mapped_column(primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("fasp_servers.id"))
    uri: Mapped[str] = mapped_column(String(2048))
    listing_uris: Mapped[list[Any]]
    looked_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("uri"), Index(None, "server_id", "due_at"))


def by_address(session: Session, address: str, *, lock: bool = False) -> FaspServer:
    """Return the server of an address, or raise NotFoundError."""
    query = select(FaspServer).where(FaspServer.address == address)
    server = session.scalar(query.with_for_update() if lock else query)
    if server is None:
        raise NotFoundError(f"no server at {address!r} asked to share content with us")
    return server


def accepted_peer(session: Session, server: FaspServer) -> Peer | None:
    """Return the peer of a server that our operator accepted and has not blocked since."""
    peer = session.get(Peer, server.peer_id) if server.peer_id is not None else None
    return peer if peer is not None and may_index(session, peer) else None


def move(session: Session, server_id: int, source: FaspState, target: FaspState) -> bool:
    """Move a server from one state to another; False where it is not, or no longer, in `source`."""
    if target not in TRANSITIONS[source]:
        raise ValueError(f"a server does not go from {source} to {target}")
    moved = session.execute(
        update(FaspServer)
        .where(FaspServer.id == server_id, FaspServer.state == source)
        .values(state=target, state_since=now(session))
        .returning(FaspServer.id)
    )
    return moved.scalar() is not None


def waiting(session: Session, server_id: int, within: timedelta) -> int:
    """Return how many announced objects of a server are to be looked at within a time."""
    query = select(func.count()).where(
        AnnouncedObject.server_id == server_id, AnnouncedObject.due_at <= now(session) + within
    )
    return session.scalar(query) or 0
