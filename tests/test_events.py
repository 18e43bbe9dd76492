"""Events reach a hub in order, each once, none missing: asked for, waited for, or as a stream."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from clearing_world import GROUPS, admit, open_world, pay
from hub_server import HubServer, own_keys
from paying_world import World, open_doors, problem
from served import verified_by_our_key
from sqlalchemy import Engine, func, select, update

from api import event_watch
from api.routes import events as routes
from clearing import events, rounds
from clearing.events import Event, EventKind, Notice
from commons import database, proofs
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.groups import Hub, HubKey, HubState
from commons.settings import Settings

WAIT_SECONDS = 30.0
ROUND = {EventKind.ROUND_CHANGED}
WRITERS, EACH = 3, 30
WRITER = """
import random, sys
import commons.groups
from clearing.events import EventKind, Notice, record
from commons import database
class Undone(Exception): pass
url, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance, engine = random.Random(seed), database.make_engine(url)
for number in range(count):
    groups = chance.choices(["barcelona", "leeds", "ghent"], k=chance.randint(1, 5))
    told = [Notice(g, EventKind.LIMIT_APPROACHED, f"{seed}/{number}") for g in groups]
    for is_kept in (False, True):  # what was rolled back must leave no gap
        try:
            with database.transaction(engine) as session:
                record(session, told, database.now(session))
                if not is_kept:
                    raise Undone
        except Undone:
            continue
"""


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def tell(engine: Engine, *subjects: str, group_id: str = "leeds") -> None:
    """Record events as another process would: nobody rings for them in this one."""
    with transaction(engine) as session:
        told = [Notice(group_id, EventKind.LIMIT_APPROACHED, one, {"a": "b"}) for one in subjects]
        events.record(session, told, database.now(session))


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_many_processes_record_and_a_reader_misses_and_doubles_nothing(engine: Engine) -> None:
    open_world(engine)
    with reading(engine) as session:
        begun = {g: events.last_number(session, g) for g in ("barcelona", "leeds", "ghent")}
    url = engine.url.render_as_string(hide_password=False)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(seed), str(EACH)])
        for seed in range(WRITERS)
    ]
    seen: dict[str, list[Event]] = {group_id: [] for group_id in begun}
    ending = False
    while not ending:
        ending = all(writer.poll() is not None for writer in writers)
        for group_id, found in seen.items():
            last = found[-1].number if found else begun[group_id]
            with reading(engine) as session:
                found.extend(events.after(session, group_id, last, 7))
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    for group_id, found in seen.items():
        with reading(engine) as session:
            found.extend(events.after(session, group_id, found[-1].number, 10_000))
            total = session.scalar(
                select(func.count()).select_from(Event).where(Event.group_id == group_id)
            )
        first = begun[group_id] + 1
        assert [event.number for event in found] == list(range(first, first + len(found)))
        assert total == begun[group_id] + len(found)
        for seed in range(WRITERS):  # each writer's own order is kept
            of_one = [int(e.subject.split("/")[1]) for e in found if e.subject[0] == str(seed)]
            assert of_one == sorted(of_one)
    assert sum(map(len, seen.values())) > WRITERS * EACH


def test_events_are_never_changed_or_deleted(engine: Engine) -> None:
    open_world(engine)
    tell(engine, "one")
    for statement in ("UPDATE events SET subject = 'x'", "DELETE FROM events"):
        with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_a_hub_reads_its_own_events_page_by_page_and_the_answer_is_signed(world: World) -> None:
    begun = asked(world, world.leeds)["last"]
    tell(world.engine, "one", "two", "three")
    tell(world.engine, "not for leeds", group_id="ghent")
    first = asked(world, world.leeds, f"?after={begun}&limit=2")
    assert [event["subject"] for event in first["events"]] == ["one", "two"]
    assert first["last"] == begun + 3
    after = first["events"][-1]["number"]
    answer = world.service.call(world.leeds, "GET", f"/events?after={after}")
    assert verified_by_our_key(world.service, answer)
    [third] = answer.json()["events"]
    assert third.items() >= {"number": begun + 3, "subject": "three", "data": {"a": "b"}}.items()
    assert asked(world, world.leeds, f"?after={begun + 3}")["events"] == []
    problem(world.service.client.get("/events"), 401, "unauthenticated")


def asked(world: World, hub: HubServer, query: str = "") -> dict[str, Any]:
    answer = world.service.call(hub, "GET", f"/events{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_number_that_no_event_has_yet_is_refused_and_not_waited_for(world: World) -> None:
    last = asked(world, world.leeds)["last"]
    for query in (f"?after={last + 1}", f"?after={last + 1}&wait_seconds=30"):
        told = problem(world.service.call(world.leeds, "GET", f"/events{query}"), 422, "invalid")
        assert told["field"] == "after"
    for query in ("?after=-1", "?after=x", "?limit=0", "?limit=1001", "?wait_seconds=31"):
        problem(world.service.call(world.leeds, "GET", f"/events{query}"), 422, "invalid")
    with reading(world.engine) as session, pytest.raises(InvalidError):
        events.after(session, "nobody", 1, 1)


def test_a_payment_wakes_the_hub_that_waits_for_it(world: World) -> None:
    last = asked(world, world.leeds)["last"]
    with waiting(world, world.leeds, last) as answer:
        until(lambda: world.service.services.events.waiting == 1)
        pool: Any = world.service.services.engine.pool
        until(lambda: pool.checkedout() == 0)  # but for a look now and then nothing is held
        transfer_id = world.made()
        [event] = answer()["events"]
    assert (event["kind"], event["subject"]) == ("transfer-pending", transfer_id)
    assert "ines" not in json.dumps(event)
    assert world.service.services.events.waiting == 0


def test_what_another_process_records_is_seen_though_nobody_rings(world: World) -> None:
    last = asked(world, world.leeds)["last"]
    with waiting(world, world.leeds, last) as answer, waiting(world, world.ghent, 0, 1) as other:
        until(lambda: world.service.services.events.waiting == 2)
        tell(world.engine, "from elsewhere")
        assert [event["subject"] for event in answer()["events"]] == ["from elsewhere"]
        assert other()["events"] == []  # its time was up, and nothing was for it


@contextmanager
def waiting(
    world: World, hub: HubServer, after: int, seconds: int = 30
) -> Iterator[Callable[[], dict[str, Any]]]:
    with ThreadPoolExecutor(1) as pool:
        query = f"?after={after}&wait_seconds={seconds}"
        future = pool.submit(asked, world, hub, query)
        yield lambda: future.result(WAIT_SECONDS)


def test_one_hub_cannot_take_all_places_to_wait_in(world: World) -> None:
    last = asked(world, world.leeds)["last"]
    path = f"/events?after={last}&wait_seconds=30"
    watch = world.service.services.events
    with ThreadPoolExecutor(event_watch.MOST_OF_A_HUB) as pool:
        held = [
            pool.submit(world.service.call, world.leeds, "GET", path)
            for _ in range(event_watch.MOST_OF_A_HUB)
        ]
        until(lambda: watch.waiting == event_watch.MOST_OF_A_HUB)
        refused = world.service.call(world.leeds, "GET", path)
        problem(refused, 429, "too-many")
        assert int(refused.headers["retry-after"]) > 0
        with waiting(world, world.ghent, 0, 1) as other:
            assert other()["events"] == []
        tell(world.engine, "for all four")
        assert [one.result(WAIT_SECONDS).json()["last"] for one in held] == [last + 1] * 4
    assert asked(world, world.leeds, f"?after={last + 1}&wait_seconds=1")["events"] == []


def test_all_places_together_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_watch, "MOST_WAITING", 1)
    with waiting(world, world.leeds, asked(world, world.leeds)["last"]) as answer:
        until(lambda: world.service.services.events.waiting == 1)
        refused = world.service.call(world.ghent, "GET", "/events?wait_seconds=1")
        problem(refused, 429, "too-many")
        tell(world.engine, "so that it ends")
        answer()


def test_who_waited_and_was_suspended_meanwhile_is_told_nothing(world: World) -> None:
    last = asked(world, world.leeds)["last"]
    path = f"/events?after={last}&wait_seconds=30"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(world.service.call, world.leeds, "GET", path)
        until(lambda: world.service.services.events.waiting == 1)
        suspend(world)
        tell(world.engine, "not for them any more")
        problem(held.result(WAIT_SECONDS), 403, "forbidden")


def suspend(world: World) -> None:
    with transaction(world.engine) as session:
        leeds = Hub.group_id == "leeds"
        session.execute(update(Hub).where(leeds).values(state=HubState.SUSPENDED))


@contextmanager
def streaming(world: World, **headers: str) -> Iterator[Iterator[dict[str, str]]]:
    """Open a stream of leeds' events; yields its events, and its comments under ''."""
    request = world.service.request(world.leeds, "GET", "/events")
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    request.headers.update({"Accept": "text/event-stream", **told})
    with httpx2.Client(trust_env=False, timeout=WAIT_SECONDS) as client:
        answer = client.send(request, stream=True)
        try:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield frames(answer.iter_lines())
        finally:
            answer.close()


def frames(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    frame: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            frame[name.rstrip(":")] = value
        else:
            yield frame
            frame = {}


def test_a_stream_tells_all_in_order_each_with_a_proof_and_goes_on_after_the_last_id(
    world: World,
) -> None:
    begun = asked(world, world.leeds)["last"]
    tell(world.engine, "one", "two")
    with streaming(world, last_event_id=str(begun)) as stream:
        assert next(stream) == {"retry": str(routes.RETRY_MILLISECONDS)}
        first, second = next(stream), next(stream)
        tell(world.engine, "three")
        third = next(frame for frame in stream if "id" in frame)
    assert [int(f["id"]) for f in (first, second, third)] == [begun + 1, begun + 2, begun + 3]
    assert {f["event"] for f in (first, second, third)} == {"limit-approached"}
    told = json.loads(third["data"])
    assert told.items() >= {"group": "leeds", "number": begun + 3, "subject": "three"}.items()
    proof = proofs.read(told)
    assert proof is not None
    proofs.verify(proof, own_keys().service.public_key(), now=datetime.now(UTC))
    forged = proofs.read({**told, "number": begun + 4})
    assert forged is not None
    with pytest.raises(Exception, match="proof"):
        proofs.verify(forged, own_keys().service.public_key(), now=datetime.now(UTC))
    with streaming(world, last_event_id=str(begun + 2)) as stream:
        assert [next(stream).get("id"), next(stream).get("id")] == [None, third["id"]]
    until(lambda: world.service.services.events.waiting == 0)


def test_what_is_streamed_is_proven_by_the_databases_clock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = datetime(2026, 3, 1, tzinfo=UTC)
    monkeypatch.setattr(routes, "database", SimpleNamespace(now=lambda _session: there))
    begun = asked(world, world.leeds)["last"]
    tell(world.engine, "one")
    with streaming(world, last_event_id=str(begun)) as stream:
        proof = proofs.read(json.loads([next(stream), next(stream)][1]["data"]))
    assert proof is not None
    assert proof.created == there


def test_a_stream_that_cannot_begin_is_a_signed_problem(world: World) -> None:
    for said in ("x", "-1", "99999"):
        request = world.service.request(world.leeds, "GET", "/events")
        request.headers.update({"Accept": "text/event-stream", "Last-Event-ID": said})
        answer = world.service.client.send(request)
        problem(answer, 422, "invalid")
        assert verified_by_our_key(world.service, answer)
    assert world.service.services.events.waiting == 0


@pytest.mark.parametrize("how", ["suspended", "revoked"])
def test_a_quiet_stream_says_that_it_lives_and_ends_with_the_right_to_it(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(routes, "HEARTBEAT_SECONDS", 0.05)
    with streaming(world, last_event_id=str(asked(world, world.leeds)["last"])) as stream:
        assert [next(stream), next(stream)][1] == {"": "nothing new"}
        if how == "suspended":
            suspend(world)
        else:
            with transaction(world.engine) as session:
                moment = database.now(session)
                session.execute(update(HubKey).values(revoked_at=moment))
        tell(world.engine, "not for them any more")
        rest = list(stream)
    assert rest[-1][""].startswith("the key was revoked")
    assert not any("data" in frame for frame in rest)


def test_a_stream_has_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asked(world, world.leeds)["last"]
    tell(world.engine, *map(str, range(5)))
    monkeypatch.setattr(routes, "MOST_OF_A_STREAM", 2)
    monkeypatch.setattr(routes, "_READ_AT_ONCE", 2)
    with streaming(world, last_event_id=str(begun)) as stream:
        assert [frame.get("id") for frame in stream] == [None, str(begun + 1), str(begun + 2)]


def test_streams_end_when_the_service_is_told_to_end(world: World) -> None:
    with streaming(world, last_event_id=str(asked(world, world.leeds)["last"])) as stream:
        next(stream)
        until(lambda: world.service.services.events.waiting == 1)
        ended = threading.Thread(target=lambda: list(stream))
        ended.start()
        world.service.services.events.end()
        ended.join(WAIT_SECONDS)
        assert not ended.is_alive()


def test_a_round_is_told_to_the_groups_in_it_and_to_nobody_else(engine: Engine) -> None:
    open_world(engine)
    with transaction(engine) as session:
        admit(session, "apart", GROUPS["leeds"])
    for payer, payee, hours in (
        ("barcelona", "leeds", "80"),
        ("leeds", "ghent", "90"),
        ("ghent", "barcelona", "70"),
        ("apart", "leeds", "5"),  # in no circle
    ):
        pay(engine, payer, payee, hours)
    for is_committed in (False, True):
        with transaction(engine) as session:
            round_id = rounds.propose(session).id
        with transaction(engine) as session:
            (rounds.commit if is_committed else rounds.abandon)(session, round_id)
        for group_id in ("barcelona", "leeds", "ghent", "apart"):
            with reading(engine) as session:
                told = [e for e in events.after(session, group_id, 0, 100) if e.kind in ROUND]
            states = [e.data["state"] for e in told if e.subject == str(round_id)]
            end = "committed" if is_committed else "abandoned"
            assert states == ([] if group_id == "apart" else ["proposed", end])
            assert {e.data["set_off"] for e in told} <= {"70.0000"}


def test_many_hubs_are_told_at_once_each_under_its_own_numbers(engine: Engine) -> None:
    open_world(engine)
    tell(engine, "before")
    kind = EventKind.LIMIT_CHANGED
    told = [Notice(g, kind, str(n)) for n in range(40) for g in ("leeds", "ghent")]
    with transaction(engine) as session:
        events.record(session, told, database.now(session))
    for group_id in ("leeds", "ghent"):
        with reading(engine) as session:
            found = [e for e in events.after(session, group_id, 0, 100) if e.kind is kind]
            last = events.last_number(session, group_id)
        assert [e.subject for e in found] == [str(n) for n in range(40)]
        assert [e.number for e in found] == list(range(last - 39, last + 1))
