"""Two who do the same at once: the second waits, and is answered; nobody is told of a fault.

Staged on PostgreSQL: both are under way before either is committed.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from fractions import Fraction
from typing import TypeVar

import pytest
from clearing_world import HOUR, assert_sound, open_world, pay
from paying_world import World, open_doors
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from clearing import acceptance, periods, rate_proposals, webhooks
from clearing.accounts import Account, open_account
from clearing.accounts.opening import make_union
from clearing.calls import Outcome, Reverse, handle
from clearing.ledger import Book
from clearing.rate_proposals import RateProposal, RateSide, Wish
from commons import database
from commons.database import reading, transaction
from commons.errors import ConflictError
from commons.settings import Settings

SECONDS = 30
T = TypeVar("T")


@pytest.fixture
def ledger(postgresql_engine: Engine) -> Engine:
    open_world(postgresql_engine)
    return postgresql_engine


@pytest.fixture
def world(settings: Settings, postgresql_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, postgresql_engine)


def wait_for(engine: Engine, count: int) -> None:
    """Wait until so many transactions wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.scalar(waiting) == count:
                return
        os.sched_yield()
    raise AssertionError(f"there are never {count} who wait for a lock")


def second_of(engine: Engine, first: Callable[[Session], T], second: Callable[[Session], T]) -> T:
    """Have the second wait for what the first has done and not yet committed; return its result."""

    def late() -> T:
        with transaction(engine) as session:
            return second(session)

    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            first(session)
            waiting = pool.submit(late)
            wait_for(engine, 1)
        return waiting.result(SECONDS)


@contextmanager
def audit_log_held(engine: Engine) -> Iterator[None]:
    """Keep whoever changes something from its commit: the log comes last."""
    with transaction(engine) as session:
        database.draw(session, "audit_log")
        yield
        session.rollback()


@pytest.mark.parametrize("named", ["accepts", "webhook"])
def test_two_calls_that_set_a_hubs_policy_at_once_are_both_answered(
    world: World, named: str
) -> None:
    rules = [[{"initiator": "payer", "up_to": amount}] for amount in ("1.00", "2.00")]
    addresses = [f"{world.leeds.base}/{name}" for name in ("one", "two")]
    bodies = [{named: said} for said in (rules if named == "accepts" else addresses)]

    def patch(body: object) -> int:
        return world.service.call(world.leeds, "PATCH", "/hubs/leeds", body).status_code

    with ThreadPoolExecutor(2) as pool:
        with audit_log_held(world.engine):
            waiting = [pool.submit(patch, body) for body in bodies]
            wait_for(world.engine, 2)
        assert [one.result(SECONDS) for one in waiting] == [200, 200]
    with reading(world.engine) as session:
        if named == "accepts":
            assert [rule.up_to for rule in acceptance.rules_of(session, "leeds")] in ([100], [200])
        else:
            status = webhooks.status(session, "leeds")
            assert status is not None
            assert status.url in addresses


def test_an_account_that_is_opened_twice_at_once_is_one(ledger: Engine) -> None:
    with transaction(ledger) as session:
        make_union(session, "north")

    def opening(session: Session) -> int:
        return open_account(session, "leeds", "north", 5 * HOUR, 5 * HOUR).id

    second = second_of(ledger, opening, opening)
    with reading(ledger) as session:
        found = session.scalars(select(Account).filter_by(union_id="north").order_by(Account.id))
        accounts = [(one.id, one.name, one.credit_limit) for one in found]
    assert [name for _, name, _ in accounts] == ["leeds", "residue/leeds"]
    assert accounts[0] == (second, "leeds", 5 * HOUR)
    assert_sound(ledger)


def test_of_two_groups_that_propose_a_rate_under_one_id_the_second_is_a_conflict(
    ledger: Engine,
) -> None:
    same = uuid.uuid4()

    def proposing(group_id: str) -> Callable[[Session], object]:
        wish = Wish(same, group_id, RateSide.HUB, f"hub:{group_id}", Fraction(1, 3))
        return lambda session: rate_proposals.propose(session, wish)

    with pytest.raises(ConflictError, match="exists with another body"):
        second_of(ledger, proposing("leeds"), proposing("ghent"))
    with reading(ledger) as session:
        assert [one.group_id for one in session.scalars(select(RateProposal))] == ["leeds"]


def test_of_two_hubs_that_ask_for_a_payment_back_at_once_the_second_is_told_of_the_first(
    ledger: Engine,
) -> None:
    payment = pay(ledger, "leeds", "ghent", "10")
    calls = [Reverse(uuid.uuid4(), caller, payment.id) for caller in ("leeds", "ghent")]

    def asking(call: Reverse) -> Callable[[Session], Outcome]:
        return lambda session: handle(session, [call])[0]

    error = second_of(ledger, asking(calls[0]), asking(calls[1])).error
    assert isinstance(error, ConflictError)
    assert error.extra["transfer"] == str(calls[0].id)
    assert_sound(ledger)


def _named(book: Book) -> set[str]:
    assert {one for pair in book.positions for one in pair} <= book.accounts.keys()
    return {one.name for one in book.accounts.values()}


def _closed(session: Session) -> set[str]:
    day = database.now(session).date() - timedelta(days=1)
    return {back.group.name for back in periods.close(session, "north", day, "operator")}


@pytest.mark.parametrize(
    "locked", [lambda session: _named(Book.lock_union(session, "north")), _closed]
)
def test_an_account_opened_while_a_union_is_locked_is_not_in_its_book(
    ledger: Engine, locked: Callable[[Session], set[str]]
) -> None:
    with transaction(ledger) as session:
        make_union(session, "north")
        for group_id in ("leeds", "ghent"):
            open_account(session, group_id, "north")

    def opening(session: Session) -> set[str]:
        Book.lock_union(session, "north")
        open_account(session, "barcelona", "north")
        return set()

    assert second_of(ledger, opening, locked) & {"leeds", "ghent", "barcelona"} == {
        "leeds",
        "ghent",
    }
    assert_sound(ledger)
