"""The service's own role in PostgreSQL adds to the ledger, and cannot rewrite it."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from clearing_world import GROUPS, accept, assert_sound, call, limit, made, open_world, pay, push
from conftest import disposed
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError
from test_commands import good, refused

from api import migrations
from api.tables import metadata
from clearing import levies, participation, periods, rounds
from clearing.calls import Move, Reverse, Verb, expire_due
from commons import database
from commons.database import make_engine, transaction
from commons.settings import Settings

ROLE = f"localpay_service_{uuid.uuid4().hex[:8]}"
PASSWORD = "only-in-this-test"  # noqa: S105 (of a server that lives as long as the tests)


@pytest.fixture
def owner(settings: Settings, postgresql_engine: Engine) -> Settings:
    """Settings of whoever owns the tables."""
    url = postgresql_engine.url.render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": url})


@pytest.fixture
def role(postgresql_engine: Engine) -> Iterator[str]:
    with postgresql_engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE \"{ROLE}\" LOGIN PASSWORD '{PASSWORD}'"))
    yield ROLE
    with postgresql_engine.begin() as connection:
        connection.execute(text(f'DROP OWNED BY "{ROLE}"'))
        connection.execute(text(f'DROP ROLE "{ROLE}"'))


@pytest.fixture
def service(owner: Settings, postgresql_engine: Engine, role: str) -> Iterator[Engine]:
    """The database as the service sees it with its own role."""
    for _ in range(2):  # after each migration again
        good(owner, "database", "grant", role)
    url = postgresql_engine.url.set(username=role, password=PASSWORD)
    with disposed(make_engine(url.render_as_string(hide_password=False))) as engine:
        yield engine


def test_with_its_own_role_the_service_does_all_its_work(service: Engine) -> None:
    migrations.check(service)
    open_world(service)
    with transaction(service) as session:
        participation.join(session, "leeds", "north")
    limit(service, "barcelona", credit="20", surplus="30")
    payment = pay(service, "barcelona", "leeds", "8")
    call(service, accept(made(service, push("leeds", "ghent", "9.3057"))))
    pay(service, "ghent", "barcelona", "7")
    assert call(service, Reverse(uuid.uuid4(), None, payment.id, "1")).error is None
    rejected = made(service, push("barcelona", "leeds", "1"))
    assert call(service, Move(rejected.id, "leeds", Verb.REJECT)).error is None
    with transaction(service) as session:
        assert expire_due(session) == 0
        rounds.commit(session, rounds.propose(session).id)
    with transaction(service) as session:
        levies.set_rule(session, "main", None, "operator")
        yesterday = database.now(session).date() - timedelta(days=1)
        periods.close(session, "main", yesterday, "operator")
    assert len(GROUPS) == 3
    assert_sound(service)


def test_by_permission_alone_nothing_of_the_ledger_is_changed(
    service: Engine, postgresql_engine: Engine
) -> None:
    open_world(service)
    pay(service, "barcelona", "leeds", "8")
    guarded = [table for table in metadata.sorted_tables if "append_only" in table.info]
    assert {"journals", "entries", "chain_rows", "limit_changes", "events", "deeds"} <= {
        table.name for table in guarded
    }
    for table in guarded:
        column = next(iter(table.columns)).name
        for forbidden in (
            f"UPDATE {table.name} SET {column} = {column}",  # noqa: S608 (our own tables)
            f"DELETE FROM {table.name}",  # noqa: S608 (as above)
            f"TRUNCATE {table.name} CASCADE",
            f"DROP TRIGGER {table.name}_append_only ON {table.name}",
            f"ALTER TABLE {table.name} DISABLE TRIGGER USER",
            f"DROP TABLE {table.name} CASCADE",
        ):
            assert denied(service, forbidden), forbidden
    for forbidden in (
        "UPDATE alembic_version SET version_num = '0001'",
        "SET session_replication_role = replica",
        "TRUNCATE accounts CASCADE",
    ):
        assert denied(service, forbidden), forbidden
    assert_sound(postgresql_engine)


def denied(engine: Engine, statement: str) -> bool:
    """Tell whether the role lacks the right, whatever the triggers would say."""
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except ProgrammingError as error:
        return str(getattr(error.orig, "pgcode", "")) == "42501"
    return False


def test_a_role_that_would_not_be_bound_is_refused(
    owner: Settings, settings: Settings, postgresql_engine: Engine
) -> None:
    own = str(postgresql_engine.url.username)
    assert "would not be bound" in refused(owner, "database", "grant", own, code=1)
    assert "no role 'nobody'" in refused(owner, "database", "grant", "nobody", code=1)
    assert "PostgreSQL" in refused(settings, "database", "grant", "any", code=1)
