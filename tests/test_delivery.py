"""Our own activities reach the hubs, signed, and wait where a hub is down; none holds up others."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hub_server import Crawling, HubServer, Json, _Handler
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.fetch import Door
from commons.jobs import AT_ONCE, MAX_ATTEMPTS, Runner
from commons.settings import Settings
from commons.signatures import generate_rsa
from crawler import work
from crawler.delivery import ENDED_KEPT, LIFE, Delivery, deliver, enqueue, lane_of

LIKE: Json = {"id": "http://testserver/activities/1", "type": "Like", "name": "é"}


class StubbornHub(HubServer):
    """A hub whose inbox answers what it is told to, once its gate is open."""

    def __init__(self, status: int = 202, **headers: str) -> None:
        super().__init__("stubborn")
        self.status = status
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.posts = self.in_flight = self.most_in_flight = 0
        self.headers["/inbox"] = {name.replace("_", "-"): text for name, text in headers.items()}
        self._counting = threading.Lock()
        self._server.RequestHandlerClass = type("Handler", (_StubbornHandler,), {"hub": self})

    def count(self, change: int) -> None:
        with self._counting:
            self.in_flight += change
            self.posts += change > 0
            self.most_in_flight = max(self.most_in_flight, self.in_flight)


class _StubbornHandler(_Handler):
    hub: Any

    def do_POST(self) -> None:  # noqa: N802 (the name that http.server calls)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.count(1)
        self.hub.arrived.set()
        self.hub.gate.wait(30)
        self.hub.count(-1)
        self._answer(self.hub.status, {})


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.register(serving, {**serving.registration(), "listings": False})
        yield serving


def queue(crawling: Crawling, hub: HubServer, activity: Json = LIKE) -> int:
    with transaction(crawling.engine) as session:
        return enqueue(session, None, f"{hub.base}/inbox", activity).id


def row(crawling: Crawling, delivery_id: int) -> Delivery:
    with reading(crawling.engine) as session:
        return session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()


def wait_of(crawling: Crawling, delivery_id: int) -> timedelta:
    """How long a delivery waits yet."""
    with reading(crawling.engine) as session:
        due_at = session.scalar(select(Delivery.due_at).where(Delivery.id == delivery_id))
        assert due_at is not None
        return due_at - now(session)


def test_a_signed_activity_arrives_once_and_is_not_kept(crawling: Crawling, hub: HubServer) -> None:
    delivery_id = queue(crawling, hub)
    crawling.work()
    crawling.work()

    assert hub.taken == [LIKE]
    delivered = row(crawling, delivery_id)
    assert delivered.delivered_at is not None
    assert (delivered.due_at, delivered.activity) == (None, {})


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
    assert waiting.last_error == f"{hub.base.removeprefix('http://')} answered 503"  # not whose

    hub.is_down = False
    crawling.make_due(Delivery)
    crawling.work()
    assert hub.taken == [LIKE]


@pytest.mark.parametrize("status", [404, 410, 451])
def test_a_final_answer_ends_it_at_once(crawling: Crawling, status: int) -> None:
    with StubbornHub(status).serving() as hub:
        delivery_id = queue(crawling, hub)
        crawling.work()
        crawling.work()

        ended = row(crawling, delivery_id)
        assert (ended.due_at, ended.delivered_at, ended.attempts) == (None, None, 1)
        assert (ended.activity, hub.posts) == ({}, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_any_other_answer_is_tried_again(crawling: Crawling, status: int) -> None:
    with StubbornHub(status).serving() as hub:
        delivery_id = queue(crawling, hub)
        crawling.work(rounds=3)
        waiting = row(crawling, delivery_id)
        assert (waiting.attempts, waiting.activity) == (1, LIKE)
        assert waiting.due_at is not None


def test_the_waits_double_and_after_ten_attempts_it_ends(
    crawling: Crawling, hub: HubServer
) -> None:
    delivery_id = queue(crawling, hub)
    hub.trusted = generate_rsa().public_key()
    for attempt in range(1, MAX_ATTEMPTS):
        crawling.make_due(Delivery)
        crawling.work(rounds=3)
        assert row(crawling, delivery_id).attempts == attempt
        wait = wait_of(crawling, delivery_id)
        assert timedelta(0) < wait <= timedelta(minutes=2 ** (attempt - 1))
    crawling.make_due(Delivery)
    crawling.work(rounds=3)

    ended = row(crawling, delivery_id)
    assert (ended.due_at, ended.attempts, hub.taken) == (None, MAX_ATTEMPTS, [])
    assert ended.last_error is not None
    assert "401" in ended.last_error


def test_a_hub_that_asks_for_time_gets_it_and_no_attempt_is_lost(crawling: Crawling) -> None:
    with StubbornHub(429, Retry_After="36000").serving() as hub:
        first, second = queue(crawling, hub), queue(crawling, hub)
        for _ in range(3):
            crawling.make_due(Delivery)
            crawling.work(rounds=5)

        assert hub.posts == 1
        assert {row(crawling, first).attempts, row(crawling, second).attempts} == {0, 1}
        for waiting in (first, second):
            assert timedelta(hours=9) < wait_of(crawling, waiting) < timedelta(hours=11)


def test_a_hub_that_fails_five_times_is_left_alone(crawling: Crawling) -> None:
    with StubbornHub(500).serving() as hub:
        for _ in range(8):
            queue(crawling, hub)
        crawling.work(rounds=20)

        assert hub.posts == 5
        with reading(crawling.engine) as session:
            attempts = session.scalars(select(Delivery.attempts).order_by(Delivery.id)).all()
            assert attempts == [1, 1, 1, 1, 1, 0, 0, 0]


def test_what_a_dead_hub_did_not_take_in_a_week_is_given_up_unasked(crawling: Crawling) -> None:
    with StubbornHub().serving() as hub:
        delivery_id = queue(crawling, hub)
        with transaction(crawling.engine) as session:
            session.execute(update(Delivery).values(created_at=now(session) - LIFE))
        crawling.work()

        ended = row(crawling, delivery_id)
        assert (ended.due_at, ended.delivered_at, ended.activity) == (None, None, {})
        assert hub.posts == 0


def test_what_ended_is_forgotten_after_a_week(crawling: Crawling, hub: HubServer) -> None:
    queue(crawling, hub)
    crawling.work()
    for age, left in ((ENDED_KEPT - timedelta(hours=1), 2), (ENDED_KEPT, 1)):
        with transaction(crawling.engine) as session:
            session.execute(update(Delivery).values(created_at=now(session) - age, due_at=None))
        queue(crawling, hub)
        assert crawling.count(Delivery) == left


def test_an_undo_supersedes_the_follow_that_waits(crawling: Crawling, hub: HubServer) -> None:
    follow = {"id": "http://testserver/f/1", "type": "Follow", "object": hub.actor_uri}
    undo = {"id": "http://testserver/f/2", "type": "Undo", "object": follow}
    other = {"id": "http://testserver/f/3", "type": "Follow", "object": f"{hub.base}/relay"}
    for activity in (follow, undo, other):
        queue(crawling, hub, activity)
    crawling.work()
    assert hub.taken == [undo, other]

    again = {**follow, "id": "http://testserver/f/4"}
    hub.is_down = True
    queue(crawling, hub, undo)
    crawling.work(rounds=3)
    queue(crawling, hub, again)
    hub.is_down = False
    crawling.make_due(Delivery)
    crawling.work()
    assert hub.taken == [undo, other, again]


def test_deliveries_to_one_hub_go_one_at_a_time_in_their_order(crawling: Crawling) -> None:
    with StubbornHub().serving() as hub:
        for _ in range(5):
            queue(crawling, hub)
        crawling.work()
        assert (hub.posts, hub.most_in_flight) == (5, 1)


@pytest.mark.parametrize(
    ("inbox", "lane"),
    [
        ("https://a.hub.example.org/inbox", "example.org"),
        ("https://b.hub.example.org:8443/inbox", "example.org"),
        ("https://ines.github.io/inbox", "ines.github.io"),
        ("http://127.0.0.1:8000/inbox", "127.0.0.1:8000"),
    ],
)
def test_the_hosts_of_one_owner_are_one_lane(inbox: str, lane: str) -> None:
    assert lane_of(inbox) == lane


def test_a_thousand_deliveries_to_a_hub_that_never_answers_hold_up_nobody(
    crawling: Crawling, hub: HubServer
) -> None:
    with StubbornHub().serving() as silent:
        silent.gate.clear()
        with transaction(crawling.engine) as session:
            for _ in range(1000):
                enqueue(session, None, f"{silent.base}/inbox", LIKE)
        first = queue(crawling, hub)  # the last in the queue
        try:
            crawling.run(partial(_until_taken, crawling.engine, crawling.settings, silent))
        finally:
            silent.gate.set()

        assert hub.taken == [LIKE]
        assert row(crawling, first).delivered_at is not None
        assert (silent.posts, silent.most_in_flight) == (1, 1)
        with reading(crawling.engine) as session:
            waiting = select(func.count()).where(Delivery.delivered_at.is_(None))
            assert session.scalar(waiting) == 999


async def _until_taken(engine: Engine, settings: Settings, silent: StubbornHub, door: Door) -> None:
    """Work, as a worker does, until somebody took something; the silent hub answers only then."""
    taken = asyncio.Event()

    def note(_session: Session, _delivery_id: int) -> None:
        taken.set()

    usual = next(job for job in work.jobs(engine, door, settings) if job.table is Delivery)
    runner = Runner(engine, replace(usual, work=partial(deliver, engine, door, taken=note)))
    assert await runner.start_due() <= AT_ONCE
    assert await asyncio.to_thread(silent.arrived.wait, 10)
    await asyncio.wait_for(taken.wait(), 10)
    assert await runner.start_due() == 0  # one is under way, so none other of that hub begins
    silent.gate.set()
    await runner.finish()
