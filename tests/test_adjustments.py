"""Adjustments: what is owed changes besides payments, once both sides have agreed."""

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier

import pytest
from clearing_world import HOUR, assert_sound, balances, limit, open_world, pay, push
from clearing_world import call as call_of
from journal_world import (
    A,
    B,
    C,
    agreed,
    close,
    dispute,
    everything,
    mark,
    move,
    owe,
    positions,
    proposal,
    propose,
    set_state,
    told,
    yesterday,
)
from sqlalchemy import Engine, update
from statement_world import SEAL

from clearing import adjustments, rounds, work
from clearing.accounts import AccountKind, AccountState, set_pair_limit, union_account
from clearing.adjustments import Adjustment, AdjustmentState
from clearing.adjustments.rows import TRANSITIONS, content_digest, read
from clearing.ledger import ChainRow, Journal
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError

ENDS = {"agree": "posted", "decline": "declined", "cancel": "cancelled"}


@pytest.fixture
def world(engine: Engine) -> Engine:
    open_world(engine)
    return engine


@pytest.fixture
def embedded(sqlite_engine: Engine) -> Engine:
    """The same on SQLite alone, where the database does not matter."""
    open_world(sqlite_engine)
    return sqlite_engine


def refused(
    engine: Engine,
    error: type[Exception],
    act: Callable[..., object],
    *said: object,
    says: str | None = None,
) -> None:
    """See that a call is refused and leaves no trace."""
    before = everything(engine)
    with pytest.raises(error, match=says):
        act(engine, *said)
    assert everything(engine) == before


def test_what_was_paid_outside_is_owed_no_more_once_the_creditor_confirms(world: Engine) -> None:
    owe(world, A, B, "80")
    paid = propose(world, proposal(A, "settlement", A, B, "30"))
    assert (paid.state, list(paid.agreed)) == ("proposed", [A])
    assert positions(world) == {(B, A): 80 * HOUR}
    done = move(world, paid.id, B, "agree")
    assert (done.state, list(done.agreed)) == ("posted", [A, B])
    assert positions(world) == {(B, A): 50 * HOUR}
    assert balances(world) == {A: -50 * HOUR, B: 50 * HOUR}
    assert move(world, paid.id, B, "agree") == done
    with reading(world) as session:
        journal = session.get_one(Journal, paid.id)
        assert (journal.kind, journal.value_date) == ("settlement", None)
        adjustment, pair = read(session, paid.id, A)
        digests = {row.digest for row in session.query(ChainRow).filter_by(journal_id=paid.id)}
        assert digests == {content_digest(adjustment, pair)}
    for hub in (A, B):
        proposed, ended = (
            told(world, hub, "adjustment-proposed"),
            told(world, hub, "adjustment-ended"),
        )
        assert [one["state"] for one in proposed] == ["proposed", "proposed"]
        assert [one["amount"] for one in ended] == ["80.0000", "30.0000"]
    assert_sound(world)


def test_an_assignment_moves_a_debt_to_the_commons_and_no_balance(world: Engine) -> None:
    owe(world, A, B, "80")
    before = balances(world)
    assert agreed(world, proposal(B, "assignment", A, B, "30")).state == "posted"
    assert positions(world) == {
        (B, A): 50 * HOUR,
        ("commons", A): 30 * HOUR,
        (B, "commons"): 30 * HOUR,
    }
    assert balances(world) == before
    assert_sound(world)


def test_the_operator_signs_where_the_unions_own_account_is_a_side(embedded: Engine) -> None:
    owe(embedded, A, B, "80")
    agreed(embedded, proposal(A, "assignment", A, B, "30"))
    paid = propose(embedded, proposal(A, "settlement", A, "commons", "10"))
    refused(embedded, NotFoundError, move, paid.id, B, "agree")
    assert move(embedded, paid.id, None, "agree").state == "posted"
    assert positions(embedded)["commons", A] == 20 * HOUR
    with reading(embedded) as session:
        deeds = session.query(audit_log.Deed).all()
        assert [(deed.action, deed.subject) for deed in deeds] == [
            ("settlement-posted", str(paid.id))
        ]
    assert_sound(embedded)


def test_an_opening_position_is_the_operators_alone_while_nothing_was_posted(
    embedded: Engine,
) -> None:
    first = propose(embedded, proposal(None, "opening", A, B, "12.5"))
    assert (first.state, first.proposed_by) == ("posted", "operator")
    assert balances(embedded) == {A: -125_000, B: 125_000}
    ring = [propose(embedded, proposal(None, "opening", *of, "3")) for of in ((B, C), (C, A))]
    assert [one.state for one in ring] == ["posted", "posted"]
    assert balances(embedded) == {A: -95_000, B: 95_000}
    pay(embedded, B, C, "3")
    for debtor, creditor in ((A, C), (C, A), (A, B)):  # one of the two has entries of a payment
        waits = propose(embedded, proposal(None, "opening", debtor, creditor, "1"))
        assert (waits.state, list(waits.waits_for)) == ("proposed", [debtor, creditor])
        move(embedded, waits.id, None, "cancel")
    second = propose(embedded, proposal(None, "opening", A, C, "1"))
    assert (second.state, list(second.agreed)) == ("proposed", [])
    half = move(embedded, second.id, C, "agree")
    assert (half.state, list(half.agreed), list(half.waits_for)) == ("proposed", [C], [A])
    refused(embedded, ForbiddenError, move, second.id, None, "agree")
    assert balances(embedded) == {A: -95_000, B: 65_000, C: 30_000}
    posted = move(embedded, second.id, A, "agree")
    assert (posted.state, list(posted.waits_for)) == ("posted", [])
    assert balances(embedded) == {A: -95_000 - HOUR, B: 65_000, C: 30_000 + HOUR}
    assert_sound(embedded)


def test_no_more_is_settled_than_is_owed_when_it_is_agreed(embedded: Engine) -> None:
    owe(embedded, A, B, "80")
    for kind in ("settlement", "assignment"):
        refused(
            embedded, ConflictError, propose, proposal(A, kind, A, B, "80.0001"), says="80.0000"
        )
        refused(embedded, ConflictError, propose, proposal(A, kind, B, A, "0.0001"))
    late = propose(embedded, proposal(A, "settlement", A, B, "50"))
    pay(embedded, B, A, "31")
    refused(embedded, ConflictError, move, late.id, B, "agree", says="49.0000")
    pay(embedded, A, B, "1")
    assert move(embedded, late.id, B, "agree").state == "posted"
    assert balances(embedded) == {}
    assert_sound(embedded)


def test_what_is_disputed_or_in_a_proposed_round_is_not_settled(embedded: Engine) -> None:
    for debtor, creditor, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        owe(embedded, debtor, creditor, hours)
    mark(embedded, dispute(A, A, B, "4"))
    with transaction(embedded) as session:
        round_id = rounds.propose(session).id
    paid = proposal(A, "settlement", A, B, "6.0001")
    refused(embedded, ConflictError, propose, paid, says="6.0000")
    assert agreed(embedded, replace(paid, amount="6")).state == "posted"
    with transaction(embedded) as session:
        rounds.commit(session, round_id)
    assert positions(embedded) == {(B, A): 4 * HOUR, (C, B): 20 * HOUR}
    assert_sound(embedded)


@pytest.mark.parametrize(
    ("kind", "limits", "reason"),
    [
        ("settlement", {"group": A, "surplus": "0"}, "surplus_limit"),
        ("settlement", {"group": B, "credit": "0"}, "credit_limit"),
        ("opening", {"group": A, "credit": "9"}, "credit_limit"),
        ("opening", {"group": B, "surplus": "9"}, "surplus_limit"),
        ("opening", {"pair": 9 * HOUR}, "pair_limit"),
    ],
)
def test_limits_hold_for_what_changes_balances(
    embedded: Engine, kind: str, limits: dict[str, object], reason: str
) -> None:
    if kind == "settlement":  # A owes B and is owed as much by C, B the other way round
        for debtor, creditor in ((A, B), (C, A), (B, C)):
            owe(embedded, debtor, creditor, "10")
    if "pair" in limits:
        with transaction(embedded) as session:
            set_pair_limit(session, A, B, 9 * HOUR)
    else:
        limit(embedded, str(limits.pop("group")), **{k: str(v) for k, v in limits.items()})
    refused(embedded, ConflictError, propose, proposal(A, kind, A, B, "10"), says=reason)
    assert_sound(embedded)


@pytest.mark.parametrize("state", [AccountState.FROZEN, AccountState.CLOSED])
def test_an_account_that_is_not_open_takes_no_adjustment(
    embedded: Engine, state: AccountState
) -> None:
    owe(embedded, A, B, "80")
    waiting = propose(embedded, proposal(A, "settlement", A, B, "10"))
    set_state(embedded, B, state)
    call = proposal(A, "settlement", A, B, "10")
    refused(embedded, ConflictError, propose, call, says=state)
    refused(embedded, ConflictError, move, waiting.id, B, "agree", says=state)
    assert move(embedded, waiting.id, B, "decline").state == "declined"


def test_the_same_proposal_again_is_answered_and_another_body_is_a_conflict(
    embedded: Engine,
) -> None:
    owe(embedded, A, B, "80")
    call = replace(proposal(A, "settlement", A, B, "10"), note="Bank transfer")
    first = propose(embedded, call)
    before = everything(embedded)
    assert propose(embedded, call) == first
    assert everything(embedded) == before
    done = move(embedded, call.id, B, "agree")
    assert propose(embedded, call) == done
    for other in (
        replace(call, amount="10.0"),
        replace(call, note="Cash"),
        replace(call, caller=B),
        replace(call, kind=adjustments.AdjustmentKind.ASSIGNMENT),
        replace(call, creditor=C),
        replace(call, value_date=yesterday()),
    ):
        refused(embedded, ConflictError, propose, other)
    late = replace(call, id=uuid.uuid4())
    propose(embedded, late)
    before = everything(embedded)
    late_payment = call_of(embedded, replace(push(A, B, "1"), id=late.id))
    assert isinstance(late_payment.error, ConflictError)
    assert everything(embedded) == before
    payment = pay(embedded, A, B, "1")
    taken = replace(call, id=payment.id)
    refused(embedded, ConflictError, propose, taken, says="taken")


def test_an_adjustment_ends_once_and_only_as_its_table_says(embedded: Engine) -> None:
    owe(embedded, A, B, "80")
    for ended_by, ended in ENDS.items():
        call = proposal(A, "settlement", A, B, "1")
        propose(embedded, call)
        move(embedded, call.id, A if ended_by == "cancel" else B, ended_by)
        for verb in ENDS:
            caller = A if verb == "cancel" else B
            before = everything(embedded)
            if verb == ended_by:
                assert move(embedded, call.id, caller, verb).state == ended
            else:
                with pytest.raises(ConflictError, match=ended):
                    move(embedded, call.id, caller, verb)
            assert everything(embedded) == before
    assert set(TRANSITIONS[AdjustmentState.PROPOSED]) == {*ENDS.values(), "expired"}
    assert balances(embedded) == {A: -79 * HOUR, B: 79 * HOUR}
    assert_sound(embedded)


def test_nobody_but_the_two_sides_may_see_or_move_it_and_each_only_in_its_turn(
    embedded: Engine,
) -> None:
    owe(embedded, A, B, "80")
    call = proposal(A, "settlement", A, B, "10")
    refused(embedded, ForbiddenError, propose, replace(call, caller=C))
    propose(embedded, call)
    for caller, verb, error in (
        (C, "agree", NotFoundError),
        (A, "agree", ForbiddenError),
        (A, "decline", ForbiddenError),
        (B, "cancel", ForbiddenError),
        (None, "agree", ForbiddenError),
        (None, "cancel", ForbiddenError),
    ):
        refused(embedded, error, move, call.id, caller, verb)
    with reading(embedded) as session:
        assert next(iter(adjustments.search(session, A))).id == call.id
        assert adjustments.search(session, C) == []
        with pytest.raises(NotFoundError):
            adjustments.find(session, call.id, C)


def test_a_proposal_that_nobody_answers_expires(embedded: Engine) -> None:
    owe(embedded, A, B, "80")
    call = proposal(A, "settlement", A, B, "10")
    made = propose(embedded, call)
    with transaction(embedded) as session:
        assert adjustments.expire_due(session) == 0
        session.execute(
            update(Adjustment).where(Adjustment.id == call.id).values(expires_at=made.created_at)
        )
    refused(embedded, ConflictError, move, call.id, B, "agree", says="expired")
    chores = work.chores(embedded, SEAL, lambda _: None)

    async def expire() -> int:
        return await chores["adjustments"]()

    assert [asyncio.run(expire()) for _ in range(2)] == [1, 0]
    with reading(embedded) as session:
        assert adjustments.find(session, call.id).state == "expired"
    assert told(embedded, B, "adjustment-ended")[-1]["state"] == "expired"
    refused(embedded, ConflictError, move, call.id, B, "agree", says="expired")
    assert_sound(embedded)


def test_nothing_is_dated_into_a_closed_period_or_far_ahead(world: Engine) -> None:
    today = yesterday() + timedelta(days=1)
    old = replace(proposal(A, "opening", A, B, "10"), value_date=today - timedelta(days=367))
    refused(world, InvalidError, propose, old, says="366 days back")
    dated = replace(proposal(A, "opening", A, B, "10"), value_date=yesterday())
    waiting = replace(dated, id=proposal(A, "opening", A, B, "1").id)
    propose(world, waiting)
    assert agreed(world, dated).value_date == yesterday()
    close(world, yesterday())
    refused(world, ConflictError, move, waiting.id, B, "agree", says="closed")
    for day in (yesterday(), date(1970, 1, 1), today + timedelta(days=32)):
        late = replace(proposal(A, "opening", A, B, "10"), value_date=day)
        refused(world, InvalidError, propose, late, says="value_date")
    for near in (today, today + timedelta(days=31), None):
        agreed(world, replace(proposal(A, "opening", A, B, "10"), value_date=near))
    assert balances(world) == {A: -40 * HOUR, B: 40 * HOUR}
    assert_sound(world)


def test_two_hubs_at_once_never_settle_more_than_is_owed(postgresql_engine: Engine) -> None:
    open_world(postgresql_engine)
    owe(postgresql_engine, A, B, "80")
    calls = [proposal(A, "settlement", A, B, "30") for _ in range(6)]
    for call in calls:
        propose(postgresql_engine, call)
    together = Barrier(len(calls))

    def agree(one: int) -> str:
        together.wait()
        try:
            return str(move(postgresql_engine, calls[one].id, B, "agree").state)
        except ConflictError:
            return "conflict"

    with ThreadPoolExecutor(len(calls)) as pool:
        ended = sorted(pool.map(agree, range(len(calls))))
    assert ended == ["conflict"] * 4 + ["posted"] * 2
    assert positions(postgresql_engine) == {(B, A): 20 * HOUR}
    assert_sound(postgresql_engine)


def test_a_note_is_erased_and_the_chain_still_checks(embedded: Engine) -> None:
    owe(embedded, A, B, "80")
    call = replace(proposal(A, "settlement", A, B, "10"), note="Paid in cash at the market")
    agreed(embedded, call)
    with transaction(embedded) as session:
        adjustment, pair = read(session, call.id, None)
        digest = content_digest(adjustment, pair)
        for _ in range(2):
            adjustments.erase_note(session, call.id)
        assert content_digest(adjustment, pair) == digest
    with reading(embedded) as session:
        adjustment, pair = read(session, call.id, None)
        assert (adjustment.note, adjustment.key) == (None, None)
        assert content_digest(adjustment, pair) == digest
    assert propose(embedded, call).note == ""
    refused(embedded, ConflictError, propose, replace(call, amount="11"))
    assert_sound(embedded)


def test_an_adjustment_names_two_accounts_of_one_union(embedded: Engine) -> None:
    with transaction(embedded) as session:
        union_account(session, "main", AccountKind.LEVY)
    for debtor, creditor, kind, field in (
        (A, A, "settlement", "creditor"),
        (A, "nobody", "settlement", "union"),
        (A, f"residue/{B}", "settlement", "union"),
        (A, "levy", "opening", "kind"),
        (A, "levy", "assignment", "kind"),
    ):
        call = proposal(A, kind, debtor, creditor, "1")
        refused(embedded, InvalidError, propose, call, says=field)
    call = proposal(A, "opening", A, B, "1")
    for other in (
        replace(call, union="nowhere"),
        replace(call, amount="0"),
        replace(call, amount="-1"),
        replace(call, amount="1e2"),
        replace(call, note="x" * 501),
    ):
        refused(embedded, InvalidError, propose, other)
