"""What hubs, and those who look after clearing, see of a transfer."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from clearing.transfers.model import AnyTransfer, Party, ReasonCode, TransferState, Unit
from commons.money import CLEARING_SCALE, format_amount

_text = lru_cache(maxsize=65_536)(format_amount)


def clearing_text(minor: int) -> str:
    """Write an amount in smallest clearing units as a decimal string."""
    return _text(minor, CLEARING_SCALE)


class Denomination(Protocol):
    """What is needed of a currency to write an amount."""

    code: str
    scale: int


@dataclass
class View:
    """A transfer as the two hubs see it; amounts are decimal strings.

    `levy` is what the payer's group pays its union besides, in clearing units; `reverses` the
    transfer that this one takes back, `reversed_amount` how much of `payee_amount` was taken back
    of this one. `reserved`: whether it holds room while it is pending.
    """

    id: UUID
    union: str
    state: TransferState
    initiator: Party
    payer: str
    payee: str
    amount: str
    unit: Unit
    description: str
    payer_amount: str
    payer_currency: str
    payee_amount: str
    payee_currency: str
    payer_clearing: str
    payee_clearing: str
    residue: str
    levy: str
    payer_rate: str
    payee_rate: str
    reverses: UUID | None
    reversed_amount: str
    by_operator: bool
    wait: bool
    reserved: bool
    value_date: date | None
    created_at: datetime
    expires_at: datetime
    queued_at: datetime | None
    ended_at: datetime | None
    reason_code: ReasonCode | None
    reason: str | None


def view(
    t: AnyTransfer,
    payer_currency: Denomination,
    payee_currency: Denomination,
    *,
    names: bool = True,
) -> View:
    """Return a transfer as its two hubs see it; names that were erased are left out.

    `names=False` leaves out what members said and are called, for all others.
    """
    scale = payee_currency.scale
    return View(
        id=t.id,
        union=t.union_id,
        state=t.state,
        initiator=t.initiator,
        payer=f"{t.payer_group}/{(names and t.payer_member) or ''}",
        payee=f"{t.payee_group}/{(names and t.payee_member) or ''}",
        amount=t.amount,
        unit=t.unit,
        description=(names and t.description) or "",
        payer_amount=_text(t.payer_amount, payer_currency.scale),
        payer_currency=payer_currency.code,
        payee_amount=_text(t.payee_amount, scale),
        payee_currency=payee_currency.code,
        payer_clearing=clearing_text(t.payer_clearing),
        payee_clearing=clearing_text(t.payee_clearing),
        residue=clearing_text(t.payer_clearing - t.payee_clearing),
        levy=clearing_text(t.levy),
        payer_rate=t.payer_rate,
        payee_rate=t.payee_rate,
        reverses=t.reverses,
        reversed_amount=_text(t.reversed_amount, scale),
        by_operator=t.by_operator,
        wait=t.wait,
        reserved=t.reserved and t.state is TransferState.PENDING,
        value_date=t.value_date,
        created_at=t.created_at,
        expires_at=t.expires_at,
        queued_at=t.queued_at,
        ended_at=t.ended_at,
        reason_code=t.reason_code,
        reason=t.reason if names or t.state is TransferState.REFUSED else None,
    )
