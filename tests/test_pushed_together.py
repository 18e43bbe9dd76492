"""Pushes that arrive together are stored and handled together, and none spoils it for another."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from commons import jobs
from commons.database import now, reading, transaction
from commons.errors import UnauthenticatedError
from commons.fetch import Door
from commons.groups import HubKey
from commons.jobs import Runner
from commons.settings import Settings
from commons.signatures import Message, generate_ed25519
from crawler import work
from crawler.batches import Batches
from crawler.inbox import Inbox
from crawler.kept import InboxMessage
from marketplace.listings import Outcome, Version, upsert_many


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def receive(crawling: Crawling, *messages: Message) -> list[BaseException | None]:
    """Have messages arrive at the same moment; return how each was answered."""

    async def arrive(door: Door) -> list[BaseException | None]:
        together = Inbox(crawling.engine)
        coming = (together.receive(door, message) for message in messages)
        return await asyncio.gather(*coming, return_exceptions=True)

    return crawling.run(arrive)


def handle_once(crawling: Crawling) -> None:
    """Claim once from the inbox and do what was claimed."""

    async def once(door: Door) -> None:
        job = work.jobs(crawling.engine, door, crawling.settings)[0]
        runner = Runner(crawling.engine, job)
        await runner.start_due()
        await runner.finish()

    crawling.run(once)


def test_of_those_that_arrive_together_only_the_wrong_are_refused(
    crawling: Crawling, hub: HubServer
) -> None:
    creates = [hub.activity("Create", hub.proposal(number)) for number in range(4)]
    signed = [hub.signed(crawling.settings, create) for create in creates]
    forged = hub.signed(crawling.settings, creates[3], key=generate_ed25519())
    stored = crawling.count(InboxMessage)

    told = receive(crawling, signed[0], signed[1], signed[0], forged, signed[2])

    assert [type(one) for one in told] == [
        type(None),
        type(None),
        UnauthenticatedError,  # its nonce was used by the first
        UnauthenticatedError,
        type(None),
    ]
    assert crawling.count(InboxMessage) == stored + 3
    crawling.work()
    assert crawling.titles() == [f"Bicycle repair {number}" for number in range(3)]


def test_a_revoked_key_is_refused_at_once(crawling: Crawling, hub: HubServer) -> None:
    creates = [hub.activity("Create", hub.proposal(number)) for number in range(2)]
    signed = [hub.signed(crawling.settings, create) for create in creates]
    assert receive(crawling, signed[0]) == [None]
    stored = crawling.count(InboxMessage)
    hub.publish_actor(assertionMethod=[])
    with transaction(crawling.engine) as session:
        session.execute(update(HubKey).values(revoked_at=now(session)))

    (told,) = receive(crawling, signed[1])

    assert isinstance(told, UnauthenticatedError)
    assert crawling.count(InboxMessage) == stored


def test_one_hubs_flood_holds_up_no_other(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        template = hub.activity("Create", hub.proposal(1))
        crawling.push(hub, template)
        with transaction(crawling.engine) as session:
            one = session.scalars(
                select(InboxMessage).where(InboxMessage.activity_id == template["id"])
            ).one()
            columns = {name: getattr(one, name) for name in InboxMessage.__table__.columns.keys()}  # noqa: SIM118 (columns are no dict)
            del columns["id"]
            session.add_all(
                InboxMessage(**columns | {"activity_id": f"{template['id']}/{number}"})
                for number in range(5_000)
            )
        crawling.push(other, other.activity("Create", other.proposal(2)))
        monkeypatch.setattr(jobs, "BATCH", 50)

        handle_once(crawling)

        assert "Bicycle repair 2" in crawling.titles()
        with reading(crawling.engine) as session:
            waiting = InboxMessage.due_at.is_not(None)
            left = session.scalars(select(InboxMessage.activity_id).where(waiting)).all()
        assert len(left) >= 4_500


def test_a_poisonous_activity_spoils_no_other(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = hub.activity("Create", hub.proposal(2))

    def choke(session: Session, versions: Sequence[Version]) -> list[Outcome]:
        if any(version.draft.title.endswith("2") for version in versions):
            raise ZeroDivisionError
        return upsert_many(session, versions)

    monkeypatch.setattr("crawler.settling.upsert_many", choke)
    for document in (
        hub.activity("Create", hub.proposal(1)),
        poison,
        hub.activity("Create", hub.proposal(3)),
    ):
        crawling.push(hub, document)

    handle_once(crawling)

    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 3"]
    with reading(crawling.engine) as session:
        attempts = dict(
            session.execute(select(InboxMessage.activity_id, InboxMessage.attempts)).all()
        )
    assert attempts[poison["id"]] == 1
    for _ in range(work.MESSAGE_ATTEMPTS - 1):
        with transaction(crawling.engine) as session:
            waiting = InboxMessage.due_at.is_not(None)
            session.execute(update(InboxMessage).where(waiting).values(due_at=now(session)))
        handle_once(crawling)
    assert list(crawling.put_aside()) == [poison["object"]["id"]]


def test_a_delete_between_two_versions_is_handled_in_its_turn(
    crawling: Crawling, hub: HubServer
) -> None:
    first, again = hub.proposal(1), hub.proposal(1, hours=5, name="Again")
    kept = hub.proposal(2)
    for document in (
        hub.activity("Create", first),
        hub.activity("Create", kept),
        hub.delete(first, hours=2),
        hub.activity("Update", again),
        hub.delete(kept, hours=3),
    ):
        crawling.push(hub, document)

    handle_once(crawling)

    assert crawling.titles() == ["Again"]


def test_a_batch_whose_end_was_lost_in_a_crash_is_repeated_without_harm(
    crawling: Crawling, hub: HubServer
) -> None:
    """The batch commits, and the process ends before its rows are told to be done."""
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(0)))  # its author is known now
    changed, deleted = hub.proposal(1), hub.proposal(2)
    nameless = hub.activity("Create", hub.proposal(3, name=""))
    for document in (
        hub.activity("Create", changed),
        hub.activity("Create", deleted),
        nameless,
        hub.activity("Update", hub.proposal(1, hours=5, name="Changed")),
        hub.delete(deleted, hours=2),
    ):
        crawling.push(hub, document)
    with reading(crawling.engine) as session:
        waiting = set(
            session.scalars(select(InboxMessage.id).where(InboxMessage.due_at.is_not(None)))
        )

    async def lost(door: Door) -> set[int]:
        return await Batches(crawling.engine, door).handle(sorted(waiting))

    assert crawling.run(lost) == waiting
    before, kept = crawling.put_aside(), bodies(crawling)
    assert crawling.titles() == ["Bicycle repair 0", "Changed"]
    assert list(before) == [nameless["object"]["id"]]
    assert deleted["id"] not in "".join(kept)

    handle_once(crawling)

    assert crawling.titles() == ["Bicycle repair 0", "Changed"]
    assert crawling.put_aside() == before
    assert bodies(crawling) <= kept
    with reading(crawling.engine) as session:
        rows = session.execute(select(InboxMessage.due_at, InboxMessage.attempts)).all()
    assert {tuple(row) for row in rows} == {(None, 0)}


def bodies(crawling: Crawling) -> set[str]:
    """Return what is kept of what was pushed."""
    with reading(crawling.engine) as session:
        kept = select(InboxMessage.body).where(InboxMessage.body.is_not(None))
        return {body or "" for body in session.scalars(kept)}
