"""Webhooks: a hub's events are posted to the address it named, in order, until it takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import CheckConstraint, Engine, ForeignKey, String, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import events
from clearing.events import Event, EventStream
from commons import database
from commons.addresses import read_target
from commons.database import Base, reading, transaction
from commons.errors import (
    AddressRefusedError,
    FetchError,
    InvalidError,
    NotFoundError,
)
from commons.fetch import Door
from commons.groups import Hub, HubState
from commons.jobs import Job, PostponedError, Scheduled
from commons.knocking import Signing

JOB: Final = "webhook"
MOST_IN_A_CALL: Final = 100
ATTEMPTS: Final = 20
"""After about three days without an answer below 300 the hub, or the operator, has to ask."""
MAX_ADDRESS: Final = 2048


class Webhook(Scheduled, Base):
    """Where a hub's events go, and how far they went: all up to number `delivered`.

    `url` is empty where the hub took its address back; the mark stays, so that a new address goes
    on from there. `stopped_at` is when the last attempt failed and nothing more is sent until the
    hub or the operator asks.
    """

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), unique=True)
    url: Mapped[str | None] = mapped_column(String(MAX_ADDRESS))
    delivered: Mapped[int]
    delivered_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("delivered >= 0", name="delivered_not_negative"),)


@dataclass(frozen=True)
class Status:
    """How a hub's webhook stands: `last` is the hub's newest event, `next_try_at` when it is tried.

    `error` says why the newest attempt failed; with `stopped_at` nothing is tried any more.
    """

    group: str
    url: str | None
    delivered: int
    last: int
    delivered_at: datetime | None
    next_try_at: datetime | None
    attempts: int
    error: str | None
    stopped_at: datetime | None


def set_address(
    session: Session, group_id: str, url: str | None, *, allow_loopback: bool = False
) -> None:
    """Have a hub's events posted to an address from now on; None ends that.

    The first address is sent what happens from now on, a later one goes on where the last one
    stopped. Naming an address, the same one too, has what had stopped tried again. Raises
    InvalidError where the address may not be asked.
    """
    _check(url, allow_loopback=allow_loopback)
    webhook = _find(session, group_id)
    if webhook is None:
        if url is not None:
            last = events.last_number(session, group_id)
            session.add(Webhook(group_id=group_id, url=url, delivered=last, attempts=0))
            session.flush()
        return
    _set(session, group_id, {"url": url, **_rested(None)})


def _check(url: str | None, *, allow_loopback: bool) -> None:
    if url is None:
        return
    try:
        read_target(url, allow_loopback=allow_loopback)
    except AddressRefusedError as error:
        raise InvalidError("webhook", error.detail) from error


def status(session: Session, group_id: str) -> Status | None:
    """Return how a hub's webhook stands; None where it never named an address."""
    webhook = _find(session, group_id)
    return None if webhook is None else _status(webhook, events.last_number(session, group_id))


def statuses(session: Session) -> list[Status]:
    """Return how all hubs' webhooks stand, by group."""
    found = session.execute(
        select(Webhook, EventStream.last)
        .outerjoin(EventStream, EventStream.group_id == Webhook.group_id)
        .order_by(Webhook.group_id)
    )
    return [_status(webhook, last or 0) for webhook, last in found]


def _status(webhook: Webhook, last: int) -> Status:
    return Status(
        group=webhook.group_id,
        url=webhook.url,
        delivered=webhook.delivered,
        last=last,
        delivered_at=webhook.delivered_at,
        next_try_at=webhook.due_at,
        attempts=webhook.attempts,
        error=webhook.last_error,
        stopped_at=webhook.stopped_at,
    )


def resume(session: Session, group_id: str) -> None:
    """Have a hub's webhook tried now, whether it had stopped or waits for its next attempt.

    Raises NotFoundError where the hub has no address.
    """
    _with_address(session, group_id)
    _set(session, group_id, _rested(database.now(session)))


def replay(session: Session, group_id: str, number: int) -> None:
    """Set the mark back to an event's number, so that all after it are posted again, and resume.

    Raises NotFoundError where the hub has no address, InvalidError for a number beyond what was
    delivered: nothing is ever skipped.
    """
    webhook = _with_address(session, group_id)
    if not 0 <= number <= webhook.delivered:
        raise InvalidError(
            "after", f"must be between 0 and {webhook.delivered}, the last delivered"
        )
    _set(session, group_id, {"delivered": number, **_rested(database.now(session))})


def _rested(due_at: datetime | None) -> dict[str, Any]:
    return {"due_at": due_at, "attempts": 0, "last_error": None, "stopped_at": None}


def _set(session: Session, group_id: str, values: dict[str, Any]) -> None:
    session.execute(update(Webhook).where(Webhook.group_id == group_id).values(values))


def _find(session: Session, group_id: str) -> Webhook | None:
    return session.scalar(select(Webhook).where(Webhook.group_id == group_id))


def _with_address(session: Session, group_id: str) -> Webhook:
    webhook = _find(session, group_id)
    if webhook is None or webhook.url is None:
        raise NotFoundError(f"the hub of {group_id!r} has named no webhook address")
    return webhook


def job(engine: Engine, door: Door, signing: Signing) -> Job:
    """Return the job that posts what is due; a hub is one row, so a slow one holds up nobody."""

    async def work(webhook_id: int) -> datetime | None:
        return await deliver(engine, door, signing, webhook_id)

    return Job(JOB, Webhook, work, max_attempts=ATTEMPTS, give_up=_stop)


def make_due(engine: Engine) -> int:
    """Have the webhooks looked at that rest while there are events for them; return how many.

    Looked for here, and not told by whoever records events, so that none of those waits for a
    row that a delivery holds, and nothing is forgotten when a process ends.
    """
    behind = (
        Webhook.due_at.is_(None),
        Webhook.url.is_not(None),
        Webhook.stopped_at.is_(None),
        Webhook.group_id.in_(select(Hub.group_id).where(Hub.state == HubState.ADMITTED)),
        select(EventStream.last)
        .where(EventStream.group_id == Webhook.group_id)
        .correlate(Webhook)
        .scalar_subquery()
        > Webhook.delivered,
    )
    with reading(engine) as session:  # looking first costs no write lock
        ids = session.scalars(select(Webhook.id).where(*behind)).all()
    if not ids:
        return 0
    with transaction(engine) as session:
        moment = database.now(session)
        session.execute(update(Webhook).where(Webhook.id.in_(ids), *behind).values(due_at=moment))
    return len(ids)


async def deliver(engine: Engine, door: Door, signing: Signing, webhook_id: int) -> datetime | None:
    """Post a hub's next events, 100 at most, and move its mark; return when to come again.

    Signed by the service's key, as answers are. What the hub took although we never heard so is
    posted again: it knows the events by their numbers.
    """
    with reading(engine) as session:
        found = _next(session, webhook_id)
    if found is None:
        return None
    webhook, told = found
    try:
        await door.call("POST", str(webhook.url), document(webhook.group_id, told), signing)
    except FetchError as error:
        if error.wait_seconds > 0:  # the host is left alone: that is no attempt
            raise PostponedError(error.detail, error.wait_seconds) from error
        raise
    with transaction(engine) as session:
        moment = database.now(session)
        # Where somebody has set the mark or the address anew meanwhile, theirs holds.
        session.execute(
            update(Webhook)
            .where(
                Webhook.id == webhook_id,
                Webhook.delivered == webhook.delivered,
                Webhook.url == webhook.url,
            )
            .values(delivered=told[-1].number, delivered_at=moment)
        )
        return moment if len(told) == MOST_IN_A_CALL else None


def _next(session: Session, webhook_id: int) -> tuple[Webhook, list[Event]] | None:
    """Return what is to be posted for a webhook now; None where there is nothing."""
    webhook = session.scalar(
        select(Webhook)
        .join(Hub, Hub.group_id == Webhook.group_id)
        .where(Webhook.id == webhook_id, Webhook.url.is_not(None), Hub.state == HubState.ADMITTED)
    )
    if webhook is None:
        return None
    told = events.after(session, webhook.group_id, webhook.delivered, MOST_IN_A_CALL)
    return (webhook, told) if told else None


def document(group_id: str, told: Sequence[Event]) -> bytes:
    """Return the JSON of a call: whose events they are, the first and the last number, and they."""
    return orjson.dumps(
        {
            "group": group_id,
            "first": told[0].number,
            "last": told[-1].number,
            "events": [events.view(event) for event in told],
        }
    )


def _stop(session: Session, webhook_id: int, _reason: str) -> None:
    moment = database.now(session)
    session.execute(update(Webhook).where(Webhook.id == webhook_id).values(stopped_at=moment))
