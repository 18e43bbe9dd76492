"""A PostgreSQL server of the tests' and benches' own; as a program, installs what that needs.

The server listens on a free port of the loopback, lives in a temporary folder, trades durability
for speed, and ends with the process that started it, whichever way that ends.
"""

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

PACKAGES = ("postgresql-15", "postgresql-15-postgis-3")
OLDEST_VERSION = 15
START_SECONDS = 30
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
def running_server(programs: Path) -> Iterator[str]:
    """URL (psycopg2, superuser) of a new server that ends with the block."""
    # /tmp itself: a socket's path may be 107 bytes long, and TMPDIR may be closed to `postgres`.
    home = Path(tempfile.mkdtemp(prefix="localpay-pg-", dir="/tmp"))
    try:
        server, url = _start(programs, home)
        try:
            yield url
        finally:
            _stop(server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def new_database(server: str, template: str = "template0") -> Iterator[str]:
    """URL of a new database on the server; it is dropped at the end, whoever is connected."""
    name = f"localpay_test_{uuid.uuid4().hex}"
    url = make_url(server).set(database=name)
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
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


def _start(programs: Path, home: Path) -> tuple[subprocess.Popen[bytes], str]:
    owner = _owner()
    password = secrets.token_hex(16)
    password_file = home / "password"
    password_file.write_text(password, encoding="utf-8")
    if owner:
        for path in (home, password_file):
            shutil.chown(path, owner["user"], owner["group"])
    data = home / "data"
    initdb = [
        str(programs / "initdb"),
        "--pgdata",
        str(data),
        "--username",
        "localpay",
        "--no-sync",
    ]
    initdb += ["--encoding", "UTF8", "--locale", "C.UTF-8", "--auth", "scram-sha-256"]
    initdb += ["--pwfile", str(password_file)]
    subprocess.run(  # noqa: S603 (a program that was looked for)
        initdb, check=True, stdout=subprocess.DEVNULL, cwd=home, **owner
    )
    port = _free_port()
    options = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={home}"]
    command = [str(programs / "postgres"), "-D", str(data)]
    for option in (*options, *FAST):
        command += ["-c", option]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 (a program that was looked for)
            [*_die_with_parent(), *command],
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for whoever started it, and who stops it too
            **owner,
        )
    _wait_until_ready(server, home)
    return server, f"postgresql+psycopg2://localpay:{password}@127.0.0.1:{port}/postgres"


def _owner() -> dict[str, Any]:
    """Whom the server runs as: PostgreSQL refuses root, whose place the user `postgres` takes."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _die_with_parent() -> list[str]:
    """Prefix that makes the kernel stop the server when its starter is killed (Linux)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], home: Path) -> None:
    """Wait for `ready` in the last line of the server's own pid file, where it states its state."""
    state = home / "data" / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        lines = state.read_text(encoding="utf-8").split() if state.exists() else []
        if lines and lines[-1] == "ready":
            return
        time.sleep(0.02)
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
