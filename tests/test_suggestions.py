"""Who types is shown what there is, and nothing that is gone."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from market import NOW, VIENNA, add_groups, draft, publish, unpublish
from served import Served, served
from sqlalchemy import Engine, select

from commons.database import transaction
from commons.groups import Group, Hub, HubState
from commons.settings import Settings


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    add_groups(sqlite_engine)
    with transaction(sqlite_engine) as session:
        river = session.scalars(select(Group).where(Group.id == "river")).one()
        river.name, river.place_name = "Réseau du fleuve", "Wien"
        river.lat, river.lon = VIENNA
        session.add(
            Hub(
                group_id="river",
                state=HubState.ADMITTED,
                inbox_uri="https://river.example/inbox",
                rate_wanted="1",
                registered_at=NOW,
            )
        )
    publish(
        sqlite_engine,
        draft("a", "Réparation de vélos", categories=("Vélo et transport",)),
        draft("b", "Vélo à prêter", "très verni", categories=("Vélo et transport", "gardening")),
        draft("c", "Piano", place_name="Vélizy", lat=VIENNA[0], lon=VIENNA[1]),
        draft("d", "Guitar", place_name="Veldhoven"),
        draft("e", "Vellum paper", expires_at=NOW + timedelta(hours=1), categories=("velvet",)),
        group_id="river",
    )
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def suggested(service: Served, q: str) -> dict[str, Any]:
    answer = service.get("/suggest", q=q)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("typed", ["vel", "VÉL", "  vél", "v\u0065\u0301l"])
def test_accents_and_case_are_folded_and_shown(service: Served, typed: str) -> None:
    found = suggested(service, typed)
    assert set(found["words"]) == {"vélo", "vélos", "vellum", "velvet"}
    assert found["categories"] == ["Vélo et transport", "velvet"]


def test_words_of_titles_come_before_those_of_bodies(service: Served) -> None:
    assert suggested(service, "ve")["words"][-1] == "verni"


def test_earlier_words_narrow_the_last(service: Served) -> None:
    assert suggested(service, "réparation v")["words"] == ["vélos", "vélo"]
    assert suggested(service, "piano v")["words"] == []
    assert suggested(service, "transport vel")["categories"] == ["Vélo et transport"]


def test_places_are_those_of_groups_and_listings_that_have_a_position(service: Served) -> None:
    place, *towns = suggested(service, "vel")["places"]
    assert place["name"] == "Vélizy"
    assert "Veldhoven" not in [town["name"] for town in towns]
    assert (place["lat"], place["lon"]) == pytest.approx(VIENNA, abs=0.03)
    assert (place["lat"], place["lon"]) != VIENNA
    assert suggested(service, "wie")["places"][0] == {
        "name": "Wien",
        "lat": VIENNA[0],
        "lon": VIENNA[1],
    }


def test_a_place_of_both_is_suggested_once(service: Served, sqlite_engine: Engine) -> None:
    publish(sqlite_engine, draft("f", "Harp", place_name="WIEN", lat=48.25, lon=16.3))
    service.work()
    places = suggested(service, "wie")["places"]
    names = [place["name"] for place in places if place["name"].lower().startswith("wien")]
    assert names[0] == "Wien"
    assert "WIEN" not in names
    assert "Wien (AT)" not in names
    assert len(places) == 10


def test_towns_of_the_world_follow_the_places_of_groups(service: Served) -> None:
    found = suggested(service, "barcel")["places"]
    assert (found[0]["name"], round(found[0]["lat"])) == ("Barcelona (ES)", 41)
    assert service.get("/listings", near=found[0]["name"]).status_code == 200


def test_groups_are_found_by_name_and_id_when_admitted(service: Served) -> None:
    river = {"id": "river", "name": "Réseau du fleuve"}
    for typed in ("rese", "flEU", "riv", "reseau fl"):
        assert suggested(service, typed)["groups"] == [river]
    assert suggested(service, "hours")["groups"] == []


def test_what_is_withdrawn_or_expired_is_not_suggested(
    service: Served, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpublish(sqlite_engine, "b", "c")
    service.work()
    later = time.time() + 7200
    monkeypatch.setattr("marketplace.embedded.time.time", lambda: later)
    found = suggested(service, "ve")
    assert found["words"] == ["vélos", "vélo"]
    assert found["categories"] == ["Vélo et transport"]
    assert "Vélizy" not in [place["name"] for place in found["places"]]
    gardening = suggested(service, "gardeni")
    assert gardening["words"] == gardening["categories"] == []


def test_at_most_ten_of_each_the_most_frequent_first(
    service: Served, sqlite_engine: Engine
) -> None:
    publish(
        sqlite_engine,
        *(draft(f"z{n}", f"Zither{n:02d}", categories=(f"zoo{n:02d}",)) for n in range(30)),
        *(draft(f"y{n}", "Zither29 again", categories=("zoo29",)) for n in range(3)),
    )
    service.work()
    found = suggested(service, "z")
    assert len(found["words"]) == len(found["categories"]) == 10
    assert (found["words"][0], found["categories"][0]) == ("zither29", "zoo29")


@pytest.mark.parametrize("typed", ["", " ", "-", '"', "🙂", "*", "a" * 400, "<script>", "' OR 1"])
def test_what_means_nothing_suggests_nothing(service: Served, typed: str) -> None:
    assert not any(suggested(service, typed).values())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"),
        ("q=a&q=b", "q"),
        ("q=a&limit=5", "limit"),
        ("q=%00", "q"),
        ("q=" + "a" * 401, "q"),
    ],
)
def test_a_bad_question_names_its_parameter(service: Served, query: str, field: str) -> None:
    answer = service.client.get(f"/suggest?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


def test_an_empty_index_suggests_nothing(settings: Settings, sqlite_engine: Engine) -> None:
    with served(settings, sqlite_engine) as service:
        found = suggested(service, "a")
        assert found["words"] == found["categories"] == found["groups"] == []
