"""Searching over HTTP, and what each listing tells of itself."""

from collections.abc import Iterator

import pytest
from market import HOURS, NOW, VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine

from commons.database import transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from marketplace.drafts import ListingType
from marketplace.payment import Payment, PaymentMeans


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    add_groups(engine)
    with transaction(engine) as session:
        session.add(
            Hub(
                group_id="river",
                state=HubState.ADMITTED,
                inbox_uri="https://river.example/inbox",
                rate_wanted="1/10",
                registered_at=NOW,
                admitted_at=NOW,
            )
        )
    publish(
        engine,
        draft(
            "bikes",
            "Bicycle repair",
            "<p>I mend your bicycle</p>",
            lat=VIENNA[0],
            lon=VIENNA[1],
            payments=(Payment(PaymentMeans.LOCAL, "https://river.example/currency", "12.50"),),
            same_as=("https://relay.example/bikes",),
        ),
        draft("hours", "Piano lessons", payments=(Payment(PaymentMeans.TIME, HOURS, "1"),)),
        draft("wanted", "A ladder", type=ListingType.WANT),
        group_id="river",
    )
    with served(settings, engine) as service:
        service.work()
        yield service


def titles(service: Served, **question: str | list[str]) -> set[str]:
    answer = service.get("/listings", **question)
    assert answer.status_code == 200, answer.text
    return {hit["title"] for hit in answer.json()["hits"]}


def test_an_answer_has_hits_total_facets_and_time(service: Served) -> None:
    answer = service.get("/listings", q="bicycle").json()
    assert answer["total"] == 1
    assert answer["total_is_exact"] is True
    assert answer["facets"]["type"] == {"offer": 1}
    assert answer["cursor"] is None
    assert answer["took_ms"] > 0
    assert "<mark>" in answer["hits"][0]["excerpt"]


def test_words_place_and_payment_narrow_a_search(service: Served) -> None:
    assert titles(service) == {"Bicycle repair", "Piano lessons", "A ladder"}
    assert titles(service, near="48.2,16.4", radius_km="20") == {"Bicycle repair"}
    assert titles(service, pay="time") == {"Piano lessons"}
    assert titles(service, pay=["time", "RIV"]) == {"Bicycle repair", "Piano lessons"}
    assert titles(service, type="want") == {"A ladder"}
    assert titles(service, group="river", q="piano") == {"Piano lessons"}


def test_pages_follow_the_cursor_without_repeating(service: Served) -> None:
    seen, cursor = [], ""
    for _ in range(3):
        question = {"limit": "1", "sort": "newest", **({"cursor": cursor} if cursor else {})}
        page = service.get("/listings", **question).json()
        seen += [hit["id"] for hit in page["hits"]]
        cursor = page["cursor"]
    assert len(set(seen)) == 3
    assert cursor is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("near=48.2", "near"),
        ("near=95,0", "near"),
        ("near=1,2&near=3,4", "near"),
        ("q=a&q=b", "q"),
        ("radius_km=NaN&near=1,2", "radius_km"),
        ("limit=1000", "limit"),
        ("limit=%F0%9F%99%82", "limit"),
        ("cursor=abc", "cursor"),
        ("type=gift", "type"),
        ("pay=national:XXX", "pay"),
        ("q=%00", "q"),
    ],
)
def test_a_bad_question_names_its_parameter(service: Served, query: str, field: str) -> None:
    answer = service.client.get(f"/listings?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["rule"]


def test_a_listing_tells_its_sources_and_why_it_is_here(service: Served) -> None:
    found = service.get("/listings", q="bicycle").json()["hits"][0]["id"]
    listing = service.get(f"/listings/{found}").json()
    assert listing["sources"] == ["https://hub.example/bikes", "https://relay.example/bikes"]
    assert listing["why"]["basis"] == "hub"
    assert listing["why"]["asked_by"] == "https://hub.example"
    assert listing["why"]["since"]
    assert listing["why"]["take_away"]
    assert listing["body"] == "<p>I mend your bicycle</p>"


def test_a_listing_never_tells_its_exact_place(service: Served) -> None:
    found = service.get("/listings", q="bicycle").json()["hits"][0]
    listing = service.get(f"/listings/{found['id']}").json()
    for shown in (found, listing):
        assert (shown["lat"], shown["lon"]) != VIENNA
        assert shown["lat"] == pytest.approx(VIENNA[0], abs=0.03)


def test_an_unknown_listing_is_not_found(service: Served) -> None:
    assert service.get("/listings/nothing").status_code == 404


def test_groups_tell_how_many_listings_they_have(service: Served) -> None:
    groups = service.get("/groups").json()["groups"]
    assert [(group["id"], group["listings"]) for group in groups] == [("river", 3)]
    assert service.get("/groups/river").json() == groups[0]
    assert service.get("/groups/hours").status_code == 404


def test_health_tells_how_far_the_index_is(service: Served, engine: Engine) -> None:
    publish(engine, draft("late", "A late listing"))
    assert service.get("/health").json()["index_behind"] == 1
    service.work()
    health = service.get("/health").json()
    assert (health["status"], health["index_behind"]) == ("ok", 0)
    assert health["database"] == engine.dialect.name
