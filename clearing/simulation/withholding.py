"""Which values of a comparison are told, so that none of few payments comes out of them.

The value of fewer than five payments is not told. Nor is one where sums of values that are told
would differ by one to four payments: whether of the replay as it was, of the what-if, or of one
and the other. A sum is one of what came of payments (posted and refused, say), or of the limits
that they met; what was posted by the end of a month is a value like others.

Amounts that are no sums of payments (credit in use, lines needed, owed, cleared) are not told of
the what-if where one to four payments came out otherwise in it, or at another time.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from clearing.columns import Numbers
from clearing.network.privacy import FEWEST_TRANSFERS
from clearing.simulation.outcome import LIMITS, Comparison, Flags, Outcome
from clearing.simulation.recorded import micros

_PARTS: Final = ("posted", "refused", "lapsed", "waiting", "given_up")
_MET: Final = tuple(f"met_{limit}" for limit in LIMITS)
_FAMILY: Final = dict.fromkeys(_PARTS, "parts") | dict.fromkeys(_MET, "met")
_NAMES: Final = ("posted", "refused", "tried", *_MET, "lapsed", "waiting", "given_up", "released")
"""What is told as long as it can be, in this order; then what was posted by each step."""

Name = str | int
"""A value by its name, or what was posted by a step by the step's place."""


@dataclass(frozen=True)
class Told:
    """What is told of an outcome: which values, and whether the amounts that are no sums."""

    values: frozenset[Name]
    stocks: bool


def everything(comparison: Comparison) -> tuple[Told, Told]:
    """Return that all is told, as to an operator."""
    as_it_was, what_if = (
        Told(frozenset([*_NAMES, *range(len(outcome.steps))]), stocks=True)
        for outcome in (comparison.baseline, comparison.what_if)
    )
    return as_it_was, what_if


def told(comparison: Comparison) -> tuple[Told, Told]:
    """Return what an analyst is told: of the period as it was, and of the what-if."""
    outcomes = comparison.baseline, comparison.what_if
    made_of = [_made_of(outcome) for outcome in outcomes]
    keys = [(which, name) for name in made_of[0] for which in range(len(outcomes))]
    classes, number = _classes([made_of[which][name] for which, name in keys])
    sums = _Sums(number)
    taken = {
        (which, name)
        for (which, name), value in zip(keys, classes, strict=True)
        if sums.take((which, _FAMILY.get(str(name), name)), value)
    }
    as_it_was, what_if = (
        frozenset(name for one, name in taken if one == which) for which in range(len(outcomes))
    )
    few_changed = 0 < _changed(*outcomes) < FEWEST_TRANSFERS
    return Told(as_it_was, stocks=True), Told(what_if, not few_changed)


class _Sums:
    """Sums of the values told so far, each as how often it has the payments of each class."""

    def __init__(self, number: Numbers) -> None:
        self.number = number
        self.all = np.zeros((1, len(number)), dtype=np.bool_)
        self.of: dict[object, Flags] = defaultdict(lambda: np.zeros_like(self.all[:1]))

    def take(self, family: object, value: Flags) -> bool:
        """Tell a further value, which is added to sums of its family, unless too little is told."""
        if int(self.number[value].sum()) < FEWEST_TRANSFERS:
            return False
        new = self.of[family] | value  # of one family no two values have a payment in common
        for one in new:
            apart = (self.all ^ one) @ self.number
            if ((apart > 0) & (apart < FEWEST_TRANSFERS)).any():
                return False
        self.of[family] = np.concatenate([self.of[family], new])
        self.all = np.concatenate([self.all, new])
        return True


def _made_of(outcome: Outcome) -> dict[Name, Flags]:
    """Return of which payments each value is made."""
    found: dict[Name, Flags] = {name: outcome.made_of[name] for name in _NAMES}
    for place, step in enumerate(outcome.steps):
        found[place] = outcome.made_of["posted"] & (outcome.ended_at <= micros(step.at))
    return found


def _classes(values: list[Flags]) -> tuple[Flags, Numbers]:
    """Return values by classes of payments that are in the same of them, and the classes' sizes."""
    packed = np.ascontiguousarray(np.packbits(np.array(values), axis=0).T)
    rows = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, number = np.unique(rows, return_index=True, return_counts=True)
    return np.array(values)[:, first], number.astype(np.int64)


def _changed(one: Outcome, other: Outcome) -> int:
    """Return how many payments came out otherwise, or at another time."""
    apart = one.ended_at != other.ended_at
    for name in _NAMES:
        apart |= one.made_of[name] != other.made_of[name]
    return int(np.count_nonzero(apart))
