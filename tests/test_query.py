import base64
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import InvalidError
from marketplace.drafts import ListingType
from marketplace.query import Query, Sort, read_query
from marketplace.words import Words, read_words, within_edits


def test_every_parameter_is_read() -> None:
    query = read_query(
        [
            ("q", "bike"),
            ("near", "48.2,16.37"),
            ("radius_km", "5"),
            ("bbox", "170,-20,-170,-10"),
            ("type", "want"),
            ("pay", "local"),
            ("pay", "national:EUR"),
            ("category", "Tools"),
            ("language", "de"),
            ("group", "river"),
            ("author", "https://a.example/1"),
            ("remote", "true"),
            ("since", "2026-01-02"),
            ("sort", "distance"),
            ("limit", "7"),
        ]
    )
    assert query == Query(
        q="bike",
        near=(48.2, 16.37),
        radius_km=5.0,
        bbox=(170.0, -20.0, -170.0, -10.0),
        type=ListingType.WANT,
        pay=("local", "national:EUR"),
        category=("Tools",),
        language=("de",),
        group=("river",),
        author=("https://a.example/1",),
        remote=True,
        since=datetime(2026, 1, 2, tzinfo=UTC),
        sort=Sort.DISTANCE,
        limit=7,
    )


def test_a_place_without_radius_means_fifty_kilometres() -> None:
    assert read_query([("near", "1,2")]).reach_km == 50


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ([("near", "nan,1")], "near"),
        ([("near", "91,1")], "near"),
        ([("near", "1,181")], "near"),
        ([("near", "1e999,1")], "near"),
        ([("near", "1")], "near"),
        ([("near", "1,2,3")], "near"),
        ([("near", "")], "near"),
        ([("near", "1,2"), ("radius_km", "0")], "radius_km"),
        ([("near", "1,2"), ("radius_km", "1001")], "radius_km"),
        ([("near", "1,2"), ("radius_km", "inf")], "radius_km"),
        ([("radius_km", "5")], "radius_km"),
        ([("bbox", "1,2,3")], "bbox"),
        ([("bbox", "1,20,3,10")], "bbox"),
        ([("type", "sale")], "type"),
        ([("pay", "national:ZZZ")], "pay"),
        ([("pay", "local")] * 21, "pay"),
        ([("category", "")], "category"),
        ([("remote", "1")], "remote"),
        ([("since", "yesterday")], "since"),
        ([("since", "0001-01-01T00:00:00+23:59")], "since"),
        ([("sort", "distance")], "sort"),
        ([("sort", "price")], "sort"),
        ([("limit", "0")], "limit"),
        ([("limit", "101")], "limit"),
        ([("limit", "-1")], "limit"),
        ([("limit", "9" * 5000)], "limit"),
        ([("q", "x" * 401)], "q"),
        ([("q", "a\x00b")], "q"),
        ([("q", "a\ud800b")], "q"),
        ([("q", "a"), ("q", "b")], "q"),
        ([("colour", "red")], "colour"),
        ([("cursor", "x")], "cursor"),
        ([("cursor", "")], "cursor"),
        ([("cursor", "é")], "cursor"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(
    parameters: list[tuple[str, str]], field: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        read_query(parameters)
    assert refused.value.field == field
    assert refused.value.rule


def test_a_place_among_the_words_is_asked_for_as_near() -> None:
    query = read_query([("q", "plumer within 8 km of leeds"), ("pay", "time")])
    assert query.place is not None
    assert query == Query(
        q="plumer",
        near=(query.place.lat, query.place.lon),
        radius_km=8.0,
        pay=("time",),
        place=query.place,
        typed="plumer within 8 km of leeds",
    )
    assert query.place.label == "Leeds (England, GB)"


@pytest.mark.parametrize("told", [("near", "1,2"), ("near", "York"), ("bbox", "1,2,3,4")])
def test_a_place_told_apart_leaves_the_words_as_they_are(told: tuple[str, str]) -> None:
    query = read_query([("q", "plumer near leeds"), told])
    assert (query.q, query.typed) == ("plumer near leeds", None)


def test_a_radius_told_apart_holds_for_a_place_among_the_words() -> None:
    assert read_query([("q", "plumer near leeds"), ("radius_km", "5")]).radius_km == 5
    assert read_query([("q", "5 km from leeds"), ("radius_km", "7")]).radius_km == 7
    assert read_query([("q", "9999 km from leeds")]).radius_km == 1000
    assert read_query([("q", "bread near leeds"), ("sort", "distance")]).sort is Sort.DISTANCE


def test_a_cursor_of_a_place_among_the_words_leads_on() -> None:
    asked = [("q", "plumer near leeds")]
    cursor = read_query(asked).cursor_to(2)
    assert read_query([*asked, ("cursor", cursor)]).page == 2
    with pytest.raises(InvalidError):
        read_query([("q", "plumer near york"), ("cursor", cursor)])


def test_bad_text_around_a_place_is_refused() -> None:
    for q in ("a\x00 near leeds", "a near leeds\x00", "a\ud800 near leeds", "near leeds " * 40):
        with pytest.raises(InvalidError) as refused:
            read_query([("q", q)])
        assert refused.value.field == "q"


@given(st.lists(st.tuples(st.sampled_from(["q", "near", "limit", "cursor", "since"]), st.text())))
def test_any_text_is_read_or_refused(parameters: list[tuple[str, str]]) -> None:
    with suppress(InvalidError):
        assert isinstance(read_query(parameters), Query)


def test_a_cursor_leads_on_in_its_own_question_only() -> None:
    query = Query(q="bike", limit=5)
    cursor = query.cursor_to(3)
    assert replace(query, cursor=cursor).page == 3
    with pytest.raises(InvalidError):
        Query(q="boat", limit=5, cursor=cursor)
    with pytest.raises(InvalidError):
        Query(q="bike", limit=6, cursor=cursor)


@pytest.mark.parametrize("forged", [b"[0]", b"{}", b'[1,"x"]', b"[true,1]", b"[-1,2]", b"7", b""])
def test_a_forged_cursor_is_refused(forged: bytes) -> None:
    with pytest.raises(InvalidError) as refused:
        Query(cursor=base64.urlsafe_b64encode(forged).decode())
    assert refused.value.field == "cursor"


def test_words_phrases_and_exclusions_are_told_apart() -> None:
    read = read_words('red "garden fork" -rusty -"very old" e-bike tool')
    assert read == Words(
        all_of=("red", "tool"),
        quoted=(("garden", "fork"),),
        joined=(("e", "bike"),),
        none_of=(("rusty",), ("very", "old")),
        prefix=True,
    )


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("d'abeilles", "abeilles"),
        ("l’école", "école"),  # noqa: RUF001 (as telephones write it)
        ("dell'orto", "orto"),
        ("L'hort", "hort"),
        ("qu'eau", "eau"),
    ],
)
def test_what_is_left_of_a_small_word_is_no_word(typed: str, word: str) -> None:
    assert read_words(f"miel {typed}") == Words(all_of=("miel", word), prefix=True)


def test_an_apostrophe_elsewhere_joins() -> None:
    assert read_words("rock'n'roll").joined == (("rock", "n", "roll"),)
    assert read_words("o'neill").joined == (("o", "neill"),)


def test_only_a_last_bare_word_may_be_a_beginning() -> None:
    assert read_words("garden fo").prefix
    assert not read_words('garden "fork"').prefix
    assert not read_words("garden -fork").prefix
    assert not read_words("garden f").prefix


@pytest.mark.parametrize("text", ["", "   ", "-", '"', '""', "🙂", "- -", "()!"])
def test_what_holds_no_word_asks_for_none(text: str) -> None:
    assert not read_words(text)


@given(st.text(max_size=400))
def test_any_text_can_be_split_into_words(text: str) -> None:
    read = read_words(text)
    assert all(word for phrase in read.phrases for word in phrase)


@pytest.mark.parametrize(
    ("word", "other", "edits"),
    [
        ("bike", "bike", 0),
        ("bike", "bke", 1),
        ("bike", "biike", 1),
        ("bike", "boke", 1),
        ("bike", "bkie", 1),
        ("bicycle", "bycicle", 2),
        ("fahrrad", "farad", 2),
        ("abc", "xyz", 3),
    ],
)
def test_edits_are_counted(word: str, other: str, edits: int) -> None:
    assert within_edits(word, other, edits)
    assert not edits or not within_edits(word, other, edits - 1)
