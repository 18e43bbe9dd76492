"""The peer of a search: one PostgreSQL table with a tsvector and a PostGIS point."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import psycopg2  # type: ignore[import-untyped] # it has no annotations
from sqlalchemy import make_url

from marketplace.index import Change
from marketplace.query import Query, Sort

NAME: Final = "plain_listings"
BATCH: Final = 10_000
_COLUMNS: Final = ("id", "title", "body", "place", "pay", "confirmed", "expires")
_TABLE: Final = f"""
    CREATE EXTENSION IF NOT EXISTS postgis;
    CREATE UNLOGGED TABLE {NAME} (
        id text PRIMARY KEY, title text, body text, place geography(Point, 4326), pay text[],
        confirmed timestamptz, expires timestamptz,
        words tsvector GENERATED ALWAYS AS (
            setweight(to_tsvector('simple', title), 'A') || to_tsvector('simple', body)
        ) STORED
    )
"""
_INDEXES: Final = f"""
    CREATE INDEX ON {NAME} USING gin (words);
    CREATE INDEX ON {NAME} USING gist (place);
    CREATE INDEX ON {NAME} USING gin (pay);
    ANALYZE {NAME}
"""
_RANKED: Final = "ts_rank(words, plainto_tsquery('simple', %(q)s)) DESC"
_NEAREST: Final = "place <-> ST_MakePoint(%(lon)s, %(lat)s)::geography"


class PlainTable:
    """Listings as an operator would first put them into PostgreSQL."""

    def __init__(self, connected: psycopg2.extensions.connection) -> None:
        self._connection = connected

    def create(self) -> None:
        """Make the empty table."""
        self._run(_TABLE)

    def add(self, changes: Sequence[Change]) -> None:
        """Put listings in."""
        rows = io.StringIO()
        csv.writer(rows).writerows(map(_row, changes))
        rows.seek(0)
        copy = f"COPY {NAME} ({', '.join(_COLUMNS)}) FROM STDIN WITH (FORMAT csv)"
        with self._connection.cursor() as cursor:
            cursor.copy_expert(copy, rows)

    def finish(self) -> None:
        """Make the table's indexes, and let the planner know what is in it."""
        self._run(_INDEXES)

    def bytes_on_disk(self) -> int:
        """Return the size of the table with its indexes."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_total_relation_size(%s)", (NAME,))
            return int(cursor.fetchone()[0])

    def search(self, query: Query) -> list[str]:
        """Return the ids of the first hits: words, place and payment hold, nothing is counted."""
        conditions = ["(expires IS NULL OR expires > now())"]
        values: dict[str, Any] = {"q": query.q, "pay": list(query.pay), "limit": query.limit}
        if query.q:
            conditions.append("words @@ plainto_tsquery('simple', %(q)s)")
        if query.near is not None:
            values |= {"lat": query.near[0], "lon": query.near[1], "m": query.reach_km * 1000}
            point = "ST_MakePoint(%(lon)s, %(lat)s)::geography"
            conditions.append(f"ST_DWithin(place, {point}, %(m)s)")
        if query.pay:
            conditions.append("pay && %(pay)s")
        order = _NEAREST if query.sort is Sort.DISTANCE else _RANKED
        statement = (
            f"SELECT id, title, body, pay, confirmed FROM {NAME} "  # noqa: S608 (constants alone)
            f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT %(limit)s"
        )
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return [row[0] for row in cursor.fetchall()]

    def _run(self, statements: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statements)


@contextmanager
def plain_table(url: str) -> Iterator[PlainTable]:
    """Make the table in a database (SQLAlchemy's URL), which is thrown away afterwards."""
    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connected = psycopg2.connect(libpq)
    connected.autocommit = True
    try:
        table = PlainTable(connected)
        table.create()
        yield table
    finally:
        connected.close()


def batches(changes: Iterable[Change], size: int = BATCH) -> Iterator[list[Change]]:
    """Cut changes into lists of `size`, the last one shorter."""
    left = iter(changes)
    while batch := list(islice(left, size)):
        yield batch


def _row(change: Change) -> tuple[str | None, ...]:
    entry = change.entry
    assert entry is not None, "made-up listings are never withdrawn"  # noqa: S101 (for the types)
    return (
        entry.id,
        entry.title,
        entry.text,
        None if entry.lat is None else f"SRID=4326;POINT({entry.lon} {entry.lat})",
        "{" + ",".join(f'"{pay}"' for pay in entry.terms.pay) + "}",
        entry.confirmed.isoformat(),
        None if entry.expires_at is None else entry.expires_at.isoformat(),
    )
