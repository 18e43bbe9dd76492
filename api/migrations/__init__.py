"""Migrations of the database, for SQLite and PostgreSQL alike.

There is no way down: an operator who has to go back restores the backup.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from commons.database import make_engine
from commons.errors import UnavailableError

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


def upgrade_engine(engine: Engine) -> str:
    """Do what `upgrade` does, on an engine that is there already."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
        config = config_for(connection)
        command.upgrade(config, "head")
        return str(ScriptDirectory.from_config(config).get_current_head())
