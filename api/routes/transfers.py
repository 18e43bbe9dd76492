"""Transfers over HTTP: a hub makes, accepts, rejects and cancels payments of its members."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from api import problems
from api.bodies import StrictBody, body_of, described
from api.callers import Calling
from api.services import Reading, Services, Shared
from clearing import transfers
from clearing.calls import Call, Create, Head, Move, Outcome, Verb
from clearing.transfers import TransferState, Unit, View

router = APIRouter(tags=["Clearing"])

MOST_ON_A_PAGE: Final = 500
EXAMPLE_ID: Final = "6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11"
CREATE_EXAMPLE: Final[dict[str, Any]] = {
    "payer": "leeds/moss",
    "payee": "gracia/ines",
    "amount": "12.50",
    "unit": "payee",
    "description": "Bicycle repair",
}
EXAMPLE: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "state": "pending",
    "initiator": "payer",
    **CREATE_EXAMPLE,
    "payer_amount": "10.42",
    "payer_currency": "CLD",
    "payee_amount": "12.50",
    "payee_currency": "GRA",
    "payer_clearing": "1.0417",
    "payee_clearing": "1.0416",
    "residue": "0.0001",
    "payer_rate": "1/10",
    "payee_rate": "1/12",
    "created_at": "2026-11-20T10:00:00Z",
    "expires_at": "2026-11-27T10:00:00Z",
    "ended_at": None,
    "reason": None,
    "account": {"group": "leeds", "balance": "-4.0000", "version": 7, "head": "5f0c…"},
}
REJECT_EXAMPLE: Final = {"reason": "We know no such member."}
SEEN_EXAMPLE: Final = EXAMPLE | {"account": None}
ENDED_EXAMPLE: Final = EXAMPLE | {"ended_at": "2026-11-20T10:05:00Z"}
ANSWERED_EXAMPLE: Final = ENDED_EXAMPLE | {
    "account": {"group": "gracia", "balance": "3.0416", "version": 5, "head": "a914…"}
}
REFUSED_EXAMPLE: Final[dict[str, Any]] = {
    "reason": "credit_limit",
    "available": "0.7500",
    "transfer": EXAMPLE_ID,
    "state": "refused",
    "type": "https://localpay.example/problems/refused",
    "title": "The payment is refused",
    "status": 409,
    "detail": "the payment does not fit the credit_limit; available: 0.7500 clearing units",
}


@dataclass(frozen=True)
class TransferView(View):
    """A transfer as its two hubs see it; amounts are decimal strings.

    `account` is that of the calling hub right after a call that may have changed it.
    """

    account: Head | None = None


class TransferPage(BaseModel):
    """A page of transfers, newest first; `cursor` leads to the next one."""

    transfers: list[TransferView]
    cursor: str | None


def _iso_8601(value: object) -> object:
    """Refuse a number of seconds in a string, which would be read as a moment in 1970."""
    if not isinstance(value, str) or "-" not in value[1:]:
        raise ValueError("must be a moment such as 2026-12-01T00:00:00Z")
    return value


class CreateBody(StrictBody):
    """A payment; `unit` says in whose money `amount` is written."""

    payer: str = Field(max_length=200)
    payee: str = Field(max_length=200)
    amount: str = Field(max_length=40)
    unit: Unit = Field(default=Unit.PAYEE, strict=False)
    description: str = Field(default="", max_length=transfers.MAX_DESCRIPTION)
    expires_at: Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_iso_8601)] | None = (
        None
    )


class RejectBody(StrictBody):
    """Why a transfer is rejected, for the other hub to read."""

    reason: str = Field(min_length=1, max_length=transfers.MAX_REASON)


TransferId = Annotated[UUID, Path(description="The UUID that the initiating hub gave it.")]


def _answer(example: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


async def _call(services: Services, call: Call) -> Outcome:
    """Wait for the poster; it answers once the outcome is committed."""
    outcome = await asyncio.wrap_future(services.poster.submit(call))
    if outcome.error is not None:
        raise outcome.error
    return outcome


def _told(outcome: Outcome) -> TransferView:
    return TransferView(**vars(outcome.transfer), account=outcome.account)


@router.put(
    "/transfers/{transfer_id}",
    summary="Make a transfer",
    status_code=201,
    responses={
        200: _answer(EXAMPLE, "Made before: the transfer as it stands now."),
        201: _answer(EXAMPLE, "Made; it waits for the other hub."),
        409: {
            "description": "Refused at a limit, or the id is known with another body.",
            "content": {problems.MEDIA_TYPE: {"example": REFUSED_EXAMPLE}},
        },
    },
    openapi_extra=described(CreateBody, CREATE_EXAMPLE),
)
async def put_transfer(
    transfer_id: TransferId,
    caller: Calling,
    body: Annotated[CreateBody, Depends(body_of(CreateBody))],
    services: Shared,
    response: Response,
) -> TransferView:
    """Make a transfer as the payer's hub (a push) or as the payee's (a request).

    The same id with the same body is answered again and never posted twice; with another body
    it is a conflict. A payment over a limit is refused for good under its id, and the answer
    names the limit and what is available.
    """
    sent = body.model_dump()
    outcome = await _call(services, Create(id=transfer_id, caller=caller.group_id, **sent))
    response.status_code = 201 if outcome.created else 200
    return _told(outcome)


@router.post(
    "/transfers/{transfer_id}/accept",
    summary="Accept a transfer",
    responses={200: _answer(ANSWERED_EXAMPLE | {"state": "posted"}, "Posted.")},
)
async def accept_transfer(
    transfer_id: TransferId, caller: Calling, services: Shared
) -> TransferView:
    """Accept as the hub that did not make the transfer; it is posted at once."""
    return _told(await _call(services, Move(transfer_id, caller.group_id, Verb.ACCEPT)))


@router.post(
    "/transfers/{transfer_id}/reject",
    summary="Reject a transfer",
    responses={
        200: _answer(ANSWERED_EXAMPLE | {"state": "rejected"} | REJECT_EXAMPLE, "Rejected.")
    },
    openapi_extra=described(RejectBody, REJECT_EXAMPLE),
)
async def reject_transfer(
    transfer_id: TransferId,
    caller: Calling,
    body: Annotated[RejectBody, Depends(body_of(RejectBody))],
    services: Shared,
) -> TransferView:
    """Reject as the hub that did not make the transfer; what it reserved is free again."""
    move = Move(transfer_id, caller.group_id, Verb.REJECT, body.reason)
    return _told(await _call(services, move))


@router.post(
    "/transfers/{transfer_id}/cancel",
    summary="Cancel a transfer",
    responses={200: _answer(ENDED_EXAMPLE | {"state": "cancelled"}, "Cancelled.")},
)
async def cancel_transfer(
    transfer_id: TransferId, caller: Calling, services: Shared
) -> TransferView:
    """Cancel as the hub that made the transfer, while it is pending."""
    return _told(await _call(services, Move(transfer_id, caller.group_id, Verb.CANCEL)))


@router.get(
    "/transfers",
    summary="A hub's transfers",
    responses={
        200: _answer({"transfers": [SEEN_EXAMPLE], "cursor": None}, "A page, newest first."),
    },
)
def list_transfers(
    caller: Calling,
    session: Reading,
    state: Annotated[TransferState | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> TransferPage:
    """List the calling hub's transfers, as payer or payee."""
    found, more = transfers.search(session, caller.group_id, state, limit, cursor)
    return TransferPage(transfers=[TransferView(**vars(view)) for view in found], cursor=more)


@router.get(
    "/transfers/{transfer_id}",
    summary="One transfer",
    responses={200: _answer(SEEN_EXAMPLE, "The transfer.")},
)
def get_transfer(transfer_id: TransferId, caller: Calling, session: Reading) -> TransferView:
    """Give one of the calling hub's transfers."""
    return TransferView(**vars(transfers.find(session, transfer_id, caller.group_id)))
