"""Whether a question's values stay values in Meilisearch's filter."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import InvalidError
from marketplace.drafts import ListingType
from marketplace.meilisearch.documents import MOST_TERM_BYTES, term, value_of
from marketplace.meilisearch.excerpts import excerpt_of
from marketplace.meilisearch.filters import any_of, filter_of, quoted, sort_of, words_of
from marketplace.payable import How, Payee
from marketplace.query import Query, Sort
from marketplace.words import read_words

ALIVE = "(expires NOT EXISTS OR expires > 1000)"
HOSTILE = ['" OR type = "want', '\\" OR 1=1', "\\", "\\\\", '"', "] OR [", "a\\nb", "\\u0022"]
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)
texts |= st.text('\\"n] ')


def _payee(group: str, available: str | None) -> Payee:
    return Payee(group, How.CLEARING, "X", available)


OWN = Payee("river", How.SAME_GROUP, "RIV", None)


def read_value(text: str) -> tuple[str, str]:
    """Read one double-quoted value as Meilisearch's grammar does; return it and what follows."""
    assert text[0] == '"'
    value: list[str] = []
    place = 1
    while text[place] != '"':
        if text[place] == "\\":
            place += 1
            assert text[place] in '\\"', "another escape would be read as something else"
        value.append(text[place])
        place += 1
    return "".join(value), text[place + 1 :]


@given(texts)
def test_no_value_breaks_out_of_its_quotes(value: str) -> None:
    assert read_value(quoted(value)) == (value, "")


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_list_holds_its_values_and_no_more(values: list[str]) -> None:
    rest = any_of("category", values).removeprefix("category IN [")
    for number, value in enumerate(values):
        read, rest = read_value(rest.removeprefix(", ") if number else rest)
        assert read == value
    assert rest == "]"


@given(texts, texts)
def test_different_values_stand_as_different_terms(one: str, other: str) -> None:
    assert (term(one) == term(other)) is (one == other)
    assert len(term(one).encode()) <= MOST_TERM_BYTES
    assert value_of(term(one)) in {one, None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("food", "food"),
        ("Food & Drink", "%46ood%20&%20%44rink"),
        ("städte", "st%c3%a4dte"),
        ("https://hub.example/~Ana", "https://hub.example/~%41na"),
        ("national:EUR", "national:%45%55%52"),
        ("100 %", "100%20%25"),
        ('"quoted"', "%22quoted%22"),
        ("музыка", "музыка"),
    ],
)
def test_a_term_says_what_meilisearch_would_fold(value: str, expected: str) -> None:
    assert term(value) == expected
    assert value_of(expected) == value


def test_a_term_too_long_to_be_counted_can_still_be_asked_for() -> None:
    long = "https://hub.example/" + "a" * 2000
    assert term(long) != term(long + "a")
    assert value_of(term(long)) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), ""),
        (Query(type=ListingType.WANT), ' AND type = "want"'),
        (Query(remote=False), " AND remote = false"),
        (Query(category=("Lebensmittel", "Food", "Own")), ' AND category IN ["food", "%4fwn"]'),
        (
            Query(language=("de",), group=("river",)),
            ' AND language IN ["de"] AND group IN ["river"]',
        ),
        (Query(author=("https://h.example/a",)), ' AND author IN ["https://h.example/a"]'),
        (Query(pay=("time",)), ' AND (pay IN ["time"])'),
        (Query(pay=("RIV",)), ' AND (currency IN ["%52%49%56"])'),
        (
            Query(pay=("gift", "national:EUR", "https://c.example/c")),
            ' AND (pay IN ["gift", "national:%45%55%52"] OR currency IN ["https://c.example/c"])',
        ),
        (Query(payees=(OWN,)), ' AND settles = true AND (group IN ["river"])'),
        (Query(payer_group="river", payees=()), " AND settles = true AND (group IN [])"),
        (
            Query(payees=(OWN, _payee("Hours", "12.50"), _payee("lake", "12.50"))),
            (
                ' AND settles = true AND (group IN ["river"] OR'
                ' (group IN ["%48ours", "lake"] AND (price NOT EXISTS OR price <= 12.5)))'
            ),
        ),
        (
            Query(payees=(_payee("a", "900719925474.0993"), _payee('b"] OR', "0"))),
            (
                ' AND settles = true AND ((group IN ["a"] AND'
                " (price NOT EXISTS OR price <= 900719925474.099243164)) OR"
                ' (group IN ["b%22]%20%4f%52"] AND (price NOT EXISTS OR price <= 0)))'
            ),
        ),
        (Query(since=datetime(2026, 1, 2, tzinfo=UTC)), " AND published >= 1767312000"),
        (Query(near=(48.2, 16.0)), " AND _geoRadius(48.2, 16, 50000)"),
        (Query(near=(-0.00001, 1.5), radius_km=0.1), " AND _geoRadius(-0.00001, 1.5, 100)"),
        (
            Query(bbox=(10.0, 40.0, 20.0, 50.0)),
            " AND _geoBoundingBox([50, 20], [40, 10])",
        ),
        (
            Query(bbox=(170.0, -20.0, -170.0, -10.0)),
            (
                " AND (_geoBoundingBox([-10, 180], [-20, 170]) OR "
                "_geoBoundingBox([-10, -170], [-20, -180]))"
            ),
        ),
    ],
)
def test_a_question_becomes_a_filter(query: Query, expected: str) -> None:
    assert filter_of(query, 1000) == ALIVE + expected


def test_what_is_no_means_of_payment_never_becomes_a_filter() -> None:
    with pytest.raises(InvalidError):
        Query(pay=('gift"] OR pay EXISTS OR pay IN ["',))


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("garden fork", "garden fork"),
        ("garden b", "garden b "),
        ('fork "red handle"', '"red handle" fork '),
        ('fork -rake -"leaf blower"', '-rake -"leaf blower" fork '),
        ('"red handle" -rake fork', '-rake "red handle" fork'),
        ("fork for the garden", "fork garden"),
        ("garden fork for", "garden fork "),
        ("of the", "of the"),
        ("fork 自行车修理", '"自行车修理" fork '),
        ('"自行车 repair" -修理', '-"修理" "自行车repair" '),
        ("จักรยาน", '"จักรยาน" '),
        ("自", "自 "),
        ("-rake", "-rake "),
        ("e-bike", '"e bike" '),
        ('say "a\\" -b "c', '-b "a" "c" say '),
        ("", ""),
        ("?!", ""),
    ],
)
def test_words_phrases_and_exclusions_are_said_as_meilisearch_reads_them(
    q: str, expected: str
) -> None:
    assert words_of(read_words(q)) == expected


@pytest.mark.parametrize(
    ("query", "worded", "expected"),
    [
        (Query(q="a"), True, []),
        (Query(), False, ["weight:desc"]),
        (Query(sort=Sort.NEWEST), True, ["published:desc"]),
        (Query(near=(1.0, 2.0)), True, []),
        (Query(near=(1.0, 2.0)), False, ["_geoPoint(1, 2):asc"]),
        (Query(near=(1.0, 2.0), sort=Sort.DISTANCE), True, ["_geoPoint(1, 2):asc"]),
    ],
)
def test_the_order_asked_for_becomes_a_sort(
    query: Query,
    worded: bool,  # noqa: FBT001 (pytest gives it by name)
    expected: list[str],
) -> None:
    assert sort_of(query, worded=worded) == expected


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("plain <b>", "plain &lt;b&gt;"),
        ("a \ue000bike\ue001s & co", "a <mark>bikes</mark> &amp; co"),
        ("\ue000<i>\ue001 \ue000x\ue001", "<mark>&lt;i&gt;</mark> <mark>x</mark>"),
        ("\ue000自行车\ue001修理", "<mark>自行车</mark>修理"),
        ("\ue000自行\ue001车\ue000修理\ue001", "<mark>自行</mark>车<mark>修理</mark>"),
        ("", ""),
    ],
)
def test_an_excerpt_is_escaped_first_and_marked_after(marked: str, expected: str) -> None:
    assert excerpt_of(marked) == expected


def test_a_long_text_is_cut_around_its_first_match() -> None:
    excerpt = excerpt_of("far " * 60 + "\ue000needle\ue001 " + "away " * 100)
    assert excerpt.startswith("… far far")
    assert "far <mark>needle</mark> away" in excerpt
    assert excerpt.endswith("away …")
    assert len(excerpt) < 280
