"""Migrations of the database, for SQLite and PostgreSQL alike.

There is no way down: an operator who has to go back restores the backup.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from commons.database import make_engine
from commons.errors import ConflictError, UnavailableError

LOCK_TIMEOUT_SECONDS: Final = 10


def config_for(connection: Connection) -> Config:
    """Return Alembic's configuration, made here: nothing stands in a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(url: str) -> str:
    """Bring the database at `url` to the newest revision, whole or not at all; return it.

    On PostgreSQL a migration that cannot have its locks within ten seconds gives up, so that
    it never queues in front of everybody else.
    """
    engine = make_engine(url)
    try:
        return upgrade_engine(engine)
    finally:
        engine.dispose()


def check(engine: Engine) -> None:
    """Raise UnavailableError where the database is not at this version's revision."""
    with engine.connect() as connection:
        wanted = ScriptDirectory.from_config(config_for(connection)).get_current_head()
        found = MigrationContext.configure(connection).get_current_revision()
    if found != wanted:
        msg = f"the database is at revision {found}, not {wanted}: run `localpay migrate` first"
        raise UnavailableError(msg)


def upgrade_engine(engine: Engine, revision: str = "head") -> str:
    """Do what `upgrade` does, on an engine that is there already, as far as `revision`."""
    with engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
        config = config_for(connection)
        command.upgrade(config, revision)
        if connection.dialect.name == "sqlite":
            dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if dangling is not None:
                msg = f"after the migration a row of {dangling[0]} would point to nothing"
                raise ConflictError(msg)
        return str(ScriptDirectory.from_config(config).get_current_head())


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Let SQLite make tables anew to which others point; it changes no column in place."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 (told to the type checker)
    driver.execute("PRAGMA foreign_keys=OFF")  # outside a transaction, or it does nothing
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
