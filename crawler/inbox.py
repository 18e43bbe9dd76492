"""The inbox: what hubs push is checked, stored as it came, and handled later by a worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.answers import is_activity_media_type
from commons.database import now, transaction, violated
from commons.errors import (
    ForbiddenError,
    MalformedError,
    TooLargeError,
    TooManyError,
    UnsupportedMediaError,
)
from commons.fetch import Door
from commons.json_reading import read_json
from commons.signatures import Message, Verified
from crawler import signers
from crawler.hub_keys import use_nonce
from crawler.kept import InboxMessage, forget_handled
from crawler.peers import Peer, heard
from crawler.signers import Signer
from crawler.terms import Activity, Document, activity, first_id, objects, same_origin, types

BODY_MAX_BYTES: Final = 1024 * 1024
BACKLOG_MAX: Final = 10_000
BACKLOG_RETRY_SECONDS: Final = 60
HANDLED_KEPT: Final = timedelta(days=7)
_NESTED_MOST: Final = 3


@dataclass(frozen=True)
class _Pushed:
    """An activity that is what it says it is, and who vouches for it."""

    signer: Signer
    verified: Verified
    activity: Activity
    document: Document
    body: str


async def receive(engine: Engine, door: Door, message: Message) -> None:
    """Check a pushed activity and store it; it is committed on return.

    Raises TooLargeError, UnsupportedMediaError, MalformedError, UnauthenticatedError for a
    missing or wrong signature, ForbiddenError for an actor that the signer may not speak for or
    a hub that is not admitted, UnavailableError where a new key cannot be fetched, and
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
    verified, signer = await signers.verified(engine, door, message)
    document = read_json(message.body)
    if not isinstance(document, dict):
        raise MalformedError("an activity is a JSON object")
    received = activity(document)
    if not same_origin(received.actor, signer.actor_uri):
        raise ForbiddenError("the signer may not speak for this actor")
    if not same_origin(received.id, received.actor):
        raise ForbiddenError("an activity's id must be of its actor's origin")
    pushed = _Pushed(signer, verified, received, document, message.body.decode())
    await asyncio.to_thread(_store, engine, pushed)


def _store(engine: Engine, pushed: _Pushed) -> None:
    signer, verified, received = pushed.signer, pushed.verified, pushed.activity
    object_uri, author_uri = innermost(pushed.document)
    try:
        with transaction(engine) as session:
            use_nonce(session, verified)
            _check_speaker(session, signer, received)
            if _is_known(session, signer.peer_id, received.id):
                return
            _check_backlog(session, signer.peer_id)
            moment = now(session)
            forget_handled(session, signer.peer_id, moment - HANDLED_KEPT)
            session.add(
                InboxMessage(
                    peer_id=signer.peer_id,
                    key_id=verified.key_id,
                    activity_id=received.id,
                    activity_type=received.type[:100],
                    actor_uri=received.actor,
                    object_uri=object_uri,
                    author_uri=author_uri,
                    body=pushed.body,
                    received_at=moment,
                    due_at=moment,
                    attempts=0,
                )
            )
            heard(session, signer.peer_id)
    except IntegrityError as error:
        if violated(error) != "uq_inbox_messages_peer_id_activity_id":
            raise


def _check_speaker(session: Session, signer: Signer, received: Activity) -> None:
    """Refuse one group's key for another group's actor, though a server may house both."""
    other = session.scalar(
        select(Peer.id).where(Peer.actor_uri == received.actor, Peer.id != signer.peer_id)
    )
    if other is not None:
        raise ForbiddenError("the signer may not speak for another group's actor")


def _is_known(session: Session, peer_id: int, activity_id: str) -> bool:
    query = select(InboxMessage.id).where(
        InboxMessage.peer_id == peer_id, InboxMessage.activity_id == activity_id
    )
    return session.scalar(query) is not None


def _check_backlog(session: Session, peer_id: int) -> None:
    waiting = (
        select(InboxMessage.id)
        .where(InboxMessage.peer_id == peer_id, InboxMessage.due_at.is_not(None))
        .limit(BACKLOG_MAX)
        .subquery()
    )
    if (session.scalar(select(func.count()).select_from(waiting)) or 0) >= BACKLOG_MAX:
        raise TooManyError("too much of this hub waits to be handled", BACKLOG_RETRY_SECONDS)


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
