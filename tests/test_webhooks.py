"""Webhooks: a hub's events are posted to it in order, signed, until it has taken them."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from clearing_world import open_world
from hub_server import own_keys
from sqlalchemy import Engine, select, update

from clearing import events, webhooks, work
from clearing.events import EventKind, Notice
from clearing.webhooks import Webhook
from commons import database
from commons.database import reading, transaction
from commons.errors import InvalidError, LocalPayError, NotFoundError
from commons.fetch import Door
from commons.groups import Hub, HubState
from commons.jobs import run_once
from commons.knocking import Signing
from commons.settings import Settings
from commons.signatures import REQUEST_WITH_BODY, Message, verify

KEY_ID = "http://testserver/actor#service"
WAIT_SECONDS = 30.0


class Listener:
    """A hub's address for events: answers what it is told to, once its gate is open."""

    def __init__(self, key_id: str = KEY_ID) -> None:
        self.key_id = key_id
        self.status = 204
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.calls: list[dict[str, Any]] = []
        self.nonces: list[str | None] = []
        handler = type("Handler", (_Handler,), {"listener": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/events"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.gate.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def numbers(self) -> list[int]:
        return [event["number"] for call in self.calls for event in call["events"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    listener: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.listener.arrived.set()
        self.listener.gate.wait(WAIT_SECONDS)
        message = Message("POST", self.listener.url, list(self.headers.items()), body)
        status = self.listener.status
        try:
            found = verify(
                message,
                own_keys().service.public_key(),
                required=REQUEST_WITH_BODY,
                now=datetime.now(UTC),
                nonce_required=True,
            )
            assert found.key_id == self.listener.key_id
            self.listener.nonces.append(found.nonce)
            self.listener.calls.append(json.loads(body))
        except LocalPayError:
            status = 401
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status == 302:
            self.send_header("Location", self.listener.url)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""


class Posting:
    """A worker's part in webhooks, done step by step."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self._runner = asyncio.Runner()
        self._door = Door(settings, polite=False)
        self._jobs = work.jobs(engine, self._door, Signing(KEY_ID, own_keys().service))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._door.aclose())
        self._runner.close()

    def tell(self, count: int = 1, group_id: str = "leeds") -> None:
        notice = Notice(group_id, EventKind.LIMIT_APPROACHED, "credit_limit", {"used": "60.0000"})
        with transaction(self.engine) as session:
            events.record(session, [notice] * count, database.now(session))

    def listen(self, url: str | None, group_id: str = "leeds") -> None:
        with transaction(self.engine) as session:
            webhooks.set_address(session, group_id, url, allow_loopback=True)

    def once(self) -> int:
        webhooks.make_due(self.engine)
        return self._runner.run(run_once(self.engine, self._jobs))

    def all(self) -> None:
        while self.once():
            continue

    def hurry(self) -> None:
        """Let what waits for its next attempt be due, as if time had passed."""
        with transaction(self.engine) as session:
            waits = Webhook.due_at.is_not(None)
            session.execute(update(Webhook).where(waits).values(due_at=database.now(session)))

    def change(self, act: Callable[..., None], *arguments: object) -> None:
        with transaction(self.engine) as session:
            act(session, "leeds", *arguments)

    def status(self, group_id: str = "leeds") -> webhooks.Status:
        with reading(self.engine) as session:
            found = webhooks.status(session, group_id)
        assert found is not None
        return found


@pytest.fixture
def posting(settings: Settings, sqlite_engine: Engine) -> Iterator[Posting]:
    open_world(sqlite_engine)
    with Posting(sqlite_engine, settings) as made:
        yield made


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener().serving() as serving:
        yield serving


def test_events_are_posted_in_order_and_batches_each_once_on_both_databases(
    settings: Settings, engine: Engine, listener: Listener
) -> None:
    open_world(engine)
    with Posting(engine, settings) as posting:
        posting.tell(3)  # before there was an address: to be read, not posted
        posting.listen(listener.url)
        assert posting.once() == 0
        posting.tell(2 * webhooks.MOST_IN_A_CALL + 50)
        posting.tell(7, "ghent")
        posting.all()
        posting.tell()
        posting.all()
        first = posting.status().last - 251 + 1
        assert listener.numbers() == list(range(first, first + 251))
        assert [len(call["events"]) for call in listener.calls] == [100, 100, 50, 1]
        for call in listener.calls:
            ends = (call["events"][0]["number"], call["events"][-1]["number"])
            assert (call["group"], (call["first"], call["last"])) == ("leeds", ends)
        assert len(set(listener.nonces)) == len(listener.calls)
        with reading(engine) as session:
            told = [events.view(e) for e in events.after(session, "leeds", first - 1, 1)]
        assert listener.calls[0]["events"][:1] == told
        status = posting.status()
        assert (status.delivered, status.error, status.next_try_at) == (status.last, None, None)


def test_what_a_hub_took_without_saying_so_comes_again_under_the_same_numbers(
    posting: Posting, listener: Listener
) -> None:
    posting.listen(listener.url)
    posting.tell(2)
    mark = posting.status().delivered
    for status in (500, 302, 401):
        listener.status = status
        posting.once()
        assert posting.status().delivered == mark
        assert str(status) in (posting.status().error or "")
        posting.hurry()
    assert posting.status().attempts == 3
    listener.status = 200
    posting.tell()
    posting.all()
    assert listener.numbers() == [mark + 1, mark + 2] * 3 + [mark + 1, mark + 2, mark + 3]
    assert (posting.status().delivered, posting.status().attempts) == (mark + 3, 0)


def test_after_the_last_attempt_it_rests_with_its_error_until_somebody_asks(
    posting: Posting, listener: Listener
) -> None:
    posting.listen(listener.url)
    posting.tell(2)
    listener.status = 400  # a host that answers 5xx is left alone for a while, uncounted
    for _ in range(webhooks.ATTEMPTS):
        assert posting.status().stopped_at is None
        posting.once()
        posting.hurry()
    stopped = posting.status()
    assert stopped.stopped_at is not None
    assert "400" in (stopped.error or "")
    posting.tell()
    assert posting.once() == 0
    assert len(listener.calls) == webhooks.ATTEMPTS
    listener.status = 200
    posting.change(webhooks.resume)
    posting.all()
    assert listener.calls[-1]["last"] == posting.status().delivered == stopped.last + 1
    assert (posting.status().error, posting.status().stopped_at) == (None, None)


def test_a_hub_that_names_its_address_again_goes_on_where_it_stopped(
    posting: Posting, listener: Listener
) -> None:
    posting.listen(listener.url)
    posting.tell(1)
    posting.all()
    posting.listen(None)
    posting.tell(2)
    assert posting.once() == 0
    with pytest.raises(NotFoundError), transaction(posting.engine) as session:
        webhooks.resume(session, "leeds")
    posting.listen(listener.url)
    posting.all()
    last = posting.status().last
    assert listener.numbers() == [last - 2, last - 1, last]


def test_events_are_replayed_from_a_number_on_and_none_is_ever_skipped(
    posting: Posting, listener: Listener
) -> None:
    posting.listen(listener.url)
    start = posting.status().last
    posting.tell(4)
    posting.all()
    posting.change(webhooks.replay, start + 2)
    posting.all()
    assert listener.numbers() == [start + n for n in (1, 2, 3, 4, 3, 4)]
    for number in (start + 5, -1):
        with pytest.raises(InvalidError), transaction(posting.engine) as session:
            webhooks.replay(session, "leeds", number)
    assert posting.once() == 0


def test_a_replay_during_a_delivery_is_not_lost(posting: Posting, listener: Listener) -> None:
    posting.listen(listener.url)
    start = posting.status().last
    posting.tell(3)
    posting.all()
    posting.tell()
    listener.gate.clear()
    listener.arrived.clear()

    def replay() -> None:
        assert listener.arrived.wait(WAIT_SECONDS)
        posting.change(webhooks.replay, start)
        listener.gate.set()

    meanwhile = threading.Thread(target=replay)
    meanwhile.start()
    posting.once()
    meanwhile.join()
    assert posting.status().delivered == start
    posting.all()
    assert listener.numbers() == [start + n for n in (1, 2, 3, 4, 1, 2, 3, 4)]


def test_a_hub_that_never_answers_holds_up_nobody(posting: Posting, listener: Listener) -> None:
    with Listener().serving() as silent:
        silent.gate.clear()
        posting.listen(silent.url, "ghent")
        posting.listen(listener.url)
        posting.tell(1, "ghent")
        posting.tell(250)

        def release() -> None:
            while len(listener.calls) < 1:
                assert silent.arrived.wait(WAIT_SECONDS)
            silent.gate.set()

        meanwhile = threading.Thread(target=release)
        meanwhile.start()
        posting.all()
        meanwhile.join()
        assert len(listener.numbers()) == 250
        assert len(silent.numbers()) == 1


def test_a_suspended_hub_is_told_nothing_until_it_is_admitted_again(
    posting: Posting, listener: Listener
) -> None:
    posting.listen(listener.url)
    for state, told in ((HubState.SUSPENDED, 0), (HubState.ADMITTED, 1)):
        with transaction(posting.engine) as session:
            leeds = Hub.group_id == "leeds"
            session.execute(update(Hub).where(leeds).values(state=state))
        if state is HubState.SUSPENDED:
            posting.tell()
        posting.all()
        assert len(listener.numbers()) == told


@pytest.mark.parametrize(
    "url",
    ["http://hub.example/events", "https://10.0.0.1/", "https://user@hub.example/", "nonsense", ""],
)
def test_an_address_that_may_not_be_asked_is_refused_and_changes_nothing(
    posting: Posting, listener: Listener, url: str
) -> None:
    posting.listen(listener.url)
    with pytest.raises(InvalidError) as refused, transaction(posting.engine) as session:
        webhooks.set_address(session, "leeds", url)
    assert refused.value.field == "webhook"
    assert posting.status().url == listener.url
    with pytest.raises(InvalidError), transaction(posting.engine) as session:
        webhooks.set_address(session, "ghent", url)
    with reading(posting.engine) as session:
        assert session.scalars(select(Webhook.group_id)).all() == ["leeds"]


def test_an_address_behind_which_there_is_a_private_one_is_not_asked(
    posting: Posting, settings: Settings, listener: Listener
) -> None:
    posting.listen(listener.url)
    posting.tell()
    guarded = settings.model_copy(update={"allow_loopback": False})
    with Posting(posting.engine, guarded) as public:
        public.once()
    assert listener.calls == []
    assert posting.status().stopped_at is not None
