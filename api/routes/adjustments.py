"""Adjustments over HTTP: what groups owe each other is changed besides payments, both agreeing."""

from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from api.bodies import StrictBody, body_of, described
from api.callers import Calling
from api.services import Reading, Services, Shared
from clearing import adjustments
from clearing.adjustments import (
    AdjustmentKind,
    AdjustmentState,
    AdjustmentView,
    Move,
    Proposal,
    Verb,
)
from commons.database import transaction

router = APIRouter(tags=["Clearing"])

PROPOSAL_EXAMPLE: Final[dict[str, Any]] = {
    "kind": "settlement",
    "debtor": "leeds",
    "creditor": "gracia",
    "amount": "40.0000",
    "note": "Bank transfer of 20 November",
}
EXAMPLE: Final[dict[str, Any]] = {
    "id": "3a0e4c55-6f0b-4a8e-b0c1-8a4a9d1f7e02",
    **PROPOSAL_EXAMPLE,
    "state": "proposed",
    "union": "main",
    "value_date": None,
    "proposed_by": "leeds",
    "agreed": ["leeds"],
    "waits_for": ["gracia"],
    "created_at": "2026-11-20T10:00:00Z",
    "expires_at": "2026-12-20T10:00:00Z",
    "ended_at": None,
}
ENDED: Final[dict[str, Any]] = {"waits_for": [], "ended_at": "2026-11-21T09:30:00Z"}


class ProposalBody(StrictBody):
    """An adjustment; the amount in clearing units, the sides by their accounts' names.

    `value_date` is the day it counts for, where that is not the day it is posted. No member's
    name belongs in the note.
    """

    kind: AdjustmentKind
    debtor: str = Field(max_length=60)
    creditor: str = Field(max_length=60)
    amount: str = Field(max_length=40)
    union: str | None = Field(default=None, max_length=40)
    value_date: date | None = None
    note: str = Field(default="", max_length=adjustments.MAX_NOTE)


class AdjustmentList(BaseModel):
    """Adjustments, newest first."""

    adjustments: list[AdjustmentView]


AdjustmentId = Annotated[UUID, Path(description="The UUID that the proposing hub gave it.")]


def _answer(example: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.put(
    "/adjustments/{adjustment_id}",
    summary="Propose an adjustment",
    status_code=201,
    responses={
        200: _answer(EXAMPLE, "Proposed before: the adjustment as it stands now.")
        | {"model": AdjustmentView},
        201: _answer(EXAMPLE, "Proposed; it waits for the other side."),
    },
    openapi_extra=described(ProposalBody, PROPOSAL_EXAMPLE),
)
def put_adjustment(
    adjustment_id: AdjustmentId,
    caller: Calling,
    body: Annotated[ProposalBody, Depends(body_of(ProposalBody))],
    services: Shared,
    response: Response,
) -> AdjustmentView:
    """Propose, as the debtor's or the creditor's hub; nothing is posted before the other agrees.

    `settlement`: the debtor paid outside. `assignment`: the debtor owes the union's commons, and
    they the creditor, instead of one the other. `opening`: the debtor owes it from now on. The
    same id with the same body is answered again; with another body it is a conflict.
    """
    call = Proposal(id=adjustment_id, caller=caller.group_id, **body.model_dump())
    with transaction(services.engine) as session:
        found, is_new = adjustments.propose(session, call)
    response.status_code = 201 if is_new else 200
    return found


def _moved(services: Services, call: Move) -> AdjustmentView:
    with transaction(services.engine) as session:
        return adjustments.move(session, call)


@router.post(
    "/adjustments/{adjustment_id}/agree",
    summary="Agree to an adjustment",
    responses={
        200: _answer(
            EXAMPLE | ENDED | {"state": "posted", "agreed": ["leeds", "gracia"]}, "Posted."
        )
    },
)
def agree_to_adjustment(
    adjustment_id: AdjustmentId, caller: Calling, services: Shared
) -> AdjustmentView:
    """Agree as the side that was asked; it is posted once both sides have.

    What is settled or assigned must be owed then, neither disputed nor in a proposed round, and
    limits must hold; else it is a conflict, and stays proposed.
    """
    return _moved(services, Move(adjustment_id, caller.group_id, Verb.AGREE))


@router.post(
    "/adjustments/{adjustment_id}/decline",
    summary="Decline an adjustment",
    responses={200: _answer(EXAMPLE | ENDED | {"state": "declined"}, "Declined.")},
)
def decline_adjustment(
    adjustment_id: AdjustmentId, caller: Calling, services: Shared
) -> AdjustmentView:
    """Decline as the side that was asked."""
    return _moved(services, Move(adjustment_id, caller.group_id, Verb.DECLINE))


@router.post(
    "/adjustments/{adjustment_id}/cancel",
    summary="Cancel an adjustment",
    responses={200: _answer(EXAMPLE | ENDED | {"state": "cancelled"}, "Cancelled.")},
)
def cancel_adjustment(
    adjustment_id: AdjustmentId, caller: Calling, services: Shared
) -> AdjustmentView:
    """Cancel as the hub that proposed it."""
    return _moved(services, Move(adjustment_id, caller.group_id, Verb.CANCEL))


@router.get(
    "/adjustments",
    summary="A hub's adjustments",
    responses={200: _answer({"adjustments": [EXAMPLE]}, "Newest first, five hundred at most.")},
)
def list_adjustments(
    caller: Calling,
    session: Reading,
    state: Annotated[AdjustmentState | None, Query(description="Only those in this state.")] = None,
) -> AdjustmentList:
    """List the adjustments that the calling hub's group is a side of."""
    return AdjustmentList(adjustments=adjustments.search(session, caller.group_id, state))


@router.get(
    "/adjustments/{adjustment_id}",
    summary="One adjustment",
    responses={200: _answer(EXAMPLE, "The adjustment.")},
)
def get_adjustment(
    adjustment_id: AdjustmentId, caller: Calling, session: Reading
) -> AdjustmentView:
    """Give an adjustment that the calling hub's group is a side of."""
    return adjustments.find(session, adjustment_id, caller.group_id)
