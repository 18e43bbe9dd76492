"""A proposed round is solved again where it cannot be committed as it is; nobody gets above it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from clearing.accounts import NO_LIMIT
from clearing.calls.desk import Desk
from clearing.columns import Numbers
from clearing.held import Pair
from clearing.limits import Use
from clearing.netting import circulate
from clearing.netting.arcs import Arcs
from clearing.netting.fitting import Ways, bottleneck
from clearing.rounds.room import (
    SURPLUS,
    Owner,
    account_uses,
    net_of,
    owed_of,
    touched,
    uses_of,
)
from clearing.rounds.table import Prices, Rows, as_arcs
from clearing.transfers import HeldTransfer, reservation

SECONDS_TO_CHOOSE: Final = 10
"""How long the search for what can still be released may take; then nothing of it is."""


@dataclass(frozen=True)
class Ending:
    """What a round is committed with: its rows, the prices that prove them, what it releases."""

    rows: Rows
    prices: Prices
    released: Sequence[HeldTransfer]


class Fault(NamedTuple):
    """A rule that payments break together: by how much, and which share of it each has at most."""

    excess: int
    shares: Mapping[int, int]


@dataclass(frozen=True)
class Case:
    """A proposed round that has to be solved again.

    `out` are the accounts that take no part any more. `proposed` are the payments that were to be
    released, `agreed` those of them that can still be posted, both oldest first; `first` are those
    that come before the others.
    """

    rows: Rows
    out: Numbers
    desk: Desk
    proposed: Sequence[HeldTransfer]
    agreed: Sequence[HeldTransfer]
    first: Collection[UUID] = ()

    def solved(self) -> Ending:
        """Return the best that can be done now, within what was proposed.

        Of those that break a rule the newest are dropped until none is broken, then what fits is
        added again from the oldest on; so what one group's payments break costs no other's. Those
        marked `first` are dropped last and added before. Payments count by their place in `agreed`.
        """
        until = monotonic() + SECONDS_TO_CHOOSE
        kept = list(range(len(self.agreed)))
        found = self._with(kept)
        while isinstance(found, Fault):
            kept = self._without(kept, found) if monotonic() < until else []
            found = self._with(kept)
        for place in sorted(set(range(len(self.agreed))) - set(kept), key=self._turn):
            if monotonic() > until:
                break
            more = sorted([*kept, place])
            better = self._with(more)
            if isinstance(better, Ending):
                kept, found = more, better
        return found

    def _turn(self, place: int) -> tuple[bool, int]:
        """Return where a payment stands in the line of those that are tried."""
        return self.agreed[place].id not in self.first, place

    def _without(self, kept: Sequence[int], fault: Fault) -> list[int]:
        """Drop the newest that have a share in a fault, as many as it takes at least."""
        shares = fault.shares or dict.fromkeys(kept, fault.excess)
        left, gone = fault.excess, set[int]()
        for place in sorted(shares, key=self._turn, reverse=True):
            if left <= 0:
                break
            gone.add(place)
            left -= shares[place]
        return [place for place in kept if place not in gone]

    def _with(self, kept: Sequence[int]) -> Ending | Fault:
        """Return the best where exactly these are released, or why they cannot be."""
        released = [self.agreed[place] for place in kept]
        fault = self._passed(kept, account_uses(self.desk, released))  # whatever is set off
        if fault is not None:
            return fault
        bounds = self._bounded(released)
        ids, arcs, is_line = as_arcs(bounds)
        fault = self._stuck(kept, bounds) or self._cut(kept, ids, arcs)
        if fault is not None:
            return fault
        found = circulate(arcs)
        some = bounds.line > 0
        drawn = np.zeros(len(some), np.int64)
        drawn[some] = found.amount[is_line]
        rows = replace(bounds, amount=found.amount[~is_line], drawn=drawn).plain()
        fault = self._passed(kept, uses_of(self.desk, released, rows))
        return fault or Ending(rows, Prices(ids, found.price), released)

    def _passed(self, kept: Sequence[int], uses: Iterable[tuple[Owner, Use]]) -> Fault | None:
        """Return the first limit that is passed, with the payments that use it."""
        for owner, use in uses:
            if use.stop is not None and not use.passes():
                excess = min(use.change, use.used + use.change - use.stop)
                parts = [(place, reservation(self.agreed[place])) for place in kept]
                if use.name == SURPLUS:
                    shares = {at: one.into for at, one in parts if one.creditor == owner}
                else:
                    shares = {at: one.out for at, one in parts if one.debtor == owner}
                return Fault(excess, shares)
        return None

    def _stuck(self, kept: Sequence[int], bounds: Rows) -> Fault | None:
        """Return an obligation of which more must be set off than may be."""
        short = bounds.least - bounds.cap
        if not (short > 0).any():
            return None
        worst = int(short.argmax())
        pair = int(bounds.debtor_id[worst]), int(bounds.creditor_id[worst])
        return self._owing(kept, int(short[worst]), lambda *found: found == pair)

    def _cut(self, kept: Sequence[int], ids: Numbers, arcs: Arcs) -> Fault | None:
        """Return accounts that more must flow into than can flow out of them."""
        if not arcs.least.any():
            return None
        excess = np.zeros(arcs.nodes, np.int64)
        np.add.at(excess, arcs.creditor, arcs.least)
        np.subtract.at(excess, arcs.debtor, arcs.least)
        nodes = bottleneck(Ways(arcs.debtor, arcs.creditor, arcs.cap - arcs.least), excess)
        if nodes is None:
            return None
        into = ~nodes[arcs.debtor] & nodes[arcs.creditor]
        out = nodes[arcs.debtor] & ~nodes[arcs.creditor]
        short = int(arcs.least[into].sum()) - int(arcs.cap[out].sum())
        inside = set(ids[nodes].tolist())
        return self._owing(kept, short, lambda a, b: a not in inside and b in inside)

    def _owing(self, kept: Sequence[int], excess: int, counts: Callable[[int, int], bool]) -> Fault:
        """Return a fault of what payments make owed from debtors to creditors that count."""
        shares: dict[int, int] = {}
        for place in kept:
            owed = owed_of(self.desk, self.agreed[place])
            amount = sum(amount for debtor, creditor, amount in owed if counts(debtor, creditor))
            if amount:
                shares[place] = amount
        return Fault(excess, shares)

    @cached_property
    def _touched(self) -> set[Pair]:
        """All pairs between which a payment that was to be released makes something owed."""
        return touched(self.desk, self.proposed)

    def _bounded(self, released: Sequence[HeldTransfer]) -> Rows:
        """Return the rows with what each may be at most now, and has to be at least.

        Beside what was reserved only that can be set off which payments add now: the rest was free
        for others to settle or to dispute.
        """
        rows = self.rows
        out = np.isin(rows.debtor_id, self.out) | np.isin(rows.creditor_id, self.out)
        obligation, added = rows.obligation.copy(), rows.released.copy()
        least, cap = np.zeros_like(rows.least), np.where(out, 0, rows.amount)
        due, reserved = net_of(self.desk, released), rows.reserved()
        for place in self._places.tolist():
            pair = int(rows.debtor_id[place]), int(rows.creditor_id[place])
            new = due.get(pair, 0)
            then = max(0, int(rows.obligation[place] - rows.released[place]) + new)
            must, most = self._within(pair, new)
            most = min(most, int(reserved[place]) + max(0, new))
            obligation[place], added[place] = then, new
            least[place], cap[place] = must, max(0, min(int(cap[place]), then, most))
        line = np.where(out, 0, rows.drawn)
        return replace(rows, obligation=obligation, released=added, least=least, cap=cap, line=line)

    @cached_property
    def _places(self) -> npt.NDArray[np.intp]:
        """The rows between which a payment that was to be released makes something owed."""
        ids = list({account_id for pair in self._touched for account_id in pair})
        near = np.isin(self.rows.debtor_id, ids) & np.isin(self.rows.creditor_id, ids)
        pairs = zip(self.rows.debtor_id[near].tolist(), self.rows.creditor_id[near], strict=True)
        touched = [(debtor, int(creditor)) in self._touched for debtor, creditor in pairs]
        return np.flatnonzero(near)[np.array(touched, dtype=np.bool_)]

    @cached_property
    def _drawn(self) -> Mapping[Pair, int]:
        """What may be drawn over spare credit lines, by debtor and creditor."""
        some = np.flatnonzero(self.rows.drawn)
        columns = (self.rows.debtor_id, self.rows.creditor_id, self.rows.drawn)
        drawn = zip(*(column[some].tolist() for column in columns), strict=True)
        return {(debtor, creditor): amount for debtor, creditor, amount in drawn}

    def _within(self, pair: Pair, due: int) -> tuple[int, int]:
        """Return what must be set off of a pair's obligation at least, and may be at most.

        So that both sides keep to their pair limits as positions are now, or make nothing worse.
        """
        towards, back = (self.desk.book.position(*of) for of in (pair, pair[::-1]))
        now = -towards.amount  # below 0 where it is the creditor that owes
        least, most = 0, NO_LIMIT
        if due > 0 and towards.pair_limit is not None:
            stop = towards.pair_limit - towards.pending_out - self._drawn.get(pair, 0)
            least = max(0, now + due - max(stop, now, 0))
        if back.pair_limit is not None:
            stop = back.pair_limit - back.pending_out - self._drawn.get(pair[::-1], 0)
            most = now + due + max(stop, -now, 0)
        return least, most
