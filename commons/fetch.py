"""The one door to the network: everything that is fetched or delivered goes through it."""

import asyncio
import secrets
import ssl
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import Message as MimeHeaders
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin

import httpcore2
import httpx2

from commons.addresses import Target, names_loopback, read_target
from commons.errors import AddressRefusedError, FetchError, MalformedError
from commons.guarded_network import GuardedNetwork, Resolve, resolve
from commons.json_reading import read_json
from commons.politeness import RETRY_AFTER_MAX_SECONDS, Host, Hosts
from commons.settings import Settings
from commons.signatures import Message, PrivateKey, sign

AGENT: Final = "LocalPay/0.1"
ACTIVITY_PROFILE: Final = "https://www.w3.org/ns/activitystreams"
ACTIVITY: Final = f'application/activity+json, application/ld+json; profile="{ACTIVITY_PROFILE}"'
DESCRIPTOR: Final = "application/jrd+json, application/json"

DEADLINE_SECONDS: Final = 15.0
BODY_MAX_BYTES: Final = 1024 * 1024
REDIRECTS_MAX: Final = 3

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FINAL_STATUSES: Final = frozenset({404, 410, 451})
_WAIT_STATUSES: Final = frozenset({429, 503})
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500
_INFLATE_EITHER: Final = zlib.MAX_WBITS | 32  # gzip or zlib, told apart by their first bytes
# Shorter than the 5 s after which common servers close an idle connection under us.
_KEEPALIVE_SECONDS: Final = 2.0
_CONNECTIONS_MAX: Final = 100


@dataclass(frozen=True)
class Response:
    """What a server answered, its body with any content coding undone."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first line of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True)
class Document:
    """A JSON object and the URL that it finally came from, after any redirects."""

    url: str
    body: dict[str, Any]
    headers: Sequence[tuple[str, str]]


def is_activity_media_type(value: str | None) -> bool:
    """Tell whether a Content-Type is ActivityPub's: activity+json, or ld+json with its profile."""
    headers = MimeHeaders()
    headers["Content-Type"] = value or ""
    if headers.get_content_type() == "application/activity+json":
        return True
    profile = headers.get_param("profile")
    return (
        headers.get_content_type() == "application/ld+json"
        and isinstance(profile, str)
        and ACTIVITY_PROFILE in profile.split()
    )


class Door:
    """Fetches and delivers, signed where a key was given, within all limits; one event loop's.

    `polite` off lifts the pace (one request in flight and one a second per host), which this
    machine's own addresses never need. `deadline_seconds` bounds one whole fetch, with its
    redirects and with the wait for its turn.
    """

    def __init__(  # noqa: PLR0913 - the last four are what a test must hold in its hand
        self,
        settings: Settings,
        key_id: str | None = None,
        private_key: PrivateKey | None = None,
        *,
        polite: bool = True,
        deadline_seconds: float = DEADLINE_SECONDS,
        network: httpcore2.AsyncNetworkBackend | None = None,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow_loopback = settings.allow_loopback
        self._key_id = key_id
        self._private_key = private_key
        self._polite = polite
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._hosts = Hosts()
        contact = " ".join(settings.contact.split())
        about = "; ".join(part for part in (f"+{settings.base_url}", contact) if part)
        self._agent = f"{AGENT} ({about})"
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=_CONNECTIONS_MAX,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=GuardedNetwork(
                network or httpcore2.AnyIOBackend(),
                resolve,
                allow_loopback=settings.allow_loopback,
            ),
        )

    async def get_json(self, url: str, *, accept: str = ACTIVITY) -> Document:
        """Fetch a JSON object of one of the accepted media types, over at most 3 redirects.

        Raises FetchError; `final` for 404, 410, 451 and for what AddressRefusedError says.
        """
        headers = [("Accept", accept), ("Accept-Encoding", "gzip")]
        async with self._deadline(url):
            target = read_target(url, allow_loopback=self._allow_loopback)
            for _ in range(REDIRECTS_MAX + 1):
                response = await self._exchange("GET", target, headers, b"")
                if response.status not in _REDIRECTS:
                    return Document(target.url, _object(target, response, accept), response.headers)
                target = self._redirected(target, response)
        msg = f"{url} redirects more than {REDIRECTS_MAX} times"
        raise FetchError(msg)

    async def post(self, url: str, body: bytes, media_type: str) -> Response:
        """Deliver a body and return the answer, which is below 400 and no redirect.

        The answer's body arrives as it was sent, so that a signature over it can be checked.
        Raises FetchError as `get_json` does.
        """
        headers = [("Content-Type", media_type), ("Accept-Encoding", "identity")]
        async with self._deadline(url):
            target = read_target(url, allow_loopback=self._allow_loopback)
            response = await self._exchange("POST", target, headers, body)
        if response.status >= _FIRST_REDIRECT:
            msg = f"{url} redirects a delivery"
            raise FetchError(msg, status=response.status)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    @asynccontextmanager
    async def _deadline(self, url: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError as error:
            msg = f"{url} was not done in {self._deadline_seconds:g} s"
            raise FetchError(msg) from error

    def _redirected(self, target: Target, response: Response) -> Target:
        location = response.header("location")
        if location is None:
            msg = f"{target.url} redirects to nowhere"
            raise FetchError(msg, status=response.status)
        try:
            joined = urljoin(target.url, location)
        except ValueError as error:
            msg = f"{target.url} redirects to what is no URL"
            raise FetchError(msg, status=response.status) from error
        following = read_target(joined, allow_loopback=self._allow_loopback)
        if following.scheme != target.scheme:
            msg = f"{target.url} redirects to another scheme"
            raise AddressRefusedError(msg)
        return following

    async def _exchange(
        self, method: str, target: Target, headers: list[tuple[str, str]], body: bytes
    ) -> Response:
        """Send one request when it is the host's turn, and remember how the host fared."""
        host = self._hosts.get(target.authority, self._clock())
        async with self._turn(host, target):
            try:
                response = await self._send(method, target, headers, body)
            except _HOST_FAILURES as error:
                host.failed(self._clock())
                msg = f"{target.authority} could not be asked: {error or type(error).__name__}"
                raise FetchError(msg) from error
            except asyncio.CancelledError:
                host.failed(self._clock())  # the deadline passed while the host had its turn
                raise
        self._remember(host, response)
        if response.status >= _FIRST_ERROR:
            msg = f"{target.url} answered {response.status}"
            raise FetchError(msg, final=response.status in _FINAL_STATUSES, status=response.status)
        return response

    @asynccontextmanager
    async def _turn(self, host: Host, target: Target) -> AsyncIterator[None]:
        _refuse_closed(host, target, self._clock())
        if not self._polite or names_loopback(target.host):
            yield
            return
        async with host.in_flight:
            _refuse_closed(host, target, self._clock())
            await asyncio.sleep(host.wait_seconds(self._clock()))
            host.asked(self._clock())
            yield

    def _remember(self, host: Host, response: Response) -> None:
        now = self._clock()
        if response.status in _WAIT_STATUSES:
            host.asked_to_wait(_retry_after_seconds(response.header("retry-after")), now)
        if response.status >= _FIRST_SERVER_ERROR:
            host.failed(now)
        else:
            host.answered()

    async def _send(
        self, method: str, target: Target, headers: list[tuple[str, str]], body: bytes
    ) -> Response:
        lines = [("Host", target.authority), ("User-Agent", self._agent), *headers]
        if method == "POST":
            lines.append(("Content-Length", str(len(body))))
        lines.extend(self._signature(Message(method, target.url, lines, body)))
        request = httpcore2.Request(
            method,
            httpcore2.URL(
                scheme=target.scheme.encode(),
                host=target.host.encode(),
                port=target.port,
                target=target.path.encode(),
            ),
            headers=[(name.encode(), value.encode("latin-1", "replace")) for name, value in lines],
            content=body or None,
        )
        answer = await self._pool.handle_async_request(request)
        try:
            read = [
                (name.decode("latin-1"), text.decode("latin-1")) for name, text in answer.headers
            ]
            response = Response(answer.status, read, b"")
            if answer.status >= _FIRST_REDIRECT:
                return response  # nothing that would be read follows
            return replace(response, body=await _read_body(target, response, answer.aiter_stream()))
        finally:
            await answer.aclose()

    def _signature(self, message: Message) -> Iterable[tuple[str, str]]:
        if self._key_id is None or self._private_key is None:
            return ()
        try:
            return sign(
                message,
                self._private_key,
                self._key_id,
                nonce=secrets.token_urlsafe(16),
                created=datetime.now(UTC),
            ).items()
        except MalformedError as error:
            msg = f"{message.target_uri} cannot be asked for: {error.detail}"
            raise FetchError(msg, final=True) from error


_HOST_FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
    UnicodeError,  # a name that cannot be put into DNS
)


def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


def _refuse_closed(host: Host, target: Target, now: float) -> None:
    seconds = host.closed_seconds(now)
    if seconds > 0:
        msg = f"{target.authority} is left alone for another {seconds:.0f} s"
        raise FetchError(msg)


def _retry_after_seconds(value: str | None) -> float:
    if value is None:
        return 0.0
    if value.isascii() and value.isdigit():
        return float(value[: len(str(RETRY_AFTER_MAX_SECONDS)) + 1])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _object(target: Target, response: Response, accept: str) -> dict[str, Any]:
    """Return the body as a JSON object of an accepted media type."""
    media_type = response.header("content-type")
    if not _is_accepted(media_type, accept):
        msg = f"{target.url} is of the media type {media_type!r}"
        raise FetchError(msg, status=response.status)
    try:
        value = read_json(response.body)
    except MalformedError as error:
        msg = f"{target.url}: {error.detail}"
        raise FetchError(msg, status=response.status) from error
    if not isinstance(value, dict):
        msg = f"{target.url} is no JSON object"
        raise FetchError(msg, status=response.status)
    return value


def _is_accepted(media_type: str | None, accept: str) -> bool:
    if accept == ACTIVITY:
        return is_activity_media_type(media_type)
    essence = (media_type or "").partition(";")[0].strip().lower()
    return essence in {part.strip() for part in accept.split(",")}


async def _read_body(target: Target, response: Response, stream: AsyncGenerator[bytes]) -> bytes:
    """Read the content and undo its coding ourselves, never beyond the limit."""
    coding = (response.header("content-encoding") or "identity").strip().lower()
    if coding not in {"identity", "gzip", "deflate"}:
        msg = f"{target.url} is encoded as {coding!r}"
        raise FetchError(msg, status=response.status)
    inflate = None if coding == "identity" else zlib.decompressobj(_INFLATE_EITHER)
    decoded, raw_bytes = bytearray(), 0
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            raw_bytes += len(chunk)
            room = BODY_MAX_BYTES + 1 - len(decoded)  # never 0, which zlib takes for "all"
            try:
                decoded += chunk[:room] if inflate is None else inflate.decompress(chunk, room)
            except zlib.error as error:
                msg = f"{target.url} is not what its encoding says: {error}"
                raise FetchError(msg, status=response.status) from error
            if max(len(decoded), raw_bytes) > BODY_MAX_BYTES:
                msg = f"{target.url} has more than {BODY_MAX_BYTES} bytes"
                raise FetchError(msg, status=response.status)
    if inflate is not None and raw_bytes and (not inflate.eof or inflate.unused_data):
        msg = f"{target.url} does not end where its encoding does"
        raise FetchError(msg, status=response.status)
    return bytes(decoded)
