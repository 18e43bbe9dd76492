"""Fediverse servers share content with us: how they are let in, and how long."""

import json
from collections.abc import Iterator

import pytest
from fasp_server import FASP_ID
from fasp_world import ACTIVATION, World, sharing
from hub_server import Json, own_keys
from operating import run
from paying_world import problem
from sqlalchemy import Engine, func, select, update

from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    InvalidError,
)
from commons.settings import Settings
from crawler import blocks
from crawler.fasp import registering
from crawler.fasp.registering import REQUESTS_MOST
from crawler.fasp.rows import FaspServer, FaspState
from crawler.fasp.signing import fingerprint, own_key, read_key
from crawler.peers import Peer, PeerState


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from sharing(settings, engine)


@pytest.fixture
def active(world: World) -> World:
    world.activate()
    return world


def test_a_server_that_asks_waits_for_the_operator_and_is_not_called(world: World) -> None:
    assert (world.ask().status_code, world.ask().json()["state"]) == (202, "requested")
    world.service.work()
    assert (world.fedi.calls, world.fedi.asked) == ([], [])
    assert world.server().state is FaspState.REQUESTED
    with reading(world.engine) as session:
        assert session.scalar(select(func.count()).select_from(Peer)) == 0


def test_accepting_exchanges_keys_whose_fingerprints_are_compared(world: World) -> None:
    world.ask()
    told = world.accept()
    (call,) = world.fedi.calls
    assert (call.method, call.path) == ("POST", "/registration")
    assert call.body["baseUrl"] == f"{world.service.url}/fasp"
    assert told.completion_uri == f"{world.fedi.base}/admin/fasps"
    assert told.our_fingerprint == fingerprint(read_key(call.body["publicKey"]))
    assert told.their_fingerprint == fingerprint(world.fedi.server_key.public_key())
    server = world.server()
    assert (server.state, server.fasp_id) == (FaspState.REGISTERED, FASP_ID)
    with pytest.raises(ConflictError):
        world.accept()


def test_each_server_has_a_key_of_ours_for_itself() -> None:
    service_key = own_keys().service
    keys = {own_key(service_key, one).public_key().public_bytes_raw() for one in ("a", "b")}
    assert len(keys | {service_key.public_key().public_bytes_raw()}) == 3
    again = own_key(service_key, "a").public_key().public_bytes_raw()
    assert again in keys


def test_the_whole_handshake(world: World) -> None:
    world.accept()
    info = world.fedi.call(world.service, "GET", "/provider_info")
    assert info.status_code == 200
    assert world.fedi.is_ours(info)
    assert info.json()["capabilities"] == [{"id": "data_sharing", "version": "0.1"}]
    assert info.json()["name"]
    answer = world.fedi.call(world.service, "POST", ACTIVATION)
    assert answer.status_code == 204
    assert world.fedi.is_ours(answer)
    world.service.work()
    subscription, backfill = world.fedi.calls[1:]
    assert subscription.path == "/data_sharing/v0/event_subscriptions"
    assert subscription.body == {
        "category": "content",
        "subscriptionType": "lifecycle",
        "maxBatchSize": 100,
    }
    assert backfill.path == "/data_sharing/v0/backfill_requests"
    assert backfill.body == {"category": "content", "maxCount": 100}
    assert world.fedi.unsigned == []
    assert world.server().subscription_id == world.fedi.made("event_subscriptions")
    world.service.work()
    assert len(world.fedi.calls) == 3


def test_a_server_that_names_its_key_in_answers_is_understood_too(world: World) -> None:
    world.fedi.names_key = True
    world.activate()
    assert len(world.fedi.calls) == 3


def test_deactivated_nothing_is_called_and_nothing_taken(active: World) -> None:
    calls = len(active.fedi.calls)
    assert active.fedi.call(active.service, "DELETE", ACTIVATION).status_code == 204
    post = active.fedi.post(1)
    problem(active.fedi.announce(active.service, post["id"]), 403, "forbidden")
    active.service.work()
    assert (len(active.fedi.calls), active.waiting()) == (calls, 0)


def test_activated_again_the_old_subscription_is_given_up_for_a_new_one(active: World) -> None:
    old = active.fedi.made("event_subscriptions")
    active.fedi.call(active.service, "DELETE", ACTIVATION)
    active.fedi.call(active.service, "POST", ACTIVATION)
    active.service.work()
    assert f"DELETE /data_sharing/v0/event_subscriptions/{old}" in active.fedi.paths()
    assert active.server().subscription_id == active.fedi.made("event_subscriptions") != old


@pytest.mark.parametrize(
    "path", ["/capabilities/trends/0/activation", "/capabilities/data_sharing/1/activation"]
)
def test_another_capability_is_unknown(world: World, path: str) -> None:
    world.accept()
    problem(world.fedi.call(world.service, "POST", path), 404, "not-found")
    assert world.server().state is FaspState.REGISTERED


@pytest.mark.parametrize(
    "address", ["https://fedi.example/users/ines", "fedi.example", "ftp://x", ""]
)
def test_what_is_no_server_is_not_noted(world: World, address: str) -> None:
    answer = world.service.client.post("/fasp/registration", json={"server": address})
    problem(answer, 422, "invalid")
    with reading(world.engine) as session:
        assert session.scalar(select(func.count()).select_from(FaspServer)) == 0


def test_nobody_fills_the_operators_list(world: World) -> None:
    with transaction(world.engine) as session:
        for number in range(REQUESTS_MOST):
            registering.request(session, f"https://fedi{number}.example")
    problem(world.ask(), 429, "too-many")
    for _ in range(9):
        world.ask()
    problem(world.ask("https://fedi1.example"), 429, "too-many")  # ten a minute of one client


def test_a_blocked_server_neither_asks_nor_announces(active: World) -> None:
    post = active.fedi.post(1)
    with transaction(active.engine) as session:
        session.execute(update(Peer).values(state=PeerState.BLOCKED))
    problem(active.fedi.announce(active.service, post["id"]), 403, "forbidden")
    assert active.waiting() == 0
    blocks.add(active.engine, "fedi.example", "spam", by="operator")
    problem(active.ask("https://fedi.example"), 403, "forbidden")


@pytest.mark.parametrize("metadata", [{}, {"faspBaseUrl": "https://other.example/fasp"}])
def test_a_server_without_an_interface_of_its_own_is_not_registered_with(
    world: World, metadata: Json
) -> None:
    world.fedi.publish_nodeinfo(metadata)
    with pytest.raises(InvalidError):
        world.accept()
    assert world.fedi.calls == []
    assert world.server().state is FaspState.REQUESTED


def test_removed_it_is_nobody_and_what_came_by_it_alone_is_gone(active: World) -> None:
    active.take(active.fedi.post(1))
    assert active.shown() == ["Bicycle repair 1"]
    with transaction(active.engine) as session:
        assert registering.remove(session, active.fedi.base) == 1
    assert (active.shown(), active.waiting()) == ([], 0)
    answer = active.fedi.call(active.service, "GET", "/provider_info")
    problem(answer, 401, "unauthenticated")
    with reading(active.engine) as session:
        assert session.scalars(select(Peer)).one().state is PeerState.DISCOVERED
    active.activate()
    active.take(active.fedi.post(2))
    assert active.shown() == ["Bicycle repair 2"]


def test_the_operator_lists_accepts_and_removes(
    settings: Settings, engine: Engine, world: World
) -> None:
    told = world.service.services.settings
    ours = settings.model_copy(update={"database_url": told.database_url})
    extra = {"LOCALPAY_BASE_URL": world.service.url, "LOCALPAY_ALLOW_LOOPBACK": "true"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in extra.items():
            patched.setenv(name, value)
        world.ask()
        listed = json.loads(run(ours, "fasp", "list", "--json").stdout)["servers"]
        assert [(one["address"], one["state"]) for one in listed] == [
            (world.fedi.base, "requested")
        ]
        accepted = json.loads(run(ours, "fasp", "accept", world.fedi.base).stdout)
        assert accepted["our_fingerprint"] == listed[0]["our_fingerprint"]
        key = read_key(world.fedi.provider["publicKey"])
        assert accepted["our_fingerprint"] == fingerprint(key)
        assert accepted["completion_uri"] == f"{world.fedi.base}/admin/fasps"
        assert "registered" in run(ours, "fasp", "list").stdout
        again = run(ours, "fasp", "accept", world.fedi.base)
        assert (again.exit_code, "registered already" in again.stderr) == (1, True)
        assert world.fedi.call(world.service, "GET", "/provider_info").status_code == 200
        assert json.loads(run(ours, "fasp", "remove", world.fedi.base).stdout)["withdrawn"] == 0
        assert run(ours, "fasp", "remove", world.fedi.base).exit_code == 1
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(FaspServer)) == 0
