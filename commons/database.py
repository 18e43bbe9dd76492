"""The database: engine for SQLite and PostgreSQL, column types, transactions, gapless counters."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Engine,
    Enum,
    Integer,
    MetaData,
    String,
    UniqueConstraint,
    create_engine,
    event,
    func,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import DDL, ExecutableDDLElement
from sqlalchemy.types import TypeDecorator

BUSY_TIMEOUT_SECONDS: Final = 30
_BEGIN: Final = "localpay_begin"
_WRITER: Final = "localpay_writer"


KEPT_BY_KEY: Final = {"sqlite_with_rowid": False}
"""Has SQLite keep the rows of a table in the order of its key, and nowhere else.

Otherwise it keeps them as they come and looks each up by an index: with a million that is most of
the work.
"""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC; SQLite keeps it naive, PostgreSQL with its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a moment without zone, since nobody knows when it was."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a moment needs its time zone"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (the signature is SQLAlchemy's)
        """Give every moment in UTC, with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def enum_column(states: type[StrEnum]) -> Enum:
    """Return a column type of the values of `states`: text with a named CHECK."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", states.__name__).lower()
    return Enum(
        states,
        name=words,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda e: [member.value for member in e],
    )


class Base(DeclarativeBase):
    """Root of all tables; every constraint has a name that Python can map to an error."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        int: BigInteger().with_variant(Integer, "sqlite"),
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class Counter(Base):
    """A gapless counter, drawn in the order of commits."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int]

    __table_args__ = (CheckConstraint("value >= 0", name="value_not_negative"),)


def draw(session: Session, counter: str, count: int = 1) -> int:
    """Draw `count` successive numbers and return the first; counting starts at 1.

    The counter's row stays locked until the commit, so that whoever reads up to the highest
    number it sees can never miss a lower one that becomes visible later.
    """
    last = session.scalar(
        update(Counter)
        .where(Counter.name == counter)
        .values(value=Counter.value + count)
        .returning(Counter.value)
        .execution_options(synchronize_session=False)
    )
    if last is None:
        _start(session, counter)
        return draw(session, counter, count)
    return last - count + 1


def _start(session: Session, counter: str) -> None:
    session.execute(
        text(
            "INSERT INTO counters (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING"
        ).bindparams(name=counter)
    )


def make_engine(url: str) -> Engine:
    """Make the engine of a `sqlite:///…` or `postgresql+psycopg2://…` address.

    SQLite runs in WAL mode with foreign keys on and full durability; readers BEGIN, writers
    BEGIN IMMEDIATE, so that no transaction has to be upgraded halfway and fail.
    """
    if not url.startswith("sqlite"):
        return create_engine(
            url, pool_pre_ping=True, pool_size=20, max_overflow=20, hide_parameters=True
        )
    # What members wrote is no part of an error, which goes to the log.
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        execution_options={_WRITER: threading.Lock()},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    # Recursive triggers have REPLACE fire the triggers that guard what is append-only.
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "recursive_triggers=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:  # noqa: ANN401 (an SQLAlchemy event hands it over)
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Yield a session that may write; commit when the block ends well, else roll back."""
    with (
        _turn(engine),
        Session(engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})) as session,
        session.begin(),
    ):
        yield session


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Let one thread of this process write at a time where the database lets but one.

    SQLite itself has whoever waits look again and again, up to a tenth of a second apart, while
    others come first. It still does so between processes, and where a turn takes too long.
    """
    writer: threading.Lock | None = engine.get_execution_options().get(_WRITER)
    is_mine = writer is not None and writer.acquire(timeout=BUSY_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        if writer is not None and is_mine:
            writer.release()


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """Yield a session over one snapshot; nothing is ever committed."""
    with Session(engine) as session:
        if engine.dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


_CLOCK: Final = select(func.clock_timestamp())


def now(session: Session) -> datetime:
    """Return the database's clock; an embedded database's clock is this machine's."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.connection().execute(_CLOCK).scalar_one()
    return moment.astimezone(UTC)


def violated(error: IntegrityError) -> str:
    """Return the name of the constraint that `error` tells of, the same on both databases.

    SQLite names CHECK constraints only; UNIQUE ones it tells by their columns, which are
    looked up here, and foreign keys not at all: the answer is then "foreign key". A value that
    is missing violates no named constraint; the answer is then the column, "table.column".
    """
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        column = f"{diagnosis.table_name}.{diagnosis.column_name}"
        return str(diagnosis.constraint_name or column)
    message = str(error.orig)
    kind, _, what = message.partition(" constraint failed: ")
    if kind == "CHECK":
        return what
    if kind == "UNIQUE":
        return _unique_name(what)
    return "foreign key" if message.startswith("FOREIGN KEY") else what


def _unique_name(columns: str) -> str:
    pairs = [column.strip().split(".") for column in columns.split(",")]
    table, wanted = Base.metadata.tables[pairs[0][0]], {name for _, name in pairs}
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and set(constraint.columns.keys()) == wanted:
            return str(constraint.name)
    for index in table.indexes:
        if index.unique and set(index.columns.keys()) == wanted:
            return str(index.name)
    return f"pk_{table.name}"


def append_only_ddl(table_name: str, dialect: str) -> list[str]:
    """Return the statements whose triggers refuse UPDATE and DELETE on a table."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table_name}_no_{verb.lower()} BEFORE {verb} ON {table_name} "
            f"BEGIN SELECT RAISE(ABORT, '{table_name} is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        f"""CREATE FUNCTION {table_name}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{table_name} is append-only' USING ERRCODE = 'restrict_violation';
        END $$""",
        f"""CREATE TRIGGER {table_name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
        ON {table_name} EXECUTE FUNCTION {table_name}_append_only()""",
    ]


def append_only(model: type[Base]) -> None:
    """Have the database itself refuse UPDATE and DELETE on a table; its `info` tells so."""
    table = Base.metadata.tables[model.__tablename__]
    table.info["append_only"] = True
    for dialect in ("sqlite", "postgresql"):
        for statement in append_only_ddl(table.name, dialect):
            ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call] # SQLAlchemy left it untyped
            event.listen(table, "after_create", ddl.execute_if(dialect=dialect))
