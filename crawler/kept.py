"""What is kept as it came: what hubs pushed and what was put aside, and how it is forgotten.

A pushed activity that waits to be handled is never forgotten by another: it may be the newer
word, and is judged when its turn comes.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    delete,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now
from commons.jobs import Scheduled

FORGOTTEN_AT_ONCE: Final = 100


class InboxMessage(Scheduled, Base):
    """An activity as a hub pushed it; `due_at` is empty once it has been handled.

    `object_uri` is the innermost object's id and `author_uri` whose it is, so that both can be
    forgotten: `body` is then empty.
    """

    __tablename__ = "inbox_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"))
    key_id: Mapped[str] = mapped_column(String(2048))
    activity_id: Mapped[str] = mapped_column(String(2048))
    activity_type: Mapped[str] = mapped_column(String(100))
    actor_uri: Mapped[str] = mapped_column(String(2048))
    object_uri: Mapped[str] = mapped_column(String(2048), index=True)
    author_uri: Mapped[str] = mapped_column(String(2048), index=True)
    body: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("peer_id", "activity_id"),
        Index("ix_inbox_messages_backlog", "peer_id", "due_at"),
    )


class PutAside(Scheduled, Base):
    """Something that arrived and was not taken: what, from whom, why, and as it came.

    `due_at` is when it is tried again, empty where that is no use.
    """

    __tablename__ = "put_aside"

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"))
    uri: Mapped[str] = mapped_column(String(2048))
    author_uri: Mapped[str] = mapped_column(String(2048), index=True)
    reason: Mapped[str] = mapped_column(String(1000))
    at: Mapped[datetime]
    document: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("peer_id", "uri"),)


def put_aside(  # noqa: PLR0913 (what, whose, why, as it came, and when again)
    session: Session,
    peer_id: int,
    uri: str,
    reason: str,
    *,
    author_uri: str = "",
    document: str | None = None,
    again_at: datetime | None = None,
) -> None:
    """Keep what was not taken and why; of one thing only the latest is kept."""
    uri = uri[:2048]
    row = session.scalar(
        select(PutAside).where(PutAside.peer_id == peer_id, PutAside.uri == uri)
    ) or PutAside(peer_id=peer_id, uri=uri)
    row.reason, row.at = reason[:1000], now(session)
    row.author_uri, row.document = author_uri, document
    row.due_at, row.attempts, row.last_error = again_at, 0, None
    session.add(row)
    session.flush()


def taken(session: Session, peer_id: int, uris: Collection[str]) -> None:
    """Forget that things were put aside, since they have been taken now."""
    mine = PutAside.peer_id == peer_id
    session.execute(delete(PutAside).where(mine, PutAside.uri.in_(uris)))


def forget_objects(session: Session, uris: Collection[str]) -> None:
    """Drop what was kept of objects, since they are withdrawn."""
    _empty(session, InboxMessage.object_uri.in_(uris), InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.uri.in_(uris)))


def forget_author(session: Session, uri: str) -> None:
    """Drop what was kept of an author."""
    _empty(session, InboxMessage.author_uri == uri, InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.author_uri == uri))


def forget_hub(session: Session, peer_id: int) -> None:
    """Drop what was kept of all that a hub sent."""
    _empty(session, InboxMessage.peer_id == peer_id, InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.peer_id == peer_id))


def forget_handled(session: Session, peer_id: int, before: datetime) -> None:
    """Drop what a hub pushed that long ago and what has been handled: it could say a door.

    A better reader could read it again until then, and reads the outbox anew from then on.
    """
    old = (
        select(InboxMessage.id)
        .where(
            InboxMessage.peer_id == peer_id,
            InboxMessage.due_at.is_(None),
            InboxMessage.body.is_not(None),
            InboxMessage.received_at < before,
        )
        .limit(FORGOTTEN_AT_ONCE)
    )
    _empty(session, InboxMessage.id.in_(old))


def forget_message(session: Session, message_id: int) -> None:
    """Drop what a pushed activity says; that it came stays known."""
    _empty(session, InboxMessage.id == message_id)


def _empty(session: Session, *conditions: ColumnElement[bool]) -> None:
    session.execute(update(InboxMessage).where(*conditions).values(body=None))
