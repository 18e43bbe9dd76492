"""What somebody who types may mean."""

import re
import unicodedata
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.caching import Cacheable
from api.routes.groups import taking_part
from api.services import Reading, Shared
from commons.errors import InvalidError
from marketplace.gazetteer import gazetteer
from marketplace.places import distance_km
from marketplace.query import Place, Query

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

MOST: Final = 10
SAME_PLACE_KM: Final = 15
EXAMPLE: Final[dict[str, Any]] = {
    "words": ["bicycle", "bike"],
    "categories": ["bicycles"],
    "places": [{"name": "Bilbao", "lat": 43.263, "lon": -2.935}],
    "groups": [{"id": "bilbao", "name": "Bilbao Truke"}],
}
_WORD: Final = re.compile(r"\w+")


class SuggestedPlace(BaseModel):
    """A place by its name, in degrees, for `near`."""

    name: str
    lat: float
    lon: float


class SuggestedGroup(BaseModel):
    """A group that takes part, for `group`."""

    id: str
    name: str


class SuggestionList(BaseModel):
    """At most ten of each kind, the most frequent first."""

    words: list[str]
    categories: list[str]
    places: list[SuggestedPlace]
    groups: list[SuggestedGroup]


@router.get(
    "/suggest",
    summary="What somebody who types may mean",
    responses={
        200: {
            "description": "Words, categories, places and groups.",
            "content": {"application/json": {"example": EXAMPLE}},
        }
    },
    openapi_extra={
        "parameters": [
            {
                "name": "q",
                "in": "query",
                "required": True,
                "description": "What was typed so far; its last word may be a beginning.",
                "schema": {"type": "string", "maxLength": 400},
                "example": "bi",
            }
        ]
    },
)
def suggest(request: Request, services: Shared, session: Reading) -> SuggestionList:
    """Complete what is typed from listings that are seen now and groups that take part.

    Places are first those of groups and listings, then towns by population. Accents and case do
    not matter. Words complete the last one that was typed.
    """
    text = _text_of(request)
    found = services.index.suggest(text, MOST)
    groups = taking_part(session)
    of_groups = [
        Place(group.place_name, group.lat, group.lon)
        for group in groups
        if group.place_name and group.lat is not None and group.lon is not None
    ]
    places = [place for place in of_groups if _begins(place.name, text)] + found.places
    places += [
        Place(place.label, place.lat, place.lon) for place in gazetteer().starting(text, MOST)
    ]
    return SuggestionList(
        words=found.words,
        categories=found.categories,
        places=[
            SuggestedPlace(name=one.name, lat=one.lat, lon=one.lon) for one in _different(places)
        ],
        groups=[
            SuggestedGroup(id=group.id, name=group.name)
            for group in groups
            if _begins(f"{group.name} {group.id}", text)
        ][:MOST],
    )


def _text_of(request: Request) -> str:
    asked = request.query_params.multi_items()
    for name, _ in asked:
        if name != "q":
            raise InvalidError(name[:50], "is not a parameter of suggestions")
    if len(asked) != 1:
        raise InvalidError("q", "must be given once")
    return Query(q=asked[0][1]).q


def _different(places: list[Place]) -> list[Place]:
    """Return the first ten, each once: what begins alike and is close by is the same place."""
    chosen: list[Place] = []
    for place in places:
        first = _folded(place.name)[:1]
        if not any(
            _folded(one.name)[:1] == first
            and distance_km(one.lat, one.lon, place.lat, place.lon) < SAME_PLACE_KM
            for one in chosen
        ):
            chosen.append(place)
        if len(chosen) == MOST:
            break
    return chosen


def _begins(name: str, text: str) -> bool:
    """Tell whether a name has all the words of a text, the last one as a beginning."""
    words, asked = _folded(name), _folded(text)
    if not asked:
        return False
    *before, beginning = asked
    return set(before) <= set(words) and any(word.startswith(beginning) for word in words)


def _folded(text: str) -> list[str]:
    letters = unicodedata.normalize("NFKD", text)
    return _WORD.findall("".join(c for c in letters if not unicodedata.combining(c)).casefold())
