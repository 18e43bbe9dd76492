"""Work that waits in rows: claimed with a lease, tried again with back-off, put aside at last."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Engine, Select, String, case, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons import database
from commons.database import reading, transaction
from commons.errors import FetchError, LocalPayError, TooManyError, UnavailableError

FIRST_DELAY_SECONDS: Final = 60
LONGEST_DELAY_SECONDS: Final = 12 * 3600
MAX_ATTEMPTS: Final = 10
AT_ONCE: Final = 20
LEASE_SECONDS: Final = 60
"""How long a row stays with a worker that says nothing, so how long a crash delays it."""
RENEW_SECONDS: Final = 20

_log = structlog.get_logger(__name__)


class Scheduled:
    """Columns of a row that carries its own schedule; `due_at` empty means nothing to do."""

    id: Mapped[int]
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(String(1000))


@dataclass(frozen=True)
class Job:
    """One kind of work: the table its rows wait in and what is done with one of them.

    `work` gets the row's id, does its own transactions and returns when the row is next due
    (None: never). It must bear being called again, since a crash may come after its commit, and
    fails when it takes more than `longest_seconds`.
    `give_up` is told, in the transaction that ends the trying, when a row is put aside.
    """

    name: str
    table: type[Any]
    work: Callable[[int], Awaitable[datetime | None]]
    longest_seconds: int = 120
    max_attempts: int = MAX_ATTEMPTS
    give_up: Callable[[Session, int, str], None] | None = None


def delay_seconds(attempts: int) -> float:
    """Return how long to wait after the `attempts`-th failure: 1 min · 2ⁿ, cap 12 h, full jitter.

    Full jitter draws evenly between 0 and the bound, so that a hub which comes back is not met
    by everybody at once; at least a second, so that it never spins.
    """
    bound = min(FIRST_DELAY_SECONDS * 2 ** (attempts - 1), LONGEST_DELAY_SECONDS)
    return max(1.0, random.uniform(0, bound))  # noqa: S311 (a delay is no secret)


def claim(session: Session, job: Job, limit: int = AT_ONCE) -> dict[int, datetime]:
    """Lease up to `limit` due rows, oldest first, and return when each was due, by id."""
    moment = database.now(session)
    due = _due(job, moment).limit(limit).with_for_update(skip_locked=True)
    claimed = dict(session.execute(due).all())
    if claimed:
        _lease(session, job, claimed, moment)
    return claimed


def _lease(session: Session, job: Job, ids: Iterable[int], moment: datetime) -> None:
    until = moment + timedelta(seconds=LEASE_SECONDS)
    session.execute(update(job.table).where(job.table.id.in_(ids)).values(lease_until=until))


def _due(job: Job, moment: datetime) -> Select[int, datetime]:
    table = job.table
    free = or_(table.lease_until.is_(None), table.lease_until < moment)
    query = select(table.id, table.due_at).where(table.due_at <= moment, free)
    return query.order_by(table.due_at)


async def run_once(engine: Engine, jobs: Sequence[Job]) -> int:
    """Do everything that is due now, once; return how many rows were worked on."""
    worked = 0
    for job in jobs:
        runner = Runner(engine, job)
        worked += await runner.start_due()
        await runner.finish()
    return worked


class Runner:
    """Works on the due rows of one job side by side, so that a slow one holds up no other."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leased_at = time.monotonic()

    async def start_due(self) -> int:
        """Start work on what is due, as far as there are hands; return on how many rows.

        Waits for a free hand where there is none. To be called every few seconds, since the
        leases of what is being worked on are renewed here.
        """
        if len(self._tasks) >= AT_ONCE:
            await asyncio.wait(self._tasks.values(), timeout=1, return_when=asyncio.FIRST_COMPLETED)
        done = [row_id for row_id, task in self._tasks.items() if task.done()]
        await asyncio.gather(*(self._tasks.pop(row_id) for row_id in done))
        self._renew()
        claimed = self._claim(AT_ONCE - len(self._tasks))
        for row_id, due_at in claimed.items():
            work = _work(self._engine, self._job, row_id, due_at)
            self._tasks[row_id] = asyncio.create_task(work)
        return len(claimed)

    async def finish(self) -> None:
        """Wait until what was started is done."""
        await asyncio.gather(*self._tasks.values())

    def _renew(self) -> None:
        # A row that was done just now must not be leased again: it may be due at once.
        working = [row_id for row_id, task in self._tasks.items() if not task.done()]
        if not working or time.monotonic() - self._leased_at < RENEW_SECONDS:
            return
        with transaction(self._engine) as session:
            _lease(session, self._job, working, database.now(session))
        self._leased_at = time.monotonic()

    def _claim(self, most: int) -> dict[int, datetime]:
        # Looking first costs no write lock, which idle workers would take again and again.
        with reading(self._engine) as session:
            waiting = _due(self._job, database.now(session)).limit(1)
            if most == 0 or session.execute(waiting).first() is None:
                return {}
        with transaction(self._engine) as session:
            return claim(session, self._job, most)


async def _work(engine: Engine, job: Job, row_id: int, was_due_at: datetime) -> None:
    try:
        async with asyncio.timeout(job.longest_seconds):
            due_at = await job.work(row_id)
    except Exception as error:  # noqa: BLE001 (one row must not stop the others; it is kept)
        _failed(engine, job, row_id, error)
        return
    # Whoever has set another time meanwhile wants the row looked at then, and is not overruled.
    untouched = job.table.due_at == was_due_at
    with transaction(engine) as session:
        session.execute(
            update(job.table)
            .where(job.table.id == row_id)
            .values(
                due_at=case((untouched, due_at), else_=job.table.due_at),
                lease_until=None,
                attempts=0,
                last_error=None,
            )
        )


def _failed(engine: Engine, job: Job, row_id: int, error: Exception) -> None:
    reason = _storable(str(error) or type(error).__name__)[:1000]
    with transaction(engine) as session:
        attempts = 1 + (
            session.scalar(select(job.table.attempts).where(job.table.id == row_id)) or 0
        )
        final = isinstance(error, FetchError) and error.final
        due_at = None
        if attempts < job.max_attempts and not final:
            due_at = database.now(session) + timedelta(seconds=_wait_seconds(error, attempts))
        session.execute(
            update(job.table)
            .where(job.table.id == row_id)
            .values(due_at=due_at, lease_until=None, attempts=attempts, last_error=reason)
        )
        if due_at is None and job.give_up is not None:
            job.give_up(session, row_id, reason)
    level = _log.warning if isinstance(error, LocalPayError | TimeoutError) else _log.exception
    level("job failed", job=job.name, row=row_id, attempts=attempts, reason=reason)


def _storable(text: str) -> str:
    """Return text without what no database takes: an error may quote what a stranger sent."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _wait_seconds(error: Exception, attempts: int) -> float:
    if isinstance(error, TooManyError | UnavailableError):
        return max(float(error.retry_after_seconds), delay_seconds(attempts))
    return delay_seconds(attempts)
