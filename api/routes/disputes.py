"""Disputes over HTTP: an amount that two groups disagree about is kept out of rounds."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from api.bodies import StrictBody, body_of, described
from api.callers import Calling
from api.services import Reading, Shared
from clearing import disputes
from clearing.disputes import DisputeState, DisputeView, Mark
from commons.database import transaction

router = APIRouter(tags=["Clearing"])

MARK_EXAMPLE: Final[dict[str, Any]] = {
    "debtor": "leeds",
    "creditor": "gracia",
    "amount": "12.5000",
    "reason": "Posted twice on 20 November; see our letter",
}
EXAMPLE: Final[dict[str, Any]] = {
    "id": "b1d0a2c8-52f6-4c7e-9a2e-0d6d6f3c1f55",
    **MARK_EXAMPLE,
    "state": "standing",
    "union": "main",
    "marked_by": "leeds",
    "marked_at": "2026-11-21T09:30:00Z",
    "lifted_at": None,
}
LIFTED_EXAMPLE: Final = EXAMPLE | {"state": "lifted", "lifted_at": "2026-11-28T16:00:00Z"}


class MarkBody(StrictBody):
    """What is disputed, in clearing units, and why; no member's name belongs in the reason."""

    debtor: str = Field(max_length=60)
    creditor: str = Field(max_length=60)
    amount: str = Field(max_length=40)
    reason: str = Field(min_length=1, max_length=disputes.MAX_REASON)
    union: str | None = Field(default=None, max_length=40)


class DisputeList(BaseModel):
    """Disputes, newest first."""

    disputes: list[DisputeView]


DisputeId = Annotated[UUID, Path(description="The UUID that the marking hub gave it.")]


def _answer(example: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.put(
    "/disputes/{dispute_id}",
    summary="Dispute what is owed",
    status_code=201,
    responses={
        200: _answer(EXAMPLE, "Marked before: the dispute as it stands now.")
        | {"model": DisputeView},
        201: _answer(EXAMPLE, "Marked; rounds leave that much alone."),
    },
    openapi_extra=described(MarkBody, MARK_EXAMPLE),
)
def put_dispute(
    dispute_id: DisputeId,
    caller: Calling,
    body: Annotated[MarkBody, Depends(body_of(MarkBody))],
    services: Shared,
    response: Response,
) -> DisputeView:
    """Dispute an amount of what the debtor owes the creditor, as the hub of either.

    It can be no more than is owed, less what is disputed already or in a proposed round. It holds
    up nobody's payments.
    """
    call = Mark(id=dispute_id, caller=caller.group_id, **body.model_dump())
    with transaction(services.engine) as session:
        found, is_new = disputes.mark(session, call)
    response.status_code = 201 if is_new else 200
    return found


@router.post(
    "/disputes/{dispute_id}/lift",
    summary="Lift a dispute",
    responses={200: _answer(LIFTED_EXAMPLE, "Lifted.")},
)
def lift_dispute(dispute_id: DisputeId, caller: Calling, services: Shared) -> DisputeView:
    """Lift a dispute as the hub that marked it."""
    with transaction(services.engine) as session:
        return disputes.lift(session, dispute_id, caller.group_id)


@router.get(
    "/disputes",
    summary="A hub's disputes",
    responses={200: _answer({"disputes": [EXAMPLE]}, "Newest first, five hundred at most.")},
)
def list_disputes(
    caller: Calling,
    session: Reading,
    state: Annotated[DisputeState | None, Query(description="Only those in this state.")] = None,
) -> DisputeList:
    """List what is disputed of what the calling hub's group owes or is owed."""
    return DisputeList(disputes=list(disputes.search(session, caller.group_id, state)))


@router.get(
    "/disputes/{dispute_id}",
    summary="One dispute",
    responses={200: _answer(EXAMPLE, "The dispute.")},
)
def get_dispute(dispute_id: DisputeId, caller: Calling, session: Reading) -> DisputeView:
    """Give a dispute that the calling hub's group is a side of."""
    return disputes.find(session, dispute_id, caller.group_id)
