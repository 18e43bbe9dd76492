"""A served index, and a client that asks as fast as it is answered."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx2

from demo.service import LOOPBACK, START_SECONDS, free_port
from marketplace.query import Query

POLL_SECONDS: Final = 0.05
_PROGRAM: Final = (sys.executable, "-m", "api.commands")


@contextmanager
def served(data_dir: Path) -> Iterator[int]:
    """Serve the index in `data_dir` by one process without worker; yield its port.

    A worker would find the index ahead of an empty database, and build it anew.
    """
    port = free_port()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCALPAY_")}
    environment = inherited | {
        "LOCALPAY_DATA_DIR": str(data_dir),
        "LOCALPAY_BASE_URL": f"http://{LOOPBACK}:{port}",
        "LOCALPAY_LOG_LEVEL": "WARNING",
    }
    subprocess.run(  # noqa: S603 (our own program)
        [*_PROGRAM, "migrate"], check=True, env=environment, capture_output=True
    )
    with subprocess.Popen(  # noqa: S603 (our own program)
        [*_PROGRAM, "serve", "--no-work", "--port", str(port)],
        env=environment,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            wait_until_healthy(server, port)
            yield port
        finally:
            server.terminate()


def path_of(query: Query) -> str:
    """Return the address that asks a question of words, place, payment and order."""
    asked: list[tuple[str, str]] = [("q", query.q)] if query.q else []
    if query.near is not None:
        asked += [("near", f"{query.near[0]},{query.near[1]}"), ("radius_km", f"{query.reach_km}")]
    asked += [("pay", pay) for pay in query.pay]
    return f"/listings?{urlencode([*asked, ('sort', str(query.sort))])}"


def ask_all(port: int, queries: Sequence[Query], connections: int) -> list[float]:
    """Ask every question once over kept connections; return the seconds each answer took."""
    return asyncio.run(_ask_all(port, queries, connections))


async def _ask_all(port: int, queries: Sequence[Query], connections: int) -> list[float]:
    waiting = iter([path_of(query) for query in queries])
    taken: list[float] = []

    async def ask_on() -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            for path in waiting:
                start = time.perf_counter()
                await _get(reader, writer, path, port)
                taken.append(time.perf_counter() - start)
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return taken


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, port: int
) -> None:
    # By hand, since a whole HTTP client would take more of the machine than the server does.
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\n\r\n".encode("ascii"))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, *headers = head.split("\r\n")
    length = next(line for line in headers if line.startswith("content-length:"))
    body = await reader.readexactly(int(length.partition(":")[2]))
    if " 200 " not in f"{status} ":
        msg = f"GET {path}: {status} {body[:500]!r}"
        raise RuntimeError(msg)


def wait_until_healthy(server: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server that was started answers; TimeoutError where it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx2.TransportError):  # it does not listen yet
            url = f"http://{LOOPBACK}:{port}/health"
            if httpx2.get(url, trust_env=False).is_success:
                return
        time.sleep(POLL_SECONDS)
    msg = "LocalPay did not come up"
    raise TimeoutError(msg)
