"""Every search that Meilisearch is asked for, and what becomes of its answers."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from market import VIENNA, names
from meilisearch_server import Recorder, missing, recording

from commons.errors import UnavailableError
from marketplace.drafts import ListingType
from marketplace.meilisearch import MeilisearchIndex, plan, server
from marketplace.payable import How, Payee
from marketplace.query import Place, Query, Sort, Suggestions

LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NONE: dict[str, dict[str, int]] = {name: {} for name in plan.FACETS}
ASKED_OF_ALL = {
    "matchingStrategy": "all",
    "filter": "(expires NOT EXISTS OR expires > NOW)",
    "limit": 1000,
    "attributesToRetrieve": ["id", "author", "published", "weight", "_geo"],
    "facets": ["type", "pay", "category", "language", "group"],
    "showRankingScore": True,
}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as made:
        yield made


@pytest.fixture
def index(recorder: Recorder) -> MeilisearchIndex:
    return MeilisearchIndex(f"{recorder.url}/", "secret", "listings")


def candidate(name: str, **values: object) -> dict[str, object]:
    members = {"id": name, "author": name, "published": 1, "weight": 1.0}
    place = {"lat": VIENNA[0], "lng": VIENNA[1]}
    return {**members, "_geo": place, "_rankingScore": 0.5} | values


def shown(name: str, body: str = "") -> dict[str, object]:
    hit = {
        "type": "offer",
        "language": None,
        "image": None,
        "payments": [{"means": "gift"}],
        "author": name,
        "group": None,
        "place_name": None,
        "lat": VIENNA[0],
        "lon": VIENNA[1],
        "remote": False,
        "published": "2026-01-02T03:04:05+00:00",
        "confirmed": "2026-01-02T03:04:05+00:00",
        "url": f"https://hub.example/{name}",
    }
    return {"id": name, "title": "T", "categories": [], "hit": hit, "_formatted": {"body": body}}


def ready(recorder: Recorder, *answers: object) -> None:
    recorder.indexes["listings"] = {}
    recorder.answers += answers


def found(*hits: object, **facets: dict[str, int]) -> dict[str, object]:
    counts = {"type": {"offer": len(hits)}} | facets
    return {"hits": list(hits), "facetDistribution": counts, "processingTimeMs": 1}


def searched(recorder: Recorder) -> list[dict[str, Any]]:
    """The bodies of the searches so far, the moment of the first one's filter taken out."""
    sent = recorder.sent()
    assert {(each.method, each.path) for each in sent} == {("POST", "/indexes/listings/search")}
    bodies = [dict(each.body) for each in sent]
    if moment := re.search(r"expires > (\d+)\)", bodies[0]["filter"]):
        assert 0 <= time.time() - int(moment[1]) < 60
        bodies[0]["filter"] = bodies[0]["filter"].replace(moment[0], "expires > NOW)")
    return bodies


def test_a_search_with_every_parameter(index: MeilisearchIndex, recorder: Recorder) -> None:
    query = Query(
        q='bike -rust "good brakes" chai',
        near=VIENNA,
        radius_km=7,
        bbox=(179.0, -1.0, -179.0, 1.0),
        type=ListingType.OFFER,
        pay=("time", "RIV"),
        category=("Räder", "Fahrräder", "Übriges"),
        language=("de", "en"),
        group=("river",),
        author=("https://hub.example/Ana",),
        remote=True,
        payer_group="river",
        payees=(Payee("river", How.SAME_GROUP, "RIV", None), Payee("h", How.CLEARING, "H", "2.50")),
        since=LONG_AGO,
        sort=Sort.DISTANCE,
        limit=2,
        explain=True,
    )
    ready(
        recorder,
        found(candidate("far", _geo={"lat": 48.25, "lng": 16.4}), candidate("near")),
        {"hits": [shown("far"), shown("near", "Wir <b>\ue000Rad\ue001er")]},
    )
    page = index.search(query)
    assert names(page) == ["near", "far"]
    assert [hit.distance_km for hit in page.hits] == [0.0, 5.0]
    assert page.hits[0].excerpt == "Wir &lt;b&gt;<mark>Rader</mark>"
    why = page.hits[0].why
    assert why is not None
    assert (why.bm25, why.distance) == (0.5, 1.0)
    first, second = searched(recorder)
    assert first == ASKED_OF_ALL | {
        "q": '-rust "good brakes" bike chai',
        "sort": ["_geoPoint(48.2085, 16.373):asc"],
        "filter": (
            "(expires NOT EXISTS OR expires > NOW)"
            ' AND category IN ["bicycles", "%c3%9cbriges"] AND language IN ["de", "en"]'
            ' AND group IN ["river"] AND author IN ["https://hub.example/%41na"]'
            ' AND type = "offer" AND remote = true'
            ' AND (pay IN ["time"] OR currency IN ["%52%49%56"])'
            ' AND settles = true AND (group IN ["river"]'
            ' OR (group IN ["h"] AND (price NOT EXISTS OR price <= 2.5)))'
            " AND published >= 1767323045 AND _geoRadius(48.2085, 16.373, 7000)"
            " AND (_geoBoundingBox([1, 180], [-1, 179]) OR"
            " _geoBoundingBox([1, -179], [-1, -180]))"
        ),
    }
    assert second == {
        "q": '-rust "good brakes" bike chai',
        "matchingStrategy": "all",
        "filter": 'id IN ["near", "far"]',
        "limit": 2,
        "attributesToRetrieve": ["id", "title", "categories", "hit"],
        "attributesToHighlight": ["body"],
        "highlightPreTag": "\ue000",
        "highlightPostTag": "\ue001",
    }


def test_facets_are_counted_and_read_back(index: MeilisearchIndex, recorder: Recorder) -> None:
    facets = {
        "type": {"offer": 10_400, "want": 100},
        "category": {"%46ood & co": 3, "%~abc": 2},
        "language": {"de": 4},
    }
    ready(recorder, found(candidate("a"), **facets), found(candidate("a"), **facets))
    recorder.answers.append({"hits": [shown("a")]})
    page = index.search(Query())
    assert (page.total, page.total_is_exact) == (10_500, False)
    assert page.facets == NONE | {
        "type": {"offer": 10_400, "want": 100},
        "category": {"Food & co": 3},
        "language": {"de": 4},
    }
    first, wider, _ = searched(recorder)
    assert first == ASKED_OF_ALL | {"q": "", "sort": ["weight:desc"]}
    assert wider["limit"] == 10_000


def test_an_author_has_three_hits_on_a_page_and_none_is_lost(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    flood = [candidate(f"f{number}", author="flood") for number in range(5)]
    everything = found(*flood, candidate("o"))
    documents = [*(shown(f"f{number}") for number in range(5)), shown("o")]
    ready(recorder, everything, {"hits": documents}, everything, {"hits": documents})
    query = Query(q="bread", limit=4)
    first = index.search(query)
    second = index.search(Query(q="bread", limit=4, cursor=first.cursor))
    assert names(first) == ["f0", "f1", "f2", "o"]
    assert (names(second), second.cursor) == (["f3", "f4"], None)
    assert searched(recorder)[3]["filter"] == 'id IN ["f3", "f4"]'


def test_the_fresher_of_equals_comes_first(index: MeilisearchIndex, recorder: Recorder) -> None:
    stale, fresh = candidate("stale", weight=0.4), candidate("fresh")
    ready(recorder, found(stale, fresh), {"hits": [shown("stale"), shown("fresh")]})
    assert names(index.search(Query(q="bread"))) == ["fresh", "stale"]


def test_what_is_withdrawn_while_it_is_found_is_left_out(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    ready(recorder, found(candidate("a"), candidate("b")), {"hits": [shown("b")]})
    assert names(index.search(Query(q="bread"))) == ["b"]


def test_suggestions_ask_all_that_they_need_in_one_request(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    words = [
        {"title": "\ue000Vél\ue001o", "categories": ["\ue000vel\ue001vet"], "body": ""},
        {"title": "\ue000vél\ue001os", "categories": [], "body": "\ue000Val\ue001 \ue000ve\ue001r"},
        {"title": "\ue000vél\ue001os", "categories": [], "body": ""},
    ]
    position = {"lat": 1.0, "lng": 2.0}
    own = {"other": 9, "bicycles": 5, "velvet": 1, "%56%c3%a9lo %c3%a0 soi": 2}
    recorder.answers.append(
        {
            "results": [
                {"hits": [{"id": "a", "_formatted": each} for each in words]},
                {"hits": [], "facetDistribution": {"category": own}},
                {
                    "hits": [
                        {"place_name": "Veldhoven"},
                        {"place_name": "Vélizy", "_geo": position},
                        {"place_name": "Vienna", "_geo": position},
                    ]
                },
                {"hits": [], "facetDistribution": {"category": {"bicycles": 5, "food": 3}}},
            ]
        }
    )
    assert index.suggest(' "vél', 10) == Suggestions(
        ["vélos", "vélo", "velvet"], ["Vélos", "Vélo à soi", "velvet"], [Place("Vélizy", 1.0, 2.0)]
    )
    [sent] = recorder.sent()
    assert (sent.method, sent.path) == ("POST", "/multi-search")
    filters = {query.pop("filter") for query in sent.body["queries"][:3]}
    of_all = sent.body["queries"].pop()
    assert of_all.pop("filter").endswith(') AND category IN ["bicycles", "health"]')
    assert of_all == {"indexUid": "listings", "q": "", "limit": 0, "facets": ["category"]}
    assert re.fullmatch(r"\(expires NOT EXISTS OR expires > \d+\)", filters.pop())
    assert not filters
    asked = {"indexUid": "listings", "q": "vél", "matchingStrategy": "all"}
    searched_on = ["title", "categories", "body"]
    assert sent.body == {
        "federation": None,
        "queries": [
            asked
            | {
                "limit": 100,
                "attributesToSearchOn": searched_on,
                "attributesToRetrieve": ["id"],
                "attributesToHighlight": searched_on,
                "highlightPreTag": "\ue000",
                "highlightPostTag": "\ue001",
                "attributesToCrop": ["body"],
                "cropLength": 10,
            },
            asked | {"limit": 0, "attributesToSearchOn": ["categories"], "facets": ["category"]},
            asked
            | {
                "limit": 100,
                "attributesToSearchOn": ["place_name"],
                "attributesToRetrieve": ["place_name", "_geo"],
            },
        ],
    }


def test_a_map_counts_by_cell_in_one_request(index: MeilisearchIndex, recorder: Recorder) -> None:
    query = Query(q="bread", bbox=(10.0, 40.0, 20.0, 50.0), sort=Sort.NEWEST, limit=100)
    assert index.cells(query, 4) == {}
    recorder.sent()
    ready(recorder, counted({"841e15dffffffff": 7}))
    assert index.cells(query, 4) == {"841e15dffffffff": 7}
    assert searched(recorder) == [
        {
            "q": "bread",
            "matchingStrategy": "all",
            "filter": "(expires NOT EXISTS OR expires > NOW)"
            " AND _geoBoundingBox([50, 20], [40, 10])",
            "limit": 0,
            "facets": ["type", "cell_4"],
        }
    ]


def counted(cells: dict[str, int]) -> dict[str, object]:
    return {"hits": [], "facetDistribution": {"type": {"offer": 9}, "cell_4": cells}}


def test_where_nothing_has_all_the_words_the_first_of_them_are_asked_for(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    ready(recorder, found(), found(candidate("a")), {"hits": [shown("a")]})
    query = Query(q='e-bike -rust "good brakes" 自転車 repair tomorro', language=("en",))
    page = index.search(query)
    assert (names(page), page.total, page.loosened) == (["a"], 1, True)
    strict, loose, hits = searched(recorder)
    assert strict["matchingStrategy"] == "all"
    assert strict["q"] == '-rust "good brakes" "e bike" "自転車" repair tomorro'
    likewise = {"matchingStrategy": "last", "q": '-rust "good brakes" e bike 自転車 repair tomorro'}
    assert {**loose, "filter": strict["filter"]} == strict | likewise
    assert loose["filter"].endswith(' AND language IN ["en"]')
    assert likewise.items() <= hits.items()


def test_a_map_of_most_of_the_words_is_asked_for_only_where_nothing_has_all(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    ready(recorder, {"hits": [], "facetDistribution": {}}, counted({"841e15dffffffff": 7}))
    assert index.cells(Query(q="bread xylophone"), 4) == {"841e15dffffffff": 7}
    assert [each["matchingStrategy"] for each in searched(recorder)] == ["all", "last"]
    ready(recorder, counted({}))
    assert index.cells(Query(q="bread from afar"), 4) == {}
    ready(recorder, {"hits": [], "facetDistribution": {}})
    assert index.cells(Query(q="-bread"), 4) == {}
    assert [each["matchingStrategy"] for each in searched(recorder)] == ["all", "all"]


def test_what_has_all_the_words_is_not_asked_for_again(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    ready(recorder, found(candidate("a")), {"hits": [shown("a")]}, found())
    assert not index.search(Query(q="bread")).loosened
    assert not index.search(Query(q="-bread")).loosened
    assert {each["matchingStrategy"] for each in searched(recorder)} == {"all"}


def test_without_an_index_nothing_is_suggested(index: MeilisearchIndex, recorder: Recorder) -> None:
    nothing = Suggestions([], [], [])
    assert index.suggest('"-', 10) == nothing
    assert recorder.sent() == []
    assert index.suggest("vel", 10) == nothing


def test_without_an_index_nothing_is_found(index: MeilisearchIndex) -> None:
    page = index.search(Query(q="bread"))
    assert (page.hits, page.total, page.facets, page.cursor) == ([], 0, NONE, None)


def test_a_server_that_does_not_answer_in_time_is_unavailable(
    index: MeilisearchIndex, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.READING_SECONDS == 2
    monkeypatch.setattr(server, "READING_SECONDS", 0.1)
    recorder.silent = "/search"
    hasty = MeilisearchIndex(recorder.url, None, "listings")
    with pytest.raises(UnavailableError, match="in time") as raised:
        hasty.search(Query(q="bread"))
    assert raised.value.retry_after_seconds > 0
    recorder.silent = ""
    ready(recorder, found())
    assert index.search(Query()).total == 0


def test_a_server_that_is_gone_is_unavailable() -> None:
    with recording() as recorder:
        index = MeilisearchIndex(recorder.url)
    for ask in (lambda: index.search(Query()), index.revision, index.count):
        with pytest.raises(UnavailableError, match="reached"):
            ask()


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[1"])
def test_an_answer_that_is_none_is_unavailable(
    index: MeilisearchIndex, recorder: Recorder, answer: bytes
) -> None:
    ready(recorder, answer)
    with pytest.raises(UnavailableError, match="read"):
        index.search(Query())


def test_a_refusal_is_told_and_is_not_taken_for_a_missing_index(
    index: MeilisearchIndex, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = {"message": "The provided API key is invalid.", "code": "invalid_api_key"}
    monkeypatch.setattr(recorder, "answer", lambda *_request: (403, missing("x") | refusal))
    for ask in (lambda: index.search(Query()), index.revision, index.count):
        with pytest.raises(UnavailableError, match=r"403.*API key is invalid"):
            ask()
