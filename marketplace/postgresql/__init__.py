"""The PostgreSQL index: full text, trigrams and PostGIS, for who wants one server only."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import (
    Connection,
    Engine,
    Text,
    any_,
    bindparam,
    create_engine,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.schema import DropSchema

from commons.errors import ConflictError, UnavailableError
from marketplace.index import Change, read_on
from marketplace.postgresql.searching import Search
from marketplace.postgresql.suggesting import Suggester
from marketplace.postgresql.tables import (
    EXTENSIONS,
    FACETS,
    LISTING,
    META,
    NEXT_SCHEMA,
    PLAN,
    SCHEMA,
    WORD,
    create_indexes,
    create_tables,
    insertion,
    row_of,
)
from marketplace.query import Page, Query, Suggestions

ANSWER_SECONDS: Final = 2
_LOCK: Final = 0x6C70_6964  # of whoever makes or rebuilds the tables, for the whole database
_MISSING: Final = {"42P01", "3F000"}  # undefined_table, invalid_schema_name


class PostgresqlIndex:
    """The index in a schema of a PostgreSQL database; any process reads and writes it.

    A rebuild fills the tables of another schema and gives that schema the name in one
    transaction. Whoever asks holds the meta table against that renaming for as long as it asks,
    so that all its statements meet the same tables.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_timeout=ANSWER_SECONDS,
            pool_size=20,
            connect_args={
                "connect_timeout": ANSWER_SECONDS,
                "tcp_user_timeout": ANSWER_SECONDS * 1000,
            },
        )

    def search(self, query: Query) -> Page:
        """Answer a question; UnavailableError where that takes longer than ANSWER_SECONDS."""
        started = time.perf_counter()
        with self._asking() as (connection, plan):
            if not _usable(plan):
                nothing: dict[str, dict[str, int]] = {name: {} for name in FACETS}
                return Page([], 0, total_is_exact=True, facets=nothing, cursor=None, took_ms=0.0)
            page = Search(connection, query, time.time()).page()
        return replace(page, took_ms=(time.perf_counter() - started) * 1000)

    def suggest(self, text: str, most: int) -> Suggestions:
        """Return what begins as was typed, of the listings that are seen now."""
        with self._asking() as (connection, plan):
            if not _usable(plan):
                return Suggestions([], [], [])
            return Suggester(connection, time.time()).suggestions(text, most)

    def cells(self, query: Query, resolution: int) -> dict[str, int]:
        """Count what a question finds by H3 cell of a resolution from 2 to 7."""
        with self._asking() as (connection, plan):
            if not _usable(plan):
                return {}
            return Search(connection, query, time.time()).cells(resolution)

    def revision(self) -> int:
        """Return the last revision held; 0 before the first."""
        with self._asking() as (connection, plan):
            return 0 if plan is None else connection.scalar(select(META.c.revision)) or 0

    def count(self) -> int:
        """Return how many listings are held, expired ones included."""
        with self._asking() as (connection, plan):
            return 0 if plan is None else connection.scalar(select(META.c.listings)) or 0

    def outdated(self) -> bool:
        """Tell whether the tables are of another plan."""
        with self._asking() as (_, plan):
            return plan not in {None, PLAN}

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in; ConflictError where the revision held is not `since`."""
        with self._asking() as (_, plan):
            missing = plan is None
        with _answering(), self._engine.begin() as connection:
            if missing:
                _make_extensions(connection)
                if not _is_there(connection):
                    create_tables(connection, SCHEMA)
                    create_indexes(connection)
            _apply(connection, changes, since, revision)

    def rebuild(self, engine: Engine, tick: Callable[[int], None] = lambda _revision: None) -> int:
        """Fill new tables from the listings and swap them in; return the changes read.

        `tick` is told each revision that is reached. Changes that the old ones take meanwhile
        are not lost: the new ones know their own revision, and are read on from there.
        UnavailableError while another rebuild runs, or without the extensions.
        """
        with _answering(), self._engine.connect() as guard:
            if not guard.scalar(select(func.pg_try_advisory_lock(_LOCK + 1))):
                msg = "another process rebuilds this index"
                raise UnavailableError(msg)
            try:
                return self._rebuild(engine, tick)
            finally:
                guard.execute(select(func.pg_advisory_unlock(_LOCK + 1)))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _rebuild(self, engine: Engine, tick: Callable[[int], None]) -> int:
        beside = self._engine.execution_options(schema_translate_map={SCHEMA: NEXT_SCHEMA})
        with beside.begin() as connection:
            _make_extensions(connection)
            connection.execute(DropSchema(NEXT_SCHEMA, cascade=True, if_exists=True))
            create_tables(connection, NEXT_SCHEMA)
        count = read_on(engine, _Beside(beside), tick=tick)
        with beside.begin() as connection:
            create_indexes(connection)
        with self._engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            if _is_there(connection):
                connection.execute(text(f"LOCK TABLE {SCHEMA}.meta IN ACCESS EXCLUSIVE MODE"))
                connection.execute(DropSchema(SCHEMA, cascade=True))
            connection.execute(text(f"ALTER SCHEMA {NEXT_SCHEMA} RENAME TO {SCHEMA}"))
        return count

    @contextmanager
    def _asking(self) -> Iterator[tuple[Connection, int | None]]:
        """Yield (a connection that reads one snapshot, the plan of the tables that are there)."""
        with _answering(), self._engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{ANSWER_SECONDS}s'")
            there = _hold(connection)
            yield connection, connection.scalar(select(META.c.plan)) if there else None


class _Beside:
    """The tables that a rebuild fills; one that nobody asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def revision(self) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(META.c.revision)) or 0

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        with self._engine.begin() as connection:
            _apply(connection, changes, since, revision)


def _apply(connection: Connection, changes: Sequence[Change], since: int, revision: int) -> None:
    held = connection.scalar(select(META.c.revision).with_for_update()) or 0
    if held != since:
        msg = f"the index is at revision {held}, not {since}"
        raise ConflictError(msg)
    last = {change.id: change.entry for change in changes}
    rows = [row_of(entry) for entry in last.values() if entry is not None]
    removed = _remove(connection, list(last))
    if rows:
        connection.execute(insertion(), rows)
        _count_words(connection, [row["id"] for row in rows])
    listings = META.c.listings + len(rows) - removed
    connection.execute(update(META).values(revision=revision, listings=listings))


def _remove(connection: Connection, ids: list[str]) -> int:
    """Remove listings, and take them out of the count of each of their words."""
    ours = LISTING.c.id == any_(bindparam(None, ids, ARRAY(Text)))
    each = func.unnest(func.tsvector_to_array(LISTING.c.words)).label("word")
    words = select(each).where(ours).subquery()
    gone = select(words.c.word, func.count().label("listings")).group_by(words.c.word).subquery()
    connection.execute(
        update(WORD)
        .where(WORD.c.word == gone.c.word)
        .values(listings=WORD.c.listings - gone.c.listings)
    )
    return connection.execute(delete(LISTING).where(ours)).rowcount


def _count_words(connection: Connection, ids: list[str]) -> None:
    ours = LISTING.c.id == any_(bindparam(None, ids, ARRAY(Text)))
    each = func.unnest(func.tsvector_to_array(LISTING.c.words)).label("word")
    words = select(each).where(ours).subquery()
    counted = select(words.c.word, func.count()).group_by(words.c.word)
    put = insert(WORD).from_select(["word", "listings"], counted)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=[WORD.c.word],
            set_={"listings": WORD.c.listings + put.excluded.listings},
        )
    )


def _make_extensions(connection: Connection) -> None:
    """Make what the index needs of the database, one process at a time."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    for name in EXTENSIONS:
        try:
            connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {name}"))
        except (ProgrammingError, OperationalError) as error:
            msg = (
                f"the index needs the extension {name}, which could not be created: let an "
                f"administrator of the database run CREATE EXTENSION {name} there "
                f"({str(error.orig).strip()})"
            )
            raise UnavailableError(msg) from error


def _usable(plan: int | None) -> bool:
    """Tell whether there are tables to ask; UnavailableError for those of another plan."""
    if plan not in {None, PLAN}:
        msg = "the index is being rebuilt for this version"
        raise UnavailableError(msg)
    return plan is not None


def _hold(connection: Connection) -> bool:
    """Keep the tables from being swapped until the transaction ends; False where there are none.

    To be called before the first query, which takes the snapshot: what waits here for a swap
    then sees what was swapped in.
    """
    try:
        connection.execute(text(f"LOCK TABLE {SCHEMA}.meta IN ACCESS SHARE MODE"))
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) not in _MISSING:
            raise
        return False
    return True


def _is_there(connection: Connection) -> bool:
    return connection.scalar(select(func.to_regclass(f"{SCHEMA}.meta"))) is not None


@contextmanager
def _answering() -> Iterator[None]:
    """Make an UnavailableError of a server that does not answer, or not in time."""
    try:
        yield
    except (OperationalError, InterfaceError, NoConnectionError) as error:
        msg = "the index does not answer now"
        raise UnavailableError(msg) from error
