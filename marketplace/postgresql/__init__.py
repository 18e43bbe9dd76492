"""The PostgreSQL index: full text, trigrams and PostGIS, for who wants one server only."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    func,
    select,
    text,
)
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.schema import DropSchema

from commons.errors import UnavailableError
from marketplace.index import Build, Change, read_on
from marketplace.postgresql.filling import put_in
from marketplace.postgresql.matching import SIMILAR
from marketplace.postgresql.searching import ANSWER_SECONDS, NO_PAGE, answer, cells
from marketplace.postgresql.suggesting import Suggester
from marketplace.postgresql.tables import (
    EXTENSIONS,
    META,
    NEXT_SCHEMA,
    PLAN,
    SCHEMA,
    create_indexes,
    create_tables,
)
from marketplace.query import Page, Query, Suggestions

_LOCK: Final = 0x6C70_6964  # of whoever makes or rebuilds the tables, for the whole database
# Of equal answers each asking gets the same: a scan begins at the beginning, not where another
# is. Compiling a query takes longer than it saves in 2 s.
_WHILE_ASKING: Final = (
    f"SET LOCAL statement_timeout = '{ANSWER_SECONDS}s';"
    "SET LOCAL synchronize_seqscans = off;"
    "SET LOCAL jit = off;"
    f"SET LOCAL pg_trgm.similarity_threshold = {SIMILAR}"
)
_SIZE: Final = text(
    "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
    "WHERE relnamespace = to_regnamespace(:schema) AND relkind = 'r'"
)
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
                return NO_PAGE
            page = answer(connection, query, time.time())
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
            return cells(connection, query, time.time(), resolution)

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

    def builds(self) -> list[Build]:
        """Return the tables in use, then those that a rebuild fills or left behind."""
        schemas = {SCHEMA: True, NEXT_SCHEMA: False}
        found = (self._build(schema, in_use=in_use) for schema, in_use in schemas.items())
        return [build for build in found if build is not None]

    def _build(self, schema: str, *, in_use: bool) -> Build | None:
        translated = self._engine.execution_options(schema_translate_map={SCHEMA: schema})
        with _answering(), translated.connect() as connection:
            if not _hold(connection, schema):
                return None
            plan = connection.scalar(select(META.c.plan))
            build = Build(
                schema,
                in_use=in_use,
                plan=str(plan),
                outdated=plan != PLAN,
                size_bytes=connection.scalar(_SIZE, {"schema": schema}),
            )
            if build.outdated:
                return build
            revision, listings = connection.execute(select(META.c.revision, META.c.listings)).one()
            return replace(build, revision=revision, listings=listings)

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
            put_in(connection, changes, since, revision)

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
            connection.execute(
                text(f"ANALYZE {NEXT_SCHEMA}.listing, {NEXT_SCHEMA}.hit, {NEXT_SCHEMA}.word")
            )
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
            connection.exec_driver_sql(_WHILE_ASKING)
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
            put_in(connection, changes, since, revision)


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


def _hold(connection: Connection, schema: str = SCHEMA) -> bool:
    """Keep the tables from being swapped until the transaction ends; False where there are none.

    To be called before the first query, which takes the snapshot: what waits here for a swap
    then sees what was swapped in.
    """
    try:
        connection.execute(text(f"LOCK TABLE {schema}.meta IN ACCESS SHARE MODE"))
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
