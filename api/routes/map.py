"""Any search on a map: cells with counts, or the listings themselves where they are few."""

from collections import Counter
from dataclasses import dataclass, replace
from math import radians, sin
from typing import Any, Final

import h3  # type: ignore[import-untyped] # it has no annotations
import orjson
from fastapi import APIRouter, Request, Response

from api.caching import Cacheable, etag_of, holds, not_modified
from api.routes.listings import HIT_EXAMPLE, PARAMETERS
from api.searching import in_turn, resolved, search
from api.services import Services, Shared
from commons.errors import InvalidError
from marketplace.index import Index
from marketplace.places import EARTH_RADIUS_KM, RESOLUTIONS
from marketplace.query import MOST_HITS, Hit, Query, Sort, read_query

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

MOST_CELLS: Final = 3_000
FARTHEST_ZOOM: Final = 24
_NO_FILTERS: Final = {"sort", "limit", "cursor", "explain"}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class MapCell:
    """An H3 cell with its centre in degrees and how many listings lie in it."""

    cell: str
    lat: float
    lon: float
    count: int


@dataclass(frozen=True)
class MapView:
    """What to draw: `cells` of `resolution`, or, where that is null, all the `listings`.

    `total` is a lower bound where it is not exact.
    """

    resolution: int | None
    cells: list[MapCell]
    listings: list[Hit]
    total: int
    total_is_exact: bool
    loosened: bool


EXAMPLE: Final[dict[str, Any]] = {
    "resolution": None,
    "cells": [],
    "listings": [{**HIT_EXAMPLE, "why": None}],
    "total": 1,
    "total_is_exact": True,
    "loosened": False,
}
ZOOM: Final = {
    "name": "zoom",
    "in": "query",
    "required": True,
    "description": "The map's zoom: how large the cells are.",
    "schema": {"type": "integer", "minimum": 0, "maximum": FARTHEST_ZOOM},
    "example": 9,
}


@router.get(
    "/listings/map",
    summary="Any search on a map",
    response_class=Response,
    responses={
        200: {
            "model": MapView,
            "description": "Cells with counts, or listings where they are few.",
            "content": {"application/json": {"example": EXAMPLE}},
        }
    },
    openapi_extra={
        "parameters": [
            ZOOM,
            *(
                {**one, "required": one["name"] == "bbox"}
                for one in PARAMETERS
                if one["name"] not in _NO_FILTERS
            ),
        ]
    },
)
async def show_map(request: Request, services: Shared) -> Response:
    """Show what a search finds in a box: up to 100 listings singly, more as counts by H3 cell.

    Takes the filters of a search. Cells are as large as the zoom asks, and larger where a box
    would hold more than 3,000 of them. Counts are of the listings within the box.
    """

    def answer() -> Response:
        query, box, zoom = _read(request)
        etag = etag_of(request, services.index.revision())
        if holds(request, etag):
            return not_modified(etag)
        body = orjson.dumps(_view(services, query, box, zoom), option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json", headers={"ETag": etag})

    return await in_turn(services, answer)


def _read(request: Request) -> tuple[Query, Box, int]:
    asked = request.query_params.multi_items()
    zooms = [value for name, value in asked if name == "zoom"]
    for name, _ in asked:
        if name in _NO_FILTERS:
            raise InvalidError(name, "is not a parameter of a map")
    query = read_query((name, value) for name, value in asked if name != "zoom")
    if query.bbox is None:
        raise InvalidError("bbox", "must be given")
    zoom = zooms[0] if len(zooms) == 1 else ""
    if zoom not in map(str, range(FARTHEST_ZOOM + 1)):
        raise InvalidError("zoom", f"must be one whole number from 0 to {FARTHEST_ZOOM}")
    # By time, since a page by relevance does not hold all of an author's.
    return replace(query, sort=Sort.NEWEST, limit=MOST_HITS), query.bbox, int(zoom)


def _view(services: Services, query: Query, box: Box, zoom: int) -> MapView:
    query = resolved(services, query)
    page = search(services, query)
    if page.total_is_exact and page.total <= MOST_HITS:
        return MapView(None, [], page.hits, page.total, page.total_is_exact, page.loosened)
    resolution = resolution_of(zoom, box)
    cells = []
    for cell, count in _counts(services.index, query, resolution).most_common():
        lat, lon = h3.cell_to_latlng(cell)
        cells.append(MapCell(cell, round(lat, 6), round(lon, 6), count))
    return MapView(resolution, cells, [], page.total, page.total_is_exact, page.loosened)


def _counts(index: Index, query: Query, resolution: int) -> Counter[str]:
    """Return counts by cell, of those larger than listings carry by their parents."""
    counts: Counter[str] = Counter()
    for cell, count in index.cells(query, max(resolution, RESOLUTIONS[0])).items():
        counts[h3.cell_to_parent(cell, resolution)] += count
    return counts


def resolution_of(zoom: int, box: Box) -> int:
    """Return the H3 resolution whose cells are about 30 pixels wide, and no finer than fits."""
    west, south, east, north = box
    width = radians(east - west if west <= east else east - west + 360)
    area_km2 = EARTH_RADIUS_KM**2 * width * (sin(radians(north)) - sin(radians(south)))
    resolution = min(max(round(0.7 * zoom - 1), 0), RESOLUTIONS[-1])
    while resolution and area_km2 > MOST_CELLS * h3.average_hexagon_area(resolution, unit="km^2"):
        resolution -= 1
    return resolution
