"""A hub that moves to another address, and is believed only where both addresses say so."""

from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import InvalidError, LocalPayError
from commons.fetch import Door
from commons.groups import Group, Hub
from crawler import peers
from crawler.blocks import is_blocked
from crawler.delivery import Delivery
from crawler.hub_keys import store_keys
from crawler.origins import Actor, fetch_actor
from crawler.peers import LOOK_AGAIN, Peer, PeerState
from crawler.registration import check_inbox, describe
from crawler.terms import origin

_FOLLOWING: Final = (PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE)


async def move_to(
    engine: Engine, door: Door, peer_id: int, target_uri: str, *, is_signed: bool = False
) -> bool:
    """Move a hub to the actor that its own names, and return True; else change nothing.

    The new actor must name the old one in its `alsoKnownAs`, live at its own id, have moved nowhere
    itself, and be neither of a blocked domain nor known here as another. With `is_signed` the Move
    was signed by the old actor's key, and the hub's consent moves with it, unless the new actor
    says no; else only the new actor's own `indexable: true` is one. Listings of the old origin stay
    until the new outbox has been read, and are then asked for one by one.
    """
    with reading(engine) as session:
        old_uri = session.get_one(Peer, peer_id).actor_uri
        if not _is_free(session, old_uri, target_uri):
            return False
    try:
        actor = await fetch_actor(door.errand(target_uri), target_uri)
        check_inbox(actor)
    except LocalPayError:
        return False  # an address that does not answer for itself is no reason to leave the old
    if old_uri not in actor.also_known_as or actor.moved_to is not None:
        return False
    try:
        with transaction(engine) as session:
            return _settle(session, peer_id, old_uri, actor, is_signed=is_signed)
    except InvalidError:
        return False


def _is_free(session: Session, old_uri: str, target_uri: str) -> bool:
    taken = (
        select(Peer.id).where(Peer.actor_uri == target_uri),
        select(Group.id).where(Group.uri == target_uri),
    )
    return (
        origin(target_uri) is not None
        and target_uri != old_uri
        and not is_blocked(session, target_uri)
        and all(session.scalar(query) is None for query in taken)
    )


def _settle(session: Session, peer_id: int, old_uri: str, actor: Actor, *, is_signed: bool) -> bool:
    peer = session.get_one(Peer, peer_id, with_for_update=True)
    may_move = peer.actor_uri == old_uri and peers.may_index(session, peer)
    if not may_move or peer.group_id is None or not _is_free(session, old_uri, actor.id):
        return False
    group, hub = session.get_one(Group, peer.group_id), session.get_one(Hub, peer.group_id)
    describe(group, actor)
    peer.actor_uri = group.uri = actor.id
    hub.inbox_uri, hub.outbox_uri = actor.inbox, actor.outbox
    session.flush()
    store_keys(session, hub.group_id, actor.keys)
    peers.cancel_deliveries(session, Delivery.peer_id == peer_id, f"moved to {actor.id}")
    if actor.indexable is False or actor.noindex or actor.suspended:
        peers.revoke(session, peer)
    elif is_signed or actor.indexable:
        _carry_on(session, peer, _evidence(session, old_uri, actor, is_signed=is_signed))
    else:
        peers.revoke(session, peer)
        peers.schedule(session, peer_id, now(session) + LOOK_AGAIN)
    return True


def _carry_on(session: Session, peer: Peer, moved: dict[str, Any]) -> None:
    """Follow and read the hub anew at its new address, on the word that it gave at the old one."""
    peer.consent_evidence = {**(peer.consent_evidence or {}), "moved": moved}
    session.flush()
    if peer.state in _FOLLOWING:
        peers.move(session, peer.id, peer.state, PeerState.CONSENTED)
    peers.start_over(session, peer.id)


def _evidence(session: Session, old_uri: str, actor: Actor, *, is_signed: bool) -> dict[str, Any]:
    return {
        "from": old_uri,
        "to": actor.id,
        "signed_by_old_key": is_signed,
        "document_sha256": actor.digest,
        "indexable": actor.indexable,
        "at": now(session).isoformat(),
    }
