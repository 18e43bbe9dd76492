"""What may stand between a hub and the service: it passes calls on, and does to answers what it
is told to.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Passed:
    """An answer on its way back; a body that is an iterator is sent piece by piece, without end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterator[bytes]

    def without(self, *names: str) -> "Passed":
        kept = [(name, value) for name, value in self.headers if name.lower() not in names]
        return Passed(self.status, kept, self.body)


Trick = Callable[[Passed], Passed | None]
"""What is done to an answer; None drops the connection in its place."""


@dataclass
class Asked:
    """A call as it came by."""

    method: str
    path: str
    signature: str
    body: bytes


class Between:
    """A server on loopback that passes everything on, and plays a trick on the next answers."""

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"between": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.upstream = ""
        self.tricks: list[Trick] = []
        self.asked: list[Asked] = []
        self.is_open = threading.Event()

    @contextmanager
    def serving(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.is_open.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def paths(self, method: str) -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: Between

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, self.headers.get("Signature", ""), body)
        self.between.asked.append(asked)
        answered = self._pass_on(body)
        tricks = self.between.tricks if asked.signature else []
        passed = tricks.pop(0)(answered) if tricks else answered
        if passed is None:
            self.close_connection = True
            return
        with suppress(ConnectionError):  # who is sent too much hangs up
            self._answer(passed)

    do_GET = do_PUT = do_POST = do_PATCH = handle_any  # noqa: N815 (the library's names)

    def _pass_on(self, body: bytes) -> Passed:
        target = urlsplit(self.between.upstream)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return Passed(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _answer(self, passed: Passed) -> None:
        self.send_response_only(passed.status)
        left_out = {"content-length", "transfer-encoding", "connection"}
        for name, value in passed.without(*left_out).headers:
            self.send_header(name, value)
        if isinstance(passed.body, bytes):
            self.send_header("Content-Length", str(len(passed.body)))
            self.end_headers()
            self.wfile.write(passed.body)
            return
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in passed.body:
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""


@dataclass
class Pauses:
    """Pauses that are noted and not waited for; each moves the clock of who counts calls."""

    taken_ms: list[int] = field(default_factory=list)
    clock: list[float] = field(default_factory=lambda: [0.0])

    def __call__(self, ms: int) -> None:
        self.taken_ms.append(ms)
        self.clock[0] += ms / 1000
