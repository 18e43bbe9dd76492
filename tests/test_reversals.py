"""A posted transfer is taken back by a transfer of its own, never more than is left of it."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
    account,
    assert_sound,
    balances,
    call,
    counted,
    ledger,
    levied,
    limit,
    made,
    open_world,
    pay,
    position,
    push,
    set_expiry,
    told,
    transfer,
)
from sqlalchemy import Engine, select

from clearing import participation
from clearing.accounts import set_pair_limit
from clearing.calls import Call, Create, Move, Outcome, Reverse, Verb, expire_due, handle
from clearing.events import EventKind
from clearing.ledger import Entry, Journal
from clearing.rates import agree
from clearing.transfers import Party, TransferState, Unit
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    NotFoundError,
    RefusedError,
)


@pytest.fixture(autouse=True)
def _world(request: pytest.FixtureRequest) -> None:
    both = "engine" in request.fixturenames
    open_world(request.getfixturevalue("engine" if both else "sqlite_engine"))


def back(of: uuid.UUID, caller: str | None, amount: str | None = None) -> Reverse:
    return Reverse(uuid.uuid4(), caller, of, amount, "never delivered")


def agreed(engine: Engine, reverse: Reverse, other: str) -> Outcome:
    """Make a reversal and have the other hub accept it."""
    outcome = call(engine, reverse)
    assert outcome.error is None, outcome.error
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.PENDING
    return call(engine, Move(reverse.id, other, Verb.ACCEPT))


def refuses(engine: Engine, one: Call, error: type[LocalPayError]) -> LocalPayError:
    """Assert that a call is refused and changes nothing."""
    before = ledger(engine)
    outcome = call(engine, one)
    assert type(outcome.error) is error, outcome.error
    assert ledger(engine) == before
    assert outcome.error is not None
    return outcome.error


@pytest.fixture
def vector(sqlite_engine: Engine) -> Create:
    """1000 units at 2/13 hour paid into units at 1/2 hour, of which 307 arrive."""
    with transaction(sqlite_engine) as session:
        agree(session, "barcelona", Fraction(2, 13))
    create = made(sqlite_engine, push("barcelona", "ghent", "1000", Unit.PAYER))
    assert call(sqlite_engine, accept(create)).error is None
    return create


def test_parts_add_up_to_the_payment_whatever_was_rounded(
    sqlite_engine: Engine, vector: Create
) -> None:
    first = agreed(sqlite_engine, back(vector.id, "ghent", "100"), "barcelona").transfer
    assert first is not None
    assert (first.payee_amount, first.payer_amount) == ("100", "325.73")  # 325 in whole units
    given = [Fraction(first.payer_amount)]
    for part in ("100", "100", None):
        outcome = agreed(sqlite_engine, back(vector.id, "ghent", part), "barcelona")
        assert outcome.transfer is not None
        given.append(Fraction(outcome.transfer.payer_amount))
        assert_sound(sqlite_engine)
    assert sum(given) == 1000
    assert balances(sqlite_engine) == {}
    found = transfer(sqlite_engine, vector.id)
    assert found is not None
    assert (found.state, found.reversed_amount) == (TransferState.POSTED, 307)


def test_a_whole_reversal_negates_the_entries_that_are_stored(
    sqlite_engine: Engine, vector: Create
) -> None:
    with transaction(sqlite_engine) as session:
        agree(session, "barcelona", Fraction(1, 3))  # a rate of today has no part in it
    reverse = back(vector.id, "barcelona")
    outcome = agreed(sqlite_engine, reverse, "ghent")
    assert outcome.transfer is not None
    assert (outcome.transfer.state, outcome.transfer.reverses) == (TransferState.POSTED, vector.id)
    with reading(sqlite_engine) as session:
        of = {
            journal: {
                (e.account_id, e.counterparty_id): e.amount
                for e in session.scalars(select(Entry).where(Entry.journal_id == journal))
            }
            for journal in (vector.id, reverse.id)
        }
    assert len(of[vector.id]) == 4
    assert of[reverse.id] == {key: -amount for key, amount in of[vector.id].items()}
    assert_sound(sqlite_engine)


def test_a_reversal_reserves_room_the_other_way_until_it_is_answered(engine: Engine) -> None:
    create = pay(engine, "barcelona", "leeds", "3")
    reverse = back(create.id, "leeds", "1")
    assert call(engine, reverse).error is None
    leeds, barcelona = account(engine, "leeds"), account(engine, "barcelona")
    assert (leeds.pending_out, barcelona.pending_in) == (HOUR, HOUR)
    assert told(engine, "barcelona")[-1] == (EventKind.TRANSFER_PENDING, str(reverse.id))
    assert_sound(engine)
    assert call(engine, Move(reverse.id, "barcelona", Verb.REJECT, "keep it")).error is None
    assert (account(engine, "leeds").pending_out, balances(engine)["leeds"]) == (0, 3 * HOUR)
    again = back(create.id, "leeds", "1")
    assert call(engine, again).error is None
    set_expiry(engine, replace(create, id=again.id), datetime(2020, 1, 1, tzinfo=UTC))
    with transaction(engine) as session:
        assert expire_due(session) == 1
    found = transfer(engine, create.id)
    assert found is not None
    assert found.reversed_amount == 0
    assert_sound(engine)


def test_never_more_is_taken_back_than_is_left(sqlite_engine: Engine) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    agreed(sqlite_engine, back(create.id, "leeds", "2"), "barcelona")
    error = refuses(sqlite_engine, back(create.id, "leeds", "1.01"), ConflictError)
    assert error.extra["available"] == "1.00"
    refuses(sqlite_engine, back(create.id, None, "1.01"), ConflictError)
    agreed(sqlite_engine, back(create.id, "barcelona"), "leeds")
    refuses(sqlite_engine, back(create.id, "leeds"), ConflictError)
    assert balances(sqlite_engine) == {}


def test_what_cannot_be_taken_back_is_not_by_effect(sqlite_engine: Engine) -> None:
    posted = pay(sqlite_engine, "barcelona", "leeds", "3")
    pending = made(sqlite_engine, push("barcelona", "leeds", "1"))
    done = back(posted.id, "leeds", "1")
    agreed(sqlite_engine, done, "barcelona")
    open_one = back(posted.id, "leeds", "1")
    assert call(sqlite_engine, open_one).error is None
    refuses(sqlite_engine, back(posted.id, "ghent"), NotFoundError)
    refuses(sqlite_engine, back(uuid.uuid4(), "leeds"), NotFoundError)
    refuses(sqlite_engine, back(pending.id, "leeds"), ConflictError)
    refuses(sqlite_engine, back(done.id, "leeds"), ConflictError)
    refuses(sqlite_engine, back(posted.id, "barcelona", "1"), ConflictError)  # one is pending
    refuses(sqlite_engine, back(posted.id, None, "2.01"), ConflictError)  # cancels nothing
    refuses(sqlite_engine, Move(open_one.id, "leeds", Verb.ACCEPT), ForbiddenError)
    call(sqlite_engine, Move(open_one.id, "leeds", Verb.CANCEL))
    for amount in ("0", "-1", "1.001", "1e2", ""):
        refuses(sqlite_engine, back(posted.id, "leeds", amount), InvalidError)
    assert_sound(sqlite_engine)


def test_a_part_so_small_that_a_side_gets_nothing_is_not_taken_back(sqlite_engine: Engine) -> None:
    create = made(sqlite_engine, push("ghent", "leeds", "1", Unit.PAYER))  # 1 for 0.50
    assert call(sqlite_engine, accept(create)).error is None
    refuses(sqlite_engine, back(create.id, "leeds", "0.01"), InvalidError)
    agreed(sqlite_engine, back(create.id, "leeds"), "ghent")
    assert balances(sqlite_engine) == {}


def test_a_reversal_is_checked_against_limits_except_the_operators(sqlite_engine: Engine) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    pay(sqlite_engine, "leeds", "ghent", "3")
    limit(sqlite_engine, "leeds", credit="1")
    reverse = back(create.id, "leeds", "2")
    refused = call(sqlite_engine, reverse).error
    assert isinstance(refused, RefusedError)
    assert refused.extra["reason"] == "credit_limit"
    by_operator = back(create.id, None, "2")
    outcome = call(sqlite_engine, by_operator)
    assert outcome.error is None
    assert outcome.transfer is not None
    assert (outcome.transfer.state, outcome.transfer.by_operator) == (TransferState.POSTED, True)
    for group in ("barcelona", "leeds"):
        assert told(sqlite_engine, group)[-1] == (EventKind.TRANSFER_POSTED, str(by_operator.id))
    with reading(sqlite_engine) as session:
        deed = session.scalars(select(Deed).where(Deed.action == "transfer-reversed")).one()
        assert (deed.actor, deed.subject) == ("operator", str(create.id))
        assert deed.data == {"reversal": str(by_operator.id)}
    assert balances(sqlite_engine)["leeds"] == -2 * HOUR


def test_a_reversal_sent_again_is_answered_again(sqlite_engine: Engine) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    reverse = back(create.id, "leeds", "1")
    agreed(sqlite_engine, reverse, "barcelona")
    again = call(sqlite_engine, reverse)
    assert again.transfer is not None
    assert (again.created, again.transfer.state) == (False, TransferState.POSTED)
    refuses(sqlite_engine, replace(reverse, amount="2"), ConflictError)
    refuses(sqlite_engine, replace(create, id=reverse.id), ConflictError)
    refuses(sqlite_engine, replace(reverse, id=create.id), ConflictError)
    assert counted(sqlite_engine, Journal) == 2


def test_a_hub_that_accepts_payments_at_once_accepts_its_money_back_too(
    sqlite_engine: Engine,
) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    accepting(sqlite_engine, "barcelona", 10**6)  # what others pay
    given_back = call(sqlite_engine, back(create.id, "leeds", "1")).transfer
    assert given_back is not None
    assert (given_back.state, given_back.initiator) == (TransferState.POSTED, Party.PAYEE)
    accepting(sqlite_engine, "leeds", 10**6)
    asked_back = call(sqlite_engine, back(create.id, "barcelona", "1")).transfer
    assert asked_back is not None
    assert asked_back.state is TransferState.PENDING
    assert_sound(sqlite_engine)


def test_a_levy_goes_back_with_its_payment_in_the_same_parts(sqlite_engine: Engine) -> None:
    levied(sqlite_engine, Fraction(1, 30))
    create = made(sqlite_engine, push("barcelona", "leeds", "10"))
    assert account(sqlite_engine, "barcelona").pending_out == 10 * HOUR + 3333
    assert call(sqlite_engine, accept(create)).error is None
    assert balances(sqlite_engine) == {
        "barcelona": -10 * HOUR - 3333, "leeds": 10 * HOUR, "levy": 3333
    }  # fmt: skip
    assert_sound(sqlite_engine)
    taken = []
    for _ in range(3):
        outcome = agreed(sqlite_engine, back(create.id, "leeds", "3"), "barcelona")
        assert outcome.transfer is not None
        taken.append(outcome.transfer.levy)
    assert taken == ["0.0999", "0.1000", "0.1000"]
    agreed(sqlite_engine, back(create.id, "barcelona"), "leeds")
    assert balances(sqlite_engine) == {}
    assert_sound(sqlite_engine)


def test_reversals_in_one_batch_follow_each_other(sqlite_engine: Engine) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    first, second = back(create.id, "leeds", "2"), back(create.id, "leeds", "2")
    calls: list[Call] = [
        first, second, Move(first.id, "barcelona", Verb.ACCEPT), second, back(create.id, "leeds"),
    ]  # fmt: skip
    with transaction(sqlite_engine) as session:
        outcomes = handle(session, calls)
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), ConflictError, type(None), ConflictError, type(None)]
    assert outcomes[4].transfer is not None
    assert outcomes[4].transfer.payee_amount == "1.00"
    assert_sound(sqlite_engine)


def test_of_a_frozen_account_only_the_operator_takes_back(sqlite_engine: Engine) -> None:
    create = pay(sqlite_engine, "barcelona", "leeds", "3")
    with transaction(sqlite_engine) as session:
        participation.freeze(session, "leeds", "not answering")
    refuses(sqlite_engine, back(create.id, "leeds"), ConflictError)
    assert call(sqlite_engine, back(create.id, None)).error is None
    assert balances(sqlite_engine) == {}


def test_the_operator_takes_back_what_a_hub_asked_for_and_waits(engine: Engine) -> None:
    create = pay(engine, "barcelona", "leeds", "3")
    asked = back(create.id, "leeds", "0.01")
    assert call(engine, asked).error is None
    before = {name: told(engine, name) for name in ("barcelona", "leeds")}
    reverse = back(create.id, None)
    outcome = call(engine, reverse)
    assert outcome.error is None
    assert outcome.transfer is not None
    assert outcome.transfer.payee_amount == "3.00"
    cancelled = transfer(engine, asked.id)
    assert cancelled is not None
    assert (cancelled.state, cancelled.reason) == (
        TransferState.CANCELLED, "the operator took the payment back"
    )  # fmt: skip
    for name, known in before.items():
        assert told(engine, name) == [
            *known,
            (EventKind.TRANSFER_CANCELLED, str(asked.id)),
            (EventKind.TRANSFER_POSTED, str(reverse.id)),
        ]
    assert balances(engine) == {}
    assert account(engine, "leeds").pending_out == 0
    assert_sound(engine)


@pytest.mark.parametrize("amount", ["100", "1.2345"])
def test_a_whole_reversal_fits_a_pair_limit_of_what_was_owed_to_the_payer(
    sqlite_engine: Engine, amount: str
) -> None:
    levied(sqlite_engine, Fraction(1, 100))
    create = pay(sqlite_engine, "leeds", "ghent", amount)  # of which a part is residue
    owed = position(sqlite_engine, "ghent", "leeds").amount
    with transaction(sqlite_engine) as session:
        set_pair_limit(session, "ghent", "leeds", owed - 1)
    error = refused(sqlite_engine, back(create.id, "leeds"))
    assert error.extra["reason"] == "pair_limit"
    with transaction(sqlite_engine) as session:
        set_pair_limit(session, "ghent", "leeds", owed)
    assert agreed(sqlite_engine, back(create.id, "leeds"), "ghent").error is None
    assert balances(sqlite_engine) == {}
    assert_sound(sqlite_engine)


def refused(engine: Engine, reverse: Reverse) -> LocalPayError:
    """Assert that a reversal is refused for want of room and moves no money."""
    before = balances(engine)
    outcome = call(engine, reverse)
    assert isinstance(outcome.error, RefusedError)
    assert balances(engine) == before
    return outcome.error
