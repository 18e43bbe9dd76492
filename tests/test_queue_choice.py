"""What a round releases of the queue: the best that fits together, against all that could."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from queue_world import (
    CIRCLE,
    PATIENT,
    QUEUED,
    Union,
    best_of_all,
    chosen,
    pay,
    random_union,
    random_waiting,
)

from clearing.netting.queue import Choice, Waiting, arcs_of, choose
from commons.errors import InvalidError


def test_three_payments_that_fit_only_together_are_released_and_110_set_off_on_each_side() -> None:
    found = chosen(CIRCLE, QUEUED)

    assert found.released == (True, True, True)
    assert (found.value, found.bound, found.exact) == (150, 150, True)
    assert found.circulation.amount.tolist() == [110, 110, 110]
    left = found.standing.owed - found.circulation.amount
    assert left.tolist() == [30, 30, 0]


@pytest.mark.parametrize("block", range(6))
def test_the_choice_is_the_best_of_all_subsets(block: int) -> None:
    random = Random(block)  # noqa: S311 (for numbers, not for secrets)
    for _ in range(100):
        nodes = random.randint(3, 6)
        union = random_union(random, nodes)
        waiting = random_waiting(random, nodes, random.randint(1, 7))

        found = chosen(union, waiting)

        assert found.exact
        assert found.released == best_of_all(union, waiting)


def test_who_was_passed_over_too_often_comes_before_what_is_worth_more() -> None:
    union = Union(3, limit={(0, 1): 100, (0, 2): 100}, below={0: 100})

    assert chosen(union, [pay(0, 1, 30), pay(0, 2, 90)]).released == (False, True)
    assert chosen(union, [pay(0, 1, 30, first=True), pay(0, 2, 90)]).released == (True, False)
    assert chosen(union, [pay(0, 1, 120, first=True), pay(0, 2, 90)]).released == (False, True)


def test_who_was_passed_over_too_often_and_fits_only_with_others_is_released_with_them() -> None:
    first = [pay(0, 1, 60), pay(1, 2, 50, first=True), pay(2, 0, 40), pay(0, 2, 45)]

    assert chosen(CIRCLE, first[:3]).released == (True, True, True)
    assert chosen(CIRCLE, first).released[1]


def test_of_equal_values_the_older_payments_are_released() -> None:
    union = Union(2, limit={(0, 1): 50})
    waiting = [pay(0, 1, 20), pay(0, 1, 30), pay(0, 1, 30), pay(0, 1, 20)]

    assert chosen(union, waiting).released == (True, True, False, False)


def test_payments_both_ways_between_two_are_released_together_and_turn_the_obligation() -> None:
    union = Union(2, owed={(0, 1): 90}, limit={(0, 1): 100, (1, 0): 100})
    waiting = [pay(0, 1, 60), pay(1, 0, 130), pay(1, 0, 110)]

    found = chosen(union, waiting)

    assert found.released == (True, True, True)
    assert found.standing.owed.tolist() == [90]
    assert found.standing.arcs.debtor.tolist() == [1]
    assert chosen(union, waiting[:1]).released == (False,)
    assert chosen(union, waiting[1:]).released == (True, False)


def test_what_counts_for_an_account_is_its_balance_in_the_end() -> None:
    union = Union(3, below={0: 10, 1: 0}, above={1: 5, 2: 60})

    assert chosen(union, [pay(0, 1, 50), pay(1, 2, 50)]).released == (False, False)
    assert chosen(union, [pay(0, 1, 50), pay(1, 0, 40)]).released == (False, False)
    assert chosen(union, [pay(0, 1, 50), pay(1, 0, 45)]).released == (True, True)
    assert chosen(union, [pay(0, 1, 10), pay(1, 2, 5)]).released == (True, True)


def test_a_balance_beyond_its_limit_already_may_stay_but_not_become_worse() -> None:
    union = Union(3, below={0: -20}, above={2: -1})

    assert chosen(union, [pay(0, 1, 5)]).released == (False,)
    assert chosen(union, [pay(0, 1, 5), pay(1, 0, 5)]).released == (True, True)
    assert chosen(union, [pay(1, 2, 5)]).released == (False,)


def test_a_payer_with_many_payments_uses_its_room_to_the_last_unit() -> None:
    amounts = [10**9 + 7 * 3**place for place in range(18)]
    room = sum(amounts[place] for place in (1, 4, 7, 8, 13, 16))
    union = Union(20, below={0: room})

    found = chosen(union, [pay(0, 1 + place, amount) for place, amount in enumerate(amounts)])

    assert found.value == room
    assert [place for place, yes in enumerate(found.released) if yes] == [1, 4, 7, 8, 13, 16]


def test_what_is_kept_back_or_barred_makes_no_room() -> None:
    held = Union(**{**vars(CIRCLE), "held": {frozenset((0, 1)): 100}})
    found = chosen(held, QUEUED)
    assert found.released == (True, True, True)
    assert found.circulation.amount.tolist() == [40, 40, 40]
    held.held[frozenset((0, 1))] = 101
    assert chosen(held, QUEUED).value == 0
    barred = Union(**{**vars(CIRCLE), "barred": {2}})
    assert chosen(barred, QUEUED).released == (False, False, False)
    assert chosen(barred, [pay(1, 0, 10)]).released == (True,)


def test_an_excess_that_stood_before_forces_nothing_and_holds_up_no_other_payment() -> None:
    union = Union(3, owed={(0, 1): 80, (1, 2): 5, (2, 0): 5}, limit={(0, 1): 40, (1, 2): 50})

    found = chosen(union, [pay(0, 1, 1), pay(1, 2, 10)])

    assert found.released == (False, True)
    assert not found.standing.arcs.least.any()
    lessened = chosen(union, [pay(0, 1, 1), pay(1, 0, 60)])
    assert lessened.released == (True, True)


def test_a_spare_credit_line_closes_the_circle_that_a_payment_needs() -> None:
    union = Union(3, owed={(0, 1): 50, (1, 2): 50}, limit={(0, 1): 60, (0, 2): 35})
    waiting = [pay(0, 1, 30)]

    assert chosen(union, waiting).released == (False,)
    union.lines = True
    found = chosen(union, waiting)
    assert found.released == (True,)
    drawn = found.standing.arcs.weight < 0
    assert found.standing.arcs.debtor[drawn].tolist() == [2]
    assert found.circulation.amount[drawn].tolist() == [35]


def test_an_obligation_that_turned_and_passes_the_other_limit_comes_down_by_a_circle() -> None:
    union = Union(4, owed={(0, 1): 20, (0, 2): 30, (2, 1): 30}, limit={(1, 0): 50})

    assert chosen(union, [pay(1, 0, 90), pay(1, 0, 11)]).released == (True, False)
    assert chosen(union, [pay(1, 0, 101), pay(1, 0, 9)]).released == (False, True)


def test_what_one_pair_must_set_off_and_another_as_well_has_room_only_once() -> None:
    union = Union(
        3,
        owed={(0, 1): 50, (1, 2): 50, (2, 0): 90},
        limit={(0, 1): 50, (1, 2): 50},
        held={frozenset((0, 1)): 40},
    )

    assert chosen(union, [pay(0, 1, 30), pay(1, 2, 40)]).released == (True, True)
    assert chosen(union, [pay(0, 1, 30), pay(1, 2, 41)]).released == (True, False)


def test_room_that_ends_where_the_other_side_is_limited_is_used_to_its_end() -> None:
    circle = {(0, 1): 100, (1, 2): 50, (2, 0): 50}
    union = Union(3, owed=circle, limit={(1, 0): 30, (1, 2): 50}, below={1: 85})
    waiting = [pay(1, 0, 50), pay(1, 2, 30), pay(1, 2, 40), pay(1, 0, 45)]

    assert chosen(union, waiting).released == (True, True, False, False)

    circle[0, 1] = 10
    union = Union(3, owed=circle, limit={(1, 0): -20, (0, 1): 80, (1, 2): 50})
    waiting = [pay(0, 1, 60), pay(1, 2, 30), pay(0, 1, 200)]
    assert chosen(union, waiting).released == (True, True, False)


def test_where_more_is_reserved_than_allowed_an_obligation_may_end_but_not_turn() -> None:
    union = Union(3, owed={(0, 1): 5, (1, 2): 50, (2, 0): 50}, limit={(1, 0): -1})
    assert chosen(union, [pay(1, 0, 6), pay(1, 0, 5)]).released == (False, True)

    union = Union(3, owed={(0, 1): 10, (1, 2): 50, (2, 0): 50}, limit={(1, 0): -20, (0, 1): 35})
    assert chosen(union, [pay(0, 1, 60), pay(0, 1, 200)]).released == (True, False)


def test_the_choice_does_not_depend_on_how_nodes_are_numbered() -> None:
    random = Random(99)  # noqa: S311 (for numbers, not for secrets)
    for _ in range(20):
        union, waiting = random_union(random, 6), random_waiting(random, 6, 8)
        to = random.sample(range(6), 6)
        renamed = Union(
            6,
            {(to[a], to[b]): owed for (a, b), owed in union.owed.items()},
            {(to[a], to[b]): limit for (a, b), limit in union.limit.items()},
            {frozenset(to[n] for n in pair): held for pair, held in union.held.items()},
            {to[node]: room for node, room in union.below.items()},
            {to[node]: room for node, room in union.above.items()},
            {to[node] for node in union.barred},
            union.lines,
        )
        same = [
            replace(
                one,
                debtor=to[one.debtor],
                creditor=to[one.creditor],
                entries=tuple((to[a], to[b], amount) for a, b, amount in one.entries),
            )
            for one in waiting
        ]

        assert chosen(renamed, same).released == chosen(union, waiting).released


def test_amounts_near_the_end_of_64_bits_are_chosen_from_without_overflow_or_refused() -> None:
    huge = 2**60
    union = Union(
        3,
        owed={(0, 1): huge, (1, 2): huge, (2, 0): huge - 5},
        limit=dict.fromkeys(((0, 1), (1, 2), (2, 0)), huge),
    )

    found = chosen_exactly(union, [pay(0, 1, 7), pay(1, 2, 2**59), pay(0, 1, 2**57)])
    assert found.released == (True, True, True)
    short = Union(**{**vars(union), "held": {frozenset((2, 0)): huge - 9}})
    found = chosen_exactly(short, [pay(0, 1, 3), pay(1, 2, 2**59), pay(0, 1, 2**57)])
    assert found.released == (True, False, False)
    assert found.bound >= found.value
    with pytest.raises(InvalidError, match="2\\^62"):
        choose(union.matrix(), [pay(0, 1, 2**61)], PATIENT)
    with pytest.raises(InvalidError, match="2\\^62"):
        choose(union.matrix(), [pay(0, 1, 2**80)], PATIENT)


def chosen_exactly(union: Union, waiting: Sequence[Waiting]) -> Choice:
    """Choose where floats are too coarse for the checks of `chosen`; these are whole numbers."""
    found = choose(union.matrix(waiting), waiting, PATIENT)
    arcs, amounts = found.standing.arcs, found.circulation.amount.tolist()
    flows = zip(arcs.debtor.tolist(), arcs.creditor.tolist(), amounts, strict=True)
    balance = [0] * union.nodes
    for debtor, creditor, amount in flows:
        balance[debtor] += amount
        balance[creditor] -= amount
    assert not any(balance)
    for amount, least, cap in zip(amounts, arcs.least.tolist(), arcs.cap.tolist(), strict=True):
        assert least <= amount <= cap
    return found


def test_amounts_below_0_and_payments_between_nodes_without_a_place_are_refused() -> None:
    with pytest.raises(InvalidError, match="negative"):
        choose(CIRCLE.matrix(), [pay(0, 1, -1)], PATIENT)
    with pytest.raises(InvalidError, match="place"):
        choose(Union(4, owed={(0, 1): 5}).matrix(), [pay(0, 3, 1)], PATIENT)
    with pytest.raises(InvalidError, match="place"):
        arcs_of(Union(4).matrix(), [pay(0, 3, 1)])


def test_nothing_comes_of_nothing() -> None:
    found = chosen(Union(0), [])
    assert (found.released, found.value, found.bound, found.exact) == ((), 0, 0, True)
    assert chosen(CIRCLE, []).circulation.amount.tolist() == [70, 70, 70]
