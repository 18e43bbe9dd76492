"""Who signs what hubs push: the keys held of a hub, verified with, fetched anew once."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine, or_, select

from commons.database import now, reading, transaction
from commons.errors import FetchError, ForbiddenError, UnauthenticatedError, UnavailableError
from commons.fetch import Door
from commons.groups import Hub, HubKey, HubState
from commons.key_formats import load_public_pem
from commons.signatures import Message, Verified, key_id_of, required_parts, verify
from crawler.hub_keys import store_keys
from crawler.origins import fetch_actor
from crawler.peers import Peer

KEYS_AGAIN: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Signer:
    """Whose key signs: the hub's peer; `pem` is empty where the key is not known here."""

    peer_id: int
    group_id: str
    actor_uri: str
    pem: str | None
    keys_fetched_at: datetime | None


def _signer(engine: Engine, key_id: str) -> Signer:
    owner = key_id.partition("#")[0]
    with reading(engine) as session:
        row = session.execute(
            select(Peer, Hub.state, HubKey.public_key_pem)
            .join(Hub, Hub.group_id == Peer.group_id)
            .outerjoin(
                HubKey,
                (HubKey.group_id == Peer.group_id)
                & (HubKey.key_id == key_id)
                & HubKey.revoked_at.is_(None),
            )
            .where(or_(HubKey.key_id.is_not(None), Peer.actor_uri == owner))
        ).first()
        if row is None:
            raise UnauthenticatedError("the signing key is not of a hub that is registered here")
        if row.state is not HubState.ADMITTED:
            raise ForbiddenError(f"this hub is {row.state}, not admitted")
        peer = row.Peer
        return Signer(
            peer.id, peer.group_id, peer.actor_uri, row.public_key_pem, peer.keys_fetched_at
        )


async def verified(engine: Engine, door: Door, message: Message) -> tuple[Verified, Signer]:
    """Verify a push with the key held, or once more with the hub's keys as they are now.

    Raises UnauthenticatedError for a missing or wrong signature, MalformedError for one that
    cannot be read, ForbiddenError for a hub that may not push, and UnavailableError where a new
    key cannot be fetched.
    """
    signer = await asyncio.to_thread(_signer, engine, key_id_of(message))
    try:
        return _check(message, signer), signer
    except UnauthenticatedError:
        fetched_at, moment = signer.keys_fetched_at, datetime.now(UTC)
        if fetched_at is not None and moment - fetched_at < KEYS_AGAIN:
            raise
        renewed = await _renew_keys(engine, door, signer, key_id_of(message))
        if renewed.pem in {None, signer.pem}:
            raise
    return _check(message, renewed), renewed


def _check(message: Message, signer: Signer) -> Verified:
    if signer.pem is None:
        raise UnauthenticatedError("the hub's actor names no such key")
    return verify(
        message,
        load_public_pem(signer.pem),
        required=required_parts(message),
        now=datetime.now(UTC),
    )


async def _renew_keys(engine: Engine, door: Door, signer: Signer, key_id: str) -> Signer:
    with transaction(engine) as session:  # before the fetch, so that failures count as well
        session.get_one(Peer, signer.peer_id).keys_fetched_at = now(session)
    try:
        actor = await fetch_actor(door, signer.actor_uri)
    except FetchError as error:
        raise UnavailableError(f"the hub's key cannot be fetched: {error.detail}") from error
    with transaction(engine) as session:
        session.get_one(Peer, signer.peer_id, with_for_update=True)  # one at a time
        store_keys(session, signer.group_id, actor.keys)
    return await asyncio.to_thread(_signer, engine, key_id)
