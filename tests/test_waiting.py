"""Queued: both hubs agreed, room is missing, and the payer's hub asked to wait."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
    account,
    assert_sound,
    balances,
    call,
    ledger,
    limit,
    made,
    minor,
    open_world,
    pay,
    push,
    request,
    set_expiry,
    state,
    told,
)
from sqlalchemy import Engine
from statement_world import SEAL

from clearing import participation, periods, work
from clearing.accounts import account_of, set_pair_limit
from clearing.accounts.limits import Limit, LimitKind, set_limit
from clearing.calls import Create, Move, Verb, expire_due, release_queued, releasing
from clearing.events import EventKind
from clearing.ledger import Journal, JournalKind
from clearing.transfers import TransferState
from commons import database
from commons.database import transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, RefusedError


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


def release(engine: Engine) -> int:
    with transaction(engine) as session:
        return release_queued(session)


def queued(engine: Engine, payer: str, payee: str, amount: str) -> Create:
    """A push that finds no room, waits for the other hub, and then for room."""
    create = push(payer, payee, amount, wait=True)
    outcome = call(engine, create)
    assert outcome.error is None
    assert outcome.transfer is not None
    assert (outcome.transfer.state, outcome.transfer.reserved) == (TransferState.PENDING, False)
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.QUEUED
    return create


def test_what_waits_reserves_nothing_and_is_posted_when_room_comes(engine: Engine) -> None:
    limit(engine, "barcelona", credit="2")
    create = queued(engine, "barcelona", "leeds", "3")
    payer, payee = account(engine, "barcelona"), account(engine, "leeds")
    assert (payer.pending_out, payee.pending_in, balances(engine)) == (0, 0, {})
    assert_sound(engine)
    assert (release(engine), state(engine, create)) == (0, TransferState.QUEUED)
    assert call(engine, accept(create)).error is None  # said before: answered again
    pay(engine, "ghent", "barcelona", "1")
    assert (release(engine), state(engine, create)) == (1, TransferState.POSTED)
    assert balances(engine)["barcelona"] == -2 * HOUR
    assert call(engine, accept(create)).error is None
    kinds = [kind for kind, subject in told(engine, "barcelona") if subject == str(create.id)]
    assert kinds == [EventKind.TRANSFER_QUEUED, EventKind.TRANSFER_POSTED]
    kinds = [kind for kind, subject in told(engine, "leeds") if subject == str(create.id)]
    assert kinds == [EventKind.TRANSFER_PENDING, EventKind.TRANSFER_POSTED]
    assert_sound(engine)


def test_who_waited_longer_goes_first_and_who_does_not_fit_holds_up_nobody(engine: Engine) -> None:
    limit(engine, "barcelona", credit="0")
    large = queued(engine, "barcelona", "leeds", "9")
    first, second, third = (queued(engine, "barcelona", "leeds", "2") for _ in range(3))
    limit(engine, "barcelona", credit="4")
    assert release(engine) == 2
    found = [state(engine, one) for one in (large, first, second, third)]
    waits, done = TransferState.QUEUED, TransferState.POSTED
    assert found == [waits, done, done, waits]
    assert release(engine) == 0
    limit(engine, "barcelona")
    assert release(engine) == 2
    assert_sound(engine)


def test_every_limit_is_waited_for(engine: Engine) -> None:
    limit(engine, "leeds", surplus="1")
    by_surplus = queued(engine, "barcelona", "leeds", "2")
    with transaction(engine) as session:
        set_pair_limit(session, "barcelona", "ghent", HOUR)
    by_pair = queued(engine, "barcelona", "ghent", "2")
    assert release(engine) == 0
    limit(engine, "leeds")
    assert release(engine) == 1
    with transaction(engine) as session:
        set_pair_limit(session, "barcelona", "ghent", None)
    assert release(engine) == 1
    assert {state(engine, one) for one in (by_surplus, by_pair)} == {TransferState.POSTED}
    assert_sound(engine)


def test_without_a_word_of_waiting_it_is_refused_as_ever(engine: Engine) -> None:
    limit(engine, "barcelona", credit="1")
    error = call(engine, push("barcelona", "leeds", "2")).error
    assert isinstance(error, RefusedError)


def test_a_payer_is_asked_whether_it_waits_where_the_payee_made_it(engine: Engine) -> None:
    limit(engine, "barcelona", credit="1")
    create = replace(request("barcelona", "leeds", "2"), wait=True)
    outcome = call(engine, create)
    assert outcome.transfer is not None
    assert (outcome.transfer.state, outcome.transfer.wait) == (TransferState.PENDING, False)
    before = ledger(engine)
    error = call(engine, Move(create.id, "barcelona", Verb.ACCEPT)).error
    assert isinstance(error, ConflictError)
    assert (error.extra["reason"], error.extra["available"]) == ("credit_limit", "1.0000")
    assert ledger(engine) == before
    outcome = call(engine, Move(create.id, "barcelona", Verb.ACCEPT, wait=True))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.QUEUED
    limit(engine, "barcelona")
    assert release(engine) == 1
    pushed = made(engine, push("barcelona", "leeds", "1"))
    wrong = call(engine, Move(pushed.id, "leeds", Verb.ACCEPT, wait=True))
    assert isinstance(wrong.error, InvalidError)
    assert_sound(engine)


@pytest.mark.parametrize("hub", ["barcelona", "leeds"])
def test_either_hub_cancels_what_waits_and_nobody_rejects_it(engine: Engine, hub: str) -> None:
    limit(engine, "barcelona", credit="1")
    create = queued(engine, "barcelona", "leeds", "2")
    before = ledger(engine)
    assert isinstance(call(engine, Move(create.id, "leeds", Verb.REJECT)).error, ConflictError)
    assert isinstance(call(engine, Move(create.id, "barcelona", Verb.ACCEPT)).error, ForbiddenError)
    assert ledger(engine) == before
    for _ in range(2):
        outcome = call(engine, Move(create.id, hub, Verb.CANCEL))
        assert outcome.transfer is not None
        assert outcome.transfer.state is TransferState.CANCELLED
    limit(engine, "barcelona")
    assert release(engine) == 0
    assert balances(engine) == {}
    other = ({"barcelona", "leeds"} - {hub}).pop()
    assert told(engine, other)[-1] == (EventKind.TRANSFER_CANCELLED, str(create.id))
    assert_sound(engine)


def test_what_waits_too_long_expires_and_is_never_posted(engine: Engine) -> None:
    limit(engine, "barcelona", credit="1")
    create = queued(engine, "barcelona", "leeds", "2")
    set_expiry(engine, create, datetime(2020, 1, 1, tzinfo=UTC))
    limit(engine, "barcelona")
    assert release(engine) == 0
    with transaction(engine) as session:
        assert expire_due(session) == 1
    assert (state(engine, create), balances(engine)) == (TransferState.EXPIRED, {})
    for group in ("barcelona", "leeds"):
        assert told(engine, group)[-1] == (EventKind.TRANSFER_EXPIRED, str(create.id))
    assert_sound(engine)


def test_a_payment_accepted_at_once_waits_at_once(engine: Engine) -> None:
    accepting(engine, "leeds", 10**6)
    limit(engine, "barcelona", credit="1")
    create = push("barcelona", "leeds", "2", wait=True)
    outcome = call(engine, create)
    assert outcome.transfer is not None
    assert (outcome.created, outcome.transfer.state) == (True, TransferState.QUEUED)
    assert told(engine, "leeds") == [(EventKind.TRANSFER_QUEUED, str(create.id))]


def test_a_frozen_account_is_waited_for_too(engine: Engine) -> None:
    limit(engine, "barcelona", credit="1")
    create = queued(engine, "barcelona", "leeds", "2")
    with transaction(engine) as session:
        participation.freeze(session, "leeds", "not answering")
    limit(engine, "barcelona")
    assert release(engine) == 0
    with transaction(engine) as session:
        participation.thaw(session, "leeds")
    assert (release(engine), state(engine, create)) == (1, TransferState.POSTED)


def test_the_worker_releases_and_expires_by_itself(engine: Engine) -> None:
    limit(engine, "barcelona", credit="1")
    first = queued(engine, "barcelona", "leeds", "2")
    late = queued(engine, "barcelona", "ghent", "2")
    set_expiry(engine, late, datetime(2020, 1, 1, tzinfo=UTC))
    limit(engine, "barcelona")

    chores = work.chores(engine, SEAL, lambda _: None)

    async def work_once() -> list[int]:
        return [await chores[name]() for name in ("expiry", work.QUEUED)]

    assert (asyncio.run(work_once()), asyncio.run(work_once())) == ([1, 1], [0, 0])
    assert state(engine, first) is TransferState.POSTED
    assert state(engine, late) is TransferState.EXPIRED


def warned(engine: Engine, group_id: str, kind: LimitKind, level: str) -> None:
    """Set a level of warning, without a stop."""
    with transaction(engine) as session:
        set_limit(session, account_of(session, group_id), kind, Limit(minor(level), None))


def approaches(engine: Engine, group_id: str) -> int:
    return [kind for kind, _ in told(engine, group_id)].count(EventKind.LIMIT_APPROACHED)


def test_a_payment_beyond_a_warning_goes_through_and_its_hub_is_told_once(engine: Engine) -> None:
    warned(engine, "barcelona", LimitKind.CREDIT, "2")
    for amount, warnings in (("2", ()), ("0.50", ("credit_limit",)), ("0.50", ("credit_limit",))):
        outcome = call(engine, push("barcelona", "leeds", amount))
        assert outcome.error is None
        assert tuple(outcome.warnings) == warnings
    assert (approaches(engine, "barcelona"), approaches(engine, "leeds")) == (1, 0)


def test_a_hub_is_told_of_its_surplus_whoever_pays(engine: Engine) -> None:
    warned(engine, "leeds", LimitKind.SURPLUS, "1")
    outcome = call(engine, push("barcelona", "leeds", "2"))
    assert tuple(outcome.warnings) == ()  # that is the other group's business
    assert (approaches(engine, "barcelona"), approaches(engine, "leeds")) == (0, 1)
    # What is posted at once and what was waiting tell it too, each crossing once.
    pay(engine, "leeds", "ghent", "2")
    accepting(engine, "ghent", 10**6)
    warned(engine, "ghent", LimitKind.SURPLUS, "3")
    call(engine, push("leeds", "ghent", "1.50"))
    assert approaches(engine, "ghent") == 1


def test_a_stop_lowered_below_the_use_lets_pass_what_makes_it_no_worse(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "5")
    limit(engine, "barcelona", credit="1")
    pay(engine, "ghent", "barcelona", "2")  # better, and still beyond
    refused = call(engine, push("barcelona", "ghent", "0.50")).error
    assert isinstance(refused, RefusedError)
    assert refused.extra["available"] == "0.0000"
    assert balances(engine)["barcelona"] == -3 * HOUR
    assert_sound(engine)


def test_one_that_cannot_be_posted_holds_up_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "RELEASED_AT_ONCE", 1)
    limit(engine, "barcelona", credit="0")
    broken, *others = (queued(engine, "barcelona", "leeds", "1") for _ in range(3))
    with transaction(engine) as session:  # as no call can: its journal is there already
        moment = database.now(session)
        session.add(
            Journal(id=broken.id, union_id="main", kind=JournalKind.PAYMENT, posted_at=moment)
        )
    limit(engine, "barcelona")
    before = told(engine, "barcelona")
    chores = work.chores(engine, SEAL, lambda _: None)

    async def release_once() -> int:
        return await chores[work.QUEUED]()

    assert asyncio.run(release_once()) == 2
    assert [state(engine, one) for one in others] == [TransferState.POSTED] * 2
    assert state(engine, broken) is TransferState.QUEUED
    posted = [(EventKind.TRANSFER_POSTED, str(one.id)) for one in others]
    assert told(engine, "barcelona") == [*before, *posted]
    assert balances(engine) == {"barcelona": -2 * HOUR, "leeds": 2 * HOUR}


def test_what_counts_for_a_closed_day_holds_up_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "RELEASED_AT_ONCE", 1)
    limit(engine, "barcelona", credit="0")
    day = datetime.now(UTC).date() - timedelta(days=1)
    dated = replace(push("barcelona", "leeds", "1", wait=True), value_date=day)
    for one in (dated, accept(dated)):
        assert call(engine, one).error is None
    later = queued(engine, "barcelona", "leeds", "1")
    with transaction(engine) as session:
        periods.close(session, "main", day, "operator")
    limit(engine, "barcelona")
    assert release(engine) == 1
    assert [state(engine, one) for one in (dated, later)] == [
        TransferState.QUEUED, TransferState.POSTED
    ]  # fmt: skip
    assert (release(engine), balances(engine)["barcelona"]) == (0, -HOUR)
    assert_sound(engine)
