"""The netting cancels exactly the most that can be cancelled, and changes nobody's position."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clearing.netting import MAX_TOTAL, Netting, Obligation, merge, net_positions, solve
from commons.errors import InvalidError

NODES = st.sampled_from("ABCDEF")
OBLIGATIONS = st.lists(
    st.builds(Obligation, NODES, NODES, st.integers(1, 30)).filter(
        lambda o: o.debtor != o.creditor
    ),
    max_size=20,
)
CAPS = st.dictionaries(st.tuples(NODES, NODES), st.integers(0, 40), max_size=12)
NAMES = ("triangle", "bilateral", "chain", "parallels")


def most(obligations: Sequence[Obligation], caps: Mapping[tuple[str, str], int]) -> int:
    """The largest possible sum of set-offs, found another way: by improving cycles.

    From nothing set off, push along any cycle of the residual graph that gains, until none is
    left; a circulation without a gaining cycle is optimal.
    """
    bounds = {
        (o.debtor, o.creditor): min(o.amount, caps.get((o.debtor, o.creditor), o.amount))
        for o in merge(obligations)
    }
    off = dict.fromkeys(bounds, 0)
    while True:
        cycle = gaining_cycle(bounds, off)
        if cycle is None:
            return sum(off.values())
        room = min(bounds[p] - off[p] if sign > 0 else off[p] for p, sign in cycle)
        for pair, sign in cycle:
            off[pair] += sign * room


def gaining_cycle(
    bounds: Mapping[tuple[str, str], int], off: Mapping[tuple[str, str], int]
) -> list[tuple[tuple[str, str], int]] | None:
    """A cycle of (pair, +1 or -1) along which more is set off than given back, by Bellman-Ford."""
    arcs = [(a, b, (a, b), 1) for (a, b), bound in bounds.items() if off[a, b] < bound]
    arcs += [(b, a, (a, b), -1) for a, b in bounds if off[a, b] > 0]
    nodes = sorted({node for pair in bounds for node in pair})
    gain, back = dict.fromkeys(nodes, 0), {}
    last = None
    for _ in nodes:
        last = None
        for start, end, pair, sign in arcs:
            if gain[start] + sign > gain[end]:
                gain[end], back[end], last = gain[start] + sign, (start, pair, sign), end
    if last is None:
        return None
    for _ in nodes:
        last = back[last][0]
    cycle, node = [], last
    while True:
        start, pair, sign = back[node]
        cycle.append((pair, sign))
        node = start
        if node == last:
            return cycle


def assert_allowed(
    netting: Netting, obligations: Sequence[Obligation], caps: Mapping[tuple[str, str], int]
) -> None:
    """Every rule of a set-off but that it is the largest."""
    assert list(netting.set_offs) == merge(obligations)
    for owed, off in netting.set_offs.items():
        cap = caps.get((owed.debtor, owed.creditor), owed.amount)
        assert 0 <= off <= min(owed.amount, cap)
    parts = [Obligation(o.debtor, o.creditor, x) for o, x in netting.set_offs.items()]
    assert not any(net_positions(parts).values())
    before, after = net_positions(obligations), net_positions(netting.remaining)
    assert all(after.get(node, 0) == amount for node, amount in before.items())
    assert netting.total == sum(o.amount for o in obligations)
    assert 2 * netting.net_internal_debt == sum(abs(amount) for amount in before.values())
    assert netting.cleared <= netting.total - netting.net_internal_debt


@pytest.mark.parametrize("name", NAMES)
def test_the_checked_totals_are_reached(vectors: Path, name: str) -> None:
    vector = json.loads((vectors / "netting" / "small.json").read_text(encoding="utf-8"))[name]
    obligations = [Obligation(*row) for row in vector["obligations"]]
    netting = solve(obligations)
    assert_allowed(netting, obligations, {})
    found = (netting.total, netting.net_internal_debt, netting.cleared)
    assert found == (vector["total"], vector["nid"], vector["cleared"])


def test_every_checked_total_is_read(vectors: Path) -> None:
    vectors_read = json.loads((vectors / "netting" / "small.json").read_text(encoding="utf-8"))
    assert set(vectors_read) == set(NAMES)


def test_of_80_90_and_70_in_a_circle_70_are_set_off_on_each_side() -> None:
    obligations = [Obligation("A", "B", 80), Obligation("B", "C", 90), Obligation("C", "A", 70)]
    netting = solve(obligations)
    assert set(netting.set_offs.values()) == {70}
    assert netting.remaining == [Obligation("A", "B", 10), Obligation("B", "C", 20)]


@given(OBLIGATIONS)
def test_as_much_is_cleared_as_by_improving_cycles(obligations: list[Obligation]) -> None:
    netting = solve(obligations)
    assert_allowed(netting, obligations, {})
    assert netting.cleared == most(obligations, {})


@given(OBLIGATIONS, CAPS)
def test_under_caps_as_much_is_cleared_too(
    obligations: list[Obligation], caps: dict[tuple[str, str], int]
) -> None:
    netting = solve(obligations, caps)
    assert_allowed(netting, obligations, caps)
    assert netting.cleared == most(obligations, caps)


@given(OBLIGATIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    obligations: list[Obligation], shuffle: random.Random
) -> None:
    other = obligations.copy()
    shuffle.shuffle(other)
    assert solve(other).cleared == solve(obligations).cleared


def test_many_shuffles_of_a_large_network_clear_the_same() -> None:
    draw = random.Random(7)  # noqa: S311 (a repeatable draw)
    nodes = [f"group-{number}" for number in range(200)]
    pairs = [draw.sample(nodes, 2) for _ in range(2_000)]
    obligations = [Obligation(a, b, draw.randint(1, 10**9)) for a, b in pairs]
    netting = solve(obligations)
    assert_allowed(netting, obligations, {})
    assert netting.cleared > 0
    for _ in range(20):
        draw.shuffle(obligations)
        assert solve(obligations).cleared == netting.cleared


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(0, 3))
def test_amounts_near_the_largest_total_are_exact(nodes: int, spare: int) -> None:
    each = (MAX_TOTAL - 1) // nodes - spare
    ring = [Obligation(f"n{i}", f"n{(i + 1) % nodes}", each) for i in range(nodes)]
    assert solve(ring).cleared == nodes * each


@given(OBLIGATIONS)
def test_once_set_off_nothing_more_can_be(obligations: list[Obligation]) -> None:
    assert solve(solve(obligations).remaining).cleared == 0


@given(OBLIGATIONS)
def test_debts_of_one_pair_are_added_up(obligations: list[Obligation]) -> None:
    assume(obligations)
    first = obligations[0]
    twice = merge([*obligations, first])
    pairs = [(o.debtor, o.creditor) for o in twice]
    assert len(set(pairs)) == len(pairs)
    assert twice == sorted(twice)
    assert sum(o.amount for o in twice) == sum(o.amount for o in obligations) + first.amount


def test_nothing_owed_clears_nothing() -> None:
    netting = solve([])
    assert (netting.total, netting.net_internal_debt, netting.cleared) == (0, 0, 0)
    assert netting.remaining == []


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (Obligation("A", "A", 1), "creditor: obligation 2: nobody owes itself"),
        (Obligation("A", "B", 0), "amount: obligation 2: must be more than 0"),
        (Obligation("A", "B", -1), "amount: obligation 2: must be more than 0"),
        (Obligation("A", "B", MAX_TOTAL), "amount: the sum of all obligations"),
        (Obligation("A", "B", 2**63), "amount: the sum of all obligations"),
    ],
)
def test_an_obligation_that_is_none_is_refused(bad: Obligation, rule: str) -> None:
    with pytest.raises(InvalidError, match=rule):
        solve([Obligation("B", "C", 1), bad])


def test_a_negative_cap_is_refused() -> None:
    with pytest.raises(InvalidError, match="cap"):
        solve([Obligation("A", "B", 1), Obligation("B", "A", 1)], {("A", "B"): -1})
