"""An outbox is read page by page, within its budgets; what is wrong in it stops nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hub_server import Crawling, HubServer, Json, at
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.errors import FetchError
from commons.settings import Settings
from crawler.authors import Author
from crawler.backfill import Budget, crawl
from crawler.kept import PutAside
from crawler.peers import CrawledPage, Peer
from marketplace.listings import Listing


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def creates(hub: HubServer, *numbers: int) -> list[Json]:
    return [hub.activity("Create", hub.proposal(number)) for number in numbers]


def read(crawling: Crawling, hub: HubServer, **budget: int) -> bool:
    """Crawl once with a small budget; the hub is followed already."""
    peer = crawling.peer(hub)
    return crawling.run(
        lambda door: crawl(crawling.engine, door, peer.id, f"{hub.base}/outbox", Budget(**budget))
    )


def pages_asked(hub: HubServer) -> list[str]:
    return [path for path in hub.asked if path.startswith("/outbox")]


def test_all_pages_are_read_in_order_and_once(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1, 2, 3), creates(hub, 4, 5), creates(hub, 6))
    crawling.follow(hub)

    assert crawling.titles() == [f"Bicycle repair {number}" for number in range(1, 7)]
    assert pages_asked(hub) == ["/outbox", "/outbox?page=1", "/outbox?page=2", "/outbox?page=3"]
    with reading(crawling.engine) as session:
        assert session.scalar(select(func.count()).select_from(CrawledPage)) == 0


def test_an_author_is_asked_once_for_all_its_listings(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1, 2, 3), creates(hub, 4, 5))
    crawling.follow(hub)

    assert hub.asked.count("/members/ines") == 1


def test_what_is_bad_on_a_page_is_put_aside_and_the_rest_is_found(
    crawling: Crawling, hub: HubServer
) -> None:
    place = {"type": "Place", "latitude": 412.5, "longitude": 2.1}
    huge = hub.proposal(3, content="x" * 10_000_000)
    hub.serve(huge)
    gone = f"{hub.base}/proposals/none"
    hub.publish_outbox(
        [
            *creates(hub, 1),
            hub.activity("Create", hub.proposal(2, name=None)),
            huge["id"],
            hub.activity("Create", hub.proposal(4, location=place)),
            hub.activity("Create", hub.proposal(5, attributedTo=f"{hub.base}/members/nobody")),
            gone,
            {"type": "Create"},
            {},
            17,
            hub.serve(hub.proposal(6))["id"],
        ],
        creates(hub, 7),
    )
    crawling.follow(hub)

    assert crawling.titles() == [f"Bicycle repair {number}" for number in (1, 6, 7)]
    reasons = crawling.put_aside()
    assert reasons[f"{hub.base}/proposals/2"] == "title: must not be empty"
    assert "1048576 bytes" in reasons[huge["id"]]
    assert reasons[f"{hub.base}/proposals/4"] == "lat: must be between -90 and 90"
    assert "404" in reasons[f"{hub.base}/proposals/5"]
    assert "404" in reasons[gone]


def test_a_page_that_is_too_large_is_put_aside(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1), [hub.proposal(2, content="x" * 2_000_000)])
    crawling.follow(hub)

    assert crawling.titles() == ["Bicycle repair 1"]
    assert "bytes" in crawling.put_aside()[f"{hub.base}/outbox?page=2"]


def test_a_bare_collection_and_bare_proposals_are_read(crawling: Crawling, hub: HubServer) -> None:
    outbox = {"id": f"{hub.base}/outbox", "type": "OrderedCollection"}
    hub.put("/outbox", {**outbox, "orderedItems": [hub.proposal(1), *creates(hub, 2)]})
    crawling.follow(hub)

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_an_embedded_first_page_is_read(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1), creates(hub, 2))
    first = hub.documents["/outbox?page=1"][1]
    outbox = {"id": f"{hub.base}/outbox", "type": "OrderedCollection", "first": first}
    hub.put("/outbox", outbox)
    crawling.follow(hub)

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_a_delete_in_the_outbox_withdraws(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox([*creates(hub, 1, 2), hub.delete(hub.proposal(1), hours=1)])
    crawling.follow(hub)

    assert crawling.titles() == ["Bicycle repair 2"]


def test_an_outbox_vouches_only_for_its_own_origin(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        real = other.serve(other.proposal(1, name="Real"))
        fake = {**real, "name": "Fake"}
        hub.publish_outbox(
            [
                hub.activity("Create", fake, by=hub.member()),
                hub.activity("Announce", other.activity("Create", fake)),
            ]
        )
        crawling.follow(hub)

        assert crawling.titles() == ["Real"]


@pytest.mark.parametrize("following", ["/outbox?page=1", "/outbox?page=2", "/outbox"])
def test_a_cycle_ends(crawling: Crawling, hub: HubServer, following: str) -> None:
    hub.publish_outbox(creates(hub, 1), creates(hub, 2))
    page = hub.documents["/outbox?page=2"][1]
    assert isinstance(page, dict)
    hub.put("/outbox?page=2", {**page, "next": hub.base + following})
    crawling.follow(hub)

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    assert len(pages_asked(hub)) == 3


def test_another_hosts_next_page_is_not_read(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        other.publish_outbox(creates(other, 9))
        page = {"id": f"{hub.base}/outbox?page=1", "type": "OrderedCollectionPage"}
        hub.publish_outbox([])
        hub.put(
            "/outbox?page=1",
            {**page, "orderedItems": creates(hub, 1), "next": f"{other.base}/outbox?page=1"},
        )
        crawling.follow(hub)

        assert crawling.titles() == ["Bicycle repair 1"]
        assert other.asked == []


class _Endless(dict[str, tuple[int, Any]]):
    """Documents among which every page of the outbox has a next one."""

    def __init__(self, hub: HubServer) -> None:
        super().__init__(hub.documents)
        self._hub = hub

    def get(self, path: str, default: Any = None) -> Any:  # noqa: ANN401 (as dict has it)
        number = path.partition("/outbox?page=")[2]
        if not number:
            return super().get(path, default)
        page = {
            "id": self._hub.base + path,
            "type": "OrderedCollectionPage",
            "orderedItems": creates(self._hub, int(number)),
            "next": f"{self._hub.base}/outbox?page={int(number) + 1}",
        }
        return 200, page


def test_an_endless_outbox_is_read_in_parts_and_ends(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    hub.member()
    hub.documents = _Endless(hub)
    hub.asked.clear()
    crawls = 0
    while not read(crawling, hub, pages=5, pages_in_all=12):
        crawls += 1
        assert crawls < 10

    assert crawls == 2
    assert len(crawling.titles()) == 11
    assert len(pages_asked(hub)) == len(set(pages_asked(hub))) == 12


def test_a_crawl_goes_on_where_its_items_ran_out(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    hub.publish_outbox(creates(hub, 1, 2, 3, 4, 5), creates(hub, 6, 7))
    found = []
    while not read(crawling, hub, items=3):
        found.append(len(crawling.titles()))
        assert len(found) < 10

    assert found == [3, 6]
    assert len(crawling.titles()) == 7


def test_a_page_that_fails_now_is_asked_for_again_and_nothing_is_lost(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    hub.publish_outbox(creates(hub, 1), creates(hub, 2))
    whole = hub.documents["/outbox?page=2"]
    hub.documents["/outbox?page=2"] = (500, {})
    with pytest.raises(FetchError):
        read(crawling, hub)
    assert crawling.titles() == ["Bicycle repair 1"]

    hub.documents["/outbox?page=2"] = whole
    hub.asked.clear()
    assert read(crawling, hub)
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    assert pages_asked(hub) == ["/outbox?page=2"]


def test_what_cannot_be_had_now_is_asked_for_again_by_itself(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("elsewhere").serving() as other:
        other.member("open", indexable=True)
        strange = other.serve(other.proposal(9, name="Strange", member="open"))
        other.is_down = True
        ungrouped = hub.proposal(1, audience=None)
        hub.documents["/members/ines"] = (503, {})
        hub.publish_outbox([hub.activity("Create", ungrouped), strange["id"]], creates(hub, 2))
        crawling.follow(hub)
        assert crawling.titles() == []
        assert "503" in crawling.put_aside()[ungrouped["id"]]

        crawling.make_due(PutAside)
        crawling.work()
        with reading(crawling.engine) as session:
            assert set(session.scalars(select(PutAside.attempts))) == {1}
        other.is_down = False
        hub.member("ines")
        hub.asked.clear()
        crawling.make_due(PutAside)
        crawling.work()

        assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2", "Strange"]
        assert crawling.put_aside() == {}
        assert pages_asked(hub) == []


def test_what_is_wrong_is_not_asked_for_again(crawling: Crawling, hub: HubServer) -> None:
    untitled = hub.activity("Create", hub.proposal(1, name=None))
    hub.publish_outbox([untitled, f"{hub.base}/proposals/none"])
    crawling.follow(hub)

    with reading(crawling.engine) as session:
        assert list(session.scalars(select(PutAside.due_at))) == [None, None]


def test_the_weekly_look_confirms_what_is_there_and_finds_what_is_new(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    with transaction(crawling.engine) as session:
        long_ago = now(session) - timedelta(days=8)
        session.execute(update(Listing).values(confirmed_at=long_ago))
    hub.publish_outbox(creates(hub, 2, 1))
    crawling.make_due(Peer)
    crawling.work()

    assert len(crawling.titles()) == 2
    with reading(crawling.engine) as session:
        oldest = session.scalar(select(func.min(Listing.confirmed_at)))
        assert oldest is not None
        assert now(session) - oldest < timedelta(hours=1)


def test_a_newer_version_than_the_outboxs_stays(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    crawling.push(hub, hub.activity("Update", hub.proposal(1, hours=5, name="Newer")))
    crawling.work()
    crawling.make_due(Peer)
    crawling.work()

    assert crawling.titles() == ["Newer"]


def test_authors_are_asked_again_and_a_no_is_obeyed(crawling: Crawling, hub: HubServer) -> None:
    moss = hub.activity("Create", hub.proposal(2, member="moss"))
    hub.publish_outbox([*creates(hub, 1), moss])
    crawling.follow(hub)
    hub.member("ines", indexable=False)
    crawling.make_due(Author)
    crawling.work()

    assert crawling.titles() == ["Bicycle repair 2"]
    hub.gone("/members/moss")
    crawling.make_due(Author)
    crawling.work()
    assert crawling.titles() == []


def test_an_author_whom_nobody_hears_of_any_more_is_forgotten(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    crawling.push(hub, hub.delete(hub.proposal(1), hours=1))
    crawling.work()
    crawling.make_due(Author)
    crawling.work()

    with reading(crawling.engine) as session:
        assert f"{hub.base}/members/ines" not in set(session.scalars(select(Author.uri)))


def test_the_version_of_a_listing_is_its_origins(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)

    with reading(crawling.engine) as session:
        updated = session.scalars(select(Listing.updated)).one()
    assert updated.isoformat() == at(0).replace("Z", "+00:00")
