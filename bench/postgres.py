"""A PostgreSQL server of the tests' and benches' own; as a program, installs what that needs.

The server listens on a free port of the loopback, lives in a temporary folder, trades durability
for speed, and ends with the process that started it, whichever way that ends.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

PACKAGES = ("postgresql-15", "postgresql-15-postgis-3")
OLDEST_VERSION = 15
START_SECONDS = 30
POLL_SECONDS = 0.02
HELD_SECONDS = 0.3
# The data are thrown away afterwards, so nothing needs to survive a loss of power.
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=200")
CURE = (
    "Tests and benches need PostgreSQL 15 or later with PostGIS. Either install both "
    f"(Debian: {' '.join(PACKAGES)}), or start one with `docker compose up -d postgis` and set "
    "LOCALPAY_TEST_DATABASE_URL=postgresql+psycopg2://user:password@host:port/database; "
    "its user must be a superuser, or may create databases and extensions."
)


class PostgresMissingError(Exception):
    """No usable PostgreSQL, and none can be installed; the message says what to do."""


def find_programs() -> Path | None:
    """Folder of initdb and postgres, oldest version first (15 is what is promised)."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    known = sorted(debian, key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    candidates = [*known, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in candidates if _usable(folder)), None)


def _usable(folder: Path) -> bool:
    """Whether the folder holds a server of a fitting version that has PostGIS beside it."""
    if not all((folder / name).exists() for name in ("initdb", "postgres", "pg_config")):
        return False
    major = _output(folder / "pg_config", "--version").split()[1].split(".")[0]
    extensions = Path(_output(folder / "pg_config", "--sharedir")) / "extension"
    new_enough = major.isdigit() and int(major) >= OLDEST_VERSION
    return new_enough and (extensions / "postgis.control").exists()


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (ours)
    return done.stdout.strip()


def install() -> None:
    """Install server and PostGIS by apt-get as root on Debian, without a server that stays on.

    Raises PostgresMissingError where that is not possible.
    """
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise PostgresMissingError(CURE)
    sys.stderr.write(f"Installing {' and '.join(PACKAGES)} for tests and benches …\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    no_cluster = Path("/etc/postgresql-common/createcluster.d/localpay-tests.conf")
    no_cluster.parent.mkdir(parents=True, exist_ok=True)
    no_cluster.write_text("create_main_cluster = false\n", encoding="utf-8")
    try:
        subprocess.run([apt, "update", "-q"], check=True, env=environment)  # noqa: S603 (Debian's)
        command = [apt, "install", "-q", "-y", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, check=True, env=environment)  # noqa: S603 (Debian's)
    except subprocess.CalledProcessError as error:
        message = f"apt-get failed ({error.returncode}). {CURE}"
        raise PostgresMissingError(message) from error
    finally:
        no_cluster.unlink()


def ensure() -> Path:
    """Folder of the server's programs, installed first where they are missing and may be."""
    folder = find_programs()
    if folder is None:
        install()
        folder = find_programs()
    if folder is None:
        raise PostgresMissingError(CURE)
    return folder


@contextmanager
def running_server(
    programs: Path,
    folder: Path = Path("/tmp"),  # noqa: S108 (mkdtemp makes a folder in it)
) -> Iterator[str]:
    """URL (psycopg2, superuser) of a new server below `folder` that ends with the block."""
    with server_home(folder) as home:
        server = Server(programs, home, FAST)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def server_home(folder: Path) -> Iterator[Path]:
    """Yield a new folder for a server; it is gone after the block."""
    # /tmp itself: a socket's path may be 107 bytes long, and TMPDIR may be closed to `postgres`.
    home = Path(tempfile.mkdtemp(prefix="localpay-pg-", dir=folder))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def new_database(server: str, template: str = "template0") -> Iterator[str]:
    """URL of a new database on the server; it is dropped at the end, whoever is connected."""
    name = f"localpay_test_{uuid.uuid4().hex}"
    url = make_url(server).set(database=name)
    admin = create_engine(server, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    try:
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            with admin.connect() as connection:
                connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    finally:
        admin.dispose()


class Server:
    """A server with its data in `home`: it can be stopped or killed, and started again."""

    def __init__(self, programs: Path, home: Path, options: Sequence[str]) -> None:
        self._programs = programs
        self._home = home
        self._options = options
        self._owner = _owner()
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        password = secrets.token_hex(16)
        self._init(password)
        self.url = f"postgresql+psycopg2://localpay:{password}@127.0.0.1:{self._port}/postgres"

    def _init(self, password: str) -> None:
        password_file = self._home / "password"
        password_file.write_text(password, encoding="utf-8")
        if self._owner:
            for path in (self._home, password_file):
                shutil.chown(path, self._owner["user"], self._owner["group"])
        command = [str(self._programs / "initdb"), "--pgdata", str(self._home / "data")]
        command += ["--username", "localpay", "--no-sync", "--encoding", "UTF8"]
        command += ["--locale", "C.UTF-8", "--auth", "scram-sha-256"]
        command += ["--pwfile", str(password_file)]
        subprocess.run(  # noqa: S603 (a program that was looked for)
            command, check=True, stdout=subprocess.DEVNULL, cwd=self._home, **self._owner
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        command = [str(self._programs / "postgres"), "-D", str(self._home / "data")]
        options = (f"port={self._port}", "listen_addresses=127.0.0.1")
        for option in (*options, f"unix_socket_directories={self._home}", *self._options):
            command += ["-c", option]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (a program that was looked for)
                [*dies_with_us("INT"), *command],
                cwd=self._home,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it, and who stops it too
                **self._owner,
            )
        _wait_until_ready(self._process, self._home)

    def stop(self) -> None:
        """Shut it down, and reap it."""
        if self._process is not None:
            _stop(self._process)

    def kill(self) -> None:
        """End it and all its processes at once, as a crash does (Linux).

        The writer of what was not waited for is held a moment before. Who waits for each commit
        does not need it; else what is lost would depend on how lately it woke up.
        """
        if self._process is None:
            raise RuntimeError("the server was not started")
        postmaster = self._process.pid
        children = _children(postmaster)
        for pid in children:
            if b"walwriter" in _command_line(pid):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(HELD_SECONDS)
        os.kill(postmaster, signal.SIGSTOP)  # so that it starts no more of them
        children = _children(postmaster)
        for pid in (*children, postmaster):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(_command_line(pid) for pid in children):
            time.sleep(POLL_SECONDS)


def _children(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in told.split()]


def _command_line(pid: int) -> bytes:
    """Return what a process is called; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _owner() -> dict[str, Any]:
    """Whom the server runs as: PostgreSQL refuses root, whose place the user `postgres` takes."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def dies_with_us(by: str) -> list[str]:
    """Prefix of a command that makes the kernel send it a signal when we are killed (Linux)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", by, "--"] if setpriv else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], home: Path) -> None:
    """Wait for `ready` in the last line of the server's own pid file, where it states its state.

    One that was killed has left its file, whose first line is another process.
    """
    state = home / "data" / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        lines = state.read_text(encoding="utf-8").split() if state.exists() else []
        if lines and (lines[0], lines[-1]) == (str(server.pid), "ready"):
            return
        time.sleep(POLL_SECONDS)
    _stop(server)
    log = (home / "log").read_text(encoding="utf-8", errors="replace")
    message = f"PostgreSQL did not start:\n{log}"
    raise RuntimeError(message)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown (SIGINT), and an end by force where that takes too long; reaped either way."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
    try:
        server.wait(timeout=START_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    try:
        if not os.environ.get("LOCALPAY_TEST_DATABASE_URL"):
            ensure()
    except PostgresMissingError as missing:
        sys.exit(str(missing))
