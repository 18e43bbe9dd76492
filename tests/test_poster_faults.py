"""Whatever fails under the poster: every call is answered, and the next one is handled."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from clearing_world import assert_sound, counted, ledger, open_world, push, state
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from api import database_faults
from clearing.poster import Poster, is_out_of_reach
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import transaction
from commons.groups import HubKey, KeyAlgorithm
from commons.nonces import Used

SECONDS = 30


@contextmanager
def posting(poster: Poster) -> Iterator[Poster]:
    poster.start()
    try:
        yield poster
    finally:
        poster.stop()


@contextmanager
def read_only(engine: Engine) -> Iterator[None]:
    """Have a PostgreSQL take no changes, as a replica or one short of room does."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        engine.dispose()  # its next connections are read-only
        try:
            yield
        finally:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f'ALTER DATABASE "{name}" RESET ALL'))
    engine.dispose()


def used(engine: Engine) -> Used:
    """Return a nonce that a key of the hub in Leeds signed with."""
    with transaction(engine) as session:
        moment = database.now(session)
        key = HubKey(
            key_id="https://leeds.example/group#main-key",
            group_id="leeds",
            algorithm=KeyAlgorithm.ED25519,
            public_key_pem="-",
            added_at=moment,
            confirmed_at=moment,
        )
        session.add(key)
        return Used(key.key_id, "n", moment + timedelta(minutes=10))


def test_a_batch_on_a_read_only_database_is_answered_and_the_next_call_works(
    postgresql_engine: Engine,
) -> None:
    open_world(postgresql_engine)
    before, nonce = ledger(postgresql_engine), used(postgresql_engine)
    creates = [push("leeds", "ghent", "1"), push("leeds", "ghent", "2")]
    with posting(Poster(postgresql_engine)) as poster:
        with read_only(postgresql_engine):
            batch, alone = poster.submit_batch(creates, used=nonce), poster.submit(creates[0])
            for error in (batch.exception(SECONDS), alone.exception(SECONDS)):
                assert isinstance(error, database_faults.FAULTS)
                assert database_faults.reason(error)  # the edge answers 503
        assert ledger(postgresql_engine) == before
        outcomes = poster.submit_batch(creates, used=nonce).result(SECONDS)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [state(postgresql_engine, one) for one in creates] == [TransferState.PENDING] * 2
    assert_sound(postgresql_engine)


def test_a_batch_whose_nonce_cannot_be_written_is_answered(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    nonce, inserted = used(sqlite_engine), []

    def fail_at_last(_: Any, __: Any, statement: str, *___: Any) -> None:  # noqa: ANN401 (SQLAlchemy's)
        if statement.startswith("INSERT INTO nonces"):
            inserted.append(statement)
            if len(inserted) > 3:  # each of its tries as a whole has broken before
                raise RuntimeError("as nobody foresaw")

    batch = [push("leeds", "ghent", "1"), push("leeds", "ghent", "1", description="\ud800")]
    event.listen(sqlite_engine, "before_cursor_execute", fail_at_last)
    try:
        with posting(Poster(sqlite_engine)) as poster:
            failed = poster.submit_batch(batch, used=nonce).exception(SECONDS)
            assert isinstance(failed, RuntimeError)
            assert len(inserted) == 4
            assert poster.submit(batch[0]).result(SECONDS).error is None
    finally:
        event.remove(sqlite_engine, "before_cursor_execute", fail_at_last)
    assert counted(sqlite_engine, Transfer) == 1


def test_who_listens_for_commits_fails_no_call(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    heard = threading.Event()

    def listening() -> None:
        heard.set()
        raise RuntimeError("the one that listens is gone")

    creates = [push("leeds", "ghent", "1") for _ in range(2)]
    with posting(Poster(sqlite_engine, listening)) as poster:
        for one in creates:
            assert poster.submit(one).result(SECONDS).created
    assert heard.is_set()
    assert counted(sqlite_engine, Transfer) == 2


@pytest.mark.parametrize(
    ("code", "told"), [("25006", True), ("53100", True), ("53300", True), ("40P01", False)]
)
def test_what_is_no_calls_fault_is_known_by_its_code(code: str, *, told: bool) -> None:
    cause = type("Cause", (Exception,), {"pgcode": code})()
    assert is_out_of_reach(OperationalError("INSERT", {}, cause)) is told
