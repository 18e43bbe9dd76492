"""`localpay serve` as an operator runs it behind one address, in one process or several."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.paying_hubs import NO_ANSWER, Line, PayingHub
from bench.postgres import dies_with_us
from demo.service import LOOPBACK, START_SECONDS, free_port

OK: Final = 200
POLL_SECONDS: Final = 0.02
_LOG_TAIL_CHARS: Final = 2_000
_PROGRAM: Final = (sys.executable, "-m", "api.commands")


class Processes:
    """`localpay serve` as often as there are ports, all under the address of the first."""

    def __init__(self, folder: Path, database_url: str, count: int, *, forgetful: bool) -> None:
        self.ports = [free_port() for _ in range(count)]
        self.url = f"http://{LOOPBACK}:{self.ports[0]}"
        self._log = folder / "serve.log"
        self._running: list[subprocess.Popen[bytes]] = []
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCALPAY_")}
        self._environment = inherited | {
            "LOCALPAY_BASE_URL": self.url,
            "LOCALPAY_DATA_DIR": str(folder),
            "LOCALPAY_DATABASE_URL": database_url,
            "LOCALPAY_LOG_LEVEL": "WARNING",
            **({"LOCALPAY_ALLOW_LOSS": "true"} if forgetful else {}),
        }

    def start(self) -> None:
        """Start them; they are not waited for."""
        with self._log.open("ab") as log:
            self._running = [
                subprocess.Popen(  # noqa: S603 (our own program)
                    [
                        *dies_with_us("TERM"),
                        *(*_PROGRAM, "serve", "--port", str(port)),
                        *(["--no-work"] if number else []),
                    ],
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us, who stop them
                )
                for number, port in enumerate(self.ports)
            ]

    async def wait_until_they_answer(self, hub: PayingHub) -> None:
        """Wait until each answers a signed call; TimeoutError where one does not."""
        deadline = time.monotonic() + START_SECONDS
        for port in self.ports:
            while not await self._answers(port, hub):
                if time.monotonic() > deadline:
                    told = self._log.read_text(encoding="utf-8", errors="replace")[
                        -_LOG_TAIL_CHARS:
                    ]
                    raise TimeoutError(f"no answer within {START_SECONDS:g} s: {told}")
                await asyncio.sleep(POLL_SECONDS)

    async def _answers(self, port: int, hub: PayingHub) -> bool:
        line = Line(port)
        asked = hub.call(self.url, "GET", f"/accounts/{hub.group_id}")
        try:
            return (await line.ask(asked))[0] == OK
        except NO_ANSWER:
            return False
        finally:
            await line.close()

    def kill(self) -> None:
        """End all of them at once by SIGKILL, and reap them."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
