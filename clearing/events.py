"""Events: what happened, told to each hub in an order of its own, without gaps."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, insert, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons import database
from commons.database import Base, enum_column


class EventKind(StrEnum):
    """What an event tells of."""

    TRANSFER_PENDING = "transfer-pending"
    TRANSFER_POSTED = "transfer-posted"
    TRANSFER_QUEUED = "transfer-queued"
    TRANSFER_REJECTED = "transfer-rejected"
    TRANSFER_CANCELLED = "transfer-cancelled"
    TRANSFER_EXPIRED = "transfer-expired"
    LIMIT_APPROACHED = "limit-approached"
    LIMIT_CHANGED = "limit-changed"
    ACCOUNT_CHANGED = "account-changed"
    RATE_PROPOSED = "rate-proposed"
    RATE_AGREED = "rate-agreed"
    ADJUSTMENT_PROPOSED = "adjustment-proposed"
    ADJUSTMENT_ENDED = "adjustment-ended"
    DISPUTE_CHANGED = "dispute-changed"
    PERIOD_CLOSED = "period-closed"
    ROUND_CHANGED = "round-changed"


class EventStream(Base):
    """How many events a hub was told; its row is locked from a drawing to the commit.

    So whoever reads up to a number has seen all before it.
    """

    __tablename__ = "event_streams"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    last: Mapped[int] = mapped_column(default=0)


class Event(Base):
    """One event; `number` counts 1, 2, 3 … for each hub.

    `subject` is the id of what it is about. No member's name stands in `data`.
    """

    __tablename__ = "events"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[EventKind] = mapped_column(enum_column(EventKind))
    subject: Mapped[str] = mapped_column(String(60))
    data: Mapped[dict[str, Any]]
    happened_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("number > 0", name="number_positive"),)


database.append_only(Event)


@dataclass(frozen=True)
class Notice:
    """An event to be recorded for the hub of a group."""

    group_id: str
    kind: EventKind
    subject: str
    data: Mapping[str, str | None] = field(default_factory=dict)


def record(session: Session, notices: Iterable[Notice], moment: datetime) -> None:
    """Record events in their order, each under the next number of its hub.

    Takes the locks of the hubs' streams, in the order of group ids; so it comes last in a
    transaction, after every lock of accounts.
    """
    of_group: dict[str, list[Notice]] = defaultdict(list)
    for notice in notices:
        of_group[notice.group_id].append(notice)
    rows = []
    for group_id in sorted(of_group):
        told = of_group[group_id]
        first = _draw(session, group_id, len(told))
        rows += [
            {
                "group_id": group_id,
                "number": number,
                "kind": notice.kind,
                "subject": notice.subject,
                "data": dict(notice.data),
                "happened_at": moment,
            }
            for number, notice in enumerate(told, first)
        ]
    if rows:
        session.execute(insert(Event), rows)


def _draw(session: Session, group_id: str, count: int) -> int:
    """Return the first of `count` numbers of a hub's stream, which stays locked."""
    last = session.scalar(
        update(EventStream)
        .where(EventStream.group_id == group_id)
        .values(last=EventStream.last + count)
        .returning(EventStream.last)
        .execution_options(synchronize_session=False)
    )
    if last is None:
        session.execute(
            text(
                "INSERT INTO event_streams (group_id, last) VALUES (:group_id, 0)"
                " ON CONFLICT (group_id) DO NOTHING"
            ).bindparams(group_id=group_id)
        )
        return _draw(session, group_id, count)
    return last - count + 1
