"""Work that waits in rows: claimed with a lease, tried again with back-off, put aside at last."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    String,
    case,
    func,
    or_,
    select,
    tuple_,
    update,
)
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
BATCH: Final = 500

_log = structlog.get_logger(__name__)


class PostponedError(Exception):
    """Work could not be begun and waits so long; that is no attempt, and nobody's failure."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


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
    Of the rows alike in `lane`, a column of the table, one is worked on at a time, oldest first,
    so that many for one slow hub leave hands free for the others.
    With `batch` up to 500 due rows are claimed at once, of each lane in turn, and `batch` gets
    them first: without the network it does what it can, in its own transactions, and returns which
    rows are done for good. `ready` may then, lane by lane, ask others what the batch needs to know,
    after which that is tried once more. What is left is worked on one by one, and all is where the
    batch fails, so that none spoils it for the others.
    """

    name: str
    table: type[Any]
    work: Callable[[int], Awaitable[datetime | None]]
    longest_seconds: int = 120
    max_attempts: int = MAX_ATTEMPTS
    give_up: Callable[[Session, int, str], None] | None = None
    lane: str | None = None
    batch: Callable[[Sequence[int]], Awaitable[set[int]]] | None = None
    ready: Callable[[Sequence[int]], Awaitable[None]] | None = None


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


def claim_in_turn(session: Session, job: Job, limit: int) -> list[dict[int, datetime]]:
    """Lease up to `limit` due rows, the oldest of each lane, then the next of each, and so on.

    Returns by lane when each was due, so that a lane in which many wait holds up no other. A lane
    that is being worked on waits.
    """
    moment = database.now(session)
    table, lane = job.table, getattr(job.table, str(job.lane))
    busy = select(lane).where(table.due_at.is_not(None), table.lease_until >= moment)
    turn = func.row_number().over(partition_by=lane, order_by=(table.due_at, table.id))
    waiting = (
        select(table.id, table.due_at, turn.label("turn"))
        .where(*_waits(job, moment), lane.not_in(busy))
        .subquery()
    )
    first = select(waiting.c.id).order_by(waiting.c.turn, waiting.c.due_at).limit(limit)
    free = select(lane, table.id, table.due_at).where(table.id.in_(first), *_waits(job, moment))
    lanes: dict[Any, dict[int, datetime]] = {}
    ordered = free.order_by(table.id).with_for_update(skip_locked=True)
    for one, row_id, due_at in session.execute(ordered):
        lanes.setdefault(one, {})[row_id] = due_at
    if lanes:
        _lease(session, job, [row_id for rows in lanes.values() for row_id in rows], moment)
    return list(lanes.values())


def _lease(session: Session, job: Job, ids: Iterable[int], moment: datetime) -> None:
    until = moment + timedelta(seconds=LEASE_SECONDS)
    session.execute(update(job.table).where(job.table.id.in_(ids)).values(lease_until=until))


def _waits(job: Job, moment: datetime) -> tuple[ColumnElement[bool], ...]:
    free = or_(job.table.lease_until.is_(None), job.table.lease_until < moment)
    return job.table.due_at <= moment, free


def _due(job: Job, moment: datetime) -> Select[int, datetime]:
    table, waits = job.table, _waits(job, moment)
    query = select(table.id, table.due_at).where(*waits)
    if job.lane is not None and job.batch is None:
        lane = getattr(table, job.lane)
        busy = select(lane).where(table.due_at.is_not(None), table.lease_until >= moment)
        first = select(func.min(table.id)).where(*waits, lane.not_in(busy)).group_by(lane)
        query = query.where(table.id.in_(first))
    return query.order_by(table.due_at, table.id)


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
        self._tasks: dict[asyncio.Task[None], Collection[int]] = {}
        self._hands = asyncio.Semaphore(AT_ONCE)
        self._pile: list[Sequence[dict[int, datetime]]] = []
        self._batching = asyncio.Lock()
        self._leased_at = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether something is being worked on."""
        return bool(self._tasks)

    async def start_due(self) -> int:
        """Start work on what is due, as far as there are hands; return on how many rows.

        Waits for a free hand where there is none. To be called every few seconds, since the
        leases of what is being worked on are renewed here.
        """
        if len(self._tasks) >= AT_ONCE and self._job.batch is None:
            await asyncio.wait(self._tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in self._tasks if task.done()]
        for task in done:
            del self._tasks[task]
        await asyncio.gather(*done)
        self._renew()
        claimed = self._claim(AT_ONCE - len(self._tasks))
        count = sum(map(len, claimed))
        await self._work_together(claimed)
        for rows in filter(None, claimed):
            self._tasks[asyncio.create_task(self._work_on(rows))] = rows
        return count

    async def finish(self) -> None:
        """Wait until what was started is done."""
        await asyncio.gather(*self._tasks)

    async def _work_on(self, rows: dict[int, datetime]) -> None:
        """Work on the rows of a lane, and take each from `rows` when it is done."""
        async with self._hands:
            is_ready = await _is_ready(self._job, rows)
        if is_ready:
            await self._work_together([rows])
        for row_id, due_at in list(rows.items()):
            async with self._hands:
                await _work(self._engine, self._job, row_id, due_at)
            del rows[row_id]

    async def _work_together(self, lanes: Sequence[dict[int, datetime]]) -> None:
        """Work on lanes in one batch with those that gathered while the last one was under way."""
        self._pile.append(lanes)
        async with self._batching:  # in the order of the pile: each turn takes the first at least
            taken: list[dict[int, datetime]] = []
            while self._pile and sum(map(len, taken)) < BATCH:
                taken += self._pile.pop(0)
            await _work_batch(self._engine, self._job, taken)

    def _renew(self) -> None:
        # A row that was done just now must not be leased again: it may be due at once.
        working = [row_id for rows in self._tasks.values() for row_id in rows]
        if not working or time.monotonic() - self._leased_at < RENEW_SECONDS:
            return
        with transaction(self._engine) as session:
            _lease(session, self._job, working, database.now(session))
        self._leased_at = time.monotonic()

    def _claim(self, most: int) -> list[dict[int, datetime]]:
        # Looking first costs no write lock, which idle workers would take again and again.
        with reading(self._engine) as session:
            waiting = _due(self._job, database.now(session)).limit(1)
            is_full = most == 0 and self._job.batch is None
            if is_full or session.execute(waiting).first() is None:
                return []
        with transaction(self._engine) as session:
            if self._job.batch is not None:
                return claim_in_turn(session, self._job, BATCH)
            claimed = claim(session, self._job, most)
            return [{row_id: due_at} for row_id, due_at in claimed.items()]


async def _is_ready(job: Job, rows: dict[int, datetime]) -> bool:
    """Make the rows of a lane ready for the batch; tell whether that may be of use."""
    if job.ready is None:
        return False
    try:
        async with asyncio.timeout(job.longest_seconds):
            await job.ready(list(rows))
    except Exception as error:  # noqa: BLE001 (the rows are worked on one by one, and each is told)
        _log.warning("not ready", job=job.name, rows=len(rows), reason=_reason(error))
        return False
    return True


async def _work_batch(engine: Engine, job: Job, lanes: Sequence[dict[int, datetime]]) -> None:
    """Work on all rows at once where the job can; take those that are done from their lanes."""
    due_at = {row_id: due_at for rows in lanes for row_id, due_at in rows.items()}
    if job.batch is None or not due_at:
        return
    try:
        async with asyncio.timeout(job.longest_seconds):
            done = await job.batch(list(due_at))
    except Exception as error:  # noqa: BLE001 (the rows are worked on one by one, and each is told)
        _log.warning("batch failed", job=job.name, rows=len(due_at), reason=_reason(error))
        return
    if not done:
        return
    table = job.table
    rested = {"lease_until": None, "attempts": 0, "last_error": None}
    as_they_were = tuple_(table.id, table.due_at).in_([(row_id, due_at[row_id]) for row_id in done])
    with transaction(engine) as session:
        session.execute(update(table).where(as_they_were).values(due_at=None, **rested))
        # Whoever has set another time meanwhile wants the row looked at then.
        moved = table.id.in_(done), table.due_at.is_not(None)
        session.execute(update(table).where(*moved).values(rested))
    for rows in lanes:
        for row_id in done & rows.keys():
            del rows[row_id]


async def _work(engine: Engine, job: Job, row_id: int, was_due_at: datetime) -> None:
    try:
        async with asyncio.timeout(job.longest_seconds):
            due_at = await job.work(row_id)
    except PostponedError as waits:
        _postpone(engine, job, row_id, waits)
        return
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


def _postpone(engine: Engine, job: Job, row_id: int, waits: PostponedError) -> None:
    with transaction(engine) as session:
        # Spread over a minute, so that not all that waits for one host asks at once.
        seconds = waits.seconds + random.uniform(0, FIRST_DELAY_SECONDS)  # noqa: S311 (no secret)
        due_at = database.now(session) + timedelta(seconds=seconds)
        session.execute(
            update(job.table)
            .where(job.table.id == row_id)
            .values(due_at=due_at, lease_until=None, last_error=_storable(str(waits))[:1000])
        )


def _failed(engine: Engine, job: Job, row_id: int, error: Exception) -> None:
    reason = _reason(error)
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


def _reason(error: Exception) -> str:
    return _storable(str(error) or type(error).__name__)[:1000]


def _storable(text: str) -> str:
    """Return text without what no database takes: an error may quote what a stranger sent."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _wait_seconds(error: Exception, attempts: int) -> float:
    if isinstance(error, TooManyError | UnavailableError):
        return max(float(error.retry_after_seconds), delay_seconds(attempts))
    return delay_seconds(attempts)
