"""Every single change that somebody with the database in hand can make of one row."""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Column, Engine, Row, Table, and_, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from clearing.audit import audit
from commons.database import UtcDateTime, append_only_ddl, reading

OUT_OF_NOTHING: dict[type, Any] = {
    int: 7,
    datetime: datetime(2026, 3, 2, tzinfo=UTC),
    date: date(2026, 3, 2),
    uuid.UUID: uuid.UUID(int=7),
    bytes: b"x",
    dict: {"planted": "x"},
}


# What was agreed is in the chains; the rest is no part of any proof.
UNPROVEN = {
    "transfers.request_digest",
    "transfers.kept_digests",  # where the key is there; without it a test of its own has them
    "transfers.wait",
    "transfers.reserved",
    "transfers.queued_at",
    "transfers.reason_code",
    "transfers.reason",
    "transfers.available",
    "adjustments.request_digest",
    "adjustments.kept_digests",
    "adjustments.debtor_agreed_at",
    "adjustments.creditor_agreed_at",
    "accounts.in_rounds",  # a wish of the hub's for rounds to come
    "rounds.proposed_by",  # the audit log tells of operators
    "rounds.commit_at",
    "candidates.first",
    "limit_changes.id",
    "levy_changes.id",
    "levy_changes.valid_from",
    "levy_changes.known_from",
    "rates.id",
    "rates.valid_from",
    "rates.known_from",
    "events.kind",
    "events.subject",
    "events.data",
    "events.happened_at",
}

# Of a round without a certificate, which has them.
UNCERTIFIED = {
    "rounds.credit_lines",
    "rounds.released_bound",
    "rounds.released_exact",
    "rounds.proposed_at",
    "rounds.ended_at",
    "rounds.key",
}

# Of an erased transfer, where one side's name may have stayed.
NAMES = {"transfers.payer_member", "transfers.payee_member"}


def problems(session: Session) -> list[str]:
    """All that the audit finds."""
    session.expunge_all()
    return [problem for finding in audit(session) for problem in finding.problems]


def guards(session: Session, table: Table, *, on: bool) -> None:
    """Take a table's triggers off or put them back, as who has the database can."""
    if "append_only" not in table.info:
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
        (bool, lambda v: not v),
        (int, lambda v: v + 1),
        (str, lambda v: ("1" if v[0] != "1" else "2") + v[1:]),
        (datetime, lambda v: v + timedelta(microseconds=1)),
        (date, lambda v: v + timedelta(days=1)),
        (uuid.UUID, lambda v: uuid.UUID(int=v.int ^ 1)),
        (bytes, lambda v: bytes([v[0] ^ 1]) + v[1:]),
        (dict, lambda v: {**v, "planted": "x"}),
    ]
    if value is None or (value == "" and isinstance(value, str)):
        return OUT_OF_NOTHING.get(kind_of(column), "x")
    return next(change(value) for kind, change in changes if isinstance(value, kind))


def kind_of(column: Column[Any]) -> type[Any]:
    """The column's Python type."""
    return datetime if isinstance(column.type, UtcDateTime) else column.type.python_type


def cell(row: Row[Any], column: Column[Any]) -> Any:  # noqa: ANN401 (any column)
    return getattr(row, column.name)


def where(table: Table, row: Row[Any]) -> Any:  # noqa: ANN401 (any condition)
    return and_(*(column == cell(row, column) for column in table.primary_key))


def tamperings(table: Table, row: Row[Any], unproven: set[str]) -> Iterator[tuple[str, Any]]:
    """Every change of one row: each column by itself but the unproven, and the row deleted."""
    for column in table.columns:
        if f"{table.name}.{column.name}" in unproven:
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
