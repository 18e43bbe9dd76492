"""Certificates of rounds over HTTP: the public one for anybody, a slice for its group."""

from enum import StrEnum
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api import problems
from api.callers import Asker, asker_of
from api.routes.rounds import RoundId, seen_round
from api.services import Reading, Shared
from clearing import certificates, rounds
from commons.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError

router = APIRouter(tags=["Clearing"])

JSON: Final = "application/json"
EXAMPLE: Final[dict[str, Any]] = {
    "service": "https://clearing.example",
    "round": "0d7c1f0a-9b1e-4c55-8f43-6f0f5d1b2a90",
    "union": "main",
    "number": 12,
    "proposed_at": "2026-11-20T10:00:00.000000Z",
    "committed_at": "2026-11-22T10:00:01.000000Z",
    "rules": {"credit_lines": False, "amended": False},
    "accounts": 3,
    "rows": 3,
    "root": "c41f…",
    "obligations_total": "240.0000",
    "net_internal_debt": "20.0000",
    "cleared": "210.0000",
    "drawn": "0.0000",
    "bound": "210.0000",
    "queue": {
        "waiting": 1,
        "released": 1,
        "value": "12.5000",
        "bound": "12.5000",
        "exact": True,
    },
    "previous": "51c3…",
    "hash": "7b1e…",
    "proof": {"type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022"},
}


class CertificateForm(StrEnum):
    """Which of a round's three certificates."""

    PUBLIC = "public"
    SLICE = "slice"
    FULL = "full"


async def anybody_of(request: Request, services: Shared) -> Asker | None:
    """Return who asks, where they say so; what they say must hold then."""
    says = {"authorization", "signature-input"} & set(request.headers.keys())
    return await asker_of(request, services) if says else None


@router.get(
    "/rounds/{round_id}/certificate",
    summary="A round's certificate",
    response_class=Response,
    responses={
        200: {
            "description": "The public certificate, which the others hold too.",
            "content": {JSON: {"example": EXAMPLE, "schema": {"type": "object"}}},
        },
        **problems.answers(UnauthenticatedError, ForbiddenError, NotFoundError, InvalidError),
    },
)
def get_certificate(
    session: Reading,
    round_id: RoundId,
    asker: Annotated[Asker | None, Depends(anybody_of)],
    form: Annotated[CertificateForm, Query(description="Which one.")] = CertificateForm.PUBLIC,
    group: Annotated[
        str | None,
        Query(description="Whose slice, for the bearer of a token.", max_length=40),
    ] = None,
) -> Response:
    """Give what proves a committed round: `public` to anybody, as it was signed and published.

    `slice` is for a group's hub, and for tokens with `group`: its rows and prices, and where they
    stand in the published root; `full`, for tokens alone, has all rows. `localpay verify-round`
    checks each from the file alone.
    """
    if form is CertificateForm.PUBLIC:
        return _given(certificates.public(rounds.find(session, round_id)))
    if asker is None:
        raise UnauthenticatedError(f"the {form} certificate needs a signature or a token")
    found = seen_round(asker, session, round_id)
    if form is CertificateForm.FULL:
        if asker.bearer is None:
            raise ForbiddenError("the full certificate is for those who carry a token")
        return _given(certificates.full(session, found))
    if group is None and asker.group_id is None:
        raise InvalidError("group", "is needed with a token: whose slice")
    whose = asker.group_id if group is None else group
    if whose is None or not asker.may_see_group(whose):
        raise NotFoundError("there is no such slice of yours")
    return _given(certificates.slice_of(session, found, whose))


def _given(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), media_type=JSON)
