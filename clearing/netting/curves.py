"""How what has to flow at a pair depends on what is owed there: straight pieces, exact."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clearing.netting.arcs import Numbers
from clearing.netting.fitting import Fit
from clearing.netting.matrix import sides


@dataclass(frozen=True)
class Piece:
    """From `low` to `high` owed, both included, the value is `start` + `slope` · (owed - `low`)."""

    low: int
    high: int
    start: int
    slope: int

    @property
    def end(self) -> int:
        """The value at `high`."""
        return self.start + self.slope * (self.high - self.low)


@dataclass(frozen=True)
class Curve:
    """A value by what the debtor of a touched place owes its creditor."""

    place: int
    pieces: tuple[Piece, ...]

    @property
    def most(self) -> int:
        """Its highest value."""
        return max(max(piece.start, piece.end) for piece in self.pieces)

    @property
    def fewest(self) -> int:
        """Its lowest value."""
        return min(min(piece.start, piece.end) for piece in self.pieces)


@dataclass(frozen=True)
class Place:
    """The curves of a touched place.

    `forth` is what must at least be set off from its debtor to its creditor, less what can at most
    flow the other way; `back` the same with the two exchanged. `stuck` is what must be set off
    less what may, and above 0 never fits.
    """

    number: int
    forth: Curve
    back: Curve
    stuck: Curve


def curves(fit: Fit) -> list[Place]:
    """Return the curves of all touched places, over all that can come to be owed there."""
    lowest, highest = fit.extremes
    ends = [
        (number, low, high) for number, (low, high) in enumerate(zip(lowest, highest, strict=True))
    ]
    return [_place(fit, number, int(low), int(high)) for number, low, high in ends]


def _place(fit: Fit, number: int, low: int, high: int) -> Place:
    """Return the curves of one place, between what can be owed there least and most."""
    matrix = fit.touched
    owed, held, ceiling, back = (
        int(column[number]) for column in (matrix.owed, matrix.held, matrix.ceiling, matrix.back)
    )
    bends = {0, owed, held, -held, held + back, owed - back, ceiling, -back}
    inner = {end for bend in bends for end in (bend - 1, bend) if low <= end < high}
    lasts = [*sorted(inner), high]
    firsts = [low, *(last + 1 for last in lasts[:-1])]
    then = np.array([*firsts, *lasts], np.int64)
    found = sides(matrix.at(np.full(len(then), number)), then)
    none = np.zeros_like(then)
    ahead = found.cap + found.ahead
    forth = np.where(found.turned, none, found.least) - np.where(found.turned, ahead, found.astern)
    backward = np.where(found.turned, found.least, none) - np.where(
        found.turned, found.astern, ahead
    )
    return Place(
        number,
        Curve(number, _pieces(firsts, lasts, forth)),
        Curve(number, _pieces(firsts, lasts, backward)),
        Curve(number, _pieces(firsts, lasts, found.least - found.cap)),
    )


def _pieces(firsts: Sequence[int], lasts: Sequence[int], values: Numbers) -> tuple[Piece, ...]:
    """Return straight pieces through the values at the firsts, then those at the lasts."""
    starts, ends = values[: len(firsts)].tolist(), values[len(firsts) :].tolist()
    pieces: list[Piece] = []
    for first, last, start, end in zip(firsts, lasts, starts, ends, strict=True):
        slope = (end - start) // (last - first) if last > first else 0
        piece = Piece(first, last, start, slope)
        if pieces and (joined := _joined(pieces[-1], piece)):
            pieces[-1] = joined
        else:
            pieces.append(piece)
    return tuple(pieces)


def _joined(one: Piece, other: Piece) -> Piece | None:
    """Return two pieces, one right after the other, as a single one if they lie on one line."""
    slope = other.start - one.end
    whole = Piece(one.low, other.high, one.start, slope)
    bent = (piece for piece in (one, other) if piece.high > piece.low and piece.slope != slope)
    return None if any(bent) else whole
