"""No account and no pair goes over its limit; what is pending counts."""

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
    account,
    assert_sound,
    balances,
    call,
    limit,
    made,
    open_world,
    pay,
    push,
    state,
)
from sqlalchemy import Engine, select

from clearing.accounts import (
    AccountStatus,
    Limit,
    LimitChange,
    LimitKind,
    account_of,
    set_limit,
    set_limits,
    set_pair,
    set_pair_limit,
)
from clearing.calls import Create, Move, Verb, handle
from clearing.limits import NO_LIMIT
from clearing.transfers import TransferState
from commons.database import reading, transaction
from commons.errors import InvalidError, NotFoundError, RefusedError
from commons.money import CLEARING_SCALE, MAX_MINOR, format_amount, parse_amount


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


def limit_pair(engine: Engine, debtor: str, creditor: str, hours: int | None) -> None:
    with transaction(engine) as session:
        set_pair_limit(session, debtor, creditor, None if hours is None else hours * HOUR)


def assert_refused(engine: Engine, create: Create, reason: str, available: str) -> None:
    """The transfer is refused for this reason, and stays so under its id."""
    before = balances(engine)
    for _ in range(2):
        outcome = call(engine, create)
        assert isinstance(outcome.error, RefusedError)
        assert outcome.error.extra["reason"] == reason
        assert outcome.error.extra["available"] == available
        assert state(engine, create) is TransferState.REFUSED
    assert balances(engine) == before


def test_a_payer_stops_at_its_credit_limit(engine: Engine) -> None:
    limit(engine, "barcelona", credit="10")
    pay(engine, "barcelona", "leeds", "7")
    assert_refused(engine, push("barcelona", "leeds", "3.01"), "credit_limit", "3.0000")
    pay(engine, "barcelona", "leeds", "3")
    assert_refused(engine, push("barcelona", "leeds", "0.01"), "credit_limit", "0.0000")
    assert_sound(engine)


def test_a_payee_stops_at_its_surplus_limit(engine: Engine) -> None:
    limit(engine, "leeds", surplus="10")
    pay(engine, "barcelona", "leeds", "4")
    assert_refused(engine, push("ghent", "leeds", "6.5"), "surplus_limit", "6.0000")
    pay(engine, "ghent", "leeds", "6")
    assert_sound(engine)


def test_a_pair_stops_at_its_limit_and_others_go_on(engine: Engine) -> None:
    limit_pair(engine, "barcelona", "leeds", 10)
    pay(engine, "barcelona", "leeds", "8")
    assert_refused(engine, push("barcelona", "leeds", "3"), "pair_limit", "2.0000")
    pay(engine, "barcelona", "ghent", "30")
    pay(engine, "leeds", "barcelona", "30")
    assert_sound(engine)


def test_what_is_available_is_the_least_of_all_rooms(engine: Engine) -> None:
    limit(engine, "barcelona", credit="10")
    limit(engine, "leeds", surplus="5")
    limit_pair(engine, "barcelona", "leeds", 3)
    assert_refused(engine, push("barcelona", "leeds", "20"), "credit_limit", "3.0000")
    assert_refused(engine, push("barcelona", "leeds", "6"), "surplus_limit", "3.0000")
    assert_refused(engine, push("barcelona", "leeds", "4"), "pair_limit", "3.0000")


def test_a_pending_transfer_counts_until_it_ends(engine: Engine) -> None:
    limit(engine, "barcelona", credit="10")
    limit(engine, "leeds", surplus="9")
    limit_pair(engine, "barcelona", "leeds", 8)
    pending = made(engine, push("barcelona", "leeds", "7"))
    assert_refused(engine, push("barcelona", "ghent", "4"), "credit_limit", "3.0000")
    assert_refused(engine, push("ghent", "leeds", "3"), "surplus_limit", "2.0000")
    assert_refused(engine, push("barcelona", "leeds", "2"), "pair_limit", "1.0000")
    call(engine, Move(pending.id, "leeds", Verb.REJECT))
    pay(engine, "barcelona", "leeds", "8")
    assert_sound(engine)


def test_opposite_pending_transfers_do_not_make_room_for_each_other(engine: Engine) -> None:
    limit(engine, "barcelona", credit="5", surplus="5")
    limit_pair(engine, "barcelona", "leeds", 5)
    incoming = made(engine, push("leeds", "barcelona", "5"))
    outgoing = made(engine, push("barcelona", "leeds", "5"))
    assert_refused(engine, push("barcelona", "leeds", "1"), "credit_limit", "0.0000")
    assert_refused(engine, push("leeds", "barcelona", "1"), "surplus_limit", "0.0000")
    # Only what is posted makes room.
    call(engine, accept(incoming))
    assert_refused(engine, push("barcelona", "leeds", "6"), "credit_limit", "0.0000")
    made(engine, push("barcelona", "ghent", "5"))
    call(engine, accept(outgoing))
    assert_sound(engine)


def test_below_a_lowered_limit_only_what_does_not_make_it_worse_passes(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "8")
    agreed = made(engine, push("barcelona", "leeds", "1"))
    limit(engine, "barcelona", credit="2")
    limit(engine, "leeds", surplus="3")
    assert_refused(engine, push("barcelona", "ghent", "1"), "credit_limit", "0.0000")
    assert_refused(engine, push("ghent", "leeds", "1"), "surplus_limit", "0.0000")
    pay(engine, "ghent", "barcelona", "1")
    pay(engine, "leeds", "ghent", "1")
    assert call(engine, accept(agreed)).error is None
    assert balances(engine) == {"barcelona": -8 * HOUR, "leeds": 8 * HOUR}
    assert_sound(engine)


def test_a_limit_of_nothing_stops_everything_and_no_limit_stops_nothing(engine: Engine) -> None:
    limit(engine, "barcelona", credit="0")
    assert_refused(engine, push("barcelona", "leeds", "0.01"), "credit_limit", "0.0000")
    limit(engine, "barcelona")
    pay(engine, "barcelona", "leeds", "100000")
    unlimited = account(engine, "barcelona")
    assert unlimited.room_below() == NO_LIMIT - unlimited.used_below()


def test_without_any_limit_no_balance_outgrows_the_database(engine: Engine) -> None:
    most = parse_amount("900719925474.09", CLEARING_SCALE)
    fit = NO_LIMIT // most
    left = format_amount(NO_LIMIT - fit * most, CLEARING_SCALE)
    accepting(engine, "leeds", MAX_MINOR)
    calls = [push("barcelona", "leeds", "900719925474.09") for _ in range(2 * fit + 1)]
    with transaction(engine) as session:
        outcomes = handle(session, calls)
    errors = [outcome.error for outcome in outcomes]
    assert errors[:fit] == [None] * fit
    for error in errors[fit:]:
        assert isinstance(error, RefusedError)
        assert error.extra["reason"] == "credit_limit"
        assert error.extra["available"] == left
    assert balances(engine) == {"barcelona": -fit * most, "leeds": fit * most}
    pay(engine, "leeds", "barcelona", "900719925474.09")
    assert call(engine, push("barcelona", "leeds", "900719925474.09")).error is None
    assert_refused(engine, calls[-1], "credit_limit", left)
    assert_sound(engine)


def test_every_limit_is_kept_with_what_was_used_then(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "8")
    for _ in range(2):  # set again to what it is, it is no change
        limit(engine, "barcelona", credit="2")
        limit_pair(engine, "barcelona", "leeds", 3)
    with reading(engine) as session:
        own = account_of(session, "barcelona").id
        query = select(LimitChange).filter_by(account_id=own).order_by(LimitChange.id)
        changes = [(change.kind, change.stop, change.used) for change in session.scalars(query)]
    used = 8 * HOUR
    credit, _, pair = LimitKind
    assert changes == [
        (credit, 2 * HOUR, used),
        (pair, 3 * HOUR, used),
    ]  # fmt: skip


def test_a_pair_limit_is_between_two_groups_that_clear(engine: Engine) -> None:
    with transaction(engine) as session:
        with pytest.raises(InvalidError, match="two different groups"):
            set_pair_limit(session, "leeds", "leeds", 1)
        with pytest.raises(InvalidError, match="must not be negative"):
            set_pair_limit(session, "leeds", "ghent", -1)
        with pytest.raises(NotFoundError, match="turin"):
            set_pair_limit(session, "leeds", "turin", 1)


def test_a_warning_lies_within_its_stop_or_nothing_is_set(engine: Engine) -> None:
    with transaction(engine) as session:
        own = account_of(session, "barcelona")
        for kind in (LimitKind.CREDIT, LimitKind.SURPLUS):
            set_limit(session, own, kind, Limit(warn=5 * HOUR, stop=5 * HOUR))
            with pytest.raises(InvalidError, match=f"{kind}_warn: is 5.0001, beyond .* 5.0000"):
                set_limit(session, own, kind, Limit(warn=5 * HOUR + 1, stop=5 * HOUR))
            with pytest.raises(InvalidError, match=f"{kind}_warn: must not be negative"):
                set_limit(session, own, kind, Limit(warn=-1))
        with pytest.raises(InvalidError, match="credit_warn"):
            set_limits(session, "barcelona", 4 * HOUR, None)  # the warning stays, and is beyond it
        with pytest.raises(InvalidError, match="pair_warn"):
            set_pair(session, own, account_of(session, "leeds"), Limit(warn=2, stop=1))
    found = account(engine, "barcelona")
    assert (found.credit_warn, found.credit_limit) == (5 * HOUR, 5 * HOUR)
    assert (found.surplus_warn, found.surplus_limit) == (5 * HOUR, 5 * HOUR)
    assert_sound(engine)


def test_beyond_a_warning_an_account_is_on_alert_with_or_without_a_stop(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "5")
    for levels, light in (
        (Limit(warn=5 * HOUR), AccountStatus.OK),
        (Limit(warn=4 * HOUR), AccountStatus.ALERT),
        (Limit(warn=4 * HOUR, stop=100 * HOUR), AccountStatus.ALERT),
        (Limit(warn=4 * HOUR, stop=4 * HOUR), AccountStatus.OVER),
    ):
        with transaction(engine) as session:
            set_limit(session, account_of(session, "barcelona"), LimitKind.CREDIT, levels)
            set_limit(session, account_of(session, "leeds"), LimitKind.SURPLUS, levels)
        assert account(engine, "barcelona").status() is light
        assert account(engine, "leeds").status() is light
