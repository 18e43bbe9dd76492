"""Net positions and what no netting can remove, over time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import Numbers
from clearing.network.answers import Answer, Asked, Cell, Column, Grain
from clearing.network.nodes import NAMED, UNION, Node, labels, nodes, rows_of
from clearing.network.numbers import money, share, summed
from clearing.network.pairs import Pairs, pairs_before
from clearing.network.steps import ends
from commons.errors import InvalidError

MOST_ROWS: Final = 200_000

_AT: Final = Column("at", "moment", "The end of the step: what was posted before it counts.")
_OF_NAMED: Final = (
    Column("net_position", "clearing units", "What is owed to it less what it owes."),
    Column("residue", "clearing units", "The same of the accounts that take its rounding."),
    Column("owes", "clearing units", "All that it owes others, its rounding too."),
    Column("is_owed", "clearing units", "All that others owe it, its rounding too."),
)
_OF_UNION: Final = (
    Column("net_internal_debt", "clearing units", "What no netting can remove."),
    Column("total_owed", "clearing units", "What all accounts owe each other."),
    Column("netting_efficiency", "share", "Of all that is owed, what netting could remove."),
)


def positions(session: Session, asked: Asked) -> Answer:
    """Net positions and net internal debt at the end of each step.

    Formula: net position b(i) = Σ_j P(i,j) of group i; owes(i) = Σ_j max(0, P(j,i));
    T = Σ_i owes(i); NID = ½ Σ_i |b(i)| over all accounts, those that take rounding and the
    union's own among them; netting efficiency = 1 - NID / T, none where nothing is owed.
    Unit: clearing units; the efficiency is a share of 1.
    Source: the entries of all journals posted before the end of the step, and nothing else;
    Fleischman, Dini, Littera 2020, JRFM 13:295.
    """
    found = nodes(session, asked)
    cuts = ends(asked.start, asked.end, asked.every)
    keys, place = labels(found, asked)
    if len(keys) * len(cuts) > MOST_ROWS:
        raise InvalidError("every", f"makes more than {MOST_ROWS} rows: ask for fewer steps")
    series = _Series(found, place, len(keys), pairs_before(session, asked.union_id, cuts))
    rows: list[Sequence[Cell]] = []
    for cut in series.steps(cuts):
        cells = series.unions() if asked.by is Grain.UNION else series.named()
        rows += [(cut, *row) for row in rows_of(keys, asked, cells)]
    own = _OF_UNION if asked.by is Grain.UNION else _OF_NAMED
    return Answer("positions", asked, (_AT, UNION, *NAMED[asked.by], *own), rows, series.totals())


class _Series:
    """The matrix at the end of one step after the other, summed by account and by label."""

    def __init__(self, found: Sequence[Node], place: Numbers, size: int, pairs: Pairs) -> None:
        self._place, self._size, self._pairs = place, size, pairs
        self._is_residue = np.array([not node.is_main for node in found], dtype=np.int64)
        ids = np.array([node.id for node in found], dtype=np.int64)
        order = np.argsort(ids)
        self._one = order[np.searchsorted(ids[order], pairs.one)]
        self._other = order[np.searchsorted(ids[order], pairs.other)]
        self._owes = np.zeros(len(found), dtype=np.int64)
        self._is_owed = np.zeros(len(found), dtype=np.int64)

    def steps(self, cuts: Sequence[datetime]) -> Iterator[datetime]:
        """Go through the steps, yielding the end of each once the matrix stands there."""
        for cut, change in zip(cuts, self._pairs.steps(len(cuts)), strict=True):
            changed, before, after = change
            one, other = self._one[changed], self._other[changed]
            self._owe(other, one, np.maximum(after, 0) - np.maximum(before, 0))
            self._owe(one, other, np.maximum(-after, 0) - np.maximum(-before, 0))
            yield cut

    def _owe(self, debtors: Numbers, creditors: Numbers, amounts: Numbers) -> None:
        np.add.at(self._owes, debtors, amounts)
        np.add.at(self._is_owed, creditors, amounts)

    def _summed(self, values: Numbers) -> list[int]:
        return summed(self._place, values, self._size)

    def named(self) -> Iterator[Sequence[Cell]]:
        """Yield the cells of each group or region."""
        balance = self._is_owed - self._owes
        residue = balance * self._is_residue
        sums = (balance - residue, residue, self._owes, self._is_owed)
        for cells in zip(*map(self._summed, sums), strict=True):
            yield tuple(map(money, cells))

    def unions(self) -> Iterator[Sequence[Cell]]:
        """Yield the cells of each union."""
        gross = self._summed(np.abs(self._is_owed - self._owes))
        for debt, owed in zip(gross, self._summed(self._owes), strict=True):
            yield _debt(debt // 2, owed)

    def totals(self) -> dict[str, Cell]:
        """Return the figures of all unions at the end of the last step."""
        balance = self._is_owed - self._owes
        debt, owed = sum(map(int, np.abs(balance))) // 2, sum(map(int, self._owes))
        names = (column.name for column in _OF_UNION)
        told = dict(zip(names, _debt(debt, owed), strict=True))
        return {"net_position": money(sum(map(int, balance))), **told}


def _debt(net_internal: int, owed: int) -> tuple[Cell, Cell, Cell]:
    return money(net_internal), money(owed), share(owed - net_internal, owed)
