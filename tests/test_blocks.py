"""A blocked domain is neither asked nor heard nor shown, however it is written."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hub_server import PUBLIC, Crawling, HubServer
from internet import Clock, Internet, page, redirect
from operating import run as run_command
from other_software import join
from served import keep_keys
from sqlalchemy import Engine, func, select

from api.migrations import upgrade
from commons.database import reading, transaction
from commons.errors import AddressRefusedError, ForbiddenError, InvalidError, NotFoundError
from commons.fetch import Door
from commons.settings import Settings
from crawler import blocks
from crawler.authors import Author
from crawler.blocks import AGAIN_SECONDS, Blocked, DomainBlock
from crawler.delivery import Delivery, enqueue
from crawler.intake import prepare
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerState, discover
from crawler.settling import Arrival, settle
from marketplace.listings import Listing, WithdrawnReason

WHY = "spam"
Run = Callable[[Coroutine[object, object, Any]], Any]


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def block(engine: Engine, domain: str) -> blocks.Added:
    return blocks.add(engine, domain, WHY, by="tests", force=True)


def held(engine: Engine, table: type[Any]) -> int:
    with reading(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("suffix", ["co.uk", "com", "CO.UK.", "*.github.io", "香港"])
def test_a_public_suffix_is_blocked_only_by_force(sqlite_engine: Engine, suffix: str) -> None:
    with pytest.raises(InvalidError, match="public suffix"):
        blocks.add(sqlite_engine, suffix, WHY, by="tests")
    assert held(sqlite_engine, DomainBlock) == 0
    blocks.add(sqlite_engine, suffix, WHY, by="tests", force=True)
    assert held(sqlite_engine, DomainBlock) == 1


def test_a_block_says_why_and_is_kept_once(sqlite_engine: Engine) -> None:
    with pytest.raises(InvalidError, match="reason"):
        blocks.add(sqlite_engine, "evil.example.org", " ", by="tests")
    blocks.add(sqlite_engine, "evil.example.org", "one", by="ana")
    blocks.add(sqlite_engine, "https://EVIL.example.org/x", "two", by="ben")
    with reading(sqlite_engine) as session:
        (kept,) = blocks.listed(session)
    assert (kept.domain, kept.reason, kept.by) == ("evil.example.org", "two", "ben")


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def public(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_loopback": False})


def opened(public: Settings, internet: Internet, refuses: Blocked) -> Door:
    return Door(public, network=internet, resolve=internet.resolve, polite=False, refuses=refuses)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://EVIL.example./x",
        "https://sub.evil.example/x",
        "https://ev%69l.example/x",
    ],
)
def test_no_packet_is_sent_to_a_blocked_domain(
    sqlite_engine: Engine, public: Settings, run: Run, url: str
) -> None:
    internet = Internet()
    block(sqlite_engine, "evil.example")

    async def ask() -> None:
        door = opened(public, internet, Blocked(sqlite_engine))
        for errand in (door, door.errand(url), door.errand(url, crawling=True)):
            with pytest.raises(AddressRefusedError):
                await errand.get_json(url)
            with pytest.raises(AddressRefusedError):
                await errand.post(url, b"{}", "application/json")
        await door.aclose()

    run(ask())
    assert (internet.looked_up, internet.connected, internet.requests) == ([], [], [])


def test_a_redirect_to_a_blocked_domain_is_not_followed(
    sqlite_engine: Engine, public: Settings, run: Run
) -> None:
    internet = Internet(
        pages={
            "good.example/x": redirect("https://evil.example/x"),
            "good.example/robots.txt": redirect("https://evil.example/robots.txt"),
            "evil.example/x": page({"id": "https://evil.example/x"}),
        }
    )
    block(sqlite_engine, "evil.example")

    async def ask() -> None:
        door = opened(public, internet, Blocked(sqlite_engine))
        with pytest.raises(AddressRefusedError):
            await door.get_json("https://good.example/x")
        await door.aclose()

    run(ask())
    assert {message.target_uri for message in internet.requests} == {"https://good.example/x"}
    assert internet.looked_up == ["good.example"]


def test_a_block_takes_hold_in_a_running_door_and_is_lifted_again(
    sqlite_engine: Engine, run: Run
) -> None:
    assert AGAIN_SECONDS <= 60
    clock = Clock()
    refuses = Blocked(sqlite_engine, clock)

    async def is_refused() -> bool:
        return await refuses("sub.evil.example")

    assert run(is_refused()) is False
    block(sqlite_engine, "evil.example")
    assert run(is_refused()) is False
    clock.seconds += AGAIN_SECONDS
    assert run(is_refused()) is True
    with transaction(sqlite_engine) as session:
        blocks.remove(session, "EVIL.example")
    clock.seconds += AGAIN_SECONDS
    assert run(is_refused()) is False


def test_a_blocked_hub_is_blocked_and_all_of_it_withdrawn(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1)), {"type": "Create"}])
    crawling.follow(hub)
    crawling.push(hub, hub.activity("Create", hub.proposal(2)))
    crawling.work()
    crawling.push(hub, hub.activity("Create", hub.proposal(3)))
    assert len(crawling.titles()) == 2

    added = block(crawling.engine, hub.base)

    assert (added.domain, added.peers, added.listings) == ("127.0.0.1", 1, 2)
    peer = crawling.peer(hub)
    assert (peer.state, peer.consented_at, peer.due_at) == (PeerState.BLOCKED, None, None)
    assert crawling.titles() == []
    assert crawling.listing(f"{hub.base}/proposals/1").withdrawn_reason is WithdrawnReason.OPERATOR
    with reading(crawling.engine) as session:
        assert set(session.scalars(select(InboxMessage.body))) == {None}
        assert set(session.scalars(select(InboxMessage.due_at))) == {None}
    assert (held(crawling.engine, PutAside), held(crawling.engine, Author)) == (0, 0)
    crawling.work()
    assert crawling.titles() == []


def test_a_push_from_a_blocked_domain_is_refused_and_not_stored(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    pushed = hub.activity("Create", hub.proposal(1))
    before = held(crawling.engine, InboxMessage)
    block(crawling.engine, "127.0.0.1")
    hub.asked.clear()

    with pytest.raises(ForbiddenError, match="blocked"):
        crawling.push(hub, pushed)

    assert held(crawling.engine, InboxMessage) == before
    assert (crawling.titles(), hub.asked) == ([], [])


def test_a_blocked_domain_does_not_register(crawling: Crawling, hub: HubServer) -> None:
    block(crawling.engine, "127.0.0.1")

    with pytest.raises(ForbiddenError, match="blocked"):
        crawling.register(hub)

    assert (held(crawling.engine, Peer), hub.asked) == (0, [])


def test_what_waits_for_a_blocked_domain_is_not_delivered(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    with transaction(crawling.engine) as session:
        enqueue(session, None, f"{hub.base}/members/ines/inbox", {"type": "Offer"})
    block(crawling.engine, "127.0.0.1")
    crawling.work()

    assert hub.taken == []
    with reading(crawling.engine) as session:
        for row in session.scalars(select(Delivery)):
            assert (row.due_at, row.activity, row.delivered_at) == (None, {}, None)


def test_a_listing_by_another_way_is_withdrawn_by_its_address_or_its_authors(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    ours = hub.proposal(1, name="Ours")
    stored = {
        "https://Evil.example./1": "https://evil.example/ines",
        "https://sub.evil.example/2": "https://sub.evil.example/ines",
        "https://fine.example/3": "https://evil.example/ines",
        "https://evil.example.org/4": "https://evil.example.org/ines",
    }
    crawling.push(hub, hub.activity("Create", ours))
    crawling.work()
    with transaction(crawling.engine) as session:
        row = session.scalars(select(Listing)).one()
        for number, (uri, author) in enumerate(stored.items()):
            members = {c.name: getattr(row, c.name) for c in Listing.__table__.columns}
            members |= {"id": f"x{number}", "uri": uri, "author_uri": author, "title": uri}
            session.add(Listing(**members | {"revision": 100 + number, "group_id": None}))
    added = block(crawling.engine, "evil.example")

    assert added.listings == 3
    assert crawling.titles() == ["Ours", "https://evil.example.org/4"]


def test_nothing_of_a_blocked_domain_is_stored_through_another_hub(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("elsewhere").serving() as other:
        crawling.follow(hub)
        strange = other.proposal(9, searchableBy=[PUBLIC])
        (read,) = crawling.run(lambda door: prepare(crawling.engine, door, strange, None, set()))
        assert read.found is not None
        # Of a source without actors, so that it does not hang on its author's being forgotten.
        arrivals = [replace(read, found=replace(read.found, asks_author=False))]
        block(crawling.engine, "127.0.0.1")
        with transaction(crawling.engine) as session:  # as if only the other were blocked
            session.get_one(Peer, crawling.peer(hub).id).state = PeerState.LIVE
        settled(crawling, hub, arrivals)

        assert crawling.titles() == []
        assert (held(crawling.engine, Listing), held(crawling.engine, PutAside)) == (0, 0)
        with transaction(crawling.engine) as session:
            blocks.remove(session, "127.0.0.1")
        settled(crawling, hub, arrivals)
        assert crawling.titles() == ["Bicycle repair 9"]


def settled(crawling: Crawling, hub: HubServer, arrivals: list[Arrival]) -> None:
    with transaction(crawling.engine) as session:
        settle(session, crawling.peer(hub).id, arrivals)


def test_a_hub_whose_domain_is_unblocked_joins_anew_and_its_listings_come_back(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    crawling.push(hub, hub.activity("Create", hub.serve(hub.proposal(2))))
    crawling.work()
    block(crawling.engine, "127.0.0.1")

    with transaction(crawling.engine) as session:
        assert blocks.remove(session, f"{hub.base}/group") == "127.0.0.1"
    assert crawling.peer(hub).state is PeerState.DISCOVERED
    crawling.work()
    assert crawling.titles() == []

    crawling.register(hub)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    with transaction(crawling.engine) as session, pytest.raises(NotFoundError):
        blocks.remove(session, "127.0.0.1")


def test_the_block_of_a_part_leaves_the_block_of_the_whole(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        discover(session, "https://sub.evil.example/group", found_by="tests")
    block(sqlite_engine, "sub.evil.example")
    block(sqlite_engine, "evil.example")
    with transaction(sqlite_engine) as session:
        blocks.remove(session, "sub.evil.example")
    with reading(sqlite_engine) as session:
        assert session.scalars(select(Peer.state)).one() is PeerState.BLOCKED
        assert blocks.is_blocked(session, "https://sub.evil.example/x")


@pytest.fixture
def operated(settings: Settings) -> Settings:
    keep_keys(settings)
    upgrade(settings.effective_database_url)
    return settings


def test_commands_block_list_and_unblock(operated: Settings) -> None:
    done = run_command(operated, "block", "add", "https://EVIL.example/x", "--reason", "spam")
    assert json.loads(done.stdout) == {"domain": "evil.example", "hubs": 0, "listings": 0}
    (kept,) = json.loads(run_command(operated, "block", "list", "--json").stdout)["blocks"]
    assert (kept["domain"], kept["reason"], kept["by"]) == ("evil.example", "spam", "operator")
    assert "evil.example" in run_command(operated, "block", "list").stdout
    refused = run_command(operated, "block", "add", "co.uk", "--reason", "spam")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "public suffix" in refused.stderr
    assert run_command(operated, "block", "remove", "*.evil.example.").exit_code == 0
    assert run_command(operated, "block", "remove", "evil.example").exit_code == 1
    assert json.loads(run_command(operated, "block", "list", "--json").stdout)["blocks"] == []


def test_the_end_of_a_block_does_not_end_the_hubs_own_block_of_us(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_actor(indexable=True)
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    crawling.push_and_work(hub, hub.activity("Block", "http://testserver/actor"))
    block(crawling.engine, "127.0.0.1")
    with transaction(crawling.engine) as session:
        blocks.remove(session, "127.0.0.1")

    told = join(crawling, hub.actor_uri)
    crawling.work()
    assert (told.state, crawling.titles()) == (PeerState.BLOCKED, [])
    crawling.register(hub)  # by which the hub takes it back
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_the_end_of_a_block_does_not_end_an_authors_own_block_of_us(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    ines = hub.member("ines")
    crawling.push_and_work(hub, hub.activity("Block", "http://testserver/actor", by=ines))
    block(crawling.engine, "127.0.0.1")
    with transaction(crawling.engine) as session:
        blocks.remove(session, "127.0.0.1")
    crawling.register(hub)
    crawling.push_and_work(hub, hub.activity("Create", hub.serve(hub.proposal(1))))

    assert crawling.titles() == []
