"""Fixtures of all tests: vectors, settings, a fresh migrated database and an index each."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from market import IMPLEMENTATIONS, add_groups
from sqlalchemy import Engine, make_url

from api.migrations import upgrade
from bench.postgres import PostgresMissingError, ensure, new_database, running_server
from commons.database import make_engine
from commons.settings import Settings
from marketplace import postgresql
from marketplace.index import Index
from marketplace.postgresql import PostgresqlIndex, searching

REPOSITORY = Path(__file__).resolve().parent.parent
IN_MEMORY, ON_DISK = Path("/dev/shm"), Path("/tmp")  # noqa: S108 (folders are made in them by mkdtemp)
ROOM_IN_MEMORY = 4 * 2**30

# Access lines between pytest's own would hide what matters.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
LOGGING = structlog.get_config()

# The same examples each time: a red test is about the change at hand.
hypothesis_settings.register_profile("ci", derandomize=True, deadline=None)
# New examples each time, and more of them: HYPOTHESIS_PROFILE=search make test ARGS=…
hypothesis_settings.register_profile("search", max_examples=2_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command run in this process set: its log goes to a stream that is closed now."""
    yield
    structlog.configure(**LOGGING)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of the outside documents and numbers that the tests read."""
    default = REPOSITORY.parent / "shared" / "vectors"
    folder = Path(os.environ.get("LOCALPAY_TEST_VECTORS") or default)
    if not folder.is_dir():
        pytest.skip(f"no test vectors at {folder}; set LOCALPAY_TEST_VECTORS")
    return folder


def databases_folder() -> Path:
    """Where databases that nobody keeps are quickest: in memory where there is room, else /tmp.

    They are as durable there as a test can tell, and no other test's writing holds them up.
    """
    roomy = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM_IN_MEMORY
    return IN_MEMORY if roomy and os.access(IN_MEMORY, os.W_OK) else ON_DISK


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """Folder of this test alone for its databases and index; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="localpay-test-", dir=databases_folder()))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def settings(quick_path: Path) -> Settings:
    """Settings of a service of this test alone, whose crawler may reach the loopback."""
    data_dir = quick_path / "data"
    data_dir.mkdir()
    return Settings(data_dir=data_dir, base_url="http://testserver", allow_loopback=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL where tests may make databases: the one given, or one of their own."""
    given = os.environ.get("LOCALPAY_TEST_DATABASE_URL")
    if given:
        yield given
        return
    try:
        programs = ensure()
    except PostgresMissingError as missing:
        pytest.fail(str(missing), pytrace=False)
    with running_server(programs, databases_folder()) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """Name of a migrated database to copy."""
    with new_database(postgresql_server) as url:
        upgrade(url)
        yield str(make_url(url).database)


@pytest.fixture
def sqlite_engine(sqlite_template: Path, quick_path: Path) -> Iterator[Engine]:
    """Engine of a fresh migrated SQLite database."""
    path = quick_path / "localpay.sqlite"
    shutil.copyfile(sqlite_template, path)
    with disposed(make_engine(f"sqlite:///{path}")) as engine:
        yield engine


@pytest.fixture
def postgresql_engine(postgresql_server: str, postgresql_template: str) -> Iterator[Engine]:
    """Engine of a fresh migrated PostgreSQL database."""
    with (
        new_database(postgresql_server, postgresql_template) as url,
        disposed(make_engine(url)) as engine,
    ):
        yield engine


@pytest.fixture(scope="session")
def postgresql_index_template(postgresql_server: str) -> Iterator[str]:
    """Name of a database to copy, in which an index has made what it needs, and is empty."""
    with new_database(postgresql_server) as url:
        index = PostgresqlIndex(url)
        index.apply([], since=0, revision=0)
        index.close()
        yield str(make_url(url).database)


@pytest.fixture
def patience() -> Iterator[pytest.MonkeyPatch]:
    """Give the index in PostgreSQL a minute to answer, since this machine may be busy.

    To be undone by a test of what it does where no answer comes in its own two seconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "ANSWER_SECONDS", 60)
        asked = postgresql._WHILE_ASKING.replace("'2s'", "'60s'")  # noqa: SLF001 (as above)
        patch.setattr(postgresql, "_WHILE_ASKING", asked)
        yield patch


@pytest.fixture
def postgresql_index_url(
    postgresql_server: str,
    postgresql_index_template: str,
    patience: pytest.MonkeyPatch,  # noqa: ARG001 (it is there while the index is)
) -> Iterator[str]:
    """URL of a fresh database with an empty index."""
    with new_database(postgresql_server, postgresql_index_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Engine of a fresh migrated database, once on each of the two."""
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    return engine


@pytest.fixture
def database(sqlite_engine: Engine) -> Engine:
    """Engine of a fresh migrated database with the groups of `market`."""
    add_groups(sqlite_engine)
    return sqlite_engine


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def index(request: pytest.FixtureRequest) -> Iterator[Index]:
    """Open an empty index, once of each kind."""
    made = IMPLEMENTATIONS[request.param](request)
    yield made
    made.close()


@contextmanager
def disposed(engine: Engine) -> Iterator[Engine]:
    """Close the engine's connections at the end of the block."""
    try:
        yield engine
    finally:
        engine.dispose()
