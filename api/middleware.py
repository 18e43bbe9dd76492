"""What every request passes on its way in, and every answer on its way out; plain ASGI."""

import time
import uuid
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from commons import signatures
from commons.errors import MalformedError, TooLargeError
from commons.signatures import PrivateKey

MOST_BODY_BYTES: Final = 1024 * 1024
LARGER_BODIES: Final = {
    "/transfers/batch": 8 * MOST_BODY_BYTES,
    "/reconciliations": 8 * MOST_BODY_BYTES,
}
"""Where more is read, by path: 8,000 transfers do not fit into a mebibyte, nor does a book."""

TOKEN_PARAMETERS: Final = frozenset({"token", "access_token"})
"""Addresses are kept in logs and histories, where no token must be."""

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}

_SECURITY_LINES: Final = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
_log = structlog.get_logger("api.access")


class Watched:
    """Gives each request an id, each answer the security headers, and the log one line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, started, status = uuid.uuid4().hex, time.perf_counter(), 500

        async def adorned(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", request_id.encode()))
                there = {name for name, _ in headers}
                headers += [one for one in _SECURITY_LINES if one[0] not in there]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, adorned)
            took_ms = round((time.perf_counter() - started) * 1000, 1)
            _log.info(
                "answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                took_ms=took_ms,
            )


class SignedAnswers:
    """Signs the answer, problem or not, to whoever signed the request: @status, content-digest.

    The signature's nonce ties it to the request's own signature (`signatures.nonce_of_answer`).
    """

    def __init__(self, app: ASGIApp, key_id: str, private_key: PrivateKey) -> None:
        self.app = app
        self.key_id = key_id
        self.private_key = private_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "signature-input" not in headers:
            await self.app(scope, receive, send)
            return
        nonce = signatures.nonce_of_answer(headers.get("signature", ""))
        start: Message = {}
        body = b""
        state = scope.setdefault("state", {})  # a route may say there which key answers for us

        async def gathered(message: Message) -> None:
            nonlocal start, body
            if state.get("is_stream"):  # has no end to wait for; what is in it bears proofs
                await send(message)
                return
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body", False):
                return
            by = state.get("answers_by", (self.key_id, self.private_key))
            self._sign(start, body, nonce, *by)
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, gathered)

    @staticmethod
    def _sign(
        start: Message, body: bytes, nonce: str, key_id: str, private_key: PrivateKey
    ) -> None:
        headers = MutableHeaders(scope=start)
        signed = signatures.Message("", "", list(headers.items()), body, status=start["status"])
        added = signatures.sign(signed, private_key, key_id, nonce=nonce, created=datetime.now(UTC))
        headers.update(added)


class Guarded:
    """Lets in no NUL and no body that is too large, and no unforeseen error out unexplained."""

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self.app = app
        self.base_url = base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"]:  # which no id has, and no database takes
            await problems.answer(self.base_url, MalformedError("the address holds NUL"))(
                scope, receive, send
            )
            return
        if scope["query_string"] and _has_token(scope["query_string"]):
            error = MalformedError("a token is sent in the Authorization header, never here")
            await problems.answer(self.base_url, error)(scope, receive, send)
            return
        most = LARGER_BODIES.get(scope["path"], MOST_BODY_BYTES)
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced[:20]) > most:
            await problems.answer(self.base_url, _too_large(most))(scope, receive, send)
            return
        seen, started = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise _too_large(most)
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except Exception:
            if started:
                raise
            _log.exception("unforeseen error", method=scope["method"], path=scope["path"])
            await problems.internal(self.base_url)(scope, receive, send)


def _has_token(query: bytes) -> bool:
    names = (part.partition(b"=")[0] for part in query.split(b"&"))
    return any(unquote_to_bytes(name).decode("latin-1") in TOKEN_PARAMETERS for name in names)


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"a body may have at most {most} bytes")
