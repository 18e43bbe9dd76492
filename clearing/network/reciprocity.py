"""Reciprocity: how much of what is paid comes back from those to whom it was paid."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import total
from clearing.network.answers import Answer, Asked, Cell, Column
from clearing.network.flows import Flows
from clearing.network.matrix import over_months, summed_up
from clearing.network.nodes import UNION
from clearing.network.numbers import rounded, share
from clearing.network.privacy import FEWEST_PARTS, PERCENT_PLACES

_COLUMNS: Final = (
    Column("from", "moment", "The beginning of the month."),
    UNION,
    Column("links", "number", "Ordered pairs with more paid than taken back."),
    Column("links_returned", "share", "Of these, those with a link the other way."),
    Column("volume_returned", "share", "Of the volume, what went the other way too; in percents."),
)

Counted = tuple[int, int, int, int]
"""Links, those returned, the volume, and what of it was returned."""


def reciprocity(session: Session, asked: Asked) -> Answer:
    """How much of trade is returned directly, in each month; in the totals, of the whole period.

    Formula: with w(i,j) = max(0, volume from i to j) and i ≠ j, links = pairs with w(i,j) > 0;
    links returned = pairs with w(i,j) > 0 and w(j,i) > 0, ÷ links;
    volume returned = Σ min(w(i,j), w(j,i)) ÷ Σ w(i,j). None where nothing was paid, and of the
    volume where there are fewer than 5 links, which it would tell of. The totals' w is that of
    all months, by unions.
    Unit: number; shares of 1, that of the volume to whole percents.
    Source: transfers by when they were posted, as in `trade`; Garlaschelli & Loffredo 2004, PRL
    93:268701 (links); Squartini, Picciuto, Ruzzenenti & Garlaschelli 2013, Sci. Rep. 3:2729.
    """
    found = summed_up(session, asked)
    rows = [
        (start, union, *_told([counted(found.taken(found.table == table))]))
        for table, (union, start) in enumerate(found.tables)
    ]
    over, _ = over_months(found, asked.start)
    unions = [counted(over.taken(over.table == table)) for table in range(len(over.tables))]
    names = (column.name for column in _COLUMNS[2:])
    totals = dict(zip(names, _told(unions), strict=True))
    return Answer("reciprocity", asked, _COLUMNS, rows, totals)


def counted(found: Flows) -> Counted:
    """Return what is counted of the flows of one table."""
    links = found.taken((found.payer != found.payee) & (found.volume > 0))
    size = len(links.names)
    there, back = links.payer * size + links.payee, links.payee * size + links.payer
    both, one, other = np.intersect1d(there, back, assume_unique=True, return_indices=True)
    least = np.minimum(links.volume[one], links.volume[other])
    return len(there), len(both), total(links.volume), total(least)


def _told(tables: Iterable[Counted]) -> tuple[Cell, Cell, Cell]:
    links, both, volume, least = (sum(parts) for parts in zip((0,) * 4, *tables, strict=True))
    is_told = links >= FEWEST_PARTS
    returned = rounded(Fraction(least, volume), PERCENT_PLACES) if is_told else None
    return links, share(both, links), returned
