"""Positions over time: what each pair of accounts came to, at the end of every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from sqlalchemy import Integer, Select, String, case, cast, func, select, type_coerce
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from clearing.columns import Numbers, read
from clearing.ledger import Entry, Journal

_ID_BITS: Final = 32
_ID: Final = 2**_ID_BITS - 1
_FEW_CUTS: Final = 16
_JULIAN: Final = 1_721_424
"""The Julian day in which a day of the ordinal 0 begins: SQLite counts days from noon."""

Change = tuple[Numbers, Numbers, Numbers]
"""The places of the pairs that change, what each came to before, and what it comes to then."""


@dataclass(frozen=True)
class Pairs:
    """Every pair of accounts that ever had entries, and the changes of each by step.

    `one` and `other` are account ids; a change is of P(one, other), at place `pair`, in `step`.
    """

    one: Numbers
    other: Numbers
    pair: Numbers
    step: Numbers
    amount: Numbers

    def steps(self, count: int) -> Iterator[Change]:
        """Yield what changes in each step, the first from nothing."""
        order = np.argsort(self.step, kind="stable")
        bounds = np.searchsorted(self.step[order], np.arange(count + 1))
        now = np.zeros(len(self.one), dtype=np.int64)
        for begins, ends in pairwise(bounds.tolist()):
            moved = order[begins:ends]
            changed = np.unique(self.pair[moved])
            before = now[changed]
            np.add.at(now, self.pair[moved], self.amount[moved])
            yield changed, before, now[changed]

    def at_each(self, count: int) -> list[Numbers]:
        """Return P(one, other) of all pairs at the end of each of a few steps."""
        now, found = np.zeros(len(self.one), dtype=np.int64), []
        for changed, _, after in self.steps(count):
            now[changed] = after
            found.append(now.copy())
        return found


def pairs_before(session: Session, union_id: str | None, cuts: Sequence[datetime]) -> Pairs:
    """Return the positions that entries add up to; a change is in the first step that ends after.

    Of many cuts all but the last are midnights in UTC. Entries have no time, so each is found with
    its journal; of two opposite ones the one of the lower account is read.
    """
    key, amount, step = read(session, _changes(session, union_id, cuts))
    if _by_day(session, cuts):
        days = np.array([cut.toordinal() for cut in cuts[:-1]], dtype=np.int64)
        step = np.searchsorted(days, step - _JULIAN, side="right")
    keys, pair = np.unique(key, return_inverse=True)
    return Pairs(keys >> _ID_BITS, keys & _ID, pair, step, amount)


def _changes(
    session: Session, union_id: str | None, cuts: Sequence[datetime]
) -> Select[*tuple[Any, ...]]:
    """Ask for both accounts in one number, the amount, and the step: on SQLite its day yet."""
    step: Any
    if len(cuts) <= _FEW_CUTS:
        cases = [(Journal.posted_at < cut, n) for n, cut in enumerate(cuts)]
        step = case(*cases, else_=len(cuts))
    elif _by_day(session, cuts):
        day = func.substr(type_coerce(Journal.posted_at, String), 1, 10)
        step = cast(func.julianday(day), Integer)
    else:
        bounds = cast(list(cuts[:-1]), ARRAY(Journal.__table__.c.posted_at.type))
        step = func.width_bucket(Journal.posted_at, bounds)
    query = (
        select(
            (Entry.account_id * (_ID + 1) + Entry.counterparty_id).label("pair"),
            Entry.amount.label("amount"),
            step.label("step"),
        )
        .join(Journal, Journal.id == Entry.journal_id)
        .where(Entry.account_id < Entry.counterparty_id, Journal.posted_at < cuts[-1])
    )
    return query if union_id is None else query.where(Journal.union_id == union_id)


def _by_day(session: Session, cuts: Sequence[datetime]) -> bool:
    """Whether the database has no way to sort many moments in between cuts."""
    return len(cuts) > _FEW_CUTS and session.get_bind().dialect.name == "sqlite"
