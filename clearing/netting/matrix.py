"""The matrix of a union as a round sees it, in arrays, and the arcs that payments leave of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from clearing.netting.arcs import Arcs, Numbers
from commons.errors import InvalidError

NONE: Final = int(np.iinfo(np.int64).max)
"""Stands in an array of limits for: there is none."""

MOST: Final = 2**62
"""What is owed and what waits must together stay below this: 64-bit sums cannot overflow then."""


@dataclass(frozen=True)
class Waiting:
    """A queued payment; nodes are numbers of a `Matrix`, amounts smallest units of at least 0.

    `out` and `into` count against the payer's room below and the payee's room above. `pair` is
    what the debtor comes to owe the creditor, which is what releasing it is worth; `entries` are
    the further (debtor, creditor, amount) that it posts, such as residue and levy. `first` is one
    that was passed over so often that it comes before the others.
    """

    debtor: int
    creditor: int
    out: int
    into: int
    pair: int
    entries: tuple[tuple[int, int, int], ...] = ()
    first: bool = False

    @property
    def owed(self) -> tuple[tuple[int, int, int], ...]:
        """All that it makes owed: (debtor, creditor, amount)."""
        return ((self.debtor, self.creditor, self.pair), *self.entries)


@dataclass(frozen=True)
class Matrix:
    """What is owed in a union, and which limits hold; amounts in smallest units.

    One place in `debtor`, `creditor`, `owed`, `held`, `ceiling` and `back` for each two nodes
    between which something is owed, and for each that waiting payments or credit lines touch
    (there `owed` may be 0, and either may stand as the debtor); never both ways round.

    - `owed`: what the debtor owes the creditor at the snapshot, at least 0;
    - `held`: how much of what lies between the two is kept back or disputed, whoever owes it;
    - `ceiling`: the most that the debtor may owe the creditor in the end (the pair limit less what
      is reserved of it), `back`: the most that the creditor may owe the debtor; `NONE` where there
      is no limit, below 0 where more is reserved than allowed.

    One place for each node in `room_below` (how much lower its balance may go), `room_above` (how
    much higher; both `NONE` where there is no limit and below 0 where it is passed already) and
    `barred` (takes no part: nothing of its own is set off, no payment of its own released).
    `lines` says whether spare credit lines may be drawn on.
    """

    nodes: int
    debtor: Numbers
    creditor: Numbers
    owed: Numbers
    held: Numbers
    ceiling: Numbers
    back: Numbers
    room_below: Numbers
    room_above: Numbers
    barred: npt.NDArray[np.bool_]
    lines: bool = False

    @cached_property
    def _sorted(self) -> tuple[Numbers, Numbers]:
        """The keys of all places in order, and the places in that order."""
        keys = self._key(self.debtor, self.creditor)
        order = np.argsort(keys, kind="stable")
        return keys[order], order.astype(np.int64)

    def _key(self, one: Numbers, other: Numbers) -> Numbers:
        """Return a number for each two nodes, the same both ways round."""
        return np.minimum(one, other) * np.int64(self.nodes) + np.maximum(one, other)

    def at(self, places: Numbers) -> "Matrix":
        """Return the matrix with these places alone, in this order; the nodes stay."""
        columns = ("debtor", "creditor", "owed", "held", "ceiling", "back")
        return replace(self, **{name: getattr(self, name)[places] for name in columns})

    def places(self, debtor: Numbers, creditor: Numbers) -> Numbers:
        """Return where each two nodes stand; InvalidError for two that stand nowhere."""
        keys, order = self._sorted
        wanted = self._key(debtor, creditor)
        at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        if len(wanted) and (not len(keys) or bool((keys[at] != wanted).any())):
            raise InvalidError("entries", "every two nodes that a payment touches have a place")
        return order[at] if len(wanted) else np.zeros(0, np.int64)


@dataclass(frozen=True)
class Standing:
    """What is owed once some payments are posted, as arcs that a circulation may set off.

    First the obligations, in the order of the matrix, then the spare credit lines (weight -1).
    `place` is where an arc's two nodes stand in the matrix; `owed` what the arc's debtor owes its
    creditor then, 0 for a line.
    """

    arcs: Arcs
    place: Numbers
    owed: Numbers


@dataclass(frozen=True)
class Sides:
    """What stands at each place of a matrix when something else is owed there than at first.

    Where it is `turned`, the creditor of the matrix has become the debtor. `owed` of it may be set
    off from `least` to `cap`; over the credit line `ahead` the creditor comes to owe the debtor,
    over the one `astern` the debtor owes the creditor still more.
    """

    turned: npt.NDArray[np.bool_]
    owed: Numbers
    least: Numbers
    cap: Numbers
    ahead: Numbers
    astern: Numbers


def sides(matrix: Matrix, then: Numbers) -> Sides:
    """Return what stands where `then` is owed by the debtors of the matrix (below 0: to them).

    Of an obligation at most what is not held back can be set off, nothing of barred nodes, and no
    more than the creditor could come to owe the debtor beside it: a set-off of X is reserved on
    that side until it is posted, as X less what payments add to the obligation that are posted
    with it. `least` is what must be set off, where payments add to an obligation and bring it
    beyond its ceiling; an excess that stood before, since a limit was lowered, forces nothing.

    A credit line goes up to the limit of who owes over it, less what it owes already and what may
    be set off the other way; there is none without a limit, nor where anything is held back.
    """
    turned, owed = then < 0, np.abs(then)
    before = np.where(turned, 0, matrix.owed)
    ceiling, back = np.clip(matrix.ceiling, -MOST, MOST), np.clip(matrix.back, -MOST, MOST)
    ceiling, back = np.where(turned, back, ceiling), np.where(turned, ceiling, back)
    free = ~(matrix.barred[matrix.debtor] | matrix.barred[matrix.creditor])
    room = back + np.maximum(owed - before, 0)
    cap = np.where(free, np.clip(owed - matrix.held, 0, np.maximum(room, 0)), 0)
    least = np.where((owed > before) & (owed > ceiling), owed - ceiling, 0)
    spare = free & (matrix.held == 0) & np.bool_(matrix.lines)
    # What a payment sets free by turning an obligation is free once it is posted, not before.
    beside = np.maximum(np.where(turned, back - matrix.owed, room - cap), 0)
    ahead = np.where(spare & (back < MOST), beside, 0)
    behind = np.maximum(ceiling - np.maximum(owed, before), 0)
    return Sides(turned, owed, least, cap, ahead, np.where(spare & (ceiling < MOST), behind, 0))


def total(amounts: Numbers) -> int:
    """Add up amounts of at least 0, beyond 64 bits too."""
    return (int((amounts >> 32).sum()) << 32) + int((amounts & (2**32 - 1)).sum())


def addable(matrix: Matrix, waiting: Sequence[Waiting]) -> list[int]:
    """Return the places of waiting payments that can be added up with all that is owed.

    All, where that stays below 2⁶². Else those that fit in there: first those marked first, then
    the oldest; what is too large to be released at all does not count.
    """
    room = MOST - 1 - total(matrix.owed)
    sums = [sum(amount for *_, amount in one.owed) for one in waiting]
    if not waiting or sum(sums) <= room:
        return list(range(len(waiting)))
    most, taken = _most(matrix, waiting), list[int]()
    for place in sorted(range(len(waiting)), key=lambda place: (not waiting[place].first, place)):
        if waiting[place].pair <= most[place] and sums[place] <= room:
            taken.append(place)
            room -= sums[place]
    return sorted(taken)


def _most(matrix: Matrix, waiting: Sequence[Waiting]) -> list[int]:
    """Return for each payment what it could be worth at most, were all others released with it.

    No more than the payer's account may go down and the payee's up, nor, where no credit lines are
    drawn on, than the pair has room for and others owe the payer, who pays by set-off then.
    """
    into, out = Counter[int](), Counter[int]()
    for one in waiting:
        into[one.creditor] += one.into
        out[one.debtor] += one.out
    owed = Counter[int]()
    for creditor, amount in zip(matrix.creditor.tolist(), matrix.owed.tolist(), strict=True):
        owed[creditor] += amount
    debtor, creditor = np.array([(one.debtor, one.creditor) for one in waiting], np.int64).T
    at = matrix.places(debtor, creditor)
    ahead = matrix.debtor[at] == debtor
    ceiling, back = np.clip(matrix.ceiling, 0, MOST), np.clip(matrix.back, 0, MOST)
    pair = np.where(ahead, ceiling[at], back[at]) + np.where(ahead, 0, matrix.owed[at])
    return [
        min(
            max(0, int(matrix.room_below[one.debtor])) + into[one.debtor],
            max(0, int(matrix.room_above[one.creditor])) + out[one.creditor],
            MOST if matrix.lines else between + owed[one.debtor] + into[one.debtor],
        )
        for one, between in zip(waiting, pair.tolist(), strict=True)
    ]


def changes(matrix: Matrix, waiting: Sequence[Waiting]) -> tuple[Numbers, Numbers, Numbers]:
    """Return each entry of payments: whose it is, at which place, and what it adds to what is owed.

    Raises InvalidError where an amount is below 0 or sums could pass 2⁶².
    """
    entries = [(number, *entry) for number, one in enumerate(waiting) for entry in one.owed]
    if not entries:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    amounts = [amount for *_, amount in entries]
    if min(amounts) < 0:
        raise InvalidError("amount", "must not be negative")
    if total(matrix.owed) + sum(amounts) >= MOST:
        raise InvalidError("amount", "what is owed and what waits must together stay below 2^62")
    owner, debtor, creditor, amount = np.array(entries, np.int64).T
    place = matrix.places(debtor, creditor)
    return owner, place, np.where(matrix.debtor[place] == debtor, amount, -amount)


def arcs_of(matrix: Matrix, released: Sequence[Waiting]) -> Standing:
    """Return what can be set off once `released` are posted, net for each two nodes: see `sides`.

    `least` of an arc may be more than its `cap`: then these payments cannot be released together.
    """
    then = matrix.owed.copy()
    _, place, change = changes(matrix, released)
    np.add.at(then, place, change)
    found = sides(matrix, then)
    debtor = np.where(found.turned, matrix.creditor, matrix.debtor)
    creditor = np.where(found.turned, matrix.debtor, matrix.creditor)
    none = np.zeros_like(then)
    # More than all obligations together never flows over a line, and the sum has to stay small.
    ahead, astern = (np.minimum(line, found.cap.sum()) for line in (found.ahead, found.astern))
    parts = (
        (debtor, creditor, found.least, found.cap, found.owed, np.flatnonzero(found.owed)),
        (debtor, creditor, none, ahead, none, np.flatnonzero(ahead)),
        (creditor, debtor, none, astern, none, np.flatnonzero(astern)),
    )
    columns = [np.concatenate([part[column][part[-1]] for part in parts]) for column in range(5)]
    debtor, creditor, least, cap, owed = columns
    weight = np.where(np.arange(len(cap)) < len(parts[0][-1]), 1, -1)
    place = np.concatenate([part[-1] for part in parts])
    return Standing(Arcs(matrix.nodes, debtor, creditor, least, cap, weight), place, owed)
