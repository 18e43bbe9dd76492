"""Transfers: payments between two groups' members, and what their hubs see of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain
from commons.database import Base, enum_column
from commons.errors import InvalidError, NotFoundError
from commons.groups import Currency, Group
from commons.money import CLEARING_SCALE, format_amount

MAX_DESCRIPTION: Final = 500
MAX_MEMBER: Final = 100
MAX_REASON: Final = 200


class TransferState(StrEnum):
    """Where a transfer stands; `queued` is agreed and waits for room, reserving nothing."""

    REFUSED = "refused"
    PENDING = "pending"
    QUEUED = "queued"
    POSTED = "posted"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TRANSITIONS: Final[dict[TransferState | None, frozenset[TransferState]]] = {
    None: frozenset({TransferState.REFUSED, TransferState.PENDING}),
    TransferState.PENDING: frozenset(
        {
            TransferState.POSTED,
            TransferState.QUEUED,
            TransferState.REJECTED,
            TransferState.CANCELLED,
            TransferState.EXPIRED,
        }
    ),
    TransferState.QUEUED: frozenset(
        {TransferState.POSTED, TransferState.CANCELLED, TransferState.EXPIRED}
    ),
}


class Unit(StrEnum):
    """In whose money an amount is written."""

    PAYER = "payer"
    PAYEE = "payee"
    CLEARING = "clearing"


class Party(StrEnum):
    """A side of a transfer."""

    PAYER = "payer"
    PAYEE = "payee"


class ReasonCode(StrEnum):
    """Why a hub rejects a transfer, for the other hub's software to act on."""

    UNKNOWN_MEMBER = "unknown-member"
    DECLINED = "declined"
    WRONG_AMOUNT = "wrong-amount"
    DUPLICATE = "duplicate"
    MEMBER_LIMIT = "member-limit"
    OTHER = "other"


class Transfer(Base):
    """One payment; both rates are frozen in it when it is made.

    `payer_amount` and `payee_amount` are in smallest units of the two groups' currencies,
    `payer_clearing` and `payee_clearing` in smallest clearing units, `levy` what the payer's group
    pays its union besides. `key` keys the digests of names and description; where it was deleted
    to erase them, `kept_digests` are those digests, so that the chains can still be checked.

    `reverses` is the transfer that this one takes back, wholly or in part: payer and payee are
    those of that one, the amounts what is taken back. `reversed_amount` is how much of
    `payee_amount` was taken back so far. `wait`: the payer's hub agrees to wait for room.
    """

    __tablename__ = "transfers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    state: Mapped[TransferState] = mapped_column(enum_column(TransferState))
    initiator: Mapped[Party] = mapped_column(enum_column(Party))
    payer_group: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    payee_group: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    payer_member: Mapped[str | None] = mapped_column(String(MAX_MEMBER))
    payee_member: Mapped[str | None] = mapped_column(String(MAX_MEMBER))
    description: Mapped[str | None] = mapped_column(String(MAX_DESCRIPTION))
    amount: Mapped[str] = mapped_column(String(40))
    unit: Mapped[Unit] = mapped_column(enum_column(Unit))
    payer_amount: Mapped[int]
    payee_amount: Mapped[int]
    payer_clearing: Mapped[int]
    payee_clearing: Mapped[int]
    payer_rate: Mapped[str] = mapped_column(String(32))
    payee_rate: Mapped[str] = mapped_column(String(32))
    levy: Mapped[int] = mapped_column(default=0)
    reverses: Mapped[UUID | None] = mapped_column(ForeignKey("transfers.id"), index=True)
    reversed_amount: Mapped[int] = mapped_column(default=0)
    wait: Mapped[bool] = mapped_column(default=False)
    value_date: Mapped[date | None]
    key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    kept_digests: Mapped[dict[str, Any] | None]
    request_digest: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    queued_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    reason_code: Mapped[ReasonCode | None] = mapped_column(enum_column(ReasonCode))
    reason: Mapped[str | None] = mapped_column(String(MAX_REASON))
    available: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("payer_group <> payee_group", name="between_two_groups"),
        CheckConstraint("payer_amount > 0", name="payer_amount_positive"),
        CheckConstraint("payee_amount > 0", name="payee_amount_positive"),
        CheckConstraint("payee_clearing > 0", name="payee_clearing_positive"),
        CheckConstraint("payer_clearing >= payee_clearing", name="residue_not_negative"),
        CheckConstraint(
            "(state IN ('pending', 'queued')) = (ended_at IS NULL)", name="ended_unless_open"
        ),
        CheckConstraint("levy >= 0", name="levy_not_negative"),
        CheckConstraint(
            "reversed_amount >= 0 AND reversed_amount <= payee_amount", name="reversed_in_bounds"
        ),
        Index(None, "payer_group", "created_at"),
        Index(None, "payee_group", "created_at"),
        Index(None, "state", "expires_at"),
    )

    def group_of(self, party: Party) -> str:
        """Return the group on one side."""
        return self.payer_group if party is Party.PAYER else self.payee_group

    def party_of(self, group_id: str) -> Party:
        """Return the side a group is on, or raise NotFoundError: others may not know of it."""
        for party in Party:
            if self.group_of(party) == group_id:
                return party
        raise NotFoundError(f"there is no transfer {self.id}")


@dataclass(frozen=True)
class View:
    """A transfer as the two hubs see it; amounts are decimal strings."""

    id: UUID
    state: TransferState
    initiator: Party
    payer: str
    payee: str
    amount: str
    unit: Unit
    description: str
    payer_amount: str
    payer_currency: str
    payee_amount: str
    payee_currency: str
    payer_clearing: str
    payee_clearing: str
    residue: str
    payer_rate: str
    payee_rate: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    reason: str | None


def view(transfer: Transfer, payer_currency: Currency, payee_currency: Currency) -> View:
    """Return a transfer as its two hubs see it; names that were erased are left out."""
    t = transfer
    return View(
        id=t.id,
        state=t.state,
        initiator=t.initiator,
        payer=f"{t.payer_group}/{t.payer_member or ''}",
        payee=f"{t.payee_group}/{t.payee_member or ''}",
        amount=t.amount,
        unit=t.unit,
        description=t.description or "",
        payer_amount=format_amount(t.payer_amount, payer_currency.scale),
        payer_currency=payer_currency.code,
        payee_amount=format_amount(t.payee_amount, payee_currency.scale),
        payee_currency=payee_currency.code,
        payer_clearing=format_amount(t.payer_clearing, CLEARING_SCALE),
        payee_clearing=format_amount(t.payee_clearing, CLEARING_SCALE),
        residue=format_amount(t.payer_clearing - t.payee_clearing, CLEARING_SCALE),
        payer_rate=t.payer_rate,
        payee_rate=t.payee_rate,
        created_at=t.created_at,
        expires_at=t.expires_at,
        ended_at=t.ended_at,
        reason=t.reason,
    )


def content_digest(transfer: Transfer) -> str:
    """Return the digest that stands for a transfer with its rates in the chains of its accounts.

    Names and description enter only as digests under the transfer's own key.
    """
    t = transfer
    if t.key is None:
        raise ValueError(f"the key of transfer {t.id} was deleted")
    return chain.digest(
        {
            "transfer": str(t.id),
            "union": t.union_id,
            "initiator": t.initiator,
            "created": chain.time_text(t.created_at),
            "expires": chain.time_text(t.expires_at),
            "payer": t.payer_group,
            "payee": t.payee_group,
            "payer_member": chain.keyed_digest(t.key, "payer_member", t.payer_member or ""),
            "payee_member": chain.keyed_digest(t.key, "payee_member", t.payee_member or ""),
            "description": chain.keyed_digest(t.key, "description", t.description or ""),
            "amount": t.amount,
            "unit": t.unit,
            "payer_amount": str(t.payer_amount),
            "payee_amount": str(t.payee_amount),
            "payer_clearing": str(t.payer_clearing),
            "payee_clearing": str(t.payee_clearing),
            "payer_rate": t.payer_rate,
            "payee_rate": t.payee_rate,
        }
    )


def find(session: Session, transfer_id: UUID, group_id: str) -> View:
    """Return a transfer to one of its two hubs; anybody else gets NotFoundError."""
    transfer = session.get(Transfer, transfer_id)
    if transfer is None:
        raise NotFoundError(f"there is no transfer {transfer_id}")
    transfer.party_of(group_id)
    return _views(session, [transfer])[0]


def search(
    session: Session,
    group_id: str,
    state: TransferState | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[View], str | None]:
    """Return a page of a group's transfers, newest first, and the cursor of the next page."""
    query = select(Transfer).where(
        or_(Transfer.payer_group == group_id, Transfer.payee_group == group_id)
    )
    if state is not None:
        query = query.where(Transfer.state == state)
    if cursor is not None:
        query = query.where(tuple_(Transfer.created_at, Transfer.id) < _read_cursor(cursor))
    query = query.order_by(Transfer.created_at.desc(), Transfer.id.desc()).limit(limit + 1)
    found = list(session.scalars(query))
    more = _write_cursor(found[limit - 1]) if len(found) > limit else None
    return _views(session, found[:limit]), more


def _views(session: Session, transfers: Sequence[Transfer]) -> list[View]:
    groups = {t.payer_group for t in transfers} | {t.payee_group for t in transfers}
    rows = session.execute(
        select(Group.id, Currency)
        .join(Currency, Currency.id == Group.currency_id)
        .where(Group.id.in_(groups))
    )
    currencies = dict(rows.all())
    return [view(t, currencies[t.payer_group], currencies[t.payee_group]) for t in transfers]


def _write_cursor(last: Transfer) -> str:
    text = f"{chain.time_text(last.created_at)} {last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, _, transfer_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(transfer_id)
    except (ValueError, OverflowError) as error:
        raise InvalidError("cursor", "is none that was given out here") from error
