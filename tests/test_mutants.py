"""The posting code with one defect at a time: each is caught by a check that else passes."""

import inspect
import queue
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    balances,
    call,
    limit,
    made,
    open_world,
    pay,
    push,
    set_expiry,
    state,
)
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from clearing import held, ledger, limits
from clearing.calls import Move, Reverse, Verb, handle, making, moving, posting, reversing
from clearing.calls import _created as created
from clearing.calls.desk import Desk
from clearing.ledger import Book
from clearing.transfers import TransferState, Unit
from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, RefusedError

SECONDS_MOST = 20
Check = Callable[[Engine], None]


@dataclass(frozen=True)
class Mutant:
    """A defect: in a function's source `right` reads `wrong`; `check` has to find it."""

    name: str
    function: Any
    right: str
    wrong: str
    check: Check


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Put the defect where everybody calls the function, and take it out again."""
    function = inspect.unwrap(mutant.function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mutant.right) == 1, f"{mutant.name}: the code reads otherwise now"
    changed = source[source.index("def ") :].replace(mutant.right, mutant.wrong)
    made: dict[str, FunctionType] = {}
    code = compile("from __future__ import annotations\n" + changed, mutant.name, "exec")
    exec(code, function.__globals__, made)  # noqa: S102 (our own source, with a defect)
    before = function.__code__
    function.__code__ = made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = before
        making._converted.cache_clear()  # noqa: SLF001 (it remembers what the defect came to)


def pays_and_is_sound(engine: Engine) -> None:
    """Payments there and back, one rounded, one that waits and one that is taken back."""
    pay(engine, "barcelona", "leeds", "3")
    back = pay(engine, "leeds", "ghent", "2")
    rounded = made(engine, push("barcelona", "ghent", "101.23", Unit.PAYER))
    call(engine, accept(rounded))
    made(engine, push("ghent", "barcelona", "1"))
    ended = made(engine, push("ghent", "leeds", "1"))
    call(engine, Move(ended.id, "leeds", Verb.REJECT, "no"))
    call(engine, Reverse(uuid.uuid4(), None, back.id))
    assert_sound(engine)
    assert sum(balances(engine).values()) == 0
    assert balances(engine).get("residue/ghent") == 1_230


def repeats_are_one_transfer(engine: Engine) -> None:
    one = pay(engine, "barcelona", "leeds", "3")
    again = call(engine, one)
    assert (again.error, again.created) == (None, False)
    assert balances(engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}


def another_body_is_a_conflict(engine: Engine) -> None:
    one = made(engine, push("barcelona", "leeds", "3"))
    assert isinstance(call(engine, replace(one, amount="4")).error, ConflictError)


def no_more_is_taken_back_than_was_paid(engine: Engine) -> None:
    one = pay(engine, "barcelona", "leeds", "3")
    assert call(engine, Reverse(uuid.uuid4(), None, one.id, "2")).error is None
    assert isinstance(call(engine, Reverse(uuid.uuid4(), None, one.id, "2")).error, ConflictError)
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}


def a_limit_is_kept(engine: Engine) -> None:
    limit(engine, "barcelona", credit="10")
    made(engine, push("barcelona", "leeds", "6"))
    refused = call(engine, push("barcelona", "ghent", "5")).error
    assert isinstance(refused, RefusedError)
    pay(engine, "barcelona", "ghent", "4")
    assert isinstance(call(engine, push("barcelona", "ghent", "0.5")).error, RefusedError)


def amounts_are_exact(engine: Engine) -> None:
    for amount in ("4.35", "9007199254.93", "0.29"):
        one = call(engine, push("leeds", "barcelona", amount, Unit.PAYER)).transfer
        assert one is not None
        assert (one.payer_amount, one.payee_clearing) == (amount, f"{amount}00")


def parts_taken_back_add_up(engine: Engine) -> None:
    one = made(engine, push("barcelona", "ghent", "1000.01", Unit.PAYER))
    call(engine, accept(one))
    assert balances(engine)["residue/ghent"]
    for amount in ("66", "67", "67"):
        assert call(engine, Reverse(uuid.uuid4(), None, one.id, amount)).error is None
    assert balances(engine) == {}
    assert_sound(engine)


def late_answers_expire(engine: Engine) -> None:
    one = made(engine, push("barcelona", "leeds", "1"))
    set_expiry(engine, one, datetime.now(UTC) - timedelta(minutes=1))
    call(engine, accept(one))
    assert state(engine, one) is TransferState.EXPIRED


def only_the_other_accepts(engine: Engine) -> None:
    one = made(engine, push("barcelona", "leeds", "1"))
    outcome = call(engine, Move(one.id, "barcelona", Verb.ACCEPT))
    assert isinstance(outcome.error, ForbiddenError)
    assert state(engine, one) is TransferState.PENDING


def locks_are_taken_in_the_order_of_ids(engine: Engine) -> None:
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:  # noqa: ANN401 (SQLAlchemy's)
        asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    pay(engine, "leeds", "barcelona", "1")
    locks = [one for one in asked if "FROM accounts" in one and "FOR UPDATE" in one]
    assert locks
    assert all("ORDER BY accounts.id FOR UPDATE" in " ".join(one.split()) for one in locks)


def of_two_at_once_one_has_the_room(engine: Engine) -> None:
    """Have a second payment come while the first is not committed: it has to see the first."""
    pay(engine, "barcelona", "leeds", "1")
    limit(engine, "barcelona", credit="11")
    first, second = push("barcelona", "leeds", "6"), push("barcelona", "leeds", "6")
    pids: queue.SimpleQueue[int] = queue.SimpleQueue()

    def pay_second() -> None:
        with transaction(engine) as session:
            pids.put(session.scalars(text("SELECT pg_backend_pid()")).one())
            handle(session, [second])

    with ThreadPoolExecutor(1) as other:
        with transaction(engine) as session:
            handle(session, [first])
            waiting = other.submit(pay_second)
            pid = pids.get(timeout=SECONDS_MOST)
            while not (is_held_up(engine, pid) or waiting.done()):
                threading.Event().wait(0.01)
        waiting.result(SECONDS_MOST)
    ends = {state(engine, first), state(engine, second)}
    assert ends == {TransferState.PENDING, TransferState.REFUSED}
    assert_sound(engine)


def is_held_up(engine: Engine, pid: int) -> bool:
    """Whether a connection waits for a lock of another."""
    with reading(engine) as session:
        return bool(
            session.scalar(text("SELECT cardinality(pg_blocking_pids(:pid))"), {"pid": pid})
        )


ON_SQLITE = [
    Mutant(
        "no id check",
        created,
        "desk.transfers.get(call.id) or desk.others.get(call.id)",
        "None",
        repeats_are_one_transfer,
    ),
    Mutant(
        "another body is taken for the same",
        making.repeat,
        "if not is_same:",
        "if False:",
        another_body_is_a_conflict,
    ),
    Mutant(
        "hashes not chained",
        ledger._extend,  # noqa: SLF001
        "chain.next_hash(account.head, row)",
        "chain.next_hash(line.digest, row)",
        pays_and_is_sound,
    ),
    Mutant(
        "head outside the transaction",
        held.figures,
        "account.balance, account.pending_out, account.pending_in, account.version, account.head",
        "account.balance, account.pending_out, account.pending_in, account.version, '0' * 64",
        pays_and_is_sound,
    ),
    Mutant(
        "a version left out",
        ledger._extend,  # noqa: SLF001
        "account.version += 1",
        "account.version += 2",
        pays_and_is_sound,
    ),
    Mutant(
        "float amount",
        making._converted,  # noqa: SLF001
        "parse_amount(amount, said.scale)",
        "int(float(amount) * 10**said.scale)",
        amounts_are_exact,
    ),
    Mutant(
        "reservation not released",
        Desk.move,
        "self.reserve(one, -1)",
        "pass",
        pays_and_is_sound,
    ),
    Mutant(
        "nothing reserved",
        making.settle,
        "desk.reserve(one, +1)",
        "pass",
        a_limit_is_kept,
    ),
    Mutant(
        "limit compared with the wrong sign",
        limits.Use.passes,
        "self.used + self.change <= _stop(self.stop)",
        "self.used - self.change <= _stop(self.stop)",
        a_limit_is_kept,
    ),
    Mutant(
        "pending not counted",
        limits.AccountRoom.used_below,
        "self.pending_out - self.balance",
        "-self.balance",
        a_limit_is_kept,
    ),
    Mutant(
        "reversal recomputed for each part",
        reversing._draft,  # noqa: SLF001
        "amount * after // whole - amount * before // whole",
        "amount * part // whole",
        parts_taken_back_add_up,
    ),
    Mutant(
        "reversal not negated",
        posting._journal,  # noqa: SLF001
        "else -1",
        "else 1",
        parts_taken_back_add_up,
    ),
    Mutant(
        "more is taken back than is left",
        posting.post_transfer,
        "original.reversed_amount += one.payee_amount",
        "pass",
        no_more_is_taken_back_than_was_paid,
    ),
    Mutant(
        "residue kept by nobody",
        posting._journal,  # noqa: SLF001
        "if one.payer_clearing > one.payee_clearing:",
        "if False:",
        pays_and_is_sound,
    ),
    Mutant(
        "expiry not looked at",
        moving._move_now,  # noqa: SLF001
        "one.expires_at <= desk.moment",
        "False",
        late_answers_expire,
    ),
    Mutant(
        "who made it accepts it",
        moving._check_turn,  # noqa: SLF001
        "is_makers != (call.verb is Verb.CANCEL)",
        "False",
        only_the_other_accepts,
    ),
    Mutant(
        "one position of two written",
        Book._write_positions,  # noqa: SLF001
        "changed.append(position)",
        "changed[:] = [position]",
        pays_and_is_sound,
    ),
]
LOCKING = "_BY_ID.rows("
OTHERWISE = "bulk.Sought(lambda among: _ACCOUNT{}.where(among(ACCOUNTS.c.id))).rows("
ON_POSTGRESQL = [
    Mutant(
        "no lock",
        held.lock_accounts,
        LOCKING,
        OTHERWISE.format(".order_by(ACCOUNTS.c.id)"),
        of_two_at_once_one_has_the_room,
    ),
    Mutant(
        "unsorted lock",
        held.lock_accounts,
        LOCKING,
        OTHERWISE.format(".with_for_update()"),
        locks_are_taken_in_the_order_of_ids,
    ),
]


@pytest.mark.parametrize("mutant", ON_SQLITE, ids=lambda mutant: mutant.name)
def test_a_defect_in_posting_is_found(sqlite_engine: Engine, mutant: Mutant) -> None:
    open_world(sqlite_engine)
    with mutated(mutant), pytest.raises((AssertionError, IntegrityError, ValueError)):
        mutant.check(sqlite_engine)


@pytest.mark.parametrize("mutant", ON_POSTGRESQL, ids=lambda mutant: mutant.name)
def test_a_defect_in_locking_is_found(postgresql_engine: Engine, mutant: Mutant) -> None:
    open_world(postgresql_engine)
    with mutated(mutant), pytest.raises(AssertionError):
        mutant.check(postgresql_engine)


@pytest.mark.parametrize(
    "check", dict.fromkeys(one.check for one in ON_SQLITE), ids=lambda check: check.__name__
)
def test_without_a_defect_each_check_passes(sqlite_engine: Engine, check: Check) -> None:
    open_world(sqlite_engine)
    check(sqlite_engine)


@pytest.mark.parametrize(
    "check", [one.check for one in ON_POSTGRESQL], ids=lambda check: check.__name__
)
def test_without_a_defect_locking_passes(postgresql_engine: Engine, check: Check) -> None:
    open_world(postgresql_engine)
    check(postgresql_engine)
