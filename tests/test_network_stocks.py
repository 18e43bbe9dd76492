"""Balances, positions, limits and rounds as of any moment, computed by hand and by graphs."""

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import networkx as nx
import pytest
from clearing_world import GROUPS, HOUR, accept, admit, assert_sound, call, limit, minor, open_world
from network_world import Clock, by_group, clock, create, day, figure, paid, pushed, rows
from sqlalchemy import Engine, select

from clearing import rounds
from clearing.accounts import (
    Account,
    Limit,
    LimitKind,
    account_of,
    set_limit,
    set_pair_limit,
)
from clearing.calls import Reverse
from clearing.network import Every, Grain
from clearing.network.answers import Cell
from clearing.transfers import Unit
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE


@pytest.fixture
def time() -> Iterator[Clock]:
    with clock() as ours:
        yield ours


def told(row: dict[str, Cell], *names: str) -> list[str]:
    return ["" if row[name] is None else str(row[name]) for name in names]


def test_balances_are_those_of_the_moment_and_stay_so(engine: Engine, time: Clock) -> None:
    open_world(engine)
    limit(engine, "barcelona", credit="100", surplus="100")
    time.at = day("2025-01-10")
    paid(engine, "barcelona", "leeds", "30")
    time.at = day("2025-02-10")
    limit(engine, "barcelona", credit="50", surplus="40")
    pending = create("barcelona", "leeds", "8")
    pushed(engine, pending)
    time.at = day("2025-02-12")
    assert call(engine, accept(pending)).error is None
    asked = [day(text) for text in ("2025-01-01", "2025-01-09", "2025-02-01", "2025-02-11")]
    before = [figure(engine, "balances", at) for at in asked]
    first, _, february, pending_then = (by_group(one) for one in before)
    assert first == {}
    columns = ("balance", "pending_out", "credit_limit", "credit_in_use", "status")
    assert told(february["barcelona"], *columns) == [
        "-30.0000", "0.0000", "100.0000", "0.300000", "ok",
    ]  # fmt: skip
    assert told(february["leeds"], *columns) == ["30.0000", "0.0000", "", "", "ok"]
    assert "ghent" not in february
    assert told(pending_then["barcelona"], *columns) == [
        "-30.0000", "8.0000", "50.0000", "0.760000", "alert",
    ]  # fmt: skip
    assert before[3].totals["net_internal_debt"] == Decimal("30.0000")
    assert (before[3].totals["alert"], before[3].totals["sum"]) == (1, Decimal("0.0000"))
    time.at = day("2025-03-01")
    paid(engine, "barcelona", "leeds", "5")
    paid(engine, "ghent", "barcelona", "25")
    limit(engine, "ghent", credit="20")
    after = [figure(engine, "balances", at) for at in asked]
    assert [one.rows for one in after] == [one.rows for one in before]
    assert [one.totals for one in after] == [one.totals for one in before]
    now = by_group(figure(engine, "balances", day("2025-04-01")))
    assert told(now["barcelona"], "balance", "pending_out") == ["-18.0000", "0.0000"]
    assert told(now["ghent"], "balance", "status") == ["-25.0000", "over"]


def test_regions_and_unions_sum_their_groups_up(sqlite_engine: Engine, time: Clock) -> None:
    engine = sqlite_engine
    open_world(engine)
    limit(engine, "barcelona", credit="60", surplus="60")
    limit(engine, "leeds", credit="60")
    paid(engine, "barcelona", "leeds", "30")
    paid(engine, "ghent", "leeds", "5")
    end = time.at + timedelta(days=1)
    regions = by_group(figure(engine, "balances", end, by=Grain.REGION))
    assert {name: told(row, "accounts", "balance", "owing") for name, row in regions.items()} == {
        "ES": ["1", "-30.0000", "30.0000"],
        "GB, England": ["1", "35.0000", "0.0000"],
        "unknown": ["1", "-5.0000", "5.0000"],
    }
    whole = figure(engine, "balances", end, by=Grain.UNION)
    (row,) = rows(whole)
    assert told(row, "union", "accounts", "balance", "owed", "credit_limit", "credit_in_use") == [
        "main", "3", "0.0000", "35.0000", "120.0000", "0.250000",
    ]  # fmt: skip
    assert whole.totals == figure(engine, "balances", end).totals


def history(engine: Engine, time: Clock, seed: int) -> dict[datetime, list[tuple[str, int]]]:
    """Write two months of payments, reversals, limits and rounds; return balances at each day."""
    chance, seen, posted = random.Random(seed), {}, []  # noqa: S311 (no secret)
    open_world(engine)
    groups = list(GROUPS)
    while time.at < day("2025-03-01"):
        payer, payee = chance.sample(groups, 2)
        amount = str(chance.randint(2, 400))
        match chance.choice(("pay", "pay", "pay", "push", "reverse", "round")):
            case "pay":
                posted.append(paid(engine, payer, payee, amount, Unit.PAYER))
            case "push":
                pushed(engine, create(payer, payee, amount, Unit.PAYER))
            case "reverse" if posted:
                back = Reverse(uuid.uuid4(), None, posted.pop().id)
                assert call(engine, back).error is None
            case _:
                with transaction(engine) as session:
                    rounds.settle(session)
        midnight = (time.at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        with reading(engine) as session:
            found = session.execute(select(Account.name, Account.balance).order_by(Account.name))
            seen[midnight] = [(name, balance) for name, balance in found]
        time.at = midnight + timedelta(hours=chance.randint(1, 30))
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_all_figures_of_a_moment_agree(engine: Engine, time: Clock, seed: int) -> None:
    seen = history(engine, time, seed)
    start, end = day("2025-01-01"), max(seen)
    series = rows(figure(engine, "positions", end, start, Grain.GROUP, Every.DAY))
    debts = rows(figure(engine, "positions", end, start, Grain.UNION, Every.DAY))
    for moment, balances in seen.items():
        exact = {name: Decimal(balance).scaleb(-CLEARING_SCALE) for name, balance in balances}
        own = {row["group"]: row for row in series if row["at"] == moment}
        assert {name: row["net_position"] for name, row in own.items()} == {
            name: exact[name] for name in GROUPS
        }
        assert {name: row["residue"] for name, row in own.items()} == {
            name: exact[f"residue/{name}"] for name in GROUPS
        }
        then = figure(engine, "balances", moment)
        assert sum(exact.values()) == 0 == then.totals["sum"]
        (debt,) = (row for row in debts if row["at"] == moment)
        assert debt["net_internal_debt"] == sum(map(abs, exact.values())) / 2
        assert then.totals["net_internal_debt"] == debt["net_internal_debt"]
        assert debt["total_owed"] == sum(Decimal(str(row["owes"])) for row in own.values())
        for row in rows(then):
            place = own[row["group"]]
            assert (row["balance"], row["residue"]) == (place["net_position"], place["residue"])
    last = figure(engine, "positions", end, start, Grain.REGION, Every.DAY)
    assert (last.totals["net_position"], last.totals["total_owed"]) == (0, debts[-1]["total_owed"])
    monthly = figure(engine, "positions", end, start, Grain.UNION, Every.MONTH)
    assert rows(monthly)[-1] == debts[-1]
    assert_sound(engine)


def test_positions_are_the_degrees_of_the_graph_of_obligations(
    sqlite_engine: Engine, time: Clock
) -> None:
    engine = sqlite_engine
    history(engine, time, 7)
    end = time.at + timedelta(days=40)
    graph: nx.DiGraph[str] = nx.DiGraph()
    with reading(engine) as session:
        for owed in rounds.obligations(session):
            graph.add_edge(owed.debtor, owed.creditor, weight=owed.amount)
    answer = figure(engine, "positions", end, day("2025-01-01"))
    last = {row["group"]: row for row in rows(answer) if row["at"] == end}
    out, into = (dict(degree(weight="weight")) for degree in (graph.out_degree, graph.in_degree))
    for name in GROUPS:
        owes, is_owed = (
            degrees[name] + degrees.get(f"residue/{name}", 0) for degrees in (out, into)
        )
        row = last[name]
        assert [row["owes"], row["is_owed"]] == [
            Decimal(amount).scaleb(-CLEARING_SCALE) for amount in (owes, is_owed)
        ]
    assert answer.totals["total_owed"] == Decimal(graph.size("weight")).scaleb(-CLEARING_SCALE)


def test_a_limit_tells_how_long_it_lasts(engine: Engine, time: Clock) -> None:
    open_world(engine)
    with transaction(engine) as session:
        barcelona = account_of(session, "barcelona")
        set_limit(session, barcelona, LimitKind.CREDIT, Limit(80 * HOUR, 100 * HOUR))
        set_limit(session, barcelona, LimitKind.SURPLUS, Limit(None, 50 * HOUR))
        set_limit(session, account_of(session, "leeds"), LimitKind.SURPLUS, Limit(70 * HOUR, None))
        set_pair_limit(session, "barcelona", "leeds", 60 * HOUR)
    time.at = day("2025-01-10")
    paid(engine, "barcelona", "leeds", "20")
    time.at = day("2025-02-10")
    paid(engine, "barcelona", "leeds", "20")
    paid(engine, "barcelona", "ghent", "20")
    pushed(engine, create("barcelona", "leeds", "10"))
    answer = figure(engine, "limits", day("2025-02-20"))
    names = ("group", "kind", "counterparty", "used", "in_use", "room", "level", "days_left")
    assert [told(row, *names) for row in rows(answer)] == [
        # 40 of 68 days' growth in 28 days: 30 / (40 / 28)
        ["barcelona", "credit", "", "70.0000", "0.700000", "30.0000", "alert", "21.0"],
        ["barcelona", "surplus", "", "0.0000", "0.000000", "110.0000", "ok", ""],
        ["barcelona", "pair", "leeds", "50.0000", "0.833333", "10.0000", "alert", "14.0"],
        ["leeds", "surplus", "", "50.0000", "", "", "ok", ""],
    ]
    assert [answer.totals[name] for name in ("limits", "ok", "alert", "over")] == [4, 2, 2, 0]
    earlier = [told(row, *names) for row in rows(figure(engine, "limits", day("2025-02-09")))]
    assert earlier[0][3:] == ["20.0000", "0.200000", "80.0000", "ok", ""]
    assert earlier[2][3:] == ["20.0000", "0.333333", "40.0000", "ok", ""]
    regions = rows(figure(engine, "limits", day("2025-02-20"), by=Grain.REGION))
    assert [told(row, "region", "kind", "limits", "alert", "days_left") for row in regions] == [
        ["ES", "credit", "1", "1", "21.0"],
        ["ES", "pair", "1", "1", "14.0"],
        ["ES", "surplus", "1", "0", ""],
        ["GB, England", "surplus", "1", "0", ""],
    ]
    with transaction(engine) as session:
        set_limit(session, account_of(session, "barcelona"), LimitKind.CREDIT, Limit(None, HOUR))
        set_pair_limit(session, "barcelona", "leeds", None)
    lowered = rows(figure(engine, "limits", time.at + timedelta(seconds=1)))
    assert told(lowered[0], *names)[3:] == ["70.0000", "70.000000", "-69.0000", "over", "0.0"]
    assert [row["kind"] for row in lowered] == ["credit", "surplus", "surplus"]


def test_what_a_proposed_round_reserves_uses_its_pair_limit(engine: Engine, time: Clock) -> None:
    open_world(engine)
    for debtor, creditor in (("leeds", "barcelona"), ("barcelona", "leeds")):
        with transaction(engine) as session:
            set_pair_limit(session, debtor, creditor, 100 * HOUR)
    paid(engine, "barcelona", "leeds", "80")
    paid(engine, "leeds", "ghent", "90")
    paid(engine, "ghent", "barcelona", "70")
    with transaction(engine) as session:
        round_id = rounds.propose(session).id
    proposed = time.at
    time.at += timedelta(days=1)
    with transaction(engine) as session:
        rounds.commit(session, round_id)
    used = {
        moment: [(row["group"], row["used"]) for row in rows(figure(engine, "limits", moment))]
        for moment in (proposed + timedelta(hours=1), time.at + timedelta(hours=1))
    }
    assert list(used.values()) == [
        [("barcelona", Decimal(80)), ("leeds", Decimal(70))],
        [("barcelona", Decimal(10)), ("leeds", Decimal(0))],
    ]


def test_a_round_tells_what_it_cleared_of_what_it_could(engine: Engine, time: Clock) -> None:
    open_world(engine)
    time.at = day("2025-01-10")
    paid(engine, "barcelona", "leeds", "80")
    paid(engine, "leeds", "ghent", "90")
    paid(engine, "ghent", "barcelona", "70")
    time.at = day("2025-01-31 12:00")
    with transaction(engine) as session:
        held = rounds.settle(session)
        round_id = str(held.id)
    time.at = day("2025-02-10")
    paid(engine, "barcelona", "leeds", "1")
    with transaction(engine) as session:
        rounds.settle(session)
    january = figure(engine, "rounds", day("2025-02-01"), day("2025-01-01"), Grain.UNION)
    (row,) = rows(january)
    names = ("round", "obligations", "net_internal_debt", "cleared", "cleared_share", "of_possible")
    assert told(row, *names, "netting_efficiency", "amended", "released") == [
        round_id, "240.0000", "20.0000", "210.0000", "0.875000", "0.954545", "0.916667",
        "False", "0",
    ]  # fmt: skip
    parts = by_group(figure(engine, "rounds", day("2025-02-01"), day("2025-01-01")))
    own = ("owed", "is_owed", "cleared", "cleared_share", "of_possible")
    assert {name: told(one, *own) for name, one in parts.items()} == {
        "barcelona": ["80.0000", "70.0000", "70.0000", "0.875000", "1.000000"],
        "ghent": ["70.0000", "90.0000", "70.0000", "1.000000", "1.000000"],
        "leeds": ["90.0000", "80.0000", "70.0000", "0.777778", "0.875000"],
    }
    both = figure(engine, "rounds", day("2025-03-01"), day("2025-01-01"), Grain.UNION)
    assert (both.totals["rounds"], both.totals["cleared"]) == (2, Decimal("210.0000"))
    assert both.totals["obligations"] == Decimal("271.0000")
    assert sum(Decimal(str(one["owed"])) for one in parts.values()) == row["obligations"]


def test_unions_are_apart(sqlite_engine: Engine, time: Clock) -> None:
    engine = sqlite_engine
    open_world(engine)
    paid(engine, "barcelona", "leeds", "3")
    with transaction(engine) as session:
        admit(session, "porto", GROUPS["leeds"], "south")
    limit_end = time.at + timedelta(days=1)
    assert rows(figure(engine, "balances", limit_end, union="south")) == []
    mine = figure(engine, "positions", limit_end, day("2025-01-01"), Grain.UNION, union="main")
    assert {row["union"] for row in rows(mine)} == {"main"}
    both = figure(engine, "positions", limit_end, day("2025-01-01"), Grain.UNION)
    assert [told(row, "union", "total_owed") for row in rows(both)] == [
        ["main", "3.0000"],
        ["south", "0.0000"],
    ]


def test_too_many_steps_are_refused(sqlite_engine: Engine, time: Clock) -> None:
    open_world(sqlite_engine)
    with pytest.raises(InvalidError, match="more than 1000 steps"):
        figure(sqlite_engine, "positions", time.at, day("2020-01-01"), every=Every.DAY)
    long = figure(sqlite_engine, "positions", time.at, day("1950-01-01"), by=Grain.UNION)
    assert len(long.rows) == 900 + 1
    assert minor("1") == HOUR
