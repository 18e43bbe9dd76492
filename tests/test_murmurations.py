"""Murmurations: a profile is who its address says, and what its schema says."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from internet import Clock, Internet, answer
from source_reader import Reading
from source_servers import MurmurationsIndex, SourceServer, profile

from commons.errors import InvalidError
from commons.fetch import Door
from commons.settings import Settings
from crawler.peers import PeerKind
from crawler.sources.murmurations import Murmurations, read_currency, read_profile
from marketplace.drafts import ListingType
from marketplace.payment import Payment, PaymentMeans

URL = "https://mend.example/profile.json"
SCHEMA = "offers_wants_schema-v0.1.0"
CURRENCIES = "complementary_currencies-v2.0.0"


@pytest.fixture
def crawler(sqlite_engine: Any, settings: Any) -> Iterator[Reading]:  # noqa: ANN401 (as in Reading)
    with Reading(sqlite_engine, settings) as crawler:
        yield crawler


@pytest.fixture
def index() -> Iterator[MurmurationsIndex]:
    with MurmurationsIndex().serving() as server:
        yield server


@pytest.fixture
def files() -> Iterator[SourceServer]:
    with SourceServer().serving() as server:
        yield server


def put(files: SourceServer, path: str, **more: object) -> str:
    return files.put(path, json.dumps(profile(**more)), "application/json")


def test_the_vector_comes_out_as_expected(vectors: Path) -> None:
    folder = vectors / "dialects"
    expected = json.loads((folder / "expected.json").read_text())["murmurations-offer.json"]
    draft = read_profile(json.loads((folder / "murmurations-offer.json").read_text()), URL).draft
    assert [
        {
            "type": draft.type,
            "title": draft.title,
            "url": draft.url,
            "lat": draft.lat,
            "lon": draft.lon,
            "expires": draft.expires_at and f"{draft.expires_at:%Y-%m-%dT%H:%M:%SZ}",
            "payment": [payment.as_json() for payment in draft.payments],
        }
    ] == expected


def test_a_profile_is_known_by_its_address_whatever_it_calls_itself() -> None:
    updated = datetime(2026, 10, 1, tzinfo=UTC)
    told = {"id": "https://other.example/x", "uri": "https://other.example/y"}
    found = read_profile(profile(exchange_type="want", **told), URL, updated)
    assert found.draft.uri == found.draft.author_uri == URL
    assert found.draft.type is ListingType.WANT
    assert found.draft.updated == updated
    assert found.draft.categories == ("sewing", "repair")
    assert found.to is None
    assert not found.asks_author
    assert "mend@mend.example" not in repr(found)


@pytest.mark.parametrize(
    ("transactions", "payments"),
    [
        ([], [Payment(PaymentMeans.UNSPECIFIED)]),
        (["receive-donate", "receive-donate"], [Payment(PaymentMeans.GIFT)]),
        (["borrow-lend"], [Payment(PaymentMeans.GIFT, text="borrow-lend")]),
        (["rent-lease"], [Payment(PaymentMeans.UNSPECIFIED, text="rent-lease")]),
        (["time"], [Payment(PaymentMeans.UNSPECIFIED, text="time")]),
    ],
)
def test_kinds_of_transactions_are_ways_to_pay(
    transactions: list[str], payments: list[Payment]
) -> None:
    found = read_profile(profile(transaction_type=transactions), URL)
    assert list(found.draft.payments) == payments


@pytest.mark.parametrize(
    "change",
    [
        {"exchange_type": "gift"}, {"exchange_type": None}, {"linked_schemas": ["other-v1.0.0"]},
        {"linked_schemas": None}, {"title": ""}, {"title": "x" * 400}, {"title": "\0"},
        {"geolocation": {"lat": 200, "lon": 0}}, {"geolocation": {"lat": 50}},
        {"geolocation": {"lat": "north", "lon": 1}}, {"expires_at": "soon"},
        {"tags": ["x" * 300]}, {"tags": [str(n) for n in range(60)]},
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        read_profile(profile(**change), URL)


def test_odd_links_and_scripts_are_left_out() -> None:
    draft = read_profile(
        profile(
            image="javascript:alert(1)",
            details_url="data:text/html,x",
            description="<script>alert(1)</script><p onclick=x>ok</p>",
            geographic_scope="international",
        ),
        URL,
    ).draft
    assert (draft.image, draft.url) == (None, None)
    assert draft.body == "<p>ok</p>"
    assert draft.remote


def test_a_currencys_profile_names_a_hub() -> None:
    told = {"linked_schemas": [CURRENCIES], "primary_url": "https://river.example"}
    lead = read_currency(told, URL)
    assert (lead.address, lead.found_by) == ("https://river.example", URL)
    changes: list[dict[str, object]] = [
        {"primary_url": "river"},
        {"linked_schemas": []},
        {"primary_url": None},
    ]
    for change in changes:
        with pytest.raises(InvalidError):
            read_currency({**told, **change}, URL)


def test_bad_nodes_and_profiles_cost_only_themselves(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    index.nodes[SCHEMA] = []
    for url in (
        put(files, "/good"),
        put(files, "/bad", title=""),
        files.put("/html", "<p>", "text/html"),
        files.put("/cut", '{"title', "application/json"),
        files.put("/list", "[]", "application/json"),
        "javascript:alert(1)",
        "",
        "x" * 3000,
    ):
        index.node(SCHEMA, url)
    index.node(SCHEMA, f"{files.base}/when", last_updated="soon")
    index.nodes[SCHEMA].append({"status": "posted"})
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)

    assert list(crawler.shown()) == ["Mending and alterations"]
    aside = crawler.put_aside()
    assert {f"{files.base}/{name}" for name in ("bad", "html", "cut", "list")} <= set(aside)


def test_a_profile_named_twice_is_asked_for_once(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    url = put(files, "/p")
    index.node(SCHEMA, url)
    index.node(SCHEMA, url)
    assert crawler.crawl(crawler.add(PeerKind.MURMURATIONS, index.base))
    assert files.asked_paths() == ["/p"]


def test_an_index_that_always_has_a_next_page_ends(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    page = {
        "data": [{"profile_url": put(files, "/p"), "status": "posted"}],
        "links": {"next": f"{files.base}/v2/nodes?page=2"},
        "meta": {"total_pages": 10**9},
    }
    index.put("/v2/nodes", json.dumps(page), "application/json")
    ends = {}
    for cursor in (None, "0 199", "0 200", "1 200", "2 200", "junk"):
        read = partial(Murmurations().read, address=index.base, cursor=cursor)
        ends[cursor] = crawler.run(read).cursor
    assert ends == {  # 10,000 nodes of each of three questions, 50 a page
        None: "0 2",
        "0 199": "0 200",
        "0 200": "1 1",
        "1 200": "2 1",
        "2 200": None,
        "junk": "0 2",
    }
    assert not [path for path in files.asked if "nodes" in path]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        ('{"errors":[{"status":400}]}', "application/json", 200),
        ('{"data":"x"}', "application/json", 200),
        ('{"data":[', "application/json", 200),
        ('{"data":[]}', "text/html", 200),
        ("{}", "application/json", 500),
        ("{}", "application/json", 400),
    ],
)
def test_what_is_no_page_of_an_index_changes_nothing(
    crawler: Reading, index: MurmurationsIndex, body: str, media_type: str, status: int
) -> None:
    profile_url = index.put("/p", json.dumps(profile()), "application/json")
    index.node(SCHEMA, profile_url)
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)
    index.put("/v2/nodes", body, media_type, status)
    assert crawler.crawl_fails(peer_id).detail
    assert list(crawler.shown()) == ["Mending and alterations"]


def test_a_domain_of_many_new_hosts_is_asked_for_ten_of_them_a_day(settings: Settings) -> None:
    nodes = [{"profile_url": f"https://h{n}.many.example/p"} for n in range(14)]
    pages = {
        "index.example/v2/nodes?schema=offers_wants_schema-v0.1.0&status=posted&page=1"
        "&page_size=50": answer(json.dumps({"data": nodes}).encode(), 200, "application/json")
    }
    told = json.dumps(profile()).encode()
    for number in range(14):
        pages[f"h{number}.many.example/p"] = answer(told, 200, "application/json")
    internet = Internet(pages=pages)

    async def read() -> Any:  # noqa: ANN401
        public = settings.model_copy(update={"allow_loopback": False})
        door = Door(public, network=internet, resolve=internet.resolve, polite=False, clock=Clock())
        errand = door.errand("https://index.example", crawling=True)
        batch = await Murmurations().read(errand, "https://index.example", None)
        await door.aclose()
        return batch

    batch = asyncio.run(read())
    assert len(batch.found) == 10
    assert len(batch.late) == 4
    assert len({name for name in internet.looked_up if "many" in name}) == 10


def test_a_profile_that_another_origin_answers_is_refused(settings: Settings) -> None:
    pages = {
        "index.example/v2/nodes?schema=offers_wants_schema-v0.1.0&status=posted&page=1"
        "&page_size=50": answer(
            json.dumps({"data": [{"profile_url": "https://a.example/p"}]}).encode(),
            200,
            "application/json",
        ),
        "a.example/p": answer(b"", 302, Location="https://b.example/p"),
        "b.example/p": answer(json.dumps(profile()).encode(), 200, "application/json"),
    }
    internet = Internet(pages=pages)

    async def read() -> Any:  # noqa: ANN401
        public = settings.model_copy(update={"allow_loopback": False})
        door = Door(public, network=internet, resolve=internet.resolve, polite=False)
        batch = await Murmurations().read(door, "https://index.example", None)
        await door.aclose()
        return batch

    batch = asyncio.run(read())
    assert batch.found == ()
    assert [uri for uri, _ in batch.refused] == ["https://a.example/p"]
