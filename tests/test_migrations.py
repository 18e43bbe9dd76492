"""The migrations make what the models say, on both databases."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import disposed
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from statement_world import SEAL

import clearing
import commons
import crawler
import marketplace
from api.migrations import upgrade, upgrade_engine
from api.tables import metadata
from bench.postgres import new_database
from clearing import rounds
from clearing.rounds import SetOff
from commons.database import append_only_ddl, make_engine, transaction

BEFORE_0005 = (
    (
        "INSERT INTO currencies (id, uri, code, name, scale, kind)"
        " VALUES (1, 'https://hub.example/hour', 'HOUR', 'hour', 2, 'time')"
    ),
    (
        "INSERT INTO groups (id, uri, name, summary, currency_id, created_at)"
        " VALUES ('leeds', 'https://hub.example/group', 'Leeds', '', 1, '2026-10-01 08:00:00')"
    ),
    (
        "INSERT INTO hubs (group_id, state, inbox_uri, rate_wanted, registered_at)"
        " VALUES ('leeds', 'admitted', 'https://hub.example/inbox', '1/1', '2026-10-01 08:00:00')"
    ),
    (
        "INSERT INTO peers (id, actor_uri, group_id, state, state_since, crawl_offset, attempts)"
        " VALUES (1, 'https://hub.example/group', 'leeds', 'live', '2026-10-01 08:00:00', 0, 0)"
    ),
    (
        "INSERT INTO deliveries (id, peer_id, inbox_uri, activity, created_at, attempts)"
        " VALUES (1, 1, 'https://hub.example/inbox', '{}', '2026-10-01 08:00:00', 0)"
    ),
)

_ACCOUNT = (
    "INSERT INTO accounts (id, union_id, kind, state, name, group_id, balance, pending_out,"
    " pending_in, version, head)"
    " VALUES (1, 'main', 'group', 'open', 'leeds', 'leeds', 0, 0, 0, 0, '')"
)
_PROPOSED = "00000000000000000000000000000003"
_ROUND = (
    "INSERT INTO rounds (id, union_id, state, obligations_total, net_internal_debt, cleared,"
    " proposed_at, ended_at) VALUES ('00000000000000000000000000000003', 'main', 'proposed',"
    " 0, 0, 0, '2026-10-01 08:00:00', NULL)"
)
_ENDED = _ROUND.replace("NULL", "'2026-10-01 08:00:01'")
BEFORE_0007 = (
    *BEFORE_0005[:2],
    BEFORE_0005[1].replace("leeds", "ghent").replace("hub.example", "ghent.example"),
    "INSERT INTO unions (id, created_at) VALUES ('main', '2026-10-01 08:00:00')",
    _ACCOUNT,
    _ACCOUNT.replace("leeds", "ghent").replace("(1,", "(2,"),
    _ROUND,
    _ENDED.replace("proposed'", "committed'").replace("3'", "1'"),
    _ENDED.replace("proposed'", "abandoned'").replace("3'", "2'"),
    (
        "INSERT INTO set_offs (round_id, debtor_id, creditor_id, obligation, amount)"
        " VALUES ('00000000000000000000000000000002', 1, 2, 90, 70)"
    ),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without anything in it, once on each of the two."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    with new_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


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


def test_what_stood_in_the_database_before_hubs_could_join_is_kept(
    empty_database: str,
) -> None:
    with disposed(make_engine(empty_database)) as engine:
        upgrade_engine(engine, "0004")
        with engine.begin() as connection:
            for statement in BEFORE_0005:
                connection.execute(text(statement))
        upgrade_engine(engine)
        with engine.connect() as connection:
            told = "SELECT kind, found_by, group_id, state FROM peers"
            assert connection.execute(text(told)).all() == [
                ("activitypub", "its registration", "leeds", "live")
            ]
            assert connection.scalar(text("SELECT rate_wanted FROM hubs")) == "1/1"
            assert connection.scalar(text("SELECT count(*) FROM deliveries")) == 1


def test_rounds_of_before_there_were_certificates_are_kept_and_can_be_ended(
    empty_database: str,
) -> None:
    with disposed(make_engine(empty_database)) as engine:
        upgrade_engine(engine, "0006")
        with engine.begin() as connection:
            for statement in BEFORE_0007:
                connection.execute(text(statement))
        upgrade_engine(engine)
        with transaction(engine) as session:
            kept = session.scalars(select(SetOff)).one()
            assert (kept.cap, kept.least, kept.amount, kept.drawn) == (90, 0, 70, 0)
            assert rounds.commit(session, UUID(_PROPOSED), SEAL).certificate is None
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text("UPDATE set_offs SET amount = 0"))


def test_a_migrated_database_still_holds_its_foreign_keys(empty_database: str) -> None:
    with disposed(make_engine(empty_database)) as engine:
        upgrade_engine(engine)
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text("INSERT INTO crawled_pages VALUES (7, 'https://hub.example')"))


def test_no_module_with_tables_is_forgotten() -> None:
    program = "from api.tables import metadata; print(*sorted(metadata.tables))"
    listed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    for package in (commons, marketplace, clearing, crawler):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    assert sorted(metadata.tables) == listed
