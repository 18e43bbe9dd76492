"""What the inbox does where something breaks, and what in the end it forgets that it ever came."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import OperationalError

from commons.database import now, reading, transaction
from commons.fetch import Door
from commons.settings import Settings
from commons.signatures import Message
from crawler import inbox, kept, signers
from crawler.inbox import Inbox
from crawler.kept import InboxMessage, PutAside, put_aside
from crawler.peers import PeerState
from marketplace import tombstones
from marketplace.listings import Listing

HOURS_OF_PATIENCE = 10


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def test_pushes_are_told_of_an_error_that_nobody_foresaw_and_the_next_are_taken(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Inbox(crawling.engine)
    first, second, third = (
        hub.signed(crawling.settings, hub.activity("Create", hub.proposal(number)))
        for number in (1, 2, 3)
    )

    def broken(_engine: Engine, _messages: Sequence[Message]) -> list[None]:
        raise OperationalError("SELECT", {}, ConnectionError("the database went away"))

    async def push(door: Door) -> None:
        with monkeypatch.context() as hiccup:
            hiccup.setattr(signers, "verified_at_once", broken)
            both = asyncio.gather(
                box.receive(door, first), box.receive(door, second), return_exceptions=True
            )
            told = await asyncio.wait_for(both, HOURS_OF_PATIENCE)
        assert [type(error) for error in told] == [OperationalError, OperationalError]
        await asyncio.wait_for(box.receive(door, third), HOURS_OF_PATIENCE)

    crawling.run(push)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 3"]


def backdate(crawling: Crawling, age: timedelta) -> None:
    with transaction(crawling.engine) as session:
        session.execute(update(InboxMessage).values(received_at=now(session) - age))


def arrivals(crawling: Crawling) -> list[str]:
    with reading(crawling.engine) as session:
        return list(session.scalars(select(InboxMessage.activity_type).order_by(InboxMessage.id)))


def test_that_something_came_is_forgotten_after_30_days_and_some_at_a_time(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FORGOTTEN_AT_ONCE", 2)
    first = hub.activity("Create", hub.proposal(1))
    crawling.push_and_work(hub, first, hub.activity("Dance", hub.actor_uri))
    assert arrivals(crawling) == ["Accept", "Create", "Dance"]
    backdate(crawling, inbox.ARRIVALS_KEPT - timedelta(hours=1))
    for number in (1, 2):
        crawling.push_and_work(hub, hub.activity("Skip", f"{hub.base}/skips/{number}"))
    assert arrivals(crawling) == ["Accept", "Create", "Dance", "Skip", "Skip"]

    backdate(crawling, inbox.ARRIVALS_KEPT + timedelta(seconds=1))
    crawling.push_and_work(hub, hub.activity("Jump", hub.actor_uri))
    assert arrivals(crawling) == ["Dance", "Skip", "Skip", "Jump"]
    crawling.push_and_work(hub, hub.activity("Jump", hub.actor_uri))
    assert arrivals(crawling) == ["Skip", "Jump", "Jump"]
    assert crawling.titles() == ["Bicycle repair 1"]

    before = crawling.listing(first["object"]["id"]).revision
    crawling.push_and_work(hub, first)  # once more, and nothing comes of it
    assert crawling.listing(first["object"]["id"]).revision == before


def test_what_still_waits_is_never_forgotten(crawling: Crawling, hub: HubServer) -> None:
    crawling.push(hub, hub.activity("Create", hub.proposal(1)))
    backdate(crawling, inbox.ARRIVALS_KEPT + timedelta(days=1))
    crawling.push(hub, hub.activity("Create", hub.proposal(2)))
    crawling.work()

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_a_block_can_be_undone_by_its_id_however_old_and_of_several_the_last_is_kept(
    crawling: Crawling, hub: HubServer
) -> None:
    blocks = [hub.activity("Block", "http://testserver/actor") for _ in range(3)]
    crawling.push_and_work(hub, *blocks)
    assert arrivals(crawling).count("Block") == 1
    backdate(crawling, inbox.ARRIVALS_KEPT + timedelta(days=1))
    crawling.push_and_work(hub, hub.activity("Dance", hub.actor_uri))
    assert crawling.peer(hub).state is PeerState.BLOCKED

    crawling.push_and_work(hub, hub.activity("Undo", blocks[-1]["id"]))
    assert crawling.peer(hub).state is not PeerState.BLOCKED


def test_of_a_peer_only_so_much_is_put_aside_and_what_is_tried_again_goes_last(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "ASIDE_MOST", 3)
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        crawling.push_and_work(other, other.activity("Create", other.proposal(0, name=None)))
        peer_id = crawling.peer(hub).id
        for number in range(5):
            with transaction(crawling.engine) as session:
                again_at = now(session) + timedelta(hours=1) if number == 0 else None
                put_aside(
                    session,
                    peer_id,
                    f"{hub.base}/{number}",
                    "no",
                    again_at=again_at,
                    is_vouched=True,
                )

        with reading(crawling.engine) as session:
            mine = select(PutAside.uri).where(PutAside.peer_id == peer_id).order_by(PutAside.id)
            assert session.scalars(mine).all() == [f"{hub.base}/{number}" for number in (0, 3, 4)]
        assert len(crawling.put_aside()) == 4

        monkeypatch.setattr(kept, "ASIDE_MOST", 1)
        crawling.push_and_work(hub, hub.activity("Create", hub.proposal(9, name=None)))
        assert [uri for uri in crawling.put_aside() if uri.startswith(hub.base)] == [
            f"{hub.base}/0"
        ]


def test_a_delete_of_what_never_came_is_remembered_for_30_days(
    crawling: Crawling, hub: HubServer
) -> None:
    listed = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", listed))
    crawling.push_and_work(hub, hub.delete(listed, hours=1))
    for number in (2, 3):
        crawling.push_and_work(hub, hub.delete(hub.proposal(number), hours=1))
    assert crawling.count(Listing) == 3

    def age(number: int, years: int) -> None:
        with transaction(crawling.engine) as session:
            row = session.scalars(
                select(Listing).where(Listing.uri == f"{hub.base}/proposals/{number}")
            ).one()
            row.published -= tombstones.KEPT * years
            row.updated -= tombstones.KEPT * years
            row.confirmed_at -= tombstones.KEPT * years

    age(1, 2)
    age(2, 2)
    crawling.push_and_work(hub, hub.delete(hub.proposal(4), hours=1))
    with reading(crawling.engine) as session:
        left = session.scalars(select(Listing.uri).order_by(Listing.uri)).all()
    assert left == [f"{hub.base}/proposals/{number}" for number in (1, 3, 4)]
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(3)))
    assert crawling.titles() == []
