"""The pages work without scripts, say what is wrong in words, and let no markup through."""

from collections.abc import Iterator
from typing import Any

import pytest
from pages_world import HOSTILE, Outline, open_pages, page, titles
from served import Served
from sqlalchemy import Engine

from commons.settings import Settings


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with open_pages(settings, sqlite_engine) as service:
        yield service


def test_the_page_finds_by_words(service: Served) -> None:
    text = page(service, "/", q="bicycle")
    assert titles(text) == ["Bicycle repair"]
    assert "12.50 RIV" in text
    assert 'href="https://hub.example/bikes"' in text
    assert "<mark>bicycle</mark>" in text


def test_empty_fields_of_the_form_say_nothing(service: Served) -> None:
    empty: dict[str, Any] = {
        "q": "piano",
        "near": "",
        "place": "",
        "radius_km": "50",
        "type": "",
        "sort": "",
    }
    assert titles(page(service, "/", **empty)) == ["Piano lessons"]


def test_a_group_stands_for_its_place(service: Served) -> None:
    text = page(service, "/", place="river", radius_km="10")
    assert titles(text) == ["Bicycle repair"]
    assert " km</span>" in text
    assert titles(page(service, "/", near="48.2, 16.37", radius_km="10")) == ["Bicycle repair"]


def test_means_of_payment_narrow_the_page(service: Served) -> None:
    text = page(service, "/", pay=["time"], q="piano")
    assert titles(text) == ["Piano lessons"]
    checked = [box["value"] for box in Outline(text).all("input") if "checked" in box]
    assert checked == ["", "time"]


def test_the_next_page_goes_on_where_the_last_ended(service: Served) -> None:
    first = page(service, "/", q="jam", sort="newest")
    following = [link for link in Outline(first).all("a") if link.get("rel") == "next"]
    second = page(service, str(following[0]["href"]))
    assert len(titles(first)) + len(titles(second)) == 30
    assert not set(titles(first)) & set(titles(second))


@pytest.mark.parametrize(
    "question",
    [
        {"near": "here"},
        {"near": "95,0"},
        {"place": "nowhere"},
        {"sort": "distance"},
        {"cursor": "x"},
        {"radius_km": "0", "near": "1,2"},
        {"colour": "red"},
        {"q": "x" * 500},
    ],
)
def test_bad_input_is_told_on_the_page(service: Served, question: dict[str, Any]) -> None:
    text = page(service, "/", 422, **question)
    assert 'role="alert"' in text
    assert "<form" in text


def test_nothing_found_is_told_kindly(service: Served) -> None:
    text = page(service, "/", q="submarine")
    assert "Nothing found" in text
    assert titles(text) == []


def test_a_listing_has_its_own_page(service: Served) -> None:
    found = service.get("/listings", q="bicycle").json()["hits"][0]["id"]
    text = page(service, f"/l/{found}")
    assert "<b>bicycle</b>" in text
    assert "Why is this here?" in text
    assert 'href="https://hub.example/bikes"' in text


def test_a_missing_listing_is_a_page_too(service: Served) -> None:
    assert "not here" in page(service, "/l/nothing", 404)


def test_the_groups_have_a_page(service: Served) -> None:
    text = page(service, "/about/groups")
    assert '<a href="/?group=river">river</a>' in text
    assert "33 listings" in text


def test_problems_are_explained_where_their_type_leads(service: Served) -> None:
    kind = service.get("/listings", colour="red").json()["type"]
    assert "A rule is broken" in page(service, kind)
    assert service.get("/problems/nothing").status_code == 404


def test_no_markup_of_a_listing_or_a_question_comes_alive(service: Served) -> None:
    found = service.get("/listings", q="tricks").json()["hits"][0]["id"]
    bikes = service.get("/listings", q="bicycle").json()["hits"][0]["id"]
    pages = [
        page(service, "/", q="tricks"),
        page(service, "/", q=f'"><{HOSTILE}'),
        page(service, "/", 422, near=f'"><{HOSTILE}'),
        page(service, "/", q=f'"><{HOSTILE} near leeds'),
        page(service, "/", 422, payer_group=f'"><{HOSTILE}'),
        page(service, "/", 422, pay=f'"><{HOSTILE}'),
        page(service, "/", category=f'"><{HOSTILE}', language="'><b>", author=f'"><{HOSTILE}'),
        page(service, f"/l/{found}"),
        page(service, f"/l/{bikes}"),
        page(service, "/about/groups"),
    ]
    for text in pages:
        outline = Outline(text)
        assert outline.all("script") == outline.all("img") == []
        assert not any(name.startswith("on") for _, tags in outline.tags for name in tags)


def test_no_page_needs_scripts_or_styles_of_its_own(service: Served) -> None:
    answer = service.get("/", q="jam")
    assert "unsafe" not in answer.headers["content-security-policy"]
    outline = Outline(answer.text)
    assert outline.all("style") == []
    assert not any("style" in tags for _, tags in outline.tags)
    for sheet in outline.all("link"):
        assert service.get(str(sheet["href"])).status_code == 200


def test_every_field_has_a_label(service: Served) -> None:
    outline = Outline(page(service, "/"))
    labelled = {label["for"] for label in outline.all("label") if "for" in label}
    fields = [*outline.all("input"), *outline.all("select")]
    named = {field["id"] for field in fields if "id" in field}
    assert named == labelled
    bare = [field for field in fields if "id" not in field and field.get("type") != "hidden"]
    assert {field["type"] for field in bare} == {"radio", "checkbox"}
