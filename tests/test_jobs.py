"""Rows that wait for work are worked once, tried again later, and put aside at last."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, MetaData, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from commons import database, jobs
from commons.database import Base, reading, transaction
from commons.errors import (
    AddressRefusedError,
    FetchError,
    LocalPayError,
    TooManyError,
    UnavailableError,
)
from commons.jobs import (
    AT_ONCE,
    Job,
    Runner,
    Scheduled,
    claim,
    delay_seconds,
    run_once,
)


class OfThisTest(DeclarativeBase):
    """Tables that the service does not have."""

    metadata = MetaData()
    type_annotation_map = Base.type_annotation_map


class Errand(Scheduled, OfThisTest):
    """A row with work to do."""

    __tablename__ = "errands"

    id: Mapped[int] = mapped_column(primary_key=True)
    given_up: Mapped[str | None]


@dataclass
class Work:
    """What the jobs of these tests do, and what they did."""

    done: list[int] = field(default_factory=list)
    error: Exception | None = None
    next_due: datetime | None = None

    async def __call__(self, row_id: int) -> datetime | None:
        self.done.append(row_id)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.next_due


def give_up(session: Session, row_id: int, reason: str) -> None:
    session.execute(update(Errand).where(Errand.id == row_id).values(given_up=reason))


def job(work: Callable[[int], Awaitable[datetime | None]], max_attempts: int = 3) -> Job:
    return Job("errands", Errand, work, 60, max_attempts, give_up)


@pytest.fixture(autouse=True)
def _table(engine: Engine) -> Iterator[None]:
    OfThisTest.metadata.create_all(engine)
    yield
    OfThisTest.metadata.drop_all(engine)


def moment(engine: Engine, seconds: float = 0) -> datetime:
    with reading(engine) as session:
        return database.now(session) + timedelta(seconds=seconds)


def put(engine: Engine, count: int = 1, seconds: float = -1) -> None:
    """Add rows that are due so many seconds from now."""
    due_at = moment(engine, seconds)
    with transaction(engine) as session:
        session.add_all([Errand(due_at=due_at, attempts=0) for _ in range(count)])


def row(engine: Engine, row_id: int = 1) -> Errand:
    with reading(engine) as session:
        return session.get_one(Errand, row_id)


def change(engine: Engine, **values: object) -> None:
    with transaction(engine) as session:
        session.execute(update(Errand).values(**values))


def run(engine: Engine, one: Job) -> int:
    return asyncio.run(run_once(engine, [one]))


def test_a_due_row_is_worked_once_and_then_rests(engine: Engine) -> None:
    put(engine)
    work = Work()
    assert (run(engine, job(work)), run(engine, job(work))) == (1, 0)
    assert work.done == [1]
    found = row(engine)
    assert (found.due_at, found.lease_until, found.attempts) == (None, None, 0)


def test_a_row_is_due_when_its_work_said(engine: Engine) -> None:
    put(engine)
    later = moment(engine, 3600)
    run(engine, job(Work(next_due=later)))
    assert row(engine).due_at == later
    assert run(engine, job(Work())) == 0


def test_a_time_set_while_a_row_is_worked_is_kept(engine: Engine) -> None:
    put(engine)
    wanted = moment(engine, -5)

    async def work(_row_id: int) -> datetime | None:
        change(engine, due_at=wanted)
        return None

    run(engine, job(work))

    assert row(engine).due_at == wanted
    assert run(engine, job(Work())) == 1


def test_what_is_not_due_waits(engine: Engine) -> None:
    put(engine, seconds=3600)
    with transaction(engine) as session:
        session.add(Errand(due_at=None, attempts=0))
    assert run(engine, job(Work())) == 0


def test_a_leased_row_is_left_alone_until_its_lease_is_over(engine: Engine) -> None:
    put(engine, 3)
    with transaction(engine) as session:
        assert list(claim(session, job(Work()), limit=2)) == [1, 2]
    with transaction(engine) as session:
        assert list(claim(session, job(Work()))) == [3]
    with transaction(engine) as session:
        assert not claim(session, job(Work()))
    assert moment(engine, 55) < (row(engine).lease_until or moment(engine)) <= moment(engine, 60)
    change(engine, lease_until=moment(engine, -1))  # whoever had them crashed
    assert run(engine, job(Work())) == 3


def test_the_oldest_rows_come_first(engine: Engine) -> None:
    for seconds in (-10, -30, -20):
        put(engine, seconds=seconds)
    with transaction(engine) as session:
        assert list(claim(session, job(Work()), limit=2)) == [2, 3]


def test_a_failure_is_tried_again_later_and_later_and_given_up(engine: Engine) -> None:
    put(engine)
    work = Work(error=LocalPayError("the other hub is closed"))
    for attempt in (1, 2):
        assert run(engine, job(work)) == 1
        found = row(engine)
        assert (found.attempts, found.given_up, found.lease_until) == (attempt, None, None)
        assert found.last_error == "the other hub is closed"
        assert found.due_at is not None
        longest = 60 * 2 ** (attempt - 1)
        assert moment(engine) < found.due_at <= moment(engine, longest)
        change(engine, due_at=moment(engine, -1))
    run(engine, job(work))
    found = row(engine)
    assert (found.attempts, found.due_at, found.given_up) == (3, None, "the other hub is closed")
    assert run(engine, job(work)) == 0


def test_a_success_forgets_the_failures(engine: Engine) -> None:
    put(engine)
    run(engine, job(Work(error=LocalPayError("closed"))))
    change(engine, due_at=moment(engine, -1))
    run(engine, job(Work()))
    found = row(engine)
    assert (found.attempts, found.last_error, found.due_at) == (0, None, None)


@pytest.mark.parametrize(
    "final", [FetchError("gone", final=True), AddressRefusedError("a private address")]
)
def test_a_final_error_is_given_up_at_once(engine: Engine, final: FetchError) -> None:
    put(engine)
    run(engine, job(Work(error=final)))
    found = row(engine)
    assert (found.attempts, found.due_at, found.given_up) == (1, None, str(final))


@pytest.mark.parametrize("error", [TooManyError("later", 5000), UnavailableError("later", 5000)])
def test_who_asks_for_time_gets_it(engine: Engine, error: LocalPayError) -> None:
    put(engine)
    run(engine, job(Work(error=error)))
    due_at = row(engine).due_at
    assert due_at is not None
    assert moment(engine, 4900) < due_at <= moment(engine, 5000)


def test_one_failing_row_does_not_stop_the_others(engine: Engine) -> None:
    put(engine, 3)
    done: list[int] = []

    async def work(row_id: int) -> None:
        await asyncio.sleep(0)
        if row_id == 2:
            raise KeyError(row_id)
        done.append(row_id)

    assert run(engine, job(work)) == 3
    assert sorted(done) == [1, 3]
    assert [row(engine, n).attempts for n in (1, 2, 3)] == [0, 1, 0]


def test_an_errors_text_that_no_database_takes_is_kept_readable(engine: Engine) -> None:
    put(engine)
    run(engine, job(Work(error=LocalPayError("they sent \0 and \ud800 " + "x" * 2000))))
    found = row(engine)
    assert found.attempts == 1
    assert found.last_error is not None
    assert found.last_error.startswith("they sent \\x00 and \\ud800 x")
    assert len(found.last_error) == 1000


def test_work_that_takes_too_long_counts_as_failed(engine: Engine) -> None:
    put(engine)

    async def forever(_row_id: int) -> None:
        await asyncio.Event().wait()

    asyncio.run(run_once(engine, [Job("errands", Errand, forever, longest_seconds=0)]))
    found = row(engine)
    assert (found.attempts, found.last_error) == (1, "TimeoutError")


def test_a_slow_row_holds_up_no_other(engine: Engine) -> None:
    put(engine, AT_ONCE - 1)
    done: list[int] = []

    async def scenario() -> None:
        closed = asyncio.Event()

        async def work(row_id: int) -> None:
            if row_id != 1:
                await asyncio.sleep(0)
            else:
                await closed.wait()
            done.append(row_id)

        runner = Runner(engine, job(work))
        assert await runner.start_due() == AT_ONCE - 1
        put(engine, AT_ONCE)  # one hand is free, and then those that are done
        assert await runner.start_due() == 1
        while len(done) < 2 * AT_ONCE - 2:
            await runner.start_due()
        assert 1 not in done
        closed.set()
        await runner.finish()

    asyncio.run(scenario())
    assert sorted(done) == list(range(1, 2 * AT_ONCE))


def test_the_lease_of_what_is_worked_on_is_renewed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RENEW_SECONDS", 0)
    put(engine)

    async def scenario() -> None:
        closed = asyncio.Event()

        async def work(_row_id: int) -> None:
            await closed.wait()

        runner = Runner(engine, job(work))
        await runner.start_due()
        change(engine, lease_until=moment(engine, -1))
        assert await runner.start_due() == 0
        closed.set()
        await runner.finish()

    asyncio.run(scenario())
    assert row(engine).lease_until is None


def test_no_row_is_ever_worked_by_two_workers(engine: Engine) -> None:
    put(engine, 100)
    done: list[int] = []
    ready = threading.Barrier(4)

    async def work(row_id: int) -> None:
        await asyncio.sleep(0)
        done.append(row_id)

    def worker() -> None:
        ready.wait()
        while run(engine, job(work)):
            pass

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(done) == dict.fromkeys(range(1, 101), 1)


def test_the_wait_doubles_up_to_half_a_day_and_is_never_the_same_for_all() -> None:
    for attempts in range(1, 40):
        bound = min(60 * 2 ** (attempts - 1), jobs.LONGEST_DELAY_SECONDS)
        waits = [delay_seconds(attempts) for _ in range(200)]
        assert min(waits) >= 1
        assert max(waits) <= bound
        assert max(waits) > bound / 2
        assert len(set(waits)) > 100
