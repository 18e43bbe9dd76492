"""Why a hub's listings are, or are not, in the search: each step from its address to the index."""

import asyncio
from typing import Final

from sqlalchemy import Engine

from commons.database import reading
from commons.errors import UnavailableError
from commons.fetch import Door
from commons.groups import Group
from commons.settings import Settings
from crawler.diagnosis import from_facts, of_listings
from crawler.diagnosis.asking import FETCHES_MOST, SECONDS_MOST, look
from crawler.diagnosis.steps import Count, Diagnosis, Step, StepState, in_order, moment
from crawler.peers import Peer, PeerKind
from crawler.plain_words import StepName
from crawler.sources.reading import is_by_hand
from marketplace.index import Index

__all__: Final = [
    "FETCHES_MOST",
    "SECONDS_MOST",
    "Count",
    "Diagnosis",
    "Step",
    "StepName",
    "StepState",
    "diagnose",
    "moment",
]


async def diagnose(  # noqa: PLR0913 (what it reads, what it asks through, whom, and how)
    engine: Engine, door: Door, settings: Settings, peer_id: int, *, index: Index, ask: bool
) -> Diagnosis:
    """Return how far the listings of a peer get, step by step.

    From what is stored; with `ask` the hub is also looked at, in at most 6 requests and 20
    seconds, and what is seen goes before what was stored. NoResultFound where there is no such
    peer.
    """
    seen: list[Step] = []
    if ask:
        where = await asyncio.to_thread(_where, engine, settings, peer_id)
        seen = await look(door, *where) if where else []
    return await asyncio.to_thread(_told, engine, settings, peer_id, index, seen if ask else None)


def _where(engine: Engine, settings: Settings, peer_id: int) -> tuple[PeerKind, str, str] | None:
    """Return what is looked at, by kind, address and where its listings are; None for nothing."""
    with reading(engine) as session:
        peer = session.get_one(Peer, peer_id)
        facts = from_facts.facts_of(session, peer, settings.contact)
        return None if is_by_hand(peer) else (peer.kind, peer.actor_uri, facts.source_uri)


def _answers(seen: list[Step] | None) -> bool:
    """Tell whether a look saw the place where the listings are, and could read it."""
    where = (step for step in seen or () if step.name is StepName.SOURCE)
    return any(step.state is StepState.OK for step in where)


def _told(
    engine: Engine, settings: Settings, peer_id: int, index: Index, seen: list[Step] | None
) -> Diagnosis:
    try:
        revision: int | None = index.revision()
    except UnavailableError:
        revision = None
    with reading(engine) as session:
        peer = session.get_one(Peer, peer_id)
        facts = from_facts.facts_of(session, peer, settings.contact)
        group = session.get(Group, peer.group_id) if peer.group_id else None
        return Diagnosis(
            peer_id=peer_id,
            group_id=peer.group_id,
            name=group.name if group else peer.actor_uri,
            address=peer.actor_uri,
            kind=peer.kind,
            state=peer.state,
            at=facts.at,
            asked=seen is not None,
            listings=of_listings.listings_in_search(session, peer),
            steps=in_order(
                from_facts.steps_of(facts),
                of_listings.steps_of(session, facts, revision, is_mended=_answers(seen)),
                seen or (),
            ),
        )
