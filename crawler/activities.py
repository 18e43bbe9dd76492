"""What each kind of activity does, once the inbox has checked and stored it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import reading, transaction
from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError, TooLargeError
from commons.fetch import Door
from commons.json_reading import read_json
from commons.settings import Settings
from crawler import authors, moving
from crawler.actor import actor_uri
from crawler.following import note_actor
from crawler.intake import REMOVALS, prepare, removed, unwrap
from crawler.interest.answering import answered
from crawler.interest.arriving import offered
from crawler.kept import InboxMessage, forget_earlier, forget_message, put_aside, undone
from crawler.origins import ACTOR_TYPES, fetch_actor, fetch_object, is_gone
from crawler.own_words import authors_held, tells_of_anothers
from crawler.peers import (
    INDEXED,
    Peer,
    PeerKind,
    PeerState,
    accepted,
    failed,
    may_index,
    rejected,
    revoke,
    schedule,
    unblocked,
)
from crawler.proving import stands_in
from crawler.pushes import Push
from crawler.relays import answer_follow
from crawler.settling import HELD, remove, settle
from crawler.terms import (
    Document,
    activity,
    id_of,
    innermost_id,
    nested,
    same_origin,
    types,
)
from marketplace.listings import by_uri

FETCHES_MOST: Final = 20
"""How many requests one pushed activity may make us send, redirects included."""
_KEPT: Final = frozenset({"Create", "Update", "Add", "Announce", "Accept"})
"""Kinds of which some are kept as they came: those of listings held, and what may be undone."""


async def handle(
    engine: Engine, door: Door, settings: Settings, message_id: int
) -> datetime | None:
    """Handle one stored activity; FetchError where another server is needed and does not answer.

    What cannot be read is put aside with its reason. An activity of a kind that means nothing
    here does nothing; of it, as of all but what brings listings, only that it came is kept.
    """
    with reading(engine) as session:
        row = session.scalars(select(InboxMessage).where(InboxMessage.id == message_id)).one()
        peer = session.scalars(select(Peer).where(Peer.id == row.peer_id)).one()
        body, is_vouched = row.body, row.is_vouched
        uri = row.object_uri or row.activity_id
        peer_id, peer_uri, follow_uri = peer.id, peer.actor_uri, peer.follow_uri
        is_relays = peer.kind is PeerKind.RELAY
    if body is None:
        return None
    try:
        document = read_json(body.encode())
        push = Push(
            engine,
            door.errand(peer_uri, fetches=FETCHES_MOST),
            actor_uri(settings),
            message_id,
            peer_id,
            peer_uri,
            follow_uri,
            is_relays,
            is_vouched,
            uri,
            activity(document),
            document,
        )
        handlers = _RELAYS_HANDLERS if push.is_relays else _HANDLERS
        handler = handlers.get(push.activity.type)
        if handler is not None:
            await handler(push)
        if handler is None or push.activity.type not in _KEPT:
            with transaction(engine) as session:
                forget_message(session, message_id)
    except (InvalidError, MalformedError, TooLargeError) as error:
        with transaction(engine) as session:
            give_up(session, message_id, error.detail)
    return None


def give_up(session: Session, message_id: int, reason: str) -> None:
    """Put a message aside that could not be handled, so that it stops nobody else.

    Of a hub whose listings are not taken nothing is kept, nor of what is for one author alone.
    """
    row = session.get_one(InboxMessage, message_id)
    peer = session.get_one(Peer, row.peer_id, with_for_update={"read": True})
    if row.activity_type != "Offer" and may_index(session, peer):
        put_aside(
            session,
            row.peer_id,
            row.object_uri or row.activity_id,
            reason,
            author_uri=row.author_uri,
            document=row.body,
            is_vouched=row.is_vouched,
        )
    forget_message(session, message_id)


async def _create(push: Push) -> None:
    """Create and Update alike, since an Update may come first; of an actor, ask it anew."""
    embedded = push.activity.object
    if push.activity.object_id == push.activity.actor or types(embedded) & ACTOR_TYPES:
        await _actor_changed(push, push.activity.object_id)
        return
    speaker = push.activity.actor
    proven = await stands_in(push.engine, push.door, push.document, speaker)
    document = await unwrap(push.door, proven or push.document, id_of(proven) or speaker)
    if not push.is_vouched and tells_of_anothers(push.engine, speaker, document):
        await _look_again(push, push.object_uri, None)
        return
    await _settle(push, document, None)


async def _settle(push: Push, document: Document, group_uri: str | None) -> None:
    arrivals = [
        replace(arrival, is_vouched=push.is_vouched)
        for arrival in await prepare(push.engine, push.door, document, group_uri, set())
    ]
    with transaction(push.engine) as session:
        is_undone = undone(session, [(push.peer_id, push.activity.id)])
        outcomes = [] if is_undone else settle(session, push.peer_id, arrivals)
        if not HELD & set(outcomes):
            forget_message(session, push.message_id)  # put aside, or not to be kept


async def _actor_changed(push: Push, uri: str) -> None:
    if not same_origin(uri, push.activity.actor):
        raise InvalidError("object", "must be of the actor's origin")
    actor = await fetch_actor(push.door, uri)
    with transaction(push.engine) as session:
        peer = session.get_one(Peer, push.peer_id, with_for_update=True)
        if uri == push.peer_uri:
            if note_actor(session, peer, actor) and peer.state is PeerState.DISCOVERED:
                schedule(session, push.peer_id)  # it may have agreed
        elif authors.hear(session, actor) and peer.state in INDEXED:
            # What the actor allows again is found by reading its hub's outbox anew.
            schedule(session, push.peer_id)
        forget_message(session, push.message_id)


async def _announce(push: Push) -> None:
    """Take what a group announces from its own origin, from the announcement only if proven."""
    await _passed_on(push, push.activity.actor)


async def _relayed(push: Push) -> None:
    """Take what a relay passes on as one takes what is announced, but for no group."""
    await _passed_on(push, None)


async def _passed_on(push: Push, group_uri: str | None) -> None:
    carried = (kind for embedded in nested(push.document) for kind in types(embedded))
    if {push.activity.type, *carried} & REMOVALS:
        await _look_again(push, push.object_uri, group_uri)
        return
    passed_on = push.document if push.is_relays else push.activity.object
    proven = await stands_in(push.engine, push.door, passed_on, "")
    document = await unwrap(push.door, proven or push.object_uri, id_of(proven))
    await _settle(push, document, group_uri)


async def _follow(push: Push) -> None:
    """Accept the Follow that a relay sends back to whoever follows it."""
    if push.is_by_hub and push.activity.object_id == push.our_actor:
        with transaction(push.engine) as session:
            answer_follow(session, push.our_actor, push.peer_id, push.activity.id)


async def _undo(push: Push) -> None:
    undone = push.activity.object
    kind = min(types(undone), default="")
    with reading(push.engine) as session:
        row = session.scalar(
            select(InboxMessage).where(
                InboxMessage.peer_id == push.peer_id,
                InboxMessage.activity_id == push.activity.object_id,
            )
        )
        kind = row.activity_type if row is not None else kind
        uri = row.object_uri if row is not None else innermost_id(undone)
        others = session.scalars(
            select(InboxMessage.activity_id).where(
                InboxMessage.activity_type == "Announce",
                InboxMessage.object_uri == uri,
                InboxMessage.activity_id != push.activity.object_id,
                InboxMessage.activity_id.not_in(
                    select(InboxMessage.object_uri).where(InboxMessage.activity_type == "Undo")
                ),
            )
        ).all()
    if kind == "Block" and uri == push.our_actor:
        await _block_changed(push, blocked=False)
    elif kind == "Accept":
        await _accept_undone(push, row.body if row is not None else None)
    elif kind == "Announce" and uri and not others:
        await _announcement_undone(push, uri)


async def _announcement_undone(push: Push, uri: str) -> None:
    """Ask the origin about a listing held that is announced no more; nobody else decides it."""
    with reading(push.engine) as session:
        held = by_uri(session, uri)
        is_shown = held is not None and held.withdrawn_at is None
    if is_shown:
        await _look_again(push, uri, None)


async def _look_again(push: Push, uri: str, group_uri: str | None) -> None:
    """Fetch a listing at its origin and do what that says now.

    That it is not to be had there counts only where somebody said so who may: another may have
    published it without an address that answers.
    """
    try:
        document = await fetch_object(push.door, uri)
    except FetchError as error:
        if not is_gone(error):
            raise
        held = authors_held(push.engine, [uri]).get(uri, push.activity.actor)
        is_told = error.status == HTTPStatus.GONE or push.is_vouched
        if not is_told and held != push.activity.actor:
            raise InvalidError(
                "object", "must be the signer's own, or say so at its origin"
            ) from error
        document = {"type": "Tombstone", "id": uri}
    if "Tombstone" in types(document):
        with transaction(push.engine) as session:
            remove(session, removed(document))
            forget_message(session, push.message_id)
        return
    await _settle(push, document, group_uri)


async def _delete(push: Push) -> None:
    uri = push.activity.object_id
    if not same_origin(uri, push.activity.actor):
        raise InvalidError("object", "must be of the actor's origin")
    if uri == push.peer_uri and not push.is_by_hub:
        raise InvalidError("object", "must not be the hub's actor, which alone may say so")
    with transaction(push.engine) as session:
        if push.is_by_hub and uri == push.peer_uri:
            failed(session, push.peer_id, gone=True)
        elif uri == push.activity.actor:
            authors.left(session, uri)
        elif push.is_vouched:
            remove(session, removed(push.document))
    if not push.is_vouched and uri != push.activity.actor:
        await _delete_own(push)


async def _delete_own(push: Push) -> None:
    """Do what a member's own key says of its own listings; of others ask the origin."""
    removals = removed(push.document)
    held = authors_held(push.engine, {uri for uri, _ in removals})
    own = [one for one in removals if held.get(one[0]) == push.activity.actor]
    with transaction(push.engine) as session:
        remove(session, own)
    for uri, _ in removals:
        if held.get(uri) != push.activity.actor:
            await _look_again(push, uri, None)


async def _accept(push: Push) -> None:
    if push.answers_our_follow(push.document):
        with transaction(push.engine) as session:
            accepted(session, push.peer_id)
    else:
        _offer_answered(push)


async def _offer(push: Push) -> None:
    """Take a member's offer to an author whose listing we show; nothing of others is kept."""
    with suppress(LocalPayError), transaction(push.engine) as session:
        offered(session, push.our_actor, push.peer_id, push.document)


async def _reject(push: Push) -> None:
    if push.answers_our_follow(push.document):
        with transaction(push.engine) as session:
            rejected(session, push.peer_id)
    else:
        _offer_answered(push)


def _offer_answered(push: Push) -> None:
    """Pass on what an author answers to an interest; nothing is kept as it came."""
    with transaction(push.engine) as session:
        answered(session, push.our_actor, push.peer_id, push.activity, push.document)
        forget_message(session, push.message_id)


async def _accept_undone(push: Push, accepted_by: str | None) -> None:
    """Take an Accept of our Follow that is undone for a Reject."""
    accept = read_json(accepted_by.encode()) if accepted_by else push.activity.object
    if push.answers_our_follow(accept):
        with transaction(push.engine) as session:
            rejected(session, push.peer_id)


async def _move(push: Push) -> None:
    """Follow a group that moves; of a member, ask anew, since its listings stay where they are."""
    target_uri = next(iter(push.activity.target_ids), "")
    if push.activity.object_id != push.activity.actor:
        raise InvalidError("object", "must be the actor that moves")
    if not push.is_by_hub:
        await _actor_changed(push, push.activity.actor)
        return
    await moving.move_to(push.engine, push.door, push.peer_id, target_uri, is_signed=True)


async def _block(push: Push) -> None:
    if push.activity.object_id == push.our_actor:
        await _block_changed(push, blocked=True)
    with transaction(push.engine) as session:
        forget_earlier(session, push.message_id)  # undone by its id is the last one


async def _block_changed(push: Push, *, blocked: bool) -> None:
    with transaction(push.engine) as session:
        if not push.is_by_hub:
            authors.block(session, push.activity.actor, blocked=blocked)
        elif blocked:
            peer = session.get_one(Peer, push.peer_id, with_for_update=True)
            revoke(session, peer, PeerState.BLOCKED)
        else:
            unblocked(session, push.peer_id)


_HANDLERS: Final[dict[str, Callable[[Push], Awaitable[None]]]] = {
    "Create": _create,
    "Update": _create,
    "Add": _create,
    "Announce": _announce,
    "Undo": _undo,
    "Delete": _delete,
    "Accept": _accept,
    "Reject": _reject,
    "Block": _block,
    "Move": _move,
    "Offer": _offer,
}
_RELAYS_HANDLERS: Final = {
    **dict.fromkeys(("Announce", "Create", "Update", "Delete"), _relayed),
    "Accept": _accept,
    "Reject": _reject,
    "Follow": _follow,
    "Block": _block,
}
