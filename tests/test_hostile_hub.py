"""One hub floods, poisons, or lets us wait: another's message is handled in the next claim."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, func, select

from commons.database import reading
from commons.errors import TooManyError
from commons.fetch import Door
from commons.jobs import run_once
from commons.settings import Settings
from crawler import inbox, work
from crawler.inbox import Inbox
from crawler.kept import InboxMessage
from crawler.peers import PeerState

FLOOD: Final = 600


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def evil(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer("evil").serving() as hub:
        crawling.follow(hub)
        hub.member()
        yield hub


@pytest.fixture
def honest(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer("honest").serving() as hub:
        crawling.follow(hub)
        hub.member()
        yield hub


def flood(crawling: Crawling, hub: HubServer, activities: list[Json]) -> list[BaseException]:
    """Push all at once; return what was refused."""
    receiving = Inbox(crawling.engine)
    messages = [hub.signed(crawling.settings, activity) for activity in activities]

    async def together(door: Door) -> list[BaseException]:
        sent = (receiving.receive(door, message) for message in messages)
        done = await asyncio.gather(*sent, return_exceptions=True)
        return [one for one in done if isinstance(one, BaseException)]

    return crawling.run(together)


def one_claim(crawling: Crawling) -> None:
    """Work on what is claimed at once of what was pushed, and on no more."""

    async def once(door: Door) -> None:
        jobs = work.jobs(crawling.engine, door, crawling.settings)
        await run_once(crawling.engine, [job for job in jobs if job.name == work.INBOX])

    crawling.run(once)


def waiting(crawling: Crawling, hub: HubServer) -> int:
    mine = InboxMessage.peer_id == crawling.peer(hub).id
    with reading(crawling.engine) as session:
        query = select(func.count()).where(mine, InboxMessage.due_at.is_not(None))
        return session.scalar(query) or 0


def test_a_flood_leaves_room_for_the_other_in_the_next_claim(
    crawling: Crawling, evil: HubServer, honest: HubServer
) -> None:
    many = [evil.activity("Create", evil.proposal(number)) for number in range(FLOOD)]
    assert flood(crawling, evil, many) == []
    crawling.push(honest, honest.activity("Create", honest.proposal(1, name="Honest")))
    one_claim(crawling)
    assert "Honest" in crawling.titles()
    assert waiting(crawling, honest) == 0
    assert waiting(crawling, evil) > 0  # the flood is not even done


def poisons(evil: HubServer) -> list[Json]:
    nobody = "http://127.0.0.1:9/proposals/1"
    made = [
        evil.activity("Create", evil.proposal(1, name=None)),
        evil.activity("Create", evil.proposal(2, content="<div>" * 10_000)),
        evil.activity("Create", evil.proposal(3, location={"latitude": "NaN", "longitude": 1})),
        evil.activity("Announce", nobody),
        evil.activity("Announce", f"{evil.base}/nowhere"),
        evil.activity("Announce", {"type": "Announce", "object": {"type": "Announce"}}),
        evil.activity("Update", evil.actor_uri),
        evil.activity("Delete", "urn:uuid:1"),
        evil.activity("Move", evil.actor_uri, target=nobody),
        evil.activity("Undo", {"type": "Undo", "object": {"type": "Undo"}}),
        evil.activity("Accept", {"type": "Follow"}),
        evil.activity("Offer", {"type": "Agreement", "stipulates": [[[]]]}),
        evil.activity("Create", {"type": ["Proposal", 7, None], "id": f"{evil.base}/x"}),
        evil.activity("Create", [[], {}, None, 7]),
        evil.activity("Create", {"@list": [{"@list": [{"@list": []}]}]}),
        evil.activity("Create", evil.proposal(4, attributedTo=nobody), by=evil.actor_uri),
        evil.activity("Create", evil.proposal(5, attributedTo=f"{evil.base}/nobody")),
        evil.activity("Create", evil.proposal(6, published={"@value": [1]})),
        evil.activity("Create", evil.proposal(7, reciprocal=[{"resourceQuantity": "x" * 5_000}])),
        evil.activity("Create", evil.proposal(8, tag=[{"type": "Hashtag", "name": "#" * 5_000}])),
    ]
    return [{**one, "id": f"{evil.base}/poison/{place}"} for place, one in enumerate(made)]


def test_poison_between_the_others_spoils_nothing(
    crawling: Crawling, evil: HubServer, honest: HubServer
) -> None:
    mixed = poisons(evil)
    good = [honest.activity("Create", honest.proposal(number)) for number in range(len(mixed))]
    for bad, one in zip(mixed, good, strict=True):
        crawling.push(evil, bad)
        crawling.push(honest, one)
    one_claim(crawling)
    assert len([title for title in crawling.titles() if "repair" in title]) >= len(good)
    assert waiting(crawling, honest) == 0
    assert crawling.peer(honest).state is PeerState.LIVE


def test_a_hub_that_answers_nothing_holds_up_nobody_else(
    crawling: Crawling, evil: HubServer, honest: HubServer
) -> None:
    """All that it announces must be asked for, and it is down."""
    evil.is_down = True
    many = [evil.activity("Announce", f"{evil.base}/proposals/{number}") for number in range(50)]
    assert flood(crawling, evil, many) == []
    crawling.push(honest, honest.activity("Create", honest.proposal(1, name="Honest")))
    one_claim(crawling)
    assert crawling.titles() == ["Honest"]


def test_a_full_backlog_is_the_flooders_alone(
    crawling: Crawling, evil: HubServer, honest: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BACKLOG_MAX", 50)
    many = [evil.activity("Dance", evil.actor_uri) for _ in range(120)]
    refused = flood(crawling, evil, many)
    assert {type(error) for error in refused} == {TooManyError}
    assert (len(refused), waiting(crawling, evil)) == (70, 50)
    assert flood(crawling, honest, [honest.activity("Dance", honest.actor_uri)]) == []
