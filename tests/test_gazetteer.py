"""Places are found by their names in many languages, and a name of several says which it took."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from endless import must_end
from hypothesis import given
from hypothesis import strategies as st
from market import VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine

from commons.errors import InvalidError
from commons.settings import Settings
from marketplace.gazetteer import TABLE, Gazetteer, Place, choose, fold, gazetteer
from marketplace.gazetteer_build import kept_names
from marketplace.places import distance_km
from marketplace.query import Query, read_query

LEEDS = (53.80, -1.55)
HALLE_ON_THE_SAALE = (51.48, 11.97)


def first(text: str) -> Place:
    found = gazetteer().find(text)
    assert found, text
    return found[0]


def km_between(place: Place, lat: float, lon: float) -> float:
    return distance_km(place.lat, place.lon, lat, lon)


@pytest.mark.parametrize(
    "name",
    ["Wien", "Vienna", "Bécs", "becs", "Viena", "VIENNE", "Vídeň", "Wiedeń", "Viyana", "Вена",
     "Βιέννη", "فيينا", "וינה", "ウィーン", "Wien, Österreich", "Vienna AT", "Bécs (Ausztria)"],
)  # fmt: skip
def test_a_city_is_found_by_its_names_in_other_languages(name: str) -> None:
    place = first(name)
    assert place.country == "AT"
    assert km_between(place, *VIENNA) < 5


def test_the_name_that_was_typed_is_the_one_shown() -> None:
    assert first("wien").label == "Wien (AT)"
    assert first("bécs").label == "Bécs (AT)"
    assert first("roma").label == "Roma (IT)"
    assert first("RÓMA").label == "Róma (IT)"


@pytest.mark.parametrize(
    ("text", "country", "region"),
    [
        ("Springfield, Illinois", "US", "Illinois"),
        ("springfield il", "US", "Illinois"),
        ("Springfield (Oregon, US)", "US", "Oregon"),
        ("Leeds, UK", "GB", "England"),
        ("Leeds England", "GB", "England"),
        ("Leeds, Alabama, USA", "US", "Alabama"),
        ("Paris FR", "FR", None),
        ("Paris Texas", "US", "Texas"),
        ("London, Ontario", "CA", "Ontario"),
        ("Perth, WA", "AU", "Western Australia"),
        ("Barcelone, Espagne", "ES", None),
        ("Gràcia, Barcelona", "ES", None),
        ("Halle, Saale", "DE", None),
    ],
)
def test_a_region_or_a_country_narrows_a_name(text: str, country: str, region: str | None) -> None:
    place = first(text)
    assert (place.country, place.region) == (country, region)


def test_of_several_places_the_one_with_most_people_comes_first() -> None:
    found = gazetteer().find("Springfield", 20)
    assert len(found) > 10
    people = [place.population for place in found if place.name == "Springfield"]
    assert people[0] == max(people)
    assert len({(place.lat, place.lon) for place in found}) == len(found)


@pytest.mark.parametrize(
    ("name", "country"),
    [("York", "GB"), ("Roma", "IT"), ("Colonia", "DE"), ("Frankfurt", "DE"), ("Monaco", "MC")],
)
def test_an_own_name_weighs_more_than_a_by_name_but_not_without_end(
    name: str, country: str
) -> None:
    assert first(name).country == country


def test_a_name_that_is_the_beginning_of_the_own_name_counts_as_own() -> None:
    assert km_between(first("Halle"), *HALLE_ON_THE_SAALE) < 10
    assert first("San Sebastián").country == first("Donostia").country == "ES"
    assert first("Frankfurt").population > 500_000


def test_a_choice_tells_the_others() -> None:
    choice = choose("Springfield")
    assert choice is not None
    assert choice.others
    assert choice not in choice.others
    assert all(other.name == "Springfield" for other in choice.others)


def test_each_place_has_an_address_that_leads_back_to_it() -> None:
    for name in ("Springfield", "Halle", "Saint-Denis", "Wien", "Santiago"):
        for place in gazetteer().find(name, 20):
            near = read_query([("near", gazetteer().address(place))]).near
            assert near == (place.lat, place.lon)


@pytest.mark.parametrize(
    "text", ["", " ", "Mordor", "Leeds, France", "here", ",", "(", "\x00", "\ud800", "x" * 4000]
)
def test_what_is_no_place_is_not_guessed(text: str) -> None:
    assert gazetteer().find(text) == []
    with pytest.raises(InvalidError) as refused:
        read_query([("near", text)])
    assert refused.value.field == "near"


@given(st.text(alphabet=st.sampled_from("abelnsy ,;()'é\x00\ud800لو東ß"), max_size=130))
def test_any_text_is_answered_and_with_few_places(text: str) -> None:
    found = gazetteer()  # reads the table
    with must_end(0.3):
        assert len(found.find(text, 5)) <= 5
        assert len(found.starting(text, 5)) <= 5


def test_a_beginning_suggests_the_largest_places() -> None:
    suggested = [place.name for place in gazetteer().starting("barce", 3)]
    assert suggested[0] == "Barcelona"
    assert len(suggested) == 3
    assert gazetteer().starting("") == []


def test_names_fold_like_the_words_of_the_index() -> None:
    assert fold("Łódź") == fold("lodz") == "lodz"
    assert fold("İstanbul") == fold("istanbul") == "istanbul"
    assert fold("Saint-Denis") == fold("saint  denis")
    assert fold("L\u2019Hospitalet") == fold("l'hospitalet") == "lhospitalet"
    assert fold("Gießen") == "giessen"
    assert fold("Malmö") == fold("MALMO\u0308") == "malmo"


def test_the_names_of_the_table_are_in_the_order_of_the_search() -> None:
    with np.load(TABLE) as table:
        names = table["names"].tobytes().decode().rstrip("\n").split("\n")
        owners = table["owners"]
    folded = [fold(name) for name in names]
    assert len(names) == len(owners) > 300_000
    assert all(folded)
    assert all(one <= other for one, other in pairwise(folded)), "run: make gazetteer"


def test_the_table_is_whole_and_compact() -> None:
    assert TABLE.stat().st_size < 4_000_000
    with must_end(5):
        assert 65_000 < len(Gazetteer()) < 80_000


def test_the_build_keeps_what_people_type() -> None:
    listed = [
        "VIE",
        "Bec",
        "Bécs",
        "Wien",
        "wei ye na",
        "وین، اتریش",
        "Vienna",
        "x" * 41,
        "वियना",
        "",
    ]
    names = dict(kept_names("Vienna", listed))
    assert names == {"Vienna": True, "Bec": False, "Bécs": False, "Wien": False}
    assert dict(kept_names("Halle (Saale)", ["Halle"])) == {"Halle": True, "Halle (Saale)": True}
    assert dict(kept_names("Frankfurt am Main", ["Frankfurt", "Francfort"])) == {
        "Frankfurt am Main": True,
        "Frankfurt": True,
        "Francfort": False,
    }


def test_near_takes_names_and_degrees() -> None:
    assert read_query([("near", "48.2, 16.37")]) == Query(near=(48.2, 16.37))
    named = read_query([("near", "Wien")])
    assert named.near is not None
    assert named.place is not None
    assert named.near == (named.place.lat, named.place.lon)
    assert read_query([("near", "Nancy, France")]).place is not None


def test_a_cursor_of_a_name_goes_on_by_its_degrees() -> None:
    named = read_query([("near", "Wien")])
    assert Query(near=named.near, cursor=named.cursor_to(2)).page == 2


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    add_groups(sqlite_engine)
    lat, lon = VIENNA
    publish(
        sqlite_engine,
        draft("bikes", "Bicycle repair", lat=lat, lon=lon),
        draft("cakes", "Cakes", lat=LEEDS[0], lon=LEEDS[1]),
        group_id="river",
    )
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def found(service: Served, near: str) -> dict[str, Any]:
    answer = service.get("/listings", near=near, radius_km="30")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_a_search_near_a_name_tells_the_choice_and_the_others(service: Served) -> None:
    for name in ("Wien", "Vienna", "Bécs"):
        page = found(service, name)
        assert [hit["title"] for hit in page["hits"]] == ["Bicycle repair"]
        assert (page["place"]["name"], page["place"]["country"]) == (name, "AT")
    others = found(service, "Leeds")["place"]["others"]
    assert {(other["region"], other["country"]) for other in others} >= {("Alabama", "US")}
    assert found(service, "48.2,16.37")["place"] is None


def test_an_unknown_place_is_refused_by_its_parameter(service: Served) -> None:
    answer = service.get("/listings", near="Mordor")
    assert answer.status_code == 422
    assert answer.json()["field"] == "near"


def test_the_choice_is_no_parameter_of_its_own(service: Served) -> None:
    assert service.get("/listings", place="Wien").json()["field"] == "place"


def test_the_page_shows_the_choice_and_links_to_the_others(service: Served) -> None:
    text = service.get("/", near="Leeds").text
    assert "Near <b>Leeds (England, GB)</b>" in text
    assert 'href="/?near=Leeds+%28Alabama%2C+US%29"' in text
    assert "Cakes" in text
    assert "Near <b>Leeds (Alabama, US)</b>" in service.get("/", near="Leeds (Alabama, US)").text
    assert "GeoNames" in text
