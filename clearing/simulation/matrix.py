"""The matrix of a union in memory, as a replay moves it; amounts in smallest clearing units."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from clearing.accounts import LimitKind
from clearing.limits import Use
from clearing.simulation.outcome import CREDIT, PAIR, SURPLUS, Changes
from clearing.simulation.recorded import Attempt, LimitSet, Moved, Recorded

Pair = tuple[int, int]
_FACTORS: Mapping[LimitKind, str] = {kind: f"{kind}_factor" for kind in LimitKind}


class Matrix:
    """Positions, balances, reservations and limits of accounts, known by their places.

    `in_use` is the sum of all balances below zero and `owed` all that accounts owe each other;
    `lowest` is how far down each balance came.
    """

    def __init__(self, recorded: Recorded, changes: Changes) -> None:
        self.size = len(recorded.names)
        self.positions: dict[Pair, int] = dict(recorded.positions)
        self.balances = [0] * self.size
        for (one, other), amount in self.positions.items():
            self.balances[one] += amount
            self.balances[other] -= amount
        self.lowest = [min(0, balance) for balance in self.balances]
        self.in_use = -sum(self.lowest)
        self.owed = sum(map(abs, self.positions.values()))
        self.pending_out, self.pending_in = [0] * self.size, [0] * self.size
        self.pending_pair: dict[Pair, int] = {}
        self._changes = changes
        self.credit = [self._scaled(LimitKind.CREDIT, stop) for stop in recorded.credit]
        self.surplus = [self._scaled(LimitKind.SURPLUS, stop) for stop in recorded.surplus]
        self.pair: dict[Pair, int] = {}
        for pair, stop in recorded.pair.items():
            self._set_pair(pair, stop)

    def _scaled(self, kind: LimitKind, stop: int | None) -> int | None:
        factor: Fraction = getattr(self._changes, _FACTORS[kind])
        return None if stop is None else stop * factor.numerator // factor.denominator

    def _set_pair(self, pair: Pair, stop: int | None) -> None:
        scaled = self._scaled(LimitKind.PAIR, stop)
        if scaled is None:
            self.pair.pop(pair, None)
        else:
            self.pair[pair] = scaled

    def set_limit(self, limit: LimitSet) -> None:
        """Set a limit, multiplied by what is asked for."""
        if limit.other is not None:
            self._set_pair((limit.account, limit.other), limit.stop)
        elif limit.kind is LimitKind.CREDIT:
            self.credit[limit.account] = self._scaled(limit.kind, limit.stop)
        else:
            self.surplus[limit.account] = self._scaled(limit.kind, limit.stop)

    def obligation(self, debtor: int, creditor: int) -> int:
        """Return what one owes another, 0 where that one owes it."""
        if debtor < creditor:
            return max(0, -self.positions.get((debtor, creditor), 0))
        return max(0, self.positions.get((creditor, debtor), 0))

    def lacking(self, one: Attempt) -> str | None:
        """Return the first limit that an attempt does not fit, reservations counted, or None."""
        debtor, creditor = one.debtor, one.creditor
        reserved = self.pending_pair.get((debtor, creditor), 0)
        below = self.pending_out[debtor] - self.balances[debtor]
        above = self.balances[creditor] + self.pending_in[creditor]
        pair = self.obligation(debtor, creditor) + reserved
        uses = (
            Use(CREDIT, below, one.out, None, self.credit[debtor]),
            Use(SURPLUS, above, one.into, None, self.surplus[creditor]),
            Use(PAIR, pair, one.pair, None, self.pair.get((debtor, creditor))),
        )
        return next((use.name for use in uses if not use.passes()), None)

    def used_below(self) -> list[int]:
        """Return how far below zero each balance may yet come, pending counted."""
        rows = zip(self.pending_out, self.balances, strict=True)
        return [pending - balance for pending, balance in rows]

    def used_above(self) -> list[int]:
        """Return how far above zero each balance may yet come, pending counted."""
        rows = zip(self.pending_in, self.balances, strict=True)
        return [balance + pending for pending, balance in rows]

    def reserve(self, one: Attempt, sign: int) -> None:
        """Reserve what an attempt needs, or with -1 free it."""
        pair = one.debtor, one.creditor
        self.pending_out[one.debtor] += sign * one.out
        self.pending_in[one.creditor] += sign * one.into
        self.pending_pair[pair] = self.pending_pair.get(pair, 0) + sign * one.pair

    def move(self, moved: Iterable[Moved]) -> None:
        """Have accounts owe others more, by each entry."""
        for debtor, creditor, amount in moved:
            self._owe(debtor, creditor, amount)
            self._add(debtor, -amount)
            self._add(creditor, amount)

    def set_off(self, moved: Iterable[Moved]) -> None:
        """Have accounts owe others more, as much as others owe them more: no balance changes."""
        for debtor, creditor, amount in moved:
            self._owe(debtor, creditor, amount)

    def _owe(self, debtor: int, creditor: int, amount: int) -> None:
        if debtor < creditor:
            pair, change = (debtor, creditor), -amount
        else:
            pair, change = (creditor, debtor), amount
        before = self.positions.get(pair, 0)
        self.positions[pair] = before + change
        self.owed += abs(before + change) - abs(before)

    def _add(self, account: int, change: int) -> None:
        before = self.balances[account]
        after = before + change
        self.balances[account] = after
        self.in_use += max(0, -after) - max(0, -before)
        self.lowest[account] = min(self.lowest[account], after)
