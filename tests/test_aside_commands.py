"""`localpay aside` and `localpay hub health`: what was not taken, why, and once more."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hub_server import Crawling, HubServer
from operating import run
from served import keep_keys
from sqlalchemy import Engine, select
from typer.testing import Result

from api.migrations import upgrade
from commons.database import make_engine, reading, transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler import joining
from crawler.activities import give_up
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer

Json = dict[str, Any]


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LOCALPAY_ALLOW_LOOPBACK", "true")
    monkeypatch.setenv("LOCALPAY_BASE_URL", settings.base_url)
    keep_keys(settings)
    upgrade(settings.effective_database_url)
    return settings


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings.effective_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    """Yield a hub that has joined, with a listing that is taken and two without a title."""
    with HubServer().serving() as hub:
        hub.publish_actor(indexable=True)
        untitled = [hub.proposal(n, name=None) for n in (2, 3)]
        items = [hub.proposal(1), *untitled]
        hub.publish_outbox([hub.activity("Create", hub.serve(item)) for item in items])
        join(crawling, hub)
        yield hub


def join(crawling: Crawling, hub: HubServer) -> None:
    crawling.run(lambda door: joining.join(crawling.engine, door, crawling.settings, hub.actor_uri))
    crawling.work()


def good(settings: Settings, *arguments: str) -> str:
    done: Result = run(settings, *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def rows(engine: Engine) -> list[PutAside]:
    with reading(engine) as session:
        return list(session.scalars(select(PutAside).order_by(PutAside.id)))


def test_what_was_put_aside_is_listed_with_its_reasons(settings: Settings, hub: HubServer) -> None:
    told = good(settings, "aside", "list")
    assert f"{hub.base}/proposals/2" in told
    assert "2 of: title: must not be empty" in told
    listed = json.loads(good(settings, "aside", "list", "--group", "barcelona", "--json"))
    assert (listed["total"], listed["reasons"]) == (2, {"title: must not be empty": 2})
    assert json.loads(good(settings, "aside", "list", "--group", "leeds", "--json"))["total"] == 0
    chosen = ("aside", "list", "--json", "--reason")
    assert json.loads(good(settings, *chosen, "title"))["total"] == 2
    assert json.loads(good(settings, *chosen, "100%"))["total"] == 0


def test_one_thing_is_shown_as_it_came(settings: Settings, engine: Engine, hub: HubServer) -> None:
    first = rows(engine)[0]
    shown = json.loads(good(settings, "aside", "show", str(first.id)))
    assert json.loads(shown["document"])["object"]["id"] == first.uri == f"{hub.base}/proposals/2"
    assert shown["mend"].endswith("mend `title` where it is published.")
    assert run(settings, "aside", "again", "--group", "nosuch").exit_code == 1
    missing = run(settings, "aside", "show", "999")
    assert missing.exit_code == 1
    assert missing.stderr.count("\n") == 1


def test_what_can_be_read_by_now_is_taken(
    settings: Settings, engine: Engine, crawling: Crawling, hub: HubServer
) -> None:
    titled = json.dumps(hub.proposal(2, name="Mended"))
    with transaction(engine) as session:  # as if a better reader had come meanwhile
        row = session.scalars(select(PutAside).where(PutAside.uri.endswith("/2"))).one()
        row.document = titled
    done = run(settings, "aside", "again", "--group", "barcelona")
    assert done.stdout == "1 taken, 0 left out, 1 still aside\n"
    assert "reading again" in done.stderr
    assert crawling.titles() == ["Bicycle repair 1", "Mended"]
    assert [row.uri for row in rows(engine)] == [f"{hub.base}/proposals/3"]


def test_a_message_that_could_not_be_handled_is_read_again(
    settings: Settings, engine: Engine, crawling: Crawling, hub: HubServer
) -> None:
    crawling.push(hub, hub.activity("Create", hub.serve(hub.proposal(7))))
    with transaction(engine) as session:
        message = session.scalars(select(InboxMessage)).one()
        message.due_at = None
        give_up(session, message.id, "after 8 attempts: something unforeseen")
    assert "unforeseen" in good(settings, "aside", "list")
    assert good(settings, "aside", "again", "--all").startswith("1 taken")
    assert "Bicycle repair 7" in crawling.titles()


def test_nothing_of_a_suspended_hub_is_read_again(
    settings: Settings, engine: Engine, hub: HubServer
) -> None:
    with transaction(engine) as session:
        session.get_one(Hub, "barcelona").state = HubState.SUSPENDED
    hub.asked.clear()
    assert good(settings, "aside", "again", "--all") == "0 taken, 0 left out, 0 still aside\n"
    assert len(rows(engine)) == 2
    assert hub.asked == []


def test_reading_again_wants_a_group_or_all(settings: Settings) -> None:
    for arguments in ((), ("--group", "barcelona", "--all")):
        done = run(settings, "aside", "again", *arguments)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1


def test_the_operator_sees_what_a_hub_has_to_mend(
    settings: Settings, crawling: Crawling, hub: HubServer
) -> None:
    hub.gone("/outbox", 404)
    crawling.make_due(Peer)
    crawling.work(rounds=60)
    told = good(settings, "hub", "health", "barcelona")
    assert told.startswith("1 listings in the search; to mend (source): It answers 404")
    assert f"{hub.base}/outbox answered 404" in told.replace("\n", "")
    assert f"    {hub.base}/proposals/3" in told


def test_the_operator_has_a_hub_looked_at_now(settings: Settings, hub: HubServer) -> None:
    hub.asked.clear()
    quiet: Json = json.loads(good(settings, "hub", "health", "barcelona", "--json"))
    assert (quiet["asked"], quiet["mend"], hub.asked) == (False, None, [])
    hub.gone("/group", 404)
    told: Json = json.loads(good(settings, "hub", "health", "barcelona", "--ask", "--json"))
    assert told["asked"] is True
    assert 1 <= len(hub.asked) <= 6
    failed = next(step for step in told["steps"] if step["state"] == "failed")
    assert (failed["name"], failed["error"]) == ("actor", f"{hub.actor_uri} answered 404")
    assert told["mend"] == failed["mend"]


def test_a_group_that_is_not_known_has_no_health(settings: Settings) -> None:
    done = run(settings, "hub", "health", "nowhere")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
