"""The migrations make what the models say, on both databases."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import disposed
from sqlalchemy import Engine, inspect, text

import clearing
import commons
import crawler
import marketplace
from api.migrations import upgrade
from api.tables import metadata
from commons.database import append_only_ddl, make_engine


def test_an_upgraded_empty_database_is_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'twice.sqlite'}"
    first = upgrade(url)
    assert upgrade(url) == first
    with disposed(make_engine(url)) as engine, engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == first


def test_every_check_of_the_models_is_in_the_database(engine: Engine) -> None:
    inspector = inspect(engine)
    for table in metadata.sorted_tables:
        found = {check["name"] for check in inspector.get_check_constraints(table.name)}
        fresh = {
            str(constraint.name)
            for constraint in table.constraints
            if constraint.__visit_name__ == "check_constraint"
        }
        assert fresh <= found, table.name


def test_append_only_tables_have_their_triggers(engine: Engine) -> None:
    question = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }[engine.dialect.name]
    with engine.connect() as connection:
        triggers = set(connection.scalars(text(question)))
    guarded = [table for table in metadata.sorted_tables if "append_only" in table.info]
    assert len(guarded) >= 6
    for table in guarded:
        for statement in append_only_ddl(table.name, engine.dialect.name):
            kind, name = statement.split()[1:3]
            assert kind == "FUNCTION" or name in triggers, table.name


def test_no_module_with_tables_is_forgotten() -> None:
    program = "from api.tables import metadata; print(*sorted(metadata.tables))"
    listed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    for package in (commons, marketplace, clearing, crawler):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    assert sorted(metadata.tables) == listed
