"""Whom a member can pay: the groups that are in reach of a payer's group, and how much is left."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sqlalchemy.orm import Session


class How(StrEnum):
    """How a payment would go."""

    SAME_GROUP = "same-group"
    CLEARING = "clearing"


@dataclass(frozen=True)
class Payable:
    """How a hit can be paid: its group, the way, and the code of that group's currency.

    How much is left is not told: anybody may search, and it is the groups' own affair.
    """

    group: str
    how: How
    currency: str


@dataclass(frozen=True)
class Payee:
    """A group whose members can be paid; `available` is a decimal string in its own currency.

    `available` is the most that is taken to be payable now; None where no limit holds it here, as
    within the payer's own group. It is for an index to filter by, and is not shown.
    `currency` is the code of the payee group's currency.
    """

    group: str
    how: How
    currency: str
    available: str | None

    def shown(self) -> Payable:
        """Return what an answer tells of it."""
        return Payable(self.group, self.how, self.currency)


class Purses(Protocol):
    """Whoever knows accounts and limits."""

    def payees(self, session: Session, payer_group: str) -> tuple[Payee, ...]:
        """Return the groups whose members a member of a group can pay now, its own first.

        Raises InvalidError for `payer_group` where there is no such group.
        """

    def units(self, session: Session, payer_group: str) -> frozenset[str]:
        """Return the terms of `pay` that ask for a group's own currency (`payment.read_pay`)."""
