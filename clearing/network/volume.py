"""Volume: how many payments there were, what they came to, and how large they were."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import Numbers
from clearing.network import steps
from clearing.network.answers import Answer, Asked, Cell, Column, Every, Grain
from clearing.network.cuts import month_starts
from clearing.network.days import Days
from clearing.network.flows import Payments, flows_of, payments, places
from clearing.network.matrix import Sums, Trade, name_of, told
from clearing.network.nodes import NAMED, UNION
from clearing.network.numbers import money
from clearing.network.privacy import FEWEST_TRANSFERS

_FROM: Final = Column("from", "moment", "The beginning of the step.")
_MEDIAN: Final = Column(
    "median", "clearing units", "The middle size of these payments; of two the smaller."
)
_OF_UNION: Final = (
    Column("number", "number", "Payments that were posted; empty where it is withheld."),
    Column("volume", "clearing units", "What they come to, less what was taken back; as above."),
    _MEDIAN,
)
_OF_NAMED: Final = (
    Column("paid_number", "number", "Payments made; empty where it is withheld."),
    Column("paid", "clearing units", "What they come to, less what was taken back; as above."),
    Column("received_number", "number", "Payments received; empty where it is withheld."),
    Column("received", "clearing units", "What they come to, less what was taken back; as above."),
    Column("median", "clearing units", "The middle size of those made; of two the smaller."),
)


def volume(session: Session, asked: Asked) -> Answer:
    """Payments in each step: how many, what they come to, and their middle size.

    Formula: number = payments posted in the step, reversals not counted; volume = Σ what payees
    got for these - Σ what reversals posted in the step took back; median = the size of that
    payment which at least half of them do not exceed, and of such the smallest, before anything
    was taken back. Steps without payments of a union have no row.
    Unit: number of payments; clearing units.
    Source: transfers by when they were posted, `value_date` aside. By groups and regions steps and
    periods are months and what `trade` withholds is withheld; of unions a step is told where it
    begins and ends between months, or between days of at least 5 payments and 3 members (decision
    36).
    """
    if asked.by is Grain.UNION:
        return _of_unions(session, asked)
    months = month_starts(session, asked)
    made = payments(session, asked, months, Every.MONTH)
    found = told(flows_of(made, months), asked)
    sums = (found.paid, found.received)
    held = sum(int(part.withheld.sum()) for part in (*sums, found.totals))
    totals = found.totals
    rows = list(_of_named(found, _medians(made, months, asked, found)))
    is_told = not totals.withheld.any()
    return Answer(
        "volume",
        asked,
        (_FROM, UNION, *NAMED[asked.by], *_OF_NAMED),
        rows,
        _totals(int(totals.number.sum()), int(totals.volume.sum()), is_told=is_told),
        held,
    )


def _totals(number: int, minor: int, *, is_told: bool) -> dict[str, Cell]:
    return {
        "number": number if is_told else None,
        "volume": money(minor) if is_told else None,
    }


def _of_unions(session: Session, asked: Asked) -> Answer:
    found = steps.spans(asked.start, steps.ends(asked.start, asked.end, asked.every))
    days, rows, held = Days(session, asked), list[Sequence[Cell]](), 0
    middles = {union: _middles(days, union, found) for union in days.unions}
    for begins, ends in found:
        for union in days.unions:
            made, is_told = days.between(union, begins, ends)
            if made.rows:
                middle = _middle(made.number, middles[union].get(begins))
                cells = (made.number, money(made.volume), middle)
                rows.append((begins, union, *(cells if is_told else (None, None, None))))
                held += not is_told
    parts = [days.between(union, asked.start, asked.end) for union in days.unions]
    number, minor = (sum(getattr(made, name) for made, _ in parts) for name in ("number", "volume"))
    totals = _totals(number, minor, is_told=all(is_told for _, is_told in parts))
    return Answer("volume", asked, (_FROM, UNION, *_OF_UNION), rows, totals, held)


def _middle(number: int, median: int | None) -> Cell:
    """Return the median of so many payments; of none there is none, and of few none is told."""
    return None if median is None or number < FEWEST_TRANSFERS else money(median)


def _middles(
    days: Days, union: str, spans: Sequence[tuple[datetime, datetime]]
) -> dict[datetime, int]:
    """Return the median of a union's payments by the beginning of the step."""
    made = days.payments
    starts = np.array([(begins - days.first).days for begins, _ in spans], dtype=np.int64)
    own = np.searchsorted(starts, made.step, side="right") - 1
    is_in = (own >= 0) & (made.step < (spans[-1][1] - days.first).days)
    is_in &= (made.amount > 0) & (made.union == made.unions.index(union))
    medians = middles(own[is_in], made.amount[is_in])
    return {spans[place][0]: size for place, size in medians.items()}


def _medians(
    made: Payments, months: Sequence[datetime], asked: Asked, found: Trade
) -> dict[tuple[int, int], int]:
    """Return the median of what each node paid, by table and node."""
    names = found.flows.names
    node = places([name_of(name, asked) for name in made.groups], names)
    tables = {table: place for place, table in enumerate(found.flows.tables)}
    paid = made.amount > 0
    key = (made.union * len(months) + made.step) * len(names) + node[made.payer]
    medians = dict[tuple[int, int], int]()
    for one, median in middles(key[paid], made.amount[paid]).items():
        table, place = divmod(one, len(names))
        union, month = divmod(table, len(months))
        medians[tables[made.unions[union], months[month]], place] = median
    return medians


def _of_named(found: Trade, medians: dict[tuple[int, int], int]) -> Iterator[Sequence[Cell]]:
    paid, received = _by_place(found.paid), _by_place(found.received)
    for table, node in sorted({*paid, *received}):
        union, start = found.flows.tables[table]
        made, is_held = paid.get((table, node), ((0, money(0)), False))
        middle = None if is_held else _middle(made[0], medians.get((table, node)))
        got, is_got_held = received.get((table, node), ((0, money(0)), False))
        cells = ((None, None) if is_held else made), ((None, None) if is_got_held else got)
        yield (start, union, found.flows.names[node], *cells[0], *cells[1], middle)


def _by_place(sums: Sums) -> dict[tuple[int, int], tuple[tuple[int, Decimal], bool]]:
    columns = (sums.table, sums.node, sums.number, sums.volume, sums.withheld)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {
        (table, node): ((number, money(volume)), is_held)
        for table, node, number, volume, is_held in rows
    }


def middles(key: Numbers, sizes: Numbers) -> dict[int, int]:
    """Return the median of the sizes with each key; of an even number the lower middle."""
    order = np.lexsort((sizes, key))
    keys, first, count = np.unique(key[order], return_index=True, return_counts=True)
    return dict(zip(keys.tolist(), sizes[order[first + (count - 1) // 2]].tolist(), strict=True))
