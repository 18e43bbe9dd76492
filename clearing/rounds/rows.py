"""What a round does to each obligation and to each queued payment, as it was written."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import DEFAULT_UNION, Account, Position
from clearing.ledger import Journal
from clearing.netting import Obligation
from clearing.rounds.model import Amendment, Candidate, Round, RoundState, SetOff
from clearing.rounds.table import Rows, read_rows
from clearing.transfers import Transfer
from commons.errors import NotFoundError


class Part(NamedTuple):
    """What a round does to one obligation, with its accounts' names; see the columns of `SetOff`.

    In smallest clearing units.
    """

    debtor: str
    creditor: str
    obligation: int
    released: int
    least: int
    cap: int
    amount: int
    line: int
    drawn: int

    @property
    def remaining(self) -> int:
        """What the debtor owes the creditor when the round is done."""
        return self.obligation - self.amount + self.drawn


class Queued(NamedTuple):
    """A queued payment among which a round chose; `value` in smallest clearing units.

    `place` counts from the one that has waited longest, from 0; `first` is one that was passed over
    so often that it came first. `proposed` says whether it is to be released, `posted` whether it
    was.
    """

    transfer: UUID
    payer: str
    payee: str
    value: int
    place: int
    first: bool
    proposed: bool
    posted: bool


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
        query = query.where(_is_of(group_id, debtor, creditor))
    return [Obligation(*row) for row in session.execute(query)]


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


def proposed_now(session: Session, union_id: str = DEFAULT_UNION) -> Round | None:
    """Return the union's proposed round, of which there is one at most."""
    return session.scalar(
        select(Round).where(Round.union_id == union_id, Round.state == RoundState.PROPOSED)
    )


def rows(session: Session, of: Round, group_id: str | None = None) -> list[Part]:
    """Return the rows of a round as they stand, by name; only `group_id`'s if given.

    Those that it was committed with where it had to be solved again (`Amendment`), else those that
    were proposed.
    """
    accounts = session.execute(
        select(Account.id, Account.name, Account.group_id).where(Account.union_id == of.union_id)
    ).all()
    found = read_rows(session, Amendment if of.amended else SetOff, of.id)
    if group_id is not None:
        own = [account.id for account in accounts if account.group_id == group_id]
        found = found.among(own)
    return named(found, {account.id: account.name for account in accounts})


def named(of: Rows, names: Mapping[int, str]) -> list[Part]:
    """Return rows with their accounts' names, in the names' order."""
    debtors, creditors, *figures = (column.tolist() for column in of.columns().values())
    name = names.__getitem__
    told = zip(map(name, debtors), map(name, creditors), *figures, strict=True)
    return sorted(map(Part._make, told))


def parts(session: Session, round_id: UUID, group_id: str | None = None) -> list[Part]:
    """Return what a round does to each obligation, as `rows`."""
    return rows(session, find(session, round_id), group_id)


def candidates(session: Session, round_id: UUID, group_id: str | None = None) -> list[Queued]:
    """Return the queued payments among which a round chose, oldest first; only `group_id`'s."""
    posted = exists().where(
        Journal.id == Candidate.transfer_id, Journal.about == Candidate.round_id
    )
    query = (
        select(
            Candidate.transfer_id,
            Transfer.payer_group,
            Transfer.payee_group,
            Transfer.payee_clearing,
            Candidate.place,
            Candidate.first,
            Candidate.proposed,
            posted,
        )
        .join(Transfer, Transfer.id == Candidate.transfer_id)
        .where(Candidate.round_id == round_id)
        .order_by(Candidate.place)
    )
    if group_id is not None:
        query = query.where(or_(Transfer.payer_group == group_id, Transfer.payee_group == group_id))
    return [Queued(*row[:-1], posted=bool(row[-1])) for row in session.execute(query)]


def _is_of(group_id: str, debtor: type[Account], creditor: type[Account]) -> ColumnElement[bool]:
    return or_(debtor.group_id == group_id, creditor.group_id == group_id)
