"""The one door to the network: everything that is fetched or delivered goes through it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urljoin

import httpcore2

from commons.addresses import Target, names_loopback, read_target
from commons.answers import (
    ACTIVITY,
    Held,
    Response,
    conditions,
    read_accepted,
    read_object,
    retry_after_seconds,
)
from commons.errors import AddressRefusedError, FetchError
from commons.guarded_network import GuardedNetwork, Resolve, resolve
from commons.knocking import REFUSALS, Knocks, Scheme, Signing
from commons.politeness import NEWCOMERS_A_DAY, Host, Hosts, Newcomers
from commons.robots import NAME, Rules, read_rules
from commons.settings import Settings
from commons.signatures import Message, PrivateKey
from commons.wire import FIRST_REDIRECT, HOST_FAILURES, Request, exchange, tls

AGENT: Final = f"{NAME}/0.1"
DESCRIPTOR: Final = "application/jrd+json, application/json"

DEADLINE_SECONDS: Final = 15.0
REDIRECTS_MAX: Final = 3
ROBOTS_SECONDS: Final = 24 * 3600
"""How long a robots.txt is gone by before it is asked for again."""

_ROBOTS_PATH: Final = "/robots.txt"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FINAL_STATUSES: Final = frozenset({404, 410, 451})
_WAIT_STATUSES: Final = frozenset({429, 503})
_NOT_MODIFIED: Final = 304
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500
# Shorter than the 5 s after which common servers close an idle connection under us.
_KEEPALIVE_SECONDS: Final = 2.0
_CONNECTIONS_MAX: Final = 100


@dataclass(frozen=True)
class Document:
    """A JSON object and the URL that it finally came from, after any redirects."""

    url: str
    body: dict[str, Any]
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """What is no JSON object, or is read less strictly, and the URL that it finally came from."""

    url: str
    body: bytes
    headers: Sequence[tuple[str, str]]


@dataclass
class _Errand:
    """What a door is used for; `fetches_left` None is no limit; no older rules are gone by."""

    known_uri: str = ""
    crawling: bool = False
    fetches_left: int | None = None
    rules_since: float = float("-inf")


class Door:
    """Fetches and delivers, signed where a key was given, within all limits; one event loop's.

    `polite` off lifts the pace (one request in flight and one a second per host), which this
    machine's own addresses never need. `deadline_seconds` bounds one whole fetch, with its
    redirects and with the wait for its turn. `refuses` tells of a host whether the operator blocks
    it: it is then neither looked up nor asked.
    """

    def __init__(  # noqa: PLR0913 - the last four are what a test must hold in its hand
        self,
        settings: Settings,
        key_id: str | None = None,
        private_key: PrivateKey | None = None,
        *,
        refuses: Callable[[str], Awaitable[bool]] | None = None,
        polite: bool = True,
        deadline_seconds: float = DEADLINE_SECONDS,
        network: httpcore2.AsyncNetworkBackend | None = None,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow_loopback = settings.allow_loopback
        self._refuses = refuses
        self._signing = Signing(key_id, private_key) if key_id and private_key else None
        self._knocks = Knocks()
        self._polite = polite
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._hosts = Hosts()
        self._newcomers = Newcomers()
        self._held = Held()
        self._errand = _Errand()
        contact = " ".join(settings.contact.split())
        about = "; ".join(part for part in (f"+{settings.base_url}", contact) if part)
        self._agent = f"{AGENT} ({about})"
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls(),
            max_connections=_CONNECTIONS_MAX,
            keepalive_expiry=_KEEPALIVE_SECONDS,
            network_backend=GuardedNetwork(
                network or httpcore2.AnyIOBackend(),
                resolve,
                allow_loopback=settings.allow_loopback,
            ),
        )

    def errand(
        self,
        known_uri: str,
        *,
        crawling: bool = False,
        fetches: int | None = None,
        anew: bool = False,
    ) -> Self:
        """Return this door for one errand, sharing all that it remembers of hosts.

        The host of `known_uri` never counts as new. `crawling` reads only what robots.txt lets a
        crawler read, and as fast as it says; `anew` goes by no robots.txt of before this errand;
        after `fetches` requests the errand fails.
        """
        view, since = copy(self), self._clock() if anew else float("-inf")
        view._errand = _Errand(f"{known_uri.lower()}/", crawling, fetches, since)  # noqa: SLF001 (its own)
        return view

    async def get_json(self, url: str, *, accept: str = ACTIVITY) -> Document:
        """Fetch a JSON object of one of the accepted media types, over at most 3 redirects.

        What has not changed since it was last fetched is not sent again. Raises FetchError;
        `final` for 404, 410, 451, for what AddressRefusedError says and what robots.txt refuses.
        """
        target, response = await self._get(url, accept)
        return Document(target.url, read_object(target.url, response, accept), response.headers)

    async def get_text(self, url: str, *, accept: str) -> Text:
        """Fetch what is of one of the accepted media types as it is, as `get_json` does."""
        target, response = await self._get(url, accept)
        return Text(target.url, read_accepted(target.url, response, accept), response.headers)

    def forget(self, url: str, *, accept: str) -> None:
        """Hold nothing of what was fetched from a URL."""
        self._held.drop(url, accept)

    async def post(self, url: str, body: bytes, media_type: str) -> Response:
        """Deliver a body and return the answer, which is below 400 and no redirect.

        The answer's body arrives as it was sent, so that a signature over it can be checked.
        Raises FetchError as `get_json` does.
        """
        headers = [("Content-Type", media_type), ("Accept-Encoding", "identity")]
        async with self._deadline(url):
            target = read_target(url, allow_loopback=self._allow_loopback)
            response = await self._exchange(Request("POST", target, headers, body))
        if response.status >= FIRST_REDIRECT:
            raise FetchError(f"{url} redirects a delivery", status=response.status)
        return response

    async def call(self, method: str, url: str, body: bytes, signing: Signing) -> Response:
        """Call a server's interface with JSON, signed by `signing` alone; raises as `post` does."""
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        view = copy(self)
        view._signing = signing  # noqa: SLF001 (its own)
        async with self._deadline(url):
            target = read_target(url, allow_loopback=self._allow_loopback)
            asked = Request(method, target, [*headers, ("Accept-Encoding", "identity")], body)
            response = await view._request(asked, Scheme.RFC9421)  # noqa: SLF001 (its own)
        if response.status >= FIRST_REDIRECT:
            raise FetchError(f"{url} answered {response.status}", status=response.status)
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

    async def _get(self, url: str, accept: str) -> tuple[Target, Response]:
        if self._errand.crawling:
            await self._crawl_turn(url)
        async with self._deadline(url):
            return await self._follow(url, accept, crawling=self._errand.crawling)

    async def _follow(self, url: str, accept: str, *, crawling: bool) -> tuple[Target, Response]:
        """Ask for a URL and follow its redirects; return where they end and what is there."""
        target = read_target(url, allow_loopback=self._allow_loopback)
        for _ in range(REDIRECTS_MAX + 1):
            if crawling:
                await self._rules_for(target)
            response = await self._ask(target, accept)
            if response.status not in _REDIRECTS:
                return target, response
            target = self._redirected(target, response)
        raise FetchError(f"{url} redirects more than {REDIRECTS_MAX} times")

    async def _ask(self, target: Target, accept: str) -> Response:
        """Ask for what is at a URL, or whether it has changed since it was asked for last."""
        held = self._held.get(target.url, accept)
        headers = [("Accept", accept), ("Accept-Encoding", "gzip"), *conditions(held)]
        try:
            response = await self._exchange(Request("GET", target, headers))
        except FetchError as error:
            if error.final:
                self._held.drop(target.url, accept)
            raise
        if held is not None and response.status == _NOT_MODIFIED:
            return held
        self._held.keep(target.url, accept, response)
        return response

    async def _crawl_turn(self, url: str) -> None:
        """Wait as long as the host's robots.txt asks; that is no part of the fetch's own time."""
        async with self._deadline(url):
            target = read_target(url, allow_loopback=self._allow_loopback)
            rules = await self._rules_for(target)
        if rules.delay_seconds and self._is_paced(target):
            host = self._host("GET", target)
            await asyncio.sleep(host.crawl_wait_seconds(rules.delay_seconds, self._clock()))

    async def _rules_for(self, target: Target) -> Rules:
        """Return the rules of the target's host, which are asked for once a day.

        Raises a final FetchError where they do not let us read the target.
        """
        await self._check_blocked(target)
        host = self._host("GET", target)
        oldest = max(self._errand.rules_since, self._clock() - ROBOTS_SECONDS)
        if host.rules is None or host.rules_at < oldest:
            host.rules = await self._robots(f"{target.scheme}://{target.authority}{_ROBOTS_PATH}")
            host.rules_at = self._clock()
        if not host.rules.allow(target.path):
            msg = f"the robots.txt of {target.authority} does not let {NAME} read {target.url}"
            raise FetchError(msg, final=True)
        return host.rules

    async def _robots(self, url: str) -> Rules:
        try:
            _, response = await self._follow(url, "text/plain", crawling=False)
        except FetchError as error:
            status = error.status or 0
            if _FIRST_ERROR <= status < _FIRST_SERVER_ERROR and status not in _WAIT_STATUSES:
                return Rules()  # there is none
            msg = f"not crawled while {url} cannot be had: {error.detail}"
            raise FetchError(msg) from error
        return read_rules(response.body)

    def _redirected(self, target: Target, response: Response) -> Target:
        location = response.header("location")
        if location is None:
            raise FetchError(f"{target.url} redirects to nowhere", status=response.status)
        try:
            joined = urljoin(target.url, location)
        except ValueError as error:
            msg = f"{target.url} redirects to what is no URL"
            raise FetchError(msg, status=response.status) from error
        following = read_target(joined, allow_loopback=self._allow_loopback)
        if following.scheme != target.scheme:
            raise AddressRefusedError(f"{target.url} redirects to another scheme")
        return following

    async def _exchange(self, asked: Request) -> Response:
        """Send a request, and once more signed by the other scheme where the host refuses it."""
        target, method = asked.target, asked.method
        schemes = self._knocks.schemes(method, target.authority, target.url, self._clock())
        if self._signing is None or target.path == _ROBOTS_PATH:
            schemes = schemes[:1]  # unsigned, or what is anybody's to read
        response = await self._request(asked, schemes[0])
        if response.status in REFUSALS and len(schemes) > 1:
            response = await self._request(asked, schemes[1])
            if response.status in REFUSALS:
                self._knocks.refused(method, target.url, self._clock())
            elif response.status < _FIRST_ERROR:
                self._knocks.took(method, target.authority, schemes[1], self._clock())
        if response.status >= _FIRST_ERROR:
            msg = f"{target.url} answered {response.status}"
            raise FetchError(msg, final=response.status in _FINAL_STATUSES, status=response.status)
        return response

    async def _request(self, asked: Request, scheme: Scheme) -> Response:
        """Send one request when it is the host's turn, and remember how the host fared."""
        await self._check_blocked(asked.target)
        self._count()
        host = self._host(asked.method, asked.target)
        async with self._turn(host, asked.target):
            try:
                response = await self._send(asked, scheme)
            except HOST_FAILURES as error:
                host.failed(self._clock())
                msg = f"{asked.target.authority} could not be asked: {_told(error)}"
                raise FetchError(msg) from error
            except asyncio.CancelledError:
                host.failed(self._clock())  # the deadline passed while the host had its turn
                raise
        self._remember(host, response)
        return response

    async def _check_blocked(self, target: Target) -> None:
        if self._refuses is not None and await self._refuses(target.host):
            msg = f"{target.host} is of a domain that the operator of this service blocks"
            raise AddressRefusedError(msg)

    def _count(self) -> None:
        if self._errand.fetches_left is None:
            return
        if self._errand.fetches_left <= 0:
            msg = "more would have to be fetched for this than is fetched for one message"
            raise FetchError(msg, final=True)
        self._errand.fetches_left -= 1

    def _host(self, method: str, target: Target) -> Host:
        """Return what is remembered of a host; of a new one, only where it may be asked today.

        Deliveries go to registered hubs alone, so their hosts count as known.
        """
        now = self._clock()
        is_known = (
            method == "POST"
            or target.authority in self._hosts
            or names_loopback(target.host)
            or self._errand.known_uri.startswith(f"{target.scheme}://{target.authority}/")
        )
        if not is_known and not self._newcomers.admit(target.host, now):
            msg = (
                f"{target.authority} is not asked today, after {NEWCOMERS_A_DAY} other new hosts "
                "of its domain"
            )
            raise FetchError(msg)
        return self._hosts.get(target.authority, now)

    def _is_paced(self, target: Target) -> bool:
        return self._polite and not names_loopback(target.host)

    @asynccontextmanager
    async def _turn(self, host: Host, target: Target) -> AsyncIterator[None]:
        _refuse_closed(host, target, self._clock())
        if not self._is_paced(target):
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
            host.asked_to_wait(retry_after_seconds(response.header("retry-after")), now)
        if response.status >= _FIRST_SERVER_ERROR:
            host.failed(now)
        else:
            host.answered()

    async def _send(self, asked: Request, scheme: Scheme) -> Response:
        target = asked.target
        lines = [("Host", target.authority), ("User-Agent", self._agent), *asked.headers]
        if asked.method == "POST":
            lines.append(("Content-Length", str(len(asked.body))))
        if self._signing is not None:
            message = Message(asked.method, target.url, lines, asked.body)
            lines.extend(self._signing.headers(message, scheme))
        return await exchange(self._pool, asked, lines)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refuse_closed(host: Host, target: Target, now: float) -> None:
    seconds = host.closed_seconds(now)
    if seconds > 0:
        msg = f"{target.authority} is left alone for another {seconds:.0f} s"
        raise FetchError(msg, wait_seconds=seconds)
