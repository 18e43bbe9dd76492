"""The service as an operator runs it, for the tests: its commands, and processes of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from typer.testing import CliRunner, Result

from api.commands import app
from commons.settings import Settings

WAIT_SECONDS = 30.0
ENDED = (0, -signal.SIGTERM)  # a server that has ended well raises the signal again


def environment(settings: Settings) -> dict[str, str]:
    ours = {
        "LOCALPAY_DATA_DIR": str(settings.data_dir),
        "LOCALPAY_DATABASE_URL": settings.database_url,
        "LOCALPAY_INDEX_URL": settings.index_url,
        "COLUMNS": "200",
        # The tests' own server is fast because it may lose everything.
        "LOCALPAY_ALLOW_LOSS": str(settings.database_url.startswith("postgresql")),
    }
    return {**os.environ, **ours}


def run(settings: Settings, *arguments: str) -> Result:
    """Run a command in this process; whatever it lets out besides an exit status is raised."""
    return CliRunner(env=environment(settings)).invoke(app, arguments, catch_exceptions=False)


@dataclass
class Running:
    """A process of `localpay`, what it says, and its interface where it serves one."""

    process: subprocess.Popen[bytes]
    log: Path
    client: httpx2.Client

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def says(self, sentence: str) -> bool:
        """Wait until it has said something, or has ended."""
        return self.until(lambda: sentence in self.said())

    def answers(self, path: str, status: int, word: str = "") -> httpx2.Response | None:
        """Ask until the answer has a status and a word in it; None where it never has."""
        answers: list[httpx2.Response] = []

        def asked() -> bool:
            try:
                answers.append(self.client.get(path))
            except httpx2.TransportError:
                return False
            return answers[-1].status_code == status and word in answers[-1].text

        return answers[-1] if self.until(asked) else None

    def until(self, true: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if true():
                return True
            os.sched_yield()
        return False


@contextmanager
def running(settings: Settings, command: str, log: Path) -> Iterator[Running]:
    """Run `localpay serve` on a free port, or `localpay work`, until the end of the block.

    Told to end it has to, by itself and in time: one that hangs ends too, and says where.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "api.commands", command]
    words += ["--port", str(port)] if command == "serve" else []
    with (
        log.open("wb") as out,
        subprocess.Popen(words, env=environment(settings), stderr=out, stdout=out) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            yield Running(process, log, client)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_SECONDS) in ENDED, log.read_text(encoding="utf-8")
        finally:
            process.kill()
