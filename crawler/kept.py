"""What is kept as it came: what hubs pushed and what was put aside, and how it is forgotten.

A pushed activity that waits to be handled is never forgotten by another: it may be the newer
word, and is judged when its turn comes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now
from commons.jobs import Scheduled
from crawler import proofs
from crawler.interest import rows as interests
from marketplace.duplicates import forget_claims

FORGOTTEN_AT_ONCE: Final = 100
ASIDE_MOST: Final = 1_000
"""How many things of one peer are put aside at most."""
LASTING: Final = "Block"
"""The kind of activity that stands for as long as it is not undone, be that by its id alone."""


class InboxMessage(Scheduled, Base):
    """An activity as a hub pushed it; `due_at` is empty once it has been handled.

    `object_uri` is the innermost object's id and `author_uri` whose it is, so that both can be
    forgotten: `body` is then empty. `is_vouched` tells that the hub's own key signed it, not a
    member's.
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
    is_vouched: Mapped[bool]
    received_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("peer_id", "activity_id"),
        Index(
            "ix_inbox_messages_waiting",
            "peer_id",
            "due_at",
            sqlite_where=text("due_at IS NOT NULL"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index(
            "ix_inbox_messages_kept",
            "received_at",
            sqlite_where=text("body IS NOT NULL"),
            postgresql_where=text("body IS NOT NULL"),
        ),
    )


class PutAside(Scheduled, Base):
    """Something that arrived and was not taken: what, from whom, why, and as it came.

    `due_at` is when it is tried again, empty where that is no use. `is_vouched` tells that the hub
    itself told it.
    """

    __tablename__ = "put_aside"

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"))
    uri: Mapped[str] = mapped_column(String(2048))
    author_uri: Mapped[str] = mapped_column(String(2048), index=True)
    reason: Mapped[str] = mapped_column(String(1000))
    at: Mapped[datetime]
    document: Mapped[str | None] = mapped_column(Text)
    is_vouched: Mapped[bool]

    __table_args__ = (UniqueConstraint("peer_id", "uri"),)


@dataclass(frozen=True)
class Aside:
    """What was not taken: what, why, whose, as it came, and when it is tried again."""

    uri: str
    reason: str
    author_uri: str = ""
    document: str | None = None
    again_at: datetime | None = None
    is_vouched: bool = field(kw_only=True)


def put_aside(  # noqa: PLR0913 (what, whose, why, as it came, and when again)
    session: Session,
    peer_id: int,
    uri: str,
    reason: str,
    *,
    author_uri: str = "",
    document: str | None = None,
    again_at: datetime | None = None,
    is_vouched: bool,
) -> None:
    """Keep what was not taken and why; of one thing only the latest is kept."""
    aside = Aside(uri, reason, author_uri, document, again_at, is_vouched=is_vouched)
    put_aside_each(session, peer_id, [aside])


def put_aside_each(session: Session, peer_id: int, asides: Sequence[Aside]) -> None:
    """Keep things of one peer that were not taken; of one thing only the last is kept."""
    latest = {aside.uri[:2048]: aside for aside in asides}
    if not latest:
        return
    moment = now(session)
    query = select(PutAside).where(PutAside.peer_id == peer_id, PutAside.uri.in_(latest))
    held = {row.uri: row for row in session.scalars(query)}
    for uri, aside in latest.items():
        row = held.get(uri) or PutAside(peer_id=peer_id, uri=uri)
        row.reason, row.at = aside.reason[:1000], moment
        row.author_uri, row.document = aside.author_uri, aside.document
        row.is_vouched = aside.is_vouched
        row.due_at, row.attempts, row.last_error = aside.again_at, 0, None
        session.add(row)
    session.flush()
    _make_room(session, peer_id)


def _make_room(session: Session, peer_id: int) -> None:
    """Drop what a peer has put aside too much: first what waits for nothing, the oldest first."""
    mine = PutAside.peer_id == peer_id
    held = session.scalar(select(func.count()).select_from(PutAside).where(mine)) or 0
    if held > ASIDE_MOST:
        oldest = (
            select(PutAside.id)
            .where(mine)
            .order_by(PutAside.due_at.is_not(None), PutAside.at, PutAside.id)
            .limit(held - ASIDE_MOST)
            .with_for_update(skip_locked=True)
        )
        session.execute(delete(PutAside).where(PutAside.id.in_(oldest)))


def taken(session: Session, peer_id: int, uris: Collection[str]) -> None:
    """Forget that things were put aside, since they have been taken now."""
    taken_each(session, {(peer_id, uri) for uri in uris})


def taken_each(session: Session, things: Collection[tuple[int, str]]) -> None:
    """Forget that things, by peer and URI, were put aside; nearly always none of them was."""
    rows = select(PutAside.id, PutAside.peer_id, PutAside.uri).where(
        PutAside.peer_id.in_({peer_id for peer_id, _ in things}),
        PutAside.uri.in_({uri for _, uri in things}),
    )
    held = session.execute(rows).all() if things else ()
    ids = [row_id for row_id, peer_id, uri in held if (peer_id, uri) in things]
    if ids:
        session.execute(delete(PutAside).where(PutAside.id.in_(ids)))


def forget_objects(session: Session, uris: Collection[str]) -> None:
    """Drop what was kept of objects, since they are withdrawn."""
    if not uris:
        return
    _empty(session, InboxMessage.object_uri.in_(uris), InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.uri.in_(uris)))
    interests.withdrawn(session, uris)
    proofs.forget(session, uris)
    forget_claims(session, uris)


def forget_author(session: Session, uri: str) -> None:
    """Drop what was kept of an author."""
    _empty(session, InboxMessage.author_uri == uri, InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.author_uri == uri))


def forget_hub(session: Session, peer_id: int) -> None:
    """Drop what was kept of all that a hub sent."""
    _empty(session, InboxMessage.peer_id == peer_id, InboxMessage.due_at.is_(None))
    session.execute(delete(PutAside).where(PutAside.peer_id == peer_id))


def forget_handled(session: Session, before: datetime) -> None:
    """Drop what was pushed that long ago and has been handled, a part of it at a time.

    A better reader could read it again until then, and reads the outbox anew from then on.
    """
    old = (
        select(InboxMessage.id)
        .where(
            InboxMessage.received_at < before,
            InboxMessage.body.is_not(None),
            InboxMessage.due_at.is_(None),
        )
        .limit(FORGOTTEN_AT_ONCE)
    )
    _empty(session, InboxMessage.id.in_(old))


def forget_arrivals(session: Session, before: datetime) -> None:
    """Forget that what was handled and is empty came at all, that long ago, a part at a time.

    By then the same activity again has no effect: its signature is too old, its version no newer.
    """
    # The oldest have the lowest ids, so that only these need to be looked at.
    oldest = (
        select(
            InboxMessage.id,
            InboxMessage.received_at,
            and_(InboxMessage.body.is_(None), InboxMessage.due_at.is_(None)).label("is_over"),
        )
        .where(InboxMessage.activity_type != LASTING)
        .order_by(InboxMessage.id)
        .limit(FORGOTTEN_AT_ONCE)
        .subquery()
    )
    over = select(oldest.c.id).where(oldest.c.received_at < before, oldest.c.is_over)
    session.execute(delete(InboxMessage).where(InboxMessage.id.in_(over)))


def forget_earlier(session: Session, message_id: int) -> None:
    """Forget that an actor sent activities of the same kind about the same before this one."""
    last = session.get_one(InboxMessage, message_id)
    session.execute(
        delete(InboxMessage).where(
            InboxMessage.object_uri == last.object_uri,
            InboxMessage.peer_id == last.peer_id,
            InboxMessage.actor_uri == last.actor_uri,
            InboxMessage.activity_type == last.activity_type,
            InboxMessage.due_at.is_(None),
            InboxMessage.id < last.id,
        )
    )


def forget_message(session: Session, message_id: int) -> None:
    """Drop what a pushed activity says; that it came stays known."""
    forget_messages(session, [message_id])


def forget_messages(session: Session, message_ids: Collection[int]) -> None:
    """Drop what pushed activities say; that they came stays known."""
    if message_ids:
        _empty(session, InboxMessage.id.in_(message_ids))


def undone(session: Session, activities: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return which activities of peers an Undo has arrived of, be it before the activity itself."""
    query = select(InboxMessage.peer_id, InboxMessage.object_uri).where(
        InboxMessage.peer_id.in_({peer_id for peer_id, _ in activities}),
        InboxMessage.activity_type == "Undo",
        InboxMessage.object_uri.in_({activity_id for _, activity_id in activities}),
    )
    return {(peer_id, uri) for peer_id, uri in session.execute(query)} & set(activities)


def _empty(session: Session, *conditions: ColumnElement[bool]) -> None:
    session.execute(update(InboxMessage).where(*conditions).values(body=None))
