"""What clearing does by itself: transfers end or are posted in time, rounds are held, hubs told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from clearing import adjustments, roots, webhooks
from clearing.calls import expire_due, releasable, release_queued
from clearing.poster import is_out_of_reach
from clearing.rounds.holding import Holder
from clearing.sealing import Seal
from clearing.transfers import Transfer, TransferState
from commons import database, nonces
from commons.database import reading, transaction
from commons.fetch import Door
from commons.jobs import Job
from commons.knocking import Signing

EVENTS: Final = "events"
QUEUED: Final = "queued"
WOKEN_BY_POSTINGS: Final = (EVENTS, QUEUED)

_log = structlog.get_logger(__name__)


def jobs(engine: Engine, door: Door, signing: Signing) -> list[Job]:
    """Return what a worker does for clearing, each row when it is due."""
    return [webhooks.job(engine, door, signing)]


def chores(
    engine: Engine, seal: Seal, wake: Callable[[str], None]
) -> dict[str, Callable[[], Awaitable[int]]]:
    """Return what a worker repeats, by name; each returns how much there was to do.

    `seal` signs what is published; `wake` has a job looked at now that a chore has made due.
    """

    async def expire() -> int:
        return await asyncio.to_thread(_expire, engine)

    async def expire_adjustments() -> int:
        return await asyncio.to_thread(_expire_adjustments, engine)

    async def release() -> int:
        return await asyncio.to_thread(_release, engine)

    async def point_to_events() -> int:
        found = await asyncio.to_thread(webhooks.make_due, engine)
        if found:
            wake(webhooks.JOB)
        return found

    async def forget() -> int:
        return await asyncio.to_thread(_forget, engine)

    async def publish() -> int:
        return await asyncio.to_thread(_publish, engine, seal)

    holder = Holder(engine, seal)

    async def hold_rounds() -> int:
        return await asyncio.to_thread(holder.hold)

    return {
        "expiry": expire,
        "adjustments": expire_adjustments,
        QUEUED: release,
        EVENTS: point_to_events,
        "nonces": forget,
        "roots": publish,
        "rounds": hold_rounds,
    }


def _expire(engine: Engine) -> int:
    with reading(engine) as session:
        is_open = Transfer.state.in_((TransferState.PENDING, TransferState.QUEUED))
        late = select(Transfer.id).where(is_open, Transfer.expires_at <= database.now(session))
        if session.scalar(late.limit(1)) is None:
            return 0
    with transaction(engine) as session:
        return expire_due(session)


def _expire_adjustments(engine: Engine) -> int:
    with reading(engine) as session:
        if not adjustments.is_any_due(session):
            return 0
    with transaction(engine) as session:
        return adjustments.expire_due(session)


def _release(engine: Engine) -> int:
    """Post what has room now; a look that locks nothing comes first, since mostly nothing has.

    Should one that cannot be posted break the transaction, each has one of its own, so that it
    holds up no other.
    """
    with reading(engine) as session:
        if session.scalar(releasable(database.now(session)).limit(1)) is None:
            return 0
    try:
        with transaction(engine) as session:
            return release_queued(session)
    except Exception as error:
        if is_out_of_reach(error):
            raise
    return _release_apart(engine)


def _release_apart(engine: Engine) -> int:
    with reading(engine) as session:
        ids = session.scalars(releasable(database.now(session))).all()
    released = 0
    for one in ids:
        try:
            with transaction(engine) as session:
                released += release_queued(session, [one])
        except Exception as error:
            if is_out_of_reach(error):
                raise
            _log.exception("a queued transfer could not be posted", transfer=str(one))
    return released


def _forget(engine: Engine) -> int:
    """Forget nonces that are over; what is left over until the next time does no harm."""
    with reading(engine) as session:
        if not nonces.is_purge_due(session):
            return 0
    with transaction(engine) as session:
        return nonces.purge(session)


def _publish(engine: Engine, seal: Seal) -> int:
    """Publish the root of the next day that is over, unless somebody else just does so."""
    with reading(engine) as session:
        day = roots.due_day(session)
    if day is None:
        return 0
    try:
        with transaction(engine) as session:
            if roots.due_day(session) != day:
                return 0
            roots.publish(session, day, seal)
    except IntegrityError as error:
        if database.violated(error) != "pk_published_roots":
            raise
        return 0  # another process was first
    return 1
