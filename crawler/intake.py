"""From a document to a listing: who may speak for it, who allows it, and whose it is."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urljoin

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import FetchError, InvalidError, LocalPayError, MalformedError, TooLargeError
from commons.fetch import Door
from commons.jobs import FIRST_DELAY_SECONDS
from crawler import authors
from crawler.authors import Author
from crawler.changes import begin
from crawler.inbox import innermost
from crawler.kept import forget_objects, put_aside, taken
from crawler.origins import fetch_object, may_come
from crawler.peers import Peer, may_index
from crawler.terms import (
    Document,
    first_id,
    get,
    id_of,
    ids,
    moment,
    objects,
    origin,
    same_origin,
    types,
)
from crawler.vocabulary import CARRIERS, Found, read
from marketplace.consent import ConsentBasis, decide
from marketplace.drafts import check
from marketplace.listings import Outcome, WithdrawnReason, by_uri, upsert, withdraw

KEPT_MOST_CHARS: Final = 64 * 1024
_NESTED_MOST: Final = 3
REMOVALS: Final = frozenset({"Delete", "Tombstone"})
_Homes = dict[tuple[str, str | None], Peer | None]  # by where it begins and the group it names
_UNREADABLE: Final = (InvalidError, MalformedError, TooLargeError)


@dataclass(frozen=True)
class Arrival:
    """One offer or want on its way in, or the reason why `uri` cannot be taken.

    `is_late` is what could not be had now and is tried again by itself.
    """

    uri: str
    found: Found | None = None
    reason: str = ""
    author_uri: str = ""
    document: str | None = None
    is_late: bool = False


async def unwrap(door: Door, item: Any, speaker: str, depth: int = _NESTED_MOST) -> Document:  # noqa: ANN401 (JSON may be anything)
    """Return a document by whoever may speak for it, with what it carries inside.

    `speaker` is the address that vouches for what is embedded; what is of another origin, or only
    named, is fetched at its own. An Announce is replaced by what it announces. Raises FetchError
    and InvalidError.
    """
    document: Document = item if isinstance(item, dict) else {}
    is_own = not id_of(item) or same_origin(id_of(item), speaker)
    if not is_own or len(document) <= 1:
        document = await fetch_object(door, id_of(item))
    kinds = types(document)
    if not kinds & CARRIERS:
        return document
    if depth == 0:
        raise InvalidError("object", f"may be nested {_NESTED_MOST} deep at most")
    inner = get(document, "object")
    inner = inner[0] if isinstance(inner, list) and inner else inner
    inner = await unwrap(door, inner, id_of(document) or speaker, depth - 1)
    if "Announce" in kinds or not same_origin(first_id(document, "actor"), id_of(inner)):
        return inner
    return {**document, "object": inner}


async def prepare(
    engine: Engine, door: Door, document: Document, group_uri: str | None, asked: set[str]
) -> list[Arrival]:
    """Read the offers and wants in a document and ask authors who are not known yet.

    `asked` are the authors that need not be looked up, to which those of the document are added.

    Raises FetchError where an author does not answer; what is unreadable is an Arrival too.
    """
    kept = _written(document)
    inner = next(objects(document, "object"), document)
    uri, author_uri = id_of(inner), first_id(inner, "attributedTo", "actor")
    arrivals = []
    try:
        for found in read(document, group_uri=group_uri):
            uri, author_uri = found.draft.uri, found.draft.author_uri
            if not same_origin(author_uri, uri):
                raise InvalidError("attributedTo", "must be of the origin of the id")
            # Here, in a thread, and not under the locks in which it is stored.
            checked = await asyncio.to_thread(check, found.draft)
            if author_uri not in asked:
                await authors.ensure(engine, door, author_uri)
                asked.add(author_uri)
            taken_in = replace(found, draft=checked)
            arrivals.append(Arrival(uri, taken_in, author_uri=author_uri, document=kept))
    except _UNREADABLE as error:
        arrivals.append(Arrival(uri, None, error.detail, author_uri, kept))
    return arrivals


def settle(session: Session, peer_id: int, arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Store each arrival as a listing where that is allowed, or put it aside with its reason.

    Returns what became of those that could be read. A hub whose listings are not taken, because
    it has not agreed or is not admitted, changes nothing.
    """
    peer = session.scalars(select(Peer).where(Peer.id == peer_id).with_for_update(read=True)).one()
    if not may_index(session, peer):
        return []
    known = authors.lock(session, (arrival.author_uri for arrival in arrivals))
    begin(session)
    again_at = now(session) + timedelta(seconds=FIRST_DELAY_SECONDS)
    outcomes, indexed = [], set()
    homes: _Homes = {}
    for arrival in arrivals:
        try:
            outcome = _index(session, peer, arrival, known.get(arrival.author_uri), homes)
        except _UNREADABLE as error:
            indexed.discard(arrival.uri)
            put_aside(
                session,
                peer_id,
                arrival.uri,
                error.detail,
                author_uri=arrival.author_uri,
                document=arrival.document,
                again_at=again_at if arrival.is_late else None,
            )
            continue
        if outcome is Outcome.REFUSED:
            forget_objects(session, [arrival.uri])  # nothing is kept of what nobody allows
        indexed.add(arrival.uri)
        outcomes.append(outcome)
    taken(session, peer_id, indexed)
    return outcomes


def _index(
    session: Session, peer: Peer, arrival: Arrival, author: Author | None, homes: _Homes
) -> Outcome:
    found = arrival.found
    if found is None:
        raise MalformedError(arrival.reason)
    start = urljoin(arrival.uri, "/"), found.draft.group_uri
    if start not in homes:
        homes[start] = home_of(session, *start, peer)
    home = homes[start]
    if home is not None and not may_index(session, home):
        return Outcome.REFUSED
    hub_consented = home is not None and home.consented_at is not None
    consent = decide(authors.signals(author, found, hub_consented=hub_consented))
    by_hub = consent.basis is ConsentBasis.HUB and home is not None
    return upsert(
        session,
        found.draft,
        consent,
        consented_by=home.actor_uri if by_hub and home else found.draft.author_uri,
        group_id=(home or peer).group_id,
    )


def removed(document: Document) -> list[tuple[str, datetime | None]]:
    """Return what a Delete or a Tombstone removes, and when; only what is of its own origin.

    Its id vouches for it, as `unwrap` and the inbox have made sure; the actor that it names is
    but a word. Raises InvalidError where it removes nothing.
    """
    gone_at = moment(document, "deleted", "published")
    gone = [id_of(document)] if "Tombstone" in types(document) else ids(document, "object")
    own = [uri for uri in gone if same_origin(uri, id_of(document))]
    if not own:
        raise InvalidError("object", "must be of the origin of the activity's id")
    embedded = next(objects(document, "object"), {})
    return [(uri, moment(embedded, "deleted") or gone_at) for uri in own]


def remove(session: Session, uri: str, deleted_at: datetime | None) -> None:
    """Withdraw a deleted listing, even one that is yet to come, and forget what was pushed of it.

    A Delete that its origin dates before the version held is late, and changes nothing.
    """
    begin(session)
    held = by_uri(session, uri)
    is_late = (
        held is not None
        and held.withdrawn_at is None
        and deleted_at is not None
        and deleted_at < held.updated
    )
    if is_late:
        return
    withdraw(session, uri, WithdrawnReason.DELETED, deleted_at=deleted_at)
    forget_objects(session, [uri])


def home_of(session: Session, uri: str, group_uri: str | None, sender: Peer) -> Peer | None:
    """Return the peer at whose origin a listing lives; None where no hub there is known.

    A listing announced elsewhere stays its own hub's. Where one server houses several groups, the
    one that the listing names comes first, then the one that sent it.
    """
    if origin(uri) is None:
        return None
    start = urljoin(uri, "/")
    housed = session.scalars(
        select(Peer).where(Peer.actor_uri.startswith(start, autoescape=True)).order_by(Peer.id)
    ).all()
    return min(
        housed,
        key=lambda peer: (peer.actor_uri != group_uri, peer.id != sender.id),
        default=None,
    )


def failed_arrival(item: Any, page_uri: str, error: LocalPayError) -> Arrival:  # noqa: ANN401 (JSON may be anything)
    """Return the arrival of an item of a page that could not be had at all."""
    uri, author_uri = innermost(item) if isinstance(item, dict) else (id_of(item), "")
    is_late = isinstance(error, FetchError) and may_come(error)
    kept = _written(item) if is_late else None
    return Arrival(
        uri or id_of(item) or page_uri, None, error.detail, author_uri, kept, is_late=is_late
    )


def _written(item: Any) -> str | None:  # noqa: ANN401 (JSON may be anything)
    written = json.dumps(item, ensure_ascii=False)
    return written if len(written) <= KEPT_MOST_CHARS else None
