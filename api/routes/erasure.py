"""Erasing names over HTTP, each hub that of its own member."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel

from api.callers import Calling
from api.services import Shared
from clearing import erasure
from commons.database import transaction

router = APIRouter(tags=["Clearing"])

EXAMPLE: Final = {
    "transfer": "6a0b8c1e-62f1-4b8e-9d52-0a4f5a1f7c11",
    "payer": "leeds/",
    "payee": "gracia/moss",
}


class ErasedView(BaseModel):
    """Who is still named in a transfer, as `group/member`; its texts are gone."""

    transfer: UUID
    payer: str
    payee: str


@router.post(
    "/transfers/{transfer_id}/erase",
    summary="Erase a name",
    responses={
        200: {
            "description": "It is erased, now or before.",
            "content": {"application/json": {"example": EXAMPLE}},
        }
    },
)
def erase(
    caller: Calling,
    services: Shared,
    transfer_id: Annotated[UUID, Path(description="The transfer's id.")],
) -> ErasedView:
    """Erase the calling hub's own member, and the texts, from an ended transfer.

    What reverses it is erased with it. The chains stay as they are and can still be checked; what
    is left of the other member's name is vouched for no more. Said again it changes nothing.
    """
    with transaction(services.engine) as session:
        left = erasure.erase_in_transfer(session, transfer_id, caller.group_id)
        return ErasedView(
            transfer=left.id,
            payer=f"{left.payer_group}/{left.payer_member or ''}",
            payee=f"{left.payee_group}/{left.payee_member or ''}",
        )
