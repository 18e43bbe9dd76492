"""A group's page of a round: what it owed and was owed, what was set off with whom, what is now."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import Account, AccountKind, LimitChange, LimitKind, Position, positions_of
from clearing.disputes import Dispute
from clearing.rounds.model import KeptBack, OptOut, Round, RoundPrice
from clearing.rounds.rows import Part, Queued, candidates, rows
from commons import database

Pairs = Mapping[tuple[str, str], int]
"""Amounts by the names of debtor and creditor."""


@dataclass(frozen=True)
class Change:
    """What a round does between a group and one counterparty, in smallest clearing units.

    `before` and `after` are what the counterparty owes the group, negative what the group owes it;
    `released` and `drawn` are how queued payments and spare credit lines change that. `set_off` is
    how much of the debt, whoever owes it, is cancelled: `least` must be, `at_most` so much may.
    `room_before` and `room_after` are what the group's pair limit leaves it to owe more, the other
    two what the counterparty's leaves the counterparty; None without a limit.
    """

    counterparty: str
    before: int
    released: int
    set_off: int
    drawn: int
    after: int
    least: int
    at_most: int
    room_before: int | None
    room_after: int | None
    their_room_before: int | None
    their_room_after: int | None


@dataclass(frozen=True)
class PairPart(Change):
    """A change with what is known beside it, all of which is the group's own.

    `now` is what the counterparty owes the group now. `disputed` was disputed of the debt when the
    round was proposed, `kept_back` is what the group itself keeps back now: None nothing, 0 all of
    it. `price` is the counterparty's.
    """

    now: int
    disputed: int
    kept_back: int | None
    price: int | None


@dataclass(frozen=True)
class GroupPart:
    """What a round does to a group, and among which of its queued payments it chose."""

    group: str
    pairs: Sequence[Change]
    payments: Sequence[Queued]


@dataclass(frozen=True)
class Page:
    """A group's own part of a round, and how it stands now; amounts in smallest clearing units.

    `payments` are its own queued ones among which the round chose; no member is named.
    `opted_out_at` is when it opted out, `price` its own, from which the optimum can be proven.
    """

    group: str
    round: Round
    pairs: Sequence[PairPart]
    payments: Sequence[Queued]
    balance_now: int
    opted_out_at: datetime | None
    price: int | None


def page_of(session: Session, found: Round, account: Account) -> Page:
    """Return the page of a group's account in a round; one with no part in it has an empty one.

    Of a round that is proposed or was abandoned it says what was proposed. Nothing is told of
    what lies between others. Pair limits are those of when the round ended, or of now.
    """
    group_id, name = account.group_id, account.name
    own = rows(session, found, group_id)
    limits = _limits(session, account.id, found.ended_at or database.now(session))
    changes = _by_account(own, limits).get(name, [])
    prices = _prices(session, found, [name, *(one.counterparty for one in changes)])
    return Page(
        group=name,
        round=found,
        pairs=_with_what_is_known(session, found, account, changes, prices),
        payments=candidates(session, found.id, group_id),
        balance_now=account.balance,
        opted_out_at=session.scalar(
            select(OptOut.opted_out_at).filter_by(round_id=found.id, group_id=group_id)
        ),
        price=prices.get(name),
    )


def parts_of_groups(
    session: Session, union_id: str, found: Iterable[Part], queued: Iterable[Queued]
) -> list[GroupPart]:
    """Return what rows and released payments do to each group of a union, by the groups' names.

    With pair limits as they are now.
    """
    changes = _by_account(found, _limits_now(session, union_id))
    payments: dict[str, list[Queued]] = defaultdict(list)
    for one in queued:
        payments[one.payer].append(one)
        payments[one.payee].append(one)
    groups = select(Account.name).filter_by(union_id=union_id, kind=AccountKind.GROUP)
    return [
        GroupPart(name, changes.get(name, []), payments[name])
        for name in session.scalars(groups.order_by(Account.name))
    ]


def _by_account(found: Iterable[Part], limits: Pairs) -> dict[str, list[Change]]:
    """Return what rows do, by each account and then by its counterparties, in their order."""
    pairs: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for row in found:
        pairs[row.debtor, row.creditor].append(row)
        pairs[row.creditor, row.debtor].append(row)
    changes: dict[str, list[Change]] = defaultdict(list)
    for (own, other), between in sorted(pairs.items()):
        changes[own].append(_change(own, other, between, limits))
    return changes


def _change(own: str, other: str, found: Sequence[Part], limits: Pairs) -> Change:
    """Put together what the rows of one pair, of which there may be one each way, do."""
    then = released = settled = drawn = 0
    for row in found:
        sign = -1 if row.debtor == own else 1
        then += sign * row.obligation
        released += sign * row.released
        settled += sign * row.amount
        drawn += sign * row.drawn
    before, after = then - released, then - settled + drawn
    ours, theirs = limits.get((own, other)), limits.get((other, own))
    return Change(
        counterparty=other,
        before=before,
        released=released,
        set_off=sum(row.amount for row in found),
        drawn=drawn,
        after=after,
        least=sum(row.least for row in found),
        at_most=sum(row.cap for row in found),
        room_before=_room(ours, -before),
        room_after=_room(ours, -after),
        their_room_before=_room(theirs, before),
        their_room_after=_room(theirs, after),
    )


def _room(limit: int | None, owed: int) -> int | None:
    return None if limit is None else limit - max(0, owed)


def _with_what_is_known(
    session: Session,
    found: Round,
    account: Account,
    changes: Sequence[Change],
    prices: Mapping[str, int],
) -> list[PairPart]:
    positions = {name: one.amount for one, name in positions_of(session, account.id)}
    disputed = _disputed(session, account.id, found.proposed_at)
    kept = session.execute(
        select(Account.name, KeptBack.amount)
        .join(Account, Account.id == KeptBack.counterparty_id)
        .where(KeptBack.account_id == account.id)
    )
    kept_back = {name: amount or 0 for name, amount in kept}
    return [
        PairPart(
            **asdict(one),
            now=positions.get(one.counterparty, 0),
            disputed=disputed.get(one.counterparty, 0),
            kept_back=kept_back.get(one.counterparty),
            price=prices.get(one.counterparty),
        )
        for one in changes
    ]


def _prices(session: Session, found: Round, names: Iterable[str]) -> dict[str, int]:
    told = set(names)
    query = (
        select(Account.name, RoundPrice.price)
        .join(Account, Account.id == RoundPrice.account_id)
        .where(RoundPrice.round_id == found.id)
    )
    return {name: price for name, price in session.execute(query) if name in told}


def _disputed(session: Session, account_id: int, moment: datetime) -> dict[str, int]:
    """Return what was disputed between an account and others as of a moment, by their names."""
    own = or_(Dispute.debtor_id == account_id, Dispute.creditor_id == account_id)
    is_other = or_(Account.id == Dispute.debtor_id, Account.id == Dispute.creditor_id)
    found = session.execute(
        select(Account.name, func.sum(Dispute.amount))
        .join(Dispute, is_other)
        .where(
            own,
            Account.id != account_id,
            Dispute.marked_at <= moment,
            or_(Dispute.lifted_at.is_(None), Dispute.lifted_at > moment),
        )
        .group_by(Account.name)
    )
    return {name: int(amount) for name, amount in found}


def _limits(session: Session, account_id: int, moment: datetime) -> dict[tuple[str, str], int]:
    """Return how much an account, and others towards it, might owe as of a moment."""
    debtor, creditor = aliased(Account), aliased(Account)
    own = or_(LimitChange.account_id == account_id, LimitChange.counterparty_id == account_id)
    found = session.execute(
        select(debtor.name, creditor.name, LimitChange.stop)
        .join(debtor, debtor.id == LimitChange.account_id)
        .join(creditor, creditor.id == LimitChange.counterparty_id)
        .where(own, LimitChange.kind == LimitKind.PAIR, LimitChange.changed_at <= moment)
        .order_by(LimitChange.id)
    )
    last = {(one, other): stop for one, other, stop in found}
    return {pair: stop for pair, stop in last.items() if stop is not None}


def _limits_now(session: Session, union_id: str) -> dict[tuple[str, str], int]:
    debtor, creditor = aliased(Account), aliased(Account)
    found = session.execute(
        select(debtor.name, creditor.name, Position.pair_limit)
        .join(debtor, debtor.id == Position.account_id)
        .join(creditor, creditor.id == Position.counterparty_id)
        .where(debtor.union_id == union_id, Position.pair_limit.is_not(None))
    )
    return {(one, other): limit for one, other, limit in found if limit is not None}
