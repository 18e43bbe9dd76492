"""Limits that were set before their changes were chained are chained by the migration."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clearing_world import assert_sound
from conftest import disposed
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from api.migrations import upgrade_engine
from bench.postgres import new_database
from clearing.accounts import LimitChange, set_limits
from clearing.chain import first_hash
from commons.database import make_engine, transaction

BEFORE = (
    "INSERT INTO unions (id, created_at) VALUES ('main', '2026-10-01 08:00:00')",
    (
        "INSERT INTO groups (id, uri, name, summary, created_at)"
        " VALUES ('leeds', 'https://hub.example/group', 'Leeds', '', '2026-10-01 08:00:00')"
    ),
    (
        "INSERT INTO accounts (id, union_id, group_id, kind, name, balance, pending_out,"
        " pending_in, credit_limit, version, head)"
        " VALUES (1, 'main', 'leeds', 'group', 'leeds', 0, 0, 0, 7, 0, :head)"
    ),
    (
        "INSERT INTO limit_changes (account_id, kind, stop, used, changed_at)"
        " VALUES (1, 'credit', NULL, 0, '2026-10-01 08:00:00'),"
        " (1, 'surplus', NULL, 0, '2026-10-01 08:00:00'),"
        " (1, 'credit', 7, 0, '2026-10-02 09:00:00.123456')"
    ),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    with new_database(request.getfixturevalue("postgresql_server")) as url:
        yield url


def test_changes_of_before_are_chained_and_guarded_again(empty_database: str) -> None:
    with disposed(make_engine(empty_database)) as engine:
        upgrade_engine(engine, "0005")
        with engine.begin() as connection:
            for statement in BEFORE:
                values = {"head": first_hash("main", "leeds")} if ":head" in statement else {}
                connection.execute(text(statement), values)
        upgrade_engine(engine)
        with transaction(engine) as session:
            set_limits(session, "leeds", 5, None)
        assert_sound(engine)
        with engine.connect() as connection:
            hashes = connection.scalars(text("SELECT hash FROM limit_changes")).all()
        assert len(set(hashes)) == 4
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(update(LimitChange).values({"used": 1}))
