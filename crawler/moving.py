"""A hub that moves to another address, and is believed only where both addresses say so."""

from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import ConflictError, InvalidError, LocalPayError
from commons.fetch import Door
from commons.groups import Group, Hub, HubState
from crawler import peers
from crawler.blocks import is_blocked
from crawler.consents import refusal_of, renew_cover
from crawler.delivery import Delivery
from crawler.hub_keys import store_keys
from crawler.origins import Actor, fetch_actor
from crawler.peers import LOOK_AGAIN, Peer, PeerKind, PeerState
from crawler.registration import check_inbox, describe
from crawler.terms import origin

_WAITS: Final = "move_that_waits"
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

    The Move of a hub that is admitted to clearing is noted and waits for our operator, since the
    new actor's keys would sign its payments.
    """
    actor = await _new_actor(engine, door, peer_id, target_uri)
    if actor is None:
        return False
    try:
        with transaction(engine) as session:
            hub = _locked(session, peer_id, actor)
            if hub is not None and hub.state is HubState.ADMITTED:
                _note(session, peer_id, actor, is_signed=is_signed)
            elif hub is not None:
                _settle(session, peer_id, hub, actor, is_signed=is_signed)
                return True
    except InvalidError:
        return False
    return False


async def move_by_operator(engine: Engine, door: Door, group_id: str, target_uri: str) -> Peer:
    """Move a hub as our operator says, be it admitted or not; return its peer.

    Its consent moves along where a Move to this very actor was signed by its old key, or the new
    actor says `indexable: true`. NotFoundError where there is no such hub, ConflictError where the
    addresses do not say so.
    """
    with reading(engine) as session:
        peer = peers.by_group(session, group_id)
        peer_id = peer.id
    actor = await _new_actor(engine, door, peer_id, target_uri)
    with transaction(engine) as session:
        hub = None if actor is None else _locked(session, peer_id, actor)
        if actor is None or hub is None:
            raise ConflictError(
                f"the hub of {group_id!r} is not moved: its listings must be taken here, and "
                f"{target_uri} must answer as an actor that names the hub's in its alsoKnownAs, "
                "has moved nowhere itself, is of no blocked domain and not known here already"
            )
        peer = session.get_one(Peer, peer_id)
        noted = waiting(peer)
        is_signed = noted.get("to") == actor.id and noted["signed_by_old_key"] is True
        _settle(session, peer_id, hub, actor, is_signed=is_signed)
        session.refresh(peer)
        session.expunge(peer)
    return peer


def waiting(peer: Peer) -> dict[str, Any]:
    """Return what is noted of a Move that waits for our operator; empty where none does.

    `to` is the new actor, and `signed_by_old_key` whether the Move was.
    """
    noted: dict[str, Any] = (peer.consent_evidence or {}).get(_WAITS, {})
    return noted


async def _new_actor(engine: Engine, door: Door, peer_id: int, target_uri: str) -> Actor | None:
    """Return the actor that a hub moves to, where that says so too."""
    with reading(engine) as session:
        old_uri = session.get_one(Peer, peer_id).actor_uri
        if not _is_free(session, old_uri, target_uri):
            return None
    try:
        actor = await fetch_actor(door.errand(target_uri), target_uri)
        check_inbox(actor)
    except LocalPayError:
        return None  # an address that does not answer for itself is no reason to leave the old
    is_said = old_uri in actor.also_known_as and actor.moved_to is None
    return actor if is_said else None


def _locked(session: Session, peer_id: int, actor: Actor) -> Hub | None:
    """Lock a peer and return its hub, where that may move to an actor now."""
    peer = session.get_one(Peer, peer_id, with_for_update=True)
    may_move = peer.actor_uri in actor.also_known_as and peers.may_index(session, peer)
    if not may_move or not _is_free(session, peer.actor_uri, actor.id):
        return None
    return session.get(Hub, peer.group_id) if peer.group_id else None


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


def _note(session: Session, peer_id: int, actor: Actor, *, is_signed: bool) -> None:
    """Keep a Move for our operator; what is said unsigned does not hide what was signed."""
    peer = session.get_one(Peer, peer_id)
    noted = waiting(peer)
    if is_signed or noted.get("to") != actor.id:
        told = _evidence(session, peer.actor_uri, actor, is_signed=is_signed)
        peer.consent_evidence = {**(peer.consent_evidence or {}), _WAITS: told}
        session.flush()


def _settle(session: Session, peer_id: int, hub: Hub, actor: Actor, *, is_signed: bool) -> None:
    peer, group = session.get_one(Peer, peer_id), session.get_one(Group, hub.group_id)
    old_uri, evidence = peer.actor_uri, peer.consent_evidence or {}
    peer.consent_evidence = {name: told for name, told in evidence.items() if name != _WAITS}
    describe(group, actor)
    peer.actor_uri = group.uri = actor.id
    hub.inbox_uri, hub.outbox_uri = actor.inbox, actor.outbox
    session.flush()
    store_keys(session, hub.group_id, actor.keys)
    peers.cancel_deliveries(session, Delivery.peer_id == peer.id, f"moved to {actor.id}")
    if refusal_of(actor) is not None:
        peers.revoke(session, peer)
    elif is_signed or actor.indexable:
        _carry_on(session, peer, actor, _evidence(session, old_uri, actor, is_signed=is_signed))
    else:
        peers.revoke(session, peer)
        peers.schedule(session, peer.id, now(session) + LOOK_AGAIN)


def _carry_on(session: Session, peer: Peer, actor: Actor, moved: dict[str, Any]) -> None:
    """Follow and read the hub anew at its new address, on the word that it gave at the old one.

    It speaks there for no more than it did, and for no more than its new actor can.
    """
    if peer.kind is PeerKind.INSTANCE and "Application" not in actor.types:
        peer.kind = PeerKind.ACTIVITYPUB
    peer.consent_evidence = {**(peer.consent_evidence or {}), "moved": moved}
    renew_cover(session, peer, actor)
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
