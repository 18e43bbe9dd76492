"""What the bench of rounds prints, of a few groups; and that its peers are what they are said."""

import numpy as np
import pytest
from netting_graphs import arcs_of, drawn, ring

from bench import round_peers, rounds
from bench.trade import obligations
from clearing.netting import circulate


def test_rounds_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUNS": 1, "MANY": (40, 150), "MOST": (30, 200)}.items():
        monkeypatch.setattr(rounds, name, value)
    figures = list(rounds.measure())
    assert [one.figure for one in figures] == [
        *["solve_94k_s"] * 3,
        "cleared_94k_share",
        "round_94k_s",
        "verify_94k_s",
        "round_1m_s",
        "round_1m_peak_mb",
    ]
    assert all(one.ours > 0 for one in figures)
    assert {one.runs for one in figures if one.figure.endswith("94k_s")} == {1}
    share = figures[3]
    assert share.peer
    assert share.peer <= share.ours <= 1
    peak = figures[-1]
    assert 50 < peak.ours < 2_000


def test_networkx_clears_what_we_do_and_greedy_no_more_and_no_cycle_is_left_by_it() -> None:
    arcs = rounds.arcs_of(obligations(1, 60, 300), 60)
    best = circulate(arcs).bound
    assert round_peers.simplex(arcs)[1] == best
    assert 0 < round_peers.greedy(arcs)[1] <= best
    assert round_peers.greedy(ring(50, range(7, 57)))[1] == 50 * 7
    # Greedy takes the short cycle first, and with it the way of the longer one.
    both = arcs_of(4, ([0, 1, 1, 2, 3], [1, 0, 2, 3, 0]), [5, 5, 5, 5, 5])
    assert (round_peers.greedy(both)[1], circulate(both).bound) == (10, 20)


def test_greedy_stops_only_where_there_is_no_cycle() -> None:
    draw = np.random.default_rng(4)
    for number in range(60):
        arcs = drawn(draw, number % 6, 9)
        plain = arcs_of(arcs.nodes, (arcs.debtor, arcs.creditor), arcs.cap)
        _, cleared = round_peers.greedy(plain)
        best = circulate(plain).bound
        assert cleared <= best
        assert (cleared > 0) == (best > 0)
