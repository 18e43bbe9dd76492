"""Search for listings, and one listing with its sources and why it is here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from api.caching import Cacheable, etag_of, holds, not_modified
from api.searching import in_turn, search
from api.services import Reading, Shared
from commons.errors import NotFoundError
from crawler.why import Way, take_away
from marketplace import listings
from marketplace.drafts import ListingType
from marketplace.duplicates import sources_of
from marketplace.listings import Listing
from marketplace.query import Page, read_query

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

HIT_EXAMPLE: Final[dict[str, Any]] = {
    "id": "k3v7q2m5x6abc",
    "type": "offer",
    "title": "Bicycle repair",
    "excerpt": "I mend your <mark>bicycle</mark> in my workshop or at your door.",
    "categories": ["repairs"],
    "language": "en",
    "image": None,
    "payments": [{"means": "time", "amount": "1"}, {"means": "national", "currency": "EUR"}],
    "author": "https://hub.example/members/ines",
    "group": "barcelona",
    "place_name": "Gràcia",
    "lat": 41.403,
    "lon": 2.157,
    "remote": False,
    "distance_km": 2.4,
    "published": "2026-05-01T09:00:00Z",
    "confirmed": "2026-05-20T03:10:00Z",
    "url": "https://hub.example/listings/7",
    "why": {
        "bm25": 5.0,
        "distance": 0.8,
        "freshness": 0.5,
        "image": 1.0,
        "price": 1.05,
        "total": 2.1,
        "weights": {"title_weight": 3.0, "category_weight": 2.0, "distance_half_km": 10.0},
    },
    "payable": {"group": "barcelona", "how": "clearing", "currency": "HORA"},
}
PAGE_EXAMPLE: Final[dict[str, Any]] = {
    "hits": [HIT_EXAMPLE],
    "total": 1,
    "total_is_exact": True,
    "facets_are_exact": True,
    "facets": {"type": {"offer": 1}, "pay": {"time": 1, "national": 1}},
    "cursor": None,
    "took_ms": 0.7,
    "place": {
        "name": "Barcelona",
        "country": "ES",
        "region": None,
        "lat": 41.3888,
        "lon": 2.159,
        "population": 1686208,
        "others": [
            {
                "name": "Barcelona",
                "country": "VE",
                "region": None,
                "lat": 10.1363,
                "lon": -64.6862,
                "population": 815141,
            }
        ],
    },
    "words": None,
    "loosened": False,
}


class Why(BaseModel):
    """Why a listing is here: on whose word, since when, and how it is taken away."""

    basis: str
    since: datetime
    asked_by: str | None
    take_away: str


class ListingDetail(BaseModel):
    """One listing; `body` is sanitised HTML, the position is blurred.

    `interest` is where a hub tells of a member's interest, and where the member's own page is told.
    """

    id: str
    type: ListingType
    title: str
    body: str
    categories: list[str]
    language: str | None
    image: str | None
    payments: list[dict[str, Any]]
    author: str
    group: str | None
    place_name: str | None
    lat: float | None
    lon: float | None
    remote: bool
    published: datetime
    updated: datetime
    confirmed: datetime
    expires_at: datetime | None
    url: str
    sources: list[str]
    interest: str
    why: Why


def _parameter(name: str, text: str, kind: dict[str, Any], example: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON)
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": text,
        "schema": kind,
        "example": example,
    }


_TEXT: Final = {"type": "string"}
_MANY: Final = {"type": "array", "items": _TEXT}
PARAMETERS: Final = [
    _parameter(
        "q",
        'Words; `"exact phrase"`, `-without`. Where neither `near` nor `bbox` is given, a place '
        "may be told among them, with a distance or without: `plumber near leeds`, `Brot in Wien`, "
        "`plombier à moins de 5 km de Lyon`. `place` in the answer then tells which place was "
        "taken, and `words` what was searched for. What is in quotes is always words: "
        '`lessons "in Reading"`. Where nothing has all the words, what has most of them is found, '
        "or words like them, and `loosened` in the answer is true; what is in quotes must be there "
        "and what is excluded must not, all the same.",
        _TEXT,
        "bicycle repair",
    ),
    _parameter(
        "near",
        "A place by its name in any language, with its region or country where there are several "
        "(`Wien`, `Springfield, Illinois`), or latitude and longitude in degrees (`41.40,2.16`). "
        "Of several of one name the largest is taken; `place` in the answer tells the others.",
        _TEXT,
        "Barcelona",
    ),
    _parameter(
        "radius_km",
        "How far from `near`.",
        {"type": "number", "minimum": 0.1, "maximum": 1000, "default": 50},
        25,
    ),
    _parameter("bbox", "`west,south,east,north` in degrees.", _TEXT, "1.9,41.2,2.4,41.6"),
    _parameter("type", "Offers or wants.", {"type": "string", "enum": list(ListingType)}, "offer"),
    _parameter(
        "pay",
        "Means of payment, any of them: `local`, `time`, `national`, `national:EUR`, `crypto`, "
        "`barter`, `gift`, or a currency's code or URI.",
        _MANY,
        ["time", "national:EUR"],
    ),
    _parameter(
        "payer_group",
        "Only what a member of this group can pay for by a transfer: of the same group, or of one "
        "that clears with it, at a price for which there is room now. Each hit tells how in "
        "`payable`. What is left is rounded down to its first digit, so that nobody's room can be "
        "searched out; the answer is not to be kept.",
        _TEXT,
        "leeds",
    ),
    _parameter(
        "category", "Categories, any of them; a shared one by any of its names.", _MANY, ["repairs"]
    ),
    _parameter("language", "Languages by ISO 639, any of them.", _MANY, ["ca", "es"]),
    _parameter("group", "Groups by their ids, any of them.", _MANY, ["barcelona"]),
    _parameter("author", "Authors by their URIs.", _MANY, ["https://hub.example/members/ines"]),
    _parameter("remote", "Whether it can be had from afar.", {"type": "boolean"}, True),  # noqa: FBT003 (an example)
    _parameter("since", "Published since, by ISO 8601.", _TEXT, "2026-01-01"),
    _parameter(
        "sort",
        "The order of the hits.",
        {"type": "string", "enum": ["relevance", "distance", "newest"], "default": "relevance"},
        "distance",
    ),
    _parameter(
        "limit",
        "Hits on a page.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        20,
    ),
    _parameter(
        "explain",
        "With 1, each hit tells `why`: what each part of its score gave, and the weights.",
        {"type": "string", "enum": ["0", "1"]},
        "1",
    ),
    _parameter("cursor", "From the page before: leads to the next one.", _TEXT, None),
]


def with_defaults(defaults: dict[str, str]) -> list[dict[str, Any]]:
    """Return the parameters of a search where some stand for others than usual."""
    return [
        {**one, "schema": {**one["schema"], "default": defaults[one["name"]]}}
        if one["name"] in defaults
        else one
        for one in PARAMETERS
    ]


@router.get(
    "/listings",
    summary="Search for offers and wants",
    response_class=Response,
    responses={
        200: {
            "model": Page,
            "description": "One page of hits; `loosened` tells that nothing has all the words, and "
            "these have most of them.",
            "content": {"application/json": {"example": PAGE_EXAMPLE}},
        }
    },
    openapi_extra={"parameters": PARAMETERS},
)
async def search_listings(request: Request, services: Shared) -> Response:
    """Find listings by words, place and means of payment; nobody needs an account.

    Unknown parameters, and single-valued ones that are repeated, are refused. Positions and
    distances are those of a cell about 1.4 km wide, never of a door.
    """

    def answer() -> Response:
        query = read_query(request.query_params.multi_items())
        etag = etag_of(request, services.index.revision())
        if holds(request, etag):
            return not_modified(etag)
        body = orjson.dumps(search(services, query), option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json", headers={"ETag": etag})

    return await in_turn(services, answer)


@router.get(
    "/listings/{listing_id}",
    summary="One listing",
    responses={
        200: {
            "description": "The listing, its sources, and why it is here.",
            "content": {
                "application/json": {
                    "example": {
                        **{
                            k: v
                            for k, v in HIT_EXAMPLE.items()
                            if k not in {"excerpt", "distance_km", "payable"}
                        },
                        "body": "<p>I mend your bicycle in my workshop or at your door.</p>",
                        "updated": "2026-05-02T10:00:00Z",
                        "expires_at": None,
                        "sources": ["https://hub.example/listings/7"],
                        "interest": "/listings/k3v7q2m5x6abc/interest",
                        "why": {
                            "basis": "hub",
                            "since": "2026-05-02T10:00:07Z",
                            "asked_by": "https://hub.example/group",
                            "take_away": "Delete it in its group, whose hub then deletes it here.",
                        },
                    }
                }
            },
        }
    },
)
def get_listing(
    session: Reading,
    services: Shared,
    listing_id: Annotated[
        str, Path(description="The listing's short id.", examples=["k3v7q2m5x6abc"])
    ],
) -> ListingDetail:
    """Give one listing with all its sources, why it is here, and how it is taken away."""
    listing = listings.by_id(session, listing_id)
    if listing is None:
        msg = "there is no such listing, or none any more"
        raise NotFoundError(msg)
    ways = take_away(session, services.settings, listing)
    return _detail(listing, sources_of(session, listing), ways)


def _detail(listing: Listing, sources: list[str], ways: Sequence[Way]) -> ListingDetail:
    """Return what is told of a listing that is shown."""
    return ListingDetail(
        id=listing.id,
        type=listing.type,
        title=listing.title,
        body=listing.body,
        categories=listing.categories,
        language=listing.language,
        image=listing.image,
        payments=listing.payments,
        author=listing.author_uri,
        group=listing.group_id,
        place_name=listing.place_name,
        lat=listing.lat,
        lon=listing.lon,
        remote=listing.remote,
        published=listing.published,
        updated=listing.updated,
        confirmed=listing.confirmed_at,
        expires_at=listing.expires_at,
        url=listing.url or listing.uri,
        sources=sources,
        interest=f"/listings/{listing.id}/interest",
        why=why(listing, ways),
    )


def why(listing: Listing, ways: Sequence[Way]) -> Why:
    """Return on whose word a listing is shown, and how it is taken away: one of these ways."""
    return Why(
        basis=str(listing.consent_basis),
        since=listing.consent_at or listing.confirmed_at,
        asked_by=listing.consented_by,
        take_away=" Or: ".join(way.do for way in ways),
    )
