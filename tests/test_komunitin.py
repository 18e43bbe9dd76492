"""Komunitin's pages: public and published alone, prices in words, commas too many."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_reader import Reading
from source_servers import JSON_API, Json, Komunitin

from commons.errors import MalformedError
from crawler.peers import PeerKind
from crawler.plain_words import explain
from crawler.sources.komunitin import read_groups, read_page, read_tolerantly
from crawler.vocabulary import Found
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

ADDRESS = "https://kom.example/GRP0"


@pytest.fixture
def page(vectors: Path) -> Json:
    return read_tolerantly((vectors / "dialects" / "komunitin-offers.json").read_bytes())


@pytest.fixture
def crawler(sqlite_engine: Any, settings: Any) -> Iterator[Reading]:  # noqa: ANN401 (as in Reading)
    with Reading(sqlite_engine, settings) as crawler:
        yield crawler


def one(page: Json, collection: str = "offers") -> Draft:
    found, refused = read_page(page, ADDRESS, collection)
    assert refused == []
    assert [each.to for each in found] == [None]
    return found[0].draft


def told(found: Found) -> Json:
    draft = found.draft
    return {
        "id": draft.uri,
        "type": draft.type,
        "title": draft.title,
        "category": draft.categories[0],
        "lat": draft.lat,
        "lon": draft.lon,
        "expires": draft.expires_at and f"{draft.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "payment": [payment.as_json() for payment in draft.payments],
    }


def test_the_vector_comes_out_as_expected(vectors: Path, page: Json) -> None:
    expected = json.loads((vectors / "dialects" / "expected.json").read_text())
    found, refused = read_page(page, ADDRESS)
    assert [told(each) for each in found] == expected["komunitin-offers.json"]
    assert refused == []


def test_a_listing_has_picture_place_and_times(page: Json) -> None:
    draft = one(page)
    assert draft.image == "https://kom.example/bread.jpg"
    assert draft.place_name == "Girona"
    assert draft.precision is Precision.CELL
    assert draft.body == "<p>Whole wheat, <strong>baked on Fridays</strong></p>"
    assert draft.published is not None
    assert draft.updated is not None
    assert draft.published.isoformat() == "2026-05-02T10:00:00+00:00"
    assert draft.updated.isoformat() == "2026-10-30T10:00:00+00:00"
    assert draft.group_uri == ADDRESS


@pytest.mark.parametrize("access", ["group", "private", "", None, "PUBLIC", ["group"], 1])
def test_only_what_is_public_is_read(page: Json, access: object) -> None:
    page["data"][0]["attributes"]["access"] = access
    assert read_page(page, ADDRESS) == ([], [])


@pytest.mark.parametrize("state", ["hidden", "", None, "draft"])
def test_only_what_is_published_is_read(page: Json, state: object) -> None:
    page["data"][0]["attributes"]["state"] = state
    assert read_page(page, ADDRESS) == ([], [])


def test_a_member_that_is_hidden_keeps_its_place_to_itself(page: Json) -> None:
    page["included"][1]["attributes"]["access"] = "group"
    draft = one(page)
    assert (draft.lat, draft.lon, draft.place_name) == (None, None, None)
    assert draft.precision is Precision.GROUP
    page["included"][1]["attributes"] |= {"access": "public", "state": "suspended"}
    assert read_page(page, ADDRESS) == ([], [])


@pytest.mark.parametrize(
    ("price", "payments"),
    [
        ("", [Payment(PaymentMeans.GROUP_DEFAULT)]),
        ("5", [Payment(PaymentMeans.GROUP_DEFAULT, amount="5")]),
        ("2,50", [Payment(PaymentMeans.GROUP_DEFAULT, amount="2.50")]),
        ("1.500", [Payment(PaymentMeans.GROUP_DEFAULT, text="1.500")]),
        ("2 h", [Payment(PaymentMeans.GROUP_DEFAULT, text="2 h")]),
        ("Request a quote", [Payment(PaymentMeans.GROUP_DEFAULT, text="Request a quote")]),
        ("10 ECO", [Payment(PaymentMeans.GROUP_DEFAULT, text="10 ECO")]),
        ("3 €", [Payment(PaymentMeans.NATIONAL, "EUR", "3")]),
        ("gratis", [Payment(PaymentMeans.GIFT)]),
    ],
)
def test_a_price_without_a_unit_is_in_the_groups_currency(
    page: Json, price: str, payments: list[Payment]
) -> None:
    page["data"][0]["attributes"]["price"] = price
    assert list(one(page).payments) == payments


@pytest.mark.parametrize(
    ("name", "cpa", "expected"),
    [
        ("Food", ["10.7"], ("Food",)),
        ("Casa nostra", ["10.7"], ("Casa nostra", "CPA 10.7")),
        ("Casa nostra", ["0", "99999"], ("Casa nostra",)),
        ("", [], ()),
    ],
)
def test_a_category_is_told_by_its_name_else_by_its_codes(
    page: Json, name: str, cpa: list[str], expected: tuple[str, ...]
) -> None:
    page["included"][0]["attributes"] = {"name": name, "cpa": cpa}
    assert one(page).categories == expected


def test_a_need_has_the_first_of_its_words_as_title(page: Json) -> None:
    need = page["data"][0]
    need["type"] = "needs"
    need["attributes"] |= {"name": None, "content": "# Help\n\nwith the harvest"}
    draft = one({**page, "data": [need]}, "needs")
    assert draft.type is ListingType.WANT
    assert draft.title == "Help"
    need["attributes"]["content"] = "harvest " * 100
    assert len(one({**page, "data": [need]}, "needs").title) <= 81


@pytest.mark.parametrize(
    "location",
    [
        {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]},
        {"type": "Point", "coordinates": ["1", "2"]},
        {"type": "Point", "coordinates": [True, 2]},
        {"type": "Point", "coordinates": [1]},
        {"type": "Point"},
        "here",
        None,
    ],
)
def test_a_place_that_is_no_point_is_the_groups(page: Json, location: object) -> None:
    page["included"][1]["attributes"]["location"] = location
    assert one(page).precision is Precision.GROUP


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"links": {"self": "https://other.example/GRP0/offers/1"}}, "links.self"),
        ({"type": "needs"}, "type"),
        ({"attributes": {"access": "public", "state": "published"}}, "title"),
    ],
)
def test_one_bad_listing_among_good_is_refused_by_its_rule(
    page: Json, change: Json, reason: str
) -> None:
    bad = {**json.loads(json.dumps(page["data"][0])), **change}
    found, refused = read_page({**page, "data": [bad, page["data"][0]]}, ADDRESS)
    assert len(found) == 1
    assert [why.partition(":")[0] for _, why in refused] == [reason]


def test_what_is_out_of_range_or_no_time_is_refused(page: Json) -> None:
    page["included"][1]["attributes"]["location"]["coordinates"] = [41.9, 200.8]
    assert "lat" in read_page(page, ADDRESS)[1][0][1]
    page["included"].pop()
    page["data"][0]["attributes"]["expires"] = "soon"
    assert "expires" in read_page(page, ADDRESS)[1][0][1]


def test_the_same_twice_is_taken_once(page: Json) -> None:
    found, refused = read_page({**page, "data": [page["data"][0]] * 2}, ADDRESS)
    assert (len(found), len(refused)) == (1, 1)


def test_commas_before_an_end_are_passed_over_and_nothing_else() -> None:
    sloppy = b'{"a": [1, 2, ], "b": {"c": ",]\\"},", }, \n}'
    assert read_tolerantly(sloppy) == {"a": [1, 2], "b": {"c": ',]"},'}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [1,,]}', b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "x',
        b"{'a': 1}", b'{"a": "\\u0000"}', b"[1,]", b"{} {}", b"\xff", b"", b"null",
        b'{"a":' * 200 + b"1" + b"}" * 200, b'{"a": __import__("os")}',
    ],
)  # fmt: skip
def test_all_else_is_read_as_strictly_as_ever(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_tolerantly(body)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.integers(0, 9),
    )
)
def test_what_is_sound_stays_what_it_is(document: dict[str, object]) -> None:
    written = json.dumps(document)
    assert read_tolerantly(written.encode()) == document
    assert read_tolerantly(json.dumps(document, indent=1).encode()) == document


def test_a_million_escapes_and_commas_take_no_time() -> None:
    for hostile in (b'{"' + b'\\"' * 500_000, b'{"a":[' + b"," * 1_000_000, b'{"a":"' + b"," * 9):
        with pytest.raises(MalformedError):
            read_tolerantly(hostile)


def test_what_is_not_included_is_fetched_once_and_contacts_never(crawler: Reading) -> None:
    with Komunitin().serving() as komunitin:
        komunitin.includes = False
        for number in range(3):
            komunitin.add("offers", f"o{number}", f"Bread {number}")
        komunitin.add("offers", "h", "Hidden", access="group")
        assert crawler.crawl(crawler.add(PeerKind.KOMUNITIN, komunitin.address))
        assert {one.place_name for one in crawler.shown().values()} == {"Girona"}
        assert {tuple(one.categories) for one in crawler.shown().values()} == {("Food",)}
        members = [path for path in komunitin.asked_paths() if "/members/" in path]
        assert set(members) == {"/GRP0/members/GRP00012"}
        assert len(members) <= 2  # once a page
        assert not [path for path in komunitin.asked if "contact" in path]


def test_a_member_that_is_not_to_be_had_costs_the_place_alone(crawler: Reading) -> None:
    with Komunitin().serving() as komunitin:
        komunitin.includes = False
        komunitin.add("offers", "o1")
        komunitin.put("/GRP0/members/GRP00012", b"{}", JSON_API, 403)
        assert crawler.crawl(crawler.add(PeerKind.KOMUNITIN, komunitin.address))
        assert crawler.shown()["Sourdough bread"].place_name is None


@pytest.mark.parametrize("link", ["http://[", "https://x.example:99999/", "//", "\x00", "x" * 3000])
def test_links_that_are_none_break_nothing(page: Json, link: str) -> None:
    item = page["data"][0]
    item["relationships"]["member"] = {"links": {"related": link}}
    item["attributes"]["images"] = [link, {"href": link}, 5]
    read_page(page, ADDRESS)
    item["links"]["self"] = link
    read_page(page, ADDRESS)
    read_groups(page, "https://kom.example")


def test_an_answer_that_is_no_page_says_what_address_to_give() -> None:
    with pytest.raises(MalformedError) as refusal:
        read_page({}, ADDRESS)
    assert "https://host/GROUP" in explain(refusal.value.detail).mend


def test_a_listing_of_another_host_says_which_address_is_meant(page: Json) -> None:
    page["data"][0]["links"] = {"self": "https://other.example/GRP0/offers/1"}
    _, refused = read_page(page, ADDRESS)
    assert "another host" in explain(refused[0][1]).said
