"""A hub's client against the service, with somebody between them who may do anything."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

import pytest
from between import Between, Passed, Pauses, Trick
from clearing_world import balances, counted
from client_world import TRIES, client_of, pay, posted
from paying_world import World, open_doors
from sqlalchemy import Engine

from api.allowances import Allowance
from clearing.client import (
    Client,
    FileStore,
    MemoryStore,
    Patience,
    Signer,
    UntrustedAnswerError,
)
from clearing.client.wire import ANSWER_MAX_BYTES
from clearing.ledger import Journal
from clearing.transfers import Transfer
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RefusedError,
    TooManyError,
    UnavailableError,
)
from commons.settings import Settings
from commons.signatures import Message, PrivateKey, generate_ed25519, nonce_of_answer, sign


@pytest.fixture
def between() -> Iterator[Between]:
    with Between().serving() as running:
        yield running


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine, between: Between) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine, between)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def barcelona(world: World, pauses: Pauses) -> Iterator[Client]:
    with client_of(world, world.barcelona, pauses) as client:
        yield client


@pytest.fixture
def leeds(world: World, pauses: Pauses) -> Iterator[Client]:
    with client_of(world, world.leeds, pauses) as client:
        yield client


def test_hubs_pay_ask_reject_and_cancel(barcelona: Client, leeds: Client) -> None:
    pushed = posted(barcelona, leeds)
    asked = uuid.uuid4()
    leeds.create(asked, "barcelona/ines", "leeds/moss", "3.00", unit="clearing", description="pa")
    assert barcelona.accept(asked)["description"] == "pa"
    rejected, cancelled = pay(barcelona), pay(barcelona)
    assert leeds.reject(rejected, "We know no moss.")["reason"] == "We know no moss."
    assert barcelona.cancel(cancelled)["state"] == "cancelled"
    states = {one["id"]: one["state"] for one in barcelona.search(limit="1")}
    assert states == {
        str(pushed): "posted",
        str(asked): "posted",
        str(rejected): "rejected",
        str(cancelled): "cancelled",
    }
    assert [one["id"] for one in leeds.search(state="rejected")] == [str(rejected)]
    assert leeds.transfer(pushed)["payer"] == "barcelona/ines"
    assert barcelona.account()["balance"] == "-15.5000"
    assert [one["amount"] for one in leeds.obligations()] == ["15.5000"]


def test_refusals_come_as_what_they_are(
    barcelona: Client, leeds: Client, between: Between, pauses: Pauses
) -> None:
    with pytest.raises(InvalidError) as broken:
        pay(barcelona, "1e2")
    assert broken.value.field == "amount"
    assert broken.value.rule
    with pytest.raises(RefusedError) as refused:
        pay(barcelona, "500.00")
    assert refused.value.extra["reason"] == "credit_limit"
    assert refused.value.extra["available"] == "100.0000"
    with pytest.raises(NotFoundError):
        barcelona.transfer(uuid.uuid4())
    made = pay(barcelona)
    with pytest.raises(ForbiddenError):
        barcelona.accept(made)
    leeds.reject(made, "no")
    with pytest.raises(ConflictError) as conflict:
        leeds.accept(made)
    assert conflict.value.extra["state"] == "rejected"
    assert pauses.taken_ms == []
    assert len(between.paths("PUT")) == 3


def test_an_answer_that_is_lost_does_not_pay_twice(
    world: World, between: Between, barcelona: Client, leeds: Client, pauses: Pauses
) -> None:
    between.tricks = [dropped, dropped]
    made = pay(barcelona)
    between.tricks = [dropped]
    assert leeds.accept(made)["state"] == "posted"
    puts = [asked for asked in between.asked if asked.method == "PUT"]
    assert len(puts) == 3
    assert len({asked.signature for asked in puts}) == 3
    assert len({asked.body for asked in puts}) == 1
    assert (counted(world.engine, Transfer), counted(world.engine, Journal)) == (1, 1)
    assert balances(world.engine) == {"barcelona": -125_000, "leeds": 125_000}
    assert len(pauses.taken_ms) == 3
    assert all(125 <= ms <= 500 for ms in pauses.taken_ms)


def dropped(_passed: Passed) -> None:
    return None


def test_tries_are_bounded(
    world: World, between: Between, barcelona: Client, pauses: Pauses
) -> None:
    between.tricks = list(repeat(dropped, 100))
    transfer_id = uuid.uuid4()
    with pytest.raises(UnavailableError):
        pay(barcelona, transfer_id=transfer_id)
    assert len(between.paths("PUT")) == TRIES
    assert len(pauses.taken_ms) == TRIES - 1
    between.tricks.clear()
    pay(barcelona, transfer_id=transfer_id)
    assert counted(world.engine, Transfer) == 1


def test_what_stands_before_a_service_that_is_down_is_no_answer(
    world: World, between: Between, barcelona: Client
) -> None:
    for status in (502, 503, 504, 429):
        between.tricks = [sorry(status)]
        pay(barcelona)
    assert counted(world.engine, Transfer) == 4
    assert len(between.paths("PUT")) == 8


def sorry(status: int) -> Trick:
    return lambda _passed: Passed(status, [], b"<h1>Sorry</h1>")


def test_a_hub_that_calls_too_often_comes_back_when_it_is_told_to(
    world: World, barcelona: Client, pauses: Pauses
) -> None:
    calls = Allowance(2, 20, clock=lambda: pauses.clock[0])
    world.service.services.allowances.calls = calls
    for _ in range(3):
        pay(barcelona)
    assert pauses.taken_ms == [20_000]
    assert counted(world.engine, Transfer) == 3
    world.service.services.allowances.calls = Allowance(1, 3600, clock=lambda: 0)
    pay(barcelona)
    with pytest.raises(TooManyError) as told:
        pay(barcelona)
    assert told.value.retry_after_seconds == 3600
    assert pauses.taken_ms == [20_000]


def resigned(key: PrivateKey, key_id: str, signature: str = "") -> Trick:
    """Have an answer signed by another key, as if it answered the call with that signature."""

    def trick(passed: Passed) -> Passed:
        assert isinstance(passed.body, bytes)
        bare = passed.without("signature", "signature-input", "content-digest")
        message = Message("", "", bare.headers, passed.body, status=passed.status)
        nonce = nonce_of_answer(signature)
        added = sign(message, key, key_id, nonce=nonce, created=datetime.now(UTC))
        return replace(bare, headers=[*bare.headers, *added.items()])

    return trick


def test_an_answer_that_is_not_the_services_is_not_used(
    world: World, between: Between, pauses: Pauses
) -> None:
    key_id = f"{world.service.url}/actor#ed25519-key"
    forged = generate_ed25519()
    tricks: list[Trick] = [
        lambda passed: passed.without("signature"),
        lambda passed: passed.without("signature", "signature-input"),
        lambda passed: passed.without("content-digest"),
        lambda passed: replace(passed, body=as_bytes(passed).replace(b"12.50", b"92.50")),
        lambda passed: replace(passed, body=b""),
        lambda passed: replace(passed, status=200),
        lambda passed: replace(passed, status=302, headers=[("Location", "/")]),
        resigned(forged, key_id),
        resigned(forged, "https://elsewhere.example/actor#key"),
        resigned(world.barcelona.key, world.barcelona.key_id),
    ]
    store = MemoryStore()
    with client_of(world, world.barcelona, pauses, store) as client:
        client.account()
        kept = store.read()
        for trick in tricks:
            between.tricks = [trick]
            with pytest.raises(UntrustedAnswerError):
                pay(client)
            assert between.tricks == []
        assert store.read() == kept
    assert len(between.paths("PUT")) == len(tricks)
    assert pauses.taken_ms == []


def as_bytes(passed: Passed) -> bytes:
    assert isinstance(passed.body, bytes)
    return passed.body


def test_a_well_signed_answer_to_another_call_is_not_used(
    between: Between, barcelona: Client, leeds: Client
) -> None:
    seen: list[Passed] = []

    def keep(passed: Passed) -> Passed:
        seen.append(passed)
        return passed

    first, second = pay(barcelona), pay(barcelona)
    between.tricks = [keep]
    assert barcelona.transfer(first)["state"] == "pending"
    leeds.accept(first)
    for asked in (first, second):
        between.tricks = [lambda _passed: seen[0]]
        with pytest.raises(UntrustedAnswerError, match="another call"):
            barcelona.transfer(asked)
    assert barcelona.transfer(first)["state"] == "posted"


def test_the_services_key_is_kept_and_never_another_one(
    world: World, between: Between, pauses: Pauses, tmp_path: Path
) -> None:
    path = tmp_path / "localpay.jsonl"
    with client_of(world, world.barcelona, pauses, FileStore(path)) as client:
        client.account()
    shown = len([asked for asked in between.asked if asked.path == "/actor"])
    with client_of(world, world.barcelona, pauses, FileStore(path)) as client:
        client.account()
        fetched = [asked for asked in between.asked if asked.path == "/actor"]
        assert len(fetched) == shown
        between.tricks = [resigned(generate_ed25519(), f"{world.service.url}/actor#ed25519-key")]
        with pytest.raises(UntrustedAnswerError):
            client.account()
    given = generate_ed25519().public_key()
    signer = Signer(world.barcelona.key_id, world.barcelona.key)
    with (
        Client(world.service.url, "barcelona", signer, service_key=given) as client,
        pytest.raises(UntrustedAnswerError),
    ):
        client.account()


def test_an_endless_answer_and_a_slow_one_end(
    world: World, between: Between, pauses: Pauses
) -> None:
    sent = [0]

    def endless() -> Iterator[bytes]:
        for piece in repeat(b" " * 2**20):
            sent[0] += len(piece)
            yield piece

    def stalled() -> Iterator[bytes]:
        yield b"{"
        between.is_open.wait()

    def dripping() -> Iterator[bytes]:
        for _ in range(200):
            yield b" "
            between.is_open.wait(0.02)

    patience = Patience(tries=2, timeout_ms=200, pause=pauses)
    signer = Signer(world.barcelona.key_id, world.barcelona.key)
    with Client(world.service.url, "barcelona", signer, patience=patience) as client:
        between.tricks = [
            lambda passed: replace(passed, body=stalled()),
            lambda passed: replace(passed, body=dripping()),
        ]
        with pytest.raises(UnavailableError):
            pay(client)
    with ExitStack() as stack:
        client = stack.enter_context(client_of(world, world.barcelona, pauses))
        between.tricks = [lambda passed: replace(passed, body=endless())]
        with pytest.raises(UntrustedAnswerError, match="more than"):
            pay(client)
    assert sent[0] < 4 * ANSWER_MAX_BYTES
    assert len(between.paths("PUT")) == 3
