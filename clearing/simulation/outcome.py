"""What a replay is asked to change, and what comes of it; amounts in smallest clearing units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from clearing.columns import Numbers

CREDIT, SURPLUS, PAIR = LIMITS = ("credit_limit", "surplus_limit", "pair_limit")
"""The limits in the order in which they are checked."""


AS_RECORDED: Final = "as recorded"

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Changes:
    """What is to be otherwise than it was; as it is, nothing.

    Each limit that was set is multiplied by its factor, rounded down to smallest units; one that
    was not set stays so. Groups `without` try nothing and take no part in rounds; what they owe
    and are owed at the start stays. `rounds` is when there is one, where not as it was recorded,
    and `rounds_are` says so in words; `credit_lines` is whether these use spare credit lines,
    where not as the union has it.
    """

    credit_factor: Fraction = Fraction(1)
    surplus_factor: Fraction = Fraction(1)
    pair_factor: Fraction = Fraction(1)
    without: frozenset[str] = frozenset()
    rounds: Sequence[datetime] | None = None
    rounds_are: str = AS_RECORDED
    credit_lines: bool | None = None


@dataclass
class Counted:
    """How many transfers, and what they are worth to their payees."""

    number: int = 0
    value: int = 0

    def add(self, value: int) -> None:
        """Count one more."""
        self.number += 1
        self.value += value


@dataclass(frozen=True)
class RoundRun:
    """A round of a replay: what was owed before it and set off in it, and what it released."""

    at: datetime
    owed: int
    cleared: int
    drawn: int
    released: int
    released_value: int


@dataclass(frozen=True)
class Step:
    """How a replay stands at a moment.

    `in_use` is the sum of all balances below zero, which is the net internal debt; `owed` is all
    that accounts owe each other. `posted_value` and `cleared` are sums since the start.
    """

    at: datetime
    in_use: int
    owed: int
    posted_value: int
    cleared: int


@dataclass(frozen=True)
class Outcome:
    """What came of a replay.

    `tried` is what was decided upon; of that was `posted`, `refused` for want of room, is
    `waiting` at the end, `lapsed` while it waited, or `given_up` by its hubs, or still open.
    `met` counts by limit what did not fit when it was tried, whether it was refused or waits.

    `in_use` is as in `Step`: the most at any moment and the mean over the time. `lines_needed`
    adds up how far below zero each group came at its lowest: so much credit had to be granted in
    all for this to be possible. `owed` likewise. `as_recorded` is how many of those that were
    tried were posted, or not, as they were in fact. `balances` are those at the end, by name.

    `made_of` tells by name which of the attempts each number is made of, with those that rounds
    released, and `ended_at` when each attempt ended, in microseconds of the epoch, 0 if not yet.
    """

    tried: Counted
    posted: Counted
    refused: Counted
    waiting: Counted
    lapsed: Counted
    given_up: Counted
    met: Mapping[str, Counted]
    in_use_peak: int
    in_use_mean: int
    lines_needed: int
    owed_peak: int
    owed_mean: int
    rounds: Sequence[RoundRun]
    steps: Sequence[Step]
    as_recorded: int
    balances: Mapping[str, int] = field(repr=False)
    made_of: Mapping[str, Flags] = field(repr=False, compare=False)
    ended_at: Numbers = field(repr=False, compare=False)

    @property
    def cleared(self) -> int:
        """What all rounds set off."""
        return sum(one.cleared for one in self.rounds)

    @property
    def owed_before_rounds(self) -> int:
        """What was owed before each round, added up: the cleared share is of this."""
        return sum(one.owed for one in self.rounds)


@dataclass(frozen=True)
class Comparison:
    """A period as it was, replayed, and as it would have been."""

    union_id: str
    start: datetime
    end: datetime
    changes: Changes
    baseline: Outcome
    what_if: Outcome
