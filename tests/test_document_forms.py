# ruff: noqa: RUF001 - texts of other alphabets and signs that look like others
"""The forms in which one document writes what another writes otherwise, and oddities of texts."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from proposals import ADA, flea_market, note, one, payments, proposal, reciprocal

from commons.errors import InvalidError
from crawler.terms import PUBLIC
from crawler.vocabulary import finished, read
from marketplace.drafts import ListingType, check

# Forms in which one and the same thing is written.


def test_a_term_is_one_term_under_whatever_prefix() -> None:
    plain = proposal(reciprocal=reciprocal("EUR", "5"), publishes={"due": "2027-01-01"})
    kept = {"id", "type"}

    def prefixed(value: Any, prefix: str) -> Any:  # noqa: ANN401 - JSON may be anything
        if not isinstance(value, dict):
            return value
        return {
            key if key in kept else prefix + key: prefixed(one, prefix)
            for key, one in value.items()
        }

    for prefix in ("vf:", "ValueFlows:", "ns7:", "https://w3id.org/valueflows/ont/vf#"):
        assert read(prefixed(plain, prefix)) == read(plain)


def test_a_term_without_prefix_goes_before_the_same_with_one() -> None:
    found = one(proposal(**{"schema:name": "Shop", "dc:type": "Tombstone", "schema:id": "7"}))

    assert found.draft.title == "Bread"
    assert found.draft.uri == "https://hub.example/proposals/1"


def test_expanded_json_ld_is_read() -> None:
    stream, flows = "https://www.w3.org/ns/activitystreams#", "https://w3id.org/valueflows/ont/vf#"
    quantity = {
        f"{flows}hasUnit": [{"@value": "EUR"}],
        f"{flows}hasNumericalValue": [{"@value": 5}],
    }
    expanded = {
        "@id": "https://hub.example/proposals/1",
        "@type": [f"{flows}Proposal"],
        f"{flows}purpose": [{"@value": "request"}],
        f"{stream}name": [{"@value": "Brot", "@language": "de"}],
        f"{stream}attributedTo": [{"@id": ADA}],
        f"{stream}to": [{"@id": PUBLIC}],
        f"{stream}tag": [{"@list": [{"@type": [f"{stream}Hashtag"], f"{stream}name": "#food"}]}],
        f"{flows}reciprocal": [{f"{flows}resourceQuantity": [quantity]}],
        f"{flows}hasEnd": [{"@type": "xsd:dateTime", "@value": "2027-01-01T00:00:00Z"}],
    }

    found = one(expanded)

    assert (found.draft.type, found.to) == (ListingType.WANT, (PUBLIC,))
    assert (found.draft.title, found.draft.language) == ("Brot", "de")
    assert (found.draft.author_uri, found.draft.categories) == (ADA, ("food",))
    assert found.draft.expires_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert payments(expanded) == [{"means": "national", "currency": "EUR", "amount": "5"}]


@pytest.mark.parametrize("to", [PUBLIC, [PUBLIC], {"id": PUBLIC}, {"@list": [PUBLIC]}])
def test_an_address_may_stand_alone_in_an_array_or_an_object(to: object) -> None:
    assert one(proposal(to=to)).to == (PUBLIC,)


@pytest.mark.parametrize(
    ("texts", "title", "body", "language"),
    [
        ({"nameMap": {"ca": "Pa"}, "name": None}, "Pa", "", "ca"),
        ({"name": {"ca": "Pa"}}, "Pa", "", "ca"),
        ({"name": {"@value": "Pa", "@language": "ca"}}, "Pa", "", "ca"),
        ({"name": [{"@value": "Pa", "@language": "ca"}]}, "Pa", "", "ca"),
        ({"summaryMap": {"de": "frisch"}}, "Bread", "frisch", "de"),
        (
            {"content": "fresh", "contentMap": {"de": "frisch", "en": "fresh"}},
            "Bread",
            "fresh",
            "en",
        ),
        ({"contentMap": {"und": "fresh"}}, "Bread", "fresh", None),
        ({"@context": [{"@language": "pt-BR"}]}, "Bread", "", "pt"),
        (
            {"name": "", "nameMap": {"de": "Brot", "ca": "Pa"}, "contentMap": {"ca": "fresc"}},
            "Pa",
            "fresc",
            "ca",
        ),
    ],
)
def test_texts_are_read_from_language_maps(
    texts: dict[str, Any], title: str, body: str, language: str | None
) -> None:
    draft = check(one(proposal(**texts)).draft)

    assert (draft.title, draft.body, draft.language) == (title, body, language)


@pytest.mark.parametrize(
    "purpose",
    [
        "vf:request",
        "Request",
        {"@id": "vf:request"},
        ["https://w3id.org/valueflows/ont/vf#request"],
    ],
)
def test_a_purpose_may_be_prefixed(purpose: object) -> None:
    assert one(proposal(purpose=purpose)).draft.type is ListingType.WANT


@pytest.mark.parametrize(
    ("term", "written"),
    [
        ("hasEnd", "2027-01-31T12:00:00Z"),
        ("due", "2027-01-31T13:00:00+01:00"),
        ("endTime", "2027-01-31t12:00:00z"),
        ("expires_at", 1801396800),
        ("expires_at", "1801396800"),
        ("expires_at", 1801396800.0),
        ("expires", "2027-01-31T17:45:00+05:45"),
        ("hasEnd", "2027-01-31T12:00:00-00:00"),
        ("hasEnd", "2027-01-31T12:00:00.000000000Z"),
        ("hasEnd", "2027-01-31T13:00:00+01:00[Europe/Berlin]"),
        ("hasEnd", "2027-01-31 12:00:00"),
        ("hasEnd", {"@type": "xsd:dateTime", "@value": "2027-01-31T12:00:00Z"}),
        ("hasEnd", ["2027-01-31T12:00:00Z"]),
    ],
)
def test_an_end_is_read_under_each_term_and_zone(term: str, written: object) -> None:
    noon = datetime(2027, 1, 31, 12, tzinfo=UTC)

    assert one(proposal(**{term: written})).draft.expires_at == noon
    assert one(proposal(publishes={"type": "Intent", term: written})).draft.expires_at == noon
    assert one(note(proposal(), **{term: written})).draft.expires_at == noon


def test_a_leap_second_is_the_second_before() -> None:
    found = one(proposal(published="2016-12-31T23:59:60Z"))

    assert found.draft.published == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "tomorrow",
        "2027-13-01T00:00:00Z",
        "2027-01-01T00:00:00+24:00",
        "0001-01-01T00:00:00+14:00",
        "2027-01-01T00:00:00 Mars/Olympus",
        "٢٠٢٧-01-01T00:00:00Z",
        "[" * 100_000,
        1e300,
        2**62,
        -1,
    ],
)
def test_a_time_that_is_none_is_refused_by_its_name(written: object) -> None:
    with pytest.raises(InvalidError) as refused:
        read(proposal(hasEnd=written))
    assert refused.value.field == "hasEnd"


@pytest.mark.parametrize(
    ("location", "name", "lat"),
    [
        ({"type": "Place", "name": "Leeds"}, "Leeds", None),
        ([{"type": "Place", "name": "Leeds"}], "Leeds", None),
        ("Leeds", "Leeds", None),
        (["https://hub.example/places/1", "Leeds"], "Leeds", None),
        ({"nameMap": {"ca": "Vic"}, "latitude": "41.5", "longitude": 2}, "Vic", 41.5),
        ({"address": {"addressLocality": "Vic"}}, "Vic", None),
        ({"address": "Vic"}, "Vic", None),
        ({"name": "X", "latitude": -0.0, "longitude": {"@value": "1e0"}}, "X", 0.0),
        ({"name": "X", "latitude": "", "longitude": ""}, "X", None),
    ],
)
def test_a_place_is_read_in_each_form(location: object, name: str, lat: float | None) -> None:
    for term in ("location", "eligibleLocation", "atLocation"):
        draft = check(one(proposal(**{term: location})).draft)
        assert (draft.place_name, draft.lat) == (name, lat)
        assert str(draft.lat) != "-0.0"


@pytest.mark.parametrize(
    "written", ["Infinity", "NaN", "-inf", "1e400", "4_1", "٤١", "41,4", "N 41°", "9" * 5000]
)
def test_a_latitude_that_is_no_number_is_refused_by_its_name(written: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read(proposal(location={"latitude": written, "longitude": 2}))
    assert refused.value.field == "lat"


@pytest.mark.parametrize(
    "tagged",
    [
        {"tag": {"type": "Hashtag", "name": "#Tools"}},
        {"tag": [{"type": "as:Hashtag", "name": "Tools"}]},
        {"tag": [{"name": "#Tools"}, {"type": "Mention", "name": "@ada"}]},
        {"attachment": {"type": "PropertyValue", "name": "Category", "value": "Tools"}},
        {
            "attachment": [
                {"type": "schema:PropertyValue", "name": "category", "schema:value": "Tools"}
            ]
        },
        {"resourceClassifiedAs": "Tools"},
        {"publishes": {"type": "Intent", "resourceClassifiedAs": ["Tools"]}},
        {"publishes": {"type": "Intent", "resourceClassifiedAs": [{"id": "x", "name": "Tools"}]}},
        {"publishes": [{"type": "Intent"}, {"vf:resourceClassifiedAs": [{"@value": "Tools"}]}]},
    ],
)
def test_a_category_is_read_in_each_form(tagged: dict[str, Any]) -> None:
    assert one(proposal(**tagged)).draft.categories == ("Tools",)


# How it is paid.


def test_each_of_several_reciprocals_is_a_way_to_pay() -> None:
    ways = [
        reciprocal("one", "12.50", resourceConformsTo="https://hub.example/currency"),
        reciprocal("EUR", 10),
        reciprocal("EUR", "10"),
        {"effortQuantity": {"hasUnit": "om2:hour", "hasNumericalValue": "1"}},
    ]
    expected = [
        {"means": "local", "currency": "https://hub.example/currency", "amount": "12.50"},
        {"means": "national", "currency": "EUR", "amount": "10"},
        {"means": "time", "amount": "1"},
    ]

    assert payments(proposal(reciprocal=ways)) == expected
    assert payments(proposal(**{"vf:reciprocal": {"@list": ways}})) == expected


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ({"label": "hour", "symbol": "h", "id": "https://hub.example/units/h"}, {"means": "time"}),
        (
            {"om2:label": "Swiss money", "om2:symbol": "CHF"},
            {"means": "national", "currency": "CHF"},
        ),
        ({"@value": "EUR"}, {"means": "national", "currency": "EUR"}),
        (["EUR"], {"means": "national", "currency": "EUR"}),
        (
            {"label": "eggs", "id": "https://hub.example/units/eggs"},
            {"means": "unspecified", "text": "eggs"},
        ),
        ("http://www.ontology-of-units-of-measure.org/resource/om-2/one", {"means": "unspecified"}),
    ],
)
def test_a_unit_is_read_in_each_form(unit: object, expected: dict[str, str]) -> None:
    assert payments(proposal(reciprocal=reciprocal(unit, 2))) == [{"amount": "2", **expected}]


def test_a_least_quantity_alone_is_the_amount_and_says_so() -> None:
    least = {"minimumQuantity": {"hasUnit": "EUR", "hasNumericalValue": "20"}}
    from_20 = {"means": "national", "currency": "EUR", "amount": "20", "text": "≥ 20"}

    assert payments(proposal(reciprocal=least)) == [from_20]
    assert payments(proposal(reciprocal={**least, **reciprocal("EUR", "30")})) == [
        {"means": "national", "currency": "EUR", "amount": "30"}
    ]


def test_a_reciprocal_that_is_only_named_is_no_gift() -> None:
    assert payments(proposal(reciprocal="https://hub.example/proposals/1#r")) == [
        {"means": "unspecified"}
    ]
    assert payments(proposal(reciprocal=[])) == [{"means": "gift"}]


@pytest.mark.parametrize(
    "number",
    [10**5000, float("inf"), float("nan"), True, {}, []],
    ids=["huge", "inf", "nan", "true", "object", "array"],
)
def test_a_number_that_json_cannot_hold_is_none(number: object) -> None:
    (payment,) = payments(proposal(reciprocal=reciprocal("EUR", number)))

    assert payment == {"means": "national", "currency": "EUR"}
    assert one(proposal(location={"latitude": number, "longitude": 2})).draft.lat is None


@pytest.mark.parametrize("number", ["1e400", "Infinity", "-5", "0x10", True, 1e300, "9" * 30])
def test_an_amount_that_is_none_stays_text_or_is_left_out(number: object) -> None:
    (payment,) = payments(proposal(reciprocal=reciprocal("EUR", number)))

    assert (payment["means"], payment["currency"]) == ("national", "EUR")
    assert "amount" not in payment


# Texts.


@pytest.mark.parametrize(
    "name",
    ["\u200b\u200d", "\u2060 \ufeff", "\u3164", "\u2800\u2800", "\u202e\u202c", "\ufe0f", "\u00ad"],
)
def test_a_title_of_which_nothing_is_seen_is_none(name: str) -> None:
    nameless = proposal(name=name)
    with pytest.raises(InvalidError) as refused:
        check(one(nameless).draft)
    assert refused.value.field == "title"
    for spoken in (
        note(nameless, name="Bread of Ada"),
        {**nameless, "publishes": {"type": "Intent", "name": "Bread of Ada"}},
    ):
        assert check(one(spoken).draft).title == "Bread of Ada"
    with pytest.raises(InvalidError):
        check(one(flea_market(name=name)).draft)
    with pytest.raises(InvalidError):
        check(replace(one(proposal()).draft, title=name))  # of a source that is no ActivityPub


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Cafe\u0301", "Café"),
        ("👩‍👩‍👧 sitting", "👩‍👩‍👧 sitting"),
        ("לחם טרי", "לחם טרי"),
        ("نان تازه می\u200cپزم", "نان تازه می\u200cپزم"),
        ("Bread \u202e)eerf(", "Bread )eerf("),
        ("\u2066Bread\u2069", "Bread"),
        (" Bread\u00a0\n\tand\u2003butter ", "Bread and butter"),
        ("❤️", "❤️"),
        ("𝕭𝖗𝖊𝖆𝖉", "𝕭𝖗𝖊𝖆𝖉"),
    ],
)
def test_a_title_is_kept_as_it_is_seen(name: str, title: str) -> None:
    assert check(one(proposal(name=name)).draft).title == title


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud83d"])
@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("title", lambda bad: {"name": bad}),
        ("body", lambda bad: {"content": bad}),
        ("categories", lambda bad: {"tag": {"type": "Hashtag", "name": bad}}),
        ("place_name", lambda bad: {"location": bad}),
        ("uri", lambda bad: {"id": f"https://hub.example/{bad}"}),
        ("author_uri", lambda bad: {"attributedTo": f"https://hub.example/{bad}"}),
        ("payments[0]", lambda bad: {"reciprocal": {"resourceConformsTo": bad}}),
    ],
)
def test_characters_that_no_database_takes_are_refused_by_the_field(
    field: str, more: Callable[[str], dict[str, Any]], bad: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        check(one(proposal(**more(bad))).draft)
    assert refused.value.field == field


def test_reading_leaves_the_document_as_it_was() -> None:
    document = {"type": "Create", "actor": ADA, "object": note(proposal(), **{"vf:due": "2027"})}
    before = deepcopy(document)

    finished(document)
    with pytest.raises(InvalidError):
        read(document)

    assert document == before
