"""A server asks to share content with us, our operator accepts it, and keys are exchanged."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.orm import Session

from commons.answers import Response
from commons.database import now, reading, transaction
from commons.errors import (
    ConflictError,
    FetchError,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooManyError,
    UnavailableError,
)
from commons.fetch import DESCRIPTOR, Door
from commons.json_reading import read_json
from commons.settings import Settings
from crawler import blocks, peers
from crawler.changes import withdraw_each
from crawler.fasp.rows import AnnouncedObject, FaspServer, FaspState, by_address, move
from crawler.fasp.signing import (
    ServerSigning,
    check_answer,
    fingerprint,
    own_key,
    read_key,
    written_key,
)
from crawler.peers import Peer, PeerKind, PeerState
from crawler.terms import Document, first_id, local_name, objects, origin, same_origin, text
from marketplace.listings import Listing, WithdrawnReason

BASE_PATH: Final = "/fasp"
REQUESTS_MOST: Final = 100
"""How many requests may wait for the operator; nobody can fill the table."""
_FOUND_BY: Final = "its administrator, for sharing content"
_NODEINFO: Final = ("2.1", "2.0")
_ID_BYTES: Final = 12
_LONGEST_ID: Final = 255
_RETRY_SECONDS: Final = 3_600


@dataclass(frozen=True)
class Told:
    """A server as it is told to operators: our key's fingerprint, and its own, to be compared."""

    address: str
    state: FaspState
    state_since: datetime
    our_fingerprint: str
    their_fingerprint: str | None
    completion_uri: str | None
    last_error: str | None


@dataclass(frozen=True)
class _Exchanged:
    """What a server answered to our registration."""

    base_url: str
    fasp_id: str
    public_key: str
    completion_uri: str | None


def name_of(settings: Settings) -> str:
    """Return what administrators see as our name."""
    return f"LocalPay marketplace at {urlsplit(settings.base_url).netloc}"


def base_url_of(settings: Settings) -> str:
    """Return the address that our interface for servers lies below."""
    return settings.base_url + BASE_PATH


def request(session: Session, address: str) -> FaspServer:
    """Note that a server wants to share content with us; once more changes nothing.

    Nothing is asked of it before our operator accepts. Raises InvalidError for what is no server's
    address, ForbiddenError for a blocked domain and TooManyError where too many wait already.
    """
    address = _origin_of(address)
    blocks.refuse(session, address)
    server = session.scalar(select(FaspServer).where(FaspServer.address == address))
    if server is not None:
        return server
    waiting = select(func.count()).where(FaspServer.state == FaspState.REQUESTED)
    if (session.scalar(waiting) or 0) >= REQUESTS_MOST:
        raise TooManyError("too many servers wait for the operator", _RETRY_SECONDS)
    moment = now(session)
    server = FaspServer(
        address=address,
        server_id=secrets.token_urlsafe(_ID_BYTES),
        state=FaspState.REQUESTED,
        state_since=moment,
        requested_at=moment,
        attempts=0,
        has_more=False,
        continuations=0,
    )
    session.add(server)
    session.flush()
    return server


async def accept(
    engine: Engine, door: Door, settings: Settings, service_key: Ed25519PrivateKey, address: str
) -> Told:
    """Register with a server, on our operator's word; its administrator then compares our key.

    Raises what `request` does, ConflictError where it is registered already, InvalidError where
    its NodeInfo names no base URL, and UnavailableError where it does not answer as it should.
    """
    server_id = await asyncio.to_thread(_requested, engine, address)
    address = _origin_of(address)
    key = own_key(service_key, server_id)
    try:
        base_url = await _base_url(door.errand(address), address)
        exchanged = await _exchange(door.errand(address), settings, key, server_id, base_url)
    except FetchError as error:
        raise UnavailableError(f"{address} cannot be registered with: {error.detail}") from error
    return await asyncio.to_thread(_store, engine, service_key, address, exchanged)


def servers(session: Session, service_key: Ed25519PrivateKey) -> list[Told]:
    """Return the servers that share content with us or want to, the newest first."""
    rows = session.scalars(select(FaspServer).order_by(FaspServer.id.desc()))
    return [_told(row, service_key) for row in rows]


def remove(session: Session, address: str) -> int:
    """Forget a server and withdraw the listings that came by it alone; return how many those were.

    Its administrator removes us there: we have no call for that. Raises NotFoundError.
    """
    server = by_address(session, _origin_of(address), lock=True)
    peer = session.get(Peer, server.peer_id, with_for_update=True) if server.peer_id else None
    mine = AnnouncedObject.server_id == server.id
    named = session.scalars(select(AnnouncedObject.listing_uris).where(mine)).all()
    uris = [uri for some in named for uri in some]
    standing = [uri for uri in uris if _has_no_hub(session, uri)]
    withdrawn = withdraw_each(session, standing, WithdrawnReason.OPERATOR)
    session.execute(delete(AnnouncedObject).where(mine))
    session.execute(delete(FaspServer).where(FaspServer.id == server.id))
    if peer is not None and peer.state is not PeerState.DISCOVERED:
        peers.revoke(session, peer)
    return withdrawn


def _has_no_hub(session: Session, uri: str) -> bool:
    query = select(Listing.id).where(Listing.uri == uri, Listing.group_id.is_(None))
    return session.scalar(query) is not None


def _origin_of(address: str) -> str:
    if origin(address) is None or urlsplit(address).path not in {"", "/"}:
        raise InvalidError("server", "must be a server's address, as https://host")
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _requested(engine: Engine, address: str) -> str:
    with transaction(engine) as session:
        server = request(session, address)
        if server.state is not FaspState.REQUESTED:
            raise ConflictError(f"{server.address} is registered already; remove it first")
        return server.server_id


async def _base_url(door: Door, address: str) -> str:
    """Return where a server's interface lies, as its NodeInfo names it."""
    links = (await door.get_json(f"{address}/.well-known/nodeinfo", accept=DESCRIPTOR)).body
    named = {
        local_name(text(link, "rel")): first_id(link, "href") for link in objects(links, "links")
    }
    url = next((named[version] for version in _NODEINFO if version in named), "")
    if not same_origin(url, address):
        raise InvalidError("server", "must have a NodeInfo of 2.0 or 2.1 of its own origin")
    metadata = (await door.get_json(url, accept=DESCRIPTOR)).body.get("metadata")
    base_url = text(metadata, "faspBaseUrl") if isinstance(metadata, dict) else ""
    if not same_origin(base_url, address):
        raise InvalidError("server", "must name its faspBaseUrl, of its origin, in its NodeInfo")
    return base_url.rstrip("/")


async def _exchange(
    door: Door, settings: Settings, key: Ed25519PrivateKey, server_id: str, base_url: str
) -> _Exchanged:
    """Tell a server who we are and by which key, and return what it answers, which it signed."""
    wanted = {
        "name": name_of(settings),
        "baseUrl": base_url_of(settings),
        "serverId": server_id,
        "publicKey": written_key(key.public_key()),
    }
    signing = ServerSigning(server_id, key)
    body = json.dumps(wanted).encode()
    response = await door.call("POST", f"{base_url}/registration", body, signing)
    try:
        told = _answered(response)
        theirs = read_key(text(told, "publicKey"))
        fasp_id = _identifier(told)
    except MalformedError as error:
        raise FetchError(f"{base_url}/registration: {error.detail}") from error
    check_answer(response, theirs, datetime.now(UTC))
    completion_uri = first_id(told, "registrationCompletionUri")
    is_own = same_origin(completion_uri, base_url)
    return _Exchanged(base_url, fasp_id, written_key(theirs), completion_uri if is_own else None)


def _answered(response: Response) -> Document:
    told: Any = read_json(response.body)
    if not isinstance(told, dict):
        raise MalformedError("the answer is no object")
    return told


def _identifier(told: Document) -> str:
    value = told.get("faspId")
    if not isinstance(value, str | int) or not 0 < len(str(value)) <= _LONGEST_ID:
        raise MalformedError(f"faspId must have 1 to {_LONGEST_ID} characters")
    return str(value)


def _store(
    engine: Engine, service_key: Ed25519PrivateKey, address: str, exchanged: _Exchanged
) -> Told:
    with transaction(engine) as session:
        blocks.refuse(session, address)
        server = by_address(session, address, lock=True)
        if not move(session, server.id, FaspState.REQUESTED, FaspState.REGISTERED):
            raise ConflictError(f"{address} was registered in the same moment")
        peer = peers.discover(session, exchanged.base_url, found_by=_FOUND_BY, kind=PeerKind.FASP)
        if peer.kind is not PeerKind.FASP:
            raise ConflictError(f"{exchanged.base_url} is followed as a hub")
        # Taken without any consent of its own: each author's word counts, and each hub's.
        for state in (PeerState.DISCOVERED, PeerState.GONE):
            peers.move(session, peer.id, state, PeerState.CONSENTED)
        peers.move(session, peer.id, PeerState.CONSENTED, PeerState.LIVE)
        session.refresh(server)
        server.peer_id = peer.id
        server.base_url, server.fasp_id = exchanged.base_url, exchanged.fasp_id
        server.public_key = exchanged.public_key
        server.completion_uri = exchanged.completion_uri
        session.flush()
        return _told(server, service_key)


def _told(server: FaspServer, service_key: Ed25519PrivateKey) -> Told:
    theirs = read_key(server.public_key) if server.public_key else None
    return Told(
        address=server.address,
        state=server.state,
        state_since=server.state_since,
        our_fingerprint=fingerprint(own_key(service_key, server.server_id).public_key()),
        their_fingerprint=fingerprint(theirs) if theirs else None,
        completion_uri=server.completion_uri,
        last_error=server.last_error,
    )


def known_server(engine: Engine, server_id: str) -> FaspServer:
    """Return the registered server of an id of ours; NotFoundError where there is none."""
    with reading(engine) as session:
        server = session.scalar(select(FaspServer).where(FaspServer.server_id == server_id))
        if server is None or server.public_key is None:
            raise NotFoundError("no server is registered under this id")
        session.expunge(server)
        return server
