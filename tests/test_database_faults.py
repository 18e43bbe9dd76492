"""When the database fails: a clear problem, no effect, and nothing of it lost or told."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from clearing_world import assert_sound
from conftest import disposed
from every_table import everything
from operating import run
from paying_world import World, open_doors, payment, problem
from served import verified_by_our_key
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import InternalError, OperationalError

from api import database_faults
from api.durability import check_durability
from bench.postgres import new_database
from commons.database import make_engine, transaction
from commons.errors import ConflictError
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, postgresql_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, postgresql_engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def assert_unavailable(world: World, pending: str) -> None:
    """Try each kind of call: all are told to come back, and why is told to nobody."""
    before = everything(world.engine)
    creates = [{"do": "create", "id": str(uuid.uuid4()), **payment()} for _ in range(2)]
    for method, path, body in (
        ("PUT", f"/transfers/{uuid.uuid4()}", payment()),
        ("POST", f"/transfers/{pending}/accept", None),
        ("POST", "/transfers/batch", {"calls": creates}),
        ("GET", "/transfers", None),
    ):
        answer = world.service.call(world.leeds, method, path, body)
        told = problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert verified_by_our_key(world.service, answer)
        for word in ("read-only", "readonly", "QueuePool", "sqlite", "psycopg2"):
            assert word not in told["detail"]
    assert everything(world.engine) == before


def test_a_read_only_postgresql_is_told_and_payments_go_on_after_it(world: World) -> None:
    pending = world.made()
    world.see(world.leeds, pending)
    name = make_url(str(world.engine.url)).database
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        world.service.services.engine.dispose()  # its next connections are read-only
        try:
            assert_unavailable(world, pending)
        finally:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f'ALTER DATABASE "{name}" RESET ALL'))
        world.service.services.engine.dispose()
    assert world.move(world.leeds, pending, "accept").json()["state"] == "posted"
    assert_sound(world.engine)


def _refuse_writing(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def test_a_read_only_sqlite_is_told_and_payments_go_on_after_it(embedded: World) -> None:
    pending = embedded.made()
    embedded.see(embedded.leeds, pending)
    engine = embedded.service.services.engine
    event.listen(engine, "connect", _refuse_writing)
    engine.dispose()  # its next connections are read-only
    try:
        assert_unavailable(embedded, pending)
    finally:
        event.remove(engine, "connect", _refuse_writing)
        engine.dispose()
    assert embedded.move(embedded.leeds, pending, "accept").json()["state"] == "posted"
    assert_sound(embedded.engine)


def test_an_exhausted_pool_is_told_and_payments_go_on_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = world.made()
    engine = world.service.services.engine
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)
    with ExitStack() as taken:
        with suppress(database_faults.FAULTS[-1]):
            while True:
                taken.enter_context(engine.connect())
        assert_unavailable(world, pending)
    assert world.move(world.leeds, pending, "accept").json()["state"] == "posted"
    assert_sound(world.engine)


def test_a_fault_of_ours_is_none_of_the_databases() -> None:
    ours = InternalError("SELECT 1", {}, Exception("current transaction is aborted"))
    assert database_faults.reason(ours) is None
    assert database_faults.reason(ValueError("x")) is None
    full = OperationalError("INSERT", {"name": "ines"}, sqlite3.OperationalError("ines"))
    assert "ines" not in (database_faults.reason(full) or "")


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync", "full_page_writes"])
def test_a_server_that_may_lose_payments_is_refused_at_start(
    postgresql_engine: Engine, setting: str
) -> None:
    with pytest.raises(ConflictError) as refused:
        check_durability(postgresql_engine)
    assert f"{setting}=off" in refused.value.detail


def test_one_session_setting_that_is_off_is_refused(
    postgresql_server: str, postgresql_template: str
) -> None:
    with new_database(postgresql_server, postgresql_template) as url:
        with disposed(make_engine(url)) as engine, transaction(engine) as session:
            name = make_url(url).database
            session.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = on'))
        with disposed(make_engine(url)) as engine:
            with pytest.raises(ConflictError) as refused:
                check_durability(engine)
            assert "synchronous_commit" not in refused.value.detail
            assert "fsync=off" in refused.value.detail


def test_the_worker_does_not_start_on_a_server_that_may_lose_payments(
    settings: Settings, postgresql_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql_engine.url.render_as_string(hide_password=False)
    told = settings.model_copy(update={"database_url": url, "data_dir": tmp_path})
    monkeypatch.setattr("operating.environment", lambda _: _strict(told))
    for command in ("serve", "work"):
        ended = run(told, command)
        assert ended.exit_code == 1, ended.output
        assert "fsync=off" in ended.output
        assert "LOCALPAY_ALLOW_LOSS" in ended.output


def _strict(settings: Settings) -> dict[str, str]:
    return {
        "LOCALPAY_DATA_DIR": str(settings.data_dir),
        "LOCALPAY_DATABASE_URL": settings.database_url,
        "LOCALPAY_ALLOW_LOSS": "false",
    }


def test_the_embedded_database_is_durable(sqlite_engine: Engine) -> None:
    check_durability(sqlite_engine)
    with sqlite_engine.connect() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
