"""A transfer needs its id for its journal: what has the id already is told, and nothing breaks."""

import uuid
from collections.abc import Callable
from fractions import Fraction

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
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
    push,
    state,
)
from journal_world import proposal, propose
from sqlalchemy import Engine, update

from clearing import rounds
from clearing.calls import Create, Outcome, handle, release_queued
from clearing.ledger import Journal
from clearing.transfers import Transfer, TransferState, levy_journal
from commons.database import transaction
from commons.errors import ConflictError
from commons.groups import Hub, HubState

TAKEN = "is taken by something else"


@pytest.fixture
def world(engine: Engine) -> Engine:
    open_world(engine)
    return engine


@pytest.fixture
def embedded(sqlite_engine: Engine) -> Engine:
    open_world(sqlite_engine)
    return sqlite_engine


def under(one: uuid.UUID, create: Create) -> Create:
    return Create(one, create.caller, create.payer, create.payee, create.amount, create.unit)


def refused(engine: Engine, one: Callable[[], Outcome], saying: str) -> None:
    """See a call refused by what it leaves: nothing."""
    before = ledger(engine)
    error = one().error
    assert isinstance(error, ConflictError), error
    assert saying in error.detail
    assert ledger(engine) == before


def test_a_transfer_under_the_id_of_an_adjustment_or_a_round_is_a_conflict(world: Engine) -> None:
    for payer, payee in (("barcelona", "leeds"), ("leeds", "ghent"), ("ghent", "barcelona")):
        pay(world, payer, payee, "1")
    adjustment = proposal("ghent", "settlement", "ghent", "barcelona", "0.5")
    propose(world, adjustment)
    with transaction(world) as session:
        round_id = rounds.propose(session).id
    accepting(world, "leeds", 10**9)
    for taken in (adjustment.id, round_id):
        create = under(taken, push("barcelona", "leeds", "1"))
        refused(world, lambda create=create: call(world, create), TAKEN)  # type: ignore[misc] # its own
    assert_sound(world)


def test_a_transfer_whose_levy_would_have_the_id_of_another_is_a_conflict(world: Engine) -> None:
    levied(world, Fraction(1, 100))
    pending = made(world, push("barcelona", "leeds", "1"))
    unmade = push("barcelona", "leeds", "2")
    for one in (pending, unmade):
        made(world, under(levy_journal(one.id), push("ghent", "leeds", "1")))
    refused(world, lambda: call(world, accept(pending)), TAKEN)
    refused(world, lambda: call(world, unmade), TAKEN)
    with transaction(world) as session:
        beside = handle(session, [accept(pending), push("leeds", "ghent", "1")])
    assert [one.error is None for one in beside] == [False, True]
    assert counted(world, Journal) == 0
    assert_sound(world)


def suspend(engine: Engine, group_id: str) -> None:
    with transaction(engine) as session:
        one = update(Hub).where(Hub.group_id == group_id)
        session.execute(one.values(state=HubState.SUSPENDED))


def test_nothing_that_is_open_is_posted_with_a_suspended_hub(embedded: Engine) -> None:
    pending = made(embedded, push("barcelona", "leeds", "1"))
    accepting(embedded, "leeds", 10**9)
    limit(embedded, "ghent", credit="0")
    queued = push("ghent", "leeds", "1", wait=True)
    call(embedded, queued)
    assert state(embedded, queued) is TransferState.QUEUED
    limit(embedded, "ghent")
    for group in ("barcelona", "ghent"):
        suspend(embedded, group)
    refused(embedded, lambda: call(embedded, accept(pending)), "is not admitted")
    with transaction(embedded) as session:
        assert release_queued(session, [queued.id]) == 0
        assert release_queued(session) == 0
    assert (state(embedded, queued), balances(embedded)) == (TransferState.QUEUED, {})
    with transaction(embedded) as session:
        session.execute(update(Hub).values(state=HubState.ADMITTED))
    assert call(embedded, accept(pending)).error is None
    with transaction(embedded) as session:
        assert release_queued(session) == 1
    assert balances(embedded) == {"barcelona": -HOUR, "ghent": -HOUR, "leeds": 2 * HOUR}
    assert counted(embedded, Transfer) == 2
    assert_sound(embedded)
