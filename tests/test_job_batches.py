"""Rows that wait are worked on together, lane by lane in turn; what that leaves, one by one."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime

import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Mapped, mapped_column
from test_jobs import OfThisTest, Work, moment, run

from commons.database import reading, transaction
from commons.errors import LocalPayError
from commons.jobs import Job, Scheduled, claim_in_turn


@pytest.fixture(autouse=True)
def _table(engine: Engine) -> Iterator[None]:
    OfThisTest.metadata.create_all(engine)
    yield
    OfThisTest.metadata.drop_all(engine)


class Parcel(Scheduled, OfThisTest):
    """A row with work to do for somebody."""

    __tablename__ = "parcels"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[int]


def put_parcels(engine: Engine, *owners: int) -> None:
    due_at = moment(engine, -1)
    with transaction(engine) as session:
        session.add_all([Parcel(owner=owner, due_at=due_at, attempts=0) for owner in owners])


def parcels(
    work: Callable[[int], Awaitable[datetime | None]],
    batch: Callable[[Sequence[int]], Awaitable[set[int]]],
    ready: Callable[[Sequence[int]], Awaitable[None]] | None = None,
) -> Job:
    return Job("parcels", Parcel, work, lane="owner", batch=batch, ready=ready)


def test_each_lane_has_its_turn_however_many_wait_in_another(engine: Engine) -> None:
    put_parcels(engine, *[1] * 600, 2, 3)

    async def nothing(_ids: Sequence[int]) -> set[int]:
        return set()

    with transaction(engine) as session:
        claimed = claim_in_turn(session, parcels(Work(), nothing), limit=100)
    assert sorted(map(len, claimed)) == [1, 1, 98]
    with transaction(engine) as session:  # none of a lane that is being worked on
        assert claim_in_turn(session, parcels(Work(), nothing), limit=100) == []


def test_what_a_batch_leaves_is_worked_one_by_one(engine: Engine) -> None:
    put_parcels(engine, 1, 1, 2)
    asked: list[list[int]] = []
    batches: list[list[int]] = []

    async def odd(ids: Sequence[int]) -> set[int]:
        batches.append(sorted(ids))
        return {row_id for row_id in ids if row_id % 2} if len(batches) == 1 else set()

    async def ready(ids: Sequence[int]) -> None:
        asked.append(list(ids))

    work = Work()
    assert run(engine, parcels(work, odd, ready)) == 3
    assert (batches, asked, work.done) == ([[1, 2, 3], [2]], [[2]], [2])
    with reading(engine) as session:
        rows = session.scalars(select(Parcel)).all()
    assert {(row.due_at, row.lease_until, row.last_error) for row in rows} == {(None, None, None)}


def test_a_batch_that_fails_leaves_each_row_to_itself(engine: Engine) -> None:
    put_parcels(engine, 1, 1, 2)

    async def fail(_ids: Sequence[int]) -> set[int]:
        raise KeyError("one of them")

    async def work(row_id: int) -> None:
        if row_id == 2:
            raise LocalPayError("it was this one")

    assert run(engine, parcels(work, fail)) == 3
    with reading(engine) as session:
        errors = session.scalars(select(Parcel.last_error).order_by(Parcel.id)).all()
    assert list(errors) == [None, "it was this one", None]


def test_a_time_set_while_a_batch_is_worked_is_kept(engine: Engine) -> None:
    put_parcels(engine, 1, 1)
    wanted = moment(engine, -5)

    async def batch(ids: Sequence[int]) -> set[int]:
        with transaction(engine) as session:
            session.execute(update(Parcel).where(Parcel.id == 1).values(due_at=wanted))
        return set(ids)

    run(engine, parcels(Work(), batch))
    with reading(engine) as session:
        rows = session.execute(select(Parcel.due_at, Parcel.lease_until).order_by(Parcel.id)).all()
    assert [tuple(row) for row in rows] == [(wanted, None), (None, None)]
