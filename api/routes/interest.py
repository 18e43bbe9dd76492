"""Interest in a listing: told by the member's hub, passed on to the author, answered; private."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api import problems
from api.allowances import client_of
from api.bodies import MEDIA_TYPE, StrictBody, body_of, described
from api.caching import NOT_KEPT
from api.callers import Sharing
from api.services import Services, Shared
from commons.answers import is_activity_media_type
from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    FetchError,
    ForbiddenError,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from commons.json_reading import read_json
from crawler.interest.asking import ask, listing_to_answer, view
from crawler.interest.rows import InterestState
from crawler.interest.saying import LONGEST_MESSAGE, Said, read_message, read_offer
from marketplace.listings import Listing

ACTIVITY: Final = "application/activity+json"

router = APIRouter(tags=["Marketplace"], responses=problems.answers(NotFoundError))
_UNSIGNED: Final = problems.answers(UnauthenticatedError, ForbiddenError)

INTEREST_EXAMPLE: Final[dict[str, Any]] = {
    "id": "0d3f6c1e-6f0a-4b0e-9c38-6a1f6f2a4d11",
    "listing": "k3v7q2m5x6abc",
    "member": "https://hub.example/members/ines",
    "offer": "https://hub.example/offers/7",
    "state": "delivered",
    "since": "2026-05-02T10:00:07Z",
    "reason": None,
}
MESSAGE_EXAMPLE: Final[dict[str, Any]] = {
    "id": "5a3f1a3e-1a39-4b0c-8f3b-0a55f2cf7b10",
    "member": "https://hub.example/members/ines",
    "message": "I would like my bicycle mended, Saturday if you can.",
}
OFFER_EXAMPLE: Final[dict[str, Any]] = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "id": "https://hub.example/offers/7",
    "type": "Offer",
    "actor": "https://hub.example/members/ines",
    "to": "https://other.example/members/joan",
    "object": {
        "type": "Agreement",
        "stipulates": {
            "type": "Commitment",
            "satisfies": "https://other.example/listings/7#primary",
            "resourceQuantity": {"hasUnit": "one", "hasNumericalValue": "1"},
        },
    },
}
LINK_EXAMPLE: Final[dict[str, Any]] = {
    "listing": "k3v7q2m5x6abc",
    "url": "https://other.example/listings/7",
    "object": "https://other.example/listings/7",
    "home": "https://hub.example/authorize_interaction?uri=https%3A%2F%2Fother.example%2Flistings%2F7",
}


class MessageBody(StrictBody):
    """A plain message to a listing's author; `id` is the hub's, so that it can be told again."""

    id: UUID = Field(strict=False)
    member: str = Field(max_length=2048)
    message: str = Field(min_length=1, max_length=LONGEST_MESSAGE)


class InterestView(BaseModel):
    """An interest as the hub that told of it sees it; `reason` is why it is no better."""

    id: UUID
    listing: str
    member: str
    offer: str
    state: InterestState
    since: datetime
    reason: str | None


class LinkView(BaseModel):
    """Where a listing is answered: at its own `url`, or at `home`, the member's own hub."""

    listing: str
    url: str
    object: str
    home: str | None


def _answer(text: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"example": example}}}


ListingId = Annotated[
    str, Path(description="The listing's short id.", examples=["k3v7q2m5x6abc"], max_length=16)
]
_BODY: Final = described(MessageBody, MESSAGE_EXAMPLE)
_BODY["requestBody"]["content"][ACTIVITY] = {
    "schema": {"type": "object"},
    "example": OFFER_EXAMPLE,
}


@router.post(
    "/listings/{listing_id}/interest",
    status_code=201,
    summary="Tell a listing's author that a member is interested",
    responses={
        200: {
            **_answer("Told before: how it stands now.", INTEREST_EXAMPLE),
            "model": InterestView,
        },
        201: _answer("Taken; it is passed on.", {**INTEREST_EXAMPLE, "state": "waiting"}),
        **_UNSIGNED,
        **problems.answers(MalformedError, ConflictError, TooLargeError, UnsupportedMediaError),
        **problems.answers(InvalidError, TooManyError),
    },
    openapi_extra=_BODY,
)
async def post_interest(
    request: Request, response: Response, listing_id: ListingId, caller: Sharing, services: Shared
) -> InterestView:
    """Take the interest of a member from its own hub and pass it on to the listing's author.

    Either an `Offer` of an `Agreement` (FEP-0837) of the member, or a plain message as JSON; signed
    by RFC 9421 with any key of the hub's group actor and a nonce. The same again, by its id, has
    the same answer and no further effect. 60 an hour of a hub, 5 a day in one listing. What is
    said here is nobody's to read but the author's, and not kept once it was passed on.
    """
    if is_activity_media_type(request.headers.get("content-type")):
        document = read_json(await request.body())
        author_uri = await run_in_threadpool(_author_of, services.engine, listing_id)
        said = read_offer(document, author_uri)
    else:
        body = await body_of(MessageBody)(request)
        said = read_message(body.id, body.member, body.message)
    told, is_new = await run_in_threadpool(_ask, services.engine, caller.group_id, listing_id, said)
    response.status_code = 201 if is_new else 200
    response.headers["Cache-Control"] = NOT_KEPT
    services.worker.wake()
    return told


@router.get(
    "/listings/{listing_id}/interest",
    summary="Where a listing is answered",
    responses={
        200: _answer("Addresses to open.", LINK_EXAMPLE),
        **problems.answers(InvalidError, TooManyError, FetchError),
    },
)
async def get_link(
    request: Request,
    response: Response,
    listing_id: ListingId,
    services: Shared,
    hub: Annotated[
        str | None,
        Query(
            description="The member's address at its own hub.",
            examples=["ines@hub.example"],
            max_length=330,
        ),
    ] = None,
) -> LinkView:
    """Give the listing's own address, and with `hub` the page at which the member's hub opens it.

    The hub is asked by WebFinger for its page of FEP-3b86 (`Object`), else for the older one by
    which others follow. Nothing is kept of who asked.
    """
    listing = await run_in_threadpool(listing_of, services.engine, listing_id)
    home = await home_page(services, request, hub, listing.uri) if hub else None
    response.headers["Cache-Control"] = NOT_KEPT
    return LinkView(
        listing=listing.id, url=listing.url or listing.uri, object=listing.uri, home=home
    )


@router.get(
    "/interests/{interest_id}",
    summary="How an interest stands",
    responses={200: _answer("The interest.", INTEREST_EXAMPLE), **_UNSIGNED},
)
def get_interest(
    response: Response,
    interest_id: Annotated[UUID, Path(description="The id that it was given here.")],
    caller: Sharing,
    services: Shared,
) -> InterestView:
    """Tell the hub that told of an interest how it stands; for anybody else there is none."""
    response.headers["Cache-Control"] = NOT_KEPT
    with reading(services.engine) as session:
        return InterestView.model_validate(asdict(view(session, caller.group_id, interest_id)))


def _ask(engine: Engine, group_id: str, listing_id: str, said: Said) -> tuple[InterestView, bool]:
    with transaction(engine) as session:
        told, is_new = ask(session, group_id, listing_id, said)
    return InterestView.model_validate(asdict(told)), is_new


def listing_of(engine: Engine, listing_id: str) -> Listing:
    """Return a listing that may be answered now, else raise NotFoundError."""
    with reading(engine) as session:
        listing = listing_to_answer(session, listing_id)
        session.expunge(listing)
        return listing


async def home_page(services: Services, request: Request, hub: str, listing_uri: str) -> str:
    """Return where a member's hub opens a listing, as often as anybody may have us ask."""
    services.allowances.homes_by_client.take("30 hubs a minute are asked", client_of(request))
    services.allowances.homes.take("many hubs are asked right now")
    return await services.homes.page(services.door, hub, listing_uri)


def _author_of(engine: Engine, listing_id: str) -> str:
    return listing_of(engine, listing_id).author_uri
