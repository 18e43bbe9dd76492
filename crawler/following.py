"""A hub followed and looked at again: what is done with a peer each time it is due."""

from datetime import datetime
from typing import Final

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from commons.database import now, transaction
from commons.errors import FetchError, InvalidError, MalformedError
from commons.fetch import Door
from commons.groups import Group, Hub, HubState
from commons.settings import Settings
from crawler import authors, delivery
from crawler.actor import actor_uri, follow
from crawler.backfill import Budget, crawl
from crawler.hub_keys import store_keys
from crawler.origins import Actor, fetch_actor
from crawler.peers import FOLLOWED, LOOK_AGAIN, Peer, PeerState, failed, heard, move, revoke
from marketplace.drafts import plain_text

_GONE: Final = 410
_SUMMARY_READ_CHARS: Final = 8_000
_POLE: Final = 90
_ANTIMERIDIAN: Final = 180


async def attend(
    engine: Engine,
    door: Door,
    settings: Settings,
    peer_id: int,
    budget: Budget | None = None,
) -> datetime | None:
    """Do what is next for a peer, and return when it is next due; None where nothing is.

    A hub that agreed is sent a Follow, again each week until it answers; one that is followed is
    looked at, weekly. FetchError where it does not answer, which is noted in the peer's state.
    """
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        hub = session.get(Hub, peer.group_id)
        if hub is None or hub.state is HubState.SUSPENDED:
            return None
        if peer.state in {PeerState.CONSENTED, PeerState.FOLLOWING}:
            return _follow(session, settings, peer, hub.inbox_uri)
        if peer.state not in FOLLOWED:
            return None
        uri = peer.actor_uri
    try:
        return await _look(engine, door, peer_id, uri, budget)
    except (FetchError, InvalidError, MalformedError) as error:
        gone = isinstance(error, FetchError) and error.status == _GONE
        with transaction(engine) as session:
            state = failed(session, peer_id, gone=gone)
        if state is PeerState.GONE:
            return None
        # Never final: a hub that answers wrongly today is asked again, later and later.
        raise FetchError(error.detail) from error


def _follow(session: Session, settings: Settings, peer: Peer, inbox_uri: str) -> datetime | None:
    """Send a Follow on its way, unless the hub has been silent for too long."""
    if peer.state is PeerState.FOLLOWING and failed(session, peer.id, gone=False) is PeerState.GONE:
        return None
    moment = now(session)
    peer.follow_uri = f"{actor_uri(settings)}/follows/{peer.id}-{int(moment.timestamp())}"
    session.flush()
    activity = follow(settings, peer.follow_uri, peer.actor_uri)
    delivery.enqueue(session, peer.id, inbox_uri, activity)
    move(session, peer.id, PeerState.CONSENTED, PeerState.FOLLOWING)
    return moment + LOOK_AGAIN


async def _look(
    engine: Engine, door: Door, peer_id: int, uri: str, budget: Budget | None
) -> datetime | None:
    actor = await fetch_actor(door.errand(uri), uri)
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        outbox_uri = note_actor(session, peer, actor)
    if outbox_uri is None:
        return None
    is_done = await crawl(engine, door, peer_id, outbox_uri, budget)
    with transaction(engine) as session:
        heard(session, peer_id)
        moment = now(session)
        if not is_done:
            return moment
        session.execute(update(Peer).where(Peer.id == peer_id).values(last_looked_at=moment))
        return moment + LOOK_AGAIN


def note_actor(session: Session, peer: Peer, actor: Actor) -> str | None:
    """Take over what a hub's actor says now; return its outbox, None where there is none to read.

    An actor that says `indexable: false` takes the hub's consent back. The peer is locked.
    """
    if actor.indexable is False:
        revoke(session, peer)
        return None
    hub = session.scalars(select(Hub).where(Hub.group_id == peer.group_id)).one()
    group = session.scalars(select(Group).where(Group.id == peer.group_id)).one()
    store_keys(session, hub.group_id, actor.keys)
    authors.hear(session, actor)
    hub.inbox_uri = actor.inbox or hub.inbox_uri
    hub.outbox_uri = actor.outbox
    describe(group, actor)
    session.flush()
    return hub.outbox_uri


def describe(group: Group, actor: Actor) -> None:
    """Give a group the name, words and place of its actor, as far as they can be kept."""
    group.name = actor.name.strip()[:200] or group.id
    group.summary = plain_text(actor.summary[:_SUMMARY_READ_CHARS])[:2000]
    place = actor.place
    if place is None:
        group.place_name = group.lat = group.lon = None
        return
    if (place.lat is None) != (place.lon is None) or not _is_on_earth(place.lat, place.lon):
        raise InvalidError("location", "must have a latitude and a longitude on earth, or neither")
    group.place_name = (place.name or "")[:200] or None
    group.lat, group.lon = place.lat, place.lon


def _is_on_earth(lat: float | None, lon: float | None) -> bool:
    return (lat is None or abs(lat) <= _POLE) and (lon is None or abs(lon) <= _ANTIMERIDIAN)
