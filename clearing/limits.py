"""Limits: how much of each is used, what room is left, and what may pass. Pure, and the one place.

Accounts and positions are asked here alike, as rows of the database and as the ledger holds them
in memory. All amounts are in smallest clearing units, reservations counted.
"""

from dataclasses import dataclass
from typing import Final, Protocol

NO_LIMIT: Final = 2**62
"""Where nobody set a limit, the width of a BIGINT does."""


class AccountFigures(Protocol):
    """What the rule asks of an account."""

    balance: int
    pending_out: int
    pending_in: int
    credit_limit: int | None
    surplus_limit: int | None
    credit_warn: int | None
    surplus_warn: int | None

    def used_below(self) -> int:
        """Return how far below zero the balance may yet come."""
        ...

    def used_above(self) -> int:
        """Return how far above zero the balance may yet come."""
        ...


class PositionFigures(Protocol):
    """What the rule asks of a position."""

    amount: int
    pending_out: int
    given: int
    pair_limit: int | None
    pair_warn: int | None

    def used(self) -> int:
        """Return how much of the pair limit is taken."""
        ...


class AccountRoom:
    """The use and the room of an account's two limits."""

    __slots__ = ()

    def used_below(self: AccountFigures) -> int:
        """Return how far below zero pending payments may yet bring the balance."""
        return self.pending_out - self.balance

    def used_above(self: AccountFigures) -> int:
        """Return how far above zero pending payments may yet bring the balance."""
        return self.balance + self.pending_in

    def room_below(self: AccountFigures) -> int:
        """Return how much more this account can pay, pending counted."""
        return _stop(self.credit_limit) - self.used_below()

    def room_above(self: AccountFigures) -> int:
        """Return how much more this account can receive, pending counted."""
        return _stop(self.surplus_limit) - self.used_above()


class PositionRoom:
    """The use and the room of a pair limit."""

    __slots__ = ()

    @property
    def obligation(self: PositionFigures) -> int:
        """What the account owes the counterparty: the positive side of the opposite position."""
        return max(0, -self.amount)

    def used(self: PositionFigures) -> int:
        """Return how much of the pair limit is taken, reservations counted."""
        return max(0, -self.amount) + self.pending_out + self.given

    def room(self: PositionFigures) -> int:
        """Return how much more the account may owe the counterparty, reservations counted."""
        return _stop(self.pair_limit) - self.used()


@dataclass(slots=True)
class Use:
    """A limit that a change is about to use more of, or less: `name` is as hubs are told it."""

    name: str
    used: int
    change: int
    warn: int | None
    stop: int | None

    @property
    def room(self) -> int:
        """How much more could be used."""
        return _stop(self.stop) - self.used

    def passes(self) -> bool:
        """Whether the change may happen: it stays within the stop, or makes nothing worse.

        A stop may have been lowered below what is used.
        """
        return self.change <= 0 or self.used + self.change <= _stop(self.stop)

    def warns(self) -> bool:
        """Whether more than the level of warning is used after the change."""
        return self.warn is not None and self.used + self.change > self.warn

    def crosses(self) -> bool:
        """Whether the change is what brings the use over the level of warning."""
        return self.warns() and self.warn is not None and self.used <= self.warn


def payment_uses(  # noqa: PLR0913, PLR0917 (whose limits, and how much of each)
    payer: AccountFigures,
    payee: AccountFigures,
    towards: PositionFigures,
    out: int,
    into: int,
    pair: int,
) -> tuple[Use, Use, Use]:
    """Return what a payment uses: the payer's credit, the payee's surplus and the pair's limit.

    `towards` is the payer's position towards the payee; `out` leaves the payer, `into` reaches
    the payee, and `pair` is what the payer owes the payee then: levy and residue, which are owed
    to others, are no part of it.
    """
    return (
        Use("credit_limit", payer.used_below(), out, payer.credit_warn, payer.credit_limit),
        Use("surplus_limit", payee.used_above(), into, payee.surplus_warn, payee.surplus_limit),
        Use("pair_limit", towards.used(), pair, towards.pair_warn, towards.pair_limit),
    )


def _stop(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit
