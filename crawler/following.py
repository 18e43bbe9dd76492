"""A hub followed and looked at again: what is done with a peer each time it is due."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import FetchError, InvalidError, MalformedError
from commons.fetch import Door
from commons.groups import Group, Hub
from commons.settings import Settings
from crawler import authors, delivery, moving, refusals, second_look
from crawler.actor import actor_uri, follow
from crawler.backfill import Budget, crawl
from crawler.consents import refusal_of, renew_cover
from crawler.hub_keys import store_keys
from crawler.joining import ask_consent
from crawler.origins import Actor, fetch_actor
from crawler.peers import (
    GONE_AFTER,
    LOOK_AGAIN,
    PULL_AGAIN,
    Peer,
    PeerKind,
    PeerState,
    failed,
    heard,
    is_suspended,
    move,
    revoke,
)
from crawler.registration import describe
from crawler.relays import attend_relay
from crawler.sources.reading import SOURCES, is_by_hand
from crawler.sources.reading import crawl as pull

_GONE: Final = 410
_ACTORS: Final = frozenset({PeerKind.ACTIVITYPUB, PeerKind.INSTANCE})
_FOLLOW_AGAIN: Final = timedelta(days=1)
_Failure = FetchError | InvalidError | MalformedError


async def attend(
    engine: Engine,
    door: Door,
    settings: Settings,
    peer_id: int,
    budget: Budget | None = None,
) -> datetime | None:
    """Do what is next for a peer, and return when it is next due; None where nothing is.

    A hub that agreed is read at once and then weekly, whether or not it has accepted the Follow
    that is sent beside it. FetchError where it does not answer, which is noted in the peer's
    state; one that was given up for its silence is asked again monthly.
    """
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        state, kind, uri = peer.state, peer.kind, peer.actor_uri
        if is_suspended(session, peer) or state is PeerState.BLOCKED or is_by_hand(peer):
            return None
        is_agreed = state is PeerState.CONSENTED and kind in _ACTORS
        if is_agreed and peer.follow_uri is None:
            _follow(session, settings, peer)
    if state is PeerState.DISCOVERED:
        return await ask_consent(engine, door, peer_id)
    if kind is PeerKind.RELAY:
        return await _attend_relay(engine, door, settings, peer_id, budget)
    try:
        if state is PeerState.GONE:
            due_at = await _ask_whether_back(engine, door, peer_id, kind, uri)
        elif kind in SOURCES:
            due_at = await _pull(engine, door, peer_id, budget)
        elif kind in _ACTORS:
            due_at = await _look(engine, door, settings, peer_id, budget)
        else:
            due_at = await _await_push(engine, door, peer_id) if kind is PeerKind.PUSH else None
    except (FetchError, InvalidError, MalformedError) as error:
        return _note_failure(engine, peer_id, error)
    return due_at


async def _await_push(engine: Engine, door: Door, peer_id: int) -> datetime | None:
    """Look weekly at the actor of a hub that pushes: it may say no. It has nothing to be read.

    Once it has pushed nothing for 30 days it is given up.
    """
    with reading(engine) as session:
        uri = session.get_one(Peer, peer_id).actor_uri
    actor = await fetch_actor(door.errand(uri), uri)
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        if not note_actor(session, peer, actor):
            return None
        peer.attempts = 0  # it answered
        session.flush()
        if failed(session, peer_id, gone=False) is PeerState.GONE:
            return None
        given_up_at = (peer.last_heard_at or peer.state_since) + GONE_AFTER
        return min(given_up_at, now(session) + LOOK_AGAIN)


def _note_failure(engine: Engine, peer_id: int, error: _Failure) -> datetime | None:
    is_gone = isinstance(error, FetchError) and error.status == _GONE
    with transaction(engine) as session:
        state = failed(session, peer_id, gone=is_gone)
        if state is PeerState.GONE:
            return None if is_gone else now(session) + GONE_AFTER
    # Never final: a hub that answers wrongly today is asked again, later and later.
    raise FetchError(error.detail) from error


def _follow(session: Session, settings: Settings, peer: Peer) -> None:
    hub = session.get_one(Hub, peer.group_id)
    peer.follow_uri = f"{actor_uri(settings)}/follows/{peer.id}-{int(now(session).timestamp())}"
    session.flush()
    activity = follow(settings, peer.follow_uri, peer.actor_uri)
    delivery.enqueue(session, peer.id, hub.inbox_uri, activity)
    move(session, peer.id, PeerState.CONSENTED, PeerState.FOLLOWING)


async def _look(
    engine: Engine, door: Door, settings: Settings, peer_id: int, budget: Budget | None
) -> datetime | None:
    """Read all that a hub publishes, and then look at each listing that this did not confirm."""
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id)
        is_read, uri = _is_looking(peer) and _is_read(peer), peer.actor_uri
    if not is_read:
        actor = await fetch_actor(door.errand(uri), uri)
        if actor.moved_to and await moving.move_to(engine, door, peer_id, actor.moved_to):
            return None  # at its new address it is due at once
        with transaction(engine) as session:
            peer = session.get_one(Peer, peer_id, with_for_update=True)
            if not note_actor(session, peer, actor):
                return None
            _begin(session, settings, peer)
        beside: dict[str, list[str] | None] = dict.fromkeys(actor.collections)
        if actor.payment_links:
            beside[f"{uri}#attachment"] = list(actor.payment_links)
        if not await crawl(engine, door, peer_id, actor.outbox or "", budget, beside=beside):
            return _answered(engine, peer_id)
        _note_read(engine, peer_id)
    return await _look_again(engine, door, peer_id, budget)


async def _look_again(engine: Engine, door: Door, peer_id: int, budget: Budget | None) -> datetime:
    is_done = await second_look.look(engine, door, peer_id, (budget or Budget()).looks)
    return _looked_at(engine, peer_id, LOOK_AGAIN) if is_done else _answered(engine, peer_id)


async def _pull(engine: Engine, door: Door, peer_id: int, budget: Budget | None) -> datetime | None:
    """Read a source; what its origin no longer lists is withdrawn, after a whole crawl only."""
    if not await pull(engine, door, peer_id, budget):
        return _answered(engine, peer_id)
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        second_look.withdraw_unconfirmed(session, peer)
        move(session, peer_id, PeerState.CONSENTED, PeerState.LIVE)
    return _looked_at(engine, peer_id, PULL_AGAIN)


async def _attend_relay(
    engine: Engine, door: Door, settings: Settings, peer_id: int, budget: Budget | None
) -> datetime | None:
    """Attend to a relay, and look again at what has no hub here: nobody but relays brings that."""
    with transaction(engine) as session:
        is_looking = _is_looking(session.get_one(Peer, peer_id))
    if not is_looking:
        due_at = await attend_relay(engine, door, settings, peer_id)
        with transaction(engine) as session:
            peer = session.get_one(Peer, peer_id, with_for_update=True)
            if due_at is None or peer.state not in {PeerState.LIVE, PeerState.STALE}:
                return due_at
            _begin(session, settings, peer)
            peer.crawled_at = peer.crawl_began_at
    return await _look_again(engine, door, peer_id, budget)


async def _ask_whether_back(
    engine: Engine, door: Door, peer_id: int, kind: PeerKind, uri: str
) -> datetime | None:
    if kind in SOURCES:
        await SOURCES[kind].read(door.errand(uri, crawling=True), uri, None)
    elif kind in _ACTORS:
        await fetch_actor(door.errand(uri), uri)
    else:
        return None
    return _answered(engine, peer_id)


def _is_looking(peer: Peer) -> bool:
    """Tell whether a look at the peer is under way."""
    began_at, ended_at = peer.crawl_began_at, peer.last_looked_at
    return began_at is not None and (ended_at is None or ended_at < began_at)


def _is_read(peer: Peer) -> bool:
    """Tell whether the crawl of a look under way has come to its end."""
    began_at, read_at = peer.crawl_began_at, peer.crawled_at
    return began_at is not None and read_at is not None and read_at >= began_at


def _begin(session: Session, settings: Settings, peer: Peer) -> None:
    """Begin a look at a locked peer unless one is under way; one that is silent is asked again."""
    if _is_looking(peer):
        return
    moment = now(session)
    peer.crawl_began_at, peer.crawl_page, peer.crawl_offset = moment, None, 0
    refusals.reset(session, peer.id)
    waits = peer.state is PeerState.FOLLOWING and moment - peer.state_since >= _FOLLOW_AGAIN
    if waits and peer.kind in _ACTORS:
        _follow(session, settings, peer)


def _note_read(engine: Engine, peer_id: int) -> None:
    with transaction(engine) as session:
        session.get_one(Peer, peer_id, with_for_update=True).crawled_at = now(session)


def _answered(engine: Engine, peer_id: int) -> datetime:
    """Note that a peer answered, and return that it is to be gone on with at once."""
    with transaction(engine) as session:
        heard(session, peer_id)
        return now(session)


def _looked_at(engine: Engine, peer_id: int, again: timedelta) -> datetime:
    with transaction(engine) as session:
        heard(session, peer_id)
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        peer.last_looked_at, peer.crawl_page = now(session), None
        return peer.last_looked_at + again


def note_actor(session: Session, peer: Peer, actor: Actor) -> bool:
    """Take over what a hub's actor says now; return whether it still lets itself be indexed.

    One that says `indexable: false`, or asks in another way not to be indexed, takes the hub's
    consent back. The peer is locked.
    """
    if refusal_of(actor) is not None:
        revoke(session, peer)
        return False
    if peer.group_id is None:
        return True
    renew_cover(session, peer, actor)
    hub = session.get_one(Hub, peer.group_id)
    group = session.get_one(Group, peer.group_id)
    store_keys(session, hub.group_id, actor.keys)
    authors.hear(session, actor)
    hub.inbox_uri = actor.inbox or hub.inbox_uri
    hub.outbox_uri = actor.outbox
    describe(group, actor)
    session.flush()
    return True
