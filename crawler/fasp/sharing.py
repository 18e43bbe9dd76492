"""What a server shares: we subscribe, ask for what was before, and take what it announces."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from commons.answers import Response
from commons.database import now, reading, transaction
from commons.errors import (
    FetchError,
    ForbiddenError,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)
from commons.fetch import Door
from commons.json_reading import read_json
from commons.keys import load_or_create
from commons.settings import Settings
from crawler import peers
from crawler.fasp.registering import known_server
from crawler.fasp.rows import (
    BACKLOG_MOST,
    FETCHES_MOST,
    AnnouncedObject,
    FaspServer,
    FaspState,
    accepted_peer,
    move,
    waiting,
)
from crawler.fasp.signing import ServerSigning, check_answer, own_key, read_key
from crawler.origins import is_gone
from crawler.terms import LONGEST_URI_BYTES, Document, origin
from marketplace.listings import Listing

CATEGORY: Final = "content"
BATCH_MOST: Final = 100
"""How many objects we ask a server to announce in one message, and for one back-fill."""
URIS_MOST: Final = 1_000
CONTINUATIONS_MOST: Final = 1_000
"""How often we ask for more of what was before: an endless answer ends."""
_ROOM: Final = 200
_SOON: Final = timedelta(hours=1)
_LOOK_AGAIN: Final = timedelta(minutes=10)
_SUBSCRIPTIONS: Final = "/data_sharing/v0/event_subscriptions"
_BACKFILLS: Final = "/data_sharing/v0/backfill_requests"
_RETRY_SECONDS: Final = 600
_NOT_YET_SECONDS: Final = 30
_LONGEST_ID: Final = 255


class EventType(StrEnum):
    """What happened to announced objects, of what we subscribe to."""

    NEW = "new"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Announcement:
    """What a server says: in answer to what, which objects, and what happened to them.

    `event` is None for a back-fill, of which there is `more` or not.
    """

    subscription_id: str | None
    backfill_id: str | None
    uris: Sequence[str]
    event: EventType | None = None
    more: bool = False


@dataclass(frozen=True)
class _Calls:
    """Calls one server's interface, signed as it knows us; its answers are checked."""

    door: Door
    settings: Settings
    server: FaspServer

    async def call(self, method: str, path: str, said: Document | None = None) -> Response:
        """Return an answer that its server signed; FetchError for any other."""
        server, base_url = self.server, str(self.server.base_url)
        key = own_key(load_or_create(self.settings.data_dir).service, server.server_id)
        signing = ServerSigning(str(server.fasp_id), key)
        body = json.dumps(said).encode() if said is not None else b""
        errand = self.door.errand(base_url)
        response = await errand.call(method, base_url + path, body, signing)
        check_answer(response, read_key(str(server.public_key)), datetime.now(UTC))
        return response

    async def made(self, path: str, said: Document, name: str) -> str:
        """Return the id of what a call made."""
        response = await self.call("POST", path, said)
        try:
            told = read_json(response.body)
        except MalformedError as error:
            raise FetchError(f"{path}: {error.detail}") from error
        made = told.get(name) if isinstance(told, dict) else None
        value = made.get("id") if isinstance(made, dict) else None
        if not isinstance(value, str | int) or not 0 < len(str(value)) <= _LONGEST_ID:
            raise FetchError(f"{path} was answered without the id of its {name}")
        return str(value)


def activate(session: Session, server_id: int, *, active: bool) -> None:
    """Note that a server's administrator lets it share content with us, or no longer does."""
    if not active:
        move(session, server_id, FaspState.ACTIVE, FaspState.REGISTERED)
    elif move(session, server_id, FaspState.REGISTERED, FaspState.ACTIVE):
        changes = {"due_at": now(session), "attempts": 0, "continuations": 0, "has_more": False}
        _set(session, server_id, backfill_id=None, **changes)


async def attend(engine: Engine, door: Door, settings: Settings, server_id: int) -> datetime | None:
    """Subscribe to what a server shares and ask for what was before; return when to ask for more.

    Nothing is called at a server whose administrator has not activated it. FetchError where it
    does not answer, or not signed as itself.
    """
    with reading(engine) as session:
        server = session.get_one(FaspServer, server_id)
        if server.state is not FaspState.ACTIVE or accepted_peer(session, server) is None:
            return None
        session.expunge(server)
    calls = _Calls(door, settings, server)
    if server.backfill_id is None:  # it was activated just now
        await _subscribe(engine, calls)
        asked = {"category": CATEGORY, "maxCount": BATCH_MOST}
        _note(engine, server, backfill_id=await calls.made(_BACKFILLS, asked, "backfillRequest"))
        return None
    if not server.has_more or server.continuations >= CONTINUATIONS_MOST:
        return None
    with reading(engine) as session:
        if waiting(session, server_id, _SOON) > _ROOM:
            return now(session) + _LOOK_AGAIN
    await _continue(engine, calls)
    return None


async def _subscribe(engine: Engine, calls: _Calls) -> None:
    """Subscribe anew, in the place of what a server may have kept from before."""
    if calls.server.subscription_id is not None:
        try:
            await calls.call("DELETE", f"{_SUBSCRIPTIONS}/{calls.server.subscription_id}")
        except FetchError as error:
            if not is_gone(error):
                raise
        _note(engine, calls.server, subscription_id=None)
    wanted = {"category": CATEGORY, "subscriptionType": "lifecycle", "maxBatchSize": BATCH_MOST}
    made = await calls.made(_SUBSCRIPTIONS, wanted, "subscription")
    _note(engine, calls.server, subscription_id=made)


async def _continue(engine: Engine, calls: _Calls) -> None:
    """Ask for more of what was before."""
    number = calls.server.continuations + 1
    _note(engine, calls.server, has_more=False, continuations=number)
    try:
        await calls.call("POST", f"{_BACKFILLS}/{calls.server.backfill_id}/continuation")
    except FetchError as error:
        if not is_gone(error):
            _note(engine, calls.server, has_more=True)
            raise


def _note(engine: Engine, server: FaspServer, **changes: object) -> None:
    with transaction(engine) as session:
        _set(session, server.id, **changes)
        if server.peer_id is not None:
            peers.heard(session, server.peer_id)


def _set(session: Session, server_id: int, **changes: object) -> None:
    session.execute(update(FaspServer).where(FaspServer.id == server_id).values(**changes))


def announced(engine: Engine, server_id: str, said: Announcement) -> int:
    """Keep what a server announces to be looked at where it lives; return how much that is.

    Raises ForbiddenError where it is not active, NotFoundError where it answers nothing that we
    asked for, UnavailableError where we do not know yet, InvalidError and TooLargeError for what
    it names, and TooManyError where too much waits already.
    """
    _check(said)
    known = known_server(engine, server_id)
    with transaction(engine) as session:
        server = session.get(FaspServer, known.id, with_for_update=True)
        peer = accepted_peer(session, server) if server is not None else None
        if server is None or peer is None or server.state is not FaspState.ACTIVE:
            raise ForbiddenError("data_sharing is not active for this server")
        _check_source(server, said)
        kept = _keep(session, server, said)
        if said.backfill_id is not None:
            _set(session, server.id, has_more=said.more)
            if said.more:
                _set(session, server.id, due_at=now(session), attempts=0)
        return kept


def _check(said: Announcement) -> None:
    if len(said.uris) > URIS_MOST:
        raise TooLargeError(f"objectUris: at most {URIS_MOST} objects are taken in one message")
    if not said.uris:
        raise InvalidError("objectUris", "must hold at least one")
    for place, uri in enumerate(said.uris):
        is_short = len(uri.encode(errors="replace")) <= LONGEST_URI_BYTES
        if origin(uri) is None or not is_short or not uri.isprintable():
            raise InvalidError(f"objectUris.{place}", "must be an http or https address")


def _check_source(server: FaspServer, said: Announcement) -> None:
    pairs = ((said.subscription_id, server.subscription_id), (said.backfill_id, server.backfill_id))
    for told, ours in pairs:
        if told is None or told == ours:
            continue
        if ours is None:
            raise UnavailableError("we do not know yet what this answers", _NOT_YET_SECONDS)
        raise NotFoundError("this answers nothing that we asked for")


def _keep(session: Session, server: FaspServer, said: Announcement) -> int:
    """Keep objects to be looked at, twenty a minute; a deleted one only where it is known."""
    uris = list(dict.fromkeys(said.uris))
    held = {
        row.uri: row
        for row in session.scalars(
            select(AnnouncedObject).where(AnnouncedObject.uri.in_(uris)).with_for_update()
        )
    }
    if said.event is EventType.DELETE:
        listed = session.scalars(
            select(Listing.uri).where(Listing.uri.in_(uris), Listing.withdrawn_at.is_(None))
        )
        known = held.keys() | set(listed)
        uris = [uri for uri in uris if uri in known]
    if said.event is None:
        uris = [uri for uri in uris if uri not in held]  # nothing happened to what is known
    new = [uri for uri in uris if uri not in held]
    count = select(func.count()).where(
        AnnouncedObject.server_id == server.id, AnnouncedObject.looked_at.is_(None)
    )
    if new and (session.scalar(count) or 0) + len(new) > BACKLOG_MOST:
        raise TooManyError("too much that was announced waits to be looked at", _RETRY_SECONDS)
    moment = now(session)
    for number, uri in enumerate(uris):
        row = held.get(uri)
        if row is None:
            row = AnnouncedObject(server_id=server.id, uri=uri, listing_uris=[])
            session.add(row)
        row.due_at, row.attempts = moment + timedelta(minutes=number // FETCHES_MOST), 0
    session.flush()
    return len(uris)
