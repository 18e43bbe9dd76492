"""Rounds: proposed, then committed whole or abandoned; no balance moves, no debt grows."""

import threading
import uuid

import pytest
from clearing_world import (
    HOUR,
    account,
    assert_sound,
    balances,
    call,
    counted,
    limit,
    open_world,
    pay,
    position,
    push,
)
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from clearing import rounds
from clearing.accounts import set_pair_limit
from clearing.ledger import ChainRow, Journal
from clearing.netting import Obligation
from clearing.rounds import Part, Round, RoundState, SetOff
from commons.database import reading, transaction
from commons.errors import ConflictError, NotFoundError, RefusedError

A, B, C = "barcelona", "leeds", "ghent"
LEFT = [Obligation(A, B, 10 * HOUR), Obligation(B, C, 20 * HOUR)]


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    """The documented circle: A owes B 80, B owes C 90, C owes A 70."""
    open_world(engine)
    for payer, payee, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        pay(engine, payer, payee, hours)


def owed(engine: Engine, group_id: str | None = None) -> list[Obligation]:
    with reading(engine) as session:
        return rounds.obligations(session, group_id)


def propose(engine: Engine) -> uuid.UUID:
    with transaction(engine) as session:
        return rounds.propose(session).id


def commit(engine: Engine, round_id: uuid.UUID) -> Round:
    with transaction(engine) as session:
        done = rounds.commit(session, round_id)
        session.flush()
        session.expunge(done)
        return done


def abandon(engine: Engine, round_id: uuid.UUID) -> None:
    with transaction(engine) as session:
        rounds.abandon(session, round_id)


def test_of_80_90_and_70_each_70_are_set_off_and_10_and_20_are_left(engine: Engine) -> None:
    before = balances(engine)
    assert before == {A: -10 * HOUR, B: -10 * HOUR, C: 20 * HOUR}
    versions = {name: account(engine, name).version for name in (A, B, C)}
    done = commit(engine, propose(engine))
    assert (done.state, done.obligations_total) == (RoundState.COMMITTED, 240 * HOUR)
    assert (done.net_internal_debt, done.cleared) == (20 * HOUR, 210 * HOUR)
    assert owed(engine) == LEFT
    assert balances(engine) == before
    assert {name: account(engine, name).version for name in (A, B, C)} == {
        name: version + 1 for name, version in versions.items()
    }
    assert_sound(engine)


def test_each_group_sees_its_own_part(engine: Engine) -> None:
    round_id = propose(engine)
    with reading(engine) as session:
        everything = rounds.parts(session, round_id)
        own = rounds.parts(session, round_id, A)
        assert rounds.latest(session)[0].id == round_id
    seventy = 70 * HOUR
    assert everything == [
        Part(A, B, 80 * HOUR, 0, 0, 80 * HOUR, seventy, 0, 0),
        Part(C, A, seventy, 0, 0, seventy, seventy, 0, 0),
        Part(B, C, 90 * HOUR, 0, 0, 90 * HOUR, seventy, 0, 0),
    ]
    assert {(part.debtor, part.creditor) for part in own} == {(A, B), (C, A)}
    assert [(o.debtor, o.creditor) for o in owed(engine, A)] == [(A, B), (C, A)]


def test_a_proposal_changes_nothing_but_what_it_reserves(engine: Engine) -> None:
    before = owed(engine)
    round_id = propose(engine)
    assert owed(engine) == before
    assert counted(engine, Journal) == 3
    assert position(engine, B, A).given == 70 * HOUR
    assert position(engine, A, B).given == 0
    assert_sound(engine)
    abandon(engine, round_id)
    assert owed(engine) == before
    assert position(engine, B, A).given == 0
    assert_sound(engine)


def test_a_look_ahead_tells_what_a_round_would_do_and_keeps_nothing(engine: Engine) -> None:
    with reading(engine) as session:
        plan = rounds.preview(session)
    left = [Obligation(p.debtor, p.creditor, p.remaining) for p in plan.rows() if p.remaining]
    assert (plan.cleared, left) == (210 * HOUR, LEFT)
    with reading(engine) as session:
        assert rounds.latest(session) == []
    assert position(engine, B, A).given == 0


def test_a_round_ends_once(engine: Engine) -> None:
    first, second = propose(engine), None
    with pytest.raises(ConflictError, match="still proposed"):
        propose(engine)
    abandon(engine, first)
    for end in (commit, abandon):
        with pytest.raises(ConflictError, match="not proposed any more"):
            end(engine, first)
    second = propose(engine)
    commit(engine, second)
    for end in (commit, abandon):
        with pytest.raises(ConflictError, match="not proposed any more"):
            end(engine, second)
    with pytest.raises(NotFoundError):
        commit(engine, uuid.uuid4())
    assert owed(engine) == LEFT
    assert_sound(engine)


def test_payments_between_proposal_and_commit_stand_beside_the_round(engine: Engine) -> None:
    round_id = propose(engine)
    pay(engine, B, A, "30")  # takes from what A owes B, of which 70 are reserved
    pay(engine, A, C, "5")
    assert balances(engine) == {A: 15 * HOUR, B: -40 * HOUR, C: 25 * HOUR}
    commit(engine, round_id)
    # 80 - 30 - 70: what A's debt lacks, B owes it now; that is the payment's own effect.
    assert owed(engine) == [
        Obligation(A, C, 5 * HOUR), Obligation(B, A, 20 * HOUR), Obligation(B, C, 20 * HOUR)
    ]  # fmt: skip
    assert balances(engine) == {A: 15 * HOUR, B: -40 * HOUR, C: 25 * HOUR}
    assert_sound(engine)


def test_what_a_round_reserves_counts_against_the_pair_limit(engine: Engine) -> None:
    with transaction(engine) as session:
        set_pair_limit(session, B, A, 75 * HOUR)
    round_id = propose(engine)
    outcome = call(engine, push(B, A, "6"))
    assert isinstance(outcome.error, RefusedError)
    assert outcome.error.extra["available"] == "5.0000"
    pay(engine, B, A, "5")
    commit(engine, round_id)
    pay(engine, B, A, "6")
    assert_sound(engine)


def test_a_round_stays_below_the_opposite_pair_limit(engine: Engine) -> None:
    with transaction(engine) as session:
        set_pair_limit(session, B, A, 40 * HOUR)
    assert commit(engine, propose(engine)).cleared == 120 * HOUR
    assert owed(engine) == [
        Obligation(A, B, 40 * HOUR), Obligation(C, A, 30 * HOUR), Obligation(B, C, 50 * HOUR)
    ]  # fmt: skip
    assert_sound(engine)


def test_account_limits_do_not_hinder_a_round(engine: Engine) -> None:
    for name in (A, B, C):
        limit(engine, name, credit="0", surplus="0")
    assert commit(engine, propose(engine)).cleared == 210 * HOUR
    assert_sound(engine)


def test_a_second_round_finds_nothing_left(engine: Engine) -> None:
    commit(engine, propose(engine))
    versions = [account(engine, name).version for name in (A, B, C)]
    done = commit(engine, propose(engine))
    assert (done.cleared, done.obligations_total) == (0, 30 * HOUR)
    assert [account(engine, name).version for name in (A, B, C)] == versions
    assert owed(engine) == LEFT
    assert_sound(engine)


class PowerCutError(Exception):
    """What interrupts a transaction here."""


def cut(session: Session, step: str, round_id: uuid.UUID | None) -> None:
    """Do a step of a round and fail before its commit."""
    if step == "propose":
        rounds.propose(session)
    elif round_id is not None:
        {"commit": rounds.commit, "abandon": rounds.abandon}[step](session, round_id)
    raise PowerCutError


@pytest.mark.parametrize("step", ["propose", "commit", "abandon"])
def test_a_step_cut_off_before_its_commit_leaves_nothing(engine: Engine, step: str) -> None:
    round_id = None if step == "propose" else propose(engine)

    def run() -> None:
        with transaction(engine) as session:
            cut(session, step, round_id)

    before = snapshot(engine)
    with pytest.raises(PowerCutError):
        run()
    assert snapshot(engine) == before
    assert_sound(engine)
    commit(engine, round_id or propose(engine))
    assert owed(engine) == LEFT
    assert_sound(engine)


def snapshot(engine: Engine) -> object:
    """Everything a round can change."""
    with reading(engine) as session:
        counts = [
            session.scalar(select(func.count()).select_from(table))
            for table in (Journal, ChainRow, Round, SetOff)
        ]
        states = session.execute(select(Round.id, Round.state)).all()
    heads = [account(engine, name).head for name in (A, B, C)]
    given = [position(engine, *pair).given for pair in ((B, A), (C, B), (A, C))]
    return counts, [tuple(row) for row in states], heads, given, owed(engine)


def test_of_many_proposals_and_commits_at_once_one_goes_through(engine: Engine) -> None:
    ready = threading.Barrier(6)
    done: list[str] = []

    def run(number: int) -> None:
        ready.wait()
        try:
            if number % 2:
                commit(engine, propose(engine))
                done.append("round")
            else:
                pay(engine, A, B, "1")
        except ConflictError:
            done.append("conflict")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    assert "round" in done
    assert Obligation(A, B, 13 * HOUR) in owed(engine)
    assert balances(engine) == {A: -13 * HOUR, B: -7 * HOUR, C: 20 * HOUR}
    assert_sound(engine)
