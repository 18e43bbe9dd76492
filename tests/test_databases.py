"""The two databases that the tests run on are what they claim to be."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import disposed
from sqlalchemy import Engine, create_engine, inspect, text

from api.tables import metadata
from bench.postgres import ensure, find_programs, new_database, running_server


def test_a_fresh_database_has_every_table_of_the_models(engine: Engine) -> None:
    assert set(metadata.tables) <= set(inspect(engine).get_table_names())


@pytest.mark.parametrize("round_", [1, 2])
def test_what_one_test_writes_the_next_does_not_see(engine: Engine, round_: int) -> None:
    with engine.begin() as connection:
        names = inspect(connection).get_table_names()
        assert "left_behind" not in names, round_
        connection.execute(text("CREATE TABLE left_behind (id INTEGER)"))


def test_postgis_measures_on_the_globe(postgresql_engine: Engine) -> None:
    with postgresql_engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION postgis"))
        # A degree of longitude on the equator of WGS 84: pi * 6,378,137 m / 180.
        question = "SELECT ST_Distance('POINT(0 0)'::geography, 'POINT(1 0)'::geography)"
        assert connection.scalar(text(question)) == pytest.approx(111_319.49, abs=0.01)


def test_a_dropped_database_is_gone(postgresql_server: str) -> None:
    with new_database(postgresql_server) as url:
        name = url.rsplit("/", maxsplit=1)[-1]
    question = text("SELECT count(*) FROM pg_database WHERE datname = :name")
    with disposed(create_engine(postgresql_server)) as admin, admin.connect() as connection:
        assert connection.scalar(question, {"name": name}) == 0


@pytest.fixture
def programs() -> Path:
    """Folder of PostgreSQL's programs, for tests of our own way to run it."""
    if os.environ.get("LOCALPAY_TEST_DATABASE_URL") and find_programs() is None:
        pytest.skip("the server is given and its programs are not on this machine")
    return ensure()


def test_a_server_ends_with_its_block_and_leaves_nothing(programs: Path) -> None:
    with running_server(programs) as url:
        data, pid = _where(url)
    assert not data.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's own")
def test_a_server_ends_when_its_tests_are_killed(programs: Path) -> None:
    program = (
        "import pathlib, sys, time; from bench.postgres import running_server\n"
        "with running_server(pathlib.Path(sys.argv[1])) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(programs)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=here) as tests:
        assert tests.stdout is not None
        url = tests.stdout.readline().strip()
        data, pid = _where(url)
        server = os.pidfd_open(pid)
        tests.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([server], [], [], 10)
    os.close(server)
    shutil.rmtree(data.parent)
    assert ended


def _where(url: str) -> tuple[Path, int]:
    """Data folder and process id of the server."""
    with disposed(create_engine(url)) as admin, admin.connect() as connection:
        data = Path(str(connection.scalar(text("SHOW data_directory"))))
    return data, int((data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
