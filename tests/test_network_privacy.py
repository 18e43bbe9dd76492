"""What figures withhold: nobody's single payments can be worked out from all that they show."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from uuid import uuid4

import numpy as np
import pytest
from clearing_world import open_world
from sqlalchemy import Engine

from clearing.columns import Numbers
from clearing.network import Asked, Every, Grain
from clearing.network.flows import Flows
from clearing.network.matrix import Trade, told, whole
from clearing.network.privacy import (
    FEWEST_MEMBERS,
    FEWEST_TRANSFERS,
    Made,
    Tables,
    withhold,
)
from clearing.network.trade import trade
from clearing.network.volume import volume
from clearing.transfers import Party, Transfer, TransferState, Unit
from commons import database
from commons.database import reading, transaction
from commons.errors import InvalidError

PRIME = 2**31 - 1
MONTHS = tuple(datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 5))
NOW = datetime(2026, 4, 20, 12, tzinfo=UTC)

Tell = Callable[[Flows, Asked], Trade]


def asked(by: Grain, regions: dict[str, str] | None = None, every: Every = Every.MONTH) -> Asked:
    return Asked(None, MONTHS[0], MONTHS[3], by, every, regions or {})


def random_flows(rng: random.Random) -> Flows:
    """Make payments between few groups, most cells of them too small to be told."""
    groups, unions = rng.randint(2, 6), rng.choice([1, 1, 2])
    density, large = rng.choice([0.3, 0.6, 0.9]), rng.choice([0.2, 0.6, 0.85])
    rows = []
    for table in range(unions * 2):
        for payer, payee in ((a, b) for a in range(groups) for b in range(groups) if a != b):
            if rng.random() < density:
                is_large = rng.random() < large
                number = rng.randint(5, 30) if is_large else rng.randint(1, 4)
                few = (1, 1) if number == 1 else (rng.choice([1, 2]), rng.choice([0, 1, 2]))
                sides = rng.choice([(2, 2), (2, 1), few]) if is_large else few
                rows.append((table, payer, payee, number, 7 * number, number, *sides))
    cells = np.array(rows, dtype=np.int64).reshape(-1, 8)
    tables = [(f"u{union}", MONTHS[month]) for union in range(unions) for month in range(2)]
    return Flows([f"g{n}" for n in range(groups)], tables, *np.ascontiguousarray(cells.T))


def parts(found: Flows) -> Iterator[Flows]:
    """Yield the flows of every period and choice of unions that can be asked for."""
    unions = {union for union, _ in found.tables}
    for chosen in (
        ({one} for one in unions) if len(unions) == 1 else (*({u} for u in unions), unions)
    ):
        for months in ({MONTHS[0]}, {MONTHS[1]}, {MONTHS[0], MONTHS[1]}):
            wanted = [
                n for n, (u, month) in enumerate(found.tables) if u in chosen and month in months
            ]
            own = found.taken(np.isin(found.table, wanted))
            there = sorted(set(own.table.tolist()))
            if there:
                names = [found.tables[table] for table in there]
                yield Flows(
                    **{**vars(own), "tables": names, "table": np.searchsorted(there, own.table)}
                )


def published(found: Flows, one: Asked, tell: Tell) -> Iterator[Numbers]:
    """Yield, for each number told, which of the cells there are it is the sum of."""
    for part in parts(found):
        seen = whole(tell(part, one), MONTHS[0])
        months = {month for _, month in part.tables}
        names = seen.flows.names
        union_of = [union for union, _ in found.tables]
        within = np.array([found.tables[table][1] in months for table in found.table])
        union = np.array([union_of[table] for table in found.table])
        if one.by is Grain.UNION:
            payer = payee = np.array([names.index(u) if u in names else -1 for u in union])
        else:
            labels = [
                one.regions.get(g, "unknown") if one.by is Grain.REGION else g for g in found.names
            ]
            node = np.array([names.index(label) if label in names else -1 for label in labels])
            payer, payee = node[found.payer], node[found.payee]
        tables = seen.flows.tables
        for k in np.flatnonzero(~seen.withheld):
            own = within & (union == tables[seen.flows.table[k]][0])
            yield own & (payer == seen.flows.payer[k]) & (payee == seen.flows.payee[k])
        for sums, side in ((seen.paid, payer), (seen.received, payee), (seen.totals, None)):
            for k in np.flatnonzero(~sums.withheld):
                own = within & (union == tables[sums.table[k]][0])
                yield own if side is None else own & (side == sums.node[k])


def solved(equations: Numbers) -> tuple[Numbers, list[int]]:
    """Return the equations in reduced row echelon form, modulo a prime, and their pivots."""
    rows, pivots = equations % PRIME, list[int]()
    for column in range(rows.shape[1]):
        done = len(pivots)
        found = np.flatnonzero(rows[done:, column])
        if not found.size:
            continue
        rows[[done, done + found[0]]] = rows[[done + found[0], done]]
        rows[done] = rows[done] * pow(int(rows[done, column]), PRIME - 2, PRIME) % PRIME
        others = np.flatnonzero(rows[:, column])
        others = others[others != done]
        rows[others] = (rows[others] - rows[others, column][:, None] * rows[done]) % PRIME
        pivots.append(column)
    return rows[: len(pivots)], pivots


def is_small(found: Flows, cells: Sequence[int]) -> bool:
    """Tell whether cells hold too few transfers or members together, as far as is known."""
    most: dict[int, int] = {}
    for k in cells:
        for node, count in ((found.payer[k], found.payers[k]), (found.payee[k], found.payees[k])):
            most[node] = max(most.get(node, 0), int(count))
    number = sum(int(found.counted[k]) for k in cells)
    return number < FEWEST_TRANSFERS or sum(most.values()) < FEWEST_MEMBERS


def leaks(found: Flows, grains: Sequence[Asked], tell: Tell = told) -> list[tuple[int, ...]]:
    """Return the cells, pairs and threes of cells, too small to be told, that can be worked out."""
    told_sums = [row for one in grains for row in published(found, one, tell)]
    rows, pivots = solved(np.array(told_sums, dtype=np.int64).reshape(-1, len(found.table)))
    leaked = []
    for size in (1, 2, 3):
        for cells in combinations(range(len(found.table)), size):
            if is_small(found, cells):
                wanted = np.zeros(len(found.table), dtype=np.int64)
                wanted[list(cells)] = 1
                left = wanted - (wanted[pivots][:, None] * rows % PRIME).sum(axis=0)
                if not (left % PRIME).any():
                    leaked.append(cells)
    return leaked


def only_small(found: Flows, one: Asked) -> Trade:
    """Tell of flows all that is not small itself, without anything to hide it."""
    seen = told(found, one)
    return Trade(
        **{
            **vars(seen),
            "withheld": np.array([is_small(found, [k]) for k in range(len(found.table))]),
        }
    )


@pytest.mark.parametrize("grains", [[Grain.GROUP, Grain.UNION], [Grain.REGION, Grain.UNION]])
def test_no_small_cell_nor_sum_of_cells_can_be_solved_from_all_that_is_told(
    grains: list[Grain],
) -> None:
    rng, shown, tried = random.Random(6), 0, 0  # noqa: S311 (nothing is secret)
    while tried < 40:
        found = random_flows(rng)
        if not 0 < len(found.table) <= 45:
            continue
        regions = {name: f"r{rng.randrange(3)}" for name in found.names}
        assert leaks(found, [asked(by, regions) for by in grains]) == []
        shown += int((~told(found, asked(grains[0], regions)).withheld).sum())
        tried += 1
    assert shown > 40, "what withholds everything proves nothing"


def test_the_attack_finds_what_is_told_where_only_small_cells_are_withheld() -> None:
    rng, found_any = random.Random(6), 0  # noqa: S311 (nothing is secret)
    for _ in range(20):
        found = random_flows(rng)
        if 0 < len(found.table) <= 45:
            found_any += bool(leaks(found, [asked(Grain.GROUP)], only_small))
    assert found_any >= 5


def test_one_small_cell_in_a_table_takes_others_with_it() -> None:
    rows = [(0, 1, 2), (0, 2, 9), (1, 0, 20), (2, 3, 20), (3, 1, 8), (3, 2, 7)]
    payer, payee, number = (np.array(one, dtype=np.int64) for one in zip(*rows, strict=True))
    table, two = np.zeros(6, dtype=np.int64), np.full(6, 2, dtype=np.int64)
    names, tables = ["a", "b", "c", "d"], [("main", MONTHS[0])]
    found = Flows(names, tables, table, payer, payee, number, number, number, two, two)
    held = told(found, asked(Grain.GROUP)).withheld
    pairs = {(names[i], names[j]) for i, j in zip(payer[held], payee[held], strict=True)}
    assert pairs == {("a", "b"), ("a", "c"), ("d", "b"), ("d", "c")}
    assert leaks(found, [asked(Grain.GROUP)]) == []


def test_small_cells_of_one_column_hide_each_other_or_take_the_least_with_them() -> None:
    def held(numbers: list[int]) -> tuple[list[bool], list[bool]]:
        number = np.array(numbers, dtype=np.int64)
        places, nothing = np.arange(len(numbers)), np.zeros(len(numbers), dtype=np.int64)
        lines = Made(number, np.full(len(numbers), 3, dtype=np.int64))
        one = Made(number.sum(keepdims=True), np.array([9]))
        found = withhold(Tables(lines, places, nothing, lines, nothing, one, nothing[:1], one))
        assert not found.totals.any()
        return found.cells.tolist(), found.rows.tolist()

    assert held([2, 3, 3, 20]) == ([True, True, True, False],) * 2
    assert held([2, 30, 6, 20]) == ([True, False, True, False],) * 2
    assert held([6, 7]) == ([False, False],) * 2


def test_a_table_that_is_too_small_is_withheld_as_a_whole() -> None:
    one = np.array([1], dtype=np.int64)
    found = Flows(
        ["a", "b"],
        [("main", MONTHS[0])],
        0 * one,
        0 * one,
        one,
        4 * one,
        one,
        4 * one,
        2 * one,
        one,
    )
    for by in (Grain.GROUP, Grain.UNION, Grain.REGION):
        seen = told(found, asked(by))
        flags = (seen.withheld, seen.paid.withheld, seen.received.withheld, seen.totals.withheld)
        assert all(flag.all() for flag in flags)


def test_what_is_withheld_does_not_depend_on_the_order_of_other_tables() -> None:
    rng = random.Random(3)  # noqa: S311 (nothing is secret)
    for _ in range(10):
        found = random_flows(rng)
        alone = found.taken(found.table == 0)
        both = told(found, asked(Grain.GROUP)).withheld[found.table == 0]
        if len(alone.table):
            one = Flows(**{**vars(alone), "tables": found.tables[:1]})
            assert told(one, asked(Grain.GROUP)).withheld.tolist() == both.tolist()


def paid(day: datetime, number: int, amount: int = 10_000) -> list[Transfer]:
    """Return payments posted on a day, by three members where there are so many."""
    return [
        Transfer(
            id=uuid4(),
            union_id="main",
            state=TransferState.POSTED,
            initiator=Party.PAYER,
            payer_group="leeds",
            payee_group="ghent",
            payer_member=f"m{k % 3}",
            payee_member="moss",
            amount="1",
            unit=Unit.CLEARING,
            payer_amount=amount,
            payee_amount=amount,
            payer_clearing=amount,
            payee_clearing=amount,
            payer_rate="1/1",
            payee_rate="1/1",
            request_digest="0" * 64,
            created_at=day,
            expires_at=day,
            ended_at=day + timedelta(hours=1),
        )
        for k in range(number)
    ]


@pytest.fixture
def ledger(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Days 1, 2, 3, 5 of January with 6, 6, 2 and 7 payments; in February 5 on the first alone."""
    monkeypatch.setattr(database, "now", lambda _session: NOW)
    january = {1: 6, 2: 6, 3: 2, 5: 7}
    open_world(sqlite_engine)
    with transaction(sqlite_engine) as session:
        for day, number in january.items():
            session.add_all(paid(MONTHS[0].replace(day=day), number))
        session.add_all(paid(MONTHS[1], 5))
    return sqlite_engine


def seen_days(engine: Engine, start: datetime, end: datetime) -> dict[int, object]:
    with reading(engine) as session:
        answer = volume(session, Asked(None, start, end, Grain.UNION, Every.DAY))
    return {row[0].day: row[2] for row in answer.rows if isinstance(row[0], datetime)}


def test_a_day_with_few_payments_is_told_only_with_those_around_it(ledger: Engine) -> None:
    days = seen_days(ledger, MONTHS[0], MONTHS[1])
    assert days == {1: 6, 2: None, 3: None, 5: None}


@pytest.mark.parametrize("day", [3, 4, 5, 6, 20])
def test_a_period_may_not_be_cut_beside_a_day_with_few_payments(ledger: Engine, day: int) -> None:
    cut = MONTHS[0].replace(day=day)
    for start, end in ((MONTHS[0], cut), (cut, MONTHS[1])):
        with pytest.raises(InvalidError, match="within a month"):
            seen_days(ledger, start, end)


def test_a_period_may_be_cut_between_two_days_with_enough_payments(ledger: Engine) -> None:
    cut = MONTHS[0].replace(day=2)
    assert seen_days(ledger, MONTHS[0], cut) == {1: 6}
    with reading(ledger) as session:
        totals = volume(session, Asked(None, cut, MONTHS[2], Grain.UNION, Every.MONTH)).totals
    assert totals["number"] == 20


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (MONTHS[0].replace(day=2), MONTHS[1], "from"),
        (MONTHS[0], MONTHS[1].replace(day=2), "to"),
        (MONTHS[0], MONTHS[3].replace(month=5), "to"),
        (MONTHS[1], MONTHS[1], "from"),
    ],
)
def test_cells_are_told_for_whole_months_that_are_over(
    ledger: Engine, start: datetime, end: datetime, field: str
) -> None:
    for by in (Grain.GROUP, Grain.REGION):
        with reading(ledger) as session, pytest.raises(InvalidError) as refused:
            trade(session, Asked(None, start, end, by))
        assert refused.value.field == field


def test_today_is_not_told_of_a_union_and_neither_is_part_of_a_day(ledger: Engine) -> None:
    for start, end in (
        (MONTHS[0], NOW),
        (MONTHS[0], NOW.replace(hour=0) + timedelta(days=1)),
        (MONTHS[0] + timedelta(hours=3), MONTHS[1]),
    ):
        with pytest.raises(InvalidError):
            seen_days(ledger, start, end)


def test_a_longer_period_withholds_what_one_of_its_months_does(ledger: Engine) -> None:
    with transaction(ledger) as session:
        session.add_all(paid(MONTHS[2], 4))
    with reading(ledger) as session:
        short = trade(session, Asked(None, MONTHS[0], MONTHS[2], Grain.GROUP))
        long = trade(session, asked(Grain.GROUP))
    assert (short.totals["number"], short.withheld) == (26, 0)
    assert (long.totals["number"], long.withheld) == (None, 4)
    assert all(row[3] is None for row in long.rows)


def test_what_was_taken_back_counts_against_what_may_be_told(ledger: Engine) -> None:
    with transaction(ledger) as session:
        first = session.query(Transfer).filter_by(ended_at=MONTHS[1] + timedelta(hours=1)).first()
        assert first is not None
        (reversal,) = paid(MONTHS[1], 1)
        reversal.reverses = first.id
        session.add(reversal)
    with reading(ledger) as session:
        answer = trade(session, Asked(None, MONTHS[1], MONTHS[2], Grain.UNION))
    assert {row[3] for row in answer.rows} == {None}


def test_erased_names_are_no_members(ledger: Engine) -> None:
    with transaction(ledger) as session:
        for one in session.query(Transfer).filter_by(ended_at=MONTHS[1] + timedelta(hours=1)):
            one.payer_member = None
    with reading(ledger) as session:
        answer = trade(session, Asked(None, MONTHS[1], MONTHS[2], Grain.UNION))
    assert {row[3] for row in answer.rows} == {None}
