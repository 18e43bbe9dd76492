"""Bad input to a search: the right answer, or a 422 that names the parameter; never a 500."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from edges import AWKWARD, EVERYTHING, WAYS, WORLD, asked, assert_refused, edge_service, refusals
from served import Served


@pytest.fixture(scope="module", params=["embedded", "postgresql"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with edge_service(request, tmp_path_factory.mktemp("edges")) as service:
        yield service


NO_WORDS: tuple[str, ...] = (
    *("", " ", '"', '""', "-", "--", '-"', '-""', "*", "(", ")", "~", ":", "\\", "' '", "\t"),
    *("+", "&&", "||", "!", "^", "?", "[", "{", "/", '" "', "- -", "\u200b", "\u2028", "%"),
)


@pytest.mark.parametrize("q", NO_WORDS)
def test_what_has_no_words_asks_for_everything(service: Served, q: str) -> None:
    assert asked(service, q=q) == EVERYTHING


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("title:bread", {"bread"}),
        ("bread*", {"bread"}),
        ("bread~2", {"bread"}),
        ("(bread", {"bread"}),
        ('"fresh bread', {"bread"}),
        ("-bread", EVERYTHING - {"bread"}),
        ('-"fresh bread"', EVERYTHING - {"bread"}),
        ("--bread", EVERYTHING - {"bread"}),
        ("bread -bread", set()),
        ("x" * 400, set()),
        (" ".join(f"qz{number}xv" for number in range(55)), set()),
        ("bread " * 66, {"bread"}),
        ('"' * 400, EVERYTHING),
        ("-" * 400, EVERYTHING),
        ("-x " * 133, EVERYTHING),
        ("café", {"bread"}),
        ("cafe\u0301", {"bread"}),
        ("خبز", {"khubz"}),
        ("\u202eخبز\u202c", {"khubz"}),
        ("BREAD 🍞", {"bread"}),
        ("🍞" * 400, EVERYTHING),
        ("<script>alert(1)</script>", set()),
    ],
)
def test_odd_words_find_what_they_say(service: Served, q: str, expected: set[str]) -> None:
    assert asked(service, q=q) == expected


@pytest.mark.parametrize(
    ("q", "most"),
    [
        ("AND OR", {"awkward"}),
        ("NOT bread", {"bread"}),
        ("bread AND", {"bread"}),
        ("bread " + "x" * 394, {"bread"}),
        ("a* b*", {"awkward"}),
        ("bread'; DROP TABLE listings; --", {"bread"}),
    ],
)
def test_operators_of_other_languages_are_words(service: Served, q: str, most: set[str]) -> None:
    # How many of several words are enough is for the ranking to say.
    assert asked(service, q=q) <= most


@pytest.mark.parametrize(
    "q",
    [
        *('"', "-", '""', "--", "AND OR", "*", "(", "~", ":", "\\", " ", "", "x" * 400, "🍞"),
        *(
            " ".join("abcdefghij" * 20),
            "a* b*",
            "خبز",
            "e" + "\u0301" * 399,
            AWKWARD,
            "\u200b",
            "\ufb01re",
        ),
    ],
)
def test_every_way_to_ask_answers_odd_words(service: Served, q: str) -> None:
    for path, besides in WAYS.items():
        answer = service.client.get(path, params={"q": q, **besides})
        assert answer.status_code == 200, f"{path}: {answer.text[:300]}"
    answer = service.client.get("/suggest", params={"q": q})
    assert answer.status_code == 200, answer.text[:300]
    assert set(answer.json()) == {"words", "categories", "places", "groups"}


@pytest.mark.parametrize(
    "q", ["x" * 401, "x" * 4_000, "a " * 2_000, "%00", "bread%00", "%ED%A0%80", "%FF"]
)
def test_words_that_cannot_be_read_are_refused(service: Served, q: str) -> None:
    refusals(service, f"q={q}".replace(" ", "%20"), "q")
    assert_refused(service.client.get(f"/suggest?q={q}".replace(" ", "%20")), "q")


@pytest.mark.parametrize("name", ["category", "language", "group", "author", "pay"])
def test_values_that_cannot_be_read_are_refused(service: Served, name: str) -> None:
    for value in ("", "%00", "x%00", "%ED%A0%80", "x" * 2_049):
        refusals(service, f"{name}={value}", name)
    refusals(service, "&".join(f"{name}=EUR" for _ in range(21)), name)
    assert service.client.get(f"/listings?{'&'.join([f'{name}=EUR'] * 20)}").status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        *("'", '"', "\\", "`", "')", '")', "\\'", '\\"', "%", "_", "*", "NULL", "\ufeff", "🍞"),
        *("' OR '1'='1", '" OR "1"="1', "x' UNION SELECT 1 --", "'; DROP SCHEMA localpay_index --"),
        *(
            'Music" OR category EXISTS',
            "Music' OR pay = 'time",
            "Music OR language = en",
            "{Music}",
        ),
        *("Music, _geoRadius(0, 0, 1)", "Music\\", "[Music TO *]", "Music\n", "$1", "%(a)s", ":a"),
    ],
)
def test_no_filter_breaks_out_of_its_string(service: Served, value: str) -> None:
    for name in ("category", "language", "group", "author"):
        assert asked(service, **{name: value}) == set(), name
    answer = service.client.get("/listings", params={"pay": value})
    if answer.status_code == 200:
        assert answer.json()["total"] == 0
    else:
        assert_refused(answer, "pay")
    assert asked(service) == EVERYTHING


def test_awkward_values_are_found_as_they_are(service: Served) -> None:
    assert asked(service, category=AWKWARD) == {"awkward"}
    assert asked(service, author="https://hub.example/members/a'b%22(c)") == {"awkward"}
    facets = service.client.get("/listings").json()["facets"]
    assert facets["category"][AWKWARD] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            (f"near=48.2,16.4&radius_km={radius}", "radius_km")
            for radius in (
                *(
                    "0",
                    "NaN",
                    "1e9",
                    "-1",
                    "inf",
                    "-inf",
                    "1e400",
                    "",
                    "x",
                    "0.09",
                    "1000.1",
                    "1_0",
                    "50%2C1",
                ),
            )
        ),
        ("radius_km=10", "radius_km"),
        *(
            (f"near={near}", "near")
            for near in (
                *(
                    "91,0",
                    "-91,0",
                    "0,181",
                    "0,-180.1",
                    "nan,0",
                    "0,inf",
                    "1e400,0",
                    "",
                    ",",
                    "1,2,3",
                ),
                *("nowhere-at-all", "%00", "x" * 500, "1e9,1e9", "1_0,2"),
            )
        ),
        *(
            (f"bbox={box}", "bbox")
            for box in (
                *("", "1,2,3", "1,2,3,4,5", "0,10,1,-10", "-181,0,0,1", "0,-91,1,0", "0,0,0,91"),
                *("nan,0,1,1", "0,0,inf,1", "a,b,c,d", "1e400,0,0,0", "0,0,1_0,1"),
            )
        ),
        *(
            (f"limit={limit}", "limit")
            for limit in (
                *(
                    "0",
                    "10000",
                    "101",
                    "-1",
                    "1e3",
                    "٣",
                    "",
                    "1.5",
                    "%2B5",
                    "0x10",
                    "9" * 30,
                    "1_0",
                ),
                *("9" * 5_000, "²"),
            )
        ),
        *((f"since={since}", "since") for since in ("", "x", "2026-13-01", "%00", "9" * 400)),
        *(
            (f"{name}={value}", name)
            for name in ("type", "sort", "remote", "explain")
            for value in ("", "x", "%00", "OFFER", "1%20", "None")
        ),
        ("sort=distance", "sort"),
        ("colour=red", "colour"),
        ("Q=bread", "Q"),
        ("q%00=bread", "q\0"),
        ("=bread", ""),
        ("place=x", "place"),
        ("payees=x", "payees"),
        ("typed=x", "typed"),
        *((f"{name}=1&{name}=2", name) for name in ("near", "radius_km", "bbox", "limit", "since")),
        *((f"{name}=offer&{name}=offer", name) for name in ("q", "type", "sort", "remote")),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_name(service: Served, query: str, field: str) -> None:
    assert_refused(service.client.get(f"/listings?{query}"), field)


@pytest.mark.parametrize(
    "query", ["near=91,0", "near=48,16&radius_km=NaN", "colour=red", "type=x", "since=x", "q=%00"]
)
def test_every_way_to_ask_refuses_alike(service: Served, query: str) -> None:
    refusals(service, query, query.rsplit("&", maxsplit=1)[-1].split("=", maxsplit=1)[0])


def packed(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_no_cursor_but_one_that_this_search_gave_leads_anywhere(service: Served) -> None:
    first = service.client.get("/listings?limit=2").json()
    cursor = first["cursor"]
    page, mark = json.loads(base64.urlsafe_b64decode(cursor))
    second = service.client.get("/listings", params={"limit": "2", "cursor": cursor}).json()
    assert {hit["id"] for hit in first["hits"]}.isdisjoint(hit["id"] for hit in second["hits"])
    other = service.client.get("/listings?limit=2&sort=newest").json()["cursor"]
    forged = [
        *("", "abc", "=", "====", "AAAA", "é", "🍞", "x" * 5_000, "null", "\\", "'", " "),
        *(cursor[: len(cursor) // 2], cursor[:-5], cursor[1:], cursor + cursor, other),
        *map(packed, (None, 1, [], [1], [page], {}, {"page": 1}, "x", "[", "[1,", [[[]]])),
        *(packed([number, mark]) for number in (0, -1, 1.5, True, None, "1", [1], 10**4 + 1)),
        *(packed([number, mark]) for number in (10**9, 10**30, 2**63)),
        *(packed([page, wrong]) for wrong in ("", mark[:-1], mark + "x", None, 0, "0" * 12)),
        *(packed([page, mark, page]), packed("[" * 5_000), packed('[1e999, "x"]')),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ]
    for each in forged:
        for path in ("/listings", "/listings.geojson"):
            answer = service.client.get(path, params={"limit": "2", "cursor": each})
            assert_refused(answer, "cursor")
    far = service.client.get("/listings", params={"limit": "2", "cursor": packed([10_000, mark])})
    assert far.status_code == 200
    assert far.json()["hits"] == []
    assert far.json()["cursor"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "q"),
        ("q=a&q=b", "q"),
        ("q=a&limit=3", "limit"),
        ("text=a", "text"),
    ],
)
def test_suggestions_refuse_what_they_do_not_know(service: Served, query: str, field: str) -> None:
    assert_refused(service.client.get(f"/suggest?{query}"), field)


@pytest.mark.parametrize("zoom", ["", "-1", "25", "1.5", "x", "٣", "%00", "3&zoom=4", "9" * 400])
def test_a_map_wants_one_zoom_that_there_is(service: Served, zoom: str) -> None:
    assert_refused(service.client.get(f"/listings/map?bbox={WORLD}&zoom={zoom}"), "zoom")


def test_what_is_refused_is_not_said_again(service: Served) -> None:
    answer = service.client.get(f"/listings?near={quote('<script>alert(1)</script>')}")
    assert_refused(answer, "near")
    assert "script" not in answer.text
