"""Disputes: what two groups disagree about is kept out of rounds until it is lifted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Uuid,
    column,
    func,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from clearing import events
from clearing.accounts import Account
from clearing.events import EventKind, Notice
from clearing.ledger import Book
from clearing.pairs import Pair, find_pair, pair_of
from commons import audit_log, database
from commons.database import Base, enum_column
from commons.errors import ConflictError, ForbiddenError, NotFoundError
from commons.money import CLEARING_SCALE, format_amount, parse_amount

_ROUNDS: Final = table("rounds", column("id", Uuid()), column("state", String()))
_AMOUNTS: Final = [column(name, BigInteger()) for name in ("amount", "released")]
_ENDS: Final = [column(name, BigInteger()) for name in ("debtor_id", "creditor_id")]
_SET_OFFS: Final = table("set_offs", column("round_id", Uuid()), *_ENDS, *_AMOUNTS)
"""Tables of rounds by their names alone: rounds read what is disputed."""

MAX_REASON: Final = 500
MOST_LISTED: Final = 500


class DisputeState(StrEnum):
    """Where a dispute stands."""

    STANDING = "standing"
    LIFTED = "lifted"


TRANSITIONS: Final[dict[DisputeState, frozenset[DisputeState]]] = {
    DisputeState.STANDING: frozenset({DisputeState.LIFTED}),
}


class Dispute(Base):
    """An amount of what the debtor owes the creditor that the hub of `marked_by` disputes.

    In smallest clearing units. While it stands rounds leave that much of the obligation alone;
    payments go on.
    """

    __tablename__ = "disputes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    state: Mapped[DisputeState] = mapped_column(enum_column(DisputeState))
    debtor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    creditor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    marked_by: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    amount: Mapped[int]
    reason: Mapped[str] = mapped_column(String(MAX_REASON))
    marked_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("debtor_id <> creditor_id", name="between_two_accounts"),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint(
            "(state = 'standing') = (lifted_at IS NULL)", name="lifted_unless_standing"
        ),
        Index(None, "debtor_id", "creditor_id"),
        Index(None, "creditor_id"),
    )


@dataclass(frozen=True)
class Mark:
    """A hub's call to dispute an amount; the amount as the hub sent it, in clearing units."""

    id: UUID
    caller: str
    debtor: str
    creditor: str
    amount: str
    reason: str
    union: str | None = None


@dataclass(frozen=True)
class DisputeView:
    """A dispute as both hubs see it; `marked_by` is a group, the amount in clearing units."""

    id: UUID
    state: DisputeState
    union: str
    debtor: str
    creditor: str
    amount: str
    reason: str
    marked_by: str
    marked_at: datetime
    lifted_at: datetime | None


def view(dispute: Dispute, pair: Pair) -> DisputeView:
    """Return a dispute as both hubs see it."""
    return DisputeView(
        id=dispute.id,
        state=dispute.state,
        union=dispute.union_id,
        debtor=pair.debtor.name,
        creditor=pair.creditor.name,
        amount=format_amount(dispute.amount, CLEARING_SCALE),
        reason=dispute.reason,
        marked_by=dispute.marked_by,
        marked_at=dispute.marked_at,
        lifted_at=dispute.lifted_at,
    )


def mark(session: Session, call: Mark) -> tuple[DisputeView, bool]:
    """Dispute an amount; return the dispute and whether it is new.

    Said again it is answered as it stands now; with another body it is a ConflictError, and so is
    more than what is owed, less what is disputed already or taken by a proposed round.
    """
    amount = parse_amount(call.amount, CLEARING_SCALE)
    pair = find_pair(session, call.caller, call.debtor, call.creditor, call.union)
    book = Book.lock(session, [pair.key])
    existing = session.get(Dispute, call.id, populate_existing=True)
    if existing is not None:
        return _repeated(existing, pair, call, amount), False
    room = free_of_rounds(book, *pair.key)
    if amount > room:
        free = format_amount(max(0, room), CLEARING_SCALE)
        raise ConflictError(
            f"only {free} clearing units are owed and not yet disputed or taken by a round",
            available=free,
        )
    dispute = Dispute(
        id=call.id,
        union_id=pair.debtor.union_id,
        state=DisputeState.STANDING,
        debtor_id=pair.debtor.id,
        creditor_id=pair.creditor.id,
        marked_by=call.caller,
        amount=amount,
        reason=call.reason,
        marked_at=database.now(session),
    )
    session.add(dispute)
    try:
        session.flush()
    except IntegrityError as error:  # of other accounts, so our locks did not hold it off
        if database.violated(error) != "pk_disputes":
            raise
        raise ConflictError(f"dispute {call.id} exists with another body") from error
    _tell(session, dispute, pair, dispute.marked_at)
    return view(dispute, pair), True


def _repeated(existing: Dispute, pair: Pair, call: Mark, amount: int) -> DisputeView:
    before = (existing.debtor_id, existing.creditor_id, existing.marked_by, existing.amount)
    same = before == (*pair.key, call.caller, amount)
    if not same or existing.reason not in {call.reason, ""}:  # empty where it was erased
        raise ConflictError(f"dispute {call.id} exists with another body")
    return view(existing, pair)


def lift(session: Session, dispute_id: UUID, caller: str | None) -> DisputeView:
    """Lift a dispute as the hub that marked it, or as the operator (None)."""
    dispute, pair = _find(session, dispute_id, caller)
    if caller not in {None, dispute.marked_by}:
        raise ForbiddenError(f"only the hub that marked dispute {dispute_id} may lift it")
    moment = database.now(session)
    lifted = session.scalar(
        update(Dispute)
        .where(Dispute.id == dispute_id, Dispute.state == DisputeState.STANDING)
        .values(state=DisputeState.LIFTED, lifted_at=moment)
        .returning(Dispute)
        .execution_options(populate_existing=True)
    )
    if lifted is not None:
        _tell(session, lifted, pair, moment)
        if caller is None:
            audit_log.record(session, "operator", "dispute-lifted", str(dispute_id))
    return view(dispute, pair)


def erase_reason(session: Session, dispute_id: UUID) -> DisputeView:
    """Erase what a hub wrote of a dispute; raises NotFoundError where there is none."""
    dispute, pair = _find(session, dispute_id, None)
    dispute.reason = ""
    session.flush()
    audit_log.record(session, "operator", "reason-erased", str(dispute_id))
    return view(dispute, pair)


def _tell(session: Session, dispute: Dispute, pair: Pair, moment: datetime) -> None:
    seen = view(dispute, pair)
    data = {
        name: str(value)
        for name, value in asdict(seen).items()
        if name in {"state", "union", "debtor", "creditor", "amount", "marked_by"}
    }
    sides = (pair.debtor.group_id, pair.creditor.group_id)
    kind, subject = EventKind.DISPUTE_CHANGED, str(dispute.id)
    events.record(session, [Notice(one, kind, subject, data) for one in sides if one], moment)


def standing(session: Session, union_id: str) -> dict[tuple[int, int], int]:
    """Return what is disputed now in a union, by debtor's and creditor's account."""
    rows = session.execute(
        select(Dispute.debtor_id, Dispute.creditor_id, func.sum(Dispute.amount))
        .where(Dispute.union_id == union_id, Dispute.state == DisputeState.STANDING)
        .group_by(Dispute.debtor_id, Dispute.creditor_id)
    )
    return {(debtor_id, creditor_id): int(total) for debtor_id, creditor_id, total in rows}


def free_of_rounds(book: Book, debtor_id: int, creditor_id: int) -> int:
    """Return what the debtor owes the creditor, less what is disputed or in a proposed round.

    In a round is what it sets off, and what payments lessen that it releases with that. The locks
    of both are held by `book`. In smallest clearing units; below 0 where payments have brought the
    obligation below what is held.
    """
    disputed = book.session.scalar(
        select(func.sum(Dispute.amount)).where(
            Dispute.debtor_id == debtor_id,
            Dispute.creditor_id == creditor_id,
            Dispute.state == DisputeState.STANDING,
        )
    )
    lessened = book.session.scalar(
        select(-_SET_OFFS.c.released)
        .join(_ROUNDS, _ROUNDS.c.id == _SET_OFFS.c.round_id)
        .where(
            _ROUNDS.c.state == "proposed",
            _SET_OFFS.c.debtor_id == debtor_id,
            _SET_OFFS.c.creditor_id == creditor_id,
            _SET_OFFS.c.amount > 0,
            _SET_OFFS.c.released < 0,
        )
    )
    held = book.position(creditor_id, debtor_id).given + int(disputed or 0) + int(lessened or 0)
    return book.position(debtor_id, creditor_id).obligation - held


def find(session: Session, dispute_id: UUID, caller: str | None = None) -> DisputeView:
    """Return a dispute to one of its two hubs or the operator (None)."""
    return view(*_find(session, dispute_id, caller))


def _find(session: Session, dispute_id: UUID, caller: str | None) -> tuple[Dispute, Pair]:
    dispute = session.get(Dispute, dispute_id)
    if dispute is None:
        raise NotFoundError(f"there is no dispute {dispute_id}")
    return dispute, pair_of(session, dispute.debtor_id, dispute.creditor_id, caller)


def search(
    session: Session, caller: str | None = None, state: DisputeState | None = None
) -> Sequence[DisputeView]:
    """Return the newest disputes, 500 at most; only those of group `caller` if given."""
    debtor, creditor = aliased(Account), aliased(Account)
    query = (
        select(Dispute, debtor, creditor)
        .join(debtor, debtor.id == Dispute.debtor_id)
        .join(creditor, creditor.id == Dispute.creditor_id)
        .order_by(Dispute.marked_at.desc(), Dispute.id)
        .limit(MOST_LISTED)
    )
    if caller is not None:
        query = query.where(or_(debtor.group_id == caller, creditor.group_id == caller))
    if state is not None:
        query = query.where(Dispute.state == state)
    return [view(one, Pair(*sides)) for one, *sides in session.execute(query)]
