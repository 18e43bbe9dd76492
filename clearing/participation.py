"""Participation: groups join unions, their accounts are frozen, thawed and closed for good."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from clearing import events
from clearing.accounts import (
    DEFAULT_UNION,
    MAX_REASON,
    TRANSITIONS,
    Account,
    AccountKind,
    AccountState,
    Position,
    account_of,
    find_account,
    lock_accounts,
    make_union,
    open_account,
)
from clearing.adjustments import Adjustment, AdjustmentState
from clearing.events import EventKind, Notice
from clearing.rounds import Round, RoundState, SetOff
from clearing.transfers import Transfer, TransferState
from commons import audit_log, database
from commons.errors import ConflictError, InvalidError
from commons.money import CLEARING_SCALE, format_amount

ACTION = "account-changed"
"""What the audit log calls a change of an account's state; the last one says what it is."""


@dataclass(frozen=True)
class Obstacle:
    """What stands in the way of closing an account, and what to do about it."""

    what: str
    remedy: str


def join(
    session: Session,
    group_id: str,
    union_id: str = DEFAULT_UNION,
    credit_limit: int | None = None,
    surplus_limit: int | None = None,
) -> Account:
    """Have a group take part in a union: open its accounts there and tell its hub.

    Limits are in smallest clearing units; where None, the union's for new groups apply. A group
    that takes part already keeps its account as it is. Call it last, after all locks.
    """
    existing = find_account(session, group_id, union_id)
    credit, surplus = make_union(session, union_id).starting_limits()
    credit = credit if credit_limit is None else credit_limit
    surplus = surplus if surplus_limit is None else surplus_limit
    account = open_account(session, group_id, union_id, credit, surplus)
    if existing is None:
        _tell(session, account)
    return account


def freeze(session: Session, group_id: str, reason: str, union_id: str = DEFAULT_UNION) -> Account:
    """Freeze an account: nothing new is made or accepted; what is pending may still end otherwise.

    The reason is told to the account's own hub, and kept in the audit log for good.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise InvalidError("reason", f"must say why, in at most {MAX_REASON} characters")
    account = account_of(session, group_id, union_id)
    return _move(session, account, AccountState.FROZEN, reason)


def thaw(session: Session, group_id: str, union_id: str = DEFAULT_UNION) -> Account:
    """Open a frozen account again."""
    account = account_of(session, group_id, union_id)
    return _move(session, account, AccountState.OPEN, None)


def close(session: Session, group_id: str, union_id: str = DEFAULT_UNION) -> Account:
    """Close a group's accounts in a union for good, its own and its residue's.

    Raises ConflictError with every obstacle and what to do about it: nothing may be owed, reserved
    or open.
    """
    account = account_of(session, group_id, union_id)
    _lock(session, account)
    found = list(obstacles(session, account))
    if found:
        told = "; ".join(f"{one.what}: {one.remedy}" for one in found)
        raise ConflictError(
            f"the account of {group_id!r} in union {union_id!r} cannot be closed yet: {told}",
            obstacles=[one.what for one in found],
        )
    return _move(session, account, AccountState.CLOSED, None)


def obstacles(session: Session, account: Account) -> Iterator[Obstacle]:
    """Return what stands in the way of closing a group's accounts, whose locks are held."""
    yield from _owed(session, account)
    yield from _reserved(session, account)
    yield from _open_transfers(session, account)
    proposed = session.scalar(
        select(func.count())
        .select_from(Adjustment)
        .where(
            Adjustment.state == AdjustmentState.PROPOSED,
            or_(Adjustment.debtor_id == account.id, Adjustment.creditor_id == account.id),
        )
    )
    if proposed:
        yield Obstacle(
            f"{proposed} proposed adjustments", "have them agreed, declined or cancelled"
        )


def _owed(session: Session, account: Account) -> Iterator[Obstacle]:
    both = select(Account.id).filter_by(union_id=account.union_id, group_id=account.group_id)
    rows = session.execute(
        select(Position, Account)
        .join(Account, Account.id == Position.counterparty_id)
        .where(Position.account_id.in_(both), Position.amount != 0)
        .order_by(Position.account_id, Account.name)
    )
    for position, other in rows:
        owes = "owes" if position.amount < 0 else "is owed by"
        amount = format_amount(abs(position.amount), CLEARING_SCALE)
        of_residue = position.account_id != account.id
        who = f"residue/{account.group_id}" if of_residue else f"{account.group_id}"
        if of_residue or other.kind is AccountKind.RESIDUE:
            remedy = "close the period, which gives rounding back to its groups"
        elif other.group_id is None:
            remedy = f"settle it outside with the union, which the operator signs for {other.name}"
        elif position.amount < 0:
            remedy = "be paid, settle it outside, or have it assigned to the commons"
        else:
            remedy = "pay, have it settled outside, or have it assigned to the commons"
        yield Obstacle(f"{who} {owes} {other.name} {amount}", remedy)


def _reserved(session: Session, account: Account) -> Iterator[Obstacle]:
    """Tell of a proposed round; what transfers reserve is told with the transfers."""
    part = or_(SetOff.debtor_id == account.id, SetOff.creditor_id == account.id)
    proposed = select(Round.id).where(Round.state == RoundState.PROPOSED)
    for round_id in session.scalars(
        proposed.where(Round.id.in_(select(SetOff.round_id).where(part)))
    ):
        yield Obstacle(f"round {round_id} is proposed", "have it committed or abandoned")


def _open_transfers(session: Session, account: Account) -> Iterator[Obstacle]:
    remedies = {
        TransferState.PENDING: "have them accepted, rejected or cancelled, or let them expire",
        TransferState.QUEUED: "have them cancelled, or let them be posted or expire",
    }
    counts = (
        select(Transfer.state, func.count())
        .where(
            Transfer.union_id == account.union_id,
            Transfer.state.in_(remedies),
            or_(
                Transfer.payer_group == account.group_id,
                Transfer.payee_group == account.group_id,
            ),
        )
        .group_by(Transfer.state)
        .order_by(Transfer.state)
    )
    for state, count in session.execute(counts):
        yield Obstacle(f"{count} {state} transfers", remedies[state])


def _lock(session: Session, account: Account) -> list[Account]:
    """Lock a group's accounts in a union, its own and its residue's."""
    both = select(Account.id).filter_by(union_id=account.union_id, group_id=account.group_id)
    return list(lock_accounts(session, both).values())


def _move(session: Session, account: Account, state: AccountState, reason: str | None) -> Account:
    both = _lock(session, account)
    if state not in TRANSITIONS.get(account.state, frozenset()):
        raise ConflictError(
            f"the account of {account.name!r} in union {account.union_id!r} is {account.state}",
            state=str(account.state),
        )
    for one in both:
        one.state, one.state_reason = state, reason
    session.flush()
    _tell(session, account)
    return account


def _tell(session: Session, account: Account) -> None:
    data = {
        "union": account.union_id,
        "state": str(account.state),
        "reason": account.state_reason or "",
    }
    notice = Notice(account.name, EventKind.ACCOUNT_CHANGED, account.name, data)
    events.record(session, [notice], database.now(session))
    audit_log.record(session, "operator", ACTION, f"{account.union_id}/{account.name}", data)
