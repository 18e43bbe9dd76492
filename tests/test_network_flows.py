"""Figures of what was paid, by hand through the real ledger and against networkx at random."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from uuid import UUID

import networkx as nx
import numpy as np
import pytest
from clearing_world import GROUPS, accept, admit, assert_sound, call, open_world, pay, push
from sqlalchemy import Engine, event, insert
from sqlalchemy.orm import Session

from clearing.accounts import make_union
from clearing.calls import Create, Reverse
from clearing.network import Answer, Asked, Every, Grain
from clearing.network.concentration import concentration, gini
from clearing.network.cycles import circulating, components, cycles, of_trade
from clearing.network.flows import Flows
from clearing.network.reciprocity import counted, reciprocity
from clearing.network.trade import trade
from clearing.network.velocity import velocity
from clearing.network.volume import middles, volume
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import reading, transaction
from commons.errors import InvalidError

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 5))
REGIONS = {"barcelona": "ES-CT", "leeds": "GB-ENG"}


class Clock:
    """The database's clock, as a test sets it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.moment = JANUARY
        patch.setattr(database, "now", lambda _session: self.moment)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def one_by(payer: str, payee: str, amount: str, member: int) -> Create:
    """Return a payment by one of a group's members."""
    return replace(push(payer, payee, amount), payer=f"{payer}/m{member}")


def post(engine: Engine, create: Create) -> Create:
    assert call(engine, create).error is None
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.POSTED
    return create


def asked(by: Grain, end: datetime = MARCH, every: Every = Every.MONTH) -> Asked:
    return Asked("main", JANUARY, end, by, every, REGIONS)


def cells(answer: Answer) -> dict[tuple[object, ...], tuple[object, ...]]:
    """Return the rows of a trade matrix by payer and payee."""
    return {tuple(row[1:3]): tuple(row[3:]) for row in answer.rows}


@pytest.fixture
def traded(engine: Engine, clock: Clock) -> Engine:
    """January: b → l 6 x 10, l → b 5 x 4, l → g 2 x 3, b → g 7 x 1; February: 10 of it back."""
    open_world(engine)
    for payer, payee, number, amount in (
        ("barcelona", "leeds", 6, "10"),
        ("leeds", "barcelona", 5, "4"),
        ("leeds", "ghent", 2, "3"),
        ("barcelona", "ghent", 7, "1"),
    ):
        for member in range(number):
            clock.moment += timedelta(hours=1)
            last = post(engine, one_by(payer, payee, amount, member))
            if (payer, payee) == ("barcelona", "leeds"):
                taken_back = last
    clock.moment = FEBRUARY
    for member in range(6):
        clock.moment += timedelta(hours=1)
        post(engine, one_by("barcelona", "leeds", "2", member))
    reversal = Reverse(UUID(int=1), None, taken_back.id, reason="it never came")
    assert call(engine, reversal).error is None
    clock.moment = APRIL
    assert_sound(engine)
    return engine


def test_the_trade_matrix_by_hand(traded: Engine) -> None:
    with reading(traded) as session:
        answer = trade(session, asked(Grain.GROUP))
        only_january = trade(session, asked(Grain.GROUP, FEBRUARY))
    found = cells(answer)
    assert found["barcelona", "leeds"] == (12, Decimal("62.0000"))  # 60 + 12 - 10
    assert cells(only_january)["barcelona", "leeds"] == (6, Decimal("60.0000"))
    assert found["leeds", "ghent"] == (None, None)
    assert found[None, None] == (26, Decimal("95.0000"))
    assert answer.totals == {"number": 26, "volume": Decimal("95.0000")}
    assert answer.withheld > 0


def test_a_small_cell_is_hidden_with_a_large_one_of_its_column_and_the_sums_of_both_rows(
    traded: Engine,
) -> None:
    with reading(traded) as session:
        found = cells(trade(session, asked(Grain.GROUP, FEBRUARY)))
    hidden = {pair for pair, cell in found.items() if cell[0] is None}
    assert {("leeds", "ghent"), ("barcelona", "ghent")} <= hidden
    assert {("leeds", None), ("barcelona", None)} <= hidden
    assert found[None, "ghent"] == (9, Decimal("13.0000"))
    assert found[None, "leeds"] == (6, Decimal("60.0000"))


def test_regions_and_unions_are_told_by_their_own_cells(traded: Engine) -> None:
    with reading(traded) as session:
        regions = trade(session, asked(Grain.REGION))
        unions = trade(session, asked(Grain.UNION))
    assert cells(regions)["ES-CT", "GB-ENG"] == (12, Decimal("62.0000"))
    assert cells(regions)["GB-ENG", "unknown"] == (None, None)
    assert cells(unions)["main", "main"] == (26, Decimal("95.0000"))
    assert unions.withheld == 0


def test_volume_of_a_union_with_its_median(traded: Engine) -> None:
    with reading(traded) as session:
        months = volume(session, asked(Grain.UNION))
        days = volume(session, asked(Grain.UNION, every=Every.DAY))
    # Sizes in January: 1 x 7, 3 x 2, 4 x 5, 10 x 6; the tenth of twenty is a 4.
    january = (JANUARY, "main", 20, Decimal("93.0000"), Decimal("4.0000"))
    assert list(months.rows) == [
        january,
        (FEBRUARY, "main", 6, Decimal("2.0000"), Decimal("2.0000")),
    ]
    assert [tuple(row[2:]) for row in days.rows] == [(None, None, None)] * 2  # beside empty days
    assert months.totals == {"number": 26, "volume": Decimal("95.0000")}


@pytest.mark.parametrize("compute", [volume, velocity])
def test_too_many_steps_are_refused_before_anything_is_read(
    sqlite_engine: Engine, clock: Clock, compute: Callable[[Session, Asked], Answer]
) -> None:
    clock.moment = APRIL
    start, asked_for = datetime(1, 1, 1, tzinfo=UTC), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked_for.append(statement)

    event.listen(sqlite_engine, "before_cursor_execute", note)
    for every in Every:
        wanted = replace(asked(Grain.UNION, every=every), start=start)
        with reading(sqlite_engine) as session, pytest.raises(InvalidError, match="1000 steps"):
            compute(session, wanted)
    assert not [statement for statement in asked_for if "FROM" in statement]


def test_volume_of_groups_agrees_with_the_trade_matrix(traded: Engine) -> None:
    with reading(traded) as session:
        answer = volume(session, asked(Grain.GROUP))
        matrix = cells(trade(session, asked(Grain.GROUP, FEBRUARY)))
    rows = {tuple(row[:3]): row[3:] for row in answer.rows}
    for name in GROUPS:
        told = rows[JANUARY, "main", name]
        assert tuple(told[:2]) == matrix.get((name, None), (0, Decimal(0)))
        assert tuple(told[2:4]) == matrix[None, name]
    assert rows[FEBRUARY, "main", "leeds"][2:4] == (6, Decimal("2.0000"))
    assert answer.totals == {"number": 26, "volume": Decimal("95.0000")}


def test_velocity_is_volume_over_the_credit_that_was_there_over_time(
    engine: Engine, clock: Clock
) -> None:
    with transaction(engine) as session:
        admit(session, "leeds", GROUPS["leeds"])
        admit(session, "ghent", GROUPS["ghent"])
    # In January 20 for 31 days; in February 20 for 7 days, then 50 for 14, then 10 for 7.
    pay(engine, "ghent", "leeds", "20")
    clock.moment = FEBRUARY + timedelta(days=7)
    for member in range(5):
        post(engine, one_by("ghent", "leeds", "6", member))
    clock.moment = FEBRUARY + timedelta(days=21)
    for member in range(5):
        post(engine, one_by("leeds", "ghent", "8", member))
    clock.moment = APRIL
    with reading(engine) as session:
        january, february, march = velocity(session, asked(Grain.UNION, APRIL)).rows
        days = velocity(session, asked(Grain.UNION, MARCH, Every.DAY)).rows
    assert january == (JANUARY, "main", None, Decimal("20.0000"), None, None)
    mean = Fraction(20 * 7 + 50 * 14 + 10 * 7, 28)
    assert february[2:5] == (
        Decimal("70.0000"),
        Decimal("32.5000"),
        Decimal(round(70 / mean * 10**6)) / 10**6,
    )
    assert march[2:] == (Decimal("0.0000"), Decimal("10.0000"), Decimal(0), Decimal(0))
    by_day = [row[3] for row in days]
    assert by_day == [Decimal(20)] * 38 + [Decimal(50)] * 14 + [Decimal(10)] * 7


def test_a_period_without_payments_has_no_rows_and_no_ratios(
    sqlite_engine: Engine, clock: Clock
) -> None:
    open_world(sqlite_engine)
    clock.moment = APRIL
    with reading(sqlite_engine) as session:
        for by in Grain:
            assert list(trade(session, asked(by)).rows) == []
            empty = volume(session, asked(by))
            assert (list(empty.rows), empty.totals["number"]) == ([], 0)
        assert list(reciprocity(session, asked(Grain.GROUP)).rows) == []
        assert all(
            row[3:] == (None,) * 4 for row in concentration(session, asked(Grain.GROUP)).rows
        )
        assert [row[3:] for row in cycles(session, asked(Grain.GROUP)).rows] == [
            (0, 0, None, None, None)
        ]
        assert velocity(session, asked(Grain.UNION)).rows[0][2:] == (
            Decimal(0),
            Decimal(0),
            None,
            None,
        )


def test_open_and_queued_payments_are_none_and_other_unions_are_told_apart(
    traded: Engine, clock: Clock
) -> None:
    clock.moment = JANUARY + timedelta(days=3)
    call(traded, push("barcelona", "leeds", "500"))
    with transaction(traded) as session:
        make_union(session, "north")
        for name in ("york", "hull"):
            admit(session, name, GROUPS["leeds"], "north")
    for member in range(5):
        post(traded, one_by("york", "hull", "3", member))
    clock.moment = APRIL
    with reading(traded) as session:
        assert trade(session, asked(Grain.UNION)).totals["number"] == 26
        both = trade(session, replace(asked(Grain.UNION), union_id=None))
        assert cells(both)["north", "north"] == (5, Decimal("15.0000"))
        assert both.totals == {"number": 31, "volume": Decimal("110.0000")}


def graphs() -> "Iterator[tuple[nx.DiGraph[int], Flows]]":
    """Make random trade, as a graph of networkx and as flows of one table."""
    for seed in range(40):
        rng = random.Random(seed)  # noqa: S311 (nothing is secret)
        size = rng.randint(3, 25)
        graph = nx.gnp_random_graph(size, rng.choice([0.05, 0.15, 0.4]), seed=seed, directed=True)
        for _, _, data in graph.edges(data=True):
            data["weight"] = rng.randint(1, 10**6)
        edges = np.array(list(graph.edges(data="weight")), dtype=np.int64).reshape(-1, 3).T
        many = np.full(edges.shape[1], 9, dtype=np.int64)
        names = [f"g{node}" for node in range(size)]
        payer, payee, volume = edges
        tables = [("main", JANUARY)]
        flows = Flows(names, tables, 0 * many, payer, payee, many, volume, many, many, many)
        yield graph, flows


def test_reciprocity_is_that_of_networkx_and_of_its_definition() -> None:
    for graph, found in graphs():
        links, both, value, returned = counted(found)
        weights = nx.get_edge_attributes(graph, "weight")
        assert (links, value) == (graph.number_of_edges(), sum(weights.values()))
        if links:
            assert both / links == pytest.approx(nx.overall_reciprocity(graph))
        assert returned == sum(min(w, weights.get((b, a), 0)) for (a, b), w in weights.items())


def test_components_and_flow_hierarchy_are_those_of_networkx() -> None:
    for graph, found in graphs():
        links = of_trade(found)
        core, in_core, inside = components(links)
        sizes = [len(one) for one in nx.strongly_connected_components(graph) if len(one) > 1]
        assert core == max(sizes, default=0)
        assert in_core <= inside
        if graph.number_of_edges():
            hierarchy = nx.flow_hierarchy(graph, weight="weight")
            assert inside / int(links.value.sum()) == pytest.approx(1 - hierarchy)


def test_value_in_cycles_is_the_largest_circulation_by_network_simplex() -> None:
    for graph, found in graphs():
        for _, _, data in graph.edges(data=True):
            data["cost"] = -1
        cost, _ = nx.network_simplex(graph, capacity="weight", weight="cost", demand="none")
        assert circulating(of_trade(found)) == -cost


def test_gini_is_that_of_its_definition() -> None:
    rng = random.Random(1)  # noqa: S311 (nothing is secret)
    for _ in range(100):
        values = [rng.randint(0, 9) for _ in range(rng.randint(1, 12))]
        if not any(values):
            continue
        apart = sum(abs(a - b) for a in values for b in values)
        by_definition = Fraction(apart, 2 * len(values) * sum(values))
        assert gini([value for value in values if value], len(values)) == by_definition


def test_shares_of_a_ring_with_one_large_payer(sqlite_engine: Engine, clock: Clock) -> None:
    """Six groups pay the next 5 x 10 each, and the first pays the third 5 x 20 besides."""
    names = [f"g{n}" for n in range(6)]
    number = count(1)
    pairs = [(n, (n + 1) % 6, 10) for n in range(6)] + [(0, 2, 20)]
    with transaction(sqlite_engine) as session:
        for name in names:
            admit(session, name, GROUPS["leeds"])
        rows = [
            as_row(next(number), names[a], names[b], amount * 10_000, member)
            for a, b, amount in pairs
            for member in range(5)
        ]
        session.execute(insert(Transfer), rows)
    clock.moment = APRIL
    with reading(sqlite_engine) as session:
        shares = concentration(session, asked(Grain.GROUP)).rows
        loops = cycles(session, asked(Grain.GROUP)).rows
        back = reciprocity(session, asked(Grain.GROUP)).rows
    # Paid 150, 5 x 50 of 400; received 150 by the third. Gini = 2·(50·15 + 150·6)/(6·400) - 7/6.
    assert shares[0] == ("main", "paid", 6, Decimal("0.21"), Decimal("0.38"), Decimal("0.88"), 1)
    assert shares[1][1:] == ("received", *shares[0][2:])
    assert shares[2] == ("main", "balances", 6, None, None, None, None)
    # What the second paid in February is withheld, and with it Gini.
    with transaction(sqlite_engine) as session:
        late = [as_row(100 + n, "g1", "g2", 10_000, n) for n in range(4)]
        session.execute(insert(Transfer), [{**row, "ended_at": FEBRUARY} for row in late])
    with reading(sqlite_engine) as session:
        assert concentration(session, asked(Grain.GROUP)).rows[0][3] is None
        assert concentration(session, asked(Grain.GROUP, FEBRUARY)).rows[0] == shares[0]
    # The link past the second carries nothing more round: 6 x 50 of 400.
    assert loops[0] == ("main", "trade", 6, 7, 6, 1, 1, Decimal("0.75"))
    assert back[0] == (JANUARY, "main", 7, 0, 0)


def as_row(number: int, payer: str, payee: str, amount: int, member: int) -> dict[str, object]:
    """Return a posted payment as its row in the database."""
    amounts = ("payer_amount", "payee_amount", "payer_clearing", "payee_clearing")
    moments = ("created_at", "expires_at", "ended_at")
    return {
        "id": UUID(int=number),
        "union_id": "main",
        "state": TransferState.POSTED,
        "initiator": "payer",
        "payer_group": payer,
        "payee_group": payee,
        "payer_member": f"m{member}",
        "payee_member": "moss",
        "amount": "1",
        "unit": "clearing",
        "payer_rate": "1/1",
        "payee_rate": "1/1",
        "request_digest": "0" * 64,
        **dict.fromkeys(amounts, amount),
        **dict.fromkeys(moments, JANUARY + timedelta(hours=number)),
    }


def test_obligations_are_those_at_the_end_of_the_period_ever_after(
    engine: Engine, clock: Clock
) -> None:
    open_world(engine)
    clock.moment = FEBRUARY
    for payer, payee, amount in (
        ("barcelona", "leeds", "30"),
        ("leeds", "ghent", "20"),
        ("ghent", "barcelona", "10"),
    ):
        pay(engine, payer, payee, amount)
    clock.moment = MARCH
    pay(engine, "leeds", "barcelona", "30")
    clock.moment = APRIL
    found = []
    with reading(engine) as session:
        for end in (FEBRUARY, MARCH, APRIL):
            rows = cycles(session, asked(Grain.GROUP, end)).rows
            found += [row[2:] for row in rows if row[1] == "obligations"]
    half = Decimal("0.500000")
    assert found == [(0, 0, 0, None, None, None), (3, 3, 3, 1, 1, half), (3, 2, 0, 0, 0, 0)]


def test_the_median_of_two_middle_sizes_is_the_smaller() -> None:
    key, sizes = np.array([0, 1, 0, 0, 0]), np.array([4, 7, 1, 3, 2])
    assert middles(key, sizes) == {0: 2, 1: 7}
