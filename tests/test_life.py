"""A peer's life after it agreed: read at once, weekly, stale, gone, blocked, suspended, back."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, update

from commons.database import now, transaction
from commons.errors import FetchError
from commons.settings import Settings
from crawler.delivery import Delivery
from crawler.following import attend
from crawler.peers import GONE_AFTER, LOOK_AGAIN, Peer, PeerState, heard, revoke
from marketplace.listings import CONFIRM_AGAIN, Listing


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def creates(hub: HubServer, *numbers: int) -> list[Json]:
    return [hub.activity("Create", hub.serve(hub.proposal(number))) for number in numbers]


def collection(hub: HubServer, path: str, *items: object) -> str:
    whole = {"type": "OrderedCollection", "id": hub.base + path, "orderedItems": list(items)}
    return hub.put(path, whole)


def follows(hub: HubServer) -> int:
    return sum(activity["type"] == "Follow" for activity in hub.taken)


def long_ago(crawling: Crawling, **columns: object) -> None:
    """Have each peer's times lie a week back, and no look under way."""
    with transaction(crawling.engine) as session:
        then = now(session) - timedelta(days=8)
        times = ("state_since", "crawl_began_at", "crawled_at", "last_looked_at")
        session.execute(update(Peer).values(**dict.fromkeys(times, then), **columns))
        session.execute(update(Listing).values(confirmed_at=then))
    crawling.make_due(Peer)


def test_a_hub_that_agreed_is_read_at_once_though_it_never_accepts(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.register(hub)
    crawling.work()

    assert crawling.titles() == ["Bicycle repair 1"]
    assert (crawling.peer(hub).state, follows(hub)) == (PeerState.FOLLOWING, 1)

    hub.publish_outbox(creates(hub, 2, 1))
    long_ago(crawling)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    assert (crawling.peer(hub).state, follows(hub)) == (PeerState.FOLLOWING, 2)


def test_a_hub_whose_inbox_is_shut_is_read_all_the_same(crawling: Crawling, hub: HubServer) -> None:
    hub.missing.add("/inbox")
    hub.publish_outbox(creates(hub, 1))
    crawling.register(hub)
    crawling.work()

    assert (crawling.titles(), hub.taken) == (["Bicycle repair 1"], [])


def test_an_accept_days_later_has_what_was_missed_read(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    crawling.work()
    hub.publish_outbox(creates(hub, 1))
    long_ago(crawling, due_at=None)
    crawling.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(due_at=None))
    crawling.work()

    assert crawling.peer(hub).state is PeerState.LIVE
    assert crawling.titles() == ["Bicycle repair 1"]


def test_an_accept_at_once_has_nothing_read_twice(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    crawling.work()
    hub.asked.clear()
    crawling.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    crawling.work()

    assert crawling.peer(hub).state is PeerState.LIVE
    assert "/outbox" not in hub.asked


@pytest.mark.parametrize("ending", ["Reject", "Undo"])
def test_a_hub_that_ends_the_follow_is_still_read_and_not_asked_again(
    crawling: Crawling, hub: HubServer, ending: str
) -> None:
    crawling.register(hub)
    crawling.work()
    follow = hub.taken[-1]["id"]
    accept = hub.activity("Accept", follow)
    crawling.push(hub, accept)
    crawling.work()
    crawling.push(hub, hub.activity(ending, follow if ending == "Reject" else accept["id"]))
    crawling.work()
    assert crawling.peer(hub).state is PeerState.CONSENTED

    hub.publish_outbox(creates(hub, 1))
    long_ago(crawling)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    assert (crawling.peer(hub).state, follows(hub)) == (PeerState.CONSENTED, 1)

    crawling.register(hub)
    crawling.work()
    assert follows(hub) == 2


def test_an_undone_accept_of_something_else_changes_nothing(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    other = hub.activity("Accept", "http://testserver/actor/follows/999")
    crawling.push_and_work(hub, other)
    crawling.push_and_work(hub, hub.activity("Undo", other["id"]))
    crawling.push_and_work(
        hub, hub.activity("Undo", {**other, "object": hub.taken[-1]["id"]}, by=hub.member())
    )

    assert crawling.peer(hub).state is PeerState.LIVE


def test_listings_are_found_in_all_places_where_they_are_published(
    crawling: Crawling, hub: HubServer
) -> None:
    linked = hub.serve(hub.proposal(1))
    hub.publish_outbox(creates(hub, 2))
    link = {
        "type": "Link",
        "rel": ["payment", "https://w3id.org/valueflows/ont/vf#Proposal"],
        "href": linked["id"],
        "mediaType": "application/activity+json",
    }
    hub.publish_actor(
        attachment=[link, {"type": "PropertyValue", "name": "town", "value": "Gràcia"}],
        featured=collection(hub, "/featured", hub.serve(hub.proposal(3))["id"]),
        wanted=collection(hub, "/wanted", hub.proposal(4)),
        streams=[collection(hub, "/a", *creates(hub, 5)), collection(hub, "/b", *creates(hub, 6))],
    )
    crawling.register(hub)
    crawling.work()
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(7)))
    announced = hub.serve(hub.proposal(8))
    crawling.push_and_work(hub, hub.activity("Announce", announced["id"]))

    assert crawling.titles() == [f"Bicycle repair {number}" for number in range(1, 9)]


def test_a_collection_that_fails_or_is_anothers_stops_no_other(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("leeds").serving() as other:
        theirs = collection(other, "/offers", other.proposal(9))
        hub.publish_outbox(creates(hub, 1))
        hub.publish_actor(
            proposals=f"{hub.base}/none",
            offers=theirs,
            needs=hub.put("/needs", {"type": "Person", "id": f"{hub.base}/needs"}),
            featured=f"{hub.base}/outbox",
            wanted=collection(hub, "/wanted", hub.proposal(2)),
        )
        crawling.register(hub)
        crawling.work()

        assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
        assert other.asked == []
        assert hub.asked.count("/outbox") == 1
        assert set(crawling.put_aside()) == {f"{hub.base}/none", f"{hub.base}/needs"}


def test_a_hub_without_an_outbox_is_read_in_its_other_places(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_actor(outbox=None, offers=collection(hub, "/offers", hub.proposal(1)))
    crawling.register(hub)
    crawling.work()

    assert crawling.titles() == ["Bicycle repair 1"]
    peer = crawling.peer(hub)
    assert peer.due_at is not None
    assert peer.last_looked_at is not None
    assert peer.due_at - peer.last_looked_at == LOOK_AGAIN


def test_every_listing_is_looked_at_within_a_week() -> None:
    assert timedelta(days=7) >= LOOK_AGAIN + CONFIRM_AGAIN


def test_a_hub_that_is_gone_for_its_silence_is_asked_monthly_and_followed_anew(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    crawling.push_and_work(hub, *creates(hub, 2))
    hub.is_down = True
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(last_heard_at=now(session) - GONE_AFTER))
    crawling.make_due(Peer)
    crawling.work()
    peer = crawling.peer(hub)
    assert (peer.state, crawling.titles()) == (PeerState.GONE, [])
    assert peer.due_at is not None
    assert peer.due_at - peer.state_since >= GONE_AFTER
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.peer(hub).state is PeerState.GONE

    hub.is_down = False
    crawling.make_due(Peer)
    crawling.work()
    assert (crawling.peer(hub).state, follows(hub)) == (PeerState.FOLLOWING, 2)
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_a_hub_that_says_it_is_gone_is_not_asked_again(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    hub.gone("/group")
    crawling.make_due(Peer)
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.due_at) == (PeerState.GONE, None)


@pytest.mark.parametrize("said", [{"noindex": True}, {"suspended": True}, {"indexable": False}])
def test_a_group_that_asks_not_to_be_indexed_is_left_out(
    crawling: Crawling, hub: HubServer, said: Json
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    said = {"xRobotsTag": "noindex"} if "noindex" in said else said
    hub.publish_actor(**said)
    long_ago(crawling)
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.consented_at, crawling.titles()) == (PeerState.DISCOVERED, None, [])


def test_a_hub_that_unblocks_us_is_discovered_until_it_agrees_anew(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    ours = f"{crawling.settings.base_url}/actor"
    block = hub.activity("Block", ours)
    crawling.push_and_work(hub, block)
    assert (crawling.peer(hub).state, crawling.titles()) == (PeerState.BLOCKED, [])
    other = {**block, "id": f"{hub.base}/blocks/7", "object": "http://elsewhere.example/actor"}
    crawling.push_and_work(hub, hub.activity("Undo", other))
    crawling.push_and_work(hub, hub.activity("Undo", block, by=hub.member()))
    assert crawling.peer(hub).state is PeerState.BLOCKED

    crawling.push_and_work(hub, hub.activity("Undo", block))
    crawling.push_and_work(hub, *creates(hub, 2))
    assert (crawling.peer(hub).state, crawling.titles()) == (PeerState.DISCOVERED, [])
    crawling.register(hub)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_hub_that_does_not_answer_is_due_again_and_never_finally_failed(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    hub.documents["/group"] = (404, {})
    peer_id = crawling.peer(hub).id
    with pytest.raises(FetchError) as failed:
        crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id))
    assert not failed.value.final


def test_a_revoked_hubs_follow_that_waits_is_not_sent(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    peer_id = crawling.peer(hub).id
    crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id))
    assert crawling.count(Delivery) == 1
    with transaction(crawling.engine) as session:
        revoke(session, session.get_one(Peer, peer_id, with_for_update=True))
    crawling.work()

    assert hub.taken == []


def test_whoever_was_given_up_and_speaks_is_read_from_the_beginning(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state=PeerState.GONE, crawl_page="x", crawl_offset=3))
        heard(session, crawling.peer(hub).id)
    peer = crawling.peer(hub)
    assert (peer.state, peer.crawl_page, peer.crawl_offset) == (PeerState.CONSENTED, None, 0)
    assert (peer.follow_uri, peer.crawl_began_at) == (None, None)
