"""Hubs heard of elsewhere are noted within bounds, and asked weekly whether they agree by now."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from hub_server import Crawling, HubServer
from other_software import Site, count, join, nothing_kept, peer_of
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler import joining
from crawler.discovering import A_DAY_MOST, IN_DOMAIN_MOST, note, note_links
from crawler.peers import GONE_AFTER, LOOK_AGAIN, Peer, PeerKind, PeerState


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().serving() as serving:
        yield serving


def test_a_discovered_hub_is_asked_weekly_and_followed_once_it_agrees(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona")
    join(crawling, uri)
    ask = partial(joining.ask_consent, crawling.engine)
    peer_id = peer_of(crawling.engine, uri).id

    due_at = crawling.run(lambda door: ask(door, peer_id))
    with reading(crawling.engine) as session:
        assert due_at is not None
        assert abs(due_at - now(session) - LOOK_AGAIN) < timedelta(minutes=1)
    site.actor("/group", "Group", "barcelona", indexable=True)
    crawling.make_due(Peer)
    crawling.work()

    assert peer_of(crawling.engine, uri).state is PeerState.FOLLOWING
    assert [activity["type"] for activity in site.taken] == ["Follow"]


def test_a_discovered_hub_that_is_gone_or_silent_is_forgotten(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona")
    join(crawling, uri)
    site.put("/group", b"", status=503)
    crawling.make_due(Peer)
    crawling.work(rounds=2)
    assert peer_of(crawling.engine, uri).state is PeerState.DISCOVERED

    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state_since=now(session) - GONE_AFTER))
    crawling.make_due(Peer)
    crawling.work(rounds=2)
    assert nothing_kept(crawling.engine)

    join(crawling, site.actor("/group", "Group", "barcelona"))
    site.put("/group", b"", status=410)
    crawling.make_due(Peer)
    crawling.work(rounds=2)
    assert nothing_kept(crawling.engine)


# Bounds on what is only heard of


def test_what_a_domain_may_have_noted_is_bounded(sqlite_engine: Engine) -> None:
    def noted(moment_ago: timedelta, start: int, many: int) -> int:
        with transaction(sqlite_engine) as session:
            found = [
                note(session, f"https://h{number}.hub.example/group", found_by="a link")
                for number in range(start, start + many)
            ]
            session.execute(update(Peer).values(state_since=now(session) - moment_ago))
            return sum(peer is not None for peer in found)

    a_day, kept = timedelta(days=1), 0
    for start in range(0, 100, 20):
        kept += noted(a_day, start, 20)

    assert kept == IN_DOMAIN_MOST
    assert noted(a_day, 0, 1) == 1  # known already
    assert noted(a_day, 200, 1) == 0
    with transaction(sqlite_engine) as session:
        assert note(session, "https://nothub.example/group", found_by="a link") is not None
        links = [f"https://h{number}.leeds.example/group" for number in range(30)]
        sender = Peer(actor_uri="https://hub.example/1", kind=PeerKind.ACTIVITYPUB)
        note_links(session, sender, [*links[:15], None, sender.actor_uri])
        note_links(session, sender, links[15:])
        found = session.scalars(select(Peer).where(Peer.found_by.contains("a link of"))).all()
        assert len(found) == A_DAY_MOST
        assert {peer.state for peer in found} == {PeerState.DISCOVERED}
        assert all(peer.due_at is not None for peer in found)


def test_a_group_that_a_listing_names_is_discovered_and_joins_once_it_agrees(
    crawling: Crawling, site: Site
) -> None:
    named = site.actor("/leeds", "Group", "leeds", indexable=True)
    with HubServer().serving() as hub:
        crawling.follow(hub)
        crawling.push(hub, hub.activity("Create", hub.proposal(1, audience=named)))
        crawling.push(hub, hub.activity("Create", hub.proposal(2)))
        crawling.work()

        peer = peer_of(crawling.engine, named)
        assert (peer.found_by, peer.group_id) == (f"a link of {hub.actor_uri}", "leeds")
        assert [activity["type"] for activity in site.taken] == ["Follow"]
        assert count(crawling.engine, Peer) == 2
        assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_what_a_listing_names_and_is_no_actor_is_forgotten(crawling: Crawling) -> None:
    with HubServer().serving() as hub:
        crawling.follow(hub)
        followers = hub.put("/followers", {"id": f"{hub.base}/followers", "type": "Collection"})
        crawling.push(hub, hub.activity("Create", hub.proposal(1, audience=followers)))
        crawling.work()

        assert count(crawling.engine, Peer) == 1
        assert crawling.titles() == ["Bicycle repair 1"]


def test_what_an_unwanted_listing_names_is_not_noted(crawling: Crawling, site: Site) -> None:
    named = site.actor("/leeds", "Group", "leeds", indexable=True)
    with HubServer().serving() as hub:
        crawling.follow(hub)
        hub.member("ines", indexable=False)
        crawling.push(hub, hub.activity("Create", hub.proposal(1, to=[], audience=named)))
        crawling.push(hub, hub.activity("Create", hub.proposal(2, name="", audience=named)))
        crawling.work()

        assert count(crawling.engine, Peer) == 1
        assert site.asked == []
