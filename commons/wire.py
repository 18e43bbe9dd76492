"""One request put on the wire and its answer read off it, for the one door."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import httpcore2
import httpx2

from commons.addresses import Target
from commons.answers import Response, read_body

FIRST_REDIRECT: Final = 300

HOST_FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
    UnicodeError,  # a name that cannot be put into DNS
)
"""What is raised where a host does not answer, or not in HTTP."""


@dataclass(frozen=True)
class Request:
    """What is sent, before it is signed."""

    method: str
    target: Target
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


@cache
def tls() -> ssl.SSLContext:
    """Return how servers' certificates are checked, whatever the environment says; read once."""
    return httpx2.create_ssl_context(trust_env=False)


async def exchange(
    pool: httpcore2.AsyncConnectionPool, asked: Request, lines: Sequence[tuple[str, str]]
) -> Response:
    """Send a request with all its header lines and return the answer.

    From 300 on its body is not read: nothing that would be follows. Raises `HOST_FAILURES`, and
    FetchError for a body beyond the limits.
    """
    target = asked.target
    request = httpcore2.Request(
        asked.method,
        httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        ),
        headers=[(name.encode(), value.encode("latin-1", "replace")) for name, value in lines],
        content=asked.body or None,
    )
    answer = await pool.handle_async_request(request)
    try:
        read = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in answer.headers]
        response = Response(answer.status, read, b"")
        if answer.status >= FIRST_REDIRECT:
            return response
        return replace(response, body=await read_body(target.url, response, answer.aiter_stream()))
    finally:
        await answer.aclose()
