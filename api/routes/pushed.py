"""Listings pushed as JSON by hubs without ActivityPub: put, withdrawn, and how they stand."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.bodies import MEDIA_TYPE, StrictBody, body_of, described
from api.caching import NOT_KEPT
from api.callers import Caller, Sharing, message_of, sharing_hub
from api.problems import broken_rules
from api.services import Services, Shared
from commons.database import now, reading, transaction
from commons.errors import ForbiddenError, InvalidError, NotFoundError
from crawler.peers import by_group
from crawler.sources import push
from crawler.sources.push import NAME_PATTERN, Pushed, Taken
from crawler.terms import same_origin
from marketplace.drafts import LONGEST_NAME, LONGEST_TITLE, MOST_VALUES, Draft, ListingType
from marketplace.listings import Outcome
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

MOST_LISTINGS: Final = 1_000
_LONGEST_URI: Final = 2048
_LANGUAGE: Final = r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}$"
_SEE_OTHER: Final = 303

router = APIRouter(tags=["Marketplace"])

LISTING_EXAMPLE: Final[dict[str, Any]] = {
    "type": "offer",
    "title": "Bicycle repair",
    "body": "Brakes and gears, at your place or mine.",
    "language": "en",
    "categories": ["repair", "bicycles"],
    "url": "https://hub.example/offers/7",
    "place": {"name": "Gràcia", "lat": 41.4, "lon": 2.15},
    "precision": "cell",
    "payments": [{"means": "time", "amount": "1"}],
    "updated": "2026-05-02T10:00:00Z",
    "searchable": True,
}
TAKEN_EXAMPLE: Final[dict[str, Any]] = {
    "id": "7",
    "uri": "https://localpay.example/hubs/barcelona/listings/7",
    "outcome": "inserted",
    "field": None,
    "reason": None,
}
MANY_EXAMPLE: Final[dict[str, Any]] = {
    "listings": [{"id": "7", **LISTING_EXAMPLE}],
    "complete": True,
}
STANDING_EXAMPLE: Final[dict[str, Any]] = {
    "id": "7",
    "uri": "https://localpay.example/hubs/barcelona/listings/7",
    "listing": "k3v7q2m5x6abc",
    "state": "shown",
    "reason": None,
    "pushed_at": "2026-05-02T10:00:07Z",
    "updated": "2026-05-02T10:00:00Z",
}


class PlaceBody(StrictBody):
    """Where it is, in degrees; what is kept of that is the middle of a cell of about 1.4 km."""

    name: str | None = Field(default=None, max_length=LONGEST_NAME)
    lat: float | None = Field(default=None, ge=-90, le=90)
    lon: float | None = Field(default=None, ge=-180, le=180)


class PaymentBody(StrictBody):
    """One way to pay; `local`, `national` and `crypto` name their `currency`."""

    means: PaymentMeans = Field(strict=False)
    currency: str | None = Field(default=None, min_length=1, max_length=_LONGEST_URI)
    amount: str | None = Field(default=None, pattern=r"^[0-9]{1,18}(\.[0-9]{1,18})?$")
    text: str | None = Field(default=None, max_length=500)


class ListingBody(StrictBody):
    """One offer or want, whole: what is left out is not there any more.

    `uri` is the hub's own address of it, for good; without it, it is the address of this call.
    `searchable` false is the author's no. Without `updated`, each call is a newer version.
    """

    type: ListingType = Field(strict=False)
    title: str = Field(min_length=1, max_length=LONGEST_TITLE)
    body: str = ""
    language: str | None = Field(default=None, pattern=_LANGUAGE)
    categories: list[Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]] = Field(
        default=[], max_length=MOST_VALUES
    )
    image: str | None = Field(default=None, max_length=_LONGEST_URI)
    url: str | None = Field(default=None, max_length=_LONGEST_URI)
    uri: str | None = Field(default=None, max_length=_LONGEST_URI)
    author: str | None = Field(default=None, max_length=_LONGEST_URI)
    place: PlaceBody | None = None
    precision: Literal["cell", "group", "none"] = "cell"
    remote: bool = False
    payments: list[PaymentBody] = Field(default=[], max_length=MOST_VALUES)
    published: AwareDatetime | None = Field(default=None, strict=False)
    updated: AwareDatetime | None = Field(default=None, strict=False)
    expires_at: AwareDatetime | None = Field(default=None, strict=False)
    searchable: bool | None = None


class ManyBody(StrictBody):
    """Up to 1,000 listings, each with the hub's `id` of it; `complete` where these are all."""

    listings: list[dict[str, Any]] = Field(max_length=MOST_LISTINGS)
    complete: bool = False


class NamedListingBody(ListingBody):
    """One of many, with the hub's own id."""

    id: str = Field(pattern=NAME_PATTERN)


class DescribedManyBody(StrictBody):
    """What `ManyBody` holds, each listing of which is read by itself."""

    listings: list[NamedListingBody] = Field(max_length=MOST_LISTINGS)
    complete: bool = False


class TakenView(BaseModel):
    """What became of a pushed listing; `field` and `reason` say why it was not taken."""

    id: str
    uri: str | None
    outcome: Outcome
    field: str | None
    reason: str | None


class ManyView(BaseModel):
    """What became of each, in their order, and how many others were withdrawn."""

    listings: list[TakenView]
    withdrawn: int


class StandingView(BaseModel):
    """How a pushed listing stands: `shown`, or `withdrawn` with the reason; `listing` is ours."""

    id: str
    uri: str
    listing: str
    state: str
    reason: str | None
    pushed_at: datetime
    updated: datetime


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
        200: _answer("Known before: what became of it.", {**TAKEN_EXAMPLE, "outcome": "updated"}),
        201: _answer("Taken.", TAKEN_EXAMPLE),
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
    responses={200: _answer("What became of each.", {"listings": [TAKEN_EXAMPLE], "withdrawn": 0})},
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
    responses={204: {"description": "It is not shown any more.", "content": {}}},
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

    Unsigned, it answers 303 with the address of the listing while that is shown.
    """
    is_signed = "signature-input" in request.headers
    if is_signed:
        _check_group(await sharing_hub(await message_of(request, services), services), group_id)
    stands = await run_in_threadpool(_standing, services.engine, group_id, name)
    if is_signed:
        response.headers["Cache-Control"] = NOT_KEPT
        return stands
    if stands.state != "shown":
        raise NotFoundError("no such listing is shown")
    return Response(status_code=_SEE_OTHER, headers={"Location": f"/listings/{stands.listing}"})


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
        payments = [Payment(one.means, one.currency, one.amount, one.text) for one in body.payments]
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
