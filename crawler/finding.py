"""How an address that a person gives leads to an actor: WebFinger, NodeInfo and documents."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urldefrag, urlsplit

from commons.addresses import names_loopback
from commons.answers import is_activity_media_type
from commons.errors import (
    AddressRefusedError,
    FetchError,
    InvalidError,
    LocalPayError,
    MalformedError,
)
from commons.fetch import DESCRIPTOR, Door
from crawler.origins import ACTOR_TYPES, Actor, fetch_object, read_actor
from crawler.terms import PUBLIC, Document, id_of, ids, origin, same_origin, text, types

SECONDS_MOST: Final = 15
FETCHES_MOST: Final = 12
ADDRESS_MOST_CHARS: Final = 2048
_HOPS_MOST: Final = 3
_LINKS_MOST: Final = 20
_CANDIDATES_MOST: Final = 3
_SOFTWARE_MOST_CHARS: Final = 100
_OUTCOME_MOST_CHARS: Final = 500

APPLICATION: Final = "https://www.w3.org/ns/activitystreams#Application"
SERVICE: Final = "https://www.w3.org/ns/activitystreams#Service"
_NODEINFO: Final = "http://nodeinfo.diaspora.software/ns/schema/"
_NODEINFO_VERSIONS: Final = ("2.1", "2.0")
# Who publishes all that is new on a server of this software, where nothing on it says so.
_SERVER_ACCOUNTS: Final = {"mobilizon": "relay", "flohmarkt": "instance"}
_LEADING: Final = ("audience", "inScopeOf", "attributedTo", "actor", "partOf")
_ACCOUNT: Final = re.compile(r"[^@\s/?#:]+@[^@\s/?#]+")
_HOST: Final = re.compile(r"[^@\s/?#]+")
_ACCOUNT_PATH: Final = re.compile(r"/?@[^@\s/?#]+@[^@\s/?#]+")


@dataclass(frozen=True)
class Sought:
    """What an address means: an account, a URL, or else the server at `base` (scheme://host)."""

    base: str
    account: str = ""
    url: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that was asked on the way, and what came of it, in plain words."""

    address: str
    asked: str
    outcome: str


@dataclass(frozen=True)
class Finding:
    """What a search came to; `to_mend` says why there is no actor.

    `is_servers` tells that the actor was found as the one that acts for its whole server.
    """

    actor: Actor | None
    is_servers: bool
    software: str | None
    steps: tuple[Step, ...]
    to_mend: str | None


def read_address(written: str, *, allow_loopback: bool = False) -> Sought:
    """Read an address in any form a person gives it; InvalidError where it is none.

    Taken are `https://hub.example`, `hub.example`, `@group@hub.example`, `group@hub.example`,
    `acct:group@hub.example` and the URL of an actor, a profile page, a listing or a collection.
    """
    address = "".join(written.split())
    address = address.removeprefix("web+ap:").removeprefix("acct:").removeprefix("@")
    if len(address) > ADDRESS_MOST_CHARS:
        raise InvalidError("address", f"must have at most {ADDRESS_MOST_CHARS} characters")
    if _ACCOUNT.fullmatch(address):
        return Sought(_base(address.partition("@")[2], allow_loopback), account=address)
    if "://" not in address:
        host, slash, path = address.partition("/")
        if not _HOST.fullmatch(host):
            raise _no_address()
        address = f"{_base(host, allow_loopback)}{slash}{path}"
    parts = origin(address)
    if parts is None:
        raise _no_address()
    split = urlsplit(urldefrag(address).url)
    if "@" in split.netloc:
        raise InvalidError("address", "must not name a user before the host")
    base = _base(split.netloc, allow_loopback)  # what people write as http is read as https
    split = split._replace(scheme=base.partition("://")[0])
    if _ACCOUNT_PATH.fullmatch(split.path):  # another server's page about an account
        account = split.path.strip("/").removeprefix("@")
        return Sought(_base(account.partition("@")[2], allow_loopback), account=account)
    is_server = split.path in {"", "/"} and not split.query
    return Sought(base, url="" if is_server else split.geturl())


def _no_address() -> InvalidError:
    return InvalidError(
        "address", "must be a server such as hub.example, an account such as @group@hub.example, "
        "or a web address"
    )  # fmt: skip


def _base(host: str, allow_loopback: bool) -> str:  # noqa: FBT001 (private)
    is_own = allow_loopback and names_loopback(host.rpartition(":")[0] or host)
    return f"{'http' if is_own else 'https'}://{host.lower()}"


async def find(door: Door, sought: Sought) -> Finding:
    """Look for the actor that an address leads to, in 15 s and 12 requests at most.

    What cannot be had or read is a step in the answer, never an error.
    """
    search = _Search(door, sought)
    try:
        async with asyncio.timeout(SECONDS_MOST):
            await search.run()
    except TimeoutError:
        search.steps.append(Step(sought.base, "all of this", f"not done within {SECONDS_MOST} s"))
    to_mend = None if search.actor else search.to_mend()
    return Finding(search.actor, search.is_servers, search.software, tuple(search.steps), to_mend)


async def find_relay(door: Door, sought: Sought) -> Finding:
    """Look for a relay's actor as `find` does; of a relay mostly its inbox alone is known."""
    search = _Search(door, sought)
    try:
        async with asyncio.timeout(SECONDS_MOST):
            await search.run_for_relay()
    except TimeoutError:
        search.steps.append(Step(sought.base, "all of this", f"not done within {SECONDS_MOST} s"))
    to_mend = None if search.actor else search.to_mend()
    return Finding(search.actor, False, None, tuple(search.steps), to_mend)  # noqa: FBT003


class _Search:
    """One search under way: what was found so far, what was tried and what failed first."""

    def __init__(self, door: Door, sought: Sought) -> None:
        self._door = door.errand(sought.base, fetches=FETCHES_MOST)
        self._sought = sought
        self._read: dict[str, Document | None] = {}
        self._first_failure: LocalPayError | None = None
        self._servers_link = ""
        self.steps: list[Step] = []
        self.actor: Actor | None = None
        self.is_servers = False
        self.software: str | None = None

    async def run(self) -> None:
        sought = self._sought
        if sought.account:
            await self._by_account(sought.account, sought.base)
        elif sought.url:
            await self._by_url(sought.url)
        await self._ask_nodeinfo(_base_of(self.actor.id) if self.actor else sought.base)
        if self.actor is None and not sought.account:
            await self._by_server()

    async def run_for_relay(self) -> None:
        """Look where relays have their actor: at the address, at `/actor`, as `relay@host`."""
        base, account = self._sought.base, self._sought.account
        if account:
            await self._by_account(account, base)
            return
        url = self._sought.url
        wished = [] if not url or url.endswith("/inbox") else [url]
        for uri in (*wished, f"{base}/actor"):
            self.actor = self.actor or await self._actor_at(uri)
        if self.actor is None:
            await self._by_account(f"relay@{base.partition('://')[2]}", base)

    def to_mend(self) -> str:
        """Return the one thing to mend where no actor was found."""
        failure, sought = self._first_failure, self._sought
        if isinstance(failure, AddressRefusedError):
            return f"give another address: {failure.detail}"
        if isinstance(failure, FetchError) and failure.status is None:
            return f"let {sought.base} answer: {failure.detail}"
        why = f" ({failure.detail})" if failure else ""
        if sought.account:
            return (
                f"let {sought.base}/.well-known/webfinger answer for acct:{sought.account} with a "
                f"`self` link to its actor{why}"
            )
        if sought.url:
            return (
                f"give the address of the group's own account, or serve its actor at {sought.url} "
                f"as application/activity+json{why}"
            )
        return (
            f"give the address of the group's own account on {sought.base}, such as "
            f"@group@{sought.base.partition('://')[2]}, since the server names no actor of its own"
        )

    async def _by_account(self, account: str, base: str) -> None:
        uri = await self._webfinger(base, f"acct:{account}", ("self",))
        if uri:
            self.actor = await self._confirmed(await self._actor_at(uri), base)

    async def _by_url(self, url: str) -> None:
        """Take a URL for an actor, or for what names one; else ask its host whose it is."""
        self.actor = await self._actor_at(url)
        if self.actor is None:
            uri = await self._webfinger(self._sought.base, url, ("self",))
            if uri:
                self.actor = await self._confirmed(await self._actor_at(uri), self._sought.base)

    async def _by_server(self) -> None:
        """Look for the actor of a server: as NodeInfo, WebFinger or its software name it."""
        base = self._sought.base
        uri = self._servers_link or await self._webfinger(base, f"{base}/", (SERVICE, "self"))
        if not uri and (name := _SERVER_ACCOUNTS.get(self.software or "")):
            host = base.partition("://")[2]
            uri = await self._webfinger(base, f"acct:{name}@{host}", ("self",))
        self.actor = await self._confirmed(await self._actor_at(uri or f"{base}/"), base)
        self.is_servers = self.actor is not None

    async def _confirmed(self, actor: Actor | None, base: str) -> Actor | None:
        """Return an actor of another host only if that host says that it is who was asked for.

        Else whoever runs a host could have others' actors taken for its own.
        """
        if actor is None or same_origin(actor.id, base):
            return actor
        home = _base_of(actor.id)
        account = f"acct:{actor.preferred_username}@{home.partition('://')[2]}"
        if await self._webfinger(home, account, ("self",)) == actor.id:
            return actor
        self._failed(
            actor.id,
            f"whether it belongs to {base}",
            InvalidError("actor", f"{home} does not name it back; give the actor's own address"),
        )
        return None

    async def _actor_at(self, uri: str, hops: int = _HOPS_MOST) -> Actor | None:
        """Return the actor at an address, or the one that what is there leads to."""
        document = await self._document(uri)
        if document is None:
            return None
        if types(document) & ACTOR_TYPES:
            try:
                return read_actor(document)
            except LocalPayError as error:
                self._failed(uri, "its actor", error)
                return None
        for following in _leads(document)[:_CANDIDATES_MOST] if hops else ():
            found = await self._actor_at(following, hops - 1)
            if found is not None:
                return found
        return None

    async def _document(self, uri: str) -> Document | None:
        """Fetch what is at an address, and again by its own id where that is another."""
        if uri in self._read:
            return self._read[uri]
        self._read[uri] = None  # a cycle ends here
        try:
            document = await self._own_document(uri)
        except (FetchError, InvalidError, MalformedError) as error:
            self._failed(uri, "its ActivityPub document", error)
            return None
        own = id_of(document)
        self._read[uri] = self._read[own] = document
        kinds = ", ".join(sorted(types(document))) or "document without a type"
        self._tell(uri, "its ActivityPub document", f"is a {kinds}: {own}")
        return document

    async def _own_document(self, uri: str) -> Document:
        fetched = await self._door.get_json(urldefrag(uri).url)
        own = id_of(fetched.body)
        if origin(own) is None:
            raise MalformedError("the document has no id")
        if own == fetched.url or (own == uri and same_origin(fetched.url, own)):
            return fetched.body
        if own in self._read and own != uri:
            raise InvalidError("id", "leads back to an address that was asked before")
        self._read[own] = None
        document = await fetch_object(self._door, own)
        if id_of(document) != own:
            raise InvalidError("id", "must be the address that the document is served at")
        return document

    async def _webfinger(self, base: str, resource: str, relations: tuple[str, ...]) -> str:
        """Return the actor that a host's WebFinger names, by the first relation it has; or ""."""
        url = f"{base}/.well-known/webfinger?resource={quote(resource, safe='')}"
        asked = f"WebFinger for {resource}"
        try:
            body = (await self._door.get_json(url, accept=DESCRIPTOR)).body
        except FetchError as error:
            self._failed(base, asked, error)
            return ""
        found = list(_links(body, base))
        for relation in relations:
            for rel, href, media_type in found:
                if rel == relation and (media_type is None or is_activity_media_type(media_type)):
                    self._tell(base, asked, f"names {href}")
                    return href
        self._failed(base, asked, InvalidError("links", "none of them leads to an actor"))
        return ""

    async def _ask_nodeinfo(self, base: str) -> None:
        """Learn a server's software and the actor that it names as its own (FEP-2677)."""
        asked, url = "NodeInfo", f"{base}/.well-known/nodeinfo"
        try:
            listed = await self._door.get_json(url, accept=DESCRIPTOR)
            named = {rel: href for rel, href, _ in _links(listed.body, base)}
            self._servers_link = named.get(APPLICATION, "")
            described = [named.get(_NODEINFO + version, "") for version in _NODEINFO_VERSIONS]
            found = next((one for one in described if same_origin(one, base)), None)
            if found is None:
                self._tell(base, asked, "links to no description of 2.0 or 2.1")
                return
            url = found
            told = (await self._door.get_json(url, accept=DESCRIPTOR)).body.get("software")
        except FetchError as error:
            self._failed(url, asked, error)
            return
        self.software = text(told, "name")[:_SOFTWARE_MOST_CHARS] if isinstance(told, dict) else ""
        self._tell(base, asked, f"runs {self.software or 'what it does not name'}")

    def _tell(self, address: str, asked: str, outcome: str) -> None:
        self.steps.append(Step(address, asked, outcome[:_OUTCOME_MOST_CHARS]))

    def _failed(self, address: str, asked: str, error: LocalPayError) -> None:
        self._first_failure = self._first_failure or error
        self._tell(address, asked, error.detail)


def _base_of(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _leads(document: Document) -> list[str]:
    """Return what may lead from a listing, an activity or a collection to an actor, best first."""
    found = [uri for term in _LEADING for uri in ids(document, term)]
    return [uri for uri in dict.fromkeys(found) if uri != PUBLIC and origin(uri) is not None]


def _links(descriptor: dict[str, Any], base: str) -> Iterable[tuple[str, str, str | None]]:
    """Yield a descriptor's links as relation, address and media type; what is no link is left out.

    Flohmarkt has written them without their scheme.
    """
    links = descriptor.get("links")
    for link in links[:_LINKS_MOST] if isinstance(links, list) else ():
        if not isinstance(link, dict):
            continue
        rel, href, media_type = (link.get(name) for name in ("rel", "href", "type"))
        if not isinstance(rel, str) or not isinstance(href, str):
            continue
        if "://" not in href and href.startswith(f"{base.partition('://')[2]}/"):
            href = f"{base.partition('://')[0]}://{href}"
        if origin(href) is not None:
            yield rel, href, media_type if isinstance(media_type, str) else None
