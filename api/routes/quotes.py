"""Quotes over HTTP: what the other side will get, until when, and whether it would fit now."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.bodies import StrictBody, body_of, described
from api.callers import Calling
from api.services import Reading
from clearing import quotes
from clearing.quotes import Available, Quote, Wanted
from clearing.transfers import Unit
from commons.money import CLEARING_SCALE, format_amount

router = APIRouter(tags=["Transfers"])

BODY_EXAMPLE: Final[dict[str, Any]] = {
    "payer": "barcelona",
    "payee": "leeds",
    "amount": "1000",
    "unit": "payer",
}
QUOTE_EXAMPLE: Final[dict[str, Any]] = {
    "union": "main",
    "payer": "barcelona",
    "payee": "leeds",
    "payer_amount": "1000",
    "payer_currency": "ECO",
    "payee_amount": "307",
    "payee_currency": "LETS",
    "payer_clearing": "153.8462",
    "payee_clearing": "153.5000",
    "residue": "0.3462",
    "levy": "0.0000",
    "payer_rate": "2/13",
    "payee_rate": "1/2",
    "available": {"clearing": "200.0000", "payer": "1300", "payee": "400"},
    "refusal": None,
    "warnings": [],
    "valid_until": "2026-11-24T08:15:00Z",
}


class QuoteBody(StrictBody):
    """A payment between two groups; `unit` says in whose money `amount` is written."""

    payer: str = Field(max_length=40)
    payee: str = Field(max_length=40)
    amount: str = Field(max_length=40)
    unit: Unit = Field(default=Unit.PAYEE, strict=False)
    union: str | None = Field(default=None, max_length=40)


class AvailableView(BaseModel):
    """The most that could be paid now, in clearing units and in either group's money."""

    clearing: str
    payer: str
    payee: str


class QuoteView(BaseModel):
    """What a payment would come to; amounts are decimal strings.

    The levy is paid by the payer's group besides. `available` is empty where no limit holds;
    `refusal` names what the payment would be refused for now, `warnings` the limits beyond whose
    level of warning it would go.
    """

    union: str
    payer: str
    payee: str
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
    available: AvailableView | None
    refusal: str | None
    warnings: list[str]
    valid_until: datetime


@router.post(
    "/quotes",
    summary="What a payment would come to",
    responses={
        200: {
            "description": "Both sides, and until when they hold.",
            "content": {"application/json": {"example": QUOTE_EXAMPLE}},
        }
    },
    openapi_extra=described(QuoteBody, BODY_EXAMPLE),
)
def quote(
    caller: Calling, body: Annotated[QuoteBody, Depends(body_of(QuoteBody))], session: Reading
) -> QuoteView:
    """Tell either hub what both sides of a payment would be, should it be made now.

    A transfer made before `valid_until` takes exactly these amounts and rates: another rate is
    known for longer than a quote lives before it applies. Nothing is reserved, so room may be
    gone by then.
    """
    wanted = Wanted(caller.group_id, body.payer, body.payee, body.amount, body.unit, body.union)
    return _view(quotes.quote(session, wanted))


def _view(found: Quote) -> QuoteView:
    one = found.transfer
    return QuoteView(
        union=one.union_id,
        payer=one.payer_group,
        payee=one.payee_group,
        payer_amount=format_amount(one.payer_amount, found.payer.scale),
        payer_currency=found.payer_currency,
        payee_amount=format_amount(one.payee_amount, found.payee.scale),
        payee_currency=found.payee_currency,
        payer_clearing=_clearing(one.payer_clearing),
        payee_clearing=_clearing(one.payee_clearing),
        residue=_clearing(one.payer_clearing - one.payee_clearing),
        levy=_clearing(one.levy),
        payer_rate=one.payer_rate,
        payee_rate=one.payee_rate,
        available=None if found.available is None else _available(found, found.available),
        refusal=found.refusal,
        warnings=found.warnings,
        valid_until=found.valid_until,
    )


def _available(found: Quote, available: Available) -> AvailableView:
    return AvailableView(
        clearing=_clearing(available.clearing),
        payer=format_amount(available.payer, found.payer.scale),
        payee=format_amount(available.payee, found.payee.scale),
    )


def _clearing(minor: int) -> str:
    return format_amount(minor, CLEARING_SCALE)
