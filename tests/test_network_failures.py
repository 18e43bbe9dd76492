"""What came to nothing and what waits: counted by hand, and nobody's single payments told."""

import uuid
from collections.abc import Iterator

import pytest
from clearing_world import accept, call, limit, open_world
from network_world import Clock, clock, create, day, figure, paid, pushed, rows
from sqlalchemy import Engine

from clearing.calls import Move, Reverse, Verb
from clearing.network import Answer, Grain
from clearing.network.answers import Cell
from clearing.transfers import ReasonCode
from commons.errors import InvalidError


@pytest.fixture
def time() -> Iterator[Clock]:
    with clock() as ours:
        yield ours


def asked(engine: Engine, end: str, by: Grain = Grain.UNION, start: str = "2025-01-01") -> Answer:
    return figure(engine, "failures", day(end), day(start), by)


def counted(answer: Answer) -> dict[tuple[Cell, ...], Cell]:
    """Return the number of each row by its group, outcome and code."""
    return {
        tuple(row[name] for name in ("group", "outcome", "code") if row.get(name)): row["number"]
        for row in rows(answer)
    }


def cancel(engine: Engine, payer: str, payee: str, times: int) -> None:
    for _ in range(times):
        one = create(payer, payee, "2")
        pushed(engine, one)
        assert pushed(engine, Move(one.id, payer, Verb.CANCEL)).error is None


def reject(engine: Engine, payer: str, payee: str, code: ReasonCode, times: int) -> None:
    for _ in range(times):
        one = create(payer, payee, "1")
        pushed(engine, one)
        assert pushed(engine, Move(one.id, payee, Verb.REJECT, code=code)).error is None


def test_failures_are_counted_and_small_ones_withheld(engine: Engine, time: Clock) -> None:
    open_world(engine)
    time.at = day("2025-01-10")
    for _ in range(8):
        paid(engine, "leeds", "ghent", "3")
    cancel(engine, "leeds", "ghent", 6)
    reject(engine, "leeds", "ghent", ReasonCode.DECLINED, 5)
    reject(engine, "leeds", "ghent", ReasonCode.OTHER, 1)
    time.at = day("2025-02-10")
    january = asked(engine, "2025-02-01")
    assert counted(january) == {
        ("posted",): 8,
        ("cancelled",): 6,
        ("rejected", "declined"): None,  # 5 could be told, were it not for the 1 beside it
        ("rejected", "other"): None,
    }
    assert (january.withheld, january.totals["tried"]) == (2, 20)
    row = next(row for row in rows(january) if row["outcome"] == "cancelled")
    told = [str(row[name]) for name in ("value", "number_share", "value_share")]
    assert told == ["12.0000", "0.300000", "0.285714"]
    reject(engine, "leeds", "ghent", ReasonCode.OTHER, 9)
    time.at = day("2025-03-10")
    february = asked(engine, "2025-03-01", start="2025-02-01")
    assert counted(february) == {("rejected", "other"): 9}
    both = counted(asked(engine, "2025-03-01"))
    assert both["rejected", "other"] is None  # else January's could be told by taking 9 away
    assert both["posted",] == 8
    assert asked(engine, "2025-02-01").rows == january.rows


def test_what_was_posted_is_told_less_what_was_taken_back(engine: Engine, time: Clock) -> None:
    open_world(engine)
    time.at = day("2025-01-10")
    made = [paid(engine, "leeds", "ghent", "3") for _ in range(12)]
    made.append(paid(engine, "leeds", "ghent", "17"))
    cancel(engine, "leeds", "ghent", 6)
    assert call(engine, Reverse(uuid.uuid4(), None, made[-1].id)).error is None
    time.at = day("2025-02-10")
    told = asked(engine, "2025-02-01")
    posted = {row["outcome"]: row for row in rows(told)}["posted"]
    (whole,) = rows(figure(engine, "volume", day("2025-02-01"), day("2025-01-01"), Grain.UNION))
    assert (posted["number"], str(posted["value"])) == (13, "36.0000")
    assert (posted["number"], posted["value"]) == (whole["number"], whole["volume"])
    assert (told.totals["tried"], str(told.totals["tried_value"])) == (19, "48.0000")
    assert str(posted["value_share"]) == "0.750000"
    for one in made[:9]:
        paid(engine, "leeds", "ghent", "3")
        assert call(engine, Reverse(uuid.uuid4(), None, one.id)).error is None
    time.at = day("2025-03-10")
    assert counted(asked(engine, "2025-03-01", start="2025-02-01")) == {("posted",): None}
    assert asked(engine, "2025-02-01").rows == told.rows


def test_what_was_posted_hides_no_failure(sqlite_engine: Engine, time: Clock) -> None:
    open_world(sqlite_engine)
    time.at = day("2025-01-10")
    for _ in range(8):
        paid(sqlite_engine, "leeds", "ghent", "3")
    cancel(sqlite_engine, "leeds", "ghent", 1)
    time.at = day("2025-02-10")
    told = asked(sqlite_engine, "2025-02-01")
    assert counted(told) == {("posted",): 8, ("cancelled",): None}
    assert told.totals == {"tried": None, "tried_value": None}
    assert {row["number_share"] for row in rows(told)} == {None}
    assert counted(asked(sqlite_engine, "2025-02-01", Grain.GROUP)) == {
        ("leeds", "cancelled"): None
    }


def test_no_groups_failures_are_told_by_difference(engine: Engine, time: Clock) -> None:
    open_world(engine)
    limit(engine, "leeds", credit="0")
    time.at = day("2025-01-10")
    cancel(engine, "ghent", "barcelona", 7)
    cancel(engine, "barcelona", "ghent", 2)
    for _ in range(6):
        assert pushed(engine, create("leeds", "ghent", "1")).transfer is not None
    time.at = day("2025-02-10")
    assert counted(asked(engine, "2025-02-01")) == {("cancelled",): 9, ("refused",): 6}
    by_groups = asked(engine, "2025-02-01", Grain.GROUP)
    assert counted(by_groups) == {
        ("barcelona", "cancelled"): None,
        ("ghent", "cancelled"): None,  # 9 - 7 would tell barcelona's two
        ("leeds", "refused"): 6,
    }
    regions = {
        (row["region"], row["outcome"]): row["number"]
        for row in rows(asked(engine, "2025-02-01", Grain.REGION))
    }
    assert regions == {
        ("ES", "cancelled"): None,
        ("unknown", "cancelled"): None,
        ("GB, England", "refused"): 6,
    }


def test_a_queue_is_told_where_enough_changed_in_it(engine: Engine, time: Clock) -> None:
    open_world(engine)
    limit(engine, "leeds", credit="0")

    def wait(times: int) -> None:
        for _ in range(times):
            one = create("leeds", "ghent", "2", wait=True)
            pushed(engine, one)
            assert pushed(engine, accept(one)).error is None

    def queue(end: str) -> list[Cell]:
        (row,) = (one for one in rows(asked(engine, end)) if one["outcome"] == "queued")
        return [
            row["number"],
            None if row["value"] is None else str(row["value"]),
            row["oldest_days"],
        ]

    time.at = day("2025-01-10")
    wait(6)
    time.at = day("2025-02-20")
    assert queue("2025-02-01") == [6, "12.0000", 21]
    wait(1)
    time.at = day("2025-04-20")
    assert queue("2025-03-01") == [None, None, None]
    assert queue("2025-04-01") == [None, None, None]  # 7 - 6 would tell the one of February
    wait(5)
    time.at = day("2025-05-20")
    assert queue("2025-05-01") == [12, "24.0000", 110]
    assert queue("2025-02-01") == [6, "12.0000", 21]


def test_failures_are_asked_by_whole_months_that_are_over(
    sqlite_engine: Engine, time: Clock
) -> None:
    open_world(sqlite_engine)
    time.at = day("2025-02-10")
    for start, end in (("2025-01-02", "2025-02-01"), ("2025-01-01", "2025-02-09")):
        with pytest.raises(InvalidError, match="month"):
            asked(sqlite_engine, end, start=start)
