"""The audit passes a clean book and names every single row changed behind its back."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    call,
    limit,
    made,
    open_world,
    pay,
    push,
)
from sqlalchemy import Column, Engine, Row, Table, and_, insert, select, text, true, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from clearing import rounds
from clearing.accounts import Account, Position, set_pair_limit
from clearing.audit import Finding, audit
from clearing.calls import Move, Verb
from clearing.ledger import ChainRow, Entry, Journal
from clearing.rounds import Round, SetOff
from clearing.transfers import Transfer, TransferState, Unit
from commons.database import Base, UtcDateTime, append_only_ddl, reading, transaction
from commons.errors import RefusedError

APPEND_ONLY = {"journals", "entries", "chain_rows", "set_offs", "rates", "limit_changes"}

# Of a transfer only what was agreed is in the chains; the rest is no part of any proof.
NOT_IN_ANY_CHAIN = {
    "transfers.initiator",
    "transfers.request_digest",
    "transfers.created_at",
    "transfers.expires_at",
    "transfers.reason",
    "transfers.available",
    "rounds.proposed_at",
    "rounds.ended_at",
}


@pytest.fixture(autouse=True)
def _book(engine: Engine) -> None:
    """A book with something of everything in it."""
    open_world(engine)
    for payer, payee, hours in (("barcelona", "leeds", "8"), ("leeds", "ghent", "9")):
        pay(engine, payer, payee, hours)
    odd = push("leeds", "ghent", "9.3057")  # leaves a residue
    call(engine, accept(made(engine, odd)))
    pay(engine, "ghent", "barcelona", "7")
    limit(engine, "barcelona", credit="20", surplus="30")
    with transaction(engine) as session:
        set_pair_limit(session, "leeds", "barcelona", 20 * HOUR)
    with transaction(engine) as session:
        rounds.commit(session, rounds.propose(session).id)
    rejected = made(engine, push("barcelona", "leeds", "1"))
    call(engine, Move(rejected.id, "leeds", Verb.REJECT))
    refused = call(engine, push("barcelona", "leeds", "1000"))
    assert isinstance(refused.error, RefusedError)
    described = push("barcelona", "leeds", "1.25", Unit.PAYEE, description="a bicycle")
    call(engine, accept(made(engine, described)))
    pay(engine, "leeds", "barcelona", "11")
    with transaction(engine) as session:
        rounds.abandon(session, rounds.propose(session).id)
    made(engine, replace(push("barcelona", "ghent", "3"), id=uuid.uuid4()))
    with transaction(engine) as session:
        rounds.propose(session)


def problems(session: Session) -> list[str]:
    session.expunge_all()
    return [problem for finding in audit(session) for problem in finding.problems]


def guards(session: Session, table: Table, *, on: bool) -> None:
    """Take a table's triggers off or put them back, as who has the database can."""
    if table.name not in APPEND_ONLY:
        return
    if session.get_bind().dialect.name == "postgresql":
        word = "ENABLE" if on else "DISABLE"
        session.execute(text(f"ALTER TABLE {table.name} {word} TRIGGER USER"))
        return
    for statement in append_only_ddl(table.name, "sqlite"):
        session.execute(text(statement if on else f"DROP TRIGGER {statement.split()[2]}"))


def another(column: Column[Any], value: Any) -> Any:  # noqa: ANN401 (any column)
    """A value of the same kind that is not this one."""
    changes: list[tuple[type, Any]] = [
        (Enum, lambda v: next(member for member in type(v) if member is not v)),
        (int, lambda v: v + 1),
        (str, lambda v: ("1" if v[0] != "1" else "2") + v[1:]),
        (datetime, lambda v: v + timedelta(microseconds=1)),
        (uuid.UUID, lambda v: uuid.UUID(int=v.int ^ 1)),
        (bytes, lambda v: bytes([v[0] ^ 1]) + v[1:]),
    ]
    if value is None or (value == "" and isinstance(value, str)):
        return {int: 7, datetime: datetime(2026, 3, 2, tzinfo=UTC)}.get(kind_of(column), "x")
    return next(change(value) for kind, change in changes if isinstance(value, kind))


def kind_of(column: Column[Any]) -> type[Any]:
    """The column's Python type."""
    return datetime if isinstance(column.type, UtcDateTime) else column.type.python_type


def cell(row: Row[Any], column: Column[Any]) -> Any:  # noqa: ANN401 (any column)
    return getattr(row, column.name)


def where(table: Table, row: Row[Any]) -> Any:  # noqa: ANN401 (any condition)
    return and_(*(column == cell(row, column) for column in table.primary_key))


def tamperings(table: Table, row: Row[Any]) -> Iterator[tuple[str, Any]]:
    """Every change of one row: each column by itself, and the row deleted."""
    for column in table.columns:
        if f"{table.name}.{column.name}" in NOT_IN_ANY_CHAIN:
            continue
        value = another(column, cell(row, column))
        yield column.name, table.update().where(where(table, row)).values({column: value})
    yield "deleted", table.delete().where(where(table, row))


def after(engine: Engine, table: Table, change: Any) -> list[str] | None:  # noqa: ANN401 (passed on as it is)
    """What the audit says after a change; None where the database itself does not take it."""
    with reading(engine) as session:
        try:
            guards(session, table, on=False)
            changed = session.connection().execute(change).rowcount
        except DBAPIError:
            return None
        assert changed == 1
        guards(session, table, on=True)
        found = problems(session)
        session.rollback()
    return found


def versions(engine: Engine) -> dict[tuple[uuid.UUID, int], tuple[str, int]]:
    """Account name and version by journal and account."""
    with reading(engine) as session:
        query = select(ChainRow.journal_id, Account.id, Account.name, ChainRow.version)
        rows = session.execute(query.join(Account, Account.id == ChainRow.account_id)).all()
    return {(journal, account): (name, version) for journal, account, name, version in rows}


# Rows that took no part in any posting prove nothing and are proven by nothing.
TAKING_PART = {
    "accounts": Account.version > 0,
    "transfers": Transfer.state == TransferState.POSTED,
    "set_offs": SetOff.round_id.in_(select(Journal.id)) & (SetOff.amount > 0),
}


def rows_of(engine: Engine, table: Table) -> list[Row[Any]]:
    """All rows; on the server, where each look takes longer, the first of each kind."""
    with engine.connect() as connection:
        part = TAKING_PART.get(table.name, true())
        rows = list(connection.execute(select(table).where(part)).all())
    return rows if engine.dialect.name == "sqlite" else rows[:1]


def test_a_clean_book_passes(engine: Engine) -> None:
    assert_sound(engine)
    with reading(engine) as session:
        told: list[str] = []
        findings = audit(session, told.append)
    assert [finding.rule for finding in findings] == told
    assert [finding.number for finding in findings] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert all(finding.checked for finding in findings)
    assert all(isinstance(finding, Finding) for finding in findings)


@pytest.mark.parametrize("model", [Entry, ChainRow])
def test_every_change_of_the_ledger_is_named_by_account_and_version(
    engine: Engine, model: type[Entry | ChainRow]
) -> None:
    table, named = Base.metadata.tables[model.__tablename__], versions(engine)
    missed, tried = [], 0
    for row in rows_of(engine, table):
        name, version = named[row.journal_id, row.account_id]
        for what, change in tamperings(table, row):
            found = after(engine, table, change)
            tried += found is not None
            wanted = f"account {name}: version {version}"
            if found is not None and not any(wanted in problem for problem in found):
                missed.append((what, wanted, found))
    assert missed == []
    assert tried > 2


@pytest.mark.parametrize("model", [Account, Position, Transfer, Journal, Round, SetOff])
def test_every_change_around_the_ledger_is_found(engine: Engine, model: type[Base]) -> None:
    table, tried = Base.metadata.tables[model.__tablename__], 0
    missed = []
    for row in rows_of(engine, table):
        for what, change in tamperings(table, row):
            found = after(engine, table, change)
            tried += found is not None
            if found == []:
                missed.append((what, tuple(row)))
    assert missed == []
    assert tried


@pytest.mark.parametrize(
    "values",
    [
        {"payer_clearing": 4 * HOUR},
        {"payee_clearing": 1 * HOUR},
        {"state": TransferState.CANCELLED, "ended_at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_change_of_what_a_pending_transfer_reserves_is_found(
    engine: Engine, values: dict[str, Any]
) -> None:
    pending = update(Transfer).where(Transfer.state == TransferState.PENDING)
    found = after(engine, Base.metadata.tables["transfers"], pending.values(values))
    assert found
    assert all("open ones sum to" in problem for problem in found)


def test_a_guard_that_is_off_is_named(engine: Engine) -> None:
    with reading(engine) as session:
        guards(session, Base.metadata.tables["entries"], on=False)
        assert problems(session) == ["table entries: its guarding trigger is missing or off"]


def test_a_row_put_in_behind_the_back_is_found(engine: Engine) -> None:
    with reading(engine) as session:
        ids = dict(session.execute(select(Account.name, Account.id)).all())
        journal = session.scalars(select(Journal.id)).first()
        one = {"journal_id": journal, "account_id": ids["ghent"]}
        one |= {"counterparty_id": ids["residue/barcelona"], "amount": 5}
        other = one | {"account_id": one["counterparty_id"], "counterparty_id": ids["ghent"]}
        session.execute(insert(Entry), [one, other | {"amount": -5}])
        found = problems(session)
    assert any("account ghent" in problem for problem in found)
    assert any("account residue/barcelona" in problem for problem in found)
