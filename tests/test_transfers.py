"""Transfers: made by one hub, agreed by the other, ended once, on both databases."""

import base64
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from clearing_world import (
    HOUR,
    accept,
    account,
    assert_sound,
    balances,
    call,
    counted,
    made,
    open_world,
    other_hub,
    pay,
    position,
    push,
    set_expiry,
    state,
    transfer,
)
from sqlalchemy import Engine, update

from clearing import transfers
from clearing.calls import Call, Create, Move, Verb, expire_due, handle
from clearing.ledger import Journal
from clearing.rates import agree
from clearing.transfers import Party, Transfer, TransferState, Unit, Wanted
from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    NotFoundError,
)
from commons.groups import Hub, HubState

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


def reject(create: Create) -> Move:
    return Move(create.id, other_hub(create), Verb.REJECT, "not for sale")


def cancel(create: Create) -> Move:
    return Move(create.id, create.caller, Verb.CANCEL)


def request(payer: str, payee: str, amount: str) -> Create:
    """The payee's hub's call that asks for a payment."""
    return replace(push(payer, payee, amount), caller=payee)


def test_a_push_reserves_and_its_acceptance_posts(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "2.50"))
    assert balances(engine) == {}
    payer, payee = account(engine, "barcelona"), account(engine, "leeds")
    assert (payer.pending_out, payee.pending_in) == (25_000, 25_000)
    assert position(engine, "barcelona", "leeds").pending_out == 25_000
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.POSTED
    assert outcome.transfer.initiator is Party.PAYER
    assert balances(engine) == {"barcelona": -25_000, "leeds": 25_000}
    payer, payee = account(engine, "barcelona"), account(engine, "leeds")
    assert (payer.pending_out, payee.pending_in) == (0, 0)
    assert outcome.account is not None
    told = (outcome.account.group, outcome.account.balance, outcome.account.head)
    assert told == ("leeds", "2.5000", payee.head)
    assert_sound(engine)


def test_a_request_is_accepted_by_the_payers_hub(engine: Engine) -> None:
    create = made(engine, request("barcelona", "leeds", "1"))
    refused = call(engine, Move(create.id, "leeds", Verb.ACCEPT))
    assert isinstance(refused.error, ForbiddenError)
    assert balances(engine) == {}
    outcome = call(engine, Move(create.id, "barcelona", Verb.ACCEPT))
    assert outcome.transfer is not None
    assert outcome.transfer.initiator is Party.PAYEE
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}


@pytest.mark.parametrize(
    ("end", "ended"), [(reject, TransferState.REJECTED), (cancel, TransferState.CANCELLED)]
)
def test_what_is_rejected_or_cancelled_frees_its_room_and_is_never_posted(
    engine: Engine, end: Callable[[Create], Move], ended: TransferState
) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    outcome = call(engine, end(create))
    assert outcome.transfer is not None
    assert (outcome.transfer.state, outcome.transfer.reason) == (ended, end(create).reason)
    again = call(engine, end(create))
    assert again.transfer == outcome.transfer
    late = call(engine, accept(create))
    assert isinstance(late.error, ConflictError)
    assert late.error.extra["state"] == ended
    assert (balances(engine), counted(engine, Journal)) == ({}, 0)
    assert account(engine, "barcelona").pending_out == 0
    assert_sound(engine)


def test_nobody_but_the_hub_whose_turn_it_is_moves_a_transfer(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    tries = [
        (Move(create.id, "barcelona", Verb.ACCEPT), ForbiddenError),
        (Move(create.id, "barcelona", Verb.REJECT), ForbiddenError),
        (Move(create.id, "leeds", Verb.CANCEL), ForbiddenError),
        *((Move(create.id, "ghent", verb), NotFoundError) for verb in Verb),
        *((Move(create.id, "nobody", verb), NotFoundError) for verb in Verb),
        (Move(uuid.uuid4(), "leeds", Verb.ACCEPT), NotFoundError),
    ]
    for move, error in tries:
        assert type(call(engine, move).error) is error, move
        assert state(engine, create) is TransferState.PENDING
    unknown = call(engine, replace(tries[3][0], id=uuid.uuid4())).error
    known = call(engine, tries[3][0]).error
    assert str(known).replace(str(create.id), "") == " ".join(str(unknown).split()[:-1]) + " "
    with reading(engine) as session, pytest.raises(NotFoundError):
        transfers.find(session, create.id, "ghent")
    assert counted(engine, Journal) == 0


def test_a_transfer_past_its_time_is_expired_by_the_databases_clock(engine: Engine) -> None:
    late = made(engine, push("barcelona", "leeds", "1"))
    kept = made(engine, push("barcelona", "ghent", "1"))
    set_expiry(engine, late, PAST)
    with transaction(engine) as session:
        assert expire_due(session) == 1
    with transaction(engine) as session:
        assert expire_due(session) == 0
    assert (state(engine, late), state(engine, kept)) == (
        TransferState.EXPIRED,
        TransferState.PENDING,
    )
    assert account(engine, "barcelona").pending_out == HOUR
    assert_sound(engine)


@pytest.mark.parametrize("verb", Verb)
def test_an_answer_that_comes_too_late_expires_the_transfer(engine: Engine, verb: Verb) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    set_expiry(engine, create, PAST)
    caller = "barcelona" if verb is Verb.CANCEL else "leeds"
    outcome = call(engine, Move(create.id, caller, verb))
    assert isinstance(outcome.error, ConflictError)
    assert state(engine, create) is TransferState.EXPIRED
    assert (balances(engine), account(engine, "leeds").pending_in) == ({}, 0)


def test_an_expiry_is_between_a_minute_and_ninety_days_away(engine: Engine) -> None:
    now = datetime.now(UTC)
    for life in (timedelta(seconds=30), timedelta(0), timedelta(days=-1), timedelta(days=91)):
        outcome = call(engine, push("barcelona", "leeds", "1", expires_at=now + life))
        assert isinstance(outcome.error, InvalidError)
        assert outcome.error.field == "expires_at"
    made(engine, push("barcelona", "leeds", "1", expires_at=now + timedelta(days=89)))
    default = made(engine, push("barcelona", "leeds", "1"))
    found = transfer(engine, default.id)
    assert found is not None
    assert found.expires_at - found.created_at == timedelta(days=7)


def test_what_breaks_a_rule_is_refused_by_effect(engine: Engine) -> None:
    good = push("barcelona", "leeds", "1")
    bad: list[tuple[Create, type[LocalPayError], str]] = [
        (replace(good, caller="ghent"), ForbiddenError, ""),
        (replace(good, caller="nobody"), ForbiddenError, ""),
        (replace(good, payee="barcelona/moss"), InvalidError, "payee"),
        (replace(good, payee="turin/moss"), InvalidError, "payee"),
        (replace(good, payee="residue/leeds"), InvalidError, "payee"),
        (replace(good, payer="barcelona"), InvalidError, "payer"),
        (replace(good, payer="barcelona/"), InvalidError, "payer"),
        (replace(good, payer="barcelona/a/b"), InvalidError, "payer"),
        (replace(good, payer="barcelona/a b"), InvalidError, "payer"),
        (replace(good, payer="barcelona/" + "a" * 101), InvalidError, "payer"),
        (replace(good, payee="leeds/moss\n"), InvalidError, "payee"),
        (replace(good, amount="0"), InvalidError, "amount"),
        (replace(good, amount="-1"), InvalidError, "amount"),
        (replace(good, amount="1e2"), InvalidError, "amount"),
        (replace(good, amount="0.00001"), InvalidError, "amount"),
        (replace(good, amount="0.0001"), InvalidError, "amount"),  # less than leeds can divide
        (replace(good, description="x" * 501), InvalidError, "description"),
    ]  # fmt: skip
    for create, error, field in bad:
        outcome = call(engine, create)
        assert type(outcome.error) is error, create
        assert field in str(outcome.error)
    assert (counted(engine, Transfer), balances(engine)) == (0, {})


def test_with_a_hub_that_is_suspended_nothing_new_is_made(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    with transaction(engine) as session:
        suspended = update(Hub).where(Hub.group_id == "leeds").values(state=HubState.SUSPENDED)
        session.execute(suspended)
    for one in (push("barcelona", "leeds", "1"), push("leeds", "barcelona", "1")):
        assert isinstance(call(engine, one).error, InvalidError)
    assert counted(engine, Transfer) == 1
    # What was agreed before can still be ended.
    assert call(engine, cancel(create)).error is None


def test_the_rounding_is_booked_to_the_payees_residue_account(engine: Engine) -> None:
    with transaction(engine) as session:
        agree(session, "barcelona", Fraction(2, 13))
    create = made(engine, push("barcelona", "ghent", "1000", Unit.PAYER))
    outcome = call(engine, accept(create))
    seen = outcome.transfer
    assert seen is not None
    assert (seen.payer_amount, seen.payee_amount) == ("1000.00", "307")
    assert (seen.payer_clearing, seen.payee_clearing) == ("153.8462", "153.5000")
    assert (seen.residue, seen.payer_rate, seen.payee_rate) == ("0.3462", "2/13", "1/2")
    assert (seen.payer_currency, seen.payee_currency) == ("BAR", "GHE")
    booked = {"barcelona": -1_538_462, "ghent": 1_535_000, "residue/ghent": 3_462}
    assert balances(engine) == booked
    assert_sound(engine)


def test_a_rate_is_frozen_in_the_transfer_when_it_is_made(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "10", Unit.PAYER))
    with transaction(engine) as session:
        agree(session, "barcelona", Fraction(1, 2))
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.payer_rate == "1/10"
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}
    later = made(engine, push("barcelona", "leeds", "10", Unit.PAYER))
    found = transfer(engine, later.id)
    assert found is not None
    assert found.payer_clearing == 5 * HOUR
    assert_sound(engine)


def test_a_call_that_fails_leaves_the_others_of_its_transaction_alone(engine: Engine) -> None:
    good = push("barcelona", "leeds", "1")
    calls: list[Call] = [
        replace(good, id=uuid.uuid4(), amount="nothing"),
        good,
        Move(good.id, "ghent", Verb.ACCEPT),
        accept(good),
        cancel(good),
    ]
    with transaction(engine) as session:
        outcomes = handle(session, calls)
    assert [type(outcome.error) for outcome in outcomes] == [
        InvalidError, type(None), NotFoundError, type(None), ConflictError
    ]  # fmt: skip
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}
    assert_sound(engine)


def test_a_hub_pages_through_its_own_transfers_newest_first(engine: Engine) -> None:
    ids = [pay(engine, "barcelona", "leeds", "1").id for _ in range(5)]
    ids.append(made(engine, push("ghent", "leeds", "1")).id)
    made(engine, push("barcelona", "ghent", "1"))
    seen, cursor = [], None
    for _ in range(4):
        with reading(engine) as session:
            page, cursor = transfers.search(session, "leeds", limit=2, cursor=cursor)
        seen += [view.id for view in page]
        if cursor is None:
            break
    assert seen == ids[::-1]
    with reading(engine) as session:
        pending, _ = transfers.search(session, "leeds", Wanted({TransferState.PENDING}))
    assert [view.id for view in pending] == ids[-1:]


def test_a_cursor_made_up_is_refused(engine: Engine) -> None:
    before_all_time = f"0001-01-01T00:00:00+14:00 {uuid.UUID(int=1)}".encode()
    encoded = base64.urlsafe_b64encode(before_all_time).decode()
    made_up = ["", "x", "\N{SNOWMAN}", "////", "bm90aGluZw==", "MjAyNi0wMS0wMSA=", encoded]
    for cursor in made_up:
        with reading(engine) as session, pytest.raises(InvalidError, match="cursor"):
            transfers.search(session, "leeds", cursor=cursor)
