"""What a round releases of the queue: the payments worth most that fit together.

Payments are released whole. Those fit together after which every account is within its limits, and
a set-off exists after which every pair is: a circulation with lower bounds.

`Matrix` (numpy arrays, one place for each two nodes), `Waiting` and `arcs_of` are written down in
`clearing.netting.matrix` and can be had from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic_ns

from clearing.netting import circulate
from clearing.netting.arcs import Circulation
from clearing.netting.choosing import Found, best
from clearing.netting.fitting import Fit
from clearing.netting.matrix import NONE, Matrix, Standing, Waiting, arcs_of
from clearing.netting.searching import best_of, cut_down, search

__all__ = ["NONE", "Choice", "Matrix", "Standing", "Waiting", "arcs_of", "choose"]


@dataclass(frozen=True)
class Choice:
    """What is released, by place in the queue, and the circulation that goes with it.

    `value` is what the released payments are worth and `bound` what they could be worth at most;
    `exact` says that no better choice exists for certain. `standing` has the arcs that
    `circulation` is over.
    """

    released: tuple[bool, ...]
    value: int
    bound: int
    exact: bool
    standing: Standing
    circulation: Circulation


def choose(matrix: Matrix, waiting: Sequence[Waiting], deadline_seconds: int) -> Choice:
    """Return which of the waiting payments (oldest first) a round releases.

    First those marked `first`, oldest first, each taken where any choice has it with those before
    it; then the largest value; of equals the one with older payments; then the most set off. When
    the time is up, the best is returned that a search has found, and `exact` is false; that takes
    not much longer, beside the circulation itself. Raises InvalidError for amounts below 0, two
    nodes that have no place in the matrix, and sums of 2⁶² or more.
    """
    fit = Fit(matrix, waiting)
    found = _found(fit, deadline_seconds * 10**9)
    taken = found.taken
    released = tuple(taken.tolist())
    standing = arcs_of(matrix, [one for one, yes in zip(waiting, released, strict=True) if yes])
    value = fit.worth(taken)
    return Choice(released, value, found.bound, found.exact, standing, circulate(standing.arcs))


def _found(fit: Fit, nanoseconds: int) -> Found:
    """Return a choice that fits: the best, where it is found in that time.

    All at once, where that fits. Else a search first, for a third of the time at most, so that
    there is a choice whatever happens; and as long as that took is left in the end for cutting down
    what the solver has when its time is up.
    """
    if fit.fits(fit.eligible):
        return Found(fit.eligible, fit.worth(fit.eligible), exact=True, draft=fit.eligible)
    start = monotonic_ns()
    until = start + nanoseconds
    searched = search(fit, start + nanoseconds // 3)
    found = best(fit, until - (monotonic_ns() - start))
    if found.exact:
        return found
    # It has those marked first that belong to the bound, where the solver came as far as that.
    taken = best_of(fit, searched, found.taken)
    other = cut_down(fit, found.draft, taken & fit.first, until)
    return replace(found, taken=best_of(fit, taken, other))
