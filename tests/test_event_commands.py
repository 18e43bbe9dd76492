"""What operator and hub see of events and deeds: commands, the hub's own page, real processes."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from clearing_world import open_world
from hub_server import HubServer
from operating import Running, run, running
from paying_world import World, open_doors, payment
from sqlalchemy import Engine, text
from test_events import frames, tell
from test_webhooks import WAIT_SECONDS, Listener, Posting

from commons import audit_log
from commons.database import transaction
from commons.settings import Settings
from commons.signatures import Message, sign


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def good(settings: Settings, *arguments: str) -> str:
    done = run(settings, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def printed(settings: Settings, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(good(settings, *arguments))


def test_a_hub_and_the_operator_see_why_a_webhook_rests_and_each_has_it_go_on(
    world: World,
) -> None:
    settings = world.service.services.settings
    with Listener().serving() as listener, Posting(world.engine, settings) as posting:
        address = {"webhook": listener.url}
        for hub in (world.leeds, world.ghent):
            answer = world.service.call(hub, "PATCH", f"/hubs/{hub.name}", address)
            assert answer.status_code == 200, answer.text
        tell(world.engine, "one", "two")
        listener.status = 400
        for _ in range(20):
            posting.once()
            posting.hurry()
        delivery = world.service.call(world.leeds, "GET", "/hubs/leeds").json()["policy"][
            "delivery"
        ]
        assert delivery["stopped_at"] is not None
        assert "400" in delivery["error"]
        assert delivery["last"] - delivery["delivered"] == 2
        foreign = world.service.call(world.ghent, "GET", "/hubs/leeds").json()
        assert foreign["policy"] is None
        [ghent, leeds] = printed(settings, "events", "status", "--json")["webhooks"]
        assert (leeds["error"], ghent["error"]) == (delivery["error"], None)
        assert "stopped" in good(settings, "events", "status")
        listener.status = 200
        resumed = printed(settings, "events", "resume", "leeds")
        assert (resumed["stopped_at"], resumed["attempts"]) == (None, 0)
        posting.all()
        assert posting.status().delivered == delivery["last"]
        replayed = printed(
            settings, "events", "replay", "leeds", "--after", str(delivery["delivered"])
        )
        assert replayed["delivered"] == delivery["delivered"]
        posting.all()
        assert listener.numbers()[-2:] == [delivery["last"] - 1, delivery["last"]]
        listed = printed(settings, "events", "list", "leeds", "--json", "--limit", "1000")
        assert [one["number"] for one in listed["events"]] == list(range(1, delivery["last"] + 1))
        assert "limit-approached" in good(settings, "events", "list", "leeds")
    deeds = printed(settings, "log", "list", "--json", "--newest")["deeds"]
    assert [(deed["actor"], deed["action"]) for deed in deeds][-2:] == [
        ("operator", "events-resumed"),
        ("operator", "events-replayed"),
    ]
    assert deeds[-1]["data"] == {"after": str(delivery["delivered"])}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("events", "replay", "leeds", "--after", "99999"), 2),
        (("events", "replay", "leeds"), 2),
        (("events", "replay", "ghent", "--after", "0"), 1),
        (("events", "resume", "nobody"), 1),
        (("events", "list", "nosuch"), 1),
        (("hub", "keys", "list", "nosuch"), 1),
        (("events", "list", "leeds", "--after", "99999"), 2),
    ],
)
def test_what_cannot_be_is_told_in_one_line_and_is_no_deed(
    settings: Settings, sqlite_engine: Engine, arguments: tuple[str, ...], code: int
) -> None:
    open_world(sqlite_engine)
    url = sqlite_engine.url.render_as_string(hide_password=False)
    told = settings.model_copy(update={"database_url": url})
    with Posting(sqlite_engine, settings) as posting:
        posting.listen("http://127.0.0.1:9/events")
        before = posting.status()
        done = run(told, *arguments)
        assert done.exit_code == code, done.output
        assert posting.status() == before
    assert "events" not in good(told, "log", "list")


def test_the_audit_log_tells_what_was_changed_and_what_is_missing(
    settings: Settings, sqlite_engine: Engine
) -> None:
    url = sqlite_engine.url.render_as_string(hide_password=False)
    told = settings.model_copy(update={"database_url": url})
    assert "empty" in good(told, "log", "verify")
    with transaction(sqlite_engine) as session:
        for number in range(1, 6):
            audit_log.record(session, "operator", "tested", f"row {number}", {"a": "b"})
        head = audit_log.newest(session)
        assert head is not None
        whole = head.hash
    assert f"5 rows, head {whole}" in good(told, "log", "verify")
    rows = [line.split("\t") for line in good(told, "log", "list", "--after", "3").splitlines()]
    assert [row[0] for row in rows] == ["number", "4", "5"]
    newest = printed(told, "log", "list", "--newest", "--limit", "2", "--json")["deeds"]
    assert [deed["number"] for deed in newest] == [4, 5]
    with sqlite_engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER deeds_no_{verb}"))
    for damage, said in (
        ("UPDATE deeds SET subject = 'row 9' WHERE number = 2", "row 2 of the audit log does not"),
        ("DELETE FROM deeds WHERE number = 3", "row 3 of the audit log is missing"),
        ("DELETE FROM deeds WHERE number = 5", "rows 5 to 5 of the audit log are missing"),
    ):
        with sqlite_engine.begin() as connection:
            connection.execute(text(damage))
        done = run(told, "log", "verify")
        assert done.exit_code == 1
        assert said in done.stdout


def test_a_payment_reaches_webhook_and_stream_and_the_service_ends_all_the_same(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALPAY_ALLOW_LOOPBACK", "1")
    url = sqlite_engine.url.render_as_string(hide_password=False)
    told = settings.model_copy(update={"database_url": url})
    with Listener().serving() as listener:
        with contextmanager(open_doors)(settings, sqlite_engine) as world:
            path, address = "/hubs/leeds", {"webhook": listener.url}
            assert world.service.call(world.leeds, "PATCH", path, address).status_code == 200
        with running(told, "serve", tmp_path / "log") as service:
            assert service.answers("/health", 200)
            listener.key_id = f"{base(service)}/actor#ed25519-key"
            with streamed(service, world.leeds) as stream:
                assert "retry" in next(stream)
                transfer_id = str(uuid4())
                made = signed(
                    service, world.barcelona, "PUT", f"/transfers/{transfer_id}", payment("5")
                )
                assert service.client.send(made).status_code == 201
                event = next(frame for frame in stream if frame.get("event") == "transfer-pending")
                assert json.loads(event["data"])["subject"] == transfer_id
                assert service.until(lambda: listener.calls != [])
                service.process.terminate()
                assert service.process.wait(WAIT_SECONDS) is not None
                assert all("id" not in frame for frame in stream)
    posted = listener.calls[-1]["events"][-1]
    assert (posted["kind"], posted["subject"]) == ("transfer-pending", transfer_id)
    assert str(posted["number"]) == event["id"]


def base(service: Running) -> str:
    return str(service.client.base_url).rstrip("/")


def signed(
    service: Running, hub: HubServer, method: str, path: str, document: object = None
) -> httpx2.Request:
    body = b"" if document is None else json.dumps(document).encode()
    headers = [] if document is None else [("Content-Type", "application/json")]
    message = Message(method, base(service) + path, headers, body)
    nonce, moment = secrets.token_urlsafe(16), datetime.now(UTC)
    added = sign(message, hub.key, hub.key_id, nonce=nonce, created=moment)
    return service.client.build_request(
        method, path, content=body, headers=[*headers, *added.items()]
    )


@contextmanager
def streamed(service: Running, hub: HubServer) -> Iterator[Iterator[dict[str, str]]]:
    request = signed(service, hub, "GET", "/events")
    request.headers["Accept"] = "text/event-stream"
    with httpx2.Client(trust_env=False, timeout=WAIT_SECONDS) as client:
        answer = client.send(request, stream=True)
        assert answer.status_code == 200, answer.read()
        try:
            yield frames(answer.iter_lines())
        finally:
            answer.close()
