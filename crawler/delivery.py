"""Our own activities on their way: one row per inbox, tried until it is taken or given up."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import Engine, ForeignKey, Index, String, delete, exists, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now, reading, transaction
from commons.errors import FetchError
from commons.fetch import Door
from commons.jobs import PostponedError, Scheduled
from commons.politeness import registrable_domain
from crawler.terms import Document, first_id, objects, types

MEDIA_TYPE: Final = "application/activity+json"
LIFE: Final = timedelta(days=7)
"""A host that has not answered for so long is dead; what waited for it is given up."""
ENDED_KEPT: Final = timedelta(days=7)
FORGOTTEN_AT_ONCE: Final = 100
_LONGEST_LANE: Final = 255
_ADDRESS: Final = re.compile(r"https?://([^/?#\s]+)\S*")


class Delivery(Scheduled, Base):
    """One activity for one inbox; `delivered_at` is when that inbox took it.

    `peer_id` is empty for an author whose hub is no peer. `lane` is whom its inbox belongs to: of
    one lane one delivery is under way at a time. `about` is empty where none can supersede it.
    `activity` is emptied when it was taken or given up.
    """

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int | None] = mapped_column(ForeignKey("peers.id"), index=True)
    interest_id: Mapped[int | None] = mapped_column(
        ForeignKey("interests.id", ondelete="CASCADE"), index=True
    )
    inbox_uri: Mapped[str] = mapped_column(String(2048))
    lane: Mapped[str] = mapped_column(String(_LONGEST_LANE))
    about: Mapped[str | None] = mapped_column(String(2048))
    activity: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "lane", "due_at"),)


def enqueue(
    session: Session,
    peer_id: int | None,
    inbox_uri: str,
    activity: Document,
    *,
    interest_id: int | None = None,
) -> Delivery:
    """Put an activity on its way to an inbox; it leaves after the commit.

    A Follow, or its Undo, supersedes those of the same actor that still wait for that inbox.
    """
    moment = now(session)
    _forget_ended(session, moment)
    row = Delivery(
        peer_id=peer_id,
        interest_id=interest_id,
        inbox_uri=inbox_uri,
        lane=lane_of(inbox_uri),
        about=_followed(activity),
        activity=activity,
        created_at=moment,
        due_at=moment,
        attempts=0,
    )
    session.add(row)
    session.flush()
    return row


def lane_of(inbox_uri: str) -> str:
    """Return whom an inbox belongs to: the registered domain, or else its host and port.

    Whoever owns a domain could make any number of hosts in it, each of them slow.
    """
    parts = urlsplit(inbox_uri)
    return (registrable_domain(parts.hostname or "") or parts.netloc.lower())[:_LONGEST_LANE]


def hurry(session: Session, peer_id: int) -> None:
    """Have what waits for a hub's inbox tried now; nothing that was given up comes back."""
    waits = (Delivery.peer_id == peer_id, Delivery.due_at.is_not(None))
    session.execute(update(Delivery).where(*waits).values(due_at=now(session)))


async def deliver(
    engine: Engine,
    door: Door,
    delivery_id: int,
    taken: Callable[[Session, int], None] | None = None,
) -> datetime | None:
    """Deliver one activity; FetchError where the inbox does not take it now.

    `taken` is told of it, in the same transaction. While the host is left alone, because it asked
    for that or its breaker is open, the delivery waits without counting as tried.
    """
    with reading(engine) as session:
        row = session.scalar(select(Delivery).where(Delivery.id == delivery_id))
        if row is None or row.delivered_at is not None:
            return None
        inbox_uri, activity, created_at = row.inbox_uri, row.activity, row.created_at
        is_superseded, moment = _is_superseded(session, row), now(session)
    if is_superseded:
        with transaction(engine) as session:
            session.execute(delete(Delivery).where(Delivery.id == delivery_id))
        return None
    if moment - created_at >= LIFE:
        raise FetchError(f"no inbox took it for {LIFE.days} days", final=True)
    try:
        await door.post(inbox_uri, json.dumps(activity, ensure_ascii=False).encode(), MEDIA_TYPE)
    except FetchError as error:
        raise told_by_host(error) from error
    with transaction(engine) as session:
        values = {"delivered_at": now(session), "activity": {}}
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(values))
        if taken is not None:
            taken(session, delivery_id)
    return None


def told_by_host(error: FetchError) -> FetchError | PostponedError:
    """Return what is told of a failed delivery: by hosts alone, since others read logs.

    Where the host is left alone, because it asked for that or its breaker is open, it waits.
    """
    reason = _ADDRESS.sub(r"\1", error.detail)
    if error.wait_seconds > 0:
        return PostponedError(reason, error.wait_seconds)
    return FetchError(reason, final=error.final, status=error.status)


def give_up(session: Session, delivery_id: int) -> None:
    """Empty an activity that no inbox took; that and why it was not taken stays known."""
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(activity={}))


def _followed(activity: Document) -> str | None:
    """Return the actor that a Follow, or an Undo of one, is about."""
    if "Undo" in types(activity):
        activity = next(objects(activity, "object"), {})
    return first_id(activity, "object") or None if "Follow" in types(activity) else None


def _is_superseded(session: Session, row: Delivery) -> bool:
    if row.about is None:
        return False
    later = exists().where(
        Delivery.peer_id == row.peer_id,
        Delivery.inbox_uri == row.inbox_uri,
        Delivery.about == row.about,
        Delivery.id > row.id,
    )
    return bool(session.scalar(select(later)))


def _forget_ended(session: Session, moment: datetime) -> None:
    old = (
        select(Delivery.id)
        .where(Delivery.due_at.is_(None), Delivery.created_at < moment - ENDED_KEPT)
        .limit(FORGOTTEN_AT_ONCE)
    )
    session.execute(delete(Delivery).where(Delivery.id.in_(old)))
