"""Events: what happened, told to each hub in an order of its own, without gaps."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import CheckConstraint, ForeignKey, String, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import bulk, chain
from clearing.limits import Use
from commons import database
from commons.database import Base, enum_column
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, format_amount


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
    RATE_ENDED = "rate-ended"
    ADJUSTMENT_PROPOSED = "adjustment-proposed"
    ADJUSTMENT_ENDED = "adjustment-ended"
    DISPUTE_CHANGED = "dispute-changed"
    UNION_CHANGED = "union-changed"
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

_EVENTS: Final = Base.metadata.tables[Event.__tablename__]
_COLUMNS: Final = ("group_id", "number", "kind", "subject", "data", "happened_at")
_TAKE: Final = (
    "ON CONFLICT (group_id) DO UPDATE SET last = event_streams.last + excluded.last"
    " RETURNING group_id, last"
)
_DRAW: Final = {
    "sqlite": text(
        "INSERT INTO event_streams (group_id, last)"  # noqa: S608 (nothing of it is from outside)
        f" SELECT key, value FROM json_each(:wanted) WHERE true ORDER BY key {_TAKE}"
    ),
    "postgresql": text(
        "INSERT INTO event_streams (group_id, last)"  # noqa: S608 (as above)
        " SELECT key, CAST(value AS bigint) FROM json_each_text(CAST(:wanted AS json))"
        f" ORDER BY key {_TAKE}"
    ),
}


@dataclass(frozen=True)
class Notice:
    """An event to be recorded for the hub of a group."""

    group_id: str
    kind: EventKind
    subject: str
    data: Mapping[str, str | None] = field(default_factory=dict)


def approached(group_id: str, union_id: str, use: Use) -> Notice:
    """Return what a hub is told whose group's limit is used beyond the level of warning."""
    data = {
        "limit": use.name,
        "union": union_id,
        "used": format_amount(use.used + use.change, CLEARING_SCALE),
        "warn": format_amount(use.warn or 0, CLEARING_SCALE),
    }
    return Notice(group_id, EventKind.LIMIT_APPROACHED, group_id, data)


def record(session: Session, notices: Iterable[Notice], moment: datetime) -> None:
    """Record events in their order, each under the next number of its hub.

    Takes the locks of the hubs' streams, in the order of group ids; so it comes last in a
    transaction, after every lock of accounts.
    """
    told = list(notices)
    if not told:
        return
    session.flush()
    numbers = _draw(session, Counter(notice.group_id for notice in told))
    rows = [
        (
            notice.group_id,
            next(numbers[notice.group_id]),
            notice.kind,
            notice.subject,
            dict(notice.data),
            moment,
        )
        for notice in told
    ]
    bulk.insert_rows(session, _EVENTS, _COLUMNS, rows)


def _draw(session: Session, wanted: Mapping[str, int]) -> dict[str, Iterator[int]]:
    """Return the next numbers of hubs' streams, so many of each; the streams stay locked.

    In one statement, in the order of group ids, since a batch of payments tells hundreds of hubs.
    """
    connection = session.connection()
    told = {"wanted": orjson.dumps(wanted).decode()}
    return {
        group_id: iter(range(last - wanted[group_id] + 1, last + 1))
        for group_id, last in connection.execute(_DRAW[connection.dialect.name], told)
    }


def after(session: Session, group_id: str, number: int, limit: int) -> list[Event]:
    """Return a hub's events after a number, in their order, `limit` at most.

    Raises InvalidError for a number that no event of the hub has yet: whoever asks so has seen
    another history, and must not wait for what it would then miss.
    """
    if number > 0 and number > last_number(session, group_id):
        raise InvalidError("after", f"is beyond the last event, {last_number(session, group_id)}")
    found = session.scalars(
        select(Event)
        .where(Event.group_id == group_id, Event.number > number)
        .order_by(Event.number)
        .limit(limit)
    )
    return list(found)


def last_number(session: Session, group_id: str) -> int:
    """Return the number of a hub's newest event, 0 where there is none."""
    return session.scalar(select(EventStream.last).where(EventStream.group_id == group_id)) or 0


def view(event: Event) -> dict[str, Any]:
    """Return an event as its hub is told it."""
    return {
        "number": event.number,
        "kind": event.kind.value,
        "subject": event.subject,
        "data": event.data,
        "happened_at": chain.time_text(event.happened_at),
    }
