"""Rounds: a snapshot of what groups owe each other, set off optimally, committed whole."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, insert, or_, select, text, update
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from clearing import chain, disputes, events, netting
from clearing.accounts import DEFAULT_UNION, Account, Position, Union
from clearing.events import EventKind, Notice
from clearing.ledger import Book, Draft, JournalKind, Line, post
from clearing.netting import Netting, Obligation
from commons import database
from commons.database import Base, enum_column
from commons.errors import ConflictError, NotFoundError
from commons.money import CLEARING_SCALE, format_amount


class RoundState(StrEnum):
    """Where a round stands."""

    PROPOSED = "proposed"
    COMMITTED = "committed"
    ABANDONED = "abandoned"


TRANSITIONS: Final[dict[RoundState, frozenset[RoundState]]] = {
    RoundState.PROPOSED: frozenset({RoundState.COMMITTED, RoundState.ABANDONED}),
}


class Round(Base):
    """One netting run; totals in smallest clearing units, as of the snapshot.

    `obligations_total` is Σ of what groups owed each other, `net_internal_debt` what no netting
    can remove, `cleared` Σ of the round's set-offs.
    """

    __tablename__ = "rounds"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"), index=True)
    state: Mapped[RoundState] = mapped_column(enum_column(RoundState))
    obligations_total: Mapped[int]
    net_internal_debt: Mapped[int]
    cleared: Mapped[int]
    proposed_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "cleared >= 0 AND cleared <= obligations_total - net_internal_debt",
            name="cleared_in_bounds",
        ),
        CheckConstraint("(state = 'proposed') = (ended_at IS NULL)", name="ended_unless_proposed"),
        Index(
            "uq_rounds_one_proposed",
            "union_id",
            unique=True,
            sqlite_where=text("state = 'proposed'"),
            postgresql_where=text("state = 'proposed'"),
        ),
    )


class SetOff(Base):
    """What a round does to one obligation: the snapshot's amount and the part set off."""

    __tablename__ = "set_offs"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    debtor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    creditor_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    obligation: Mapped[int]
    amount: Mapped[int]

    __table_args__ = (
        CheckConstraint("amount >= 0 AND amount <= obligation", name="amount_in_bounds"),
    )


database.append_only(SetOff)


@dataclass(frozen=True)
class Part:
    """One obligation in a round, with its accounts' names; in smallest clearing units."""

    debtor: str
    creditor: str
    obligation: int
    amount: int


def obligations(
    session: Session, group_id: str | None = None, union_id: str = DEFAULT_UNION
) -> list[Obligation]:
    """Return what accounts of a union owe each other now, by name; only `group_id`'s if given."""
    debtor, creditor = aliased(Account), aliased(Account)
    query = (
        select(debtor.name, creditor.name, Position.amount)
        .join(creditor, creditor.id == Position.account_id)
        .join(debtor, debtor.id == Position.counterparty_id)
        .where(Position.amount > 0, creditor.union_id == union_id)
        .order_by(debtor.name, creditor.name)
    )
    if group_id is not None:
        query = query.where(or_(debtor.group_id == group_id, creditor.group_id == group_id))
    return [Obligation(*row) for row in session.execute(query)]


def propose(session: Session, union_id: str = DEFAULT_UNION) -> Round:
    """Snapshot what is owed, solve, and reserve every set-off as `given`.

    Payments posted after this stand beside the round and cannot undercut it. Raises
    ConflictError where the union has a proposed round already, NotFoundError where it has no
    accounts yet.
    """
    if session.get(Union, union_id) is None:
        raise NotFoundError(f"union {union_id!r} has no accounts: no group was admitted yet")
    book = Book.lock_union(session, union_id)
    standing = proposed_now(session, union_id)
    if standing is not None:
        raise ConflictError(f"round {standing.id} of union {union_id!r} is still proposed")
    result = _solve(book, union_id)
    proposed = Round(
        id=uuid4(),
        union_id=union_id,
        state=RoundState.PROPOSED,
        obligations_total=result.total,
        net_internal_debt=result.net_internal_debt,
        cleared=result.cleared,
        proposed_at=database.now(session),
    )
    session.add(proposed)
    session.flush()
    _reserve(book, proposed.id, result)
    ids = {account.name: account.id for account in book.accounts.values()}
    set_off = {(ids[o.debtor], ids[o.creditor]): n for o, n in result.set_offs.items() if n}
    _tell(book, proposed, set_off)
    return proposed


def proposed_now(session: Session, union_id: str = DEFAULT_UNION) -> Round | None:
    """Return the union's proposed round, of which there is one at most."""
    return session.scalar(
        select(Round).where(Round.union_id == union_id, Round.state == RoundState.PROPOSED)
    )


def preview(session: Session, union_id: str = DEFAULT_UNION) -> Netting:
    """Return what a round would set off now; nothing is changed."""
    return _solve(Book.read_union(session, union_id), union_id)


def _solve(book: Book, union_id: str) -> Netting:
    """Return the optimal set-off under the caps of disputes and of the opposite pair limits.

    What is disputed stays. To set off X of what i owes j takes X from P(j,i), for which j's room
    towards i must last, whatever is posted until the commit.
    """
    disputed = disputes.standing(book.session, union_id)
    names = {account.id: account.name for account in book.accounts.values()}
    owed, caps = [], {}
    for (creditor_id, debtor_id), position in book.positions.items():
        if position.amount > 0:
            pair = names[debtor_id], names[creditor_id]
            owed.append(Obligation(*pair, position.amount))
            agreed = position.amount - disputed.get((debtor_id, creditor_id), 0)
            caps[pair] = max(0, min(position.room(), agreed))
    return netting.solve(owed, caps)


def _reserve(book: Book, round_id: UUID, result: Netting) -> None:
    ids = {account.name: account.id for account in book.accounts.values()}
    rows = []
    for owed, amount in result.set_offs.items():
        debtor_id, creditor_id = ids[owed.debtor], ids[owed.creditor]
        book.position(creditor_id, debtor_id).given += amount
        rows.append(
            {
                "round_id": round_id,
                "debtor_id": debtor_id,
                "creditor_id": creditor_id,
                "obligation": owed.amount,
                "amount": amount,
            }
        )
    book.write()
    if rows:
        book.session.execute(insert(SetOff), rows)


def commit(session: Session, round_id: UUID) -> Round:
    """Write a proposed round's set-offs, whole, and one chain row for each account in it."""
    book, found, parts = _end(session, round_id, RoundState.COMMITTED)
    if parts:
        post(book, _journal(book, round_id, parts), database.now(session))
    book.write()
    _tell(book, found, {(part.debtor_id, part.creditor_id): part.amount for part in parts})
    return found


def abandon(session: Session, round_id: UUID) -> Round:
    """End a proposed round without effect; what it reserved is free again."""
    book, found, parts = _end(session, round_id, RoundState.ABANDONED)
    book.write()
    _tell(book, found, {(part.debtor_id, part.creditor_id): part.amount for part in parts})
    return found


def _tell(book: Book, changed: Round, set_off: Mapping[tuple[int, int], int]) -> None:
    """Tell the hubs of the groups in a round where it stands, and what it sets off of each."""
    owed: dict[str, int] = defaultdict(int)
    for (debtor_id, creditor_id), amount in set_off.items():
        for account_id, part in ((debtor_id, amount), (creditor_id, 0)):
            group_id = book.accounts[account_id].group_id
            if group_id is not None:
                owed[group_id] += part
    told = {"state": str(changed.state), "union": changed.union_id}
    notices = [
        Notice(
            group_id,
            EventKind.ROUND_CHANGED,
            str(changed.id),
            {**told, "set_off": format_amount(amount, CLEARING_SCALE)},
        )
        for group_id, amount in owed.items()
    ]
    events.record(book.session, notices, database.now(book.session))


def _end(session: Session, round_id: UUID, state: RoundState) -> tuple[Book, Round, list[SetOff]]:
    """Move a proposed round to `state` under the union's locks and release what it reserved."""
    book = Book.lock_union(session, find(session, round_id).union_id)
    moved = session.scalar(
        update(Round)
        .where(Round.id == round_id, Round.state == RoundState.PROPOSED)
        .values(state=state, ended_at=database.now(session))
        .returning(Round)
        .execution_options(populate_existing=True)
    )
    if moved is None:
        raise ConflictError(f"round {round_id} is not proposed any more")
    chosen = select(SetOff).where(SetOff.round_id == round_id, SetOff.amount > 0)
    parts = list(session.scalars(chosen.order_by(SetOff.debtor_id, SetOff.creditor_id)))
    for part in parts:
        book.position(part.creditor_id, part.debtor_id).given -= part.amount
    return book, moved, parts


def _journal(book: Book, round_id: UUID, parts: list[SetOff]) -> Draft:
    entries: list[tuple[int, int, int]] = []
    for part in parts:
        entries.append((part.debtor_id, part.creditor_id, part.amount))
        entries.append((part.creditor_id, part.debtor_id, -part.amount))
    names = {account.id: account.name for account in book.accounts.values()}
    digests = part_digests(names, entries)
    lines = [Line(account_id, "", digest) for account_id, digest in sorted(digests.items())]
    return Draft(round_id, JournalKind.SET_OFF, entries, lines)


def part_digests(
    names: Mapping[int, str], entries: Iterable[tuple[int, int, int]]
) -> dict[int, str]:
    """Return, by account, the digest of its part of a round: its entries as [name, amount]."""
    rows: dict[int, list[list[str]]] = defaultdict(list)
    for account_id, counterparty_id, amount in entries:
        rows[account_id].append([names[counterparty_id], str(amount)])
    return {account_id: chain.digest(sorted(part)) for account_id, part in rows.items()}


def find(session: Session, round_id: UUID) -> Round:
    """Return a round, or raise NotFoundError."""
    found = session.get(Round, round_id)
    if found is None:
        raise NotFoundError(f"there is no round {round_id}")
    return found


def latest(session: Session, limit: int = 50, union_id: str = DEFAULT_UNION) -> list[Round]:
    """Return a union's rounds, newest first."""
    query = select(Round).where(Round.union_id == union_id)
    return list(session.scalars(query.order_by(Round.proposed_at.desc()).limit(limit)))


def parts(session: Session, round_id: UUID, group_id: str | None = None) -> list[Part]:
    """Return what a round does to each obligation, by name; only `group_id`'s if given."""
    debtor, creditor = aliased(Account), aliased(Account)
    query = (
        select(debtor.name, creditor.name, SetOff.obligation, SetOff.amount)
        .join(debtor, debtor.id == SetOff.debtor_id)
        .join(creditor, creditor.id == SetOff.creditor_id)
        .where(SetOff.round_id == round_id)
        .order_by(debtor.name, creditor.name)
    )
    if group_id is not None:
        query = query.where(or_(debtor.group_id == group_id, creditor.group_id == group_id))
    return [Part(*row) for row in session.execute(query)]
