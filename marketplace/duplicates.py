"""The same thing told in several places, shown once: the origin's own wins, with all its sources.

A listing claims addresses: those under which its origin says that the same thing is (`same_as`),
and its page where that is another origin's. Of two listings of one origin and one author the one
that claims the other stands for both, as a proposal does for the note that it came in. Of two
origins the one that claims yields: a directory's copy, to what it was copied from. So nobody can
hide what another publishes; a false claim hides only the listing that makes it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import String, delete, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base
from marketplace.drafts import Draft
from marketplace.listings import Listing, WithdrawnReason, shown, withdraw_many

MOST_SOURCES: Final = 20


class Claim(Base):
    """An address under which, as the listing of `listing_uri` says, the same thing is.

    Kept while the listing is withdrawn for being the same: it is then a source of the other.
    """

    __tablename__ = "listing_claims"

    claimed_uri: Mapped[str] = mapped_column(String(2048), primary_key=True)
    listing_uri: Mapped[str] = mapped_column(String(2048), primary_key=True, index=True)


def show_once(session: Session, drafts: Collection[Draft]) -> set[str]:
    """Withdraw what is the same as another listing; return the URIs of what was withdrawn.

    `drafts` are versions that have just been stored as listings, in this transaction.
    """
    _note_claims(session, drafts)
    shown_now = _shown_around(session, drafts)
    twice: set[str] = set()
    for draft in drafts:
        mine = shown_now.get(draft.uri)
        if mine is None or draft.uri in twice:
            continue
        for other in _others(mine, shown_now.values(), twice):
            if _yields(mine, other):
                twice.add(mine.uri)
                break
            if _yields(other, mine):
                twice.add(other.uri)
    withdraw_many(session, dict.fromkeys(sorted(twice)), WithdrawnReason.DUPLICATE)
    return twice


def sources_of(session: Session, listing: Listing) -> list[str]:
    """Return all addresses from which a listing is known, its own first; at most 20."""
    claimants = session.scalars(
        select(Claim.listing_uri)
        .join(Listing, Listing.uri == Claim.listing_uri)
        .where(
            Claim.claimed_uri.in_(_addresses(listing)),
            Listing.withdrawn_reason == WithdrawnReason.DUPLICATE,
        )
        .order_by(Claim.listing_uri)
        .limit(MOST_SOURCES)
    )
    return list(dict.fromkeys([listing.uri, *listing.same_as, *claimants]))[:MOST_SOURCES]


def carried_by(session: Session, uris: Collection[str]) -> set[str]:
    """Return the listings shown that came in a document, such as a note, at one of the URIs."""
    carried = session.scalars(
        select(Listing)
        .join(Claim, Claim.listing_uri == Listing.uri)
        .where(Claim.claimed_uri.in_(uris), shown())
    )
    return {
        listing.uri
        for listing in carried
        if any(_origin(uri) == _origin(listing.uri) for uri in {*uris} & {*listing.same_as})
    }


def gone_with_carrier(session: Session, drafts: Collection[Draft]) -> set[str]:
    """Return those of the drafts whose document, such as a note, was deleted after their version.

    The Delete may have come first.
    """
    claims = {claimed for draft in drafts for claimed in draft.same_as}
    if not claims:
        return set()
    deleted = dict(
        session.execute(
            select(Listing.uri, Listing.withdrawn_at).where(
                Listing.uri.in_(claims), Listing.withdrawn_reason == WithdrawnReason.DELETED
            )
        ).all()
    )
    gone = set()
    for draft in drafts:
        dated = draft.updated or draft.published
        for claimed in draft.same_as:
            at = deleted.get(claimed)
            is_own = _origin(claimed) == _origin(draft.uri)
            if at is not None and is_own and (dated is None or dated <= at):
                gone.add(draft.uri)
    return gone


def forget_claims(session: Session, uris: Collection[str]) -> None:
    """Drop what listings claim, since they are gone or may not be shown."""
    session.execute(delete(Claim).where(Claim.listing_uri.in_(uris)))


def _note_claims(session: Session, drafts: Collection[Draft]) -> None:
    uris = {draft.uri for draft in drafts}
    wanted = {(claimed, draft.uri) for draft in drafts for claimed in _claims(draft)}
    held = {
        (row.claimed_uri, row.listing_uri)
        for row in session.execute(
            select(Claim.claimed_uri, Claim.listing_uri).where(Claim.listing_uri.in_(uris))
        )
    }
    for claimed, uri in held - wanted:
        session.execute(delete(Claim).where(Claim.claimed_uri == claimed, Claim.listing_uri == uri))
    session.add_all(
        Claim(claimed_uri=claimed, listing_uri=uri) for claimed, uri in sorted(wanted - held)
    )
    session.flush()


def _shown_around(session: Session, drafts: Collection[Draft]) -> dict[str, Listing]:
    """Return the listings that are shown and may be the same as one of the drafts, and those.

    Empty where nothing is claimed of them or by them, which is nearly always.
    """
    addresses = {address for draft in drafts for address in _addresses(draft)}
    claims = {claimed for draft in drafts for claimed in _claims(draft)}
    claimants = set(
        session.scalars(select(Claim.listing_uri).where(Claim.claimed_uri.in_(addresses)))
    )
    if not claims and not claimants:
        return {}
    uris = claims | claimants | {draft.uri for draft in drafts}
    found = session.scalars(
        select(Listing).where(or_(Listing.uri.in_(uris), Listing.url.in_(claims)), shown())
    )
    return {listing.uri: listing for listing in found}


def _others(mine: Listing, candidates: Iterable[Listing], twice: set[str]) -> list[Listing]:
    """Return what else is shown, of which the same claims decide in the same order."""
    named = defaultdict(list)
    for other in candidates:
        if other.uri != mine.uri and other.uri not in twice:
            named[_origin(other.uri) == _origin(mine.uri)].append(other)
    return [*named[True], *named[False]]


def _yields(mine: Listing, other: Listing) -> bool:
    """Tell whether a listing is not shown beside another."""
    if _origin(mine.uri) == _origin(other.uri):
        return mine.uri in other.same_as and mine.author_uri == other.author_uri
    home = _origin(other.uri)
    own = {address for address in _addresses(other) if _origin(address) == home}
    return bool(own & _claims(mine))


def _claims(told: Draft | Listing) -> set[str]:
    pages = {told.url} if told.url and _origin(told.url) != _origin(told.uri) else set()
    return ({*told.same_as} | pages) - {told.uri}


def _addresses(told: Draft | Listing) -> set[str]:
    return {told.uri, told.url} if told.url else {told.uri}


def _origin(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc.lower()
