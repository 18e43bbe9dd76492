"""What every index must find by place, asked of each of them."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import h3  # type: ignore[import-untyped] # it has no annotations
import pytest
from market import (
    NOW,
    VIENNA,
    draft,
    entry,
    everything,
    found,
    names,
    publish,
)
from sqlalchemy import Engine, select

from commons.database import reading
from marketplace.drafts import ListingType
from marketplace.index import Change, Index, catch_up
from marketplace.listings import Listing
from marketplace.places import distance_km
from marketplace.query import WINDOW, Query, Sort


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
            Change(
                name,
                number,
                entry(
                    name,
                    title="Bread",
                    type=ListingType.OFFER if number % 7 else ListingType.WANT,
                    lat=lat,
                    lon=lon,
                ),
            )
            for number, (name, (lat, lon)) in enumerate(places.items(), start=1)
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


def test_what_lies_all_at_one_far_place_is_found_however_much_it_is(index: Index) -> None:
    far = (round(VIENNA[0] + 0.36, 6), VIENNA[1])
    index.apply(
        [
            Change(f"m{n}", n, replace(entry(f"m{n}"), lat=far[0], lon=far[1]))
            for n in range(1, WINDOW + 502)
        ],
        since=0,
        revision=WINDOW + 501,
    )
    for sort in (Sort.DISTANCE, Sort.RELEVANCE, Sort.NEWEST):
        query = Query(near=VIENNA, sort=sort, limit=100)
        page = index.search(query)
        assert len(page.hits) >= 3  # of one author a page by relevance has no more
        assert page.total >= WINDOW
        assert page.cursor
        assert not page.total_is_exact


def test_the_newest_near_a_place_are_the_newest_of_the_whole_circle(index: Index) -> None:
    near, far = (0.01, 0.3)  # degrees from the middle
    changes = [
        Change(
            f"m{n}",
            n,
            replace(
                entry(f"m{n}"),
                lat=round(VIENNA[0] + (far if n <= 50 else near), 6),
                lon=VIENNA[1],
                published=NOW - timedelta(days=0 if n <= 50 else 10),
            ),
        )
        for n in range(1, WINDOW + 502)
    ]
    index.apply(changes, since=0, revision=len(changes))
    hits = index.search(Query(near=VIENNA, sort=Sort.NEWEST, limit=50)).hits
    assert {hit.id for hit in hits} == {f"m{n}" for n in range(1, 51)}
    assert {hit.distance_km for hit in hits} == {33.0}


@pytest.mark.parametrize("sort", [Sort.RELEVANCE, Sort.NEWEST])
def test_pages_of_equal_listings_repeat_and_skip_none(index: Index, sort: Sort) -> None:
    count = 2_500
    index.apply(
        [Change(f"m{n}", n, entry(f"m{n}")) for n in range(1, count + 1)],
        since=0,
        revision=count,
    )
    read = everything(index, Query(sort=sort, limit=100))
    assert len(read) == len(set(read)) == count
