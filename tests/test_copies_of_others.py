"""What other hubs pushed of a listing goes with it, however it goes."""

from collections.abc import Callable, Iterator

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, select

from commons.database import reading, transaction
from commons.settings import Settings
from crawler import authors, suspension
from crawler.kept import InboxMessage, PutAside, put_aside
from crawler.peers import Peer, PeerState, failed, revoke

WORD = "Bicycle"


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


@pytest.fixture
def other(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer("other").serving() as serving:
        crawling.follow(serving)
        yield serving


def kept(crawling: Crawling) -> list[str]:
    """Return all that is kept as it came and tells of the listing."""
    with reading(crawling.engine) as session:
        told = [
            *session.scalars(select(InboxMessage.body)),
            *session.scalars(select(PutAside.document)),
        ]
    return [text for text in told if text and WORD in text]


def the_hub_takes_its_word_back(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        peer = session.get_one(Peer, crawling.peer(hub).id, with_for_update=True)
        revoke(session, peer)


def the_hub_says_no(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_actor(indexable=False)
    crawling.push_and_work(hub, hub.activity("Update", hub.actor_uri, by=hub.actor_uri))


def the_hub_blocks_us(crawling: Crawling, hub: HubServer) -> None:
    crawling.push_and_work(hub, hub.activity("Block", "http://testserver/actor"))


def the_hub_is_suspended(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        suspension.suspend(session, hub.name, "spam")


def the_hub_is_gone(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        assert failed(session, crawling.peer(hub).id, gone=True) is PeerState.GONE


def the_author_is_gone(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        authors.left(session, f"{hub.base}/members/ines")


@pytest.mark.parametrize(
    "goes",
    [
        the_hub_takes_its_word_back,
        the_hub_says_no,
        the_hub_blocks_us,
        the_hub_is_suspended,
        the_hub_is_gone,
        the_author_is_gone,
    ],
)
def test_nothing_that_another_hub_pushed_outlives_a_listing(
    crawling: Crawling,
    hub: HubServer,
    other: HubServer,
    goes: Callable[[Crawling, HubServer], None],
) -> None:
    proposal = hub.serve(hub.proposal(1))
    crawling.push_and_work(other, other.activity("Announce", proposal, by=other.actor_uri))
    with transaction(crawling.engine) as session:
        peer_id = crawling.peer(other).id
        put_aside(
            session, peer_id, proposal["id"], "old", document=proposal["name"], is_vouched=False
        )
    assert crawling.titles() == ["Bicycle repair 1"]
    assert len(kept(crawling)) == 2
    goes(crawling, hub)

    assert (crawling.titles(), kept(crawling)) == ([], [])
