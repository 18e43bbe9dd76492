"""Signed pushes as hubs send them, written beforehand and sent as fast as they are answered."""

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response

from bench.crawl_hubs import ACTIVITY, BenchHub
from bench.over_http import wait_until_healthy
from commons.signatures import Message, sign
from demo.documents import PUBLIC
from demo.service import LOOPBACK, free_port

CONNECTIONS: Final = 32
KINDS: Final = ("Create", "Update", "Update", "Update", "Delete")
"""What happens to each listing in turn, again and again."""
ACCEPTED: Final = 202

Json = dict[str, Any]


def creates(hubs: Sequence[BenchHub], activities: int, first: int = 0) -> Iterator[Json]:
    """Yield Creates of new listings, each hub's in turn, numbered from `first` at each hub."""
    made = [enumerate(hub.drafts(first + -(-activities // len(hubs)))) for hub in hubs]
    for position in range(activities + first * len(hubs)):
        hub = hubs[position % len(hubs)]
        number, draft = next(made[position % len(hubs)])
        if number >= first:
            yield hub.create(hub.proposal(number, draft))


def changes(hubs: Sequence[BenchHub], listings: int) -> Iterator[Json]:
    """Yield Creates, Updates and Deletes of the same listings without end."""
    made = [
        (hub, hub.proposal(number, draft))
        for hub in hubs
        for number, draft in enumerate(hub.drafts(listings // len(hubs)))
    ]
    for version in count():
        kind = KINDS[version % len(KINDS)]
        for hub, proposal in made:
            moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            if kind == "Delete":
                yield {
                    "id": f"{proposal['id']}/delete/{version}",
                    "type": kind,
                    "actor": proposal["attributedTo"],
                    "to": [PUBLIC],
                    "object": {"id": proposal["id"], "type": "Tombstone", "deleted": moment},
                }
            else:
                changed = {**proposal, "name": f"{proposal['name']} {version}", "updated": moment}
                yield hub.create(changed, kind, version)


def signed(url: str, hub: BenchHub, activity: Json) -> bytes:
    """Return a whole request to the inbox at `url`, as it is written to the connection."""
    body = json.dumps(activity).encode()
    message = Message("POST", f"{url}/inbox", [("Content-Type", ACTIVITY)], body)
    added = sign(
        message, hub.key, hub.key_id, nonce=secrets.token_urlsafe(16), created=datetime.now(UTC)
    )
    lines = {"Host": urlsplit(url).netloc, "Content-Type": ACTIVITY, **added}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /inbox HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def push(url: str, requests: Sequence[bytes]) -> float:
    """Send requests over kept connections; return the seconds until the last was accepted."""
    start = time.perf_counter()
    asyncio.run(_push(url, requests))
    return time.perf_counter() - start


async def _push(url: str, requests: Sequence[bytes]) -> None:
    waiting = iter(requests)
    address = urlsplit(url)

    async def push_on() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            for request in waiting:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status = int(head.split(" ", 2)[1])
                if status != ACCEPTED:
                    msg = f"a push was answered {status}"
                    raise RuntimeError(msg)
                told = head.partition("content-length:")[2]
                await reader.readexactly(int(told.split("\r\n")[0]) if told else 0)
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(push_on() for _ in range(CONNECTIONS)))


@contextmanager
def empty_route() -> Iterator[str]:
    """Serve the same route with an empty handler in a process of its own; yield its URL."""
    port = free_port()
    command = [sys.executable, "-m", "bench.crawl_pushes", str(port)]
    with subprocess.Popen(command) as server:  # noqa: S603 (our own program)
        try:
            wait_until_healthy(server, port)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            server.terminate()


def _serve_empty(port: int) -> None:
    app = FastAPI()

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.post("/inbox")
    async def inbox(request: Request) -> Response:
        await request.body()
        return Response(status_code=ACCEPTED)

    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    _serve_empty(int(sys.argv[1]))
