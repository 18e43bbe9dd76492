"""Which queued payments fit together: rooms of accounts, and a circulation that has to exist."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from ortools.graph.python import max_flow
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clearing.netting.arcs import Numbers
from clearing.netting.matrix import MOST, Matrix, Sides, Waiting, changes, sides
from commons.errors import LocalPayError

Taken = npt.NDArray[np.bool_]
"""Which of the waiting payments are released, a place each."""

Nodes = npt.NDArray[np.bool_]
"""A set of nodes, a place each."""


@dataclass(frozen=True)
class Ways:
    """What can flow from `tail` to `head`, whatever is released."""

    tail: Numbers
    head: Numbers
    cap: Numbers


class Fit:
    """Tells of sets of waiting payments whether they can be released together.

    They can where every account is within its limits with its final balance, and a circulation
    exists that takes every pair below its ceiling. Only the places that the payments touch change
    with the set; of the rest only that matters which lies on a circle with a pair that may have
    to come down.
    """

    def __init__(self, matrix: Matrix, waiting: Sequence[Waiting]) -> None:
        """Prepare for the payments, oldest first; raises InvalidError as `changes` does."""
        self.size, self.nodes = len(waiting), matrix.nodes
        payer = np.array([one.debtor for one in waiting], np.int64)
        payee = np.array([one.creditor for one in waiting], np.int64)
        self.eligible: Taken = ~(matrix.barred[payer] | matrix.barred[payee])
        self.value = [one.pair for one in waiting]
        self.first: Taken = np.array([one.first for one in waiting], np.bool_)
        self.owner, place, self.change = changes(matrix, waiting)
        touched, self.place = np.unique(place, return_inverse=True)
        self.touched = _bounded(matrix.at(touched), int(matrix.owed.sum()), self.change)
        one, other = self.touched.debtor[self.place], self.touched.creditor[self.place]
        self.giver = np.where(self.change < 0, other, one)
        self.taker = np.where(self.change < 0, one, other)
        self._rooms(matrix, waiting, np.concatenate([payer, payee]))
        self.ways = self._circles(matrix, touched)
        self.cuts: dict[bytes, Nodes] = {}

    def _rooms(self, matrix: Matrix, waiting: Sequence[Waiting], ends: Numbers) -> None:
        """Note how far balances may move: what passes a limit already may stay, not grow."""
        self.parties, self.party = np.unique(ends, return_inverse=True)
        self.below = np.maximum(0, matrix.room_below[self.parties])
        self.above = np.maximum(0, matrix.room_above[self.parties])
        self.moves = np.array(
            [-one.out for one in waiting] + [one.into for one in waiting], np.int64
        )
        self.mover = np.tile(np.arange(self.size), 2)

    def _circles(self, matrix: Matrix, touched: Numbers) -> Ways:
        """Return the ways beside the touched places that can help any of these down."""
        if not self.may_exceed.any():
            return Ways(*(np.zeros(0, np.int64) for _ in range(3)))
        rest = matrix.at(np.setdiff1d(np.arange(len(matrix.owed)), touched))
        found = sides(rest, rest.owed)
        tail = np.concatenate([rest.debtor, rest.creditor])
        head = np.concatenate([rest.creditor, rest.debtor])
        cap = np.concatenate([found.cap + found.ahead, found.astern])
        one, other = self.touched.debtor, self.touched.creditor
        label = _strong(
            self.nodes,
            np.concatenate([tail[cap > 0], one, other]),
            np.concatenate([head[cap > 0], other, one]),
        )
        needed = label[one[self.may_exceed]]
        use = (cap > 0) & (label[tail] == label[head]) & np.isin(label[tail], needed)
        return Ways(tail[use], head[use], cap[use])

    @cached_property
    def extremes(self) -> tuple[Numbers, Numbers]:
        """The least and the most that can come to be owed at each touched place."""
        may = self.eligible[self.owner]
        lowest, highest = self.touched.owed.copy(), self.touched.owed.copy()
        np.add.at(lowest, self.place[may], np.minimum(0, self.change[may]))
        np.add.at(highest, self.place[may], np.maximum(0, self.change[may]))
        return lowest, highest

    @cached_property
    def may_exceed(self) -> npt.NDArray[np.bool_]:
        """The touched places that some set of payments brings beyond a ceiling."""
        lowest, highest = (sides(self.touched, then).least for then in self.extremes)
        return (lowest > 0) | (highest > 0)

    def none(self) -> Taken:
        """Return the set of no payments."""
        return np.zeros(self.size, np.bool_)

    def worth(self, taken: Taken) -> int:
        """Return what payments are worth together."""
        return sum(self.value[place] for place in np.flatnonzero(taken).tolist())

    def moved(self, taken: Taken) -> tuple[Nodes, Nodes]:
        """Return which parties would end too low, and which too high."""
        moved = np.zeros(len(self.parties), np.int64)
        counts = taken[self.mover]
        np.add.at(moved, self.party[counts], self.moves[counts])
        return -moved > self.below, moved > self.above

    def sides(self, taken: Taken) -> Sides:
        """Return what stands at the touched places once payments are posted."""
        then = self.touched.owed.copy()
        counts = taken[self.owner]
        np.add.at(then, self.place[counts], self.change[counts])
        return sides(self.touched, then)

    def stuck(self, taken: Taken) -> npt.NDArray[np.bool_]:
        """Return the touched places where more must be set off than may be."""
        now = self.sides(taken)
        return now.least > now.cap

    def cut(self, taken: Taken) -> Nodes | None:
        """Return nodes into which more must flow than can flow out of them; None if there are none.

        No place may be `stuck`. By max flow: what must be set off is, and has to find its way
        back. What is found stays in `cuts`, for it limits every other set too.
        [Hoffman's circulation theorem: such nodes are there exactly where no circulation is.]
        """
        now = self.sides(taken)
        if not now.least.any():
            return None
        debtor = np.where(now.turned, self.touched.creditor, self.touched.debtor)
        creditor = np.where(now.turned, self.touched.debtor, self.touched.creditor)
        excess = np.zeros(self.nodes, np.int64)
        np.add.at(excess, creditor, now.least)
        np.subtract.at(excess, debtor, now.least)
        ways = Ways(
            np.concatenate([self.ways.tail, debtor, creditor]),
            np.concatenate([self.ways.head, creditor, debtor]),
            np.concatenate([self.ways.cap, now.cap + now.ahead - now.least, now.astern]),
        )
        nodes = bottleneck(ways, excess)
        if nodes is not None:
            self.cuts[nodes.tobytes()] = nodes
        return nodes

    def fits_at_once(self, taken: Taken) -> bool:
        """Tell whether payments can be released together with no set-off at all: a quick look."""
        if (taken & ~self.eligible).any() or any(over.any() for over in self.moved(taken)):
            return False
        return not self.sides(taken).least.any()

    def fits(self, taken: Taken) -> bool:
        """Tell whether payments can be released together."""
        if (taken & ~self.eligible).any() or any(over.any() for over in self.moved(taken)):
            return False
        if self.stuck(taken).any():
            return False
        return self.cut(taken) is None


def _bounded(matrix: Matrix, owed: int, change: Numbers) -> Matrix:
    """Return a matrix with ceilings that are no higher than matters, so that sums stay small."""
    most = min(MOST - 1, 2 * (owed + int(np.abs(change).sum())))

    def bounded(limits: Numbers) -> Numbers:
        return np.where(limits < MOST, np.minimum(limits, most), limits)

    return replace(matrix, ceiling=bounded(matrix.ceiling), back=bounded(matrix.back))


def _strong(nodes: int, tail: Numbers, head: Numbers) -> Numbers:
    """Return the number of each node's strongly connected component."""
    graph = coo_array((np.ones(len(tail), np.int8), (tail, head)), shape=(nodes, nodes))
    _, label = connected_components(graph, directed=True, connection="strong")
    return np.asarray(label, np.int64)


def bottleneck(ways: Ways, excess: Numbers) -> Nodes | None:
    """Return nodes whose excess cannot leave them over the ways; None where all of it can."""
    source, sink = len(excess), len(excess) + 1
    gets, gives = np.flatnonzero(excess > 0), np.flatnonzero(excess < 0)
    flow = max_flow.SimpleMaxFlow()
    flow.add_arcs_with_capacity(
        np.concatenate([ways.tail, np.full_like(gets, source), gives]),
        np.concatenate([ways.head, gets, np.full_like(gives, sink)]),
        np.concatenate([ways.cap, excess[gets], -excess[gives]]),
    )
    if flow.solve(source, sink) != flow.OPTIMAL:
        raise LocalPayError("the solver of the queue found no largest flow")
    if flow.optimal_flow() == int(excess[gets].sum()):
        return None
    reached = np.zeros(len(excess) + 2, np.bool_)
    reached[flow.get_source_side_min_cut()] = True
    return reached[:-2]
