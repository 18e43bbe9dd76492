"""The command line: results on stdout, errors in one line on stderr, 2 for bad input."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hub_server import Crawling, HubServer
from market import draft, publish
from served import keep_keys
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from api.commands import app
from api.migrations import upgrade
from commons.database import make_engine, transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler.peers import PeerState
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up

WAIT_SECONDS = 30.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    keep_keys(settings)
    upgrade(settings.effective_database_url)
    return settings


def environment(settings: Settings) -> dict[str, str]:
    ours = {
        "LOCALPAY_BASE_URL": settings.base_url,
        "LOCALPAY_DATA_DIR": str(settings.data_dir),
        "LOCALPAY_DATABASE_URL": settings.database_url,
        "LOCALPAY_ALLOW_LOOPBACK": "true",
        "COLUMNS": "200",
    }
    return {**os.environ, **ours}


def run(settings: Settings, *arguments: str, **more: str) -> Result:
    """Run a command in this process; whatever it lets out besides an exit status is raised."""
    runner = CliRunner(env={**environment(settings), **more})
    return runner.invoke(app, arguments, catch_exceptions=False)


def good(settings: Settings, *arguments: str) -> str:
    done = run(settings, *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(settings: Settings, *arguments: str, code: int, **more: str) -> str:
    done = run(settings, *arguments, **more)
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("localpay: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture
def hub(settings: Settings) -> Iterator[HubServer]:
    engine = make_engine(settings.effective_database_url)
    with HubServer().serving() as hub:
        with Crawling(engine, settings) as crawling:
            crawling.register(hub)
        yield hub
    engine.dispose()


def test_a_hub_is_admitted_with_account_and_rate(settings: Settings, hub: HubServer) -> None:
    listed = json.loads(good(settings, "hub", "list", "--json"))["hubs"]
    assert [(one["id"], one["state"]) for one in listed] == [("barcelona", "registered")]
    admitted = json.loads(good(settings, "hub", "admit", "barcelona", "--credit-limit", "25"))
    assert admitted == {
        "id": "barcelona",
        "state": "admitted",
        "union": "main",
        "rate": "1/1",
        "credit_limit": "25.0000",
        "surplus_limit": "100.0000",
    }
    shown = json.loads(good(settings, "hub", "show", "barcelona"))
    assert shown["state"] == "admitted"
    assert shown["peer"]["state"] == PeerState.CONSENTED
    assert shown["peer"]["next_look_at"] is not None
    assert [key["key_id"] for key in shown["keys"]] == [hub.key_id]
    assert shown["move_that_waits"] is None
    astray = refused(settings, "hub", "move", "barcelona", hub.actor_uri, code=1)
    assert "alsoKnownAs" in astray
    assert "barcelona" in good(settings, "hub", "list")
    assert "already" in refused(settings, "hub", "admit", "barcelona", code=1)


def test_a_hub_that_is_admitted_again_keeps_its_limits(settings: Settings, hub: HubServer) -> None:
    good(settings, "hub", "admit", hub.name, "--credit-limit", "25", "--surplus-limit", "0.00")
    engine = make_engine(settings.effective_database_url)
    with transaction(engine) as session:
        session.get_one(Hub, hub.name).state = HubState.SUSPENDED
    engine.dispose()
    admitted = json.loads(good(settings, "hub", "admit", hub.name, "--credit-limit", "99"))
    assert (admitted["credit_limit"], admitted["surplus_limit"]) == ("25.0000", "0.0000")
    account = json.loads(good(settings, "account", "show", hub.name))
    assert account["credit_limit"] == "25.0000"


def test_a_bad_limit_admits_nobody(settings: Settings, hub: HubServer) -> None:
    said = refused(settings, "hub", "admit", hub.name, "--credit-limit", "-5", code=2)
    assert said.startswith("localpay: credit_limit: ")
    shown = json.loads(good(settings, "hub", "show", hub.name))
    assert shown["state"] == "registered"


def test_an_unknown_hub_is_told_in_one_line(settings: Settings) -> None:
    for command in ("show", "admit"):
        assert "nobody" in refused(settings, "hub", command, "nobody", code=1)


def test_searching_prints_hits_on_stdout_alone(settings: Settings) -> None:
    engine = make_engine(settings.effective_database_url)
    publish(engine, draft("bikes", "Bicycle repair"), draft("piano", "Piano lessons"))
    index = EmbeddedIndex(settings.data_dir / "index")
    catch_up(engine, index)
    index.close()
    engine.dispose()
    assert good(settings, "search", "bicycle", "repair") == (
        "offer · Bicycle repair · https://hub.example/bikes\n"
    )
    page = json.loads(good(settings, "search", "--json", "--limit", "1"))
    assert page["total"] == 2
    assert len(page["hits"]) == 1
    assert "near" in refused(settings, "search", "--near", "here", code=2)


def test_reindexing_tells_how_many_changes_it_read(settings: Settings) -> None:
    engine = make_engine(settings.effective_database_url)
    publish(engine, draft("bikes", "Bicycle repair"), draft("piano", "Piano lessons"))
    engine.dispose()
    assert good(settings, "reindex") == "2\n"
    assert "Piano" in good(settings, "search", "piano")


def test_a_broken_setting_is_named(settings: Settings) -> None:
    said = refused(settings, "hub", "list", code=2, LOCALPAY_BASE_URL="ftp://x")
    assert "LOCALPAY_BASE_URL" in said


def test_a_database_that_does_not_answer_is_told(settings: Settings) -> None:
    nowhere = "postgresql+psycopg2://nobody@127.0.0.1:1/none"
    said = refused(settings, "hub", "list", code=1, LOCALPAY_DATABASE_URL=nowhere)
    assert "the database does not answer" in said


def test_a_server_database_is_migrated_by_command_only(
    settings: Settings, postgresql_server: str
) -> None:
    name = f"localpay_test_commands_{os.getpid()}"
    url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        there = settings.model_copy(update={"database_url": url})
        assert "localpay migrate" in refused(there, "hub", "list", code=1)
        assert good(there, "migrate").strip().isdigit()
        assert json.loads(good(there, "hub", "list", "--json")) == {"hubs": []}
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def test_serving_finds_what_is_published_and_ends_on_sigterm(
    settings: Settings, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    told = environment(settings)
    del told["LOCALPAY_BASE_URL"]
    engine = make_engine(settings.effective_database_url)
    publish(engine, draft("bikes", "Bicycle repair"))
    engine.dispose()
    command = [sys.executable, "-m", "api.commands", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env=told, stderr=log, stdout=log)
    try:
        assert _titles(url, server) == ["Bicycle repair"]
        actor = httpx2.get(f"{url}/actor", trust_env=False).json()
        assert actor["id"] == f"{url}/actor"  # not said otherwise, it is where it listens
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_SECONDS) in {0, -signal.SIGTERM}
    finally:
        server.kill()
        server.wait()
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert "DEVELOPMENT ONLY" in said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_told_in_one_line(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(settings, "serve", "--port", port, code=1)
    assert said == (
        f"localpay: another program listens on 127.0.0.1 port {port}; choose another by --port\n"
    )


def _titles(url: str, server: subprocess.Popen[bytes]) -> list[str]:
    """Ask until the worker has indexed something."""
    deadline = time.monotonic() + WAIT_SECONDS
    with httpx2.Client(base_url=url, trust_env=False) as client:
        while time.monotonic() < deadline and server.poll() is None:
            try:
                hits = client.get("/listings").json()["hits"]
            except httpx2.TransportError:
                hits = []
            if hits:
                return [hit["title"] for hit in hits]
            os.sched_yield()
    return []
