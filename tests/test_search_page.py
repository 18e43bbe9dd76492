"""The search page: a place among the words, facets, the own group, what is wrong, ways on."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from market import NOW, VIENNA, draft, publish
from markupsafe import escape
from pages_world import HOSTILE, Outline, address, admitted, open_pages, page, questions, titles
from served import Served
from sqlalchemy import Engine, select

from api.search_form import MOST_OF_A_SELECT, read_form
from commons.database import transaction
from commons.groups import Group
from commons.settings import Settings
from marketplace.categories import name_of, term_of


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with open_pages(settings, sqlite_engine) as service:
        yield service


def publish_near_vienna(service: Served) -> None:
    lat, lon = VIENNA
    jars = (draft(f"honey{number}", f"Honey {number}", lat=lat, lon=lon) for number in range(25))
    publish(service.services.engine, *jars)
    service.work()


def test_a_place_may_stand_among_the_words(service: Served) -> None:
    text = page(service, "/", q="bicicle near wien", radius_km="")
    assert titles(text) == ["Bicycle repair"]
    assert "<b>bicicle</b>, near <b>Wien (AT)</b>, within 50 km" in text
    assert titles(page(service, "/", q="bicycle near leeds")) == []
    assert "within 8 km" in page(service, "/", q="bicycle within 8 km of wien")
    assert "within 5 km" in page(service, "/", q="bicycle within 8 km of wien", radius_km="5")


def test_in_a_box_no_place_is_read_and_no_distance_is_kept(service: Served) -> None:
    filled = [("q", "bread near leeds"), ("bbox", "16,48,17,49"), ("radius_km", "10")]
    asked = read_form(filled, [])
    assert asked.trouble is None
    assert asked.query is not None
    assert (asked.query.near, asked.query.radius_km) == (None, None)
    text = page(service, "/", q="bicycle", bbox="16,48,17,49", radius_km="10")
    assert titles(text) == ["Bicycle repair"]


def test_what_was_typed_can_be_searched_word_by_word(service: Served) -> None:
    text = page(service, "/", q="bicycle near wien", sort="distance")
    literal = address(text, "exactly these words")
    assert questions(literal) == {"q": ['bicycle "near wien"']}
    assert "near <b>" not in page(service, literal)


def test_the_others_of_a_name_keep_the_words(service: Served) -> None:
    text = page(service, "/", q="bicycle near leeds", pay="local")
    link = address(text, "Leeds (Alabama, US)")
    assert questions(link) == {"q": ["bicycle"], "near": ["Leeds (Alabama, US)"], "pay": ["local"]}
    assert "Near <b>Leeds (Alabama, US)</b>" in page(service, link)


def test_pages_of_a_place_among_the_words_follow_each_other(service: Served) -> None:
    publish_near_vienna(service)
    first = page(service, "/", q="honey near wien", sort="newest")
    second = page(service, address(first, "Next page"))
    assert (len(titles(first)), len(titles(second))) == (20, 5)
    assert "page 2" in second


def test_facets_narrow_and_widen_again(service: Served) -> None:
    text = page(service, "/", q="piano")
    assert "Narrow down" not in text  # one of a kind leaves nothing to choose
    text = page(service, "/")
    narrowed = page(service, address(text, "Hours"))
    assert set(titles(narrowed)) == {"Piano lessons", f"Tricks {escape(HOSTILE)}"}
    link = address(narrowed, "Hours")
    assert questions(link) == {}
    counts = re.findall(r'<span dir="auto">Hours</span> <small>([0-9,]+)</small>', text)
    assert counts == ["2"]


def test_a_category_is_narrowed_by_in_any_language(service: Served) -> None:
    publish(
        service.services.engine,
        draft("beds", "Beds dug", categories=("gardening",)),
        draft("beete", "Beete umgraben", categories=("Gartenarbeit",)),
        draft("knots", "Beds of knots", categories=("macramé",)),
    )
    service.work()
    text = page(service, "/", q="be")
    narrowed = page(service, address(text, name_of(term_of("gardening"))))
    assert set(titles(narrowed)) == {"Beds dug", "Beete umgraben"}
    again = page(service, "/", q="be", category="Gartenarbeit")
    assert set(titles(again)) == {"Beds dug", "Beete umgraben"}
    assert questions(address(again, name_of(term_of("gardening")))) == {"q": ["be"]}


def test_what_is_set_besides_the_fields_outlives_a_new_search(service: Served) -> None:
    text = page(service, "/", q="piano", group="river", language="en", remote="false", pay="time")
    hidden = {
        (field["name"], field["value"])
        for field in Outline(text).all("input")
        if field.get("type") == "hidden"
    }
    assert hidden == {("group", "river"), ("language", "en"), ("remote", "false")}


def test_more_of_one_author_are_told_of_and_come_next(service: Served) -> None:
    publish(
        service.services.engine,
        *(
            draft(f"bread{number}", f"Bread {number}", author_uri="https://hub.example/baker")
            for number in range(4)
        ),
    )
    service.work()
    text = page(service, "/", q="bread")
    assert "4 found" in text
    assert len(titles(text)) == 3
    assert "no more than 3 by one author" in text
    following = page(service, address(text, "more of the same author"))
    assert len(titles(following)) == 1


def test_a_member_sees_what_can_be_paid_from_their_group(service: Served) -> None:
    answer = service.get("/", q="bicycle", payer_group="river")
    assert titles(answer.text) == ["Bicycle repair"]
    assert "Payable within your group in RIV" in answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    assert "etag" not in answer.headers
    assert "Payable" not in page(service, "/", q="bicycle")
    chosen = [one for one in Outline(answer.text).all("option") if "selected" in one]
    assert "river" in [one["value"] for one in chosen]


def test_a_group_may_be_given_by_its_name(service: Served) -> None:
    with transaction(service.services.engine) as session:
        session.scalars(select(Group).where(Group.id == "river")).one().name = "By the River"
    assert titles(page(service, "/", q="bicycle", payer_group="by the river")) == ["Bicycle repair"]


def test_many_groups_are_typed_rather_than_chosen(service: Served) -> None:
    with transaction(service.services.engine) as session:
        currency = session.scalars(select(Group).where(Group.id == "river")).one().currency_id
        for number in range(MOST_OF_A_SELECT):
            slug = f"group{number}"
            uri = f"https://{slug}.example/group"
            group = Group(id=slug, uri=uri, name=slug, currency_id=currency, created_at=NOW)
            session.add(group)
            session.flush()
            session.add(admitted(slug))
    outline = Outline(page(service, "/", payer_group="river"))
    assert [one["list"] for one in outline.all("input") if one["name"] == "payer_group"] == [
        "groups"
    ]
    assert len(outline.all("datalist")) == 1


@pytest.mark.parametrize(
    ("question", "field", "sentence"),
    [
        ({"near": "nowhere"}, "near", "Near must be a place that is known"),
        ({"place": "nowhere"}, "near", "Near must be one of a group"),
        ({"near": "95,0"}, "near", "Near: latitude must be"),
        ({"sort": "distance"}, "sort", "The order: distance needs near"),
        ({"near": "1,2", "radius_km": "0"}, "radius_km", "The distance must be between"),
        ({"pay": "shells and beads"}, "pay", "The means of payment must be"),
        ({"payer_group": "nobody"}, "payer_group", "No group is called so."),
        ({"payer_group": "No Body"}, "payer_group", "No group is called so."),
        ({"type": "gift"}, "type", "Offers or wants must be one of"),
        ({"q": "x" * 401}, "q", "The words must have at most"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(
    service: Served, question: dict[str, Any], field: str, sentence: str
) -> None:
    text = page(service, "/", 422, **question)
    assert re.search(rf'id="{field}-trouble" role="alert">{re.escape(sentence)}', text)
    assert f'aria-describedby="{field}-trouble"' in text
    assert titles(text) == []


def test_where_nothing_is_found_ways_on_are_shown(service: Served) -> None:
    text = page(service, "/", q="bicycle near leeds", pay="time")
    assert questions(address(text, "Look within 100 km"))["radius_km"] == ["100"]
    assert questions(address(text, "Look everywhere")) == {"q": ["bicycle"], "pay": ["time"]}
    assert questions(address(text, "however it is paid")) == {"q": ["bicycle near leeds"]}
    assert "Look" not in page(service, "/", q="submarine")


def test_what_comes_near_is_not_shown_as_what_was_asked_for(service: Served) -> None:
    sentence = "Nothing has all of these words. These come near:"
    near = page(service, "/", q="bicycle xylophone")
    assert titles(near) == ["Bicycle repair"]
    assert sentence in near
    assert near.index(sentence) < near.index("1 found") < near.index("Bicycle repair")
    first = page(service, "/", q="jam xylophone")
    second = page(service, address(first, "Next page"))
    assert (len(titles(first)), len(titles(second))) == (20, 10)
    assert "page 2" in second
    assert sentence in second
    for q in ("bicycle repair", "bicicle", "xylophone", '"repair bicycle"', ""):
        assert sentence not in page(service, "/", q=q)


def test_no_hub_learns_from_a_picture_who_searches(service: Served) -> None:
    image = "https://hub.example/cake.jpg"
    publish(service.services.engine, draft("cake", "Cake", image=image))
    service.work()
    answer = service.get("/?q=cake")
    assert Outline(answer.text).all("img") == []
    assert "cake.jpg" not in answer.text
    assert "img-src 'self' data:;" in answer.headers["content-security-policy"]
