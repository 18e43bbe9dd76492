"""What a hub tells twice, takes back with what it came in, or says is finished."""

from collections.abc import Iterator

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json, at
from sqlalchemy import Engine, select

from commons.database import reading
from commons.settings import Settings
from crawler.peers import Peer
from marketplace.duplicates import Claim, sources_of
from marketplace.listings import WithdrawnReason


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def note_with(hub: HubServer, proposal: Json, hours: int = 0) -> Json:
    return {
        "id": f"{hub.base}/notes/1",
        "type": "Note",
        "attributedTo": proposal["attributedTo"],
        "content": "Bicycle repair",
        "published": at(0),
        "updated": at(hours),
        "to": [PUBLIC],
        "attachment": [proposal],
    }


def test_a_proposal_and_the_note_that_it_came_in_are_one_listing_with_both_addresses(
    crawling: Crawling, hub: HubServer
) -> None:
    proposal = hub.proposal(1)
    note = note_with(hub, proposal)
    bare = {**proposal, "id": note["id"]}
    for told in (bare, note, bare):
        crawling.push_and_work(hub, hub.activity("Create", told))
    assert crawling.titles() == ["Bicycle repair 1"]
    assert crawling.listing(note["id"]).withdrawn_reason is WithdrawnReason.DUPLICATE
    with reading(crawling.engine) as session:
        listing = crawling.listing(proposal["id"])
        assert sources_of(session, listing) == [proposal["id"], note["id"]]


def test_a_deleted_note_takes_the_proposal_along_that_came_in_it(
    crawling: Crawling, hub: HubServer
) -> None:
    note = note_with(hub, hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", note))
    assert crawling.titles() == ["Bicycle repair 1"]

    crawling.push_and_work(hub, hub.delete(note, 1))

    assert crawling.titles() == []
    with reading(crawling.engine) as session:
        assert session.scalars(select(Claim)).all() == []


def test_a_proposal_that_stands_by_itself_outlives_its_note(
    crawling: Crawling, hub: HubServer
) -> None:
    note = note_with(hub, hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", note), hub.delete(note, 1))
    crawling.push_and_work(hub, hub.activity("Update", hub.proposal(1, hours=2)))
    assert crawling.titles() == ["Bicycle repair 1"]


def test_nobody_takes_a_proposal_back_by_a_note_of_another_origin(
    crawling: Crawling, hub: HubServer
) -> None:
    proposal = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", note_with(hub, proposal)))
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        mine = {**other.proposal(1), "attributedTo": other.member("moss")}
        foreign = {**note_with(other, mine), "attachment": [proposal, mine]}
        crawling.push_and_work(other, other.activity("Create", foreign), other.delete(foreign, 1))
    assert crawling.titles() == ["Bicycle repair 1"]
    assert crawling.listing(proposal["id"]).withdrawn_at is None


@pytest.mark.parametrize("before", [True, False])
def test_what_is_finished_is_shown_no_more_and_comes_back_with_a_newer_word(
    crawling: Crawling, hub: HubServer, *, before: bool
) -> None:
    if before:
        crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
        assert crawling.titles() == ["Bicycle repair 1"]
    over = hub.activity("Update", hub.proposal(1, hours=1, finished=True))
    crawling.push_and_work(hub, over)
    assert crawling.titles() == []
    assert crawling.put_aside() == {}

    crawling.push_and_work(hub, hub.activity("Update", hub.proposal(1, hours=2)))
    assert crawling.titles() == ["Bicycle repair 1"]


def test_an_older_word_that_it_is_finished_changes_nothing(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.push_and_work(hub, hub.activity("Update", hub.proposal(1, hours=3)))
    crawling.push_and_work(hub, hub.activity("Update", hub.proposal(1, hours=1, finished=True)))
    assert crawling.titles() == ["Bicycle repair 1"]


def test_an_outbox_says_what_is_finished_too(crawling: Crawling, hub: HubServer) -> None:
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
    hub.publish_outbox([hub.activity("Update", hub.proposal(1, hours=1, finished=True))])
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == []
