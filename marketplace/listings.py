"""Listings: what is kept of each offer and want, in which order it changed, and what is seen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, draw, enum_column, now
from commons.groups import Group
from marketplace.categories import readable
from marketplace.consent import Consent, ConsentBasis
from marketplace.drafts import Draft, ListingType, check, listing_id
from marketplace.places import Precision, blur

COUNTER: Final = "listing"
CONFIRM_AGAIN: Final = timedelta(days=1)


class WithdrawnReason(StrEnum):
    """Why a listing is no longer shown."""

    DELETED = "deleted"
    CONSENT = "consent"
    HUB_GONE = "hub-gone"


class Outcome(StrEnum):
    """What became of a draft."""

    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    OLDER = "older"
    REFUSED = "refused"


class Listing(Base):
    """One offer or want from one origin; `lat` and `lon` are blurred, the exact place unknown.

    A withdrawn listing stays, emptied, so that every index passes it and an older version that
    arrives late does not bring it back. `updated` is the time of the version that is held.
    """

    __tablename__ = "listings"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    uri: Mapped[str] = mapped_column(String(2048))
    same_as: Mapped[list[Any]]
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"), index=True)
    author_uri: Mapped[str] = mapped_column(String(2048), index=True)
    type: Mapped[ListingType] = mapped_column(enum_column(ListingType))
    title: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(3))
    categories: Mapped[list[Any]]
    image: Mapped[str | None] = mapped_column(String(2048))
    url: Mapped[str | None] = mapped_column(String(2048))
    place_name: Mapped[str | None] = mapped_column(String(200))
    lat: Mapped[float | None]
    lon: Mapped[float | None]
    precision: Mapped[Precision] = mapped_column(enum_column(Precision))
    remote: Mapped[bool]
    payments: Mapped[list[Any]] = mapped_column(JSON)
    published: Mapped[datetime]
    updated: Mapped[datetime]
    confirmed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    consent_basis: Mapped[ConsentBasis | None] = mapped_column(enum_column(ConsentBasis))
    consent_at: Mapped[datetime | None]
    consented_by: Mapped[str | None] = mapped_column(String(2048))
    revision: Mapped[int]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[WithdrawnReason | None] = mapped_column(enum_column(WithdrawnReason))

    __table_args__ = (
        UniqueConstraint("uri"),
        UniqueConstraint("revision"),
        CheckConstraint("lat BETWEEN -90 AND 90", name="lat_in_range"),
        CheckConstraint("lon BETWEEN -180 AND 180", name="lon_in_range"),
        CheckConstraint("(lat IS NULL) = (lon IS NULL)", name="place_is_whole"),
        CheckConstraint(
            "withdrawn_at IS NULL OR (title = '' AND body = '' AND lat IS NULL)",
            name="withdrawn_is_empty",
        ),
        CheckConstraint(
            "withdrawn_at IS NOT NULL OR (title <> '' AND consent_basis IS NOT NULL)",
            name="shown_has_consent",
        ),
    )


def shown() -> ColumnElement[bool]:
    """Condition of the listings that an index holds: consented to and not withdrawn."""
    return and_(Listing.withdrawn_at.is_(None), Listing.consent_basis.is_not(None))


def visible(moment: datetime) -> ColumnElement[bool]:
    """Condition of the listings that anybody may see at `moment`: shown and not expired.

    An index filters by `expires_at` itself, since nothing changes at the moment of expiry.
    """
    return and_(shown(), or_(Listing.expires_at.is_(None), Listing.expires_at > moment))


def upsert(
    session: Session,
    draft: Draft,
    consent: Consent,
    *,
    consented_by: str,
    group_id: str | None = None,
) -> Outcome:
    """Store a draft as the listing of its URI, under the next revision where it changed.

    A version's time is the origin's `updated`, else `published`, else arrival, and never later
    than arrival; an older version, be it a refusal, changes nothing. A refused consent withdraws
    what is there. Raises InvalidError and TooLargeError as `drafts.check` does.
    """
    draft = check(draft)
    arrival = now(session)
    version = min(draft.updated or draft.published or arrival, arrival)
    row = by_uri(session, draft.uri, lock=True)
    if row is not None and _is_older(row, draft, version):
        return Outcome.OLDER
    if not consent.allowed:
        withdraw(session, draft.uri, WithdrawnReason.CONSENT)
        return Outcome.REFUSED
    fresh = {
        **_columns(session, draft, group_id),
        "published": min(draft.published or (row.published if row else arrival), arrival),
        "consent_basis": consent.basis,
        "consented_by": consented_by,
        "withdrawn_at": None,
        "withdrawn_reason": None,
    }
    if row is None:
        session.add(
            Listing(
                **fresh,
                id=listing_id(draft.uri),
                uri=draft.uri,
                updated=version,
                confirmed_at=arrival,
                consent_at=arrival,
                revision=draw(session, COUNTER),
            )
        )
        session.flush()
        return Outcome.INSERTED
    return _overwrite(session, row, fresh, version, arrival)


def withdraw(
    session: Session,
    uri: str,
    reason: WithdrawnReason,
    *,
    deleted_at: datetime | None = None,
) -> bool:
    """Empty the listing of `uri` and keep its tombstone; return whether anything changed.

    A Delete that comes before its Create is remembered: an unknown URI gets a tombstone too.
    For the other reasons an unknown URI needs none, since each arrival decides them anew.
    """
    moment = now(session)
    row = by_uri(session, uri, lock=True)
    if row is None and reason is not WithdrawnReason.DELETED:
        return False
    if row is not None and row.withdrawn_at is not None:
        if row.withdrawn_reason is reason or reason is not WithdrawnReason.DELETED:
            return False
        row.withdrawn_reason = reason  # already emptied, but from now on for good
        row.withdrawn_at = min(deleted_at or moment, moment)
        return True
    if row is None:
        row = Listing(id=listing_id(uri), uri=uri, type=ListingType.OFFER, published=moment)
        session.add(row)
    with session.no_autoflush:
        _empty(row)
        row.updated = row.confirmed_at = moment
        row.withdrawn_at = min(deleted_at or moment, moment)
        row.withdrawn_reason = reason
        row.revision = draw(session, COUNTER)
    session.flush()
    return True


def by_uri(session: Session, uri: str, *, lock: bool = False) -> Listing | None:
    """Return the listing of an origin's URI, tombstones included; `lock` it to the commit."""
    query = select(Listing).where(Listing.uri == uri)
    return session.scalar(query.with_for_update() if lock else query)


def by_id(session: Session, short_id: str) -> Listing | None:
    """Return the listing of a local id, if anybody may see it now."""
    return session.scalar(select(Listing).where(Listing.id == short_id, visible(now(session))))


def changes_since(session: Session, revision: int, limit: int) -> Sequence[tuple[Listing, bool]]:
    """Return (listing, whether an index holds it) after `revision`, in the order of revisions."""
    query = (
        select(Listing, shown().label("shown"))
        .where(Listing.revision > revision)
        .order_by(Listing.revision)
        .limit(limit)
    )
    return [(row.Listing, bool(row.shown)) for row in session.execute(query)]


def last_revision(session: Session) -> int:
    """Return the highest revision of any listing; 0 where there is none."""
    return session.scalar(select(func.max(Listing.revision))) or 0


def oldest_change_after(session: Session, revision: int) -> datetime | None:
    """Return when the first change after `revision` was made; None where there is none."""
    query = select(Listing.confirmed_at).where(Listing.revision > revision)
    return session.scalar(query.order_by(Listing.revision).limit(1))


def _is_older(row: Listing, draft: Draft, version: datetime) -> bool:
    if row.withdrawn_reason is WithdrawnReason.DELETED and row.withdrawn_at is not None:
        # Only a version that its origin dates after the deletion brings a listing back.
        dated = draft.updated or draft.published
        return dated is None or version <= row.withdrawn_at
    return row.withdrawn_at is None and version < row.updated


def _overwrite(
    session: Session, row: Listing, fresh: dict[str, Any], version: datetime, arrival: datetime
) -> Outcome:
    changed = {name for name, value in fresh.items() if getattr(row, name) != value}
    if not changed and arrival - row.confirmed_at < CONFIRM_AGAIN:
        row.updated = max(row.updated, version)  # no index holds it: no new revision
        return Outcome.UNCHANGED
    if {"consent_basis", "consented_by"} & changed:
        row.consent_at = arrival
    with session.no_autoflush:
        for name in changed:
            setattr(row, name, fresh[name])
        row.updated = version
        row.confirmed_at = arrival
        row.revision = draw(session, COUNTER)
    session.flush()
    return Outcome.UPDATED if changed else Outcome.UNCHANGED


def _columns(session: Session, draft: Draft, group_id: str | None) -> dict[str, Any]:
    group = session.get(Group, group_id) if group_id else None
    place = _place(draft, group)
    return {
        "same_as": list(draft.same_as),
        "group_id": group.id if group else None,
        "author_uri": draft.author_uri,
        "type": draft.type,
        "title": draft.title,
        "body": draft.body,
        "language": draft.language,
        "categories": readable(draft.categories, draft.language),
        "image": draft.image,
        "url": draft.url,
        "place_name": draft.place_name,
        "lat": place[0] if place else None,
        "lon": place[1] if place else None,
        "precision": draft.precision,
        "remote": draft.remote,
        "payments": [payment.as_json() for payment in draft.payments],
        "expires_at": draft.expires_at,
    }


def _place(draft: Draft, group: Group | None) -> tuple[float, float] | None:
    lat, lon = (group.lat, group.lon) if group else (None, None)
    if draft.precision is Precision.GROUP and lat is not None and lon is not None:
        return lat, lon
    if draft.lat is None or draft.lon is None:
        return None
    return blur(draft.lat, draft.lon, draft.precision)


def _empty(row: Listing) -> None:
    for name in ("title", "body", "author_uri"):
        setattr(row, name, "")
    for name in ("same_as", "categories", "payments"):
        setattr(row, name, [])
    for name in ("language", "image", "url", "place_name", "lat", "lon", "expires_at"):
        setattr(row, name, None)
    for name in ("consent_basis", "consent_at", "consented_by"):
        setattr(row, name, None)
    row.precision = Precision.NONE
    row.remote = False
