"""What a crawl did not confirm is asked for where it lives, and goes, changes or stays by that."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json, at
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.errors import FetchError
from commons.settings import Settings
from crawler import second_look
from crawler.backfill import Budget
from crawler.following import attend
from crawler.peers import GONE_AFTER, Peer, PeerKind, PeerState, discover
from crawler.relays import Relay, RelayStyle
from marketplace.listings import Listing, WithdrawnReason


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def held(crawling: Crawling, hub: HubServer, *numbers: int, **more: Any) -> list[Json]:  # noqa: ANN401 (any JSON)
    """Have listings that were pushed once and that the outbox does not tell of."""
    proposals = [hub.serve(hub.proposal(number, **more)) for number in numbers]
    crawling.push_and_work(hub, *(hub.activity("Create", one) for one in proposals))
    return proposals


def age(crawling: Crawling, days: int = 8, **columns: Any) -> None:  # noqa: ANN401 (columns)
    """Have everything last been looked at days ago."""
    with transaction(crawling.engine) as session:
        then = now(session) - timedelta(days=days)
        session.execute(update(Listing).values(confirmed_at=then))
        times = ("crawl_began_at", "crawled_at", "last_looked_at")
        session.execute(update(Peer).values(**dict.fromkeys(times, then), **columns))


def look(crawling: Crawling) -> None:
    crawling.make_due(Peer)
    crawling.work()


def asked(hub: HubServer) -> list[str]:
    return [path for path in hub.asked if path.startswith("/proposals/")]


def reason(crawling: Crawling, proposal: Json) -> WithdrawnReason | None:
    return crawling.listing(proposal["id"]).withdrawn_reason


def test_each_listing_that_the_outbox_does_not_tell_of_is_asked_for_weekly(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(9))])
    crawling.follow(hub)
    held(crawling, hub, 1, 2)
    look(crawling)
    assert asked(hub) == []  # they came today

    age(crawling)
    look(crawling)
    assert sorted(asked(hub)) == ["/proposals/1", "/proposals/2"]
    assert len(crawling.titles()) == 3
    with reading(crawling.engine) as session:
        confirmed = session.scalars(select(Listing.confirmed_at)).all()
        assert all(now(session) - moment < timedelta(hours=1) for moment in confirmed)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (410, WithdrawnReason.DELETED),
        (404, WithdrawnReason.MISSING),
        (451, WithdrawnReason.MISSING),
        (200, WithdrawnReason.DELETED),
    ],
)
def test_what_is_gone_at_its_origin_is_withdrawn(
    crawling: Crawling, hub: HubServer, status: int, told: WithdrawnReason
) -> None:
    crawling.follow(hub)
    gone, _ = held(crawling, hub, 1, 2)
    age(crawling)
    hub.gone("/proposals/1", status)
    look(crawling)

    assert crawling.titles() == ["Bicycle repair 2"]
    assert reason(crawling, gone) is told


def test_what_is_missing_comes_back_with_its_origin(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    (proposal,) = held(crawling, hub, 1)
    age(crawling)
    hub.gone("/proposals/1", 404)
    look(crawling)
    assert crawling.titles() == []

    hub.publish_outbox([hub.activity("Create", proposal)])
    look(crawling)
    assert crawling.titles() == ["Bicycle repair 1"]


def test_what_changed_is_changed(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    held(crawling, hub, 1)
    hub.serve(hub.proposal(1, name="Changed", hours=5))
    age(crawling)
    look(crawling)

    assert crawling.titles() == ["Changed"]


@pytest.mark.parametrize(
    "change",
    [
        {"to": ["https://hub.example/followers"], "cc": [PUBLIC]},
        {"searchableBy": []},
        {"searchableBy": ["https://hub.example/followers"]},
    ],
)
def test_what_is_no_longer_for_everybody_is_withdrawn(
    crawling: Crawling, hub: HubServer, change: Json
) -> None:
    crawling.follow(hub)
    (proposal,) = held(crawling, hub, 1)
    hub.serve(hub.proposal(1, hours=5, **change))
    age(crawling)
    look(crawling)

    assert crawling.titles() == []
    assert reason(crawling, proposal) is WithdrawnReason.CONSENT


def test_what_is_no_offer_any_more_is_withdrawn(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    (proposal,) = held(crawling, hub, 1)
    hub.serve({**proposal, "type": "Person"})
    age(crawling)
    look(crawling)

    assert (crawling.titles(), reason(crawling, proposal)) == ([], WithdrawnReason.MISSING)


@pytest.mark.parametrize("status", [500, 403])
def test_what_cannot_be_had_now_stays_for_thirty_days(
    crawling: Crawling, hub: HubServer, status: int
) -> None:
    crawling.follow(hub)
    (proposal,) = held(crawling, hub, 1)
    hub.documents["/proposals/1"] = (status, {})
    age(crawling)
    look(crawling)
    peer = crawling.peer(hub)
    assert crawling.titles() == ["Bicycle repair 1"]
    assert (peer.state, peer.crawl_page) == (PeerState.LIVE, None)
    assert peer.last_looked_at is not None

    age(crawling, days=GONE_AFTER.days + 1)
    look(crawling)
    assert (crawling.titles(), reason(crawling, proposal)) == ([], WithdrawnReason.HUB_GONE)


def test_another_origin_does_not_answer_for_a_listing(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(hub)
        (proposal,) = held(crawling, hub, 1)
        fake = {**other.proposal(1, name="Fake", hours=9), "updated": at(9)}
        hub.put("/proposals/1", {**fake, "id": other.serve(fake)["id"]})
        age(crawling)
        look(crawling)

        assert crawling.titles() == []
        assert reason(crawling, proposal) is WithdrawnReason.MISSING
        assert other.asked == []


def test_it_goes_on_where_it_stopped_and_asks_for_each_once(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    held(crawling, hub, *range(1, 8))
    hub.documents["/proposals/3"] = (500, {})
    age(crawling)
    hub.asked.clear()
    peer_id = crawling.peer(hub).id
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(crawl_began_at=now(session)))
    rounds = 0
    while not crawling.run(lambda door: second_look.look(crawling.engine, door, peer_id, most=3)):
        rounds += 1
        assert len(asked(hub)) == 3 * rounds

    assert rounds == 2
    assert sorted(asked(hub)) == [f"/proposals/{number}" for number in range(1, 8)]


def test_a_look_of_many_listings_is_done_in_parts_without_reading_the_outbox_again(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    held(crawling, hub, *range(1, 6))
    age(crawling)
    hub.asked.clear()
    peer_id, budget = crawling.peer(hub).id, Budget(looks=2)
    found = []
    for _ in range(3):
        crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id, budget))
        found.append(len(set(asked(hub))))

    assert (found, len(asked(hub))) == ([2, 4, 5], 5)
    assert (hub.asked.count("/outbox"), hub.asked.count("/group")) == (1, 1)


def test_a_host_that_is_down_is_tried_later_and_what_was_skipped_waits(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    held(crawling, hub, *range(1, 6))
    with transaction(crawling.engine) as session:
        for row in session.scalars(select(Listing)):
            row.uri = row.uri.replace(hub.base, "http://127.0.0.1:1")
    age(crawling)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(crawl_began_at=now(session)))
    peer_id = crawling.peer(hub).id
    with pytest.raises(FetchError):
        crawling.run(lambda door: second_look.look(crawling.engine, door, peer_id, 9))

    assert len(crawling.titles()) == 5
    assert crawling.peer(hub).crawl_page is not None


def test_nothing_is_asked_of_a_hub_that_agreed_no_longer(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    held(crawling, hub, 1)
    age(crawling, state=PeerState.DISCOVERED)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(crawl_began_at=now(session)))
    peer_id = crawling.peer(hub).id
    hub.asked.clear()

    assert crawling.run(lambda door: second_look.look(crawling.engine, door, peer_id, 9))
    assert hub.asked == []


def test_what_came_by_a_relay_and_has_no_hub_is_looked_at_too(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    hub.member("ines", indexable=True)
    gone, stays = held(crawling, hub, 1, 2)
    inbox = f"{hub.base}/relay/inbox"
    uri = hub.put("/relay", {"id": f"{hub.base}/relay", "type": "Application", "inbox": inbox})
    with transaction(crawling.engine) as session:
        relay = discover(session, uri, found_by="tests", kind=PeerKind.RELAY)
        relay.state = PeerState.LIVE
        session.add(Relay(peer_id=relay.id, style=RelayStyle.MASTODON, inbox_uri=inbox))
        session.execute(update(Listing).values(group_id=None))
        peer_id = relay.id
    age(crawling)
    hub.gone("/proposals/1")
    hub.asked.clear()
    crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id))

    assert sorted(asked(hub)) == ["/proposals/1", "/proposals/2"]
    assert reason(crawling, gone) is WithdrawnReason.DELETED
    assert reason(crawling, stays) is None


def test_a_source_loses_what_a_whole_crawl_did_not_find_and_only_that(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    old, new = held(crawling, hub, 1, 2)
    age(crawling)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(crawl_began_at=now(session)))
        found = update(Listing).where(Listing.uri == new["id"])
        session.execute(found.values(confirmed_at=now(session)))
    with transaction(crawling.engine) as session:
        peer = session.get_one(Peer, crawling.peer(hub).id)
        assert second_look.withdraw_unconfirmed(session, peer) == 1

    assert reason(crawling, old) is WithdrawnReason.MISSING
    assert crawling.titles() == ["Bicycle repair 2"]
    crawling.push_and_work(hub, hub.activity("Create", old))
    assert len(crawling.titles()) == 2
