"""Why a listing is here: on whose word, by whom it came, and how it is taken away."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from commons.groups import Hub
from commons.settings import Settings
from crawler.actor import actor_uri
from crawler.authors import Author
from crawler.fasp.rows import AnnouncedObject, FaspServer
from crawler.kept import InboxMessage
from crawler.peers import FOLLOWS, Peer, PeerKind
from marketplace.consent import ConsentBasis
from marketplace.duplicates import sources_of
from marketplace.listings import Listing

BECAUSE: Final = {
    ConsentBasis.OBJECT_SEARCHABLE: "Its author lets anybody search for this listing.",
    ConsentBasis.ACTOR_SEARCHABLE: "Its author lets anybody search for what they publish.",
    ConsentBasis.ACTOR_INDEXABLE: "Its author lets search services hold what they publish.",
    ConsentBasis.HUB: "The author's hub agreed for what its members publish to everybody.",
}
_CARRYING: Final = ("Create", "Update", "Add", "Announce")
_BY_INDEXABLE: Final = ("indexable", "true")
_HUBS_WORD: Final = {
    "indexable": _BY_INDEXABLE,
    "registration": ("listings", "true, in its signed registration"),
    "invitation": ("invitation", "redeemed, one of the operator of this service"),
    "operator": ("agreement", "given to the operator of this service, who recorded it"),
}

_TAKEN_BACK: Final = ("consent", "given before, and taken back since")


@dataclass(frozen=True)
class Evidence:
    """What was said: `member` of `document` is `says`, by whom, and when that was seen."""

    said_by: str
    document: str
    member: str
    says: str
    seen: datetime


@dataclass(frozen=True)
class Arrival:
    """How a listing came first: `pushed`, `announced`, `sent`, `crawled` or `read`, and by whom."""

    how: str
    by: str | None
    at: datetime | None


@dataclass(frozen=True)
class Way:
    """One way to take a listing away: what is to be done, and how much of it goes by that."""

    do: str
    takes_away: str


@dataclass(frozen=True)
class Why:
    """All that is told of why a listing is here."""

    basis: ConsentBasis
    because: str
    evidence: Evidence
    since: datetime
    asked_by: Arrival
    confirmed: datetime
    sources: list[str]
    take_away: list[Way]


def kind_of_source(session: Session, listing: Listing) -> PeerKind:
    """Return by which kind of source a listing came; one without a hub here came as activities."""
    peer = _peer_of(session, listing)
    return peer.kind if peer is not None else PeerKind.ACTIVITYPUB


def take_away(session: Session, settings: Settings, listing: Listing) -> list[Way]:
    """Return each way in which a listing is taken away, by the kind of source that it came by."""
    return _ways(settings, listing, _peer_of(session, listing))


def why(session: Session, settings: Settings, listing: Listing) -> Why:
    """Return why a listing that is shown is here."""
    peer = _peer_of(session, listing)
    basis = ConsentBasis(str(listing.consent_basis))
    return Why(
        basis=basis,
        because=BECAUSE[basis],
        evidence=_evidence(session, listing, basis),
        since=listing.consent_at or listing.confirmed_at,
        asked_by=_arrival(session, listing, peer),
        confirmed=listing.confirmed_at,
        sources=sources_of(session, listing),
        take_away=_ways(settings, listing, peer),
    )


def _peer_of(session: Session, listing: Listing) -> Peer | None:
    if listing.group_id is None:
        return None
    return session.scalar(select(Peer).where(Peer.group_id == listing.group_id))


def _evidence(session: Session, listing: Listing, basis: ConsentBasis) -> Evidence:
    seen, author_uri = listing.consent_at or listing.confirmed_at, listing.author_uri
    if basis is ConsentBasis.HUB:
        return _hubs_word(session, listing.consented_by or "", seen)
    if basis is ConsentBasis.OBJECT_SEARCHABLE:
        return Evidence(author_uri, listing.uri, "searchableBy", "as:Public", seen)
    asked = session.scalar(select(Author.asked_at).where(Author.uri == author_uri))
    member, says = (
        _BY_INDEXABLE if basis is ConsentBasis.ACTOR_INDEXABLE else ("searchableBy", "as:Public")
    )
    return Evidence(author_uri, author_uri, member, says, asked or seen)


def _hubs_word(session: Session, hub_uri: str, seen: datetime) -> Evidence:
    peer = session.scalar(select(Peer).where(Peer.actor_uri == hub_uri))
    told = str((peer.consent_evidence or {}).get("kind", "")) if peer else ""
    member, says = _HUBS_WORD.get(told, _TAKEN_BACK)
    return Evidence(hub_uri, hub_uri, member, says, (peer.consented_at if peer else None) or seen)


def _arrival(session: Session, listing: Listing, peer: Peer | None) -> Arrival:
    """Return how a listing came first, as far as that is known still."""
    if peer is not None and peer.kind not in FOLLOWS:
        how = "sent" if peer.kind is PeerKind.PUSH else "read"
        return Arrival(how, peer.actor_uri, listing.consent_at)
    pushed = session.execute(
        select(InboxMessage.activity_type, InboxMessage.actor_uri, InboxMessage.received_at)
        .where(InboxMessage.object_uri == listing.uri, InboxMessage.activity_type.in_(_CARRYING))
        .order_by(InboxMessage.received_at)
        .limit(1)
    ).first()
    if pushed is not None:
        how = "announced" if pushed.activity_type == "Announce" else "pushed"
        return Arrival(how, pushed.actor_uri, pushed.received_at)
    server = session.scalar(
        select(FaspServer.address)
        .join(AnnouncedObject, AnnouncedObject.server_id == FaspServer.id)
        .where(AnnouncedObject.uri == listing.uri)
    )
    if server is not None:
        return Arrival("announced", server, listing.consent_at)
    hub = session.get(Hub, listing.group_id) if listing.group_id else None
    where = (hub.outbox_uri if hub else None) or (peer.actor_uri if peer else None)
    return Arrival("crawled", where, listing.consent_at)


def _ways(settings: Settings, listing: Listing, peer: Peer | None) -> list[Way]:
    kind = peer.kind if peer is not None else PeerKind.ACTIVITYPUB
    of_source = _OF_SOURCES.get(kind)
    ways = [of_source] if of_source is not None else _of_actors(settings, listing)
    if peer is not None and peer.kind in FOLLOWS:
        ways.append(
            Way(
                f"Register {peer.actor_uri} again with `listings` false, or set its `indexable` "
                "to false.",
                "All listings of its group that are here on its word.",
            )
        )
    if settings.contact:
        ways.append(
            Way(f"Write to the operator of this service: {settings.contact}.", "What you ask for.")
        )
    return ways


def _of_actors(settings: Settings, listing: Listing) -> list[Way]:
    every = f"All listings of {listing.author_uri}."
    return [
        Way(f"Delete {listing.uri}; its hub tells us by a Delete or a Tombstone.", "This listing."),
        Way("Leave as:Public out of its `searchableBy`, or out of its `to`.", "This listing."),
        Way(
            "Answer for it with `X-Robots-Tag: noindex`, or say so in `xRobotsTag`.",
            "This listing.",
        ),
        Way(f"Set `indexable` to false on {listing.author_uri}.", every),
        Way(f"Leave as:Public out of `searchableBy` on {listing.author_uri}.", every),
        Way(f"Block {actor_uri(settings)} as its author.", every),
    ]


_OF_SOURCES: Final = {
    PeerKind.KOMUNITIN: Way(
        "Delete it in its group, or make it other than public.", "This listing, at the next look."
    ),
    PeerKind.MURMURATIONS: Way(
        "Delete its profile, or take it out of the index.", "This listing, at the next look."
    ),
    PeerKind.CES: Way(
        "Leave it out of the group's next list, by a scope other than 3.",
        "This listing, as that list is read.",
    ),
    PeerKind.TIMEOVERFLOW: Way(
        "Leave it out of the bank's next list.", "This listing, as that list is read."
    ),
    PeerKind.FASP: Way(
        "Delete it, or take back that it may be found; its server announces that.", "This listing."
    ),
    PeerKind.PUSH: Way("Delete it in its group, whose hub then deletes it here.", "This listing."),
}
