"""Storing what hubs sent, in one transaction: whose it is, who allows it, and what is put aside."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urljoin

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import InvalidError, MalformedError, TooLargeError
from commons.groups import Hub
from commons.jobs import FIRST_DELAY_SECONDS
from crawler import authors, proofs, refusals
from crawler.authors import Author
from crawler.blocks import blocked_among
from crawler.changes import begin
from crawler.discovering import note_links
from crawler.kept import Aside, forget_objects, put_aside_each, taken_each
from crawler.peers import Peer, PeerKind, PeerState, covers, may_index
from crawler.proofs import Proven, keep_each
from crawler.terms import origin, same_origin
from crawler.vocabulary import Found
from marketplace.consent import Consent, ConsentBasis, decide
from marketplace.duplicates import carried_by, gone_with_carrier, show_once
from marketplace.listings import (
    Listing,
    Outcome,
    Version,
    WithdrawnReason,
    upsert_many,
    withdraw_many,
)
from marketplace.tombstones import drop_never_shown

_NEW: Final = frozenset({Outcome.INSERTED, Outcome.UPDATED})
HELD: Final = _NEW | {Outcome.UNCHANGED}
UNREADABLE: Final = (InvalidError, MalformedError, TooLargeError)
Removal = tuple[str, datetime | None]  # what is gone, and since when


@dataclass(frozen=True)
class Arrival:
    """One offer or want on its way in, or the reason why `uri` cannot be taken.

    `is_late` is what could not be had now and is tried again by itself. `is_over` is what its
    origin says is finished, since `over_since` where it tells. `is_vouched` is what the hub itself
    tells, in its own collections or signed with its own key, not with a member's; whoever makes
    an arrival says so.
    """

    uri: str
    found: Found | None = None
    reason: str = ""
    author_uri: str = ""
    document: str | None = None
    is_late: bool = False
    proof: Proven | None = None
    is_over: bool = False
    over_since: datetime | None = None
    is_vouched: bool = field(kw_only=True)


def settle(session: Session, peer_id: int, arrivals: Sequence[Arrival]) -> list[Outcome | None]:
    """Store what one peer sent, as `settle_each` does."""
    return settle_each(session, {peer_id: arrivals})[peer_id]


def settle_each(
    session: Session, sent: Mapping[int, Sequence[Arrival]]
) -> dict[int, list[Outcome | None]]:
    """Store arrivals as listings where that is allowed, or put them aside with their reasons.

    `sent` are those of each peer. Returns what became of each, None where it was put aside. A hub
    whose listings are not taken, because it has not agreed or is suspended, changes nothing.
    """
    locked = (
        select(Peer, Hub)
        .outerjoin(Hub, Hub.group_id == Peer.group_id)
        .where(Peer.id.in_(sent))
        .order_by(Peer.id)
        .with_for_update(read=True, of=Peer)
    )
    rows = session.execute(locked).all()  # with their hubs at hand for who asks after them
    peers = [peer for peer, _ in rows if may_index(session, peer)]
    arrivals = [arrival for peer in peers for arrival in sent[peer.id]]
    known = authors.lock(session, (arrival.author_uri for arrival in arrivals))
    begin(session)
    blocked = blocked_among(session, {uri for one in arrivals for uri in (one.uri, one.author_uri)})
    again_at = now(session) + timedelta(seconds=FIRST_DELAY_SECONDS)
    asked = _Asked(known, blocked, again_at, _told_before(session, peers, sent))
    judged = [_judged(session, peer, sent[peer.id], asked) for peer in peers]
    versions = [version for one in judged for version in one.versions.values()]
    stored = iter(upsert_many(session, versions))
    for one in judged:
        for place in one.versions:
            one.outcomes[place] = next(stored)
    _show_once(session, judged)
    _end(session, judged)
    _note(session, judged)
    nothing: dict[int, list[Outcome | None]] = {
        peer_id: [None] * len(some) for peer_id, some in sent.items()
    }
    return nothing | {one.peer.id: one.outcomes for one in judged}


@dataclass(frozen=True)
class _Judged:
    """What is to become of what a peer sent: by place what is stored, by URI what is put aside."""

    peer: Peer
    arrivals: Sequence[Arrival]
    outcomes: list[Outcome | None]
    versions: dict[int, Version] = field(default_factory=dict)
    asides: dict[str, Aside] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    def became(self, *which: Outcome) -> list[Arrival]:
        """Return the arrivals of which one of the outcomes became."""
        pairs = zip(self.arrivals, self.outcomes, strict=True)
        return [arrival for arrival, outcome in pairs if outcome in which]


@dataclass(frozen=True)
class _Asked:
    """What is asked once for all that is settled together."""

    authors: Mapping[str, Author]
    blocked: Collection[str]
    again_at: datetime
    told_before: Collection[tuple[str, str, str | None]]  # the URI, its author and its group


def _judged(session: Session, peer: Peer, arrivals: Sequence[Arrival], asked: _Asked) -> _Judged:
    homes = _Homes(session, peer)
    judged = _Judged(peer, arrivals, [None] * len(arrivals))
    for place, arrival in enumerate(arrivals):
        if arrival.is_over:
            judged.outcomes[place] = Outcome.REFUSED
            continue
        if arrival.uri in asked.blocked or arrival.author_uri in asked.blocked:
            judged.outcomes[place] = Outcome.REFUSED
            judged.refused[refusals.BLOCKED] += 1
            continue
        try:
            version = _version(peer, arrival, asked, homes)
        except UNREADABLE as error:
            judged.asides[arrival.uri] = _aside(arrival, error.detail, asked.again_at)
            continue
        judged.asides.pop(arrival.uri, None)
        if version is None:
            judged.outcomes[place] = Outcome.REFUSED
            judged.refused[refusals.NO_HUB] += 1
        else:
            judged.versions[place] = version
            judged.refused[version.consent.reason] += not version.consent.allowed
    return judged


def _show_once(session: Session, judged: Sequence[_Judged]) -> None:
    """Withdraw what is the same as another listing, or was deleted with what it came in."""
    held = [
        version.draft
        for one in judged
        for place, version in one.versions.items()
        if one.outcomes[place] in HELD
    ]
    gone = gone_with_carrier(session, held)
    withdraw_many(session, dict.fromkeys(sorted(gone)), WithdrawnReason.MISSING)
    twice = show_once(session, held) | gone
    proofs.forget(session, twice)
    for one in judged:
        for place, version in one.versions.items():
            if version.draft.uri in twice:
                one.outcomes[place] = Outcome.DUPLICATE


def _end(session: Session, judged: Sequence[_Judged]) -> None:
    """Withdraw what its origin says is finished."""
    over = [
        (arrival.uri, arrival.over_since)
        for one in judged
        for arrival in one.arrivals
        if arrival.is_over
    ]
    if over:
        remove(session, over)


def _note(session: Session, judged: Sequence[_Judged]) -> None:
    """Keep what was put aside, and nothing of what nobody allows."""
    forget_objects(
        session, {arrival.uri for one in judged for arrival in one.became(Outcome.REFUSED)}
    )
    new = [arrival for one in judged for arrival in one.became(*_NEW)]
    same = [arrival for one in judged for arrival in one.became(*HELD - _NEW) if arrival.proof]
    keep_each(session, {arrival.uri: arrival.proof for arrival in (*new, *same)})
    settled = {
        (one.peer.id, arrival.uri)
        for one in judged
        for arrival in one.became(*Outcome)
        if arrival.uri not in one.asides
    }
    taken_each(session, settled)
    for one in judged:
        peer, asides = one.peer, one.asides
        put_aside_each(session, peer.id, list(asides.values()))
        refusals.count(session, peer.id, +one.refused)
        held = (version for place, version in one.versions.items() if one.outcomes[place] in HELD)
        note_links(session, peer, {version.draft.group_uri for version in held})


def _aside(arrival: Arrival, reason: str, again_at: datetime) -> Aside:
    again = again_at if arrival.is_late else None
    return Aside(
        arrival.uri,
        reason,
        arrival.author_uri,
        arrival.document,
        again,
        is_vouched=arrival.is_vouched,
    )


class _Homes:
    """Whose the listings of one sender are, and whether theirs are taken; each asked once."""

    def __init__(self, session: Session, sender: Peer) -> None:
        self._session = session
        self._sender = sender
        self._homes: dict[tuple[str, str | None], Peer | None] = {}
        self._indexed: dict[int, bool] = {}

    def of(self, uri: str, group_uri: str | None) -> Peer | None:
        """Return the hub of a listing, by where that begins and the group that it names."""
        start = urljoin(uri, "/"), group_uri
        if start not in self._homes:
            self._homes[start] = home_of(self._session, *start, self._sender)
        return self._homes[start]

    def are_indexed(self, home: Peer) -> bool:
        """Tell whether a hub's listings are taken."""
        if home.id not in self._indexed:
            self._indexed[home.id] = may_index(self._session, home)
        return self._indexed[home.id]


def _version(peer: Peer, arrival: Arrival, asked: _Asked, homes: _Homes) -> Version | None:
    """Return an arrival as it may be stored; None where its own hub's listings are not taken.

    What names a group that said no is not shown, whoever else agreed.
    """
    found = arrival.found
    if found is None:
        raise MalformedError(arrival.reason)
    home = homes.of(arrival.uri, found.draft.group_uri)
    if home is None and not found.asks_author:
        home = peer  # nobody else is known who could answer for it
    if home is not None and not homes.are_indexed(home):
        if home.refused_at is None:
            return None
        refused = Consent(allowed=False, basis=None, reason=refusals.NO_HUB)
        return Version(found.draft, refused, home.actor_uri, home.group_id)
    hub_consented = home is not None and _speaks(home, peer, arrival, found, asked.told_before)
    author = asked.authors.get(arrival.author_uri)
    consent = decide(authors.signals(author, found, hub_consented=hub_consented))
    by_hub = consent.basis is ConsentBasis.HUB and home is not None
    return Version(
        found.draft,
        consent,
        home.actor_uri if by_hub and home else found.draft.author_uri,
        (home or peer).group_id,
    )


def _told_before(
    session: Session, peers: Sequence[Peer], sent: Mapping[int, Sequence[Arrival]]
) -> set[tuple[str, str, str | None]]:
    """Return which of those that their own hub does not tell now stand on its word already."""
    untold = {
        arrival.uri
        for peer in peers
        for arrival in sent[peer.id]
        if not (arrival.is_vouched and same_origin(arrival.uri, peer.actor_uri))
    }
    if not untold:
        return set()
    standing = select(Listing.uri, Listing.author_uri, Listing.group_id).where(
        Listing.uri.in_(untold), Listing.consent_basis == ConsentBasis.HUB
    )
    return {(uri, author_uri, group_id) for uri, author_uri, group_id in session.execute(standing)}


def _speaks(
    home: Peer,
    sender: Peer,
    arrival: Arrival,
    found: Found,
    told_before: Collection[tuple[str, str, str | None]],
) -> bool:
    """Tell whether a hub's consent counts for a listing of its server.

    A group's does for what the group tells, or has told of the same author, and for what names the
    group: strangers may be on its server. The consent of an instance, or of a source that is no
    actor, is for all that it has.
    """
    author_uri = found.draft.author_uri
    if not covers(home, author_uri):
        return False
    is_told = home.id == sender.id and arrival.is_vouched
    is_told = is_told or (arrival.uri, author_uri, home.group_id) in told_before
    return (
        is_told or home.kind is not PeerKind.ACTIVITYPUB or found.draft.group_uri == home.actor_uri
    )


def remove(session: Session, removals: Sequence[Removal]) -> None:
    """Withdraw deleted listings, even those yet to come, and forget what was pushed of them.

    A Delete that its origin dates before the version held is late, and changes nothing.
    """
    begin(session)
    standing = select(Listing.uri, Listing.updated).where(
        Listing.uri.in_({uri for uri, _ in removals}), Listing.withdrawn_at.is_(None)
    )
    versions = dict(session.execute(standing).all())
    deleted_at: dict[str, datetime | None] = {}
    for uri, at in removals:
        if at is None or uri not in versions or at >= versions[uri]:
            deleted_at.setdefault(uri, at)
    # What came in a document that is gone may still be told elsewhere, and is then taken anew.
    carried = carried_by(session, deleted_at) - deleted_at.keys()
    withdraw_many(session, deleted_at, WithdrawnReason.DELETED)
    drop_never_shown(session)
    withdraw_many(session, dict.fromkeys(sorted(carried)), WithdrawnReason.MISSING)
    forget_objects(session, deleted_at.keys() | carried)


def home_of(session: Session, uri: str, group_uri: str | None, sender: Peer) -> Peer | None:
    """Return the peer at whose origin a listing lives; None where no hub there is known.

    A listing announced elsewhere stays its own hub's. Where one server houses several groups, the
    one that the listing names comes first, then the one that sent it.
    """
    if origin(uri) is None:
        return None
    start = urljoin(uri, "/")
    if sender.actor_uri.startswith(start) and group_uri in {None, sender.actor_uri}:
        return sender
    housed = session.scalars(
        select(Peer)
        .where(
            Peer.actor_uri.startswith(start, autoescape=True),
            Peer.kind != PeerKind.RELAY,  # it has no listings of its own
            # Whom somebody has but named was never asked, so it has said neither yes nor no.
            or_(
                Peer.state != PeerState.DISCOVERED,
                Peer.group_id.is_not(None),
                and_(Peer.refused_at.is_not(None), Peer.actor_uri == group_uri),
            ),
        )
        .order_by(Peer.id)
    ).all()
    return min(
        housed,
        key=lambda peer: (peer.actor_uri != group_uri, peer.id != sender.id),
        default=None,
    )
