"""A hub joins: the actor that an address leads to is found, has agreed, and begins to be read."""

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import ConflictError, FetchError, InvalidError, MalformedError
from commons.fetch import Door
from commons.groups import GROUP_ID_PATTERN, Group
from commons.settings import Settings
from crawler import delivery, peers
from crawler.blocks import is_blocked
from crawler.consents import covered_by, note_refusal, refusal_of
from crawler.discovering import note
from crawler.finding import Finding, Step, find, read_address
from crawler.hub_keys import store_keys
from crawler.invitations import evidence_of, redeem
from crawler.origins import Actor, fetch_actor, is_gone
from crawler.peers import (
    BY_REGISTRATION,
    GONE_AFTER,
    INDEXED,
    LEFT,
    LOOK_AGAIN,
    Peer,
    PeerKind,
    PeerState,
)
from crawler.registration import check_inbox, describe, open_hub

_log = structlog.get_logger(__name__)

BY_ADDRESS: Final = "its address, given to us"
BY_OPERATOR: Final = "its address, given by the operator of this service"
_NOT_USED: Final = "; the invitation was not used, since it cannot stand in for that"
_LONGEST_ID: Final = 40
_NAMES_TRIED: Final = 100
_INVITED_KINDS: Final = {PeerKind.ACTIVITYPUB, PeerKind.INSTANCE}
# Names that say what the actor is for and not which group it is.
_NAMES_OF_SERVERS: Final = frozenset({"relay", "instance", "actor", "root", "group", "service"})


@dataclass(frozen=True)
class Joined:
    """What came of joining: the peer, the group made for it, and what was tried on the way.

    `to_mend` is the one thing that keeps it from beginning, None where it begins. `kind`, `state`
    and `actor_uri` are None where no actor was found, `peer_id` and `state` also where nothing was
    kept; `software` is what the hub's NodeInfo names.
    """

    peer_id: int | None = None
    actor_uri: str | None = None
    kind: PeerKind | None = None
    state: PeerState | None = None
    group_id: str | None = None
    software: str | None = None
    tried: tuple[Step, ...] = ()
    to_mend: str | None = None


async def join(  # noqa: PLR0913 (the last two are said by few callers)
    engine: Engine,
    door: Door,
    settings: Settings,
    address: str,
    *,
    invitation: str | None = None,
    found_by: str = BY_ADDRESS,
) -> Joined:
    """Find the hub that an address leads to and, where it has agreed, begin to follow it.

    `address` is whatever its operator pastes. It has agreed where its actor says
    `indexable: true` or its operator brings an invitation; without that it is noted as discovered
    at most. Once more for the same hub changes nothing and has it looked at now. One that the
    operator left comes back by BY_OPERATOR alone. At most 15 s.
    Raises InvalidError where the address is none, ForbiddenError where the invitation is not
    valid, and ConflictError where the same hub joins in the same moment.
    """
    sought = read_address(address, allow_loopback=settings.allow_loopback)
    finding = await find(door, sought)
    try:
        return await asyncio.to_thread(_settle, engine, finding, invitation, found_by)
    except IntegrityError as error:
        raise ConflictError("this hub joined in the same moment; try again") from error


def _settle(engine: Engine, finding: Finding, invitation: str | None, found_by: str) -> Joined:
    told = Joined(software=finding.software, tried=finding.steps, to_mend=finding.to_mend)
    actor = finding.actor
    if actor is None:
        return told
    told = replace(told, actor_uri=actor.id, kind=kind_of(actor, is_servers=finding.is_servers))
    with transaction(engine) as session:
        return _decide(session, told, actor, invitation, found_by)


def kind_of(actor: Actor, *, is_servers: bool = False) -> PeerKind:
    """Return how an actor is followed: as a group, or for all that its server publishes."""
    is_person = "Person" in actor.types
    is_instance = is_servers if is_person else "Application" in actor.types
    return PeerKind.INSTANCE if is_instance else PeerKind.ACTIVITYPUB


def _decide(
    session: Session, told: Joined, actor: Actor, invitation: str | None, found_by: str
) -> Joined:
    """Begin, or say what is missing, and keep no more than that the hub is there."""
    kind = told.kind or PeerKind.ACTIVITYPUB
    peer = session.scalar(select(Peer).where(Peer.actor_uri == actor.id).with_for_update())
    refuses = refusal_of(actor) is not None
    if peer is not None:
        note_refusal(session, peer, refuses=refuses)
    to_mend = _refusal(session, peer, actor, found_by)
    if to_mend is not None and invitation is not None:
        to_mend += _NOT_USED
    if to_mend is None and peer is not None and peer.state in INDEXED:
        peers.schedule(session, peer.id)
        delivery.hurry(session, peer.id)
        return _told(session, told, peer)
    if to_mend is None and invitation is not None:
        evidence = evidence_of(redeem(session, invitation, {actor.id}, _INVITED_KINDS))
        return _told(session, told, _begin(session, actor, kind, found_by, evidence))
    if to_mend is None and (to_mend := _unsaid(peer, actor)) is None:
        evidence = _said(session, actor)
        return _told(session, told, _begin(session, actor, kind, found_by, evidence))
    if refuses and peer is not None and peer.state in INDEXED:
        peers.schedule(session, peer.id)  # the look at it withdraws what was indexed
    if peer is None and actor.indexable is not False:
        peer = note(session, actor.id, found_by=found_by, kind=kind)
        if peer is not None:
            note_refusal(session, peer, refuses=refuses)
            peers.schedule(session, peer.id, now(session) + LOOK_AGAIN)  # it was asked just now
    return _told(session, replace(told, to_mend=to_mend), peer)


def _refusal(session: Session, peer: Peer | None, actor: Actor, found_by: str) -> str | None:
    """Return what forbids following an actor whatever else is said; None where nothing does."""
    if is_blocked(session, actor.id):
        return "ask the operator of this service, who has blocked this domain"
    if peer is not None and peers.is_suspended(session, peer):
        return "ask the operator of this service, who has suspended this hub"
    if peer is not None and peer.found_by == LEFT and found_by != BY_OPERATOR:
        return "ask the operator of this service, who no longer reads this hub"
    if peer is not None and peer.kind is PeerKind.RELAY:
        return f"give the address of a group: {actor.id} is a relay"
    try:
        check_inbox(actor)
        describe(Group(id="", uri=actor.id), actor)
    except InvalidError as error:
        return f"correct {actor.id}: {error.detail}"
    return refusal_of(actor)


def _unsaid(peer: Peer | None, actor: Actor) -> str | None:
    """Return how an actor can agree, None where its own document says that it does."""
    if actor.indexable is None:
        return (
            f"set `indexable` to true on {actor.id}, or ask the operator of this service for an "
            "invitation"
        )
    if peer is not None and peer.state is PeerState.BLOCKED:
        return f"let {actor.id} unblock our actor, or register the hub anew"
    if peer is not None and peer.found_by == BY_REGISTRATION and peer.consented_at is None:
        return "register the hub again with `listings` true: it registered without its listings"
    return None


def _said(session: Session, actor: Actor) -> dict[str, Any]:
    """Return what is kept as evidence that an actor's own document agrees."""
    return {
        "kind": "indexable",
        "actor": actor.id,
        "document_sha256": actor.digest,
        "value": actor.indexable,
        "said_at": now(session).isoformat(),
    }


def _begin(
    session: Session, actor: Actor, kind: PeerKind, found_by: str, evidence: dict[str, Any]
) -> Peer:
    """Make the group of an actor that agreed, where it has none, and have it followed now."""
    group = session.scalar(select(Group).where(Group.uri == actor.id))
    if group is None:
        group_id = _free_id(session, actor, kind)
        open_hub(session, actor, group_id)
    else:
        group_id = group.id
    peer = peers.discover(session, actor.id, found_by=found_by, kind=kind, group_id=group_id)
    peer.kind = kind  # a link told of it without telling what it is
    peer.found_by = found_by if peer.found_by == LEFT else peer.found_by
    store_keys(session, group_id, actor.keys)
    peers.consent(session, peer, evidence, covered_by(actor, kind))
    peers.schedule(session, peer.id)
    session.refresh(peer)
    return peer


def _told(session: Session, told: Joined, peer: Peer | None) -> Joined:
    if peer is None:
        return told
    session.flush()
    return replace(told, peer_id=peer.id, kind=peer.kind, state=peer.state, group_id=peer.group_id)


def _free_id(session: Session, actor: Actor, kind: PeerKind) -> str:
    """Return a short id that no group has: the actor's name, with its host where that is taken."""
    name = _short(actor.preferred_username)
    host = _short((urlsplit(actor.id).hostname or "").removeprefix("www."))
    is_servers = kind is PeerKind.INSTANCE or name in _NAMES_OF_SERVERS or not name
    wished = [host] if is_servers else [name, _short(f"{name}-{host}")]
    last = wished[-1] or "group"
    numbered = (_short(f"{last[: _LONGEST_ID - 4]}-{n}") for n in range(2, _NAMES_TRIED))
    for candidate in (*wished, *numbered):
        is_good = re.fullmatch(GROUP_ID_PATTERN, candidate) is not None
        if is_good and session.get(Group, candidate) is None:
            return candidate
    raise ConflictError(f"too many groups are called {last!r}; register with an id of your own")


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_ID].strip("-")


async def ask_consent(engine: Engine, door: Door, peer_id: int) -> datetime | None:
    """Ask a discovered hub whether it agrees by now; return when to ask again, None for never.

    One that agrees is followed at once; one that is gone or no actor, or has not answered for 30
    days, is forgotten unless it has a group. FetchError where it does not answer now.
    """
    with reading(engine) as session:
        peer = session.get_one(Peer, peer_id)
        uri, kind, found_by = peer.actor_uri, peer.kind, peer.found_by
        silent = now(session) - (peer.last_heard_at or peer.state_since)
        if peer.state is not PeerState.DISCOVERED or kind not in _INVITED_KINDS:
            return None
    try:
        actor = await fetch_actor(door.errand(uri), uri)
    except (FetchError, InvalidError, MalformedError) as error:
        is_waiting = isinstance(error, FetchError) and not (error.final or is_gone(error))
        if is_waiting and silent < GONE_AFTER:
            raise
        return await asyncio.to_thread(_forget, engine, peer_id)
    servers = kind is PeerKind.INSTANCE
    finding = Finding(actor, servers, software=None, steps=(), to_mend=None)
    joined = await asyncio.to_thread(_settle, engine, finding, None, found_by)
    with transaction(engine) as session:
        peers.heard(session, peer_id)
        return now(session) + (LOOK_AGAIN if joined.to_mend else timedelta())


def _forget(engine: Engine, peer_id: int) -> datetime | None:
    """Forget a peer that was discovered only; what has a group or sent us something stays."""
    try:
        with transaction(engine) as session:
            peer = session.get_one(Peer, peer_id, with_for_update=True)
            if peer.group_id is None and peer.state is PeerState.DISCOVERED:
                session.delete(peer)
                return None
    except IntegrityError:
        _log.info("a discovered peer is kept for what it sent", peer=peer_id)
    with reading(engine) as session:
        return now(session) + LOOK_AGAIN
