"""Activities of all hubs that are handled together: those that tell all there is to know."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from commons.database import reading, transaction
from commons.errors import FetchError, InvalidError, MalformedError, TooLargeError
from commons.fetch import Door
from commons.json_reading import read_json
from crawler import authors
from crawler.activities import FETCHES_MOST
from crawler.intake import read_arrivals, removed, unwrap
from crawler.kept import InboxMessage, forget_messages, undone
from crawler.origins import ACTOR_TYPES
from crawler.peers import Peer, PeerKind
from crawler.settling import HELD, Arrival, Removal, remove, settle_each
from crawler.terms import Document, activity, same_origin, types

LONGEST_CHARS: Final = 64 * 1024
"""Longer activities are handled one by one, so that little is held in memory at a time."""
_KINDS: Final = ("Create", "Update", "Add", "Delete")


@dataclass
class _Told:
    """A stored activity that tells all there is to know; `removals` are empty but for a Delete."""

    message_id: int
    peer_id: int
    peer_uri: str
    activity_id: str
    document: Document
    is_vouched: bool
    removals: Sequence[Removal] = ()
    arrivals: Sequence[Arrival] = ()

    @property
    def author_uris(self) -> list[str]:
        """Whose the listings are that could be read."""
        return [arrival.author_uri for arrival in self.arrivals if arrival.found is not None]


async def handle_each(engine: Engine, door: Door, message_ids: Sequence[int]) -> set[int]:
    """Handle those activities that tell all there is to know of a listing, as `handle` does.

    Nothing is fetched and no author is asked. They are handled in one transaction as far as no
    Deletes come between. Returns which they were; the others are left.
    """
    told = await _read(engine, door, message_ids)
    with reading(engine) as session:
        known = authors.known_of(session, {uri for one in told for uri in one.author_uris})
    told = [one for one in told if known.issuperset(one.author_uris)]
    for removes, run in groupby(told, lambda one: bool(one.removals)):
        with transaction(engine) as session:
            (_remove_run if removes else _settle_run)(session, list(run))
    return {one.message_id for one in told}


async def ask_authors(engine: Engine, door: Door, message_ids: Sequence[int]) -> None:
    """Ask the authors whom one hub's activities name and who are not known yet."""
    told = await _read(engine, door, message_ids)
    named = list(dict.fromkeys(uri for one in told for uri in one.author_uris))
    if named:
        errand = door.errand(told[0].peer_uri, fetches=FETCHES_MOST)
        await authors.ensure_each(engine, errand, named, set())


async def _read(engine: Engine, door: Door, message_ids: Sequence[int]) -> list[_Told]:
    """Read the activities that tell all there is to know, and the listings in them."""
    with reading(engine) as session:
        rows = session.execute(
            select(InboxMessage, Peer.actor_uri)
            .join(Peer, Peer.id == InboxMessage.peer_id)
            .where(
                InboxMessage.id.in_(message_ids),
                InboxMessage.activity_type.in_(_KINDS),
                func.length(InboxMessage.body) <= LONGEST_CHARS,
                Peer.kind != PeerKind.RELAY,  # whatever a relay tells must be asked for
            )
            .order_by(InboxMessage.id)
        ).all()
    closed = door.errand("", fetches=0)
    told = [one for row, peer_uri in rows if (one := await _told(closed, row, peer_uri))]
    created = [one for one in told if not one.removals]
    read = await asyncio.to_thread(lambda: [read_arrivals(one.document, None) for one in created])
    for one, arrivals in zip(created, read, strict=True):
        one.arrivals = [replace(some, is_vouched=one.is_vouched) for some in arrivals]
    return told


async def _told(closed: Door, row: InboxMessage, peer_uri: str) -> _Told | None:
    """Return what an activity tells of a listing; None where that is not all, or unreadable."""
    try:
        document = read_json((row.body or "").encode())
        read = activity(document)
        if read.object_id in {"", read.actor, peer_uri}:
            return None
        if read.type == "Delete":
            is_own = same_origin(read.object_id, read.actor)
            if not is_own:
                return None
            gone, vouched = removed(document), row.is_vouched
            return _Told(row.id, row.peer_id, peer_uri, read.id, document, vouched, gone)
        if types(read.object) & ACTOR_TYPES or "proof" in document or "proof" in read.object:
            return None
        whole = await unwrap(closed, document, read.actor)
    except (FetchError, InvalidError, MalformedError, TooLargeError):
        return None
    return _Told(row.id, row.peer_id, peer_uri, read.id, whole, row.is_vouched)


def _remove_run(session: Session, run: Sequence[_Told]) -> None:
    remove(session, [removal for one in run for removal in one.removals])
    forget_messages(session, [one.message_id for one in run])


def _settle_run(session: Session, run: Sequence[_Told]) -> None:
    taken_back = undone(session, [(one.peer_id, one.activity_id) for one in run])
    sent: dict[int, list[Arrival]] = {}
    places: list[tuple[_Told, slice]] = []
    for one in run:
        before = sent.setdefault(one.peer_id, [])
        start = len(before)
        before += () if (one.peer_id, one.activity_id) in taken_back else one.arrivals
        places.append((one, slice(start, len(before))))
    outcomes = settle_each(session, sent)
    # Put aside, or not to be kept.
    dropped = [
        one.message_id
        for one, place in places
        if one.arrivals and not HELD & set(outcomes[one.peer_id][place])
    ]
    forget_messages(session, dropped)
