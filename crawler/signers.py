"""Who signs what is pushed: the key held, verified with, and fetched anew once.

A push is signed by RFC 9421 or by draft-cavage; where there is a Signature-Input, only the first
is looked at. The key is a followed actor's, or that of an actor of such an actor's origin, which
speaks for itself alone.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urldefrag

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons import cavage, signatures
from commons.database import now, reading, transaction
from commons.errors import (
    ForbiddenError,
    InvalidError,
    LocalPayError,
    MalformedError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.fetch import Door
from commons.groups import Hub, HubKey
from commons.json_reading import read_json
from commons.key_formats import load_public_pem
from commons.signatures import Message, Verified
from crawler import actor_keys, blocks
from crawler.actor_keys import HeldKey, KeyFailure, PublishedKey
from crawler.hub_keys import store_keys
from crawler.origins import read_actor
from crawler.peers import FOLLOWS, Peer, PeerKind, is_suspended, may_index
from crawler.terms import activity, origin, same_origin

_HOUSING: Final = FOLLOWS - {PeerKind.RELAY}  # a relay speaks for no other actor of its server
_PASSED_ON: Final = frozenset({"Announce", "Create", "Update", "Delete"})
_HubsKey = tuple[Peer, HubKey, Hub | None]
"""Whose a registered key is; the hub is at hand for whoever asks whether it is suspended."""
_STRANGER: Final = "the signing key is not of a hub that is registered here"


@dataclass(frozen=True)
class Signer:
    """Whose key signs, and the peer by which it is known; `pem` is None where no key is held.

    `owner_uri` is empty while nobody knows whose the key is.
    """

    peer_id: int
    actor_uri: str
    owner_uri: str
    pem: str | None
    is_relay: bool = False

    @property
    def is_hubs_own(self) -> bool:
        """Whether the key is that of the actor that is followed, not of another on its server."""
        return self.owner_uri == self.actor_uri

    def speaks_for(self, actor_uri: str) -> bool:
        """Tell whether the signer may say what an actor does: a member only its own."""
        if self.is_hubs_own:
            return same_origin(actor_uri, self.actor_uri)
        return actor_uri == self.owner_uri

    def passes_on(self, kind: str) -> bool:
        """Tell whether a relay signs, which passes on what others do and vouches for none of it."""
        return self.is_relay and self.is_hubs_own and kind in _PASSED_ON


async def verified(engine: Engine, door: Door, message: Message) -> tuple[Verified, Signer]:
    """Verify a push with the key held, or once more with the key as it is published now.

    A signature without a nonce, and draft-cavage has none, is good as often as it is sent while it
    is valid. That is no harm: it brings the same activity, which has no further effect. Raises
    MalformedError for a signature that cannot be read, UnauthenticatedError for a missing or wrong
    one, ForbiddenError for a signer that is blocked or suspended, and UnavailableError where the
    key cannot be fetched.
    """
    key_id = _key_id_of(message)
    signer = await asyncio.to_thread(_known, engine, key_id)
    try:
        return _check(message, signer), signer
    except UnauthenticatedError:
        errand = door.errand(key_id, fetches=actor_keys.FETCHES_MOST)
        found = await actor_keys.ask(engine, errand, key_id)
    if found is KeyFailure.GONE:
        leaving = await _leaving(engine, errand, message, key_id)
        if leaving is not None:
            return Verified(key_id, datetime.now(UTC), None), leaving
    if found is KeyFailure.UNREACHABLE:
        raise UnavailableError("the signing key cannot be fetched now")
    if isinstance(found, PublishedKey):
        await asyncio.to_thread(_store_hubs_keys, engine, found)
    renewed = await asyncio.to_thread(_known, engine, key_id)
    try:
        return _check(message, renewed), renewed
    except UnauthenticatedError:
        await asyncio.to_thread(_note_wrong, engine, key_id)
        raise


def verified_at_once(
    engine: Engine, messages: Sequence[Message]
) -> list[tuple[Verified, Signer] | None]:
    """Verify pushes with the keys held, each read once; None where that does not do.

    Who may push now is read now: a key that was revoked, or a hub that was blocked, does not do.
    """
    named = [_named(message) for message in messages]
    known = _known_each(engine, {key_id for key_id in named if key_id is not None})
    found: list[tuple[Verified, Signer] | None] = []
    for message, key_id in zip(messages, named, strict=True):
        signer = known.get(key_id or "")
        try:
            found.append((_check(message, signer), signer) if signer is not None else None)
        except LocalPayError:
            found.append(None)  # `verified` tells why
    return found


def _named(message: Message) -> str | None:
    try:
        return _key_id_of(message)
    except LocalPayError:
        return None


def _is_by_rfc9421(message: Message) -> bool:
    return any(name.lower() == "signature-input" for name, _ in message.headers)


def _key_id_of(message: Message) -> str:
    scheme = signatures if _is_by_rfc9421(message) else cavage
    key_id: str = scheme.key_id_of(message)
    if origin(key_id) is None:
        raise UnauthenticatedError(_STRANGER)
    return key_id


def _check(message: Message, signer: Signer) -> Verified:
    if signer.pem is None:
        raise UnauthenticatedError("no actor names such a key as its own")
    key, moment = load_public_pem(signer.pem), datetime.now(UTC)
    if not _is_by_rfc9421(message):
        return cavage.verify(message, key, now=moment)
    required = signatures.required_parts(message)
    return signatures.verify(message, key, required=required, now=moment)


def _known(engine: Engine, key_id: str) -> Signer:
    """Return the signer as it is known here.

    Raises UnauthenticatedError where no followed actor is of the key's origin, and ForbiddenError
    where those that are may not push.
    """
    with reading(engine) as session:
        blocks.refuse(session, key_id)
        hubs = _hubs_of(session, [key_id])
        return _signer(session, key_id, hubs.get(key_id))


def _known_each(engine: Engine, key_ids: Collection[str]) -> dict[str, Signer]:
    """Return those signers of keys that may push, as they are known here."""
    known: dict[str, Signer] = {}
    with reading(engine) as session:
        wanted = sorted(set(key_ids) - blocks.blocked_among(session, key_ids))
        hubs = _hubs_of(session, wanted)
        for key_id in wanted:
            with suppress(LocalPayError):  # `verified` tells why
                known[key_id] = _signer(session, key_id, hubs.get(key_id))
    return known


def _hubs_of(session: Session, key_ids: Sequence[str]) -> dict[str, _HubsKey]:
    """Return the registered hubs among those whose keys these are, by key."""
    query = (
        select(Peer, HubKey, Hub)
        .join(HubKey, HubKey.group_id == Peer.group_id)
        .outerjoin(Hub, Hub.group_id == Peer.group_id)
        .where(HubKey.key_id.in_(key_ids))
        .order_by(Peer.id)
    )
    hubs: dict[str, _HubsKey] = {}
    for peer, key, hub in session.execute(query):
        hubs.setdefault(key.key_id, (peer, key, hub))
    return hubs


def _signer(session: Session, key_id: str, hub: _HubsKey | None) -> Signer:
    if hub is not None:
        peer, key, _ = hub
        _refuse_unwanted(session, [peer])
        # A hub's revoked key is none, though it were still held as an actor's.
        pem = key.public_key_pem if key.revoked_at is None else None
        return Signer(peer.id, peer.actor_uri, peer.actor_uri, pem)
    held = actor_keys.held(session, key_id)
    owner_uri, pem = (held.owner_uri, held.public_key_pem) if held else ("", None)
    peer = _peer_of(session, key_id, owner_uri)
    return Signer(peer.id, peer.actor_uri, owner_uri, pem, peer.kind is PeerKind.RELAY)


def _peer_of(session: Session, key_id: str, owner_uri: str) -> Peer:
    """Return the peer that a key's owner is, or to whose server it belongs."""
    start = actor_keys.origin_of(key_id)
    peers = session.scalars(
        select(Peer)
        .where(Peer.kind.in_(FOLLOWS), Peer.actor_uri.startswith(start, autoescape=True))
        .order_by(Peer.id)
    ).all()
    likely = owner_uri or urldefrag(key_id).url
    itself = [peer for peer in peers if peer.actor_uri == likely]
    housing = [peer for peer in peers if peer.kind in _HOUSING] if owner_uri else peers
    wanted = _refuse_unwanted(session, itself or housing)
    if itself or not owner_uri:
        return wanted[0]
    agreed = [peer for peer in wanted if may_index(session, peer)]
    if not agreed:
        raise ForbiddenError("no hub of this server has agreed to be indexed")
    return agreed[0]


def _refuse_unwanted(session: Session, peers: Sequence[Peer]) -> list[Peer]:
    """Return those that may push; UnauthenticatedError for none, ForbiddenError for none left."""
    if not peers:
        raise UnauthenticatedError(_STRANGER)
    # A hub that blocks us may still push: it could not take that back otherwise.
    wanted = [peer for peer in peers if not is_suspended(session, peer)]
    if not wanted:
        raise ForbiddenError("this hub is suspended")
    return wanted


def _store_hubs_keys(engine: Engine, found: PublishedKey) -> None:
    """Give a registered hub the keys that its actor names now; there alone they can be revoked."""
    with transaction(engine) as session:
        peer = session.scalar(
            select(Peer).where(Peer.actor_uri == found.owner_uri).with_for_update()
        )
        if peer is None or peer.group_id is None:
            return
        try:
            keys = read_actor(found.actor).keys
        except (InvalidError, MalformedError):
            return  # its key is good, whatever else it says
        peer.keys_fetched_at = now(session)
        store_keys(session, peer.group_id, keys)
        row = session.get(HeldKey, found.key_id)
        if row is not None and found.key_id in {key.key_id for key in keys}:
            row.public_key_pem = None


def _note_wrong(engine: Engine, key_id: str) -> None:
    with transaction(engine) as session:
        actor_keys.note_wrong(session, key_id)


async def _leaving(engine: Engine, door: Door, message: Message, key_id: str) -> Signer | None:
    """Return the signer of an actor's Delete of itself whose origin says that it is gone.

    Nothing can be verified then but that, and it is all that the activity says.
    """
    document = read_json(message.body)
    if not isinstance(document, dict):
        return None
    said = activity(document)
    is_own = said.type == "Delete" and said.actor == said.object_id
    if not is_own or not same_origin(said.actor, key_id):
        return None
    if said.actor != urldefrag(key_id).url:
        gone = await actor_keys.ask(engine, door, said.actor)
        if gone is not KeyFailure.GONE:
            return None
    return await asyncio.to_thread(_known_owner, engine, key_id, said.actor)


def _known_owner(engine: Engine, key_id: str, owner_uri: str) -> Signer:
    with reading(engine) as session:
        peer = _peer_of(session, key_id, owner_uri)
        return Signer(peer.id, peer.actor_uri, owner_uri, None)
