"""Journals are posted whole, chained, and never changed, on both databases."""

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    account,
    assert_sound,
    balances,
    counted,
    open_world,
    pay,
    position,
)
from sqlalchemy import Engine, Row, Table, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from clearing import chain, rounds
from clearing.accounts import AccountStatus, account_of, open_account, positions_of, set_limits
from clearing.ledger import Book, ChainRow, Draft, Entry, Journal, JournalKind, Line, post
from commons import database
from commons.database import Base, reading, transaction, violated
from commons.errors import InvalidError, NotFoundError

APPEND_ONLY = [
    Base.metadata.tables[name]
    for name in ("journals", "entries", "chain_rows", "set_offs", "rates", "limit_changes")
]
DIGEST = "00" * 32


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


def draft_between(session: Session, amount: int, payer: str, payee: str) -> tuple[Book, Draft]:
    """A payment between two groups, and the book that holds their locks."""
    a, b = account_of(session, payer), account_of(session, payee)
    entries = [(a.id, b.id, -amount), (b.id, a.id, amount)]
    lines = [Line(a.id, payee, DIGEST), Line(b.id, payer, DIGEST)]
    draft = Draft(uuid.uuid4(), JournalKind.PAYMENT, entries, lines)
    return Book.lock(session, [(a.id, b.id)]), draft


def test_a_journal_moves_both_accounts_their_positions_and_their_chains(engine: Engine) -> None:
    with transaction(engine) as session:
        book, draft = draft_between(session, 3 * HOUR, "barcelona", "leeds")
        post(book, draft, datetime(2026, 3, 2, 12, tzinfo=UTC))
        book.write()
    assert balances(engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}
    assert position(engine, "leeds", "barcelona").amount == 3 * HOUR
    assert position(engine, "barcelona", "leeds").obligation == 3 * HOUR
    row = chain.Row(
        account="barcelona",
        version="1",
        journal=str(draft.id),
        kind="payment",
        counterparty="leeds",
        amount="-30000",
        balance="-30000",
        time="2026-03-02T12:00:00.000000Z",
        digest=DIGEST,
    )
    found = account(engine, "barcelona")
    assert found.version == 1
    assert found.head == chain.next_hash(chain.first_hash("main", "barcelona"), row)


def test_a_chain_has_no_gaps_and_ends_in_the_accounts_head(engine: Engine) -> None:
    for _ in range(3):
        pay(engine, "barcelona", "leeds", "1")
        pay(engine, "leeds", "barcelona", "2")
    found = account(engine, "leeds")
    with reading(engine) as session:
        query = select(ChainRow).where(ChainRow.account_id == found.id).order_by(ChainRow.version)
        rows = session.scalars(query).all()
    assert [row.version for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.balance for row in rows] == [h * HOUR for h in (1, -1, 0, -2, -1, -3)]
    assert (found.version, found.head) == (6, rows[-1].hash)
    assert_sound(engine)


def unbalanced(draft: Draft) -> Draft:
    return replace(draft, entries=[*draft.entries[:-1], (*draft.entries[-1][:2], 7)])


def balanced_over_all_but_not_by_pair(draft: Draft) -> Draft:
    (a, b, amount), _ = draft.entries
    return replace(draft, entries=[(a, b, amount), (b, b + 1, -amount)])


def without_a_line(draft: Draft) -> Draft:
    return replace(draft, lines=draft.lines[:1])


def with_a_line_twice(draft: Draft) -> Draft:
    return replace(draft, lines=[*draft.lines, draft.lines[0]])


def test_a_journal_that_does_not_balance_is_never_posted(engine: Engine) -> None:
    spoilers: list[Callable[[Draft], Draft]] = [
        unbalanced, balanced_over_all_but_not_by_pair, without_a_line, with_a_line_twice
    ]  # fmt: skip
    for spoil in spoilers:
        with transaction(engine) as session:
            book, draft = draft_between(session, 5, "barcelona", "leeds")
            with pytest.raises(ValueError, match="does not balance"):
                post(book, spoil(draft), database.now(session))
            book.write()
    assert balances(engine) == {}
    assert counted(engine, Journal) == 0


def post_alone(engine: Engine, draft: Draft) -> None:
    """Post a draft between barcelona and leeds in a transaction of its own."""
    with transaction(engine) as session:
        book, _ = draft_between(session, 5, "barcelona", "leeds")
        post(book, draft, database.now(session))
        book.write()


def test_one_journal_cannot_be_posted_twice(engine: Engine) -> None:
    with transaction(engine) as session:
        book, draft = draft_between(session, 5, "barcelona", "leeds")
        post(book, draft, database.now(session))
        book.write()
    with pytest.raises(IntegrityError) as refused:
        post_alone(engine, draft)
    assert violated(refused.value) == "pk_journals"
    assert balances(engine) == {"barcelona": -5, "leeds": 5}
    assert_same_version(engine, 1)


def assert_same_version(engine: Engine, version: int) -> None:
    assert {account(engine, name).version for name in ("barcelona", "leeds")} == {version}


class PowerCutError(Exception):
    """What interrupts a transaction here."""


def test_nothing_stays_of_a_transaction_that_ends_halfway(engine: Engine) -> None:
    def post_and_fail() -> None:
        with transaction(engine) as session:
            book, draft = draft_between(session, 5, "barcelona", "leeds")
            post(book, draft, database.now(session))
            book.write()
            raise PowerCutError

    with pytest.raises(PowerCutError):
        post_and_fail()
    assert balances(engine) == {}
    assert (counted(engine, Journal), counted(engine, Entry)) == (0, 0)
    assert_sound(engine)


def test_the_database_refuses_to_change_what_is_written(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "1")
    pay(engine, "leeds", "ghent", "1")
    pay(engine, "ghent", "barcelona", "1")
    with transaction(engine) as session:
        rounds.commit(session, rounds.propose(session).id)
        set_limits(session, "leeds", HOUR, None)
    for table in APPEND_ONLY:
        before = all_rows(engine, table)
        assert before, table
        column = next(column for column in table.columns if not column.primary_key)
        for change in (table.update().values({column: column}), table.delete()):
            with (
                pytest.raises(DBAPIError, match=f"{table} is append-only"),
                engine.begin() as connection,
            ):
                connection.execute(change)
        assert all_rows(engine, table) == before


def all_rows(engine: Engine, table: Table) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(select(table)).all()


def test_balances_sum_to_zero_after_payments_from_many_threads(engine: Engine) -> None:
    ready = threading.Barrier(4)
    errors: list[Exception] = []

    def work(payer: str, payee: str) -> None:
        ready.wait()
        try:
            for _ in range(10):
                with transaction(engine) as session:
                    book, draft = draft_between(session, HOUR, payer, payee)
                    post(book, draft, database.now(session))
                    book.write()
        except Exception as error:  # noqa: BLE001 (the main thread tells of it)
            errors.append(error)

    pairs = [("barcelona", "leeds"), ("leeds", "ghent"), ("ghent", "barcelona")]
    pairs.append(("leeds", "barcelona"))
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert counted(engine, Journal) == 40
    assert balances(engine) == {"leeds": -10 * HOUR, "barcelona": 10 * HOUR}


def test_an_account_is_opened_once(engine: Engine) -> None:
    before = account(engine, "leeds")
    with transaction(engine) as session:
        assert open_account(session, "leeds", credit_limit=5).id == before.id
    assert account(engine, "leeds").credit_limit is None


def test_a_group_without_account_is_not_found(engine: Engine) -> None:
    with reading(engine) as session, pytest.raises(NotFoundError, match="turin"):
        account_of(session, "turin")


def test_a_limit_is_never_negative(engine: Engine) -> None:
    with transaction(engine) as session, pytest.raises(InvalidError, match="credit_limit"):
        set_limits(session, "leeds", -1, None)


def test_an_account_is_on_alert_from_half_of_a_limit_and_over_beyond_it(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "5")
    lights = {}
    for stop in (11, 10, 9, 5, 4):
        with transaction(engine) as session:
            lights[stop] = set_limits(session, "barcelona", stop * HOUR, None).status()
    ok, alert, over = AccountStatus
    assert lights == {11: ok, 10: ok, 9: alert, 5: alert, 4: over}


def test_positions_are_told_by_their_counterparties_names(engine: Engine) -> None:
    pay(engine, "barcelona", "leeds", "5")
    pay(engine, "ghent", "barcelona", "2")
    with reading(engine) as session:
        found = positions_of(session, account_of(session, "barcelona").id)
        assert [(name, p.amount) for p, name in found] == [
            ("ghent", 2 * HOUR),
            ("leeds", -5 * HOUR),
        ]
