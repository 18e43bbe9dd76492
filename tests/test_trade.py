"""Made-up trade: as uneven, near and seasonal as it says, the same each time, and sound books."""

from datetime import timedelta

import networkx as nx
import numpy as np
import pytest
from clearing_world import assert_sound
from sqlalchemy import Engine, func, select

from bench.trade import (
    Network,
    fill_positions,
    fill_transfers,
    network,
    obligations,
    trade,
)
from clearing.accounts import Account, Position
from clearing.netting import Obligation, solve
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import reading, transaction
from demo.trade import DAY_SECONDS, ROUND_AMOUNT

NETWORK = network(1)
TRADE = trade(1, NETWORK, 200_000)


def same(one: object, other: object) -> bool:
    """Tell whether two made-up things are the same in every array."""
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in vars(one))


def degrees(among: Network) -> list[int]:
    both = np.concatenate([among.one, among.other])
    return sorted(np.bincount(both, minlength=among.groups).tolist(), reverse=True)


def distance(among: Network, one: np.ndarray, other: np.ndarray) -> float:
    """Return the median distance between groups in km."""
    east = among.east_km[one] - among.east_km[other]
    return float(np.median(np.hypot(east, among.north_km[one] - among.north_km[other])))


def test_a_seed_makes_the_same_trade_and_another_seed_another() -> None:
    assert same(network(7, 300), network(7, 300))
    assert not same(network(7, 300), network(8, 300))
    small = network(7, 300)
    assert same(trade(7, small, 5_000), trade(7, small, 5_000))
    assert not same(trade(7, small, 5_000), trade(8, small, 5_000))
    for one, other in zip(obligations(3, 500, 2_000), obligations(3, 500, 2_000), strict=True):
        assert np.array_equal(one, other)


def test_every_group_deals_with_somebody_else_and_no_tie_is_there_twice() -> None:
    for among in (NETWORK, network(2, 60, 60), network(2, 60, 1_770), network(2, 3, 3)):
        ties = {
            frozenset(pair) for pair in zip(among.one.tolist(), among.other.tolist(), strict=True)
        }
        assert len(ties) == len(among.one)
        assert {len(tie) for tie in ties} == {2}
        assert set().union(*ties) == set(range(among.groups))
    for groups, wanted in ((2, 1), (60, 59), (60, 1_771)):
        with pytest.raises(ValueError, match="ties"):
            network(1, groups, wanted)


def test_few_groups_have_very_many_partners_and_most_have_few() -> None:
    found = degrees(NETWORK)
    mean = sum(found) / len(found)
    assert found[0] > 20 * mean  # among as many by chance none has three times the mean
    assert found[len(found) // 2] < mean
    # A heavy tail falls along a line in logarithms: here between the 10th and the 500th.
    drop = np.diff(np.log([found[9], found[499]])) / np.diff(np.log([10, 500]))
    assert -1.2 < drop[0] < -0.3


def test_partners_are_near_and_know_each_other() -> None:
    chance = np.random.default_rng(1)
    anybody = chance.permutation(NETWORK.groups)
    near = distance(NETWORK, NETWORK.one, NETWORK.other)
    assert near < distance(NETWORK, np.arange(NETWORK.groups), anybody) / 3
    graph = nx.Graph(zip(NETWORK.one.tolist(), NETWORK.other.tolist(), strict=True))
    by_chance = 2 * len(NETWORK.one) / NETWORK.groups**2
    assert nx.average_clustering(graph) > 20 * by_chance
    assert nx.is_connected(graph)


def test_payments_come_in_order_with_seasons_and_a_weekly_rhythm() -> None:
    assert (np.diff(TRADE.second) >= 0).all()
    assert (TRADE.day >= 0).all()
    assert (TRADE.day < 365).all()
    harvest = TRADE.day[NETWORK.kind[TRADE.payee] == 0]
    by_month = np.bincount(harvest // 30, minlength=13)[:12]
    assert 7 <= by_month.argmax() <= 9
    assert by_month.max() > 3 * by_month.min()
    by_weekday = np.bincount(TRADE.day % 7, minlength=7)
    assert by_weekday.argmax() == 5
    assert by_weekday.argmin() == 6
    hours = np.bincount(TRADE.second % DAY_SECONDS // 3_600, minlength=24)
    assert hours[15] > 10 * hours[4]


def test_amounts_are_log_normal_round_and_positive() -> None:
    assert (TRADE.amount > 0).all()
    assert (TRADE.amount % ROUND_AMOUNT == 0).all()
    logs = np.log(TRADE.amount)
    assert abs(np.exp(np.median(logs)) - 25_000) < 1_000
    assert abs(logs.std() - 1.1) < 0.05
    assert abs(((logs - logs.mean()) ** 3).mean() / logs.std() ** 3) < 0.1  # no skew


def test_most_dealings_go_both_ways_and_few_groups_are_far_from_even() -> None:
    pairs = set(zip(TRADE.payer.tolist(), TRADE.payee.tolist(), strict=True))
    both = sum((payee, payer) in pairs for payer, payee in pairs) / len(pairs)
    assert 0.4 < both < 0.9
    out = np.bincount(TRADE.payer, TRADE.amount, NETWORK.groups)
    into = np.bincount(TRADE.payee, TRADE.amount, NETWORK.groups)
    assert 0.02 < np.abs(out - into).sum() / (out + into).sum() < 0.25


def test_obligations_are_as_many_as_wanted_and_a_plausible_share_clears() -> None:
    for groups, arcs, least, most in ((1_000, 6_000, 0.45, 0.8), (4_000, 10_000, 0.15, 0.5)):
        debtor, creditor, amount = obligations(5, groups, arcs)
        assert len(debtor) == len(creditor) == len(amount) == arcs
        assert (amount > 0).all()
        assert (
            len({frozenset(pair) for pair in zip(debtor.tolist(), creditor.tolist(), strict=True)})
            == arcs
        )
        owed = zip(map(str, debtor), map(str, creditor), amount.tolist(), strict=True)
        found = solve([Obligation(*one) for one in owed])
        assert least < found.cleared / found.total < most


def test_a_ledger_that_is_filled_with_them_is_sound(engine: Engine) -> None:
    among = network(4, 30, 60)
    made = trade(4, among, 600, 60)
    owed = obligations(4, 40, 100)
    ticks: list[int] = []
    with transaction(engine) as session:
        start = database.now(session) - timedelta(days=61)
        fill_transfers(session, "trade", among, made, start, ticks.append)
        fill_positions(session, "owed", 40, owed)
    assert_sound(engine)
    assert sum(ticks) == 600
    with reading(engine) as session:
        states = dict(
            session.execute(
                select(Transfer.state, func.count())
                .where(Transfer.union_id == "trade")
                .group_by(Transfer.state)
            ).all()
        )
        stands = session.scalar(
            select(func.sum(Position.amount))
            .join(Account, Account.id == Position.account_id)
            .where(Position.amount > 0, Account.union_id == "owed")
        )
        first, last = session.execute(
            select(func.min(Transfer.created_at), func.max(Transfer.created_at)).where(
                Transfer.union_id == "trade"
            )
        ).one()
    assert sum(states.values()) == 600
    assert states[TransferState.POSTED] > 550
    assert states[TransferState.REFUSED] > 0
    assert int(stands or 0) == owed[2].sum()
    assert start <= first < last < start + timedelta(days=60)
