"""What every index must find by place, asked of each of them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random

import h3  # type: ignore[import-untyped] # it has no annotations
import pytest
from market import (
    IMPLEMENTATIONS,
    NOW,
    VIENNA,
    add_groups,
    draft,
    everything,
    found,
    names,
    publish,
)
from sqlalchemy import Engine, select

from commons.database import reading
from marketplace.drafts import ListingType
from marketplace.index import Change, Entry, Index, catch_up
from marketplace.listings import Listing
from marketplace.payment_terms import PaymentTerms
from marketplace.places import distance_km
from marketplace.query import WINDOW, Query, Sort


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def index(request: pytest.FixtureRequest) -> Iterator[Index]:
    made = IMPLEMENTATIONS[request.param](request)
    yield made
    made.close()


@pytest.fixture
def database(sqlite_engine: Engine) -> Engine:
    add_groups(sqlite_engine)
    return sqlite_engine


@pytest.mark.parametrize("sort", [Sort.RELEVANCE, Sort.DISTANCE, Sort.NEWEST])
def test_places_are_found_as_by_brute_force(index: Index, database: Engine, sort: Sort) -> None:
    random = Random(7)  # noqa: S311 (examples, not secrets)
    publish(
        database,
        *(
            draft(
                f"p{number}",
                "Bread" if number % 2 else "Honey",
                lat=VIENNA[0] + random.gauss(0, 0.6),
                lon=VIENNA[1] + random.gauss(0, 0.9),
            )
            for number in range(300)
        ),
        draft("nowhere", "Bread"),
    )
    catch_up(database, index)
    with reading(database) as session:
        rows = [
            (row.uri.rsplit("/", 1)[-1], row.title, distance_km(*VIENNA, row.lat, row.lon))
            for row in session.scalars(select(Listing))
            if row.lat is not None and row.lon is not None
        ]
    for radius_km in (0.5, 7.0, 33.0, 90.0, 400.0):
        for q in ("", "bread"):
            page = everything(index, Query(q=q, near=VIENNA, radius_km=radius_km, sort=sort))
            expected = {name: km for name, title, km in rows if km <= radius_km}
            if q:
                expected = {n: km for n, title, km in rows if km <= radius_km and title == "Bread"}
            assert page == {
                name: round(km, 1) if km < 10 else round(km) for name, km in expected.items()
            }
            if sort is Sort.DISTANCE:
                assert list(page.values()) == sorted(page.values())


def test_a_box_is_found_over_the_antimeridian_too(index: Index, database: Engine) -> None:
    publish(
        database,
        draft("suva", "Fish", lat=-18.14, lon=178.44),
        draft("apia", "Fish", lat=-13.83, lon=-171.77),
        draft("vienna", "Fish", lat=VIENNA[0], lon=VIENNA[1]),
    )
    catch_up(database, index)
    assert found(index, bbox=(170.0, -20.0, -170.0, -10.0)) == {"suva", "apia"}
    assert found(index, bbox=(10.0, 40.0, 20.0, 50.0)) == {"vienna"}


@pytest.mark.parametrize("place", [(89.9, 10.0), (-16.5, 179.999)])
def test_a_circle_holds_over_poles_and_antimeridian(
    index: Index, database: Engine, place: tuple[float, float]
) -> None:
    lat, lon = place
    publish(
        database,
        draft("here", "Fish", lat=lat, lon=lon),
        draft("across", "Fish", lat=lat, lon=-lon),
        draft("vienna", "Fish", lat=VIENNA[0], lon=VIENNA[1]),
    )
    catch_up(database, index)
    assert found(index, near=place, radius_km=60.0) == {"here", "across"}


def test_all_doors_of_a_cell_give_the_same_answers(index: Index, database: Engine) -> None:
    cell = h3.latlng_to_cell(*VIENNA, 7)
    middle = h3.cell_to_latlng(cell)
    doors = [
        (middle[0] + (lat - middle[0]) * 0.9, middle[1] + (lon - middle[1]) * 0.9)
        for lat, lon in h3.cell_to_boundary(cell)
    ]
    random = Random(1)  # noqa: S311 (examples, not secrets)
    questions = [
        Query(
            near=(middle[0] + random.gauss(0, 0.02), middle[1] + random.gauss(0, 0.02)),
            radius_km=random.uniform(0.1, 5),
            sort=random.choice(list(Sort)),
        )
        for _ in range(40)
    ]
    answers = set()
    for number, (lat, lon) in enumerate(doors):
        moved = NOW - timedelta(hours=20 - number)
        publish(database, draft("door", "Bread", lat=lat, lon=lon, updated=moved))
        catch_up(database, index)
        pages = [index.search(question).hits for question in questions]
        answers.add(tuple((h.distance_km, h.lat, h.lon) for hits in pages for h in hits))
    assert len(doors) >= 5
    [answer] = answers
    assert len(answer) > 3


def test_of_more_than_can_be_looked_at_the_nearest_are_found(index: Index) -> None:
    random = Random(5)  # noqa: S311 (examples, not secrets)
    places = {  # to the millionth of a degree, as listings keep them
        f"m{number}": (
            round(VIENNA[0] + random.gauss(0, 0.15), 6),
            round(VIENNA[1] + random.gauss(0, 0.2), 6),
        )
        for number in range(WINDOW + 500)
    }
    index.apply(
        [
            Change(name, number, entry(name, *place, wanted=number % 7 == 0))
            for number, (name, place) in enumerate(places.items(), start=1)
        ],
        since=0,
        revision=len(places),
    )
    nearest = sorted(places, key=lambda name: distance_km(*VIENNA, *places[name]))
    query = Query(near=VIENNA, radius_km=500.0, sort=Sort.DISTANCE, limit=100)
    page = index.search(query)
    assert names(page) == nearest[:100]
    assert not page.total_is_exact
    assert 100 <= page.total <= len(places)
    assert page.cursor
    assert names(index.search(replace(query, cursor=page.cursor))) == nearest[100:200]
    assert index.search(Query(q="bread")).total == len(places)
    wanted = everything(index, Query(q="bread", type=ListingType.WANT, limit=100))
    assert len(wanted) == (len(places) + 6) // 7


def entry(name: str, lat: float, lon: float, *, wanted: bool) -> Entry:
    return Entry(
        id=name,
        type=ListingType.WANT if wanted else ListingType.OFFER,
        title="Bread",
        text="",
        language=None,
        categories=[],
        category_terms=[],
        image=None,
        url=f"https://hub.example/{name}",
        author=f"https://hub.example/members/{name}",
        group=None,
        place_name=None,
        lat=lat,
        lon=lon,
        remote=False,
        payments=[],
        terms=PaymentTerms((), ()),
        published=NOW,
        confirmed=NOW,
        expires_at=None,
    )
