"""A circulation sets off the most there is to set off, whatever the graph, and proves it."""

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endless import must_end
from hypothesis import given, settings
from hypothesis import strategies as st
from netting_graphs import (
    SHAPES,
    arcs_of,
    assert_proven,
    chain_with_hub,
    drawn,
    ladder,
    ring,
    rings_sharing,
)
from scipy.optimize import linprog
from scipy.sparse import coo_array

from clearing.netting import MAX_TOTAL, Arcs, InfeasibleError, circulate
from clearing.netting.apart import least_cost, least_cost_apart
from clearing.netting.exact import from_prices
from clearing.netting.flows import Flow, amounts, as_flow
from clearing.netting.prices import NotProvenError, products, proven
from commons.errors import InvalidError, LocalPayError

GRAPHS = 1_000
LONG = 50_000


def most(arcs: Arcs) -> int | None:
    """The largest Σ weight · amount by HiGHS as it is asked directly; None where there is none.

    Only for sums that a float holds exactly.
    """
    count = arcs.cap.size
    if not count:
        return 0
    place = np.arange(count)
    balance: Any = coo_array(
        (
            np.concatenate([np.ones(count), -np.ones(count)]),
            (np.concatenate([arcs.debtor, arcs.creditor]), np.concatenate([place, place])),
        ),
        shape=(arcs.nodes, count),
    )
    bounds: Any = np.stack([arcs.least, arcs.cap], 1)  # SciPy's types know rows of two alone
    found = linprog(
        -arcs.weight,
        A_eq=balance,
        b_eq=np.zeros(arcs.nodes),
        bounds=bounds,
        method="highs",
    )
    assert found.status in {0, 2}
    return None if found.fun is None else round(-found.fun)


def total(arcs: Arcs, deadline_ms: int | None = None) -> int | None:
    """The bound of a proven circulation; None where the least cannot be met."""
    try:
        found = circulate(arcs, deadline_ms)
    except InfeasibleError:
        return None
    assert_proven(arcs, found)
    return found.bound


def test_a_thousand_graphs_of_all_shapes_come_out_as_another_solver_says() -> None:
    draw = np.random.default_rng(32)
    without = 0
    for number in range(GRAPHS):
        arcs = drawn(draw, number % SHAPES, int(draw.choice([3, 20, 100_000])))
        expected = most(arcs)
        assert (total(arcs), total(arcs, 0)) == (expected, expected), number
        without += expected is None
    assert 20 < without < GRAPHS / 2


def test_amounts_beyond_what_a_float_holds_are_exact_on_both_ways() -> None:
    draw = np.random.default_rng(53)
    for number in range(200):
        arcs = drawn(draw, number % SHAPES, MAX_TOTAL // 500)
        assert total(arcs) == total(arcs, 0), number


@given(st.integers(0, 2**32), st.integers(0, SHAPES - 1), st.sampled_from([1, 9, MAX_TOTAL // 500]))
def test_from_any_prices_the_exact_flow_is_reached(seed: int, shape: int, largest: int) -> None:
    draw = np.random.default_rng(seed)
    arcs = drawn(draw, shape, largest)
    expected = total(arcs)
    if expected is None:
        return
    flow = as_flow(arcs)
    flows, price = from_prices(flow, draw.integers(-9, 9, arcs.nodes))
    assert proven(arcs, amounts(arcs, flows), price) == expected


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, SHAPES - 1), st.data())
def test_names_of_nodes_and_the_order_of_arcs_change_nothing(
    seed: int, shape: int, data: st.DataObject
) -> None:
    draw = np.random.default_rng(seed)
    arcs = drawn(draw, shape, data.draw(st.sampled_from([4, 10**6, MAX_TOTAL // 500])))
    named = draw.permutation(arcs.nodes)
    renamed = replace(arcs, debtor=named[arcs.debtor], creditor=named[arcs.creditor])
    assert total(renamed.at(draw.permutation(arcs.cap.size))) == total(arcs)


def test_a_hundred_shuffles_of_a_large_network_clear_the_same_each_proven() -> None:
    draw = np.random.default_rng(100)
    ends = draw.integers(0, 300, (3_000, 2))
    ends = ends[ends[:, 0] != ends[:, 1]]
    arcs = arcs_of(300, ends.T, draw.integers(1, 10**12, len(ends)))
    first = circulate(arcs)
    assert first.bound > 0
    for _ in range(100):
        order = draw.permutation(arcs.cap.size)
        found = circulate(arcs.at(order))
        assert_proven(arcs.at(order), found)
        assert found.bound == first.bound


@pytest.mark.parametrize("deadline_ms", [None, 0])
def test_the_checked_totals_are_reached_by_both_solvers(
    vectors: Path, deadline_ms: int | None
) -> None:
    checked = json.loads((vectors / "netting" / "small.json").read_text(encoding="utf-8"))
    for vector in checked.values():
        names = sorted({name for row in vector["obligations"] for name in row[:2]})
        ends = [[names.index(name) for name in row[:2]] for row in vector["obligations"]]
        caps = [row[2] for row in vector["obligations"]]
        arcs = arcs_of(len(names), np.array(ends).T, caps)
        assert total(arcs, deadline_ms) == vector["cleared"]


def test_a_spare_credit_line_is_used_where_it_brings_more_than_it_costs() -> None:
    owed = arcs_of(3, ([0, 1, 2], [1, 2, 0]), [80, 90, 50], weight=[1, 1, -1])
    assert circulate(owed).amount.tolist() == [50, 50, 50]
    assert circulate(owed).bound == 50
    back = arcs_of(2, ([0, 1], [1, 0]), [80, 50], weight=[1, -1])
    assert circulate(back).bound == 0


def test_what_must_be_set_off_is_though_it_costs() -> None:
    arcs = arcs_of(3, ([0, 1, 0], [1, 0, 2]), [9, 9, 9], [4, 0, 0], [-1, -1, 1])
    assert circulate(arcs).amount.tolist() == [4, 4, 0]
    assert circulate(arcs).bound == -8


@pytest.mark.parametrize(
    "arcs",
    [
        arcs_of(2, ([0], [1]), [5], [1]),
        arcs_of(2, ([0, 1], [1, 0]), [5, 3], [4, 0]),
        arcs_of(2, ([0, 1], [1, 0]), [5, 3], [6, 0]),
        arcs_of(4, ([0, 1, 1, 2, 3], [1, 2, 3, 0, 0]), [9, 2, 2, 9, 9], [5, 0, 0, 0, 0]),
    ],
    ids=["no way back", "a narrow way back", "more than there is", "two narrow ways back"],
)
@pytest.mark.parametrize("deadline_ms", [None, 0])
def test_a_least_that_cannot_come_round_is_refused(arcs: Arcs, deadline_ms: int | None) -> None:
    with pytest.raises(InfeasibleError):
        circulate(arcs, deadline_ms)


def test_nothing_and_nobody_and_islands_are_circulations_too() -> None:
    for nodes in (0, 7):
        nothing = circulate(arcs_of(nodes, ([], []), []))
        assert (nothing.bound, nothing.amount.size, nothing.price.size) == (0, 0, nodes)
    islands = arcs_of(9, ([1, 2, 5, 7, 8], [2, 1, 6, 8, 7]), [3, 4, 5, 6, 0])
    assert circulate(islands).amount.tolist() == [3, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("arcs", "rule"),
    [
        (arcs_of(2, ([1], [1]), [5]), "nobody owes itself"),
        (arcs_of(2, ([0], [2]), [5]), "a node that there is not"),
        (arcs_of(2, ([-1], [0]), [5]), "a node that there is not"),
        (arcs_of(2, ([0], [1]), [-5]), "must not be negative"),
        (arcs_of(2, ([0], [1]), [5], [-1]), "must not be negative"),
        (arcs_of(2, ([0], [1]), [MAX_TOTAL]), "below 2\\^62"),
        (arcs_of(2, ([0, 1], [1, 0]), [2**63 - 1, 2**63 - 1]), "below 2\\^62"),
        (arcs_of(2, ([0, 1], [1, 0]), [MAX_TOTAL // 2] * 2), "below 2\\^62"),
    ],
)
def test_arcs_that_are_none_are_refused(arcs: Arcs, rule: str) -> None:
    with pytest.raises(InvalidError, match=rule):
        circulate(arcs)


def test_the_largest_sum_that_is_taken_is_cleared_to_the_last_unit() -> None:
    for deadline_ms in (None, 0):
        pair = arcs_of(2, ([0, 1], [1, 0]), [MAX_TOTAL // 2, MAX_TOTAL // 2 - 1])
        assert total(pair, deadline_ms) == MAX_TOTAL - 2
        crossed = arcs_of(
            4, ([0, 1, 2, 0, 3], [1, 2, 0, 3, 0]), [2**58 + 1, 2**59, 2**58, 2**57, 2**60]
        )
        assert total(crossed, deadline_ms) == 3 * 2**58 + 2 * 2**57


def test_a_proof_of_what_is_not_the_best_is_refused() -> None:
    arcs = ring(3, [5, 5, 5])
    prices = np.zeros(3, np.int64)
    assert proven(arcs, np.array([5, 5, 5]), prices) == 15
    for amount in ([4, 4, 4], [5, 5, 4], [6, 6, 6]):
        with pytest.raises(NotProvenError):
            proven(arcs, np.array(amount), prices)
    assert products(np.array([2**62, 3]), np.array([2**62, 5])) == 2**124 + 15


@pytest.mark.parametrize("deadline_ms", [None, 0])
def test_a_ring_of_fifty_thousand_is_one_arc(deadline_ms: int | None) -> None:
    caps = np.random.default_rng(1).integers(1, 10**9, LONG)
    with must_end(4):
        assert circulate(ring(LONG, [1_000] * LONG), deadline_ms).bound == 1_000 * LONG
        found = circulate(ring(LONG, caps), deadline_ms)
    assert_proven(ring(LONG, caps), found)
    assert found.bound == LONG * caps.min()


def test_a_chain_of_fifty_thousand_clears_nothing_until_it_is_closed() -> None:
    place = np.arange(LONG)
    chain = arcs_of(LONG + 1, (place, place + 1), place + 7)
    with must_end(4):
        found = circulate(chain)
    assert_proven(chain, found)
    assert found.bound == 0
    shuffled = np.random.default_rng(2).permutation(LONG + 1)
    ends = shuffled, np.roll(shuffled, -1)
    closed = arcs_of(LONG + 1, ends, [*(place + 7), 2], [*([0] * LONG), 2])
    with must_end(4):
        assert total(closed) == 2 * (LONG + 1)


@pytest.mark.parametrize(
    "arcs",
    [
        ladder(20_000, np.random.default_rng(3)),
        chain_with_hub(LONG, np.random.default_rng(4)),
        rings_sharing(LONG, 100, np.random.default_rng(5)),
        rings_sharing(LONG, 5_000, np.random.default_rng(6)),
    ],
    ids=["ladder", "chain with a hub", "two rings", "two rings often crossed"],
)
def test_long_ways_that_do_not_contract_end_by_the_second_solver(arcs: Arcs) -> None:
    with must_end(60):
        found = circulate(arcs, deadline_ms=200)
    assert_proven(arcs, found)
    assert found.bound > 0


def test_solving_apart_is_broken_off_at_the_deadline_and_the_total_is_the_same() -> None:
    arcs = ladder(4_000, np.random.default_rng(7))
    assert least_cost_apart(as_flow(arcs), 10) is None
    assert least_cost_apart(as_flow(arcs), 0) is None
    assert total(arcs, 10) == total(arcs, 0) == total(arcs, 600_000)


def test_what_is_large_is_solved_by_a_process_of_its_own() -> None:
    draw = np.random.default_rng(8)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    circulate(drawn(draw, 0, 9))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime == before
    arcs = ladder(2_000, draw)
    assert products(arcs.weight, amounts(arcs, least_cost(as_flow(arcs)))) == total(arcs)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before


def test_the_process_apart_tells_what_cannot_be_and_what_went_wrong() -> None:
    one = np.array([1, 1])
    unmet = Flow(np.array([0, 1]), np.array([1, 0]), one, one, np.array([9, -9]))
    with pytest.raises(InfeasibleError):
        least_cost_apart(unmet, 60_000)
    too_much = np.array([2**62, 2**62])
    beyond = Flow(np.array([0, 0]), np.array([1, 1]), too_much, one, np.array([2**62, -(2**62)]))
    for solve in (least_cost, lambda flow: least_cost_apart(flow, 60_000)):
        with pytest.raises(LocalPayError, match="CAPACITY_RANGE"):
            solve(beyond)
