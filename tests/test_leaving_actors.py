"""Actors that leave: their Delete is taken from an origin that says they are gone."""

from collections.abc import Callable, Iterator

import pytest
from hub_server import Crawling, HubServer, Json
from signed_by import RSA, by_cavage, by_rfc9421, create, pushed, with_key
from sqlalchemy import Engine

from commons.errors import LocalPayError, UnauthenticatedError, UnavailableError
from commons.key_formats import generate_rsa
from commons.settings import Settings
from commons.signatures import Message
from crawler.kept import InboxMessage
from crawler.peers import PeerState
from marketplace.listings import WithdrawnReason

Signer = Callable[..., Message]


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


@pytest.fixture(params=[by_rfc9421, by_cavage], ids=["rfc9421", "cavage"])
def sign(request: pytest.FixtureRequest) -> Signer:
    signer: Signer = request.param
    return signer


def refused(crawling: Crawling, message: Message, error: type[LocalPayError]) -> None:
    before = crawling.count(InboxMessage)
    with pytest.raises(error):
        crawling.receive(message)
    crawling.work()
    assert crawling.count(InboxMessage) == before


def leave(hub: HubServer, name: str = "ines") -> Json:
    member = f"{hub.base}/members/{name}"
    return hub.activity("Delete", member, by=member)


@pytest.fixture
def listed(crawling: Crawling, hub: HubServer) -> HubServer:
    """The hub, with a member's listing that its group pushed."""
    crawling.push_and_work(hub, create(hub))
    assert crawling.titles() == ["Bicycle repair 1"]
    return hub


def test_an_actor_whose_key_is_gone_takes_its_listings_along(
    crawling: Crawling, listed: HubServer, sign: Signer
) -> None:
    listed.gone("/members/ines")
    message = sign(pushed(crawling, leave(listed)), RSA, f"{listed.base}/members/ines#main-key")
    crawling.receive(message)
    crawling.work()
    assert crawling.titles() == []
    row = crawling.listing(f"{listed.base}/proposals/1")
    assert row.withdrawn_reason is WithdrawnReason.DELETED


def test_an_actor_whose_key_document_is_gone_takes_its_listings_along(
    crawling: Crawling, listed: HubServer, sign: Signer
) -> None:
    for path in ("/members/ines", "/members/ines/main-key"):
        listed.gone(path)
    key_id = f"{listed.base}/members/ines/main-key"
    crawling.receive(sign(pushed(crawling, leave(listed)), RSA, key_id))
    crawling.work()
    assert crawling.titles() == []


def test_a_forged_delete_of_an_actor_that_answers_is_refused(
    crawling: Crawling, listed: HubServer, sign: Signer
) -> None:
    listed.gone("/keys/gone")
    listed.gone("/members/ada")
    for key_id in (f"{listed.base}/keys/gone", f"{listed.base}/members/ada#main-key"):
        message = sign(pushed(crawling, leave(listed)), RSA, key_id)
        refused(crawling, message, UnauthenticatedError)
    message = sign(pushed(crawling, leave(listed)), generate_rsa(), with_key(listed))
    refused(crawling, message, UnauthenticatedError)
    assert crawling.titles() == ["Bicycle repair 1"]


@pytest.mark.parametrize("status", [404, 500])
def test_an_actor_that_is_only_not_there_is_not_gone(
    crawling: Crawling, listed: HubServer, status: int
) -> None:
    listed.gone("/members/ines", status)
    key_id = f"{listed.base}/members/ines#main-key"
    error = UnauthenticatedError if status == 404 else UnavailableError
    refused(crawling, by_cavage(pushed(crawling, leave(listed)), RSA, key_id), error)
    assert crawling.titles() == ["Bicycle repair 1"]


def test_one_that_is_gone_can_say_nothing_else(
    crawling: Crawling, listed: HubServer, sign: Signer
) -> None:
    listed.gone("/members/ines")
    key_id = f"{listed.base}/members/ines#main-key"
    gone = f"{listed.base}/members/ines"
    for said in (
        create(listed, 2),
        listed.activity("Delete", f"{listed.base}/proposals/1", by=gone),
    ):
        refused(crawling, sign(pushed(crawling, said), RSA, key_id), UnauthenticatedError)
    # That it was asked for just now does not keep it from leaving.
    crawling.receive(sign(pushed(crawling, leave(listed)), RSA, key_id))


def test_no_member_says_that_its_hub_is_gone(
    crawling: Crawling, listed: HubServer, sign: Signer
) -> None:
    key_id = with_key(listed, "mallory")
    gone = listed.activity("Delete", listed.actor_uri, by=f"{listed.base}/members/mallory")
    crawling.receive(sign(pushed(crawling, gone), RSA, key_id))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    assert crawling.peer(listed).state is PeerState.LIVE
    assert "hub's actor" in crawling.put_aside()[listed.actor_uri]

    crawling.push_and_work(listed, listed.activity("Delete", listed.actor_uri))
    assert crawling.titles() == []
    assert crawling.peer(listed).state is PeerState.GONE
