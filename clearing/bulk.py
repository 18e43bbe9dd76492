"""Many rows at once: COPY and one UPDATE on PostgreSQL, executemany on SQLite.

All in the session's own transaction, past its objects. What the database refuses is raised as
SQLAlchemy would.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Executable,
    String,
    Table,
    TextClause,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from clearing import chain

Row = Sequence[Any]

_POSTGRESQL: Final = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy left it untyped
_OFTEN_SAME: Final = (str, datetime)
_FEW: Final = 3
"""So few rows are inserted by a statement, which costs less than to begin a COPY."""


_Column = ColumnElement[Any] | InstrumentedAttribute[Any]
_WANTED: Final = "wanted"


def _listed(column: _Column) -> ColumnElement[bool]:
    listed = func.json_each(bindparam(_WANTED, type_=String)).table_valued("value")
    is_id = isinstance(column.type, Uuid)
    value = func.replace(listed.c.value, "-", "") if is_id else listed.c.value
    return type_coerce(column, String).in_(select(value))


def _in_array(column: _Column) -> ColumnElement[bool]:
    return column == any_(cast(bindparam(_WANTED, type_=ARRAY(String)), ARRAY(column.type)))


class Sought:
    """A query for the rows in which a column is one of many values, put together once.

    The values are handed over as one, since a thousand of their own take SQLAlchemy longer to
    write than the database to find. `build` makes the query with what makes the condition of a
    column; it may leave other parameters open.
    """

    def __init__(
        self, build: Callable[[Callable[[_Column], ColumnElement[bool]]], Executable]
    ) -> None:
        self._queries = {"postgresql": build(_in_array), "sqlite": build(_listed)}

    def rows(self, session: Session, values: Iterable[Any], **others: object) -> Sequence[Any]:
        """Return what is found; `others` are the parameters that were left open."""
        session.flush()
        connection = session.connection()
        wanted: Any = _plain_all(values)
        if connection.dialect.name == "sqlite":
            wanted = orjson.dumps(wanted).decode()
        query = self._queries[connection.dialect.name]
        return connection.execute(query, {**others, _WANTED: wanted}).all()


def insert_rows(
    session: Session, table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Insert rows, each with its values in the order of `columns`."""
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 (our own names)
        connection.exec_driver_sql(statement, _bound(connection, table, columns, rows))
    elif len(rows) > _FEW:
        _copy(connection, table, columns, rows)
    else:
        connection.execute(table.insert(), [dict(zip(columns, row, strict=True)) for row in rows])


def update_rows(
    session: Session, table: Table, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set `columns` of the rows that `keys` name; each row holds its keys, then its values.

    The rows are locked already, so the order in which they are changed does not matter.
    """
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        statement = _update_statement(table, (*keys, *columns), len(keys))
        values = {f"c{n}": _plain_all(column) for n, column in _turned(rows)}
        connection.execute(statement, values)
        return
    # By their number, since the keys stand first in a row and last in the statement.
    sets = ", ".join(f"{name} = ?{n}" for n, name in enumerate(columns, len(keys) + 1))
    where = " AND ".join(f"{name} = ?{n}" for n, name in enumerate(keys, 1))
    change = f"UPDATE {table.name} SET {sets} WHERE {where}"  # noqa: S608 (names of our own columns)
    connection.exec_driver_sql(change, _bound(connection, table, (*keys, *columns), rows))


def _bound(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> list[Row]:
    """Write values as SQLAlchemy's types do, a column at a time, for SQLite's driver."""
    dialect = connection.dialect
    written: list[Iterable[Any]] = []
    for name, values in zip(columns, zip(*rows, strict=True), strict=True):
        write = table.c[name].type.dialect_impl(dialect).bind_processor(dialect)
        written.append(values if write is None else _mapped(write, values))
    return list(zip(*written, strict=True))


def _mapped(write: Callable[[Any], Any], values: Sequence[Any]) -> Iterable[Any]:
    """Write a column's values, each of those that are often the same once."""
    if dict not in set(map(type, values)):
        distinct = set(values)
        if 2 * len(distinct) < len(values):
            return map({value: write(value) for value in distinct}.__getitem__, values)
    return map(write, values)


def _turned(rows: Sequence[Row]) -> "enumerate[tuple[Any, ...]]":
    return enumerate(zip(*rows, strict=True))


@lru_cache(maxsize=64)
def _update_statement(table: Table, names: tuple[str, ...], keys: int) -> TextClause:
    types = [table.c[name].type.compile(dialect=_POSTGRESQL) for name in names]
    arrays = ", ".join(f"CAST(:c{n} AS {kind}[])" for n, kind in enumerate(types))
    sets = ", ".join(f"{name} = new.{name}" for name in names[keys:])
    where = " AND ".join(f"old.{name} = new.{name}" for name in names[:keys])
    return text(
        f"UPDATE {table.name} AS old SET {sets} "  # noqa: S608 (names of our own columns)
        f"FROM unnest({arrays}) AS new({', '.join(names)}) WHERE {where}"
    )


def _plain_all(values: Iterable[Any]) -> list[Any]:
    """Write the ids among values as texts; a column holds ids only, or none."""
    listed = list(values)
    return list(map(chain.uuid_text, listed)) if listed and isinstance(listed[0], UUID) else listed


def _copy(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Send rows by COPY in its text format: tabs between values, a line for each row."""
    written = [_column(values) for values in zip(*rows, strict=True)]
    text_format = "\n".join(map("\t".join, zip(*written, strict=True)))
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
    driver, dbapi = connection.connection.driver_connection, connection.dialect.dbapi
    assert driver is not None  # noqa: S101 (told to the type checker)
    assert dbapi is not None  # noqa: S101 (told to the type checker)
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(statement, io.StringIO(text_format))
        except dbapi.Error as error:
            if connection.dialect.is_disconnect(error, driver, cursor):
                connection.invalidate(error)
            raise DBAPIError.instance(
                statement, None, error, dbapi.Error, hide_parameters=True
            ) from error


def _column(values: Sequence[Any]) -> Iterable[str]:
    """Write a column's values, each of those that are often the same once."""
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return [_WRITERS[type(value)](value) for value in values]
    kind = kinds.pop()
    if kind is UUID:
        return _ids(values)
    write = _WRITERS[kind]
    return _mapped(write, values) if issubclass(kind, _OFTEN_SAME) else map(write, values)


def _ids(values: Sequence[UUID]) -> Iterator[str]:
    """Write ids; those of one journal follow each other, and to look one up takes a while."""
    last, written = None, ""
    for value in values:
        if value is not last:
            last, written = value, chain.uuid_text(value)
        yield written


def _escaped(value: str) -> str:
    """Write a text so that nothing in it ends a value or a line, or begins an escape."""
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if value.isprintable():
        return value
    return value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


class _Writers(dict[type, Callable[[Any], str]]):
    """How a value of a type is written; one of a subclass as its base is."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        self[kind] = next(writer for base, writer in self.items() if issubclass(kind, base))
        return self[kind]


_WRITERS: Final = _Writers(
    {
        str: _escaped,
        bool: lambda value: "t" if value else "f",
        int: str,
        type(None): lambda _: "\\N",
        UUID: chain.uuid_text,
        bytes: lambda value: "\\\\x" + value.hex(),
        datetime: datetime.isoformat,
        date: date.isoformat,
        dict: lambda value: _escaped(orjson.dumps(value).decode()),
    }
)
