"""A crawler's manners: what robots.txt refuses is not read, what has not changed not sent again."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler.authors import Author
from crawler.peers import Peer
from marketplace.listings import Listing


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def test_what_robots_txt_refuses_is_not_crawled_and_its_reason_is_told(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.put("/robots.txt", b"User-agent: *\nDisallow: /outbox?page=2\nDisallow: /members/\n")
    hub.member("kind", indexable=True)
    hub.publish_outbox(
        [hub.activity("Create", hub.proposal(1)), hub.serve(hub.proposal(2))["id"]],
        [hub.activity("Create", hub.proposal(3))],
    )
    crawling.follow(hub)

    assert not {"/outbox?page=2", "/members/ines"} & set(hub.asked)
    assert hub.asked.count("/robots.txt") == 1
    aside = crawling.put_aside()
    assert sorted(aside) == [
        f"{hub.base}/{path}" for path in ("outbox?page=2", "proposals/1", "proposals/2")
    ]
    assert all("robots.txt" in reason for reason in aside.values())
    assert crawling.peer(hub).last_error is None


def test_what_is_pushed_is_fetched_whatever_robots_txt_says(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.put("/robots.txt", b"User-agent: LocalPay\nDisallow: /\n")
    crawling.follow(hub)
    assert "robots.txt" in crawling.put_aside()[f"{hub.base}/outbox"]

    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
    crawling.make_due(Author)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    assert hub.asked.count("/members/ines") == 2


def test_an_outbox_is_not_read_while_robots_txt_cannot_be_had(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.put("/robots.txt", b"", status=500)
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    assert "/outbox" not in hub.asked
    assert "robots.txt" in (crawling.peer(hub).last_error or "")

    hub.documents.pop("/robots.txt")
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_what_has_not_changed_is_confirmed_without_being_sent_again(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.tags = True
    outbox = [[hub.activity("Create", hub.proposal(number))] for number in (1, 2)]
    hub.publish_outbox(*outbox)
    crawling.follow(hub)
    hub.unchanged.clear()
    with transaction(crawling.engine) as session:
        session.execute(update(Listing).values(confirmed_at=now(session) - timedelta(days=8)))
    crawling.make_due(Peer)
    crawling.work()

    assert hub.unchanged == ["/group", "/outbox", "/outbox?page=1", "/outbox?page=2"]
    with reading(crawling.engine) as session:
        oldest = session.scalar(select(func.min(Listing.confirmed_at)))
        assert oldest is not None
        assert now(session) - oldest < timedelta(hours=1)


def test_a_page_that_can_be_read_at_last_is_put_aside_no_longer(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.put("/outbox", {"id": f"{hub.base}/outbox", "type": "Note"})
    crawling.follow(hub)
    assert list(crawling.put_aside()) == [f"{hub.base}/outbox"]

    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    assert crawling.put_aside() == {}
