"""What analysts are not told of a what-if: amounts of few payments, and what gives them away."""

import json
import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import chain, combinations
from typing import Any, cast

import numpy as np
import pytest
from test_simulation import START, A, B, C, paying, recorded

from clearing import simulation
from clearing.simulation import LIMITS, Changes, Comparison, Recorded, withholding
from clearing.simulation.apart import compare, compare_apart
from clearing.simulation.outcome import Outcome
from clearing.simulation.privacy import Made, left_out_of
from clearing.simulation.recorded import Attempt
from clearing.simulation.replay import even_steps
from commons.errors import LocalPayError


def compared(attempts: list[Attempt], changes: Changes, credit: int = 100) -> Comparison:
    world = recorded(attempts, credit=credit)
    return compare(world, changes, even_steps(world))


def told(comparison: Comparison) -> dict[str, Any]:
    return simulation.view(comparison, simulation.ROUGH)


def around(amount: int, number: int) -> list[Attempt]:
    """Return payments in a circle, which leave nobody with a balance."""
    return [paying(*pair, amount, 1) for _ in range(number) for pair in ((A, B), (B, C), (C, A))]


def test_one_payment_that_was_given_up_is_not_told_by_its_value() -> None:
    given_up = replace(paying(A, B, 25, 2), reserves=True, agreed_at=None)
    given_up = replace(given_up, until=given_up.tried_at + 1)
    comparison = compared([*around(10, 3), given_up], Changes())
    assert comparison.baseline.given_up.number == 1
    found = told(comparison)
    for outcome in (found["baseline"], found["what_if"]):
        assert outcome["given_up"] == 0
        assert outcome["given_up_value"] is None
        assert outcome["posted_value"] == "90.0000"
        assert outcome["tried_value"] is None  # less what was posted that would be the one
    assert "25.0000" not in json.dumps(found, default=str)
    exact = simulation.view(comparison)["baseline"]
    assert (exact["given_up_value"], exact["tried_value"]) == ("25.0000", "115.0000")


def test_one_payment_that_comes_out_otherwise_is_told_by_no_amount() -> None:
    comparison = compared([*around(1, 4), paying(A, B, 37, 5)], Changes(Fraction(3, 10)))
    assert (comparison.baseline.refused.number, comparison.what_if.refused.number) == (0, 1)
    found = told(comparison)
    assert found["baseline"]["posted_value"] == "49.0000"
    assert found["baseline"]["lines_needed"] == "37.0000"
    amounts = {name for name, value in found["baseline"].items() if isinstance(value, str)}
    other = {name: found["what_if"][name] for name in amounts - {"tried_value"}}
    assert set(other.values()) == {None}
    assert {found["difference"][name] for name in other} == {None}
    assert {step[name] for step in found["what_if"]["steps"] for name in ("in_use", "owed")} <= {
        None,
        *(step["in_use"] for step in found["baseline"]["steps"][:4]),
    }
    assert found["what_if"]["refused"] == 0
    assert found["what_if"]["met_credit_limit_value"] is None


def test_where_many_come_out_otherwise_the_amounts_are_told() -> None:
    tried = [*around(1, 4), *(paying(A, B, 6, 5) for _ in range(6))]
    found = told(compared(tried, Changes(Fraction(0))))
    assert found["what_if"]["refused_value"] is not None
    assert found["what_if"]["lines_needed"] == "0.0000"
    assert found["difference"]["lines_needed"] == "-36.0000"


def test_a_period_in_which_nothing_was_tried_is_told() -> None:
    found = told(compared([], Changes()))
    assert found["baseline"]["posted_value"] is None
    assert found["what_if"]["in_use_peak"] == "0.0000"


def sums_of(outcome: Outcome, values: frozenset[str | int]) -> list[frozenset[int]]:
    """Return of which payments each sum of values that are told is made."""
    found = []
    parts = ("posted", "refused", "lapsed", "waiting", "given_up")
    for family in (parts, tuple(f"met_{limit}" for limit in LIMITS), ("tried",), ("released",)):
        names = [name for name in family if name in values]
        for some in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)):
            made = (np.flatnonzero(outcome.made_of[name]).tolist() for name in some)
            found.append(frozenset(chain.from_iterable(made)))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_no_two_sums_of_what_is_told_differ_by_few_payments(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (the same at each run)
    tried = []
    for _ in range(60):
        payer, payee = chance.sample(range(3), 2)
        day, amount = chance.randint(0, 9), chance.randint(1, 30)
        tried.append(paying(payer, payee, amount, day, wait=chance.random() < 0.3))
    tried.sort(key=lambda one: one.tried_at)
    changes = Changes(Fraction(1, 2), rounds=simulation.every(2, START, recorded([]).end))
    world = recorded(tried, credit=60, pair=50)
    comparison = compare(world, changes, even_steps(world))
    as_it_was, what_if = withholding.told(comparison)
    sums = sums_of(comparison.baseline, as_it_was.values)
    sums += sums_of(comparison.what_if, what_if.values)
    assert all(not 0 < len(one ^ other) < 5 for one, other in combinations(sums, 2))
    assert "posted" in as_it_was.values


def paid(counts: dict[tuple[str, str], int]) -> list[Made]:
    """Return so many payments between groups, each of members of its own."""
    return [
        Made(payer, f"{payer}{n}", payee, f"{payee}{n}", 1)
        for (payer, payee), number in counts.items()
        for n in range(number)
    ]


def test_a_group_is_left_out_only_where_that_sets_no_few_payments_apart() -> None:
    large = {("a", "b"): 9, ("b", "c"): 9, ("c", "d"): 9, ("d", "a"): 9}
    assert left_out_of(paid(large)) == set("abcd")
    # Each group has much, and so have the others; but a and c have one payment between them,
    # which all four answers and their sum would tell.
    assert left_out_of(paid({**large, ("a", "c"): 1})) == frozenset()
    assert left_out_of(paid({**large, ("a", "c"): 1, ("e", "f"): 4})) == set("bd")
    assert left_out_of(paid({**large, ("e", "a"): 1, ("f", "c"): 1})) == frozenset()
    # What a group had with others that cannot be left out is one lump in every answer.
    assert left_out_of(paid({**large, ("e", "a"): 2, ("f", "a"): 3})) == set("abcd")
    of_two = [replace(one, payer_member="x", payee_member="y") for one in paid(large)]
    assert left_out_of(of_two) == frozenset()


@pytest.mark.parametrize("seed", range(40))
def test_no_few_payments_can_be_solved_for_from_answers_without_each_group(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (the same at each run)
    groups = "abcdefg"[: chance.randint(3, 7)]
    counts = {pair: chance.choice((0, 0, 1, 3, 6, 9, 12)) for pair in combinations(groups, 2)}
    made = paid(counts)
    number = Counter(one.groups for one in made)
    pairs = list(number)
    answers = [[1] * len(pairs)]
    answers += [[group not in pair for pair in pairs] for group in sorted(left_out_of(made))]
    told_by = np.array(answers, dtype=np.int64)
    rank = np.linalg.matrix_rank(told_by)
    for size in (1, 2, 3):
        for some in combinations(pairs, size):
            if sum(number[pair] for pair in some) < 5 <= len(made):
                wanted = [[pair in some for pair in pairs]]
                solved = np.linalg.matrix_rank(np.concatenate([told_by, wanted])) == rank
                assert not solved, (some, counts)


def test_a_replay_apart_that_breaks_is_told_with_what_it_said_last() -> None:
    with pytest.raises(LocalPayError, match="the replay ended with 1: AttributeError: 'str' obj"):
        compare_apart(cast("Recorded", "garbage"), Changes(), [], 60)
