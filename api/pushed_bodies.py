"""What hubs push as JSON and are answered: bodies, views, and an example of each."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, Field, field_validator

from api.bodies import StrictBody
from crawler.sources.push import NAME_PATTERN
from marketplace.drafts import LONGEST_NAME, LONGEST_TITLE, MOST_VALUES, ListingType
from marketplace.listings import Outcome
from marketplace.payment import PaymentMeans

MOST_LISTINGS: Final = 1_000
_LONGEST_URI: Final = 2048
_LANGUAGE: Final = r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,4}$"

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
    """One way to pay; `national` and `crypto` name their `currency`.

    So does `local`, if it is not in the group's own.
    """

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

    @field_validator("type", mode="before")
    @classmethod
    def _is_want(cls, value: object) -> object:
        if value == "request":
            raise ValueError("must be 'offer' or 'want', which ActivityPub calls a request")
        return value


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
