"""What a round would do, as arrays: rows by the column, totals, what is released of the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import Numbers
from clearing.held import HeldAccount
from clearing.netting.matrix import Matrix, Standing
from clearing.netting.queue import Choice, choose
from clearing.rounds.rows import Part, Queued, named
from clearing.rounds.snapshot import numbered, read_matrix
from clearing.rounds.table import Prices, Rows, Totals, totals
from clearing.rounds.waiting import read_line

SECONDS_TO_CHOOSE: Final = 10
"""How long the choice among what is queued may take, while the union's accounts are locked."""


@dataclass(frozen=True)
class Plan:
    """What a round would do; nothing of it is written.

    `columns` are its rows by the column, `queued` the payments to choose from, oldest first;
    `value` is what those that it releases come to and `bound` what they could at most, `exact`
    whether no better choice exists for certain.
    """

    union_id: str
    credit_lines: bool
    accounts: Mapping[int, HeldAccount]
    columns: Rows
    totals: Totals
    prices: Prices
    queued: Sequence[Queued]
    value: int
    bound: int
    exact: bool

    @property
    def cleared(self) -> int:
        """Σ of all set-offs."""
        return self.totals.cleared

    @property
    def released(self) -> list[Queued]:
        """The queued payments that are released."""
        return [one for one in self.queued if one.proposed]

    def rows(self, group_id: str | None = None) -> list[Part]:
        """Return what it does to each obligation, by name; only `group_id`'s if given."""
        rows = self.columns
        if group_id is not None:
            own = [one.id for one in self.accounts.values() if one.group_id == group_id]
            rows = rows.among(own)
        return named(rows, {account.id: account.name for account in self.accounts.values()})


def plan(
    session: Session, union_id: str, accounts: Mapping[int, HeldAccount], *, credit_lines: bool
) -> Plan:
    """Return the best that a round can do with a union as it is now.

    `accounts` are all of the union's. Raises InvalidError where amounts are beyond what can be
    added up (2⁶²).
    """
    numbering = numbered(accounts)
    line = read_line(session, union_id, numbering)
    matrix = read_matrix(session, union_id, numbering, line.touched, lines=credit_lines)
    line = line.addable(matrix)
    choice = choose(matrix, line.waiting, SECONDS_TO_CHOOSE)
    rows = _rows(matrix, choice, numbering.ids)
    queued = [
        one._replace(proposed=released)
        for one, released in zip(line.queued, choice.released, strict=True)
    ]
    return Plan(
        union_id=union_id,
        credit_lines=credit_lines,
        accounts=accounts,
        columns=rows,
        totals=totals(rows),
        prices=Prices(numbering.ids, choice.circulation.price),
        queued=queued,
        value=choice.value,
        bound=choice.bound,
        exact=choice.exact,
    )


def _rows(matrix: Matrix, choice: Choice, ids: Numbers) -> Rows:
    """Return a circulation as rows: an obligation each, with the spare line beside it."""
    standing, amount = choice.standing, choice.circulation.amount
    arcs = standing.arcs
    is_owed = arcs.weight > 0
    debtor, creditor = arcs.debtor[is_owed], arcs.creditor[is_owed]
    none = np.zeros(len(debtor), np.int64)
    rows = Rows(
        debtor_id=ids[debtor],
        creditor_id=ids[creditor],
        obligation=standing.owed[is_owed],
        released=_released(matrix, standing)[is_owed],
        least=arcs.least[is_owed],
        cap=arcs.cap[is_owed],
        amount=amount[is_owed],
        line=none,
        drawn=none,
    )
    if is_owed.all():
        return rows.ordered()
    none = np.zeros(len(is_owed) - len(none), np.int64)
    line = Rows(  # over one from a to b, b comes to owe a
        debtor_id=ids[arcs.creditor[~is_owed]],
        creditor_id=ids[arcs.debtor[~is_owed]],
        obligation=none,
        released=none,
        least=none,
        cap=none,
        amount=none,
        line=arcs.cap[~is_owed],
        drawn=amount[~is_owed],
    )
    return _beside(rows, line).plain()


def _released(matrix: Matrix, standing: Standing) -> Numbers:
    """Return how much of each obligation is due to released payments, below 0 if they lessen it."""
    before = matrix.owed[standing.place]
    turned = standing.arcs.debtor != matrix.debtor[standing.place]
    return standing.owed - np.where(turned, -before, before)


def _beside(rows: Rows, line: Rows) -> Rows:
    """Put lines into the rows of the same debtor and creditor, or into rows of their own."""
    both = {
        name: np.concatenate([column, line.columns()[name]])
        for name, column in rows.columns().items()
    }
    pairs = np.stack([both.pop("debtor_id"), both.pop("creditor_id")])
    unique, places = np.unique(pairs, axis=1, return_inverse=True)
    summed = {}
    for name, column in both.items():
        summed[name] = np.zeros(unique.shape[1], np.int64)
        np.add.at(summed[name], places.ravel(), column)
    return replace(rows, debtor_id=unique[0], creditor_id=unique[1], **summed)
