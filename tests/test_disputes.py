"""Disputes: what two groups disagree about stays out of rounds, and holds up nobody's payments."""

from dataclasses import replace

import pytest
from clearing_world import HOUR, assert_sound, balances, open_world, pay
from journal_world import A, B, C, dispute, everything, mark, owe, positions, proposal, told
from sqlalchemy import Engine

from clearing import adjustments, disputes, rounds
from clearing.disputes import DisputeState
from clearing.rounds import RoundState
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError


@pytest.fixture
def world(engine: Engine) -> Engine:
    """A owes B 80, B owes C 90, C owes A 70: a round sets off 70 of each."""
    for open_it in (open_world, _owing):
        open_it(engine)
    return engine


@pytest.fixture
def embedded(sqlite_engine: Engine) -> Engine:
    """The same on SQLite alone, where the database does not matter."""
    open_world(sqlite_engine)
    _owing(sqlite_engine)
    return sqlite_engine


def _owing(engine: Engine) -> None:
    for debtor, creditor, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        owe(engine, debtor, creditor, hours)


def settle(engine: Engine) -> int:
    """Run a round; return how much of each debt it set off, of all three together."""
    with transaction(engine) as session:
        round_id = rounds.propose(session).id
    with transaction(engine) as session:
        return rounds.commit(session, round_id).cleared


def test_a_round_leaves_alone_what_is_disputed_until_it_is_lifted(world: Engine) -> None:
    first = mark(world, dispute(A, A, B, "30"))
    mark(world, dispute(B, A, B, "10"))
    assert settle(world) == 3 * 40 * HOUR
    assert positions(world) == {(B, A): 40 * HOUR, (C, B): 50 * HOUR, (A, C): 30 * HOUR}
    assert settle(world) == 0
    with transaction(world) as session:
        assert disputes.lift(session, first.id, A).state == "lifted"
    assert settle(world) == 3 * 30 * HOUR
    assert positions(world) == {(B, A): 10 * HOUR, (C, B): 20 * HOUR}
    assert_sound(world)


def test_payments_go_on_and_the_obligation_may_fall_below_what_is_disputed(
    embedded: Engine,
) -> None:
    mark(embedded, dispute(A, A, B, "80"))
    pay(embedded, A, B, "5")
    pay(embedded, B, A, "65")
    assert positions(embedded)[B, A] == 20 * HOUR
    assert settle(embedded) == 0
    with reading(embedded) as session, pytest.raises(ConflictError, match=r"below|0\.0000"):
        adjustments.propose(session, proposal(A, "settlement", A, B, "1"))
    assert_sound(embedded)


def test_no_more_is_disputed_than_is_owed_and_free(embedded: Engine) -> None:
    mark(embedded, dispute(A, A, B, "60"))
    before = everything(embedded)
    for call in (dispute(B, A, B, "20.0001"), dispute(A, B, A, "0.0001"), dispute(A, A, C, "1")):
        with pytest.raises(ConflictError, match="clearing units are owed"):
            mark(embedded, call)
    for call, error in (
        (dispute(C, A, B, "1"), ForbiddenError),
        (dispute(A, A, "nobody", "1"), InvalidError),
        (dispute(A, A, B, "-1"), InvalidError),
        (dispute(A, A, B, "0"), InvalidError),
    ):
        with pytest.raises(error):
            mark(embedded, call)
    assert everything(embedded) == before
    with transaction(embedded) as session:
        assert rounds.propose(session).state is RoundState.PROPOSED
    with pytest.raises(ConflictError, match=r"0\.0000"):  # the round has the 20 that were free
        mark(embedded, dispute(B, A, B, "0.0001"))
    assert mark(embedded, dispute(B, B, C, "70")).amount == "70.0000"
    assert_sound(embedded)


def test_only_who_marked_it_lifts_it_or_the_operator(embedded: Engine) -> None:
    marked = mark(embedded, dispute(A, A, B, "30"))
    before = everything(embedded)
    for caller, error in ((B, ForbiddenError), (C, NotFoundError)):
        with transaction(embedded) as session, pytest.raises(error):
            disputes.lift(session, marked.id, caller)
    assert everything(embedded) == before
    for _ in range(2):
        with transaction(embedded) as session:
            assert disputes.lift(session, marked.id, None).state == "lifted"
    for hub in (A, B):
        states = [one["state"] for one in told(embedded, hub, "dispute-changed")]
        assert states == ["standing", "lifted"]
    assert told(embedded, C, "dispute-changed") == []
    with reading(embedded) as session:
        assert [deed.action for deed in session.query(Deed)] == ["dispute-lifted"]
        assert [one.id for one in disputes.search(session, B)] == [marked.id]
        assert disputes.search(session, B, DisputeState.STANDING) == []
        assert disputes.search(session, C) == []
        with pytest.raises(NotFoundError):
            disputes.find(session, marked.id, C)


def test_the_same_dispute_again_is_answered_and_another_body_is_a_conflict(
    embedded: Engine,
) -> None:
    call = dispute(A, A, B, "30")
    first = mark(embedded, call)
    before = everything(embedded)
    assert mark(embedded, call) == first
    for other in (
        replace(call, amount="31"),
        replace(call, reason="Other"),
        replace(call, caller=B),
        replace(call, debtor=B, creditor=C, caller=B),
    ):
        with pytest.raises(ConflictError, match="another body"):
            mark(embedded, other)
    assert everything(embedded) == before
    with transaction(embedded) as session:
        disputes.lift(session, call.id, A)
        disputes.erase_reason(session, call.id)
    again = mark(embedded, call)
    assert (again.state, again.reason) == ("lifted", "")
    with pytest.raises(ConflictError, match="another body"):
        mark(embedded, replace(call, amount="31"))
    assert positions(embedded)[B, A] == 80 * HOUR
    assert balances(embedded) == {A: -10 * HOUR, B: -10 * HOUR, C: 20 * HOUR}
