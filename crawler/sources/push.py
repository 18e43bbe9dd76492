"""Listings that a hub without ActivityPub pushes as JSON: taken, withdrawn, and how they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from crawler import peers
from crawler.changes import withdraw_each
from crawler.kept import PutAside
from crawler.peers import Peer, PeerKind, PeerState
from crawler.settling import HELD, Arrival, remove, settle
from crawler.sources.wording import as_html
from crawler.terms import PUBLIC, same_origin
from crawler.vocabulary import Found
from marketplace.drafts import MOST_BODY_BYTES, Draft, check
from marketplace.listings import Listing, Outcome, WithdrawnReason, shown
from marketplace.payment import Payment, PaymentMeans, resolve

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,99}$"
_AT_ONCE: Final = 500
_OF_A_CURRENCY: Final = frozenset({PaymentMeans.LOCAL, PaymentMeans.NATIONAL, PaymentMeans.CRYPTO})
_UNSEARCHABLE: Final = "searchable is false"
_OLDER: Final = "what is held, or was deleted, is of a later time than this version"
_UNWANTED: Final = "its author does not agree, or its domain is blocked here"


class PushedListing(Base):
    """By which name a hub calls a listing that it pushed, and which listing that is."""

    __tablename__ = "pushed_listings"

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    name: Mapped[str] = mapped_column(String(100))
    uri: Mapped[str] = mapped_column(String(2048))
    pushed_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("group_id", "name"), UniqueConstraint("uri"))


@dataclass(frozen=True)
class Pushed:
    """A listing as a hub pushes it, checked, or the rule that it breaks; `name` is the hub's."""

    name: str
    found: Found | None
    error: InvalidError | None = None


@dataclass(frozen=True)
class Taken:
    """What became of a pushed listing; `field` and `reason` say why it was not taken."""

    name: str
    uri: str | None
    outcome: Outcome
    field: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Standing:
    """How a pushed listing stands: `reason` is why it is not shown; `listing_id` is ours."""

    name: str
    uri: str
    listing_id: str
    is_shown: bool
    reason: str | None
    pushed_at: datetime
    updated: datetime


def pushing_peer(session: Session, group_id: str) -> Peer:
    """Return the peer of a group that pushes, locked to the commit.

    Raises ForbiddenError where its hub is one that is followed or has not agreed.
    """
    peer = peers.by_group(session, group_id, lock=True)
    if peer.kind is not PeerKind.PUSH:
        raise ForbiddenError("this hub is followed; to push listings, register with pushes true")
    peers.heard(session, peer.id)  # one that was given up for its silence is back
    session.refresh(peer)
    if not peers.may_index(session, peer):
        raise ForbiddenError("this hub has not agreed; register with listings true")
    return peer


def read(name: str, draft: Draft, hub_uri: str, *, searchable: bool | None) -> Pushed:
    """Return a draft as its hub pushes it, checked, with the first rule that it breaks; pure.

    `searchable` is the author's own word, None where that was not asked.
    """
    said = {None: None, True: (PUBLIC,), False: ()}[searchable]
    try:
        found = Found(_checked(draft, hub_uri), to=None, searchable_by=said, asks_author=False)
    except InvalidError as error:
        return Pushed(name, None, error)
    return Pushed(name, found)


def _checked(draft: Draft, hub_uri: str) -> Draft:
    if not same_origin(draft.author_uri, hub_uri):
        raise InvalidError("author", "must be of this hub's origin")
    body = as_html(draft.body)
    if len(body.encode(errors="replace")) > MOST_BODY_BYTES:
        raise InvalidError("body", f"must have at most {MOST_BODY_BYTES // 1024} KiB")
    payments = [_payment(one, f"payments.{place}") for place, one in enumerate(draft.payments)]
    return check(replace(draft, body=body, payments=tuple(payments)))


def _payment(payment: Payment, field: str) -> Payment:
    """Return a way to pay with its currency as it is known here."""
    if payment.currency is None:
        if payment.means in _OF_A_CURRENCY:
            raise InvalidError(f"{field}.currency", f"must be there for {payment.means}")
        return payment
    payment.check(field)
    means, currency = resolve(payment.currency)
    if means is not payment.means:
        raise InvalidError(f"{field}.currency", f"must be a currency of the means {payment.means}")
    return replace(payment, currency=currency)


def uri_of(base_url: str, group_id: str, name: str) -> str:
    """Return the address that a pushed listing has where its hub gives it none."""
    return f"{base_url}/hubs/{group_id}/listings/{name}"


def push_one(session: Session, peer: Peer, pushed: Pushed) -> Taken:
    """Take one listing of a locked peer.

    Raises InvalidError where it breaks a rule, ConflictError where what is held is newer, and
    ForbiddenError where it is not wanted; nothing is then changed.
    """
    if pushed.error is not None:
        raise pushed.error
    taken = push_many(session, peer, [pushed])[0]
    if taken.outcome is Outcome.OLDER:
        raise ConflictError(_OLDER)
    if taken.field is not None:
        raise InvalidError(taken.field, taken.reason or "")
    if taken.outcome is Outcome.REFUSED and taken.reason != _UNSEARCHABLE:
        raise ForbiddenError(f"the listing is not taken: {taken.reason}")
    return taken


def push_many(session: Session, peer: Peer, pushed: Sequence[Pushed]) -> list[Taken]:
    """Take listings of a locked peer, each by itself, and return what became of them in order."""
    errors = _clashes(session, peer, pushed)
    arrivals = {
        place: Arrival(
            one.found.draft.uri, one.found, author_uri=one.found.draft.author_uri, is_vouched=True
        )
        for place, one in enumerate(pushed)
        if one.found is not None and place not in errors
    }
    outcomes = dict(zip(arrivals, settle(session, peer.id, list(arrivals.values())), strict=True))
    held = {place for place, outcome in outcomes.items() if outcome in HELD}
    _name(session, peer, [pushed[place] for place in sorted(held)])
    _note(session, peer)
    return [
        _told(session, peer, one, outcomes.get(place), errors.get(place) or one.error)
        for place, one in enumerate(pushed)
    ]


def withdraw_others(session: Session, peer: Peer, names: Sequence[str]) -> int:
    """Withdraw what a hub has pushed and does not name any more; return how many that were.

    They come back when they are pushed again.
    """
    mine = (
        select(PushedListing.name, PushedListing.uri)
        .join(Listing, Listing.uri == PushedListing.uri)
        .where(PushedListing.group_id == peer.group_id, Listing.withdrawn_at.is_(None))
    )
    kept = set(names)
    gone = [uri for name, uri in session.execute(mine).all() if name not in kept]
    withdraw_each(session, gone, WithdrawnReason.MISSING)
    return len(gone)


def delete(session: Session, peer: Peer, name: str, uri: str) -> None:
    """Withdraw a listing of a locked peer for good; `uri` is its address if it was never pushed.

    A Delete that comes before what it deletes is remembered.
    """
    held = _named(session, str(peer.group_id), name)
    remove(session, [(held.uri if held else uri, None)])
    _note(session, peer)


def standing(session: Session, group_id: str, name: str) -> Standing:
    """Return how a pushed listing stands; NotFoundError where none of the name was taken."""
    row = _named(session, group_id, name)
    query = select(Listing, shown().label("shown")).where(Listing.uri == (row.uri if row else ""))
    found = session.execute(query).first()
    if row is None or found is None:
        raise NotFoundError("no listing of this name was taken")
    listing: Listing = found.Listing
    return Standing(
        name=name,
        uri=row.uri,
        listing_id=listing.id,
        is_shown=bool(found.shown),
        reason=listing.withdrawn_reason,
        pushed_at=row.pushed_at,
        updated=listing.updated,
    )


def _named(session: Session, group_id: str, name: str) -> PushedListing | None:
    query = select(PushedListing).where(
        PushedListing.group_id == group_id, PushedListing.name == name
    )
    return session.scalar(query)


def _clashes(session: Session, peer: Peer, pushed: Sequence[Pushed]) -> dict[int, InvalidError]:
    """Return which listings may not be taken beside what is held and each other, and why."""
    names = [one.name for one in pushed]
    uris = [one.found.draft.uri if one.found else "" for one in pushed]
    named = {
        row.name: row.uri
        for row in session.scalars(
            select(PushedListing).where(
                PushedListing.group_id == peer.group_id, PushedListing.name.in_(names)
            )
        )
    }
    called = dict(
        session.execute(
            select(PushedListing.uri, PushedListing.name).where(PushedListing.uri.in_(uris))
        ).all()
    )
    owners = dict(
        session.execute(select(Listing.uri, Listing.group_id).where(Listing.uri.in_(uris))).all()
    )
    errors: dict[int, InvalidError] = {}
    for place, (one, uri) in enumerate(zip(pushed, uris, strict=True)):
        if one.found is None:
            continue
        if one.name in names[:place]:
            errors[place] = InvalidError("id", "must be there once")
        elif owners.get(uri) not in {peer.group_id, None}:
            errors[place] = InvalidError("uri", "must not be that of another hub's listing")
        elif named.get(one.name, uri) != uri or called.get(uri, one.name) != one.name:
            errors[place] = InvalidError("uri", "must stay that of the one listing it was given to")
        called.setdefault(uri, one.name)
    return errors


def _name(session: Session, peer: Peer, pushed: Sequence[Pushed]) -> None:
    """Remember by which names a hub calls its listings."""
    query = select(PushedListing).where(
        PushedListing.group_id == peer.group_id,
        PushedListing.name.in_([one.name for one in pushed]),
    )
    rows = {row.name: row for row in session.scalars(query)}
    moment = now(session)
    for one in pushed:
        if one.found is None:
            continue
        row = rows.get(one.name) or PushedListing(group_id=peer.group_id, name=one.name)
        row.uri, row.pushed_at = one.found.draft.uri, moment
        session.add(row)
    session.flush()


def _note(session: Session, peer: Peer) -> None:
    """Note that the hub is live; when its actor is looked at next stays as it is."""
    peers.move(session, peer.id, PeerState.CONSENTED, PeerState.LIVE)
    if peer.due_at is None:
        peers.schedule(session, peer.id, now(session) + peers.LOOK_AGAIN)


def _told(
    session: Session,
    peer: Peer,
    pushed: Pushed,
    outcome: Outcome | None,
    error: InvalidError | None,
) -> Taken:
    uri = pushed.found.draft.uri if pushed.found else None
    if error is not None:
        return Taken(pushed.name, uri, Outcome.REFUSED, error.field, error.rule)
    if outcome is None:  # it was put aside, and the reason with it
        query = select(PutAside.reason).where(PutAside.peer_id == peer.id, PutAside.uri == uri)
        field, _, rule = (session.scalar(query) or "listing: cannot be read").partition(": ")
        return Taken(pushed.name, uri, Outcome.REFUSED, field, rule)
    if outcome is Outcome.REFUSED:
        said_no = pushed.found is not None and pushed.found.searchable_by == ()
        return Taken(pushed.name, uri, outcome, reason=_UNSEARCHABLE if said_no else _UNWANTED)
    return Taken(pushed.name, uri, outcome, reason=_OLDER if outcome is Outcome.OLDER else None)
