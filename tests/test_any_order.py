"""A thousand shuffles of what is told of a listing end in the same listings."""

import asyncio
import random
from collections.abc import Iterator
from typing import Final

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, select

from commons.database import reading
from commons.fetch import Door
from commons.settings import Settings
from crawler.inbox import Inbox
from marketplace.listings import Listing, shown

SHUFFLES: Final = 1_000
AT_ONCE: Final = 250


@pytest.fixture
def crawling(sqlite_engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(sqlite_engine, settings) as crawling:
        yield crawling


def told_of(hub: HubServer, number: int) -> list[Json]:
    """All that is told of one listing; every third is announced, every fourth gone in the end."""
    first = hub.proposal(number, name=f"First {number}")
    middle = hub.proposal(number, hours=1, name=f"Middle {number}")
    last = hub.serve(hub.proposal(number, hours=2, name=f"Last {number}"))
    activities = [
        hub.activity("Create", first),
        hub.activity("Update", middle),
        hub.activity("Update", last),
    ]
    if number % 3 == 0:
        activities.append(hub.activity("Announce", last["id"]))
    if number % 4 == 0:
        activities.append(hub.delete(last, hours=3))
        hub.gone(f"/proposals/{number}")
    return activities


def kind_of(activity: Json) -> str:
    """Return an activity's type, and which version it brings."""
    told = activity["object"]
    version = told.get("name", "").split(" ")[0] if isinstance(told, dict) else ""
    return f"{activity['type']} {version}"


def push_all(crawling: Crawling, hub: HubServer, activities: list[Json]) -> None:
    """Push together, in their order."""
    receiving = Inbox(crawling.engine)
    messages = [hub.signed(crawling.settings, activity) for activity in activities]

    async def together(door: Door) -> None:
        await asyncio.gather(*(receiving.receive(door, message) for message in messages))

    crawling.run(together)


def test_a_thousand_shuffles_end_in_the_same_listings(crawling: Crawling) -> None:
    shuffled = random.Random(1)  # noqa: S311 (an order is no secret)
    with HubServer().serving() as hub:
        crawling.follow(hub)
        hub.member()
        orders = set()
        for start in range(0, SHUFFLES, AT_ONCE):
            lanes = [told_of(hub, number) for number in range(start, start + AT_ONCE)]
            for lane in lanes:
                shuffled.shuffle(lane)
                orders.add(tuple(map(kind_of, lane)))
            while any(lanes):
                # Of each listing one activity, or two, or none, before anything is handled.
                told = [
                    lane.pop(0) for lane in lanes for _ in range(shuffled.randint(0, 2)) if lane
                ]
                push_all(crawling, hub, told)
                crawling.work()
    assert len(orders) > 100  # of the 174 that there are of three to five

    ends = {
        f"{hub.base}/proposals/{number}": f"Last {number}"
        for number in range(SHUFFLES)
        if number % 4
    }
    with reading(crawling.engine) as session:
        found = dict(session.execute(select(Listing.uri, Listing.title).where(shown())).all())
        everything = len(session.scalars(select(Listing.id)).all())
    assert found == ends
    assert everything == SHUFFLES
