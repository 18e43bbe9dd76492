"""What fails under the ledger leaves nothing behind, and payments go on afterwards."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    balances,
    call,
    counted,
    made,
    open_world,
    pay,
    push,
    state,
    transfer,
)
from conftest import disposed
from small_disk import SmallDisk, small_disk
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from clearing.calls import Call, Outcome
from clearing.ledger import Journal
from clearing.poster import Poster
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import make_engine, transaction
from commons.errors import UnauthenticatedError
from commons.groups import HubKey, KeyAlgorithm
from commons.nonces import Used

SECONDS_MOST = 60


@contextmanager
def posting(engine: Engine) -> Iterator[Callable[..., Outcome]]:
    """Yield what hands a call to a poster and waits for what it came to."""
    poster = Poster(engine)
    poster.start()

    def submit(one: Call) -> Outcome:
        waiting: Future[Outcome] = poster.submit(one)
        return waiting.result(SECONDS_MOST)

    try:
        yield submit
    finally:
        poster.stop()


def goes_on_after_a_full_disk(engine: Engine, disk: SmallDisk) -> None:
    """Fill the disk, pay until that fails, make room, and send again what was not answered."""
    pay(engine, "barcelona", "leeds", "1")
    disk.fill()
    with posting(engine) as submit:
        unanswered, answered = None, []
        for _ in range(2_000):
            one = push("barcelona", "leeds", "0.01", description="x" * 400)
            try:
                answered.append(submit(one).transfer)
            except OperationalError:
                unanswered = one
                break
        assert unanswered is not None
        assert transfer(engine, unanswered.id) is None
        assert counted(engine, Transfer) == 1 + len(answered)
        disk.make_room()
        assert submit(unanswered).error is None
        assert submit(accept(unanswered)).error is None
    assert state(engine, unanswered) is TransferState.POSTED
    assert_sound(engine)


def test_a_full_disk_under_sqlite_loses_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, megabytes=8) as disk:
        shutil.copyfile(sqlite_template, folder / "localpay.sqlite")
        with disposed(make_engine(f"sqlite:///{folder}/localpay.sqlite")) as engine:
            open_world(engine)
            goes_on_after_a_full_disk(engine, disk)


@pytest.fixture
def tablespace(postgresql_server: str) -> Iterator[tuple[str, SmallDisk]]:
    """Name of a tablespace on a small disk; only a server on this machine can have one."""
    if make_url(postgresql_server).host != "127.0.0.1" or not shutil.which("mount"):
        pytest.skip("the server is not on this machine")
    folder = Path(tempfile.mkdtemp(prefix="localpay-disk-"))
    name = f"small_{uuid.uuid4().hex}"
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    try:
        with disposed(admin), small_disk(folder, megabytes=24) as disk:
            folder.chmod(0o755)
            inside = folder / "tables"
            inside.mkdir()
            shutil.chown(inside, "postgres", "postgres")
            with admin.connect() as connection:
                connection.execute(text(f"CREATE TABLESPACE {name} LOCATION '{inside}'"))
            yield name, disk
            with admin.connect() as connection:
                connection.execute(text(f"DROP TABLESPACE {name}"))
    finally:
        folder.rmdir()


def test_a_full_disk_under_postgresql_loses_nothing(
    postgresql_server: str, postgresql_template: str, tablespace: tuple[str, SmallDisk]
) -> None:
    space, disk = tablespace
    name = f"localpay_test_{uuid.uuid4().hex}"
    url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    with disposed(admin), admin.connect() as connection:
        how = f'TEMPLATE "{postgresql_template}" TABLESPACE {space}'
        connection.execute(text(f'CREATE DATABASE "{name}" {how}'))
        try:
            with disposed(make_engine(url)) as engine:
                open_world(engine)
                goes_on_after_a_full_disk(engine, disk)
        finally:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@contextmanager
def breaking(engine: Engine, times: int) -> Iterator[list[int]]:
    """Have the server end our connection in the middle of a posting, so many times."""
    broken: list[int] = []

    def end(connection: Any, _: Any, statement: str, *__: Any) -> None:  # noqa: ANN401 (SQLAlchemy's)
        if "INSERT INTO chain_rows" not in statement or len(broken) == times:
            return
        broken.append(connection.connection.driver_connection.get_backend_pid())
        with disposed(create_engine(engine.url)) as other, other.begin() as session:
            session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": broken[-1]})

    event.listen(engine, "before_cursor_execute", end)
    try:
        yield broken
    finally:
        event.remove(engine, "before_cursor_execute", end)


def test_a_connection_lost_in_the_middle_of_a_posting_is_not_noticed(
    postgresql_engine: Engine,
) -> None:
    open_world(postgresql_engine)
    one = made(postgresql_engine, push("barcelona", "leeds", "3"))
    with breaking(postgresql_engine, times=1) as broken, posting(postgresql_engine) as submit:
        assert submit(accept(one)).error is None
    assert len(broken) == 1
    assert balances(postgresql_engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}
    assert_sound(postgresql_engine)


def test_a_connection_that_is_always_lost_is_told_and_nothing_is_done(
    postgresql_engine: Engine,
) -> None:
    open_world(postgresql_engine)
    one = made(postgresql_engine, push("barcelona", "leeds", "3"))
    with posting(postgresql_engine) as submit:
        with breaking(postgresql_engine, times=100) as broken, pytest.raises(OperationalError):
            submit(accept(one))
        assert 1 < len(broken) < 100
        assert (state(postgresql_engine, one), balances(postgresql_engine)) == (
            TransferState.PENDING,
            {},
        )
        assert counted(postgresql_engine, Journal) == 0
        assert submit(accept(one)).error is None
    assert balances(postgresql_engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}
    assert_sound(postgresql_engine)


class SteppedClock(datetime):
    """A clock of this machine that somebody set wrong."""

    step = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.step


@pytest.mark.parametrize("step", [timedelta(days=-400), timedelta(days=400)])
def test_a_wrong_clock_of_this_machine_means_nothing_to_postgresql(
    postgresql_engine: Engine, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    open_world(postgresql_engine)
    one = made(postgresql_engine, push("barcelona", "leeds", "3"))
    monkeypatch.setattr(SteppedClock, "step", step)
    monkeypatch.setattr(database, "datetime", SteppedClock)
    call(postgresql_engine, accept(one))
    found = transfer(postgresql_engine, one.id)
    assert found is not None
    assert found.ended_at is not None
    assert abs(found.ended_at - datetime.now(UTC)) < timedelta(days=1)
    assert_sound(postgresql_engine)


def test_the_embedded_clock_set_forward_expires_and_set_back_posts(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is posted is so no earlier than it was made, nor than what its accounts had last."""
    open_world(sqlite_engine)
    late, early = (made(sqlite_engine, push("barcelona", "leeds", "3")) for _ in range(2))
    again = made(sqlite_engine, push("leeds", "barcelona", "1"))
    monkeypatch.setattr(database, "datetime", SteppedClock)
    monkeypatch.setattr(SteppedClock, "step", timedelta(days=400))
    assert call(sqlite_engine, accept(late)).error is not None
    assert state(sqlite_engine, late) is TransferState.EXPIRED
    ahead = pay(sqlite_engine, "leeds", "ghent", "1")
    monkeypatch.setattr(SteppedClock, "step", timedelta(hours=-1))
    call(sqlite_engine, accept(early))
    assert state(sqlite_engine, early) is TransferState.POSTED
    call(sqlite_engine, accept(again))
    assert balances(sqlite_engine) == {"barcelona": -2 * HOUR, "leeds": HOUR, "ghent": HOUR}
    posted = [transfer(sqlite_engine, one.id) for one in (ahead, early, again)]
    assert len({one.ended_at for one in posted if one is not None}) == 1
    assert_sound(sqlite_engine)


@contextmanager
def losing_a_commit(engine: Engine) -> Iterator[list[int]]:
    """Have the server keep a transaction, and end the connection before it says so."""
    lost: list[int] = []

    def lose(connection: Any) -> None:  # noqa: ANN401 (SQLAlchemy's)
        if lost:
            return
        driver = connection.connection.driver_connection
        lost.append(driver.get_backend_pid())
        with driver.cursor() as cursor:
            cursor.execute("COMMIT")
            cursor.execute("BEGIN")
        with disposed(create_engine(engine.url)) as other, other.begin() as session:
            session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": lost[-1]})

    event.listen(engine, "commit", lose)
    try:
        yield lost
    finally:
        event.remove(engine, "commit", lose)


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_a_call_whose_commit_was_kept_but_not_told_is_answered_and_done_once(
    postgresql_engine: Engine,
    in_a_batch: bool,  # noqa: FBT001 (a case)
) -> None:
    engine = postgresql_engine
    open_world(engine)
    one = made(engine, push("barcelona", "leeds", "3"))
    with transaction(engine) as session:
        moment = database.now(session)
        used = Used("a key", "a nonce", moment + timedelta(minutes=15))
        session.add(
            HubKey(
                key_id=used.key_id,
                group_id="leeds",
                algorithm=KeyAlgorithm.ED25519,
                public_key_pem="",
                added_at=moment,
                confirmed_at=moment,
            )
        )
    poster = Poster(engine)
    poster.start()
    try:
        with losing_a_commit(engine) as lost:
            if in_a_batch:
                outcome = poster.submit_batch([accept(one)], used=used).result(SECONDS_MOST)[0]
            else:
                outcome = poster.submit(accept(one), used).result(SECONDS_MOST)
        assert (len(lost), outcome.error) == (1, None)
        assert outcome.transfer is not None
        assert outcome.transfer.state is TransferState.POSTED
        replay = poster.submit(accept(one), used).result(SECONDS_MOST)
        assert isinstance(replay.error, UnauthenticatedError)
    finally:
        poster.stop()
    assert counted(engine, Journal) == 1
    assert balances(engine) == {"barcelona": -3 * HOUR, "leeds": 3 * HOUR}
    assert_sound(engine)
