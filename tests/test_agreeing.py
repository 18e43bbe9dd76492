"""How transfers are agreed: at once by a hub's rules, in which union, between open accounts."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from clearing_world import (
    GROUPS,
    HOUR,
    accept,
    accepting,
    account,
    admit,
    assert_sound,
    balances,
    call,
    counted,
    ledger,
    limit,
    made,
    open_world,
    pay,
    push,
    request,
    state,
    told,
    transfer,
)
from sqlalchemy import Engine, select, update

from clearing import acceptance, participation, periods
from clearing.acceptance import ANY_GROUP, Rule
from clearing.accounts import open_account
from clearing.calls import Call, Move, Outcome, Verb, handle
from clearing.events import EventKind
from clearing.ledger import Journal
from clearing.transfers import Party, ReasonCode, Transfer, TransferState, Unit, name_digests
from commons.database import reading, transaction
from commons.errors import ConflictError, InvalidError, LocalPayError, RefusedError


@pytest.fixture(autouse=True)
def _world(request: pytest.FixtureRequest) -> None:
    both = "engine" in request.fixturenames
    open_world(request.getfixturevalue("engine" if both else "sqlite_engine"))


def refuses(engine: Engine, one: Call, error: type[LocalPayError]) -> LocalPayError:
    """Assert that a call fails and changes nothing."""
    before = ledger(engine)
    outcome = call(engine, one)
    assert type(outcome.error) is error, outcome.error
    assert ledger(engine) == before
    assert outcome.error is not None
    return outcome.error


def test_what_a_hub_accepts_by_its_rules_is_posted_in_the_same_call(engine: Engine) -> None:
    accepting(engine, "leeds", 500)  # 5.00 of its own currency
    create = push("barcelona", "leeds", "5", Unit.PAYEE)
    outcome = call(engine, create)
    assert outcome.transfer is not None
    assert (outcome.created, outcome.transfer.state) == (True, TransferState.POSTED)
    assert outcome.account is not None
    assert (outcome.account.group, outcome.account.version) == ("barcelona", 1)
    assert balances(engine) == {"barcelona": -5 * HOUR, "leeds": 5 * HOUR}
    assert account(engine, "barcelona").pending_out == 0
    assert told(engine, "leeds") == [(EventKind.TRANSFER_POSTED, str(create.id))]
    again = call(engine, create)
    assert (again.created, again.error, counted(engine, Journal)) == (False, None, 1)
    assert call(engine, accept(create)).error is None  # the other hub may say so as well
    assert counted(engine, Journal) == 1
    made(engine, push("barcelona", "leeds", "5.01", Unit.PAYEE))
    made(engine, request("leeds", "barcelona", "1"))  # a request, of which its rules say nothing
    assert_sound(engine)


def test_a_rule_for_one_group_comes_before_the_one_for_all(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        rules = [Rule(Party.PAYER, ANY_GROUP, 1000), Rule(Party.PAYER, "barcelona", 100)]
        acceptance.set_rules(session, "leeds", [*rules, Rule(Party.PAYEE, "ghent", 200)])
    for one, expected in (
        (push("barcelona", "leeds", "1.01"), TransferState.PENDING),
        (push("barcelona", "leeds", "1"), TransferState.POSTED),
        (push("ghent", "leeds", "10"), TransferState.POSTED),
        (request("leeds", "ghent", "2"), TransferState.POSTED),
        (request("leeds", "ghent", "3"), TransferState.PENDING),
        (request("leeds", "barcelona", "1"), TransferState.PENDING),
    ):
        call(sqlite_engine, one)
        assert state(sqlite_engine, one) is expected, one
    limit(sqlite_engine, "barcelona", credit="0")
    refused = call(sqlite_engine, push("barcelona", "leeds", "1")).error
    assert isinstance(refused, RefusedError)


def test_rules_are_replaced_whole_and_wrong_ones_change_nothing(sqlite_engine: Engine) -> None:
    first = [Rule(Party.PAYER, "barcelona", 100)]
    with transaction(sqlite_engine) as session:
        acceptance.set_rules(session, "leeds", first)
    for wrong in (
        [Rule(Party.PAYER, "leeds", 1)],
        [Rule(Party.PAYER, "nowhere", 1)],
        [Rule(Party.PAYER, ANY_GROUP, 0)],
        [Rule(Party.PAYER, ANY_GROUP, 2**53)],
        [Rule(Party.PAYER, ANY_GROUP, 1), Rule(Party.PAYER, ANY_GROUP, 2)],
    ):
        with transaction(sqlite_engine) as session, pytest.raises(InvalidError):
            acceptance.set_rules(session, "leeds", wrong)
        with reading(sqlite_engine) as session:
            assert acceptance.rules_of(session, "leeds") == first
    with transaction(sqlite_engine) as session:
        acceptance.set_rules(session, "leeds", [])
        assert acceptance.rules_of(session, "leeds") == []


def join(engine: Engine, union_id: str, *groups: str) -> None:
    with transaction(engine) as session:
        for group_id in groups:
            open_account(session, group_id, union_id)


def union_of(outcome: Outcome) -> str | None:
    return outcome.transfer.union if outcome.transfer else None


def test_a_payment_goes_through_the_union_it_names_or_the_one_that_is_meant(
    engine: Engine,
) -> None:
    join(engine, "north", "barcelona", "leeds")
    assert union_of(call(engine, push("barcelona", "leeds", "1"))) == "main"
    create = replace(push("barcelona", "leeds", "1"), union="north")
    assert union_of(call(engine, create)) == "north"
    assert call(engine, accept(create)).error is None
    assert account(engine, "barcelona").balance == 0  # that is the one in main
    refuses(engine, replace(push("barcelona", "ghent", "1"), union="north"), InvalidError)
    with transaction(engine) as session:
        participation.freeze(session, "leeds", "moving")
    assert union_of(call(engine, push("barcelona", "leeds", "1"))) == "north"
    assert_sound(engine)


def test_where_several_unions_could_be_meant_the_choices_are_named(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        for group_id in ("turin", "lyon"):
            admit(session, group_id, GROUPS["leeds"], "south")
    create = push("turin", "lyon", "1")
    assert union_of(call(sqlite_engine, create)) == "south"
    join(sqlite_engine, "north", "turin", "lyon")
    error = refuses(sqlite_engine, push("turin", "lyon", "1"), InvalidError)
    assert error.detail == "union: must be one that both groups are in: north, south"
    error = refuses(sqlite_engine, push("turin", "leeds", "1"), InvalidError)
    assert "there is none" in error.detail


def test_with_a_frozen_account_nothing_new_is_made_or_accepted(engine: Engine) -> None:
    creates = [made(engine, push("barcelona", "leeds", "1")) for _ in range(3)]
    with transaction(engine) as session:
        participation.freeze(session, "leeds", "not answering")
    for one in (push("barcelona", "leeds", "1"), push("leeds", "ghent", "1"), accept(creates[0])):
        error = refuses(engine, one, ConflictError)
        assert error.extra["reason"] == "account_frozen"
    assert call(engine, Move(creates[0].id, "leeds", Verb.REJECT)).error is None
    assert call(engine, Move(creates[1].id, "barcelona", Verb.CANCEL)).error is None
    with transaction(engine) as session:
        participation.thaw(session, "leeds")
    assert call(engine, accept(creates[2])).error is None
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}
    assert_sound(engine)


def test_a_value_date_is_kept_and_never_in_a_closed_period(sqlite_engine: Engine) -> None:
    today = datetime.now(UTC).date()
    earlier = today - timedelta(days=20)
    for days in (367, 3_000):
        old = replace(push("barcelona", "leeds", "1"), value_date=today - timedelta(days=days))
        assert "366 days back" in str(refuses(sqlite_engine, old, InvalidError))
    create = replace(push("barcelona", "leeds", "1"), value_date=earlier)
    made(sqlite_engine, create)
    late = made(sqlite_engine, replace(push("barcelona", "leeds", "1"), value_date=earlier))
    assert call(sqlite_engine, accept(create)).error is None
    with reading(sqlite_engine) as session:
        assert session.scalars(select(Journal.value_date)).all() == [earlier]
    with transaction(sqlite_engine) as session:
        periods.close(session, "main", today - timedelta(days=10), "operator")
    error = refuses(sqlite_engine, accept(late), ConflictError)
    assert error.extra["reason"] == "period_closed"
    closed = replace(push("barcelona", "leeds", "1"), value_date=earlier)
    refuses(sqlite_engine, closed, InvalidError)
    refuses(sqlite_engine, replace(closed, value_date=date(2200, 1, 1)), InvalidError)
    assert_sound(sqlite_engine)


def test_a_rejection_says_why_in_a_word_for_software_too(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    move = Move(create.id, "leeds", Verb.REJECT, "who is moss?", ReasonCode.UNKNOWN_MEMBER)
    outcome = call(engine, move)
    assert outcome.transfer is not None
    assert outcome.transfer.reason_code is ReasonCode.UNKNOWN_MEMBER
    assert outcome.transfer.reason == "who is moss?"
    other = made(engine, push("barcelona", "leeds", "1"))
    refuses(engine, Move(other.id, "leeds", Verb.REJECT, "x" * 201), InvalidError)


ENDED = {
    TransferState.POSTED: Verb.ACCEPT,
    TransferState.REJECTED: Verb.REJECT,
    TransferState.CANCELLED: Verb.CANCEL,
    TransferState.REFUSED: None,
    TransferState.EXPIRED: None,
}


@pytest.mark.parametrize("ended", ENDED)
def test_what_has_ended_is_moved_by_nobody(sqlite_engine: Engine, ended: TransferState) -> None:
    create = push("barcelona", "leeds", "1")
    if ended is TransferState.REFUSED:
        limit(sqlite_engine, "barcelona", credit="0")
    call(sqlite_engine, create)
    if ended is TransferState.EXPIRED:
        with transaction(sqlite_engine) as session:
            past = datetime(2020, 1, 1, tzinfo=UTC)
            session.execute(update(Transfer).values(expires_at=past))
    verb = ENDED[ended]
    first = verb or Verb.CANCEL
    call(sqlite_engine, Move(create.id, "barcelona" if first is Verb.CANCEL else "leeds", first))
    assert state(sqlite_engine, create) is ended
    for other in Verb:
        caller = "barcelona" if other is Verb.CANCEL else "leeds"
        move = Move(create.id, caller, other)
        if other is verb:
            before = ledger(sqlite_engine)
            assert call(sqlite_engine, move).error is None
            assert ledger(sqlite_engine) == before
        else:
            assert refuses(sqlite_engine, move, ConflictError).extra["state"] == ended


def test_each_hub_is_told_what_it_did_not_do_itself(engine: Engine) -> None:
    pushed = pay(engine, "barcelona", "leeds", "1")
    cancelled = made(engine, push("barcelona", "leeds", "1"))
    call(engine, Move(cancelled.id, "barcelona", Verb.CANCEL))
    with transaction(engine) as session:
        handle(session, [accept(pushed), accept(cancelled)])  # nothing new to tell
    assert told(engine, "barcelona") == [(EventKind.TRANSFER_POSTED, str(pushed.id))]
    assert told(engine, "leeds") == [
        (EventKind.TRANSFER_PENDING, str(pushed.id)),
        (EventKind.TRANSFER_PENDING, str(cancelled.id)),
        (EventKind.TRANSFER_CANCELLED, str(cancelled.id)),
    ]
    assert told(engine, "ghent") == []


def test_a_call_repeated_after_its_names_were_erased_is_answered_again(engine: Engine) -> None:
    create = pay(engine, "barcelona", "leeds", "1")
    with transaction(engine) as session:
        row = session.get_one(Transfer, create.id)
        row.kept_digests = name_digests(row)
        row.key = row.payer_member = row.payee_member = row.description = None
    again = call(engine, create)
    assert again.transfer is not None
    assert (again.transfer.payer, again.transfer.state) == ("barcelona/", TransferState.POSTED)
    refuses(engine, replace(create, amount="2"), ConflictError)
    refuses(engine, replace(create, caller="leeds"), ConflictError)
    refuses(engine, replace(create, payer="ghent/ines"), ConflictError)
    assert call(engine, create).error is None
    assert_sound(engine)
    found = transfer(engine, create.id)
    assert found is not None
    assert found.key is None
