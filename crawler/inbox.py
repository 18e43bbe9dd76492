"""The inbox: what hubs push is checked, stored as it came, and handled later by a worker."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, and_, func, not_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.answers import is_activity_media_type
from commons.database import now, transaction, violated
from commons.errors import (
    ForbiddenError,
    LocalPayError,
    MalformedError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from commons.fetch import Door
from commons.json_reading import read_json
from commons.signatures import Message, Verified
from crawler import signers
from crawler.hub_keys import NONCE_USED, use_nonces
from crawler.kept import InboxMessage, forget_arrivals, forget_handled
from crawler.peers import Peer, PeerState, heard
from crawler.signers import Signer
from crawler.terms import Activity, Document, activity, first_id, objects, same_origin, types

BODY_MAX_BYTES: Final = 1024 * 1024
BACKLOG_MAX: Final = 10_000
BACKLOG_RETRY_SECONDS: Final = 60
STORED_AT_ONCE: Final = 200
HEARD_AGAIN: Final = timedelta(minutes=1)
HANDLED_KEPT: Final = timedelta(days=7)
ARRIVALS_KEPT: Final = timedelta(days=30)
_NESTED_MOST: Final = 3


@dataclass(frozen=True)
class _Pushed:
    """An activity that is what it says it is, and who vouches for it."""

    signer: Signer
    verified: Verified
    activity: Activity
    document: Document
    body: str


class _UnverifiedError(Exception):
    """The keys that are held do not do for a push."""


@dataclass(frozen=True)
class _Waiting:
    """A message that waits to be stored, who vouches for it if that is known, and who is told."""

    message: Message
    vouched: tuple[Verified, Signer] | None
    stored: asyncio.Future[None]


class Inbox:
    """Checks and stores what is pushed; what arrives together is stored in one transaction.

    While one transaction is under way, what arrives waits for the next. Should one fail, its pushes
    are stored once more, one by one, so that none of them can spoil the others.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Waiting] = []
        self._storing: asyncio.Task[None] | None = None

    async def receive(self, door: Door, message: Message) -> None:
        """Check a pushed activity and store it; it is committed on return.

        Raises TooLargeError, UnsupportedMediaError, MalformedError, UnauthenticatedError for a
        missing or wrong signature, ForbiddenError for an actor that the signer may not speak for
        or a hub that may not push, UnavailableError where a new key cannot be fetched, and
        TooManyError where the hub's backlog is full. The same activity again is taken and has no
        further effect.
        """
        if len(message.body) > BODY_MAX_BYTES:
            raise TooLargeError(f"an activity has at most {BODY_MAX_BYTES} bytes")
        media_type = next(
            (value for name, value in message.headers if name.lower() == "content-type"), None
        )
        if not is_activity_media_type(media_type):
            raise UnsupportedMediaError("an activity is of the type application/activity+json")
        try:
            await self._stored(message)
        except _UnverifiedError:
            vouched = await signers.verified(self._engine, door, message)
            await self._stored(message, vouched)

    async def _stored(
        self, message: Message, vouched: tuple[Verified, Signer] | None = None
    ) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(message, vouched, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store())
        await stored

    async def _store(self) -> None:
        try:
            while self._waiting:
                waiting = self._waiting[:STORED_AT_ONCE]
                self._waiting = self._waiting[STORED_AT_ONCE:]
                await self._store_some(waiting)
        finally:
            self._storing = None

    async def _store_some(self, waiting: Sequence[_Waiting]) -> None:
        """Store messages and tell each of their pushes how it went, whatever happens."""
        refusals: Sequence[Exception | None]
        try:
            refusals = await asyncio.to_thread(_take, self._engine, waiting)
        except Exception as error:  # noqa: BLE001 (whoever pushed is told, and the next are taken)
            refusals = [error] * len(waiting)
        for one, refusal in zip(waiting, refusals, strict=True):
            if one.stored.cancelled():
                continue
            if refusal is None:
                one.stored.set_result(None)
            else:
                one.stored.set_exception(refusal)


async def receive(engine: Engine, door: Door, message: Message) -> None:
    """Check a pushed activity and store it by itself, as `Inbox.receive` does."""
    await Inbox(engine).receive(door, message)


def _take(engine: Engine, waiting: Sequence[_Waiting]) -> list[Exception | None]:
    """Verify, read and store messages; return why each was refused, None where it was taken."""
    unvouched = [one.message for one in waiting if one.vouched is None]
    verified = iter(signers.verified_at_once(engine, unvouched))
    refusals: list[Exception | None] = []
    pushes: dict[int, _Pushed] = {}
    for place, one in enumerate(waiting):
        vouched = one.vouched or next(verified)
        refusals.append(_UnverifiedError() if vouched is None else None)
        if vouched is not None:
            try:
                pushes[place] = _read(one.message, *vouched)
            except LocalPayError as error:
                refusals[place] = error
    stored = _store(engine, list(pushes.values()))
    for place, refusal in zip(pushes, stored, strict=True):
        refusals[place] = refusal
    return refusals


def _read(message: Message, verified: Verified, signer: Signer) -> _Pushed:
    document = read_json(message.body)
    if not isinstance(document, dict):
        raise MalformedError("an activity is a JSON object")
    received = activity(document)
    if not (signer.speaks_for(received.actor) or signer.passes_on(received.type)):
        raise ForbiddenError("the signer may not speak for this actor")
    if not same_origin(received.id, received.actor):
        raise ForbiddenError("an activity's id must be of its actor's origin")
    return _Pushed(signer, verified, received, document, message.body.decode())


def _store(engine: Engine, pushes: Sequence[_Pushed]) -> Sequence[Exception | None]:
    """Store pushes in one transaction; return why each was refused, None where it was taken."""
    if not pushes:
        return []
    try:
        with transaction(engine) as session:
            return _store_each(session, pushes)
    except Exception as error:  # noqa: BLE001 (whoever pushed is told)
        if len(pushes) > 1:
            return [refusal for push in pushes for refusal in _store(engine, [push])]
        is_repeated = (
            isinstance(error, IntegrityError)
            and violated(error) == "uq_inbox_messages_peer_id_activity_id"
        )
        return [None if is_repeated else error]


def _store_each(session: Session, pushes: Sequence[_Pushed]) -> list[LocalPayError | None]:
    known = _known(session, pushes)
    refusals = _unwanted(session, pushes, known)
    # Last, so that what is refused for another reason may be sent again as it is.
    wanted = [place for place, refusal in enumerate(refusals) if refusal is None]
    unused = use_nonces(session, [pushes[place].verified for place in wanted])
    moment = now(session)
    for place, is_unused in zip(wanted, unused, strict=True):
        push = pushes[place]
        which = push.signer.peer_id, push.activity.id
        if not is_unused:
            refusals[place] = UnauthenticatedError(NONCE_USED)
        elif which not in known:
            known.add(which)
            session.add(_message(push, moment))
    session.flush()
    forget_handled(session, moment - HANDLED_KEPT)
    forget_arrivals(session, moment - ARRIVALS_KEPT)
    heard_of = {pushes[place].signer.peer_id for place in wanted if refusals[place] is None}
    _note_heard(session, heard_of, moment)
    return refusals


def _unwanted(
    session: Session, pushes: Sequence[_Pushed], known: Collection[tuple[int, str]]
) -> list[LocalPayError | None]:
    """Return why pushes are not taken: they are of another's actor, or there is no room."""
    others = _peers_of(session, {push.activity.actor for push in pushes})
    rooms = _rooms(session, {push.signer.peer_id for push in pushes})
    refusals: list[LocalPayError | None] = []
    for push in pushes:
        peer_id = push.signer.peer_id
        is_own = others.get(push.activity.actor, peer_id) == peer_id
        if not (is_own or push.signer.passes_on(push.activity.type)):
            # One group's key for another group's actor, though a server may house both.
            reason = "the signer may not speak for another group's actor"
            refusals.append(ForbiddenError(reason))
        elif (peer_id, push.activity.id) in known:
            refusals.append(None)
        elif rooms[peer_id] <= 0:
            reason = "too much of this hub waits to be handled"
            refusals.append(TooManyError(reason, BACKLOG_RETRY_SECONDS))
        else:
            rooms[peer_id] -= 1
            refusals.append(None)
    return refusals


def _message(push: _Pushed, moment: datetime) -> InboxMessage:
    object_uri, author_uri = innermost(push.document)
    return InboxMessage(
        peer_id=push.signer.peer_id,
        key_id=push.verified.key_id,
        activity_id=push.activity.id,
        activity_type=push.activity.type[:100],
        actor_uri=push.activity.actor,
        object_uri=object_uri,
        author_uri=author_uri,
        body=push.body,
        is_vouched=push.signer.is_hubs_own,
        received_at=moment,
        due_at=moment,
        attempts=0,
    )


def _peers_of(session: Session, actor_uris: Collection[str]) -> dict[str, int]:
    query = select(Peer.actor_uri, Peer.id).where(Peer.actor_uri.in_(actor_uris))
    return dict(session.execute(query).all())


def _known(session: Session, pushes: Sequence[_Pushed]) -> set[tuple[int, str]]:
    """Return which activities of the peers are stored already."""
    query = select(InboxMessage.peer_id, InboxMessage.activity_id).where(
        InboxMessage.peer_id.in_({push.signer.peer_id for push in pushes}),
        InboxMessage.activity_id.in_({push.activity.id for push in pushes}),
    )
    return {(peer_id, activity_id) for peer_id, activity_id in session.execute(query)}


def _rooms(session: Session, peer_ids: Collection[int]) -> dict[int, int]:
    """Return how much more of each peer may wait."""
    waiting = (
        select(InboxMessage.peer_id, func.count())
        .where(InboxMessage.peer_id.in_(peer_ids), InboxMessage.due_at.is_not(None))
        .group_by(InboxMessage.peer_id)
    )
    counts = dict(session.execute(waiting).all())
    return {peer_id: BACKLOG_MAX - counts.get(peer_id, 0) for peer_id in peer_ids}


def _note_heard(session: Session, peer_ids: Collection[int], moment: datetime) -> None:
    """Note that hubs spoke to us, of each at most once a minute while it is well."""
    lately = and_(Peer.last_heard_at > moment - HEARD_AGAIN, Peer.state == PeerState.LIVE)
    news = select(Peer.id).where(
        Peer.id.in_(peer_ids), or_(Peer.last_heard_at.is_(None), not_(lately))
    )
    for peer_id in session.scalars(news.order_by(Peer.id)).all():
        heard(session, peer_id)


def innermost(document: Document) -> tuple[str, str]:
    """Return the id of the object in the middle of nested activities, and its author's."""
    author, uri = first_id(document, "actor"), first_id(document, "object")
    for _ in range(_NESTED_MOST):
        embedded = next(objects(document, "object"), None)
        if embedded is None:
            break
        author = first_id(embedded, "attributedTo", "actor") or author
        if not first_id(embedded, "object") or "Undo" in types(document):
            break
        document, uri = embedded, first_id(embedded, "object")
    return uri, author
