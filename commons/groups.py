"""Groups, their currencies, their hubs and the keys that the hubs sign with."""

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column
from commons.errors import NotFoundError
from commons.money import CurrencyKind

GROUP_ID_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"


class HubState(StrEnum):
    """Where a hub stands with this service."""

    REGISTERED = "registered"
    ADMITTED = "admitted"
    SUSPENDED = "suspended"


TRANSITIONS: Final[dict[HubState, frozenset[HubState]]] = {
    HubState.REGISTERED: frozenset({HubState.ADMITTED, HubState.SUSPENDED}),
    HubState.ADMITTED: frozenset({HubState.SUSPENDED}),
    HubState.SUSPENDED: frozenset({HubState.REGISTERED, HubState.ADMITTED}),
}


class KeyAlgorithm(StrEnum):
    """How a key signs."""

    ED25519 = "ed25519"
    RSA = "rsa-v1_5-sha256"


class Currency(Base):
    """A unit with a URI, a code, a scale (decimal places) and a kind."""

    __tablename__ = "currencies"

    id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(String(2048))
    code: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    scale: Mapped[int]
    kind: Mapped[CurrencyKind] = mapped_column(enum_column(CurrencyKind))

    __table_args__ = (
        UniqueConstraint("uri"),
        CheckConstraint("scale BETWEEN 0 AND 8", name="scale_in_range"),
    )


class Group(Base):
    """A local currency community; its URI is that of the actor that acts for it.

    `currency_id` is empty where it takes part in the marketplace only and has named none.
    """

    __tablename__ = "groups"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    uri: Mapped[str] = mapped_column(String(2048))
    name: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str] = mapped_column(String(2000), default="")
    currency_id: Mapped[int | None] = mapped_column(ForeignKey("currencies.id"))
    place_name: Mapped[str | None] = mapped_column(String(200))
    lat: Mapped[float | None]
    lon: Mapped[float | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("uri"),
        CheckConstraint("lat BETWEEN -90 AND 90", name="lat_in_range"),
        CheckConstraint("lon BETWEEN -180 AND 180", name="lon_in_range"),
    )


class Hub(Base):
    """The server that publishes a group's listings and posts its payments.

    `rate_wanted` is the fraction that the hub asked for at registration, in clearing units per
    unit of its currency; it binds nobody until the operator agrees, and is empty where the hub
    takes part in the marketplace only. `suspended_reason` is the operator's, while it is suspended.
    """

    __tablename__ = "hubs"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    state: Mapped[HubState] = mapped_column(enum_column(HubState))
    inbox_uri: Mapped[str] = mapped_column(String(2048))
    outbox_uri: Mapped[str | None] = mapped_column(String(2048))
    rate_wanted: Mapped[str | None] = mapped_column(String(32))
    registered_at: Mapped[datetime]
    admitted_at: Mapped[datetime | None]
    suspended_reason: Mapped[str | None] = mapped_column(String(1000))


class HubKey(Base):
    """A public key that a hub signs with; two may live at once, for rotation.

    `confirmed_at` is empty while a key that an admitted hub's actor names waits for the operator:
    it signs no call to clearing until then. `revoked_by` is who revoked it, `actor` where the
    actor no longer names it; a key that somebody revoked never lives again.
    """

    __tablename__ = "hub_keys"

    key_id: Mapped[str] = mapped_column(String(2048), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    algorithm: Mapped[KeyAlgorithm] = mapped_column(enum_column(KeyAlgorithm))
    public_key_pem: Mapped[str] = mapped_column(String(4096))
    added_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(60))


class Nonce(Base):
    """A nonce that was used with a key, kept as long as a signature with it could be valid."""

    __tablename__ = "nonces"

    key_id: Mapped[str] = mapped_column(String(2048), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(128), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


def require_group(session: Session, group_id: str) -> Group:
    """Return a group, or raise NotFoundError."""
    group = session.get(Group, group_id)
    if group is None:
        raise NotFoundError(f"there is no group {group_id!r}")
    return group
