"""A choice of the queue without a proof that it is the best: greedy, then a bounded search."""

from time import monotonic_ns

import numpy as np

from clearing.netting.fitting import Fit, Taken


def add(fit: Fit, taken: Taken, among: Taken, until: int) -> Taken:
    """Return `taken` with payments of `among` as they fit: those marked first, then oldest first.

    Once `until` (of `monotonic_ns`) has passed, only what fits without any set-off is still added.
    """
    taken = taken.copy()
    for place in in_line(fit, among & ~taken):
        taken[place] = True
        if not (fit.fits(taken) if monotonic_ns() < until else fit.fits_at_once(taken)):
            taken[place] = False
    return taken


def in_line(fit: Fit, among: Taken) -> list[int]:
    """Return the places of payments in the order in which they are tried."""
    places: list[np.int64] = [
        *np.flatnonzero(among & fit.first),
        *np.flatnonzero(among & ~fit.first),
    ]
    return [int(place) for place in places]


def search(fit: Fit, until: int) -> Taken:
    """Return the better of two choices, so none worse than to release greedily oldest first.

    The first is the greedy one; the second starts with all payments, and is `cut_down`.
    """
    greedy = add(fit, fit.none(), fit.eligible, until)
    return best_of(fit, greedy, cut_down(fit, fit.eligible, greedy & fit.first, until))


def cut_down(fit: Fit, taken: Taken, keep: Taken, until: int) -> Taken:
    """Return what is left of a choice that may not fit, with what fits beside it.

    The newest of those that break a rule are dropped until none is broken; `keep`, which fit by
    themselves, come before others marked first and are never dropped. Then what fits is added
    back, oldest first. Of payments that fit only together many stay so. It is `keep` alone where
    `until` passes.
    """
    taken = keep | (taken & ~fit.first)
    while not fit.fits(taken):
        guilty = _guilty(fit, taken, keep) if monotonic_ns() < until else fit.none()
        if not guilty.any():
            return keep
        taken[np.flatnonzero(guilty)[-1]] = False
    return add(fit, taken, fit.eligible, until)


def best_of(fit: Fit, *choices: Taken) -> Taken:
    """Return the best of choices: those marked first, then value, then older payments."""
    return max(choices, key=lambda one: (one[fit.first].tolist(), fit.worth(one), one.tolist()))


def _guilty(fit: Fit, taken: Taken, keep: Taken) -> Taken:
    """Return those of some payments, but for `keep`, that break the first rule that fails."""
    low, high = fit.moved(taken)
    guilty = fit.none()
    if low.any() or high.any():
        party = np.flatnonzero(low | high)[0]
        worse = fit.moves < 0 if low[party] else fit.moves > 0
        guilty[fit.mover[(fit.party == party) & worse]] = True
        return guilty & taken & ~keep
    now, stuck = fit.sides(taken), fit.stuck(taken)
    nodes = None if stuck.any() else fit.cut(taken)
    adds = (fit.change < 0) == now.turned[fit.place]
    if nodes is None:
        guilty[fit.owner[stuck[fit.place] & adds]] = True
        return guilty & taken & ~keep
    into = nodes[fit.taker] & ~nodes[fit.giver]
    for which in (into & adds & (now.least > 0)[fit.place], into):
        guilty[fit.owner[which]] = True
        if (guilty & taken & ~keep).any():
            break
    return guilty & taken & ~keep
