"""The best choice of the queue, proven: whole numbers by CP-SAT, cuts by max flow.

The solver knows the payments (taken or not), the rooms of accounts, and as much of the matrix as it
has been told: whenever it takes payments for which no circulation exists, it is told the nodes at
which there is none, as a rule that holds for every choice. It never sees the thousands of pairs
that no payment touches, and what it is told is exact. [Benders' decomposition.]
"""

from dataclasses import dataclass
from itertools import islice
from math import ceil
from time import monotonic_ns
from typing import Final

import numpy as np
from ortools.sat.python import cp_model

from clearing.netting.arcs import Numbers
from clearing.netting.curves import Curve, curves
from clearing.netting.fitting import Fit, Nodes, Taken
from clearing.netting.searching import cut_down
from commons.errors import LocalPayError

AT_ONCE: Final = 40
"""How many payments are put into order by age in one step: weights of 2⁰ to 2³⁹."""

EXACT_BELOW: Final = 2**53
"""Up to here the solver, which compares values as floats too, is exact."""


@dataclass(frozen=True)
class Found:
    """A choice that fits, what none can be worth more than, and if it is the best.

    `draft` is what the solver would have taken when its time was up, which may not fit.
    """

    taken: Taken
    bound: int
    exact: bool
    draft: Taken


def best(fit: Fit, until: int) -> Found:
    """Return the best choice: those marked first, then the most value, then older payments.

    One marked first is taken where any choice has it together with those before it. Ends when
    `until` (of `monotonic_ns`) has come, with what it has by then; the solver, which leaves other
    threads running, looks at the clock too.
    """
    everything = fit.worth(fit.eligible)
    if everything >= EXACT_BELOW or monotonic_ns() >= until:
        return Found(fit.none(), everything, exact=False, draft=fit.eligible)
    master = _Master(fit)
    taken, bound = fit.none(), everything
    value = dict(enumerate(fit.value))
    ages = [_ages(fit.eligible & fit.first), _ages(fit.eligible & ~fit.first)]
    for goal in (*ages[0], value, *ages[1]):
        reached = master.most(goal, until)
        if goal is value:
            bound = min(bound, reached.bound)
        if not reached.exact:
            return Found(taken, bound, exact=False, draft=reached.draft)
        taken = reached.taken
        master.keep(goal, taken)
    return Found(taken, bound, exact=True, draft=taken)


def _ages(among: Taken) -> list[dict[int, int]]:
    """Return weights by which older payments of these outweigh all newer ones, in steps."""
    places = np.flatnonzero(among).tolist()
    steps = [places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE)]
    return [{place: 1 << at for at, place in enumerate(reversed(step))} for step in steps]


def _through(nodes: Numbers, ends: Numbers, fit: Fit) -> list[int]:
    """Return for each of some nodes the sum of the ways that end there, beyond 64 bits too."""
    high, low = np.zeros((2, fit.nodes), np.int64)
    np.add.at(high, ends, fit.ways.cap >> 32)
    np.add.at(low, ends, fit.ways.cap & (2**32 - 1))
    halves = zip(high[nodes].tolist(), low[nodes].tolist(), strict=True)
    return [(above << 32) + below for above, below in halves]


class _Master:
    """What the solver has been told of a queue."""

    def __init__(self, fit: Fit) -> None:
        """Tell it the payments, the rooms, and what each place and each node by itself allows."""
        self.fit, self.model = fit, cp_model.CpModel()
        self.take = [
            self.model.new_bool_var("") if may else self.model.new_constant(0)
            for may in fit.eligible.tolist()
        ]
        self._rooms()
        self.places = curves(fit)
        self.told = 0
        self.terms: dict[Curve, cp_model.LinearExprT] = {}
        for place in self.places:
            if place.stuck.most > 0:
                self.model.add(self._term(place.stuck) <= 0)
        touched = np.unique(np.concatenate([fit.giver, fit.taker]))
        into, out = (_through(touched, ends, fit) for ends in (fit.ways.head, fit.ways.tail))
        for node, comes, goes in zip(touched.tolist(), into, out, strict=True):
            alone: Nodes = np.arange(fit.nodes) == node
            self._limit(alone, goes)
            self._limit(~alone, comes)

    def _rooms(self) -> None:
        """Tell it how far balances may move."""
        fit = self.fit
        for party, (below, above) in enumerate(zip(fit.below, fit.above, strict=True)):
            entries = np.flatnonzero(fit.party == party).tolist()
            moves = [(fit.moves[entry].item(), fit.mover[entry].item()) for entry in entries]
            reach = sum(abs(move) for move, _ in moves)
            if min(int(below), int(above)) < reach:
                moved = sum(move * self.take[place] for move, place in moves)
                self.model.add_linear_constraint(
                    moved, -min(int(below), reach), min(int(above), reach)
                )

    def _owed(self, place: int) -> cp_model.LinearExprT:
        """Return what is owed at a touched place, by what is taken."""
        fit = self.fit
        entries = np.flatnonzero(fit.place == place).tolist()
        taken = [self.take[fit.owner[entry]] for entry in entries]
        changed = cp_model.LinearExpr.weighted_sum(taken, fit.change[entries].tolist())
        return changed + int(fit.touched.owed[place])

    def _term(self, curve: Curve) -> cp_model.LinearExprT:
        """Return the value of a curve, by what is taken."""
        if curve in self.terms:
            return self.terms[curve]
        owed = self._owed(curve.place)
        if len(curve.pieces) == 1:
            piece = curve.pieces[0]
            self.terms[curve] = piece.start + piece.slope * (owed - piece.low)
            return self.terms[curve]
        value = self.model.new_int_var(curve.fewest, curve.most, "")
        on = [self.model.new_bool_var("") for _ in curve.pieces]
        self.model.add_exactly_one(on)
        for piece, here in zip(curve.pieces, on, strict=True):
            inside = self.model.add_linear_constraint(owed, piece.low, piece.high)
            inside.only_enforce_if(here)
            equal = self.model.add(value == piece.start + piece.slope * (owed - piece.low))
            equal.only_enforce_if(here)
        self.terms[curve] = value
        return value

    def _cut(self) -> None:
        """Tell it of all nodes found since that no more may have to flow in than can flow out."""
        ways = self.fit.ways
        for nodes in islice(self.fit.cuts.values(), self.told, None):
            self._limit(nodes, sum(ways.cap[nodes[ways.tail] & ~nodes[ways.head]].tolist()))
        self.told = len(self.fit.cuts)

    def _limit(self, nodes: Nodes, room: int) -> None:
        """Tell it how much there is room for to flow out of nodes beside the touched places."""
        debtor, creditor = self.fit.touched.debtor, self.fit.touched.creditor
        into = [
            self.places[place].back if nodes[debtor[place]] else self.places[place].forth
            for place in np.flatnonzero(nodes[debtor] != nodes[creditor]).tolist()
        ]
        if sum(curve.most for curve in into) > room:
            self.model.add(sum(self._term(curve) for curve in into) <= room)

    def most(self, goal: dict[int, int], until: int) -> Found:
        """Return a choice that brings the most for a goal, and the bound of what can be brought."""
        self.model.maximize(sum(weight * self.take[place] for place, weight in goal.items()))
        bound = sum(goal.values())
        draft = self.fit.eligible
        self._cut()
        while (left := until - monotonic_ns()) > 0:
            solver = cp_model.CpSolver()
            solver.parameters.max_time_in_seconds = left / 10**9
            solver.parameters.num_workers = 1
            solver.parameters.linearization_level = 2
            solver.parameters.relative_gap_limit = 0
            solver.parameters.absolute_gap_limit = 0
            status = solver.solve(self.model)
            if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
                draft = np.array([solver.boolean_value(one) for one in self.take], np.bool_)
            if status == cp_model.OPTIMAL:
                bound = sum(weight for place, weight in goal.items() if draft[place])
                if self.fit.cut(draft) is None:
                    return Found(draft, bound, exact=True, draft=draft)
                cut_down(self.fit, draft, self.fit.none(), until)
                self._cut()
            elif status == cp_model.FEASIBLE:
                bound = min(bound, ceil(solver.best_objective_bound))
                break
            elif status == cp_model.UNKNOWN:
                break
            elif status == cp_model.MODEL_INVALID:
                break  # sums of what it was told do not fit into 64 bits
            else:
                raise LocalPayError("the solver of the queue found no choice at all")
        return Found(self.fit.none(), bound, exact=False, draft=draft)

    def keep(self, goal: dict[int, int], taken: Taken) -> None:
        """Tell it not to fall behind what a choice brings for a goal."""
        reached = sum(weight for place, weight in goal.items() if taken[place])
        self.model.add(sum(weight * self.take[place] for place, weight in goal.items()) == reached)
