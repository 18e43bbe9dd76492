"""From a document to a listing: who may speak for it, who allows it, and whose it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urljoin

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.errors import InvalidError, LocalPayError, MalformedError, TooLargeError
from commons.fetch import Door
from crawler import authors
from crawler.changes import begin
from crawler.inbox import forget_object, innermost
from crawler.origins import fetch_object
from crawler.peers import Peer, may_index, put_aside, taken
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
from marketplace.listings import Outcome, WithdrawnReason, by_uri, upsert, withdraw

KEPT_MOST_CHARS: Final = 64 * 1024
_NESTED_MOST: Final = 3
REMOVALS: Final = frozenset({"Delete", "Tombstone"})
_UNREADABLE: Final = (InvalidError, MalformedError, TooLargeError)


@dataclass(frozen=True)
class Arrival:
    """One offer or want on its way in, or the reason why `uri` cannot be taken."""

    uri: str
    found: Found | None = None
    reason: str = ""
    author_uri: str = ""
    document: str | None = None


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
    engine: Engine, door: Door, document: Document, group_uri: str | None
) -> list[Arrival]:
    """Read the offers and wants in a document and ask authors who are not known yet.

    Raises FetchError where an author does not answer; what is unreadable is an Arrival too.
    """
    written = json.dumps(document, ensure_ascii=False)
    kept = written if len(written) <= KEPT_MOST_CHARS else None
    inner = next(objects(document, "object"), document)
    uri, author_uri = id_of(inner), first_id(inner, "attributedTo", "actor")
    arrivals = []
    try:
        for found in read(document, group_uri=group_uri):
            uri, author_uri = found.draft.uri, found.draft.author_uri
            if not same_origin(author_uri, uri):
                raise InvalidError("attributedTo", "must be of the origin of the id")
            await authors.ensure(engine, door, author_uri)
            arrivals.append(Arrival(uri, found, author_uri=author_uri, document=kept))
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
    authors.lock(session, (arrival.author_uri for arrival in arrivals))
    begin(session)
    outcomes = []
    for arrival in arrivals:
        try:
            outcome = _index(session, peer, arrival)
        except _UNREADABLE as error:
            put_aside(
                session,
                peer_id,
                arrival.uri,
                error.detail,
                author_uri=arrival.author_uri,
                document=arrival.document,
            )
            continue
        if outcome is Outcome.REFUSED:
            forget_object(session, arrival.uri)  # nothing is kept of what nobody allows
        taken(session, peer_id, arrival.uri)
        outcomes.append(outcome)
    return outcomes


def _index(session: Session, peer: Peer, arrival: Arrival) -> Outcome:
    found = arrival.found
    if found is None:
        raise MalformedError(arrival.reason)
    home = home_of(session, arrival.uri, found.draft.group_uri, peer)
    if home is not None and not may_index(session, home):
        return Outcome.REFUSED
    hub_consented = home is not None and home.consented_at is not None
    consent = decide(authors.signals(session, found, hub_consented=hub_consented))
    by_hub = consent.basis is ConsentBasis.HUB and home is not None
    return upsert(
        session,
        found.draft,
        consent,
        consented_by=home.actor_uri if by_hub and home else found.draft.author_uri,
        group_id=(home or peer).group_id,
    )


def removed(document: Document) -> list[tuple[str, datetime | None]]:
    """Return what a Delete or a Tombstone removes, and when; only what is of its own origin."""
    speaker = first_id(document, "actor") or id_of(document)
    gone_at = moment(document, "deleted", "published")
    if "Tombstone" in types(document):
        return [(id_of(document), gone_at)]
    embedded = next(objects(document, "object"), {})
    at = moment(embedded, "deleted") or gone_at
    return [(uri, at) for uri in ids(document, "object") if same_origin(uri, speaker)]


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
    forget_object(session, uri)


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


def failed_arrival(item: object, page_uri: str, error: LocalPayError) -> Arrival:
    """Return the arrival of an item of a page that could not be had at all."""
    uri, author_uri = innermost(item) if isinstance(item, dict) else (id_of(item), "")
    return Arrival(uri or id_of(item) or page_uri, None, error.detail, author_uri)
