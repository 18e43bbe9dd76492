"""Whole numbers by the column: a million rows into arrays and back, without an object for each.

COPY in its binary format on PostgreSQL, a JSON array for each column on SQLite; all in the
session's transaction.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    SQLColumnExpression,
    String,
    Table,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

Numbers = npt.NDArray[np.int64]

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_INTEGER_SIZE: Final = 8
_ID_SIZE: Final = 16


def read(session: Session, query: Select[*tuple[Any, ...]]) -> list[Any]:
    """Return what a query finds, an array for each of its columns.

    All of them are whole numbers and never NULL. On SQLite there may be text besides, of which a
    list is returned: `Names` has that as numbers on both.
    """
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        return _read_embedded(connection, query)
    rows = query.subquery()
    numbers = select(*(cast(column, BigInteger) for column in rows.c))
    compiled = numbers.compile(connection, compile_kwargs={"literal_binds": True})
    literal = str(compiled).replace("%%", "%")  # which is for statements with parameters
    told = io.BytesIO()
    _copy(connection, f"COPY ({literal}) TO STDOUT (FORMAT binary)", told)
    packed = told.getbuffer()[len(_HEADER) : -len(_TRAILER)]
    found = np.frombuffer(packed, _row([_INTEGER_SIZE] * len(rows.c)))
    return [found[f"v{n}"].astype(np.int64) for n in range(len(rows.c))]


def _read_embedded(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Any]:
    """Have SQLite pack each column into one text: a tuple for each row takes twice the time."""
    rows = query.subquery()
    texts = connection.execute(select(*(func.json_group_array(column) for column in rows.c))).one()
    found = zip(rows.c, map(orjson.loads, texts), strict=True)
    return [
        values if isinstance(column.type, String) else np.array(values, dtype=np.int64)
        for column, values in found
    ]


class Names:
    """A column of text that is read as numbers: the places of names that are known beforehand.

    PostgreSQL sends a hash of each, which is a number too; that no two names have the same one is
    checked.
    """

    def __init__(
        self, session: Session, column: SQLColumnExpression[Any], names: Sequence[str]
    ) -> None:
        self.column = coded(session, column)
        self._names = names
        self._hashes: Numbers | None = None
        if session.get_bind().dialect.name != "sqlite":
            hashed = select(func.hashtextextended(func.unnest(cast(list(names), ARRAY(String))), 0))
            self._hashes = np.array(session.scalars(hashed).all(), dtype=np.int64)
            if len(np.unique(self._hashes)) != len(names):
                raise ValueError("two names have the same hash")

    def places(self, found: Any) -> Numbers:  # noqa: ANN401 (of two kinds)
        """Return the place of each name that `read` found by `column`."""
        if self._hashes is None:
            place = {name: number for number, name in enumerate(self._names)}
            return np.fromiter(map(place.__getitem__, found), np.int64, len(found))
        order: Numbers = np.argsort(self._hashes)
        among: Numbers = np.searchsorted(self._hashes[order], found) % max(len(order), 1)
        if not np.array_equal(self._hashes[order][among], found):
            raise KeyError("a name that is not known")
        known: Numbers = order[among]
        return known


def coded(session: Session, column: SQLColumnExpression[Any]) -> ColumnElement[Any]:
    """Return a column of text as `read` takes it: on PostgreSQL a hash, which is 0 of NULL."""
    if session.get_bind().dialect.name == "sqlite":
        return func.coalesce(column, "", type_=String)
    return func.coalesce(func.hashtextextended(column, 0), 0)


def told_apart(found: Any) -> Numbers:  # noqa: ANN401 (of two kinds)
    """Return what `read` found by `coded` as numbers: the same for the same, 0 for NULL.

    Two texts of one hash, of which there are hardly ever any, count as one.
    """
    if isinstance(found, np.ndarray):
        return found
    place = {"": 0}
    return np.fromiter((place.setdefault(one, len(place)) for one in found), np.int64, len(found))


def insert(
    session: Session,
    table: Table,
    columns: Mapping[str, Numbers],
    same: Mapping[str, UUID],
) -> None:
    """Insert rows of whole numbers, given by the column; `same` are ids that all rows have."""
    session.flush()
    connection = session.connection()
    count = len(next(iter(columns.values())))
    if not count:
        return
    names = (*same, *columns)
    if connection.dialect.name == "sqlite":
        values = [f"'{_written(connection, table, *one)}'" for one in same.items()]
        # What all rows have alike is part of the statement, which takes no time a row.
        alike = {name: str(one[0]) for name, one in columns.items() if (one == one[0]).all()}
        values += [alike.get(name, "?") for name in columns]
        varying = [column for name, column in columns.items() if name not in alike]
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(values)})"  # noqa: S608 (our own names, ids and numbers)
        rows = list(zip(*(column.tolist() for column in varying), strict=True)) or [()] * count
        connection.exec_driver_sql(statement, rows)
        return
    sizes = [_ID_SIZE] * len(same) + [_INTEGER_SIZE] * len(columns)
    rows_out = np.zeros(count, _row(sizes))
    rows_out["n"] = len(sizes)
    for n, (size, value) in enumerate(zip(sizes, (*same.values(), *columns.values()), strict=True)):
        rows_out[f"l{n}"] = size
        rows_out[f"v{n}"] = np.void(value.bytes) if isinstance(value, UUID) else value
    written = io.BytesIO(_HEADER + rows_out.tobytes() + _TRAILER)
    _copy(connection, f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT binary)", written)


def _row(sizes: Sequence[int]) -> np.dtype[np.void]:
    """Return a row of COPY's binary format: how many values, then each after its length."""
    kinds = {_INTEGER_SIZE: ">i8", _ID_SIZE: f"V{_ID_SIZE}"}
    fields = [("n", ">i2")]
    for n, size in enumerate(sizes):
        fields += [(f"l{n}", ">i4"), (f"v{n}", kinds[size])]
    return np.dtype(fields)


def _written(connection: Connection, table: Table, name: str, value: UUID) -> str:
    """Write an id as SQLAlchemy's type does."""
    write = table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return str(value if write is None else write(value))


def _copy(connection: Connection, statement: str, stream: io.BytesIO) -> None:
    driver, dbapi = connection.connection.driver_connection, connection.dialect.dbapi
    assert driver is not None  # noqa: S101 (told to the type checker)
    assert dbapi is not None  # noqa: S101 (told to the type checker)
    with driver.cursor() as cursor:
        try:
            cursor.copy_expert(statement, stream)
        except dbapi.Error as error:
            if connection.dialect.is_disconnect(error, driver, cursor):
                connection.invalidate(error)
            raise DBAPIError.instance(
                statement, None, error, dbapi.Error, hide_parameters=True
            ) from error


def total(numbers: Numbers) -> int:
    """Return the sum of an array, beyond 64 bits too."""
    high, low = numbers >> np.int64(31), numbers & np.int64(2**31 - 1)
    return (int(high.sum()) << 31) + int(low.sum())
