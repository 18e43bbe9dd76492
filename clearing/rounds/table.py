"""The rows of a round by the column: what they move, what they come to, their arcs and prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import columns
from clearing.columns import Numbers
from clearing.netting.arcs import Arcs
from clearing.rounds.model import Amendment, SetOff


@dataclass(frozen=True)
class Rows:
    """Rows of a round, by accounts' ids; the columns are those of `SetOff`."""

    debtor_id: Numbers
    creditor_id: Numbers
    obligation: Numbers
    released: Numbers
    least: Numbers
    cap: Numbers
    amount: Numbers
    line: Numbers
    drawn: Numbers

    def columns(self) -> Mapping[str, Numbers]:
        """Return the columns by their names."""
        return vars(self)

    def ordered(self) -> "Rows":
        """Return the rows by debtor and creditor, the order in which a database keeps them best."""
        order = np.lexsort((self.creditor_id, self.debtor_id))
        return Rows(**{name: column[order] for name, column in self.columns().items()})

    def among(self, account_ids: Sequence[int]) -> "Rows":
        """Return the rows that have one of these accounts on either side."""
        here = np.isin(self.debtor_id, account_ids) | np.isin(self.creditor_id, account_ids)
        return Rows(**{name: column[here] for name, column in self.columns().items()})

    def plain(self) -> "Rows":
        """Return the rows without what is both set off and drawn anew in one of them."""
        both = np.minimum(self.amount - self.least, self.drawn)
        return replace(self, amount=self.amount - both, drawn=self.drawn - both)

    def reserved(self) -> Numbers:
        """Return what is reserved of each obligation: what is released with it comes beside."""
        return np.maximum(0, self.amount - np.maximum(0, self.released))

    def moved(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return what the round adds to the position of each account towards each other.

        In the order of accounts, then counterparties; those of nothing are left out.
        """
        added = self.amount - self.drawn
        account = np.concatenate([self.debtor_id, self.creditor_id])
        other = np.concatenate([self.creditor_id, self.debtor_id])
        amount = np.concatenate([added, -added])
        order = np.lexsort((other, account))
        account, other, amount = account[order], other[order], amount[order]
        if len(account):  # what is set off and drawn between two stands in rows of both directions
            new = np.append(True, (account[1:] != account[:-1]) | (other[1:] != other[:-1]))
            amount = np.add.reduceat(amount, np.flatnonzero(new))
            account, other = account[new], other[new]
        some = amount != 0
        return account[some], other[some], amount[some]


def read_rows(session: Session, model: type[SetOff | Amendment], round_id: UUID) -> Rows:
    """Return the rows of a round as they were written."""
    c = model.__table__.c
    names = [field.name for field in fields(Rows)]
    query = select(*(c[name] for name in names)).where(c.round_id == round_id)
    return Rows(*columns.read(session, query))


class Prices(NamedTuple):
    """Prices that prove a round, by accounts' ids, which are in order."""

    ids: Numbers
    price: Numbers


def as_arcs(rows: Rows) -> tuple[Numbers, Arcs, npt.NDArray[np.bool_]]:
    """Return rows as the arcs that a circulation is over, nodes numbered by their ids' order.

    First an arc for each row, then one the other way round for each of those with a spare credit
    line, since what flows over that is owed anew. Also the ids, and which arcs are lines.
    """
    some = rows.line > 0
    ids, places = np.unique(np.concatenate([rows.debtor_id, rows.creditor_id]), return_inverse=True)
    debtor, creditor = np.split(places.astype(np.int64), 2)
    arcs = Arcs(
        nodes=len(ids),
        debtor=np.concatenate([debtor, creditor[some]]),
        creditor=np.concatenate([creditor, debtor[some]]),
        least=np.concatenate([rows.least, np.zeros_like(rows.line[some])]),
        cap=np.concatenate([rows.cap, rows.line[some]]),
        weight=np.concatenate([np.ones_like(rows.cap), -np.ones_like(rows.line[some])]),
    )
    return ids, arcs, np.arange(len(arcs.cap)) >= len(rows.cap)


@dataclass(frozen=True)
class Totals:
    """What rows come to, in smallest clearing units; see `Round`."""

    obligations: int
    net_internal_debt: int
    cleared: int
    drawn: int


def totals(rows: Rows) -> Totals:
    """Add up rows."""
    ids, places = np.unique(np.concatenate([rows.debtor_id, rows.creditor_id]), return_inverse=True)
    net = np.zeros(len(ids), np.int64)  # which no sum of obligations below 2⁶² overflows
    np.add.at(net, places[len(rows.debtor_id) :], rows.obligation)
    np.subtract.at(net, places[: len(rows.debtor_id)], rows.obligation)
    return Totals(
        columns.total(rows.obligation),
        columns.total(np.maximum(net, 0)),
        columns.total(rows.amount),
        columns.total(rows.drawn),
    )
