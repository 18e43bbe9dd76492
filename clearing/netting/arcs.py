"""Obligations as arrays: what a circulation may set off of each, and what was found."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
NO_WAY_ROUND: Final = "what must be set off at least does not come round"


class InfeasibleError(ValueError):
    """No circulation sets off the least that must be of every arc."""


@dataclass(frozen=True)
class Arcs:
    """Arcs from debtor to creditor between nodes 0 … nodes - 1; all arrays have one place an arc.

    Of each arc between `least` and `cap` is set off, in smallest units, which counts `weight`
    times: 1 for an obligation; -1 for a spare credit line, over which what flows is owed anew by
    the arc's creditor to its debtor.
    """

    nodes: int
    debtor: Numbers
    creditor: Numbers
    least: Numbers
    cap: Numbers
    weight: Numbers

    def at(self, places: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Arcs":
        """Return the arcs at these places, between the same nodes."""
        columns = (self.debtor, self.creditor, self.least, self.cap, self.weight)
        return Arcs(self.nodes, *(column[places] for column in columns))


@dataclass(frozen=True)
class Circulation:
    """The most that can be set off, and the prices that prove it.

    `amount` is what is set off of each arc: as much out of each node as into it. `price` is one
    whole number a node. `bound` is Σ max over least ≤ x ≤ cap of (weight + price of the debtor -
    price of the creditor) · x, which no circulation can exceed, and Σ weight · amount equals.
    """

    amount: Numbers
    price: Numbers
    bound: int
