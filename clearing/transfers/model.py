"""The table of transfers, their states, and a transfer as a transaction holds it in memory."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
)
from sqlalchemy.orm import Mapped, mapped_column

from clearing import chain
from commons.database import Base, enum_column
from commons.errors import NotFoundError

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


class _Sides(Protocol):
    id: UUID
    payer_group: str
    payee_group: str

    def group_of(self, party: Party) -> str:
        """Return the group on one side."""
        ...


class Parties:
    """Whose transfer it is."""

    __slots__ = ()

    def group_of(self: _Sides, party: Party) -> str:
        """Return the group on one side."""
        return self.payer_group if party is Party.PAYER else self.payee_group

    def party_of(self: _Sides, group_id: str) -> Party:
        """Return the side a group is on, or raise NotFoundError: others may not know of it."""
        for party in Party:
            if self.group_of(party) == group_id:
                return party
        raise NotFoundError(f"there is no transfer {self.id}")


class Transfer(Parties, Base):
    """One payment; both rates are frozen in it when it is made.

    `payer_amount` and `payee_amount` are in smallest units of the two groups' currencies,
    `payer_clearing` and `payee_clearing` in smallest clearing units, `levy` what the payer's group
    pays its union besides. `key` keys the digests of names and description; where it was deleted
    to erase them, `kept_digests` are those digests, so that the chains can still be checked.

    `reverses` is the transfer that this one takes back, wholly or in part: payer and payee are
    those of that one, the amounts what is taken back. `reversed_amount` is how much of
    `payee_amount` was taken back so far. `wait`: the payer's hub agrees to wait for room.
    `reserved`: while it is pending it holds room; one that waits for room from the first does not.
    `by_operator`: a reversal that the operator posted.
    """

    __tablename__ = "transfers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(String(40))
    state: Mapped[TransferState] = mapped_column(enum_column(TransferState))
    initiator: Mapped[Party] = mapped_column(enum_column(Party))
    payer_group: Mapped[str] = mapped_column(String(40))
    payee_group: Mapped[str] = mapped_column(String(40))
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
    reserved: Mapped[bool] = mapped_column(default=True)
    by_operator: Mapped[bool] = mapped_column(default=False)
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
        Index(None, "created_at", "id"),
        CheckConstraint("state <> 'queued' OR NOT reserved", name="queued_reserves_nothing"),
        Index(None, "state", "expires_at"),
    )


@dataclass(slots=True)
class HeldTransfer(Parties):
    """A transfer in memory, under the locks of its accounts; the members are its row's."""

    id: UUID
    union_id: str
    state: TransferState
    initiator: Party
    payer_group: str
    payee_group: str
    payer_member: str | None
    payee_member: str | None
    description: str | None
    amount: str
    unit: Unit
    payer_amount: int
    payee_amount: int
    payer_clearing: int
    payee_clearing: int
    payer_rate: str
    payee_rate: str
    key: bytes | None
    request_digest: str
    created_at: datetime
    expires_at: datetime
    levy: int = 0
    reverses: UUID | None = None
    reversed_amount: int = 0
    wait: bool = False
    reserved: bool = True
    by_operator: bool = False
    value_date: date | None = None
    kept_digests: dict[str, Any] | None = None
    queued_at: datetime | None = None
    ended_at: datetime | None = None
    reason_code: ReasonCode | None = None
    reason: str | None = None
    available: int | None = None


AnyTransfer = Transfer | HeldTransfer
TABLE: Final[Table] = Base.metadata.tables[Transfer.__tablename__]


@dataclass(slots=True)
class Reservation:
    """What a pending transfer reserves, in smallest clearing units.

    `out` of the debtor's credit, `into` of the creditor's surplus, `pair` of how much the debtor
    may owe the creditor.
    """

    debtor: str
    creditor: str
    out: int
    into: int
    pair: int


def reservation(t: AnyTransfer) -> Reservation:
    """Return what a transfer reserves while it is pending and `reserved`.

    A levy is paid besides by the payer's group, and a reversal goes the other way.
    """
    if t.reverses is None:
        out, into = t.payer_clearing + t.levy, t.payee_clearing
        return Reservation(t.payer_group, t.payee_group, out, into, t.payee_clearing)
    out, into = t.payee_clearing, t.payer_clearing + t.levy
    return Reservation(t.payee_group, t.payer_group, out, into, t.payee_clearing)
