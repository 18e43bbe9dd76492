"""Limits from volume: what groups traded in the last twelve months, and the lines that fit it.

What a group owes, it pays back by being paid; what it is owed, it uses up by paying. So its credit
limit is what its members are paid in two usual months, and its surplus limit what they pay in two;
each at least what a new group gets, in whole clearing units, with a warning at four fifths. A
year is divided by twelve however young the group is: who has not traded long proves less.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from clearing.accounts import (
    DEFAULT_UNION,
    Account,
    AccountKind,
    AccountState,
    Limit,
    LimitChange,
    LimitKind,
    limit_of,
    lock_accounts,
    set_limit,
    union_of,
)
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.errors import ConflictError, InvalidError
from commons.money import CLEARING_SCALE

PERIOD: Final = timedelta(days=365)
MONTHS: Final = 12
COVERED_MONTHS: Final = 2
WARN_AT: Final = Fraction(4, 5)
_WHOLE: Final = 10**CLEARING_SCALE


@dataclass(frozen=True)
class Line:
    """Both limits of a group's account."""

    credit: Limit
    surplus: Limit


@dataclass(frozen=True)
class Proposal:
    """A line for a group beside the one that stands; `received` and `paid` are of twelve months.

    All in smallest clearing units.
    """

    group_id: str
    received: int
    paid: int
    standing: Line
    proposed: Line


def propose(session: Session, union_id: str = DEFAULT_UNION) -> list[Proposal]:
    """Return the lines that fit what a union's groups traded, by their ids; nothing is changed."""
    least = union_of(session, union_id).starting_limits()
    received, paid = _volumes(session, union_id)
    accounts = session.scalars(
        select(Account)
        .where(
            Account.union_id == union_id,
            Account.kind == AccountKind.GROUP,
            Account.state != AccountState.CLOSED,
        )
        .order_by(Account.name)
    )
    return [
        Proposal(
            account.name,
            received[account.name],
            paid[account.name],
            _standing(account),
            Line(
                _fitting(received[account.name], least[0]), _fitting(paid[account.name], least[1])
            ),
        )
        for account in accounts
    ]


def _volumes(session: Session, union_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return what each group received and what it paid; what was taken back counts against it."""
    sign = case((Transfer.reverses.is_(None), 1), else_=-1)
    rows = session.execute(
        select(
            Transfer.payer_group,
            Transfer.payee_group,
            func.sum(sign * Transfer.payer_clearing),
            func.sum(sign * Transfer.payee_clearing),
        )
        .where(
            Transfer.union_id == union_id,
            Transfer.state == TransferState.POSTED,
            Transfer.ended_at > database.now(session) - PERIOD,
        )
        .group_by(Transfer.payer_group, Transfer.payee_group)
    )
    received: dict[str, int] = defaultdict(int)
    paid: dict[str, int] = defaultdict(int)
    for payer, payee, out, into in rows:
        paid[payer] += int(out)
        received[payee] += int(into)
    return received, paid


def _fitting(volume: int, least: int) -> Limit:
    whole_units = -(-volume * COVERED_MONTHS // (MONTHS * _WHOLE))
    stop = max(whole_units * _WHOLE, least)
    return Limit(warn=int(stop * WARN_AT), stop=stop)


def _standing(account: Account) -> Line:
    return Line(limit_of(account, LimitKind.CREDIT), limit_of(account, LimitKind.SURPLUS))


def confirm(
    session: Session, proposals: Iterable[Proposal], union_id: str = DEFAULT_UNION
) -> list[LimitChange]:
    """Set the proposed lines, all or none, and return what changed.

    Raises ConflictError where a limit or an account changed since it was proposed, and InvalidError
    for a group that is named twice or has no account here.
    """
    wanted = list(proposals)
    names = [proposal.group_id for proposal in wanted]
    ids = select(Account.id).where(
        Account.union_id == union_id, Account.kind == AccountKind.GROUP, Account.name.in_(names)
    )
    accounts = {account.name: account for account in lock_accounts(session, ids).values()}
    changes = []
    for proposal in wanted:
        account = accounts.pop(proposal.group_id, None)
        if account is None:
            rule = f"{proposal.group_id!r} must have an account in {union_id!r} and one line here"
            raise InvalidError("group", rule)
        if account.state is AccountState.CLOSED or _standing(account) != proposal.standing:
            raise ConflictError(
                f"the limits of {account.name!r} changed since they were proposed; propose anew"
            )
        for kind, limit in (
            (LimitKind.CREDIT, proposal.proposed.credit),
            (LimitKind.SURPLUS, proposal.proposed.surplus),
        ):
            change = set_limit(session, account, kind, limit)
            if change is not None:
                changes.append(change)
    return changes
