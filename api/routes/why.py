"""Why a listing is here, for whoever wants to know it or wants it gone."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel

from api.caching import Cacheable
from api.problems import answers
from api.services import Reading, Shared
from commons.errors import NotFoundError
from crawler.why import why
from marketplace import listings
from marketplace.consent import ConsentBasis

router = APIRouter(tags=["Marketplace"], route_class=Cacheable, responses=answers(NotFoundError))

WHY_EXAMPLE: Final[dict[str, Any]] = {
    "basis": "hub",
    "because": "The author's hub agreed for what its members publish to everybody.",
    "evidence": {
        "said_by": "https://hub.example/group",
        "document": "https://hub.example/group",
        "member": "listings",
        "says": "true, in its signed registration",
        "seen": "2026-04-01T08:00:00Z",
    },
    "since": "2026-05-02T10:00:07Z",
    "asked_by": {
        "how": "pushed",
        "by": "https://hub.example/members/ines",
        "at": "2026-05-02T10:00:06Z",
    },
    "confirmed": "2026-05-20T03:10:00Z",
    "sources": ["https://hub.example/listings/7"],
    "take_away": [
        {
            "do": "Delete https://hub.example/listings/7; its hub tells us by a Delete or a "
            "Tombstone.",
            "takes_away": "This listing.",
        }
    ],
}


class EvidenceView(BaseModel):
    """What was said: `member` of `document` is `says`, by whom, and when that was seen."""

    said_by: str
    document: str
    member: str
    says: str
    seen: datetime


class ArrivalView(BaseModel):
    """How it came first: `pushed`, `announced`, `sent`, `crawled` or `read`, by whom, and when."""

    how: str
    by: str | None
    at: datetime | None


class WayView(BaseModel):
    """One way to take it away: what is to be done, and how much goes by that."""

    do: str
    takes_away: str


class WhyView(BaseModel):
    """Why a listing is here: `basis` is whose word it is here on, `evidence` that word."""

    basis: ConsentBasis
    because: str
    evidence: EvidenceView
    since: datetime
    asked_by: ArrivalView
    confirmed: datetime
    sources: list[str]
    take_away: list[WayView]


@router.get(
    "/listings/{listing_id}/why",
    summary="Why a listing is here",
    responses={
        200: {
            "description": "Whose word, by whom it came, how it is taken away.",
            "content": {"application/json": {"example": WHY_EXAMPLE}},
        }
    },
)
def get_why(
    session: Reading,
    services: Shared,
    listing_id: Annotated[
        str, Path(description="The listing's short id.", examples=["k3v7q2m5x6abc"])
    ],
) -> WhyView:
    """Tell on whose word a listing is here, since when, how it came, and each way to remove it.

    Of one that was taken away nothing is told, not even that it was here.
    """
    listing = listings.by_id(session, listing_id)
    if listing is None:
        msg = "there is no such listing, or none any more"
        raise NotFoundError(msg)
    return WhyView.model_validate(asdict(why(session, services.settings, listing)))
