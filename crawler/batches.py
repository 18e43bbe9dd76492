"""Activities of all hubs that are handled together: those that tell all there is to know."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
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
LEFT_MOST: Final = 1_000
"""What is read beyond that is read again when its authors have been asked."""
_KINDS: Final = ("Create", "Update", "Add", "Delete")


@dataclass
class _Told:
    """A stored activity that tells all there is to know; `removals` are empty but for a Delete."""

    message_id: int
    peer_id: int
    peer_uri: str
    activity_id: str
    document: Document
    removals: Sequence[Removal] = ()
    arrivals: Sequence[Arrival] = ()
    is_asked: bool = False

    @property
    def author_uris(self) -> list[str]:
        """Whose the listings are that could be read."""
        return [arrival.author_uri for arrival in self.arrivals if arrival.found is not None]


class Batches:
    """Handles those activities that tell all there is to know of a listing, many at a time.

    What was read of activities whose authors must be asked first is kept until they were.
    """

    def __init__(self, engine: Engine, door: Door) -> None:
        self._engine = engine
        self._door = door
        self._left: dict[int, _Told] = {}

    async def handle(self, message_ids: Sequence[int]) -> set[int]:
        """Handle activities as `activities.handle` does; return which they were.

        Nothing is fetched and no author is asked; those that need it are left. They are handled in
        one transaction as far as no Deletes come between.
        """
        read = await self._read(message_ids)
        with reading(self._engine) as session:
            known = authors.known_of(session, {uri for one in read for uri in one.author_uris})
        told = [one for one in read if known.issuperset(one.author_uris)]
        self._keep(one for one in read if not (one.is_asked or known.issuperset(one.author_uris)))
        before: list[_Told] = []
        for removes, run in groupby(told, lambda one: bool(one.removals)):
            some = list(run)
            with transaction(self._engine) as session:
                if removes:
                    _remove_run(session, some, before)
                else:
                    _settle_run(session, some)
            before += some
        return {one.message_id for one in told}

    async def ask_authors(self, message_ids: Sequence[int]) -> None:
        """Ask the authors whom one hub's activities name and who are not known yet."""
        told = await self._read(message_ids)
        named = list(dict.fromkeys(uri for one in told for uri in one.author_uris))
        if named:
            errand = self._door.errand(told[0].peer_uri, fetches=FETCHES_MOST)
            await authors.ensure_each(self._engine, errand, named, set())
        for one in told:
            one.is_asked = True  # what is left then is handled one by one
        self._keep(told)

    def _keep(self, told: Iterable[_Told]) -> None:
        room = LEFT_MOST - len(self._left)
        self._left |= {one.message_id: one for one in islice(told, max(room, 0))}

    async def _read(self, message_ids: Sequence[int]) -> list[_Told]:
        """Return what activities tell, in their order; what of them was kept is kept no more."""
        kept = [self._left.pop(one) for one in message_ids if one in self._left]
        unread = {*message_ids} - {one.message_id for one in kept}
        read = await _read(self._engine, self._door, sorted(unread)) if unread else []
        return sorted((*kept, *read), key=lambda one: one.message_id)


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
                InboxMessage.is_vouched,  # what a member's own key says may be of another's
                Peer.kind != PeerKind.RELAY,  # whatever a relay tells must be asked for
            )
            .order_by(InboxMessage.id)
        ).all()
    closed = door.errand("", fetches=0)
    told = [one for row, peer_uri in rows if (one := await _told(closed, row, peer_uri))]
    created = [one for one in told if not one.removals]
    read = await asyncio.to_thread(lambda: [read_arrivals(one.document, None) for one in created])
    for one, arrivals in zip(created, read, strict=True):
        one.arrivals = [replace(some, is_vouched=True) for some in arrivals]
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
            return _Told(row.id, row.peer_id, peer_uri, read.id, document, removed(document))
        if types(read.object) & ACTOR_TYPES or "proof" in document or "proof" in read.object:
            return None
        whole = await unwrap(closed, document, read.actor)
    except (FetchError, InvalidError, MalformedError, TooLargeError):
        return None
    return _Told(row.id, row.peer_id, peer_uri, read.id, whole)


def _remove_run(session: Session, run: Sequence[_Told], before: Sequence[_Told]) -> None:
    """Do what Deletes say; of what they remove, what was handled `before` is forgotten too.

    Its messages are not told to be done yet, so `remove` takes them for newer words.
    """
    removals = [removal for one in run for removal in one.removals]
    remove(session, removals)
    gone = {uri for uri, _ in removals}
    over = [one for one in before if gone & {arrival.uri for arrival in one.arrivals}]
    forget_messages(session, [one.message_id for one in (*run, *over)])


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
        one.message_id for one, place in places if not HELD & set(outcomes[one.peer_id][place])
    ]
    forget_messages(session, dropped)
