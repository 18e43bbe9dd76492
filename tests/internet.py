"""An internet for tests: it records who is connected to, and nothing leaves the machine."""

import asyncio
import gzip
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2

from commons.signatures import Message

PUBLIC_ADDRESS = "8.8.8.8"
ACTIVITY_TYPE = "application/activity+json"


def answer(
    body: bytes = b"{}", status: int = 200, media_type: str = ACTIVITY_TYPE, **headers: str
) -> bytes:
    """Write an HTTP/1.1 response; underscores in header names stand for hyphens."""
    lines = {"Content-Type": media_type, "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): text for name, text in headers.items()}
    head = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
    return f"HTTP/1.1 {status} Answer\r\n{head}\r\n".encode() + body


def page(document: object) -> bytes:
    """Write a response that holds a JSON document."""
    return answer(json.dumps(document).encode())


def redirect(location: str, status: int = 302) -> bytes:
    """Write a redirect."""
    return answer(b"", status, Location=location)


def zipped(body: bytes) -> bytes:
    """Write a response in gzip."""
    return answer(gzip.compress(body), Content_Encoding="gzip")


@dataclass
class Internet(httpcore2.AsyncNetworkBackend):
    """Names with their addresses, and what is answered where.

    `names` holds the successive answers of the resolver (the last one stays), `pages` maps a URL
    without its scheme to a response. What was looked up, connected to, and asked is kept in order.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    looked_up: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    tls_names: list[str | None] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    hold: asyncio.Event | None = None
    in_flight: int = 0
    most_in_flight: int = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        """Answer as the system's resolver would."""
        assert port
        self.looked_up.append(host)
        answers = self.names.get(host, [[PUBLIC_ADDRESS]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Record the connection and open a stream that answers."""
        assert (timeout, local_address, socket_options) == (None, None, None)
        self.connected.append((host, port))
        if host in self.deaf:
            raise httpcore2.ConnectError
        return Stream(self)

    async def answer_to(self, raw: bytes) -> bytes:
        """Record a request and return the page that it asks for."""
        message = read_request(raw)
        self.requests.append(message)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.hold is not None:
            await self.hold.wait()
        self.in_flight -= 1
        return self.pages.get(message.target_uri.partition("://")[2], answer(b"", 404))


class Stream(httpcore2.AsyncNetworkStream):
    """One connection of the recording internet."""

    def __init__(self, internet: Internet) -> None:
        self._internet = internet
        self._written = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore2's signature)
        """Answer what was written since."""
        assert max_bytes
        assert timeout is None
        if not self._written:
            return b""
        asked, self._written = self._written, b""
        return await self._internet.answer_to(asked)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 (httpcore2's signature)
        """Take a part of a request."""
        assert timeout is None
        self._written += buffer

    async def aclose(self) -> None:
        """Forget what was not answered."""
        self._written = b""

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore2's signature)
    ) -> httpcore2.AsyncNetworkStream:
        """Record the name by which the server's certificate would be checked."""
        assert timeout is None
        assert ssl_context.verify_mode == ssl.CERT_REQUIRED
        self._internet.tls_names.append(server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the interface's signature
        """Say that nothing waits to be read; there is no more to know."""
        return False if info == "is_readable" else None


def read_request(raw: bytes) -> Message:
    """Read a request as a server would, with the URI put together from its Host header."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = [(name, text) for name, _, text in (line.partition(": ") for line in lines)]
    host = next(text for name, text in headers if name.lower() == "host")
    return Message(method, f"https://{host}{path}", headers, body)


def header(message: Message, name: str) -> str | None:
    """Return a request's header."""
    return next((text for key, text in message.headers if key.lower() == name), None)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds
