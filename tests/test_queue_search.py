"""What is released of a queue without a proof that it is the best, or without the time for it."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from queue_world import (
    CIRCLE,
    NEVER,
    PATIENT,
    QUEUED,
    Union,
    chosen,
    most_set_off,
    pay,
    random_union,
    random_waiting,
    rooms_hold,
    rows_of,
)

from clearing.netting.fitting import Fit
from clearing.netting.queue import Waiting, choose
from clearing.netting.searching import search


def test_the_search_finds_payments_that_fit_only_together_among_some_that_never_do() -> None:
    waiting = [*QUEUED, pay(0, 1, 900), pay(1, 0, 20), pay(2, 1, 900)]

    searched = search(Fit(CIRCLE.matrix(), waiting), NEVER)

    assert searched.tolist() == [True, True, True, False, True, False]


def test_the_search_takes_what_fits_by_age_and_marked_first_before() -> None:
    union = Union(3, limit={(0, 1): 50, (0, 2): 30})
    waiting = [pay(0, 1, 20), pay(0, 1, 30), pay(0, 2, 30), pay(0, 1, 30), pay(0, 1, 20)]

    searched = search(Fit(union.matrix(waiting), waiting), NEVER)
    assert searched.tolist() == [True, True, True, False, False]
    waiting[3] = replace(waiting[3], first=True)
    searched = search(Fit(union.matrix(waiting), waiting), NEVER)
    assert searched.tolist() == [True, False, True, True, False]


def crowded(seed: int, number: int) -> tuple[Union, list[Waiting]]:
    """Return a union in which very many payments wait for little room."""
    random = Random(seed)  # noqa: S311 (for numbers, not for secrets)
    union = random_union(random, 14)
    waiting = random_waiting(random, 14, number)
    return union, [replace(one, first=False) for one in waiting]


def greedy(union: Union, waiting: Sequence[Waiting]) -> int:
    """Return what is released by taking payments as they fit, oldest first."""
    taken: list[Waiting] = []
    for one in waiting:
        tried = [*taken, one]
        free = not {one.debtor, one.creditor} & union.barred
        if free and rooms_hold(union, tried):
            fits = most_set_off(union, list(rows_of(union, tried))) is not None
            taken = tried if fits else taken
    return sum(one.pair for one in taken)


@pytest.mark.parametrize("seed", range(4))
def test_of_sixty_payments_no_choice_is_worse_than_oldest_first(seed: int) -> None:
    union, waiting = crowded(seed, 60)
    fit = Fit(union.matrix(waiting), waiting)

    searched = search(fit, NEVER)

    assert fit.fits(searched)
    assert fit.worth(searched) >= greedy(union, waiting)
    found = chosen(union, waiting, 1)
    assert found.bound >= found.value >= fit.worth(searched)


def test_the_search_is_never_worse_than_oldest_first_and_never_better_than_the_best() -> None:
    random = Random(5)  # noqa: S311 (for numbers, not for secrets)
    worse = 0
    for _ in range(150):
        union = random_union(random, 5)
        waiting = [replace(one, first=False) for one in random_waiting(random, 5, 7)]
        fit = Fit(union.matrix(waiting), waiting)

        searched = search(fit, NEVER)

        assert fit.fits(searched)
        best = choose(union.matrix(waiting), waiting, PATIENT)
        assert best.value >= fit.worth(searched) >= greedy(union, waiting)
        worse += best.value > fit.worth(searched)
    assert 0 < worse < 30


def test_without_any_time_what_fits_at_once_is_released_and_not_called_exact() -> None:
    union, waiting = crowded(7, 60)

    found = chosen(union, waiting, 0)

    assert not found.exact
    assert found.bound == sum(
        one.pair for one in waiting if not {one.debtor, one.creditor} & union.barred
    )
    assert chosen(union, waiting, 1).value >= found.value > 0
    assert not found.standing.arcs.least.any()
    assert chosen(CIRCLE, QUEUED, 0).exact  # all of them together need no search
