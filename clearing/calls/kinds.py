"""The calls that hubs make, and what each comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from clearing import chain
from clearing.transfers import ReasonCode, Unit, View
from commons.errors import InvalidError, LocalPayError

LIFE_RULE: Final = "must be between 1 minute and 90 days from now"


@dataclass(frozen=True, slots=True)
class Create:
    """A hub's call to make a transfer; amount and names as the hub sent them.

    `union` is the union to go through, where the hub named one. `wait` is the payer's hub's word
    that the transfer may wait for room once both have agreed.
    """

    id: UUID
    caller: str
    payer: str
    payee: str
    amount: str
    unit: Unit = Unit.PAYEE
    description: str = ""
    expires_at: datetime | None = None
    union: str | None = None
    wait: bool = False
    value_date: date | None = None

    def body(self) -> dict[str, str]:
        """Return what a repetition must equal; what was not said is left out."""
        body = {
            "caller": self.caller,
            "payer": self.payer,
            "payee": self.payee,
            "amount": self.amount,
            "unit": self.unit,
            "description": self.description,
            "expires_at": _moment_text(self.expires_at) if self.expires_at else "",
        }
        if self.union is not None:
            body["union"] = self.union
        if self.wait:
            body["wait"] = "true"
        if self.value_date is not None:
            body["value_date"] = self.value_date.isoformat()
        return body


class Verb(StrEnum):
    """What can be done with a transfer that is not ended."""

    ACCEPT = "accept"
    REJECT = "reject"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Move:
    """A hub's call to move a transfer on; `code` and `reason` say why it is rejected.

    `wait` is for the payer's hub that accepts a request: it may wait for room.
    """

    id: UUID
    caller: str
    verb: Verb
    reason: str | None = None
    code: ReasonCode | None = None
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Reverse:
    """A call to take a posted transfer back, wholly or in part, by a transfer of its own.

    `id` is that of the new transfer, `caller` one of the two hubs, which the other has to agree
    with, or None for the operator, whom the audit log then calls `actor`. `amount` is in the
    payee's currency; None means the rest.
    """

    id: UUID
    caller: str | None
    transfer: UUID
    amount: str | None = None
    reason: str = ""
    expires_at: datetime | None = None
    actor: str = "operator"

    def body(self) -> dict[str, str]:
        """Return what a repetition must equal."""
        return {
            "caller": self.caller or "",
            "reverses": str(self.transfer),
            "amount": self.amount or "",
            "description": self.reason,
            "expires_at": _moment_text(self.expires_at) if self.expires_at else "",
        }


Call = Create | Move | Reverse


@dataclass(slots=True)
class Head:
    """An account right after a call; `balance` as a decimal string in clearing units."""

    group: str
    balance: str
    version: int
    head: str


@dataclass(slots=True)
class Outcome:
    """What a call came to. A refusal is an outcome, and is committed like any other.

    `error` is what the edge raises; where it is set, `transfer` may still tell the state.
    `warnings` names the limits beyond whose level the call went.
    """

    transfer: View | None = None
    account: Head | None = None
    created: bool = False
    error: LocalPayError | None = None
    warnings: Sequence[str] = ()


def _moment_text(moment: datetime) -> str:
    """Write a moment that a hub sent, which may lie outside the calendar in UTC."""
    try:
        return chain.time_text(moment)
    except OverflowError as error:
        raise InvalidError("expires_at", LIFE_RULE) from error
