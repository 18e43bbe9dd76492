"""How far a group's consent goes on a server that it shares with strangers."""

from collections.abc import Iterator

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json
from signed_by import RSA, by_rfc9421, pem_key, pushed
from sqlalchemy import Engine

from commons.settings import Settings
from crawler.authors import Author
from crawler.peers import Peer


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def push_by_stranger(crawling: Crawling, hub: HubServer, proposal: Json) -> None:
    """Push a listing signed with its author's own key, not with the group's."""
    author = proposal["attributedTo"]
    key_id = f"{author}#main-key"
    path = author.removeprefix(hub.base)
    status, document = hub.documents[path]
    assert isinstance(document, dict)
    hub.documents[path] = (status, {**document, "publicKey": pem_key(key_id, author)})
    message = pushed(crawling, hub.activity("Create", proposal))
    crawling.receive(by_rfc9421(message, RSA, key_id))
    crawling.work()


def test_a_strangers_listing_on_the_groups_server_needs_its_authors_own_word(
    crawling: Crawling, hub: HubServer
) -> None:
    push_by_stranger(crawling, hub, hub.proposal(1, member="mallory", audience=None))
    assert crawling.titles() == []

    hub.member("ada", indexable=True)
    push_by_stranger(crawling, hub, hub.proposal(2, member="ada", audience=None))
    assert crawling.titles() == ["Bicycle repair 2"]


def test_a_members_own_listing_that_names_the_group_is_shown(
    crawling: Crawling, hub: HubServer
) -> None:
    push_by_stranger(crawling, hub, hub.proposal(1))
    assert crawling.titles() == ["Bicycle repair 1"]


def test_what_the_group_tells_by_itself_need_not_name_it(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1, audience=None)))
    hub.publish_outbox([hub.activity("Create", hub.proposal(2, audience=None))])
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]


def test_a_stranger_who_takes_its_word_back_is_not_kept_by_the_groups(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.member("ada", indexable=True)
    told = hub.serve(hub.proposal(1, member="ada", audience=None))
    push_by_stranger(crawling, hub, told)
    assert crawling.titles() == ["Bicycle repair 1"]

    hub.member("ada")
    crawling.make_due(Author)
    crawling.work()
    assert crawling.titles() == []


@pytest.mark.parametrize("audience", [None, "the group"])
def test_what_waits_for_a_silent_author_is_judged_as_it_came(
    crawling: Crawling, hub: HubServer, audience: str | None
) -> None:
    names = hub.actor_uri if audience else None
    told = hub.proposal(1, audience=names, to=[PUBLIC], name="")
    push_by_stranger(crawling, hub, told)
    assert crawling.titles() == []
    assert len(crawling.put_aside()) == 1
    push_by_stranger(crawling, hub, {**told, "name": "Bicycle repair 1"})
    assert crawling.titles() == (["Bicycle repair 1"] if audience else [])


def signed_by(crawling: Crawling, hub: HubServer, author: str, activity: Json) -> None:
    """Push an activity signed with a member's own key."""
    key_id = f"{author}#main-key"
    hub.member(author.rsplit("/", 1)[-1], publicKey=pem_key(key_id, author))
    crawling.receive(by_rfc9421(pushed(crawling, activity), RSA, key_id))
    crawling.work()


@pytest.mark.parametrize("is_served", [True, False])
@pytest.mark.parametrize("kind", ["Update", "taken over", "Delete", "finished"])
def test_a_members_own_key_changes_nothing_of_another_member(
    crawling: Crawling, hub: HubServer, kind: str, *, is_served: bool
) -> None:
    told = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", told))
    if is_served:
        hub.serve(told)
    eve = f"{hub.base}/members/eve"
    changed = hub.proposal(1, hours=5, name="Stolen")
    activity = {
        "Update": hub.activity("Update", changed, by=eve),
        "taken over": hub.activity("Update", {**changed, "attributedTo": eve}),
        "Delete": hub.activity("Delete", {"id": told["id"], "type": "Tombstone"}, by=eve),
        "finished": hub.activity("Update", {**changed, "finished": True}, by=eve),
    }[kind]
    signed_by(crawling, hub, eve, activity)
    assert crawling.titles() == ["Bicycle repair 1"]


def test_what_the_origin_says_of_it_counts_whoever_tells(
    crawling: Crawling, hub: HubServer
) -> None:
    told = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", told))
    hub.gone(told["id"].removeprefix(hub.base))
    eve = f"{hub.base}/members/eve"
    signed_by(crawling, hub, eve, hub.activity("Delete", told["id"], by=eve))
    assert crawling.titles() == []


def test_a_members_own_key_deletes_its_own_listing(crawling: Crawling, hub: HubServer) -> None:
    told = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", told))
    signed_by(crawling, hub, told["attributedTo"], hub.delete(told, 1))
    assert crawling.titles() == []
