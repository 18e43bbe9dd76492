"""A source's file that the operator was given, read once into the listings of its group."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import ConflictError, InvalidError, NotFoundError, TooLargeError
from crawler import peers
from crawler.changes import withdraw_each
from crawler.peers import Peer, PeerKind, PeerState
from crawler.settling import settle
from crawler.sources import ces, komunitin, timeoverflow
from crawler.sources.csv_files import file_of, refuse_members, type_of
from crawler.sources.reading import SETTLED_AT_ONCE, arrivals, put_aside_refused
from crawler.vocabulary import Found
from marketplace.drafts import ListingType
from marketplace.listings import Listing, Outcome, WithdrawnReason

FILE_MAX_BYTES: Final = 64 * 1024 * 1024

Refused = tuple[tuple[str, str], ...]
Progress = Callable[[int, int], None]
"""Is told how many listings are done, of how many."""


@dataclass
class FileReport:
    """What became of a file's listings, and what was refused: the URI and the reason.

    `expired` are the URIs of those that are over already, so never shown, counted only there;
    `not_public` the lines that are not for everybody, of which nothing was read.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    refused: Refused = ()
    withdrawn: int = 0
    expired: list[str] = field(default_factory=list)
    not_public: tuple[int, ...] = ()


def read_file(  # noqa: PLR0913 (the last two are how it is shown and how far it goes)
    engine: Engine,
    kind: PeerKind,
    group_id: str,
    body: bytes,
    name: str,
    *,
    complete: bool = False,
    progress: Progress = lambda _done, _of: None,
) -> FileReport:
    """Read a file of a group into its listings, and tell what became of each.

    `name` is the file's, which may say whether it holds offers or wants. Where it is `complete`,
    listings of its type that it does not hold are withdrawn. Raises InvalidError and MalformedError
    where it is no such file, and ConflictError where the group's listings are not taken.
    """
    if len(body) > FILE_MAX_BYTES:
        raise TooLargeError(f"the file has more than {FILE_MAX_BYTES} bytes")
    with reading(engine) as session:
        peer = session.scalar(select(Peer).where(Peer.group_id == group_id))
        if peer is None:
            raise NotFoundError(
                f"there is no group {group_id!r}; add it first by: localpay source add {kind} "
                f"ADDRESS --group {group_id} --by-hand"
            )
        if peer.kind is not kind:
            raise InvalidError("kind", f"must be {peer.kind}, as the group was added")
        if not peers.may_index(session, peer):
            raise ConflictError(f"the group {group_id!r} has not agreed, or is suspended")
        peer_id, address, moment = peer.id, peer.actor_uri, now(session)
    listing_type, found, refused = _read(kind, body, name, address)
    hidden = ces.lines_not_public(body) if kind is PeerKind.CES else ()
    report = FileReport(refused=refused, not_public=hidden)
    for start in range(0, len(found), SETTLED_AT_ONCE):
        part = found[start : start + SETTLED_AT_ONCE]
        with transaction(engine) as session:
            outcomes = settle(session, peer_id, arrivals(part))
        for one, outcome in zip(part, outcomes, strict=True):
            if one.draft.expires_at is not None and one.draft.expires_at <= moment:
                report.expired.append(one.draft.uri)
            elif outcome is not None:
                report.outcomes[outcome] += 1
        progress(start + len(part), len(found))
    held = {one.draft.uri for one in found} | {uri for uri, _ in refused}
    with transaction(engine) as session:
        peer = session.get_one(Peer, peer_id, with_for_update=True)
        peers.heard(session, peer_id)
        peers.move(session, peer_id, PeerState.CONSENTED, PeerState.LIVE)
        put_aside_refused(session, peer_id, refused)
        if complete:
            report.withdrawn = _withdraw_others(session, group_id, listing_type, held)
    return report


def _read(
    kind: PeerKind, body: bytes, name: str, address: str
) -> tuple[ListingType, list[Found], Refused]:
    refuse_members(name, "file")
    if kind is PeerKind.KOMUNITIN:
        listing_type = type_of(name, field="file")
        collection = "offers" if listing_type is ListingType.OFFER else "needs"
        document = komunitin.read_tolerantly(body)
        found, refused = komunitin.read_page(document, address, collection)
        return listing_type, found, tuple(refused)
    if kind is PeerKind.CES:
        listing_type = type_of(name, field="file")
        found, refused = ces.read_export(body, file_of(address, listing_type), listing_type)
    elif kind is PeerKind.TIMEOVERFLOW:
        listing_type = timeoverflow.type_of_report(body, name)
        file = file_of(address, listing_type)
        found, refused = timeoverflow.read_report(body, file, listing_type)
    else:
        raise InvalidError("kind", "must be komunitin, ces or timeoverflow: others have no files")
    return listing_type, found, tuple(refused)


def _withdraw_others(
    session: Session, group_id: str, listing_type: ListingType, held: set[str]
) -> int:
    standing = session.scalars(
        select(Listing.uri).where(
            Listing.group_id == group_id,
            Listing.type == listing_type,
            Listing.withdrawn_at.is_(None),
        )
    )
    missing = sorted(set(standing) - held)
    return withdraw_each(session, missing, WithdrawnReason.MISSING)
