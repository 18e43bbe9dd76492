"""A map shows how many there are, and each of them where they are few."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from math import cos, radians
from pathlib import Path
from typing import Any

import h3  # type: ignore[import-untyped] # it has no annotations
import pytest
from market import NOW, VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine, select

from api.routes.map import MOST_CELLS, resolution_of
from commons.database import reading
from commons.settings import Settings
from marketplace.drafts import ListingType
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up
from marketplace.listings import Listing
from marketplace.places import RESOLUTIONS, distance_km
from marketplace.query import Query

EUROPE = "-10,35,30,60"
AROUND_VIENNA = "14.5,47.88,18.2,48.56"


def spread(number: int) -> tuple[float, float]:
    """A place some way from Vienna, up to about 100 km."""
    lat = VIENNA[0] + (number % 11 - 5) * 0.1
    return lat, VIENNA[1] + (number % 7 - 3) * 0.3 / cos(radians(lat))


def fill(engine: Engine) -> None:
    add_groups(engine)
    drafts = [
        draft(
            f"n{n}",
            "Bread" if n % 2 else "Jam",
            type=ListingType.WANT if n % 5 == 0 else ListingType.OFFER,
            author_uri="https://hub.example/members/all",
            lat=spread(n)[0],
            lon=spread(n)[1],
        )
        for n in range(180)
    ]
    lisbon = draft("lisbon", "Bread", lat=38.72, lon=-9.14)
    fiji = [draft(f"fiji{n}", "Bread", lat=-17.0, lon=lon) for n, lon in enumerate((179.9, -179.9))]
    gone = draft("gone", "Bread", expires_at=NOW - timedelta(hours=1), lat=48.2, lon=16.4)
    publish(engine, *drafts, lisbon, *fiji, gone, draft("nowhere", "Bread"))


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    fill(sqlite_engine)
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def view(service: Served, **question: str) -> dict[str, Any]:
    answer = service.get("/listings/map", **question)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_many_are_counted_by_cell(service: Served) -> None:
    found = view(service, bbox=EUROPE, zoom="6")
    assert found["resolution"] == 3
    assert found["listings"] == []
    assert found["total"] == sum(cell["count"] for cell in found["cells"]) == 181
    for cell in found["cells"]:
        assert h3.get_resolution(cell["cell"]) == 3
        assert (cell["lat"], cell["lon"]) == pytest.approx(h3.cell_to_latlng(cell["cell"]))
    counts = [cell["count"] for cell in found["cells"]]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_counts_are_those_of_the_listings(
    sqlite_engine: Engine, tmp_path: Path, resolution: int
) -> None:
    fill(sqlite_engine)
    index = EmbeddedIndex(tmp_path / "index")
    catch_up(sqlite_engine, index)
    with reading(sqlite_engine) as session:
        places = [
            (row.lat, row.lon)
            for row in session.execute(
                select(Listing.lat, Listing.lon).where(
                    Listing.lat.is_not(None), Listing.expires_at.is_(None)
                )
            )
        ]
    expected = Counter(h3.latlng_to_cell(lat, lon, resolution) for lat, lon in places)
    assert index.cells(Query(), resolution) == expected
    near = Query(near=VIENNA, radius_km=40)
    within = [place for place in places if distance_km(*VIENNA, *place) <= 40]
    assert 0 < len(within) < len(places)
    expected = Counter(h3.latlng_to_cell(lat, lon, resolution) for lat, lon in within)
    assert index.cells(near, resolution) == expected
    index.close()


def test_few_are_shown_singly_all_of_one_author_too(service: Served) -> None:
    found = view(service, bbox=EUROPE, zoom="4", q="bread")
    assert (found["resolution"], found["cells"]) == (None, [])
    assert found["total"] == len(found["listings"]) == 91
    assert len({hit["id"] for hit in found["listings"]}) == 91


def test_a_map_takes_the_filters_of_a_search(service: Served) -> None:
    for filters in ({"type": "want"}, {"near": "48.2,16.4", "radius_km": "15"}, {"q": "-jam"}):
        searched = service.get("/listings", bbox=EUROPE, **filters).json()["total"]
        found = view(service, bbox=EUROPE, zoom="5", **filters)
        assert 0 < found["total"] < 181
        assert found["total"] == searched
    assert view(service, bbox=EUROPE, zoom="5", group="river")["total"] == 0


def test_only_what_lies_in_the_box_is_counted(service: Served) -> None:
    inside = view(service, bbox=AROUND_VIENNA, zoom="9")
    assert 100 < inside["total"] < 180
    assert sum(cell["count"] for cell in inside["cells"]) == inside["total"]


def test_a_box_may_lie_over_the_antimeridian(service: Served) -> None:
    found = view(service, bbox="179,-18,-179,-16", zoom="6")
    assert {round(hit["lon"]) for hit in found["listings"]} == {180, -180}


def test_far_out_the_cells_are_the_largest(service: Served) -> None:
    found = view(service, bbox="-180,-90,180,90", zoom="0")
    assert found["resolution"] == 0
    assert sum(cell["count"] for cell in found["cells"]) == found["total"] == 183


def test_the_resolution_follows_the_zoom_and_the_box() -> None:
    small = (16.3, 48.1, 16.5, 48.3)
    resolutions = [resolution_of(zoom, small) for zoom in range(25)]
    assert resolutions == sorted(resolutions)
    assert (resolutions[0], resolutions[-1]) == (0, 7)
    assert h3.get_num_cells(1) <= MOST_CELLS < h3.get_num_cells(2)
    assert resolution_of(24, (-180.0, -90.0, 180.0, 90.0)) == 1
    assert resolution_of(24, (170.0, -60.0, -170.0, 60.0)) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("zoom=5", "bbox"),
        (f"bbox={EUROPE}", "zoom"),
        (f"bbox={EUROPE}&zoom=25", "zoom"),
        (f"bbox={EUROPE}&zoom=-1", "zoom"),
        (f"bbox={EUROPE}&zoom=5.5", "zoom"),
        (f"bbox={EUROPE}&zoom=5&zoom=6", "zoom"),
        ("bbox=1,2,3&zoom=5", "bbox"),
        ("bbox=0,91,1,92&zoom=5", "bbox"),
        ("bbox=0,NaN,1,2&zoom=5", "bbox"),
        (f"bbox={EUROPE}&zoom=5&limit=5", "limit"),
        (f"bbox={EUROPE}&zoom=5&sort=newest", "sort"),
        (f"bbox={EUROPE}&zoom=5&colour=red", "colour"),
    ],
)
def test_a_bad_question_names_its_parameter(service: Served, query: str, field: str) -> None:
    answer = service.client.get(f"/listings/map?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field
