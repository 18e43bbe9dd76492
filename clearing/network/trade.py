"""The trade matrix: who paid whom how much."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy.orm import Session

from clearing.network.answers import Answer, Asked, Cell, Column
from clearing.network.matrix import Sums, Trade, matrix, whole
from clearing.network.nodes import UNION
from clearing.network.numbers import money

_COLUMNS: Final = (
    UNION,
    Column("payer", "name", "Who paid, by what is asked for; empty in sums over all payers."),
    Column("payee", "name", "Who was paid; empty in sums over all payees."),
    Column("number", "number", "Payments that were posted; empty where it is withheld."),
    Column("volume", "clearing units", "What they come to, less what was taken back; as above."),
)


def trade(session: Session, asked: Asked) -> Answer:
    """Payments between groups, regions or within unions, with the sums of each payer and payee.

    Formula: number n(i,j) = payments from i to j posted in the period, reversals not counted;
    volume w(i,j) = Σ what the payee got for these - Σ what the reversals posted in the period took
    back of it, whenever that was paid; Σ_j w(i,j), Σ_i w(i,j) and Σ w. A volume is below zero
    where more was taken back than paid. By regions, payments within one stand on the diagonal.
    Unit: number of payments; clearing units.
    Source: transfers by when they were posted, `value_date` aside. Rows of a payer sum to its sum
    less what is withheld; a period is whole months, and a cell with fewer than 5 payments or 3
    members in a month is withheld, with what would tell it (decision 36).
    """
    found = whole(matrix(session, asked), asked.start)
    rows = [*_cells(found), *_sums(found)]
    held = sum(int(part.withheld.sum()) for part in (found, found.paid, found.received))
    totals = found.totals
    is_told = not totals.withheld.any()
    return Answer(
        "trade",
        asked,
        _COLUMNS,
        rows,
        {
            "number": int(totals.number.sum()) if is_told else None,
            "volume": money(int(totals.volume.sum())) if is_told else None,
        },
        held + int(totals.withheld.sum()),
    )


def _cells(found: Trade) -> Iterator[Sequence[Cell]]:
    cells, names = found.flows, found.flows.names
    columns = (cells.table, cells.payer, cells.payee, cells.number, cells.volume, found.withheld)
    for table, payer, payee, number, volume, is_held in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        told = (None, None) if is_held else (number, money(volume))
        yield (cells.tables[table][0], names[payer], names[payee], *told)


def _sums(found: Trade) -> Iterator[Sequence[Cell]]:
    for sums, is_payer in ((found.paid, True), (found.received, False)):
        for union, name, told in _told(found, sums):
            yield (union, name, None, *told) if is_payer else (union, None, name, *told)
    for union, _, told in _told(found, found.totals):
        yield (union, None, None, *told)


def _told(found: Trade, sums: Sums) -> Iterator[tuple[str, str, tuple[Cell, Cell]]]:
    columns = (sums.table, sums.node, sums.number, sums.volume, sums.withheld)
    for table, node, number, volume, is_held in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        told = (None, None) if is_held else (number, money(volume))
        yield found.flows.tables[table][0], found.flows.names[node], told
