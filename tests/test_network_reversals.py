"""What was taken back counts against what is told: reversals never make up for payments."""

import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal

import numpy as np
import pytest
from clearing_world import call, open_world
from network_world import Clock, clock, day, figure, paid, rows
from sqlalchemy import Engine

from clearing.calls import Create, Reverse
from clearing.network import Asked, Every, Grain
from clearing.network.flows import Flows, flows
from clearing.network.matrix import told
from clearing.network.privacy import Made, Tables, withhold
from commons.database import reading
from commons.errors import InvalidError

JANUARY, FEBRUARY, MARCH = (day(f"2025-0{month}-01") for month in range(1, 4))


@pytest.fixture
def time() -> Iterator[Clock]:
    with clock() as ours:
        yield ours


@pytest.fixture
def made(engine: Engine, time: Clock) -> Sequence[Create]:
    """Twelve payments on the tenth of January."""
    open_world(engine)
    time.at = day("2025-01-10")
    return [paid(engine, "leeds", "ghent", "3") for _ in range(12)]


def take_back(engine: Engine, one: Create) -> None:
    assert call(engine, Reverse(uuid.uuid4(), None, one.id)).error is None


def test_a_month_of_reversals_alone_has_a_row_and_is_withheld(
    engine: Engine, time: Clock, made: Sequence[Create]
) -> None:
    time.at = day("2025-02-10")
    take_back(engine, made[0])
    time.at = day("2025-04-10")
    months = figure(engine, "volume", MARCH, JANUARY, Grain.UNION)
    groups = figure(engine, "volume", MARCH, JANUARY, Grain.GROUP).rows
    january = (JANUARY, "main", 12, Decimal("36.0000"), Decimal("3.0000"))
    assert list(months.rows) == [january, (FEBRUARY, "main", None, None, None)]
    assert months.totals == {"number": None, "volume": None}
    assert {tuple(row[3:]) for row in groups if row[0] == FEBRUARY} == {
        (None, None, 0, 0, None),
        (0, 0, None, None, None),
    }


@pytest.mark.parametrize("by", Grain)
def test_days_and_pairs_of_reversals_alone_do_not_make_up_for_payments(
    engine: Engine, time: Clock, made: Sequence[Create], by: Grain
) -> None:
    for which in range(4):
        time.at = day(f"2025-02-1{which}")
        take_back(engine, made[which])
    time.at = day("2025-02-20")
    paid(engine, "leeds", "barcelona", "41.7")
    time.at = day("2025-03-10")
    with reading(engine) as session:
        cells = flows(session, Asked(None, FEBRUARY, MARCH), [FEBRUARY])
    assert sorted(cells.counted.tolist()) == [-4, 1]
    volume = figure(engine, "volume", MARCH, FEBRUARY, by)
    amounts = {cell for row in volume.rows for cell in row if isinstance(cell, Decimal) and cell}
    assert volume.rows
    assert (amounts, set(volume.totals.values())) == (set(), {None})
    assert {row["number"] for row in rows(figure(engine, "trade", MARCH, FEBRUARY, by))} == {None}


def test_no_reversals_are_told_by_a_cut_between_other_days(
    sqlite_engine: Engine, time: Clock
) -> None:
    open_world(sqlite_engine)

    def cut() -> list[object]:
        end = day("2025-02-02")
        days = figure(sqlite_engine, "volume", end, FEBRUARY, Grain.UNION, Every.DAY)
        return [row["number"] for row in rows(days)]

    time.at = day("2025-01-10")
    earlier = [paid(sqlite_engine, "leeds", "ghent", "3") for _ in range(2)]
    for when in ("2025-02-01", "2025-02-02"):
        time.at = day(when)
        for _ in range(6):
            paid(sqlite_engine, "leeds", "ghent", "3")
    time.at = day("2025-02-20")
    take_back(sqlite_engine, earlier[0])
    time.at = day("2025-03-10")
    assert cut() == [6]
    time.at = day("2025-02-25")
    take_back(sqlite_engine, earlier[1])
    time.at = day("2025-03-10")
    with pytest.raises(InvalidError, match="within a month"):
        cut()  # 6 less the two of the rest of the month would be too few


def test_lines_are_told_by_payments_less_all_reversals_in_them() -> None:
    """Of a payer's line one cell is of a payment and eight of reversals, all others are large."""
    cells = [(0, to, 1, 417_000, 1) if to == 1 else (0, to, 0, -30_000, -1) for to in range(1, 10)]
    cells += [(a, b, 9, 90_000, 9) for a in range(1, 10) for b in range(1, 10) if a != b]
    columns = np.array(cells, dtype=np.int64).T
    payer, payee, number, volume, counted = (np.ascontiguousarray(one) for one in columns)
    one = np.where(number > 1, 2, 1)
    names, tables = [f"g{n}" for n in range(10)], [("main", JANUARY)]
    found = Flows(names, tables, 0 * payer, payer, payee, number, volume, counted, one, one)
    seen = told(found, Asked("main", JANUARY, FEBRUARY))
    assert seen.paid.withheld[0]
    assert not seen.paid.withheld[1:].all()


def test_what_hides_reversals_is_enough_less_these() -> None:
    """Of a line of -4, 5, 6 and 20 the sum less 6 and 20 would leave one payment."""
    number = np.array([-4, 5, 6, 20, 9, 9, 9, 9], dtype=np.int64)
    row, column = np.divmod(np.arange(8), 4)
    none, three = np.zeros(4, dtype=np.int64), np.full(8, 3)
    lines = Made(np.array([27, 36]), three[:2])
    columns = Made(np.array([5, 14, 15, 29]), three[:4])
    whole = Made(np.array([63]), three[:1])
    tables = Tables(Made(number, three), row, column, lines, none[:2], columns, none, whole)
    assert withhold(tables).cells[:4].tolist() == [True, True, True, False]


def test_as_many_reversals_as_payments_are_not_nothing(
    engine: Engine, time: Clock, made: Sequence[Create]
) -> None:
    time.at = day("2025-02-10")
    take_back(engine, made[0])
    paid(engine, "leeds", "ghent", "41.7")
    time.at = day("2025-03-10")
    for by in Grain:
        told_numbers = {row["number"] for row in rows(figure(engine, "trade", MARCH, FEBRUARY, by))}
        assert told_numbers == {None}
    (month,) = rows(figure(engine, "volume", MARCH, FEBRUARY, Grain.UNION))
    assert (month["number"], month["volume"], month["median"]) == (None, None, None)
