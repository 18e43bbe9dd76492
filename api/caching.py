"""How long answers may be kept, how a client asks whether its copy still holds, and HEAD."""

import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawler.actor import VERSION

MAX_AGE_SECONDS: Final = 30
EPOCH_SECONDS: Final = 300
CACHE_CONTROL: Final = f"public, max-age={MAX_AGE_SECONDS}"
NOT_KEPT: Final = "private, no-store"
_OK: Final = 200

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Cacheable(APIRoute):
    """A route for anybody, whose answers say how long they hold and are not sent twice.

    An answer without an ETag of its own gets one from its bytes.
    """

    def get_route_handler(self) -> Handler:
        """Return the handler, followed by what caching asks for."""
        answer = super().get_route_handler()

        async def cacheable(request: Request) -> Response:
            response = await answer(request)
            if response.status_code == _OK:
                etag = response.headers.get("etag") or _weak(bytes(response.body))
                response.headers["ETag"] = etag
                response.headers["Cache-Control"] = CACHE_CONTROL
                if holds(request, etag):
                    return not_modified(etag)
            return response

        return cacheable


class Unkept:
    """Has nobody keep an answer that depends on who pays, problem or not; plain ASGI.

    What a group can pay changes without a revision, so such an answer has no ETag and a request
    for it no condition.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not _names_payer(scope):
            await self.app(scope, receive, send)
            return
        headers = [header for header in scope["headers"] if header[0] != b"if-none-match"]

        async def unkept(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["Cache-Control"] = NOT_KEPT
                del answered["ETag"]
            await send(message)

        await self.app({**scope, "headers": headers}, receive, unkept)


class HeadAsGet:
    """Answers HEAD as GET would be answered, without the body; plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bodiless(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, bodiless)


def _names_payer(scope: Scope) -> bool:
    query: bytes = scope["query_string"]
    return bool(query) and any(QueryParams(query).getlist("payer_group"))


def etag_of(request: Request, revision: int) -> str:
    """Return the weak ETag of a question to an index that is at `revision`.

    It holds for a few minutes at most, since listings expire and fade without a revision.
    """
    epoch = int(time.time() // EPOCH_SECONDS)
    question = [request.url.path, sorted(request.query_params.multi_items())]
    return _weak(orjson.dumps([VERSION, revision, epoch, question]))


def holds(request: Request, etag: str) -> bool:
    """Tell whether the client has the answer of this ETag (RFC 9110, weak comparison)."""
    told = ",".join(request.headers.getlist("if-none-match")).split(",")
    return any(one.strip().removeprefix("W/") in {"*", etag.removeprefix("W/")} for one in told)


def not_modified(etag: str) -> Response:
    """Return the answer to a client whose copy holds."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": CACHE_CONTROL})


def _weak(content: bytes) -> str:
    return f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
