"""Listings pushed as JSON by hubs without ActivityPub: put, withdrawn, and how they stand."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field, ValidationError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api import problems
from api.bodies import MEDIA_TYPE, StrictBody, body_of, described
from api.caching import NOT_KEPT
from api.callers import Caller, Sharing, sharing_hub
from api.problems import broken_rules
from api.pushed_bodies import (
    LISTING_EXAMPLE,
    MANY_EXAMPLE,
    STANDING_EXAMPLE,
    TAKEN_EXAMPLE,
    DescribedManyBody,
    ListingBody,
    ManyBody,
    ManyView,
    NamedListingBody,
    PaymentBody,
    PlaceBody,
    StandingView,
    TakenView,
)
from api.routes.health_of_hubs import wants_page
from api.services import Services, Shared
from commons.database import now, reading, transaction
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from crawler.peers import by_group
from crawler.sources import push
from crawler.sources.push import NAME_PATTERN, Pushed, Taken
from crawler.terms import same_origin
from marketplace.drafts import Draft
from marketplace.listings import Outcome
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

_SEE_OTHER: Final = 303

router = APIRouter(
    tags=["Marketplace"],
    responses=problems.answers(UnauthenticatedError, ForbiddenError, NotFoundError),
)
_NOT_TAKEN: Final = problems.answers(
    MalformedError, TooLargeError, UnsupportedMediaError, InvalidError, TooManyError
)


def _answer(text: str, example: object) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"example": example}}}


GroupId = Annotated[
    str, Path(description="The group's short id.", examples=["barcelona"], max_length=40)
]
Name = Annotated[
    str, Path(description="The hub's own id of the listing.", pattern=NAME_PATTERN, examples=["7"])
]


@router.put(
    "/hubs/{group_id}/listings/{name}",
    status_code=201,
    summary="Push a listing",
    responses={
        200: {
            **_answer("Known before: what became of it.", {**TAKEN_EXAMPLE, "outcome": "updated"}),
            "model": TakenView,
        },
        201: _answer("Taken.", TAKEN_EXAMPLE),
        **problems.answers(ConflictError),
        **_NOT_TAKEN,
    },
    openapi_extra=described(ListingBody, LISTING_EXAMPLE),
)
async def put_listing(  # noqa: PLR0913 (what is asked, by whom, of whom)
    group_id: GroupId,
    name: Name,
    *,
    caller: Sharing,
    body: Annotated[ListingBody, Depends(body_of(ListingBody))],
    services: Shared,
    response: Response,
) -> TakenView:
    """Take one listing of a hub that registered with `pushes`, signed as its registration was.

    The same again changes nothing. An `updated` before the one that is held, or before the
    deletion, is a conflict. `searchable` false withdraws the listing, or keeps it out. 600 calls a
    minute and 1 MiB each, a body of 64 KiB.
    """
    _check_group(caller, group_id)
    services.allowances.pushes.take("600 listings a minute are taken one by one", group_id)
    taken = await run_in_threadpool(_put, services, group_id, name, body)
    response.status_code = 201 if taken.outcome is Outcome.INSERTED else 200
    services.worker.wake()
    return _view(taken)


@router.post(
    "/hubs/{group_id}/listings",
    summary="Push many listings",
    responses={
        200: _answer("What became of each.", {"listings": [TAKEN_EXAMPLE], "withdrawn": 0}),
        **_NOT_TAKEN,
    },
    openapi_extra=described(DescribedManyBody, MANY_EXAMPLE),
)
async def post_listings(
    group_id: GroupId,
    caller: Sharing,
    body: Annotated[ManyBody, Depends(body_of(ManyBody))],
    services: Shared,
) -> ManyView:
    """Take up to 1,000 listings, each by itself: one that breaks a rule leaves the others.

    With `complete` these are all that the hub has, and what it does not name is withdrawn until
    it is pushed again; one that is named and breaks a rule stays as it was. 30 calls a minute.
    """
    _check_group(caller, group_id)
    services.allowances.bulk_pushes.take("30 calls with many listings a minute are taken", group_id)
    taken, withdrawn = await run_in_threadpool(_put_many, services, group_id, body)
    services.worker.wake()
    return ManyView(listings=[_view(one) for one in taken], withdrawn=withdrawn)


@router.delete(
    "/hubs/{group_id}/listings/{name}",
    status_code=204,
    summary="Withdraw a pushed listing",
    response_class=Response,
    responses={
        204: {"description": "It is not shown any more.", "content": {}},
        **problems.answers(TooManyError),
    },
)
async def delete_listing(
    group_id: GroupId, name: Name, caller: Sharing, services: Shared
) -> Response:
    """Withdraw a listing for good: only a version of a later time brings it back."""
    _check_group(caller, group_id)
    services.allowances.pushes.take("600 listings a minute are taken one by one", group_id)
    await run_in_threadpool(_delete, services, group_id, name)
    services.worker.wake()
    return Response(status_code=204)


@router.get(
    "/hubs/{group_id}/listings/{name}",
    summary="How a pushed listing stands",
    response_model=StandingView,
    responses={
        200: _answer("To the hub itself, signed: how it stands.", STANDING_EXAMPLE),
    },
)
async def get_listing(
    request: Request, response: Response, group_id: GroupId, name: Name, services: Shared
) -> Response | StandingView:
    """Tell the hub, which signs this, how its listing stands; lead anybody else to the listing.

    Unsigned, it answers 303 with the address of the listing, or of its page, while it is shown.
    """
    is_signed = "signature-input" in request.headers
    if is_signed:
        _check_group(await sharing_hub(request, services), group_id)
    stands = await run_in_threadpool(_standing, services.engine, group_id, name)
    if is_signed:
        response.headers["Cache-Control"] = NOT_KEPT
        return stands
    if stands.state != "shown":
        raise NotFoundError("no such listing is shown")
    where = "/l/" if wants_page(request) else "/listings/"
    return Response(status_code=_SEE_OTHER, headers={"Location": f"{where}{stands.listing}"})


def _check_group(caller: Caller, group_id: str) -> None:
    if caller.group_id != group_id:
        raise ForbiddenError("a hub pushes the listings of its own group alone")


def _put(services: Services, group_id: str, name: str, body: ListingBody) -> Taken:
    pushed = _reader(services, group_id).read(name, body)
    with transaction(services.engine) as session:
        return push.push_one(session, push.pushing_peer(session, group_id), pushed)


def _put_many(services: Services, group_id: str, body: ManyBody) -> tuple[Sequence[Taken], int]:
    reader = _reader(services, group_id)
    names = [_name(one, place) for place, one in enumerate(body.listings)]
    pushed = [reader.read_one(*one) for one in zip(names, body.listings, strict=True)]
    with transaction(services.engine) as session:
        peer = push.pushing_peer(session, group_id)
        taken = push.push_many(session, peer, pushed)
        withdrawn = push.withdraw_others(session, peer, names) if body.complete else 0
    return taken, withdrawn


def _delete(services: Services, group_id: str, name: str) -> None:
    uri = push.uri_of(services.settings.base_url, group_id, name)
    with transaction(services.engine) as session:
        push.delete(session, push.pushing_peer(session, group_id), name, uri)


def _reader(services: Services, group_id: str) -> "_Reader":
    with reading(services.engine) as session:
        hub_uri = by_group(session, group_id).actor_uri
        return _Reader(services.settings.base_url, group_id, hub_uri, now(session))


def _name(listing: dict[str, Any], place: int) -> str:
    """Return the id of one of many; without each, nobody knows which listings are left."""
    try:
        return _Named.model_validate(listing).id
    except ValidationError as error:
        rule = broken_rules([dict(one) for one in error.errors()])[0]["rule"]
        raise InvalidError(f"listings.{place}.id", rule) from None


class _Named(StrictBody, extra="ignore"):
    id: str = Field(pattern=NAME_PATTERN)


@dataclass(frozen=True)
class _Reader:
    """Reads what one hub pushes now, outside of any transaction: some texts take long."""

    base_url: str
    group_id: str
    hub_uri: str
    moment: datetime

    def read_one(self, name: str, listing: dict[str, Any]) -> Pushed:
        """Read one of many by the rules of one alone."""
        try:
            body = NamedListingBody.model_validate(listing)
        except ValidationError as error:
            told = broken_rules([{**one, "loc": ("body", *one["loc"])} for one in error.errors()])
            return Pushed(name, None, InvalidError(told[0]["field"], told[0]["rule"]))
        return self.read(name, body)

    def read(self, name: str, body: ListingBody) -> Pushed:
        """Return a listing as it may be stored, or the rule that it breaks."""
        if body.uri is not None and not same_origin(body.uri, self.hub_uri):
            return Pushed(name, None, InvalidError("uri", "must be of this hub's origin"))
        return push.read(name, self._draft(name, body), self.hub_uri, searchable=body.searchable)

    def _draft(self, name: str, body: ListingBody) -> Draft:
        place = body.place or PlaceBody()
        payments = [
            Payment(_means(one), one.currency, one.amount, one.text) for one in body.payments
        ]
        return Draft(
            uri=body.uri or push.uri_of(self.base_url, self.group_id, name),
            type=body.type,
            title=body.title,
            author_uri=body.author or self.hub_uri,
            body=body.body,
            language=body.language,
            categories=tuple(body.categories),
            image=body.image,
            url=body.url,
            place_name=place.name,
            lat=place.lat,
            lon=place.lon,
            precision=Precision(body.precision),
            remote=body.remote,
            payments=tuple(payments) or (Payment(PaymentMeans.UNSPECIFIED),),
            published=body.published,
            updated=body.updated or self.moment,
            expires_at=body.expires_at,
        )


def _means(payment: PaymentBody) -> PaymentMeans:
    """Return by what it is paid; local money that is not named is the group's own."""
    is_groups = payment.means is PaymentMeans.LOCAL and payment.currency is None
    return PaymentMeans.GROUP_DEFAULT if is_groups else payment.means


def _standing(engine: Engine, group_id: str, name: str) -> StandingView:
    with reading(engine) as session:
        stands = push.standing(session, group_id, name)
    told = asdict(stands)
    return StandingView(
        id=told["name"],
        uri=told["uri"],
        listing=told["listing_id"],
        state="shown" if stands.is_shown else "withdrawn",
        reason=told["reason"],
        pushed_at=told["pushed_at"],
        updated=told["updated"],
    )


def _view(taken: Taken) -> TakenView:
    return TakenView(
        id=taken.name,
        uri=taken.uri,
        outcome=taken.outcome,
        field=taken.field,
        reason=taken.reason,
    )
