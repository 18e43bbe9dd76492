"""Accounts as they were right before a moment, from what was written and is never rewritten.

Balances come from chain rows, limits from their changes, and what was reserved from the times at
which transfers and rounds were made and ended. So what is told of a moment stays as it was told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from clearing.accounts import Account, Limit, LimitChange, LimitKind
from clearing.ledger import ChainRow
from clearing.network.nodes import Node
from clearing.rounds import Round, SetOff
from clearing.transfers import HeldTransfer, Transfer, reservation

Key = tuple[int, int | None, LimitKind]
"""An account, the counterparty of a pair limit, and which limit."""


@dataclass
class Reserved:
    """What was reserved, in smallest clearing units: of accounts, and of pairs (debtor, creditor).

    Groups are told by union and name, pairs of accounts by their ids.
    """

    out: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    into: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    pairs: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    given: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))


def balances_before(
    session: Session, union_id: str | None, moment: datetime
) -> dict[int, int | None]:
    """Return each account's balance by its id, None where nothing had been posted to it yet."""
    last = (
        select(ChainRow.balance)
        .where(ChainRow.account_id == Account.id, ChainRow.posted_at < moment)
        .order_by(ChainRow.posted_at.desc(), ChainRow.version.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(Account.id, last)
    if union_id is not None:
        query = query.where(Account.union_id == union_id)
    return dict(session.execute(query).all())


def limits_before(session: Session, union_id: str | None, moment: datetime) -> dict[Key, Limit]:
    """Return every limit that anybody had set, lifted ones too, as they were set last."""
    last = (
        select(func.max(LimitChange.id))
        .where(LimitChange.changed_at < moment)
        .group_by(LimitChange.account_id, LimitChange.counterparty_id, LimitChange.kind)
    )
    query = select(
        LimitChange.account_id,
        LimitChange.counterparty_id,
        LimitChange.kind,
        LimitChange.warn,
        LimitChange.stop,
    ).where(LimitChange.id.in_(last))
    if union_id is not None:
        own = select(Account.id).where(Account.union_id == union_id)
        query = query.where(LimitChange.account_id.in_(own))
    return {
        (account, other, kind): Limit(warn, stop)
        for account, other, kind, warn, stop in session.execute(query)
    }


def reserved_before(session: Session, union_id: str | None, moment: datetime) -> Reserved:
    """Return what pending transfers and proposed rounds had reserved.

    A transfer that reserves does so from when it is made until it ends, and `reserved` of it is
    never changed; one that is queued reserves nothing.
    """
    found = Reserved()
    query = select(
        Transfer.union_id,
        Transfer.payer_group,
        Transfer.payee_group,
        Transfer.payer_clearing,
        Transfer.payee_clearing,
        Transfer.levy,
        Transfer.reverses,
    ).where(
        Transfer.reserved,
        Transfer.created_at < moment,
        or_(Transfer.ended_at.is_(None), Transfer.ended_at >= moment),
    )
    if union_id is not None:
        query = query.where(Transfer.union_id == union_id)
    for row in session.execute(query):
        wanted = reservation(cast("HeldTransfer", row))  # which has all that it asks for
        found.out[row.union_id, wanted.debtor] += wanted.out
        found.into[row.union_id, wanted.creditor] += wanted.into
        found.pairs[row.union_id, wanted.debtor, wanted.creditor] += wanted.pair
    _give(session, moment, found)
    return found


def _give(session: Session, moment: datetime, found: Reserved) -> None:
    """Add what rounds had reserved that were proposed: all but what they were to release."""
    query = (
        select(SetOff.debtor_id, SetOff.creditor_id, SetOff.released, SetOff.amount, SetOff.drawn)
        .join(Round, Round.id == SetOff.round_id)
        .where(Round.proposed_at < moment, or_(Round.ended_at.is_(None), Round.ended_at >= moment))
    )
    for debtor, creditor, released, amount, drawn in session.execute(query):
        found.given[creditor, debtor] += max(0, amount - max(0, released))
        found.given[debtor, creditor] += drawn


@dataclass(frozen=True)
class Past:
    """What of the accounts was as it was right before a moment.

    `accounts` are those of which anything had been written by then, by id. They are of no session,
    and tell by the ledger's own rules what of their limits is used and how they stand.
    """

    limits: Mapping[Key, Limit]
    reserved: Reserved
    accounts: Mapping[int, Account]


def before(session: Session, union_id: str | None, found: Iterable[Node], moment: datetime) -> Past:
    """Return how the accounts of a union, or of all, stood right before a moment."""
    balances = balances_before(session, union_id, moment)
    limits = limits_before(session, union_id, moment)
    reserved = reserved_before(session, union_id, moment)
    limited = {account for account, _, _ in limits}
    there = (node for node in found if balances[node.id] is not None or node.id in limited)
    accounts = {node.id: _account(node, balances[node.id] or 0, limits, reserved) for node in there}
    return Past(limits, reserved, accounts)


def _account(node: Node, balance: int, limits: Mapping[Key, Limit], reserved: Reserved) -> Account:
    credit = limits.get((node.id, None, LimitKind.CREDIT), Limit())
    surplus = limits.get((node.id, None, LimitKind.SURPLUS), Limit())
    key = node.union_id, node.name
    return Account(
        id=node.id,
        balance=balance,
        pending_out=reserved.out.get(key, 0),
        pending_in=reserved.into.get(key, 0),
        credit_limit=credit.stop,
        credit_warn=credit.warn,
        surplus_limit=surplus.stop,
        surplus_warn=surplus.warn,
    )
