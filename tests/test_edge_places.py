"""Boxes and circles over the antimeridian and the poles hold what lies in them."""

from collections.abc import Iterator

import pytest
from edges import EVERYTHING, WORLD, asked, edge_service
from served import Served


@pytest.fixture(scope="module", params=["embedded", "postgresql"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with edge_service(request, tmp_path_factory.mktemp("edges")) as service:
        yield service


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ("179,-20,-179,-10", {"west", "east"}),
        ("179.95,-20,-179.5,-10", {"east"}),
        ("180,-20,-179.5,-10", {"east"}),
        ("179.5,-20,180,-10", {"west"}),
        ("179.5,-20,-180,-10", {"west"}),
        ("-179,-20,179,-10", set()),
        ("-180,80,180,90", {"north"}),
        ("-180,-90,180,-80", {"south"}),
        ("170,-90,-170,90", {"west", "east"}),
        ("50,-90,-10,90", {"west", "east", "south"}),
        ("0,90,10,90", set()),
        (WORLD, EVERYTHING),
        ("-180,-90,-180,90", set()),
        ("180,-90,-180,90", set()),
        ("0,0,0,0", set()),
        ("-0.0,-0.0,-0.0,-0.0", set()),
    ],
)
def test_a_box_over_the_antimeridian_or_a_pole_holds_what_lies_in_it(
    service: Served, bbox: str, expected: set[str]
) -> None:
    assert asked(service, bbox=bbox) == expected
    drawn = service.client.get("/listings/map", params={"bbox": bbox, "zoom": "3"}).json()
    assert {hit["url"].rsplit("/", 1)[-1] for hit in drawn["listings"]} == expected
    for zoom in range(0, 25, 6):
        answer = service.client.get("/listings/map", params={"bbox": bbox, "zoom": str(zoom)})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("near", "expected"),
    [
        ("-17,180", {"west", "east"}),
        ("-17,-180", {"west", "east"}),
        ("-17,179.99", {"west", "east"}),
        ("90,0", {"north"}),
        ("90,180", {"north"}),
        ("90,-180", {"north"}),
        ("89.9,-170", {"north"}),
        ("-90,0", {"south"}),
        ("-90,45", {"south"}),
        ("0,0", set()),
        ("-0.0,-0.0", set()),
    ],
)
def test_a_circle_over_the_antimeridian_or_a_pole_holds_what_lies_in_it(
    service: Served, near: str, expected: set[str]
) -> None:
    for radius_km in ("50", "1000"):
        assert asked(service, near=near, radius_km=radius_km) == expected
        assert asked(service, near=near, radius_km=radius_km, sort="distance") == expected
    assert asked(service, near=near, radius_km="0.1") == set()
