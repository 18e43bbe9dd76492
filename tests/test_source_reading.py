"""Sources that are pulled: read in parts, by consent, with nothing of what is hidden."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import own_keys
from source_reader import GROUP, Reading
from source_servers import JSON_API, Komunitin, SourceServer
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.errors import FetchError, InvalidError
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler import peers
from crawler.kept import PutAside
from crawler.peers import CrawledPage, Peer, PeerKind, PeerState
from marketplace.consent import ConsentBasis
from marketplace.drafts import ListingType
from marketplace.listings import Listing


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
def files() -> Iterator[SourceServer]:
    with SourceServer().serving() as server:
        yield server


def test_a_group_is_read_to_its_end_and_shown_by_its_hubs_word(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for number in range(5):
        komunitin.add("offers", f"o{number}", f"Bread {number}")
    komunitin.add("needs", "n1", name="", content="Help with the harvest.\nIn autumn.")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)

    assert crawler.crawl(peer_id)
    found = crawler.shown()
    assert sorted(found) == [*(f"Bread {n}" for n in range(5)), "Help with the harvest."]
    bread = found["Bread 0"]
    assert bread.uri == f"{komunitin.address}/offers/o0"
    assert bread.consent_basis is ConsentBasis.HUB
    assert bread.consented_by == komunitin.address
    assert bread.group_id == GROUP
    assert (bread.lat, bread.lon) != (41.9794, 2.8249)
    assert bread.lat == pytest.approx(41.98, abs=0.03)
    assert bread.lon == pytest.approx(2.82, abs=0.03)
    assert found["Help with the harvest."].type is ListingType.WANT
    peer = crawler.of(peer_id)
    assert peer.crawl_page is None
    assert peer.last_heard_at is not None
    assert peer.crawl_began_at is not None
    assert peer.last_heard_at >= peer.crawl_began_at
    assert crawler.count(CrawledPage) == 0


def test_what_is_hidden_enters_nowhere(crawler: Reading, komunitin: Komunitin) -> None:
    hidden: list[dict[str, object]] = [
        {"access": "group"},
        {"access": "private"},
        {"access": None},
        {"state": "hidden"},
        {"state": None},
    ]
    for number, told in enumerate(hidden):
        komunitin.add("offers", f"h{number}", "Secret thing", **{"price": "x" * 600, **told})
    komunitin.add("offers", "open")
    assert crawler.crawl(crawler.add(PeerKind.KOMUNITIN, komunitin.address))

    assert list(crawler.shown()) == ["Sourdough bread"]
    assert crawler.put_aside() == {}
    with reading(crawler.engine) as session:
        assert len(session.scalars(select(Listing)).all()) == 1


def test_a_crawl_goes_on_where_its_budget_ended_and_reads_nothing_twice(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for number in range(7):
        komunitin.add("offers", f"o{number}", f"Bread {number}")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    began = []
    counts = []
    while not crawler.crawl(peer_id, pages=2, items=3):
        counts.append(len(crawler.shown()))
        began.append(crawler.of(peer_id).crawl_began_at)
        assert len(counts) < 10

    assert counts == [3, 6]
    assert len(crawler.shown()) == 7
    assert len(set(began)) == 1
    asked = [path for path in komunitin.asked_paths() if "/offers" in path]
    assert len(set(asked)) == 4
    assert len(asked) <= 6


def test_pages_in_a_circle_end(crawler: Reading, komunitin: Komunitin) -> None:
    komunitin.add("offers", "o1")
    first = komunitin.answer("/GRP0/offers", {"include": "x"}).body.replace(
        b'"next": null', f'"next": "{komunitin.address}/offers?b=1"'.encode()
    )
    second = first.replace(b"offers?b=1", b"offers?include=category%2Cmember")
    komunitin.put("/GRP0/offers?include=category%2Cmember", first, JSON_API)
    komunitin.put("/GRP0/offers?b=1", second, JSON_API)

    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    rounds = 0
    while not crawler.crawl(peer_id):
        rounds += 1
        assert rounds < 3
    assert list(crawler.shown()) == ["Sourdough bread"]
    assert len([path for path in komunitin.asked_paths() if "offers" in path]) <= 3
    assert crawler.count(CrawledPage) == 0


def test_an_endless_source_is_read_in_parts_and_ends(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for number in range(40):
        komunitin.add("offers", f"o{number}", f"Bread {number}")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    rounds = 0
    while not crawler.crawl(peer_id, pages=3, pages_in_all=8):
        rounds += 1
        assert rounds < 10
    assert len(crawler.shown()) == 16


def test_the_next_page_of_another_host_is_not_asked_for(
    crawler: Reading, komunitin: Komunitin, files: SourceServer
) -> None:
    komunitin.add("offers", "o1")
    komunitin.add("needs", "n1", name="A need")
    page = komunitin.answer("/GRP0/offers", {"include": "x"}).body
    strange = page.replace(b'"next": null', f'"next": "{files.base}/offers?page=2"'.encode())
    komunitin.put("/GRP0/offers", strange, JSON_API)
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)

    error = crawler.crawl_fails(peer_id)
    assert isinstance(error, InvalidError)
    assert error.field == "links.next"
    assert files.asked == []
    assert crawler.of(peer_id).crawl_page is None


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"data":[]}', "text/html", 200),
        (b'{"data":[]}', "application/activity+json", 200),
        (b'{"data":[{"id":', JSON_API, 200),
        (b"", JSON_API, 200),
        (b"[]", JSON_API, 200),
        (b'{"data":{}}', JSON_API, 200),
        (b'{"errors":[{"status":"404"}]}', JSON_API, 200),
        (b'{"data":[],"data":[]}', JSON_API, 200),
        (b'{"data":[NaN]}', JSON_API, 200),
        (b'{"data":' + b"[" * 200 + b"]" * 200 + b"}", JSON_API, 200),
        (b'{"data":["\xff"]}', JSON_API, 200),
        (b'{"data":[' + b'"x",' * 400_000 + b'"x"]}', JSON_API, 200),
        (b"{}", JSON_API, 500),
        (b"{}", JSON_API, 404),
        (b"{}", JSON_API, 403),
    ],
)
def test_what_is_no_page_changes_nothing_and_is_told(
    sqlite_engine: Engine, settings: Settings, body: bytes, media_type: str, status: int
) -> None:
    with Komunitin().serving() as komunitin, Reading(sqlite_engine, settings) as crawler:
        komunitin.add("offers", "o1")
        peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
        assert crawler.crawl(peer_id)
        komunitin.put("/GRP0/offers", body, media_type, status)

        assert str(crawler.crawl_fails(peer_id))
        assert list(crawler.shown()) == ["Sourdough bread"]
        assert crawler.of(peer_id).crawl_page is None


def test_a_page_that_fails_now_is_asked_for_again_and_nothing_is_lost(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for number in range(4):
        komunitin.add("offers", f"o{number}", f"Bread {number}")
    second = "/GRP0/offers?include=category,member&page%5Bafter%5D=2"
    komunitin.put(second, b"{}", JSON_API, 503)
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    assert isinstance(crawler.crawl_fails(peer_id), FetchError)
    assert len(crawler.shown()) == 2

    del komunitin.answers[second]
    komunitin.asked.clear()
    assert crawler.crawl(peer_id)
    assert len(crawler.shown()) == 4
    assert [path for path in komunitin.asked_paths() if "offers" in path] == [second]


def test_a_page_that_is_gone_has_the_source_read_from_its_beginning(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for number in range(4):
        komunitin.add("offers", f"o{number}", f"Bread {number}")
    second = "/GRP0/offers?include=category,member&page%5Bafter%5D=2"
    komunitin.put(second, b"{}", JSON_API, 404)
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    crawler.crawl_fails(peer_id)
    assert crawler.of(peer_id).crawl_page is None

    del komunitin.answers[second]
    assert crawler.crawl(peer_id)
    assert len(crawler.shown()) == 4


def test_a_crawl_that_was_cut_off_at_its_very_end_is_none_that_found_nothing(
    crawler: Reading, komunitin: Komunitin
) -> None:
    komunitin.add("offers", "o1")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    with transaction(crawler.engine) as session:
        session.add(CrawledPage(peer_id=peer_id, page_uri=""))
    assert crawler.crawl(peer_id)
    assert list(crawler.shown()) == ["Sourdough bread"]


def test_what_has_not_changed_is_not_sent_again(crawler: Reading, komunitin: Komunitin) -> None:
    komunitin.add("offers", "o1")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    assert crawler.crawl(peer_id)
    assert komunitin.unchanged == []
    assert crawler.crawl(peer_id)
    assert len(komunitin.unchanged) == 2


def test_a_robots_txt_is_obeyed(crawler: Reading, komunitin: Komunitin) -> None:
    komunitin.add("offers", "o1")
    komunitin.put("/robots.txt", "User-agent: LocalPay\nDisallow: /GRP0\n", "text/plain")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    assert "robots.txt" in crawler.crawl_fails(peer_id).detail
    assert komunitin.asked_paths() == []
    assert crawler.shown() == {}


@pytest.mark.parametrize("state", [PeerState.DISCOVERED, PeerState.BLOCKED])
def test_without_the_hubs_word_nothing_is_stored(
    crawler: Reading, komunitin: Komunitin, state: PeerState
) -> None:
    komunitin.add("offers", "o1")
    komunitin.add("offers", "o2", name="x" * 400)
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    with transaction(crawler.engine) as session:
        peers.revoke(session, session.get_one(Peer, peer_id), state)
    crawler.crawl(peer_id)
    with reading(crawler.engine) as session:
        assert session.scalars(select(Listing)).all() == []
    assert crawler.put_aside() == {}


def test_a_suspended_hubs_listings_are_not_taken(crawler: Reading, komunitin: Komunitin) -> None:
    komunitin.add("offers", "o1")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    with transaction(crawler.engine) as session:
        session.execute(update(Hub).values(state=HubState.SUSPENDED))
    crawler.crawl(peer_id)
    assert crawler.shown() == {}


def test_one_bad_listing_is_put_aside_and_forgotten_when_it_is_mended(
    crawler: Reading, komunitin: Komunitin
) -> None:
    bad = komunitin.add("offers", "o1", name="x" * 400)
    komunitin.add("offers", "o2", name="Good")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    assert crawler.crawl(peer_id)
    assert list(crawler.shown()) == ["Good"]
    assert list(crawler.put_aside()) == [bad["links"]["self"]]
    with reading(crawler.engine) as session:
        assert session.scalars(select(PutAside.document)).all() == [None]

    komunitin.resources["offers"].remove(bad)
    assert crawler.crawl(peer_id)
    assert crawler.put_aside() == {}


def test_the_whole_interface_only_names_its_groups(crawler: Reading, komunitin: Komunitin) -> None:
    komunitin.group("GRP1", name="Group 1")
    komunitin.group("GRP2", access="group")
    komunitin.resources["groups"].append(
        {"attributes": {"code": "X", "access": "public"}, "links": {"self": "https://x.example/X"}}
    )
    komunitin.add("offers", "o1")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.base)
    assert crawler.crawl(peer_id)

    found = crawler.discovered()
    assert set(found) == {f"{komunitin.base}/GRP0", f"{komunitin.base}/GRP1"}
    for peer in found.values():
        assert peer.kind is PeerKind.KOMUNITIN
        assert peer.found_by == f"{komunitin.base}/groups"
        assert peer.due_at is None
        assert peer.group_id is None
    assert crawler.shown() == {}
    assert all("/groups" in path for path in komunitin.asked_paths())


def test_a_discovered_group_is_read_once_its_operator_agreed(
    crawler: Reading, komunitin: Komunitin
) -> None:
    komunitin.add("offers", "o1")
    assert crawler.crawl(crawler.add(PeerKind.KOMUNITIN, komunitin.base))
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address, group_id="zero")
    assert crawler.crawl(peer_id)
    assert crawler.shown()["Sourdough bread"].group_id == "zero"
    assert crawler.discovered() == {}


def test_a_source_is_read_by_the_worker_daily_and_what_it_no_longer_lists_goes(
    crawler: Reading, komunitin: Komunitin
) -> None:
    gone = komunitin.add("offers", "o1", "Gone")
    komunitin.add("offers", "o2", "Stays")
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    crawler.work()
    peer = crawler.of(peer_id)
    assert peer.state is PeerState.LIVE
    assert peer.due_at is not None
    assert peer.last_looked_at is not None
    assert peer.due_at - peer.last_looked_at == peers.PULL_AGAIN == timedelta(days=1)

    komunitin.resources["offers"].remove(gone)
    with transaction(crawler.engine) as session:
        long_ago = now(session) - timedelta(days=2)
        session.execute(update(Listing).values(confirmed_at=long_ago))
    komunitin.put("/GRP0/needs", b"{}", JSON_API, 500)
    crawler.make_due(Peer)
    crawler.work()
    assert sorted(crawler.shown()) == ["Gone", "Stays"]  # the crawl has not come to its end
    del komunitin.answers["/GRP0/needs"]
    crawler.make_due(Peer)
    crawler.work()
    assert sorted(crawler.shown()) == ["Stays"]
