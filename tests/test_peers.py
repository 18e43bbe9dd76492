"""Hubs that agreed are followed and looked at again, until they are gone or say no."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, func, select, update

from commons.database import Base, now, reading, transaction
from commons.errors import (
    ConflictError,
    LocalPayError,
)
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler import registration
from crawler.following import attend
from crawler.peer_reports import peer_report
from crawler.peers import (
    GONE_AFTER,
    LOOK_AGAIN,
    TRANSITIONS,
    Peer,
    PeerState,
    move,
)


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def admit(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        registration.admit(session, hub.name)


def test_without_consent_nothing_is_followed(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub, hub.registration(listings=False))
    admit(crawling, hub)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.DISCOVERED
    assert hub.taken == []


def test_a_hub_that_agreed_is_followed_and_live_once_it_accepts(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()

    (follow,) = hub.taken
    assert (follow["type"], follow["object"]) == ("Follow", hub.actor_uri)
    assert crawling.peer(hub).state is PeerState.FOLLOWING
    crawling.push(hub, hub.activity("Accept", follow))
    crawling.work()

    peer = crawling.peer(hub)
    assert peer.state is PeerState.LIVE
    assert peer.due_at is not None
    assert peer.last_looked_at is not None
    assert peer.due_at - peer.last_looked_at == LOOK_AGAIN


def test_an_accept_of_another_follow_or_by_a_member_changes_nothing(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    crawling.work()
    member = hub.member()

    crawling.push(hub, hub.activity("Accept", "http://testserver/actor/follows/999"))
    crawling.push(hub, hub.activity("Accept", hub.taken[0]["id"], by=member))
    crawling.work()

    assert crawling.peer(hub).state is PeerState.FOLLOWING


def test_a_rejected_follow_is_not_sent_again(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    crawling.work()
    crawling.push(hub, hub.activity("Reject", hub.taken[0]["id"]))
    crawling.work()

    assert crawling.peer(hub).state is PeerState.CONSENTED
    crawling.make_due(Peer)
    crawling.work()
    assert len(hub.taken) == 1


def test_a_hub_is_admitted_once_and_only_if_it_registered(
    crawling: Crawling, hub: HubServer
) -> None:
    with pytest.raises(LocalPayError, match="registered"):
        admit(crawling, hub)
    crawling.register(hub)
    admit(crawling, hub)
    with pytest.raises(ConflictError):
        admit(crawling, hub)


def test_a_hub_that_is_down_is_tried_again_and_shown_as_such(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    hub.is_down = True
    waits = []
    for _ in range(3):
        crawling.make_due(Peer)
        crawling.work(rounds=3)
        with reading(crawling.engine) as session:
            report = peer_report(session, hub.name)
            assert report.next_look_at is not None
            waits.append(report.next_look_at - now(session))

    assert (report.state, report.failures) == (PeerState.STALE, 3)
    assert report.last_error is not None
    assert "503" in report.last_error
    assert all(timedelta(0) < wait < timedelta(minutes=4) for wait in waits)

    hub.is_down = False
    crawling.register(hub)  # it says itself that it is up again
    crawling.work()
    with reading(crawling.engine) as session:
        healed = peer_report(session, hub.name)
    assert (healed.state, healed.failures, healed.last_error) == (PeerState.LIVE, 0, None)


def test_a_follow_that_is_not_taken_shows_in_the_report(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    hub.is_down = True
    crawling.work()

    with reading(crawling.engine) as session:
        report = peer_report(session, hub.name)
    assert (report.state, report.failures) == (PeerState.FOLLOWING, 2)  # the look failed too
    assert report.last_error is not None
    assert "503" in report.last_error

    hub.is_down = False
    crawling.register(hub)
    crawling.work()
    with reading(crawling.engine) as session:
        assert peer_report(session, hub.name).last_error is None
    assert "Follow" in {activity["type"] for activity in hub.taken}


def test_thirty_days_of_silence_withdraw_a_hubs_listings(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    assert crawling.titles() == ["Bicycle repair 1"]
    hub.is_down = True
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(last_heard_at=now(session) - GONE_AFTER))
    crawling.make_due(Peer)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.GONE
    assert crawling.titles() == []

    hub.is_down = False
    crawling.push(hub, hub.activity("Update", hub.member()))
    crawling.work()
    crawling.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_hub_whose_actor_is_gone_is_gone(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    hub.gone("/group")
    crawling.make_due(Peer)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.GONE
    assert crawling.titles() == []


def test_a_hub_that_turns_indexable_off_is_left_out(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    hub.publish_actor(indexable=False)
    crawling.push(hub, hub.activity("Update", {"id": hub.actor_uri, "type": "Group"}))
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.consented_at) == (PeerState.DISCOVERED, None)
    assert crawling.titles() == []


def test_a_suspended_hub_is_not_looked_at(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    with transaction(crawling.engine) as session:
        session.execute(update(Hub).values(state=HubState.SUSPENDED))
    hub.asked.clear()
    peer_id = crawling.peer(hub).id

    due_at = crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id))

    assert (due_at, hub.asked) == (None, [])


def test_every_state_has_its_transitions_and_no_other_move_is_made(
    crawling: Crawling, hub: HubServer
) -> None:
    assert set(TRANSITIONS) == set(PeerState)
    assert all(
        PeerState.BLOCKED in targets for state, targets in TRANSITIONS.items() if state != "blocked"
    )
    crawling.register(hub)
    peer_id = crawling.peer(hub).id
    with transaction(crawling.engine) as session:
        assert not move(session, peer_id, PeerState.LIVE, PeerState.STALE)
        with pytest.raises(ValueError, match="does not go"):
            move(session, peer_id, PeerState.DISCOVERED, PeerState.LIVE)
    assert crawling.peer(hub).state is PeerState.CONSENTED


def test_the_tables_of_the_crawler_are_there(engine: Engine) -> None:
    with reading(engine) as session:
        for name in (
            "peers",
            "crawled_pages",
            "put_aside",
            "inbox_messages",
            "deliveries",
            "authors",
        ):
            assert session.scalar(select(func.count()).select_from(Base.metadata.tables[name])) == 0
