"""LocalPay itself, run for the demo as an operator would run it: by its command line."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import httpx2
import orjson

from commons.errors import LocalPayError, UnavailableError
from commons.settings import Settings
from demo.documents import Json

LOOPBACK: Final = "127.0.0.1"
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02
COMMAND_SECONDS: Final = 60.0
_PROGRAM: Final = (sys.executable, "-m", "api.commands")
_LOG_TAIL_CHARS: Final = 2000


def free_port(wanted: int = 0) -> int:
    """Return `wanted` where that loopback port is free, else any free one."""
    try:
        with socket.create_server((LOOPBACK, wanted)) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        if wanted == 0:
            raise
        return free_port()


class Service:
    """LocalPay on a loopback port with its data in `data_dir`; a context manager that serves."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self._log = data_dir / "serve.log"
        self._environment = _environment(data_dir, self.url)
        self.database_url = Settings(data_dir=data_dir, database_url="").effective_database_url
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(base_url=self.url, trust_env=False, timeout=10.0)

    def __enter__(self) -> Self:
        self.command("migrate")
        port = self.url.rpartition(":")[2]
        with self._log.open("wb") as log:
            # A session of its own, so that Ctrl-C reaches it through us, after the hubs.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*_PROGRAM, "serve", "--port", port],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_healthy(self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def command(self, *arguments: str) -> str:
        """Run `localpay` with the arguments and return its stdout; LocalPayError on failure."""
        done = self._run(*arguments)
        if done.returncode != 0:
            said = (done.stderr or done.stdout)[-_LOG_TAIL_CHARS:]
            msg = f"localpay {' '.join(arguments)} ended with {done.returncode}: {said}"
            raise LocalPayError(msg)
        return done.stdout

    def exit_status(self, *arguments: str) -> int:
        """Run `localpay` with the arguments and return what it ends with."""
        return self._run(*arguments).returncode

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program
            [*_PROGRAM, *arguments],
            env=self._environment,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
            text=True,
        )

    def get(
        self, path: str, params: Mapping[str, str | int] | None = None, token: str | None = None
    ) -> Json:
        """Return what an address answers, to whom has the token; LocalPayError where it fails."""
        headers = None if token is None else {"Authorization": f"Bearer {token}"}
        response = self._client.get(path, params=params, headers=headers)
        if response.is_error:
            msg = f"GET {response.url}: {response.status_code} {response.text[:500]}"
            raise LocalPayError(msg)
        answer: Json = orjson.loads(response.content)
        return answer

    def listings(self, **params: str | int) -> Json:
        """Search: the parameters and the answer are those of `GET /listings`."""
        return self.get("/listings", params)

    def titles(self, words: str, group: str) -> set[str]:
        """Return the titles that a search for words finds in a group."""
        return {hit["title"] for hit in self.listings(q=words, group=group, limit=100)["hits"]}

    def log_tail(self) -> str:
        """Return the end of what the service logged."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL_CHARS:]

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                msg = f"LocalPay ended with {process.returncode}: {self.log_tail()}"
                raise UnavailableError(msg)
            with contextlib.suppress(httpx2.TransportError):  # it does not listen yet
                if self._client.get("/health").is_success:
                    return
            time.sleep(POLL_SECONDS)
        msg = f"LocalPay was not healthy within {START_SECONDS:g} s: {self.log_tail()}"
        raise UnavailableError(msg)


def _environment(data_dir: Path, url: str) -> dict[str, str]:
    """Return our environment without the settings of any other LocalPay on this machine."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCALPAY_")}
    return inherited | {
        "LOCALPAY_BASE_URL": url,
        "LOCALPAY_DATA_DIR": str(data_dir),
        "LOCALPAY_ALLOW_LOOPBACK": "true",
        "LOCALPAY_CONTACT": "demo@localhost",
    }
