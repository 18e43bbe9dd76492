"""Adjustments as they are kept, what hubs see of them, and what the chains say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    and_,
    exists,
    or_,
    select,
)
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from clearing import chain
from clearing.accounts import Account
from clearing.ledger import ChainRow, JournalKind
from clearing.pairs import Pair, pair_of
from commons import audit_log, database
from commons.database import Base, enum_column
from commons.errors import NotFoundError
from commons.money import CLEARING_SCALE, format_amount

MAX_NOTE: Final = 500
MOST_LISTED: Final = 500


class AdjustmentKind(StrEnum):
    """What is changed.

    `settlement`: the debtor paid the creditor outside. `assignment`: the debtor owes the commons
    and the commons the creditor, instead of one the other. `opening`: the debtor owes it from an
    agreed day on.
    """

    SETTLEMENT = "settlement"
    ASSIGNMENT = "assignment"
    OPENING = "opening"


class AdjustmentState(StrEnum):
    """Where an adjustment stands."""

    PROPOSED = "proposed"
    POSTED = "posted"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TRANSITIONS: Final[dict[AdjustmentState, frozenset[AdjustmentState]]] = {
    AdjustmentState.PROPOSED: frozenset(set(AdjustmentState) - {AdjustmentState.PROPOSED}),
}


class Adjustment(Base):
    """A change of what a debtor owes a creditor besides payments, which both sides agree to.

    `amount` is in smallest clearing units, `proposed_by` a group, empty for the operator.
    `value_date` is the day it counts for where that is not the day it is posted. `key` keys the
    digests of the note and of the request; where it was deleted to erase the note,
    `kept_digests` is the note's, so that the chains can still be checked.
    """

    __tablename__ = "adjustments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    kind: Mapped[AdjustmentKind] = mapped_column(enum_column(AdjustmentKind))
    state: Mapped[AdjustmentState] = mapped_column(enum_column(AdjustmentState))
    debtor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    creditor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    proposed_by: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    amount: Mapped[int]
    value_date: Mapped[date | None]
    note: Mapped[str | None] = mapped_column(String(MAX_NOTE))
    debtor_agreed_at: Mapped[datetime | None]
    creditor_agreed_at: Mapped[datetime | None]
    key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    kept_digests: Mapped[dict[str, Any] | None]
    request_digest: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("debtor_id <> creditor_id", name="between_two_accounts"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("(state = 'proposed') = (ended_at IS NULL)", name="ended_unless_proposed"),
        CheckConstraint(
            "state <> 'posted' OR (debtor_agreed_at IS NOT NULL"
            " AND creditor_agreed_at IS NOT NULL)",
            name="posted_if_both_agreed",
        ),
        Index(None, "debtor_id"),
        Index(None, "creditor_id"),
        Index(None, "state", "expires_at"),
    )


@dataclass(frozen=True)
class AdjustmentView:
    """An adjustment as both hubs see it; the amount in clearing units, a note erased is empty.

    `agreed` names the accounts whose side has agreed, `waits_for` those that have to yet while it
    is proposed; `proposed_by` is a group or the operator.
    """

    id: UUID
    kind: AdjustmentKind
    state: AdjustmentState
    union: str
    debtor: str
    creditor: str
    amount: str
    value_date: date | None
    note: str
    proposed_by: str
    agreed: Sequence[str]
    waits_for: Sequence[str]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None


def view(adjustment: Adjustment, pair: Pair) -> AdjustmentView:
    """Return an adjustment as both hubs see it."""
    a = adjustment
    sides = (
        (pair.debtor.name, a.debtor_agreed_at),
        (pair.creditor.name, a.creditor_agreed_at),
    )
    return AdjustmentView(
        id=a.id,
        kind=a.kind,
        state=a.state,
        union=a.union_id,
        debtor=pair.debtor.name,
        creditor=pair.creditor.name,
        amount=format_amount(a.amount, CLEARING_SCALE),
        value_date=a.value_date,
        note=a.note or "",
        proposed_by=a.proposed_by or "operator",
        agreed=[name for name, agreed_at in sides if agreed_at is not None],
        waits_for=[name for name, agreed_at in sides if agreed_at is None and a.ended_at is None],
        created_at=a.created_at,
        expires_at=a.expires_at,
        ended_at=a.ended_at,
    )


def note_digests(adjustment: Adjustment) -> dict[str, str]:
    """Return the keyed digest that stands for the note, kept where the note was erased."""
    if adjustment.key is None:
        return dict(adjustment.kept_digests or {})
    return {"note": chain.keyed_digest(adjustment.key, "note", adjustment.note or "")}


def has_begun(session: Session, pair: Pair) -> bool:
    """Tell whether one of the two accounts has entries of anything but opening positions."""
    others = ChainRow.account_id.in_(pair.key), ChainRow.kind != JournalKind.OPENING
    return bool(session.scalar(select(exists().where(*others))))


def erase_note(session: Session, adjustment_id: UUID) -> Adjustment:
    """Erase a note and the key of its digest; what the chains say of it stays checkable.

    Said again it changes nothing. Raises NotFoundError where there is no such adjustment.
    """
    adjustment = session.get(Adjustment, adjustment_id, with_for_update=True)
    if adjustment is None:
        raise NotFoundError(f"there is no adjustment {adjustment_id}")
    if adjustment.key is not None:
        adjustment.kept_digests = note_digests(adjustment)
        adjustment.key = adjustment.note = None
        session.flush()
        audit_log.record(session, "operator", "note-erased", str(adjustment_id))
    return adjustment


def content(adjustment: Adjustment, pair: Pair) -> dict[str, str]:
    """Return what of an adjustment the chains of its accounts vouch for, all as strings.

    `value_date` is in it only where one was given. The note enters only as a keyed digest.
    """
    a = adjustment
    told = {
        "adjustment": str(a.id),
        "kind": str(a.kind),
        "union": a.union_id,
        "debtor": pair.debtor.name,
        "creditor": pair.creditor.name,
        "amount": str(a.amount),
        "proposed_by": a.proposed_by or "",
        "created": chain.time_text(a.created_at),
        "expires": chain.time_text(a.expires_at),
        **note_digests(a),
    }
    if a.value_date is not None:
        told["value_date"] = a.value_date.isoformat()
    return told


def content_digest(adjustment: Adjustment, pair: Pair) -> str:
    """Return the digest that stands for an adjustment in the chains of its accounts."""
    return chain.digest(content(adjustment, pair))


def read(session: Session, adjustment_id: UUID, caller: str | None) -> tuple[Adjustment, Pair]:
    """Return an adjustment with its accounts, or NotFoundError to a hub that has no side in it."""
    adjustment = session.get(Adjustment, adjustment_id)
    if adjustment is None:
        raise NotFoundError(f"there is no adjustment {adjustment_id}")
    return adjustment, pair_of(session, adjustment.debtor_id, adjustment.creditor_id, caller)


def find(session: Session, adjustment_id: UUID, caller: str | None = None) -> AdjustmentView:
    """Return an adjustment to one of its two hubs or the operator (None)."""
    return view(*read(session, adjustment_id, caller))


def search(
    session: Session, caller: str | None = None, state: AdjustmentState | None = None
) -> list[AdjustmentView]:
    """Return the newest adjustments, 500 at most; only those of group `caller` if given."""
    debtor, creditor = aliased(Account), aliased(Account)
    query = (
        select(Adjustment, debtor, creditor)
        .join(debtor, debtor.id == Adjustment.debtor_id)
        .join(creditor, creditor.id == Adjustment.creditor_id)
        .order_by(Adjustment.created_at.desc(), Adjustment.id)
        .limit(MOST_LISTED)
    )
    if caller is not None:
        query = query.where(or_(debtor.group_id == caller, creditor.group_id == caller))
    if state is not None:
        query = query.where(Adjustment.state == state)
    return [view(one, Pair(*sides)) for one, *sides in session.execute(query)]


def is_any_due(session: Session) -> bool:
    """Tell whether a proposal is past its time."""
    due = exists().where(open_until(database.now(session)))
    return bool(session.scalar(select(due)))


def open_until(moment: datetime) -> ColumnElement[bool]:
    """Return the condition of a proposal that is past its time."""
    return and_(Adjustment.state == AdjustmentState.PROPOSED, Adjustment.expires_at <= moment)
