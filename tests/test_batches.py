"""Batches: an outcome for each call, in order; whole or not at all where that is asked for."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
    account,
    assert_sound,
    counted,
    ledger,
    limit,
    made,
    open_world,
    push,
    state,
)
from sqlalchemy import Engine, select

from clearing import poster as posters
from clearing.calls import Call, Create, Outcome, handle
from clearing.ledger import Journal
from clearing.poster import Poster
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    InvalidError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.groups import HubKey, KeyAlgorithm, Nonce
from commons.nonces import Used

SECONDS = 60
KEY = "https://barcelona.example/group#main-key"


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


@pytest.fixture
def poster(engine: Engine) -> Iterator[Poster]:
    poster = Poster(engine)
    poster.start()
    yield poster
    poster.stop()


def all_at_once(engine: Engine, calls: list[Call], *, atomic: bool = False) -> list[Outcome]:
    with transaction(engine) as session:
        return handle(session, calls, atomic=atomic)


def test_eight_thousand_payments_are_handled_in_their_order(engine: Engine) -> None:
    accepting(engine, "leeds", 10**9)
    limit(engine, "barcelona", credit="7990")
    creates = [push("barcelona", "leeds", "1") for _ in range(8_000)]
    outcomes = all_at_once(engine, [*creates])
    assert [o.error is None for o in outcomes] == [True] * 7_990 + [False] * 10
    assert {type(o.error) for o in outcomes[7_990:]} == {RefusedError}
    versions = [o.account.version for o in outcomes[:7_990] if o.account]
    assert versions == list(range(1, 7_991))
    assert (account(engine, "leeds").balance, counted(engine, Journal)) == (7_990 * HOUR, 7_990)


def test_one_bad_call_spoils_no_other_and_repetitions_are_answered(engine: Engine) -> None:
    good = push("barcelona", "leeds", "1")
    bad = replace(push("barcelona", "leeds", "1"), amount="1e3")
    other = replace(good, amount="2")
    outcomes = all_at_once(engine, [good, bad, good, other, accept(good), good])
    errors = [type(outcome.error) for outcome in outcomes]
    assert errors == [type(None), InvalidError, type(None), ConflictError, type(None), type(None)]
    assert [outcome.created for outcome in outcomes] == [True, *[False] * 5]
    states = [outcome.transfer.state for outcome in outcomes if outcome.transfer]
    assert states == [TransferState.PENDING] * 2 + [TransferState.POSTED] * 2
    assert (counted(engine, Transfer), counted(engine, Journal)) == (1, 1)
    assert_sound(engine)


def test_of_an_atomic_batch_nothing_is_kept_where_one_fails(engine: Engine) -> None:
    pending = made(engine, push("barcelona", "leeds", "1"))
    limit(engine, "barcelona", credit="5")
    good = push("barcelona", "leeds", "1")
    before = ledger(engine)
    for bad, error in (
        (replace(good, id=uuid.uuid4(), amount="0"), InvalidError),
        (push("barcelona", "leeds", "9"), RefusedError),
        (accept(replace(good, id=uuid.uuid4())), None),
    ):
        outcomes = all_at_once(engine, [accept(pending), good, bad], atomic=True)
        assert all(o.error is not None and o.error.extra["kept"] is False for o in outcomes)
        assert all(o.transfer is None for o in outcomes)
        assert not any({"state", "transfer"} & o.error.extra.keys() for o in outcomes if o.error)
        assert [type(o.error) for o in outcomes[:2]] == [ConflictError, ConflictError]
        assert error is None or type(outcomes[2].error) is error
        assert ledger(engine) == before
    outcomes = all_at_once(engine, [accept(pending), good], atomic=True)
    assert [o.error for o in outcomes] == [None, None]
    assert state(engine, good) is TransferState.PENDING
    assert_sound(engine)


def test_a_batch_that_breaks_its_transaction_is_handled_call_by_call(
    engine: Engine, poster: Poster
) -> None:
    good = [push("barcelona", "leeds", "1") for _ in range(3)]
    broken = push("barcelona", "leeds", "1", description="\ud800")  # no database takes it
    batch: list[Call] = [good[0], broken, *good[1:]]
    outcomes = poster.submit_batch(batch).result(SECONDS)
    assert [o.created for o in outcomes] == [True, False, True, True]
    assert isinstance(outcomes[1].error, UnavailableError)
    assert counted(engine, Transfer) == 3
    again = [replace(one, id=uuid.uuid4()) for one in (*good, broken)]
    assert poster.submit_batch(again, atomic=True).exception(SECONDS) is not None
    assert counted(engine, Transfer) == 3


def key_of_barcelona(engine: Engine) -> None:
    with transaction(engine) as session:
        moment = database.now(session)
        session.add(
            HubKey(
                key_id=KEY,
                group_id="barcelona",
                algorithm=KeyAlgorithm.ED25519,
                public_key_pem="-",
                added_at=moment,
                confirmed_at=moment,
            )
        )


def used(engine: Engine, nonce: str) -> Used:
    with reading(engine) as session:
        return Used(KEY, nonce, database.now(session) + timedelta(minutes=10))


def test_a_nonce_is_used_up_with_its_call_and_once(engine: Engine) -> None:
    key_of_barcelona(engine)
    poster = Poster(engine)
    creates = [push("barcelona", "leeds", "1") for _ in range(4)]
    calls = [
        poster.submit(creates[0], used(engine, "a")),
        poster.submit(creates[1], used(engine, "b")),
        poster.submit(creates[2], used(engine, "a")),
        poster.submit(creates[3]),
    ]
    poster.start()  # all wait by now and become one transaction
    outcomes = [call.result(SECONDS) for call in calls]
    assert [type(o.error) for o in outcomes] == [
        type(None), type(None), UnauthenticatedError, type(None)
    ]  # fmt: skip
    assert state(engine, creates[2]) is None
    late = poster.submit_batch([creates[2]], used=used(engine, "b")).result(SECONDS)
    assert [type(o.error) for o in late] == [UnauthenticatedError]
    broken = push("barcelona", "leeds", "1", description="\ud800")
    outcomes = poster.submit_batch([creates[2], broken], used=used(engine, "c")).result(SECONDS)
    assert [type(o.error) for o in outcomes] == [type(None), UnavailableError]
    again = poster.submit_batch([broken, broken], used=used(engine, "c")).result(SECONDS)
    assert [type(o.error) for o in again] == [UnauthenticatedError] * 2
    poster.stop()
    with reading(engine) as session:
        assert sorted(session.scalars(select(Nonce.nonce))) == ["a", "b", "c"]
    assert counted(engine, Transfer) == 4


def test_who_finds_too_many_waiting_is_sent_away_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posters, "MOST_WAITING", 3)
    poster = Poster(engine)
    creates: list[Create] = [push("barcelona", "leeds", "1") for _ in range(5)]
    futures = [poster.submit(create) for create in creates]
    assert [future.done() for future in futures] == [False] * 3 + [True] * 2
    for future in (futures[3], poster.submit_batch([creates[4]])):
        error = future.exception(0)
        assert isinstance(error, UnavailableError)
        assert error.retry_after_seconds >= 1


def test_batches_that_wait_are_bounded_by_their_calls(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posters, "MOST_IN_BATCHES", 100)
    poster = Poster(engine)
    create = push("barcelona", "leeds", "1")
    futures = [poster.submit_batch([create] * 10) for _ in range(11)]
    assert [future.done() for future in futures] == [False] * 10 + [True]
    assert isinstance(futures[10].exception(0), UnavailableError)
    poster.start()
    assert len(futures[9].result(SECONDS)) == 10
    poster.stop()
    assert counted(engine, Transfer) == 1
