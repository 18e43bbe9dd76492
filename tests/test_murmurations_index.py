"""An index is read page by page, and each profile where it lives."""

import json
from collections.abc import Iterator

import pytest
from hub_server import own_keys
from source_reader import GROUP, Reading
from source_servers import Komunitin, MurmurationsIndex, SourceServer, profile
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler import peers
from crawler.peers import PeerKind, PeerState
from marketplace.consent import ConsentBasis
from marketplace.listings import Listing

SCHEMA = "offers_wants_schema-v0.1.0"


@pytest.fixture
def crawler(engine: Engine, settings: Settings) -> Iterator[Reading]:
    assert own_keys()
    with Reading(engine, settings) as crawler:
        yield crawler


@pytest.fixture
def komunitin() -> Iterator[Komunitin]:
    with Komunitin().serving() as server:
        yield server


@pytest.fixture
def index() -> Iterator[MurmurationsIndex]:
    with MurmurationsIndex().serving() as server:
        yield server


@pytest.fixture
def files() -> Iterator[SourceServer]:
    with SourceServer().serving() as server:
        yield server


def test_an_index_has_its_profiles_read_where_they_live(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    for number in range(120):
        url = files.put(f"/p{number}", _profile(title=f"Mending {number}"), "application/json")
        index.node(SCHEMA, url)
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)

    found = crawler.shown()
    assert len(found) == 120
    mending = found["Mending 0"]
    assert mending.uri == f"{files.base}/p0"
    assert mending.consented_by == index.base
    assert mending.consent_basis is ConsentBasis.HUB
    assert mending.group_id == GROUP
    with reading(crawler.engine) as session:
        for one in session.scalars(select(Listing)):
            assert "mend@mend.example" not in repr(vars(one))


def test_the_budget_of_an_index_is_counted_in_profiles(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    for number in range(7):
        url = files.put(f"/p{number}", _profile(title=f"Mending {number}"), "application/json")
        index.node(SCHEMA, url)
    index.page_size = 3
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    counts = []
    while not crawler.crawl(peer_id, pages=1, items=10):
        counts.append(len(crawler.shown()))
        assert len(counts) < 10
    assert counts[:3] == [3, 6, 7]
    assert len([path for path in files.asked_paths() if path.startswith("/p")]) == 7


def test_profiles_that_cannot_be_taken_count_too(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    for number in range(6):
        index.node(SCHEMA, f"{files.base}/missing{number}")
    index.page_size = 2
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert not crawler.crawl(peer_id, items=3)
    assert len(files.asked_paths()) == 4


def test_a_hub_that_said_no_at_a_profiles_own_origin_wins(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    index.node(SCHEMA, files.put("/p", _profile(), "application/json"))
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    with transaction(crawler.engine) as session:
        home = peers.discover(session, f"{files.base}/group", found_by="a test")
        peers.move(session, home.id, PeerState.DISCOVERED, PeerState.BLOCKED)
    assert crawler.crawl(peer_id)
    assert crawler.shown() == {}


def test_whom_a_profile_has_but_named_has_said_neither_yes_nor_no(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    index.node(SCHEMA, files.put("/p", _profile(), "application/json"))
    currency = {
        "linked_schemas": ["complementary_currencies-v2.0.0"],
        "name": "Mends",
        "primary_url": f"{files.base}/about",
    }
    index.node(
        "complementary_currencies-v2.0.0", files.put("/c", _dumped(currency), "application/json")
    )
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)
    index.node(SCHEMA, files.put("/q", _profile(title="Patches"), "application/json"))
    assert crawler.crawl(peer_id)

    assert sorted(crawler.shown()) == ["Mending and alterations", "Patches"]
    found = crawler.discovered()[f"{files.base}/about"]
    assert found.found_by == f"{files.base}/c"
    assert found.kind is PeerKind.ACTIVITYPUB
    assert found.group_id is None


def test_a_deleted_node_is_withdrawn_and_comes_back_when_it_is_posted_anew(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    node = index.node(SCHEMA, files.put("/p", _profile(), "application/json"))
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)
    node |= {"status": "deleted", "last_updated": 1733300100}
    assert crawler.crawl(peer_id)
    assert crawler.shown() == {}

    node |= {"status": "posted", "last_updated": 1733300000}
    assert crawler.crawl(peer_id)
    assert crawler.shown() == {}
    node["last_updated"] = 1733300200
    assert crawler.crawl(peer_id)
    assert list(crawler.shown()) == ["Mending and alterations"]


def test_an_index_deletes_no_other_hubs_listing(
    crawler: Reading, index: MurmurationsIndex, komunitin: Komunitin
) -> None:
    offer = komunitin.add("offers", "o1")
    assert crawler.crawl(crawler.add(PeerKind.KOMUNITIN, komunitin.address))
    index.node(SCHEMA, offer["links"]["self"], status="deleted", last_updated=1735689600)
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base, group_id="index")
    assert crawler.crawl(peer_id)
    assert list(crawler.shown()) == ["Sourdough bread"]


def test_a_profile_that_does_not_answer_now_stays_and_one_that_is_gone_goes(
    crawler: Reading, index: MurmurationsIndex, files: SourceServer
) -> None:
    for name in ("a", "b", "c"):
        url = files.put(f"/{name}", _profile(title=name), "application/json")
        index.node(SCHEMA, url)
    peer_id = crawler.add(PeerKind.MURMURATIONS, index.base)
    assert crawler.crawl(peer_id)
    files.put("/a", b"", "application/json", 503)
    files.put("/b", b"", "application/json", 404)
    files.put("/c", b"{}", "text/html")
    with transaction(crawler.engine) as session:
        session.execute(update(Listing).values(confirmed_at=now(session).replace(year=2020)))
    assert crawler.crawl(peer_id)

    found = crawler.shown()
    assert sorted(found) == ["a", "c"]
    assert found["a"].confirmed_at.year > 2020  # the index lists it still
    assert found["c"].confirmed_at.year == 2020
    assert set(crawler.put_aside()) == {f"{files.base}/a", f"{files.base}/c"}
    files.put("/b", _profile(title="b"), "application/json")
    assert crawler.crawl(peer_id)
    assert "b" in crawler.shown()


def _profile(**more: object) -> bytes:
    return _dumped(profile(**more))


def _dumped(document: object) -> bytes:
    return json.dumps(document).encode()
