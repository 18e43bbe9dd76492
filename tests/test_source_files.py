"""Exports read over the network and by hand: in parts, and never a list of members."""

from collections.abc import Iterator
from typing import Any

import pytest
from hub_server import own_keys
from source_reader import GROUP, Reading
from source_servers import Komunitin, SourceServer
from sqlalchemy import Engine, select, update

from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError
from commons.settings import Settings
from crawler import blocks
from crawler.peers import Peer, PeerKind, PeerState
from crawler.sources.files import read_file
from marketplace.listings import Listing, shown

HEADER = "ces_uid,title,categories,body,created,changed,expires,scope"


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


def rows(*titles: str, scope: str = "3") -> str:
    told = (f"GRIN{n},{title},Food,Good,,,,{scope}" for n, title in enumerate(titles))
    return "\n".join([HEADER, *told])


def test_files_are_read_one_after_the_other(crawler: Reading, files: SourceServer) -> None:
    files.put("/OFFERS.csv", rows("Bread", "Honey"))
    files.put("/WANTS.csv", rows("Bread"))
    peer_id = crawler.add(PeerKind.CES, f"{files.base}/{{OFFERS,WANTS}}.csv", near=(41.98, 2.82))
    assert crawler.crawl(peer_id)
    with reading(crawler.engine) as session:
        told = sorted((one.title, str(one.type)) for one in session.scalars(select(Listing)))
        places = {(one.lat, one.lon) for one in session.scalars(select(Listing))}
    assert told == [("Bread", "offer"), ("Bread", "want"), ("Honey", "offer")]
    assert len(places) == 1
    assert (41.98, 2.82) not in places


def test_a_large_file_is_taken_in_parts(crawler: Reading, files: SourceServer) -> None:
    files.put("/offers.csv", rows(*(f"Bread {n}" for n in range(450))))
    peer_id = crawler.add(PeerKind.CES, f"{files.base}/offers.csv")
    assert not crawler.crawl(peer_id, items=300)
    assert crawler.of(peer_id).crawl_offset == 300
    assert len(crawler.shown()) == 300
    assert crawler.crawl(peer_id, items=300)
    assert len(crawler.shown()) == 450


def test_ten_megabytes_are_not_taken_over_the_network(
    crawler: Reading, files: SourceServer
) -> None:
    files.put("/offers.csv", rows("x" * 10_000_000))
    peer_id = crawler.add(PeerKind.CES, f"{files.base}/offers.csv")
    assert "more than" in crawler.crawl_fails(peer_id).detail
    assert crawler.shown() == {}


@pytest.mark.parametrize("name", ["MEMBERS.csv", "export?table=members", "passwords.csv"])
def test_an_address_of_members_is_neither_added_nor_asked_for(
    crawler: Reading, files: SourceServer, name: str
) -> None:
    address = f"{files.base}/{name}"
    files.put(f"/{name}", "ces_uid,password\nGRIN1,hunter2\n")
    with pytest.raises(InvalidError, match="members"):
        crawler.add(PeerKind.CES, address)
    assert crawler.count(Peer) == 0
    peer_id = crawler.add(PeerKind.CES, f"{files.base}/offers.csv")
    with transaction(crawler.engine) as session:
        session.execute(update(Peer).values(actor_uri=address))
    crawler.crawl_fails(peer_id)
    assert files.asked == []


def test_members_that_come_all_the_same_are_kept_nowhere(
    crawler: Reading, files: SourceServer
) -> None:
    address = files.put("/offers.csv", f"{HEADER},password\nGRIN1,Bread,,,,,,3,hunter2\n")
    peer_id = crawler.add(PeerKind.CES, address)
    error = crawler.crawl_fails(peer_id)
    assert "members" in error.detail
    assert "hunter2" not in error.detail
    crawler.crawl_fails(peer_id)
    assert files.unchanged == []  # it was not held to be asked after
    assert crawler.shown() == {}
    assert crawler.put_aside() == {}


def test_nothing_is_fetched_of_what_is_read_by_hand(crawler: Reading, files: SourceServer) -> None:
    crawler.add(PeerKind.CES, f"{files.base}/offers.csv")
    crawler.add(PeerKind.CES, f"{files.base}/offers.csv", by_hand=True)
    crawler.make_due(Peer)  # as whoever lifts a suspension does
    crawler.work()
    assert files.asked == []


def test_a_file_read_by_hand_ends_what_it_no_longer_holds_only_if_it_is_complete(
    crawler: Reading,
) -> None:
    address = "https://ces.example/"
    peer_id = crawler.add(PeerKind.CES, address, by_hand=True)
    assert crawler.of(peer_id).due_at is None

    def give(name: str, body: str, *, complete: bool = False) -> Any:  # noqa: ANN401
        return read_file(
            crawler.engine, PeerKind.CES, GROUP, body.encode(), name, complete=complete
        )

    give("offers.csv", rows("Bread", "Honey"))
    give("wants.csv", rows("Bread"))
    assert give("offers.csv", rows("Bread")).withdrawn == 0
    assert len(crawler.shown()) == 2
    report = give("offers.csv", rows("Bread", "x" * 400), complete=True)
    assert report.withdrawn == 1
    assert len(report.refused) == 1
    with reading(crawler.engine) as session:
        left = sorted(str(one.type) for one in session.scalars(select(Listing).where(shown())))
    assert left == ["offer", "want"]
    give("offers.csv", rows("Bread", "Honey"))
    assert "Honey" in crawler.shown()
    assert crawler.of(peer_id).state is PeerState.LIVE


def test_adding_needs_evidence_a_free_group_and_an_unblocked_domain(
    crawler: Reading, komunitin: Komunitin
) -> None:
    for more in ({"evidence": "  "}, {"name": ""}, {"group_id": "Not so"}):
        with pytest.raises(InvalidError):
            crawler.add(PeerKind.KOMUNITIN, komunitin.address, **more)
    with pytest.raises(InvalidError, match="kind"):
        crawler.add(PeerKind.PUSH, komunitin.address)
    with pytest.raises(InvalidError, match="address"):
        crawler.add(PeerKind.KOMUNITIN, "ftp://x.example/GRP0")
    with pytest.raises(InvalidError, match="currency"):
        crawler.add(PeerKind.KOMUNITIN, komunitin.address, currency_uri="https://x.example/c")
    assert crawler.count(Peer) == 0
    peer_id = crawler.add(PeerKind.KOMUNITIN, komunitin.address)
    assert crawler.add(PeerKind.KOMUNITIN, komunitin.address, name="Anew") == peer_id
    for address, more in (
        (f"{komunitin.base}/GRP9", {}),
        (komunitin.address, {"group_id": "other"}),
    ):
        with pytest.raises(ConflictError):
            crawler.add(PeerKind.KOMUNITIN, address, **more)
    with pytest.raises(ConflictError):
        crawler.add(PeerKind.CES, f"{komunitin.address}/offers")
    with transaction(crawler.engine) as session:
        evidence = session.get_one(Peer, peer_id).consent_evidence
    assert evidence is not None
    assert "1 October" in evidence["evidence"]


def test_a_blocked_domain_is_not_added(sqlite_engine: Engine, settings: Settings) -> None:
    with Reading(sqlite_engine, settings) as crawler:
        blocks.add(sqlite_engine, "kom.example", "spam", by="a test")
        with pytest.raises(ForbiddenError):
            crawler.add(PeerKind.KOMUNITIN, "https://kom.example/GRP0")
        assert crawler.count(Peer) == 0
