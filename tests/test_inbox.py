"""What hubs push: stored as it came, handled later, and the forged never."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hub_server import ACTIVITY, Crawling, HubServer
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.errors import (
    ForbiddenError,
    LocalPayError,
    MalformedError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)
from commons.groups import Hub, HubState, KeyAlgorithm, Nonce
from commons.settings import Settings
from commons.signatures import Message, Verified, generate_ed25519
from crawler import inbox
from crawler.hub_keys import store_keys, use_nonce
from crawler.kept import InboxMessage
from crawler.origins import ActorKey
from crawler.peers import Peer, PeerState
from crawler.work import MESSAGE_ATTEMPTS
from marketplace.consent import ConsentBasis


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def with_headers(message: Message, **changes: str | None) -> Message:
    kept = [(name, value) for name, value in message.headers if name not in changes]
    added = [(name, value) for name, value in changes.items() if value is not None]
    return Message(message.method, message.target_uri, [*kept, *added], message.body)


def refused(crawling: Crawling, message: Message, error: type[LocalPayError]) -> None:
    before = (crawling.count(InboxMessage), crawling.count(Nonce))
    with pytest.raises(error):
        crawling.receive(message)
    crawling.work()
    assert (crawling.count(InboxMessage), crawling.count(Nonce)) == before
    assert crawling.titles() == []


def test_a_pushed_listing_is_found_with_its_group_and_consent(
    crawling: Crawling, hub: HubServer
) -> None:
    proposal = hub.proposal(1)
    crawling.push_and_work(hub, hub.activity("Create", proposal))

    found = crawling.listing(proposal["id"])
    assert (found.title, found.group_id) == ("Bicycle repair 1", "barcelona")
    assert (found.consent_basis, found.consented_by) == (ConsentBasis.HUB, hub.actor_uri)
    assert found.payments == [{"means": "group-default"}]


def test_forged_and_unsigned_pushes_store_nothing(crawling: Crawling, hub: HubServer) -> None:
    document = hub.activity("Create", hub.proposal(1))
    signed = hub.signed(crawling.settings, document)
    forged = hub.signed(crawling.settings, document, key=generate_ed25519())
    unsigned = Message("POST", signed.target_uri, [("Content-Type", ACTIVITY)], signed.body)
    changed = Message("POST", signed.target_uri, signed.headers, signed.body + b" ")
    elsewhere = Message("POST", "http://other/inbox", signed.headers, signed.body)
    undigested = with_headers(signed, **{"Content-Digest": None})
    unknown = hub.signed(crawling.settings, document, key_id="https://nobody.example/a#key")

    for message in (forged, unsigned, changed, elsewhere, undigested, unknown):
        refused(crawling, message, UnauthenticatedError)


def test_what_is_no_activity_is_refused(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = hub.activity("Create", hub.proposal(1))
    signed = hub.signed(crawling.settings, document)
    for media_type in ("application/json", "application/ld+json", "text/html"):
        message = with_headers(signed, **{"Content-Type": media_type})
        refused(crawling, message, UnsupportedMediaError)
    refused(crawling, hub.signed(crawling.settings, {"type": "Create"}), MalformedError)

    monkeypatch.setattr(inbox, "BODY_MAX_BYTES", 100)
    refused(crawling, signed, TooLargeError)


def test_no_hub_speaks_for_another(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        theirs = other.activity("Create", other.proposal(1))
        refused(crawling, hub.signed(crawling.settings, theirs), ForbiddenError)

        # The other's key id with the own key: the key held does not fit.
        spoofed = hub.signed(crawling.settings, theirs, key_id=other.key_id)
        refused(crawling, spoofed, UnauthenticatedError)

        mixed = hub.activity("Create", hub.proposal(1), id=f"{other.base}/activities/1")
        refused(crawling, hub.signed(crawling.settings, mixed), ForbiddenError)


def test_a_hub_that_is_suspended_is_refused(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        session.execute(update(Hub).values(state=HubState.SUSPENDED))

    document = hub.activity("Create", hub.proposal(1))
    refused(crawling, hub.signed(crawling.settings, document), ForbiddenError)


def test_what_was_handled_a_week_ago_is_forgotten(crawling: Crawling, hub: HubServer) -> None:
    first = hub.activity("Create", hub.proposal(1))
    crawling.push_and_work(hub, first)
    with transaction(crawling.engine) as session:
        long_ago = datetime.now(UTC) - inbox.HANDLED_KEPT - timedelta(seconds=1)
        session.execute(update(InboxMessage).values(received_at=long_ago))

    crawling.push(hub, hub.activity("Create", hub.proposal(2)))

    with reading(crawling.engine) as session:
        bodies = session.scalars(select(InboxMessage.body).order_by(InboxMessage.id)).all()
    assert [body is None for body in bodies] == [*(True for _ in bodies[:-1]), False]
    stored = crawling.count(InboxMessage)
    crawling.push(hub, first)  # that it came stays known
    assert crawling.count(InboxMessage) == stored


def test_a_full_backlog_is_refused_for_that_hub_alone(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BACKLOG_MAX", 1)
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        crawling.push(hub, hub.activity("Create", hub.proposal(1)))
        with pytest.raises(TooManyError) as full:
            crawling.push(hub, hub.activity("Create", hub.proposal(2)))
        assert full.value.retry_after_seconds > 0

        crawling.push(other, other.activity("Create", other.proposal(3)))
        crawling.work()
        assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 3"]
        crawling.push_and_work(hub, hub.activity("Create", hub.proposal(2)))
        assert len(crawling.titles()) == 3


def test_a_replayed_message_and_a_repeated_activity_have_one_effect(
    crawling: Crawling, hub: HubServer
) -> None:
    document = hub.activity("Create", hub.proposal(1))
    message = hub.signed(crawling.settings, document)
    crawling.receive(message)
    stored = crawling.count(InboxMessage)
    with pytest.raises(UnauthenticatedError, match="nonce"):
        crawling.receive(message)

    crawling.push(hub, document)

    assert crawling.count(InboxMessage) == stored
    crawling.work()
    assert crawling.listing(document["object"]["id"]).revision == 1


def test_of_two_uses_of_a_nonce_at_the_same_moment_one_is_refused(engine: Engine) -> None:
    verified = Verified("https://hub.example/group#key", datetime.now(UTC), "once")
    ready = threading.Barrier(4)

    def use() -> bool:
        ready.wait()
        try:
            with transaction(engine) as session:
                use_nonce(session, verified)
        except UnauthenticatedError:
            return False
        return True

    with ThreadPoolExecutor(4) as users:
        used = [users.submit(use) for _ in range(4)]
    assert sorted(user.result() for user in used) == [False, False, False, True]


def test_a_key_id_stays_with_the_group_that_had_it_first(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        stolen = ActorKey(hub.key_id, other.actor_uri, KeyAlgorithm.ED25519, "none")
        with transaction(crawling.engine) as session:
            store_keys(session, other.name, [stolen])

        crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
        assert crawling.titles() == ["Bicycle repair 1"]


def test_a_rotated_key_is_fetched_once(crawling: Crawling, hub: HubServer) -> None:
    document = hub.activity("Create", hub.proposal(1))
    hub.key = generate_ed25519()
    hub.publish_actor()
    hub.asked.clear()

    crawling.push(hub, document)
    assert hub.asked == ["/group"]

    wrong = generate_ed25519()
    for number in (2, 3):
        another = hub.activity("Create", hub.proposal(number))
        with pytest.raises(UnauthenticatedError):
            crawling.receive(hub.signed(crawling.settings, another, key=wrong))
    assert hub.asked == ["/group"]


def test_a_key_that_cannot_be_fetched_is_no_forgery(crawling: Crawling, hub: HubServer) -> None:
    hub.key = generate_ed25519()
    hub.is_down = True

    message = hub.signed(crawling.settings, hub.activity("Create", hub.proposal(1)))
    refused(crawling, message, UnavailableError)


def test_an_object_of_another_origin_is_asked_for_there(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        real = other.serve(other.proposal(1, name="Real"))
        other.serve(other.proposal(2, name="Kept"))
        told = {**real, "name": "Fake", "attributedTo": other.member()}
        # The origin answers with another's id.
        lying = other.proposal(3)
        other.put("/proposals/3", {**lying, "id": f"{hub.base}/proposals/9"})
        member = hub.member()

        crawling.push_and_work(
            hub,
            hub.activity("Create", told, by=member),
            hub.activity("Create", lying, by=member),
        )

    assert crawling.titles() == ["Real"]
    assert crawling.listing(real["id"]).group_id == "leeds"
    assert crawling.put_aside()[lying["id"]].startswith("id:")


def test_an_author_of_another_origin_is_put_aside(crawling: Crawling, hub: HubServer) -> None:
    stolen = hub.proposal(1, attributedTo="https://elsewhere.example/members/ada")
    crawling.push_and_work(hub, hub.activity("Create", stolen, by=hub.member()))

    assert crawling.titles() == []
    assert crawling.put_aside()[stolen["id"]].startswith("attributedTo:")


def test_a_message_that_keeps_failing_is_put_aside_and_stops_nobody(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("down").serving() as down:
        down.is_down = True
        lost = f"{down.base}/proposals/1"
        crawling.push(hub, hub.activity("Announce", lost))
        for attempt in range(MESSAGE_ATTEMPTS):
            assert crawling.put_aside() == {}, attempt
            with transaction(crawling.engine) as session:
                waiting = InboxMessage.due_at.is_not(None)
                session.execute(update(InboxMessage).where(waiting).values(due_at=now(session)))
            crawling.work(rounds=3)
            crawling.push_and_work(hub, hub.activity("Create", hub.proposal(attempt)))

    # While the host is left alone, the reason is that; either way it is the host that fails.
    assert down.base.removeprefix("http://") in crawling.put_aside()[lost]
    assert len(crawling.titles()) == MESSAGE_ATTEMPTS
    with reading(crawling.engine) as session:
        assert (
            session.scalar(select(InboxMessage.id).where(InboxMessage.due_at.is_not(None))) is None
        )


def test_hearing_of_a_hub_is_noted(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(last_heard_at=None, state=PeerState.STALE))
    crawling.push(hub, hub.activity("Dance", hub.actor_uri))

    peer = crawling.peer(hub)
    assert peer.last_heard_at is not None
    assert peer.state is PeerState.LIVE
