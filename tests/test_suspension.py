"""A suspended hub is neither shown nor heard, asked or sent anything; resumed, it comes back."""

import json
from collections.abc import Iterator

import pytest
from hub_server import Crawling, HubServer, Json
from operating import run as run_command
from served import keep_keys
from sqlalchemy import Engine, func, select, update

from api.migrations import upgrade
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler import suspension
from crawler.delivery import Delivery
from crawler.kept import InboxMessage
from crawler.peers import Peer, PeerState
from marketplace.listings import WithdrawnReason


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


def follows(hub: HubServer) -> int:
    return sum(activity["type"] == "Follow" for activity in hub.taken)


def suspend(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        suspension.suspend(session, hub.name, "sells what is forbidden")


def resume(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        suspension.resume(session, hub.name)


def test_a_suspended_hub_is_not_shown_heard_asked_or_sent_anything(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    crawling.register(hub)
    hub.is_down = True
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state=PeerState.CONSENTED, follow_uri=None))
    crawling.make_due(Peer)
    crawling.work()
    hub.is_down = False
    pushed, before = creates(hub, 2)[0], crawling.count(InboxMessage)
    suspend(crawling, hub)
    hub.asked.clear()
    hub.taken.clear()

    with pytest.raises(ForbiddenError, match="suspended"):
        crawling.push(hub, pushed)
    crawling.make_due(Peer)
    crawling.work()

    assert (crawling.titles(), hub.asked, hub.taken) == ([], [], [])
    assert crawling.count(InboxMessage) == before
    assert crawling.listing(f"{hub.base}/proposals/1").withdrawn_reason is WithdrawnReason.OPERATOR
    assert crawling.peer(hub).consented_at is not None
    with reading(crawling.engine) as session:
        waiting = select(func.count()).where(Delivery.due_at.is_not(None))
        assert session.scalar(waiting) == 0
        kept = session.scalars(select(InboxMessage.body).where(InboxMessage.due_at.is_(None)))
        assert set(kept) <= {None}


def test_a_resumed_hub_is_followed_anew_and_its_listings_come_back(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox(creates(hub, 1))
    crawling.follow(hub)
    gone = hub.proposal(3)
    crawling.push_and_work(hub, *creates(hub, 2), hub.activity("Create", hub.serve(gone)))
    suspend(crawling, hub)
    hub.gone("/proposals/3")
    resume(crawling, hub)
    crawling.work()

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    assert follows(hub) == 2
    with reading(crawling.engine) as session:
        held = session.scalars(select(Hub)).one()
    assert (held.state, held.suspended_reason) == (HubState.ADMITTED, None)


def test_a_hub_is_suspended_once_with_a_reason_and_resumed_to_what_it_was(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    with transaction(crawling.engine) as session:
        with pytest.raises(InvalidError):
            suspension.suspend(session, hub.name, " ")
        with pytest.raises(NotFoundError):
            suspension.suspend(session, "nobody", "why")
        with pytest.raises(ConflictError):
            suspension.resume(session, hub.name)
        assert suspension.suspend(session, hub.name, "why").suspended_reason == "why"
        with pytest.raises(ConflictError):
            suspension.suspend(session, hub.name, "again")
        assert suspension.resume(session, hub.name).state is HubState.REGISTERED


def test_commands_suspend_and_resume(settings: Settings, hub: HubServer) -> None:
    keep_keys(settings)
    upgrade(settings.effective_database_url)
    engine = make_engine(settings.effective_database_url)
    with Crawling(engine, settings) as crawling:
        crawling.register(hub)
    engine.dispose()
    done = run_command(settings, "hub", "suspend", hub.name, "--reason", "why")
    told = {"id": hub.name, "state": "suspended", "reason": "why"}
    assert json.loads(done.stdout) == told
    assert run_command(settings, "hub", "suspend", hub.name, "--reason", "why").exit_code == 1
    done = run_command(settings, "hub", "resume", hub.name)
    assert json.loads(done.stdout) == {"id": hub.name, "state": "registered"}
