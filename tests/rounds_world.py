"""The documented circle with pair and account limits, and the short ways through a round of it."""

import uuid
from datetime import timedelta

from clearing_world import HOUR, call, limit, open_world, pay, push, state
from sqlalchemy import Engine, func, select, update
from statement_world import SEAL

from clearing import rounds
from clearing.accounts import Position, set_pair_limit
from clearing.calls import Create, Move, Verb
from clearing.netting import Obligation
from clearing.rounds import Round
from clearing.transfers import TransferState
from commons import database
from commons.database import reading, transaction

A, B, C = "barcelona", "leeds", "ghent"
CIRCLE = ((A, B), (B, C), (C, A))
NO_NOTICE = timedelta(0)
TWO_DAYS = timedelta(days=2)


def open_circle(engine: Engine) -> None:
    """A owes B 80, B owes C 90, C owes A 70; pair limits of 100 each way, accounts' of 50."""
    open_world(engine)
    for (payer, payee), hours in zip(CIRCLE, ("80", "90", "70"), strict=True):
        pay(engine, payer, payee, hours)
    for one, other in CIRCLE:
        pair_limit(engine, one, other, 100)
        pair_limit(engine, other, one, 100)
    for name in (A, B, C):
        limit(engine, name, credit="50", surplus="50")


def pair_limit(engine: Engine, debtor: str, creditor: str, hours: int | None) -> None:
    """Set how much a group may owe another."""
    with transaction(engine) as session:
        set_pair_limit(session, debtor, creditor, None if hours is None else hours * HOUR)


def queued(engine: Engine, payer: str, payee: str, hours: str) -> Create:
    """Have a payment agreed that waits for room."""
    create = push(payer, payee, hours, wait=True)
    assert call(engine, create).error is None
    assert call(engine, Move(create.id, payee, Verb.ACCEPT)).error is None
    assert state(engine, create) is TransferState.QUEUED
    return create


def three_queued(engine: Engine) -> list[Create]:
    """The payments of the documented example, each of which breaks its pair limit."""
    hours = ("60", "50", "40")
    return [queued(engine, *pair, h) for pair, h in zip(CIRCLE, hours, strict=True)]


def states(engine: Engine, creates: list[Create]) -> list[str]:
    """Where payments stand."""
    return [str(state(engine, create)) for create in creates]


def owed(engine: Engine) -> list[Obligation]:
    """What is owed now."""
    with reading(engine) as session:
        return rounds.obligations(session)


def propose(engine: Engine, notice: timedelta = NO_NOTICE) -> uuid.UUID:
    """Propose a round."""
    with transaction(engine) as session:
        return rounds.propose(session, notice=notice).id


def commit(engine: Engine, round_id: uuid.UUID) -> Round:
    """Commit a round, and return it as it is then."""
    with transaction(engine) as session:
        done = rounds.commit(session, round_id, SEAL)
        session.flush()
        session.expunge(done)
        return done


def settle(engine: Engine, union_id: str = "main") -> Round:
    """Propose and commit in one, and return the round."""
    with transaction(engine) as session:
        done = rounds.settle(session, union_id, SEAL)
        session.flush()
        session.expunge(done)
        return done


def opt_out(engine: Engine, round_id: uuid.UUID, group_id: str) -> None:
    """Have a group opt out."""
    with transaction(engine) as session:
        rounds.opt_out(session, round_id, group_id)


def let_notice_pass(engine: Engine, round_id: uuid.UUID) -> None:
    """Have a round's notice be over, as if time had passed."""
    with transaction(engine) as session:
        moment = database.now(session) - timedelta(seconds=1)
        session.execute(update(Round).where(Round.id == round_id).values(commit_at=moment))


def given(engine: Engine) -> int:
    """All that is reserved by rounds."""
    with reading(engine) as session:
        return session.scalar(select(func.sum(Position.given))) or 0


def cleared(engine: Engine, round_id: uuid.UUID) -> dict[tuple[str, str], int]:
    """What a round sets off of each obligation, in whole hours."""
    with reading(engine) as session:
        return {
            (part.debtor, part.creditor): part.amount // HOUR
            for part in rounds.parts(session, round_id)
        }
