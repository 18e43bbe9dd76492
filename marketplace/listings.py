"""Listings: what is kept of each offer and want, in which order it changed, and what is seen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    or_,
    select,
    text,
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
_NEVER_SHOWN: Final = text("withdrawn_at IS NOT NULL AND published = confirmed_at")


class WithdrawnReason(StrEnum):
    """Why a listing is no longer shown."""

    DELETED = "deleted"
    CONSENT = "consent"
    HUB_GONE = "hub-gone"
    MISSING = "missing"  # not to be had at its origin any more, which does not say "deleted"
    DUPLICATE = "duplicate"  # shown as another listing, which is the same thing
    OPERATOR = "operator"  # its hub is suspended here, or its domain blocked


COMES_BACK: Final = frozenset({WithdrawnReason.OPERATOR, WithdrawnReason.HUB_GONE})
"""Withdrawn with its whole hub, and asked for anew with it: whose word it stood on is kept."""


class Outcome(StrEnum):
    """What became of a draft."""

    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    OLDER = "older"
    DUPLICATE = "duplicate"
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
    url: Mapped[str | None] = mapped_column(String(2048), index=True)
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
        Index(
            "ix_listings_never_shown",
            "confirmed_at",
            sqlite_where=_NEVER_SHOWN,
            postgresql_where=_NEVER_SHOWN,
        ),
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


@dataclass(frozen=True)
class Version:
    """A draft that came in, on whose word it may be shown, and whose group it is of."""

    draft: Draft
    consent: Consent
    consented_by: str
    group_id: str | None = None


def upsert(
    session: Session,
    draft: Draft,
    consent: Consent,
    *,
    consented_by: str,
    group_id: str | None = None,
) -> Outcome:
    """Store a draft as the listing of its URI, as `upsert_many` does."""
    return upsert_many(session, [Version(draft, consent, consented_by, group_id)])[0]


def upsert_many(session: Session, versions: Sequence[Version]) -> list[Outcome]:
    """Store drafts, one after the other, as the listings of their URIs; return what became of each.

    Each that changes something gets the next revision. A version's time is the origin's `updated`,
    else `published`, else arrival, and never later than arrival; an older version, be it a refusal,
    changes nothing. A refused consent withdraws what is there. Raises InvalidError and
    TooLargeError as `drafts.check` does, before anything is stored.
    """
    checked = [replace(version, draft=check(version.draft)) for version in versions]
    held = _held(session, {version.draft.uri for version in checked})
    group_ids = {version.group_id for version in checked} - {None}
    groups = {
        group.id: group for group in session.scalars(select(Group).where(Group.id.in_(group_ids)))
    }
    changes = _Changes(held, now(session))
    with session.no_autoflush:
        outcomes = [
            changes.take(version, groups.get(version.group_id or "")) for version in checked
        ]
        changes.store(session)
    return outcomes


def withdraw(
    session: Session,
    uri: str,
    reason: WithdrawnReason,
    *,
    deleted_at: datetime | None = None,
) -> bool:
    """Withdraw the listing of `uri`, as `withdraw_many` does; return whether anything changed."""
    return withdraw_many(session, {uri: deleted_at}, reason) > 0


def withdraw_many(
    session: Session, deleted_at: Mapping[str, datetime | None], reason: WithdrawnReason
) -> int:
    """Empty the listings of the URIs and keep their tombstones; return how many changed.

    A Delete that comes before its Create is remembered: an unknown URI gets a tombstone too, with
    the moment that is told. For the other reasons an unknown URI needs none, since each arrival
    decides them anew.
    """
    if not deleted_at:
        return 0
    changes = _Changes(_held(session, deleted_at), now(session))
    with session.no_autoflush:
        withdrawn = [changes.withdraw(uri, reason, at) for uri, at in deleted_at.items()]
        changes.store(session)
    return sum(withdrawn)


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


def _held(session: Session, uris: Iterable[str]) -> dict[str, Listing]:
    """Lock the listings of URIs to the commit, in one order; return those that there are."""
    query = select(Listing).where(Listing.uri.in_(set(uris))).order_by(Listing.uri)
    return {row.uri: row for row in session.scalars(query.with_for_update())}


class _Changes:
    """Changes to listings, decided one after the other and then stored at once.

    `held` has the listings by URI, as they are and then as they become.
    """

    def __init__(self, held: dict[str, Listing], arrival: datetime) -> None:
        self._held = held
        self._arrival = arrival
        self._new: list[Listing] = []
        self._numbered: list[Listing] = []  # in the order of their changes; the last one counts

    def take(self, version: Version, group: Group | None) -> Outcome:
        """Take a version of a listing, unless one that is held is newer."""
        draft, row = version.draft, self._held.get(version.draft.uri)
        moment = min(draft.updated or draft.published or self._arrival, self._arrival)
        if row is not None and _is_older(row, draft, moment):
            return Outcome.OLDER
        if not version.consent.allowed:
            self.withdraw(draft.uri, WithdrawnReason.CONSENT, None)
            return Outcome.REFUSED
        published = draft.published or (row.published if row else self._arrival)
        fresh = {
            **_columns(draft, group),
            "published": min(published, self._arrival),
            "consent_basis": version.consent.basis,
            "consented_by": version.consented_by,
            "withdrawn_at": None,
            "withdrawn_reason": None,
        }
        if row is not None:
            return self._overwrite(row, fresh, moment)
        self._add(
            Listing(
                **fresh,
                id=listing_id(draft.uri),
                uri=draft.uri,
                updated=moment,
                confirmed_at=self._arrival,
                consent_at=self._arrival,
            )
        )
        return Outcome.INSERTED

    def withdraw(self, uri: str, reason: WithdrawnReason, deleted_at: datetime | None) -> bool:
        """Empty a listing; return whether that changes anything."""
        row, moment = self._held.get(uri), min(deleted_at or self._arrival, self._arrival)
        if row is None and reason is not WithdrawnReason.DELETED:
            return False
        if row is not None and row.withdrawn_at is not None:
            if row.withdrawn_reason is reason or reason is not WithdrawnReason.DELETED:
                return False
            row.withdrawn_reason = reason  # already emptied, but from now on for good
            row.consent_basis = None
            row.withdrawn_at = moment
            return True
        if row is None:
            row = Listing(
                id=listing_id(uri), uri=uri, type=ListingType.OFFER, published=self._arrival
            )
            self._add(row)
        else:
            self._numbered.append(row)
        basis = row.consent_basis
        _empty(row)
        if reason in COMES_BACK:
            row.consent_basis = basis
        row.updated = row.confirmed_at = self._arrival
        row.withdrawn_at, row.withdrawn_reason = moment, reason
        return True

    def store(self, session: Session) -> None:
        """Write the changes, each under its revision."""
        if self._numbered:
            first = draw(session, COUNTER, len(self._numbered))
            for revision, row in enumerate(self._numbered, start=first):
                row.revision = revision
        session.add_all(self._new)
        session.flush()

    def _add(self, row: Listing) -> None:
        self._held[row.uri] = row
        self._new.append(row)
        self._numbered.append(row)

    def _overwrite(self, row: Listing, fresh: dict[str, Any], moment: datetime) -> Outcome:
        changed = {name for name, value in fresh.items() if getattr(row, name) != value}
        if not changed and self._arrival - row.confirmed_at < CONFIRM_AGAIN:
            row.updated = max(row.updated, moment)  # no index holds it: no new revision
            return Outcome.UNCHANGED
        if {"consent_basis", "consented_by"} & changed:
            row.consent_at = self._arrival
        for name in changed:
            setattr(row, name, fresh[name])
        row.updated, row.confirmed_at = moment, self._arrival
        self._numbered.append(row)
        return Outcome.UPDATED if changed else Outcome.UNCHANGED


def _is_older(row: Listing, draft: Draft, version: datetime) -> bool:
    if row.withdrawn_reason is WithdrawnReason.DELETED and row.withdrawn_at is not None:
        # Only a version that its origin dates after the deletion brings a listing back.
        dated = draft.updated or draft.published
        return dated is None or version <= row.withdrawn_at
    return row.withdrawn_at is None and version < row.updated


def _columns(draft: Draft, group: Group | None) -> dict[str, Any]:
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
