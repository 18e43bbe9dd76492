"""Our own activities reach the hubs, signed, and wait where a hub is down."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.jobs import MAX_ATTEMPTS
from commons.settings import Settings
from commons.signatures import generate_rsa
from crawler import registration
from crawler.delivery import Delivery, deliver, enqueue


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.register(serving)
        yield serving


def queue(crawling: Crawling, hub: HubServer, inbox: str = "/inbox") -> int:
    peer_id = crawling.peer(hub).id
    activity = {"id": "http://testserver/activities/1", "type": "Like", "name": "é"}
    with transaction(crawling.engine) as session:
        return enqueue(session, peer_id, hub.base + inbox, activity).id


def row(crawling: Crawling, delivery_id: int) -> Delivery:
    with reading(crawling.engine) as session:
        return session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()


def test_a_signed_activity_arrives_once(crawling: Crawling, hub: HubServer) -> None:
    delivery_id = queue(crawling, hub)
    crawling.work()
    crawling.work()

    assert hub.taken == [{"id": "http://testserver/activities/1", "type": "Like", "name": "é"}]
    delivered = row(crawling, delivery_id)
    assert delivered.delivered_at is not None
    assert delivered.due_at is None


def test_what_was_delivered_is_not_sent_again_after_a_crash(
    crawling: Crawling, hub: HubServer
) -> None:
    delivery_id = queue(crawling, hub)
    for _ in range(2):
        crawling.run(lambda door: deliver(crawling.engine, door, delivery_id))

    assert len(hub.taken) == 1


def test_a_hub_that_is_down_gets_it_later(crawling: Crawling, hub: HubServer) -> None:
    delivery_id = queue(crawling, hub)
    hub.is_down = True
    crawling.work(rounds=3)

    waiting = row(crawling, delivery_id)
    assert waiting.attempts == 1
    assert waiting.last_error is not None
    assert "503" in waiting.last_error
    with reading(crawling.engine) as session:
        assert waiting.due_at is not None
        assert timedelta(0) < waiting.due_at - now(session) <= timedelta(seconds=60)

    hub.is_down = False
    crawling.make_due(Delivery)
    crawling.work()
    assert len(hub.taken) == 1


def test_an_inbox_that_is_gone_is_given_up_at_once(crawling: Crawling, hub: HubServer) -> None:
    delivery_id = queue(crawling, hub, "/nowhere")
    hub.missing.add("/nowhere")
    crawling.work()

    given_up = row(crawling, delivery_id)
    assert (given_up.due_at, given_up.delivered_at, given_up.attempts) == (None, None, 1)


def test_a_signature_that_is_refused_ends_after_ten_attempts(
    crawling: Crawling, hub: HubServer
) -> None:
    delivery_id = queue(crawling, hub)
    hub.trusted = generate_rsa().public_key()
    for _ in range(MAX_ATTEMPTS):
        with transaction(crawling.engine) as session:
            waiting = Delivery.due_at.is_not(None)
            session.execute(update(Delivery).where(waiting).values(due_at=now(session)))
        crawling.work(rounds=3)

    ended = row(crawling, delivery_id)
    assert (ended.due_at, ended.attempts, hub.taken) == (None, MAX_ATTEMPTS, [])
    assert ended.last_error is not None
    assert "401" in ended.last_error


def test_a_follow_goes_to_the_inbox_that_the_actor_names(
    crawling: Crawling, hub: HubServer
) -> None:
    with transaction(crawling.engine) as session:
        registration.admit(session, hub.name)
    crawling.work()

    with reading(crawling.engine) as session:
        assert session.scalars(select(Delivery.inbox_uri)).one() == f"{hub.base}/inbox"
    assert hub.taken[0]["actor"] == "http://testserver/actor"
