"""Who paid whom by month, as groups, regions or unions, with what of it is told."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import Numbers
from clearing.network.answers import Asked, Grain
from clearing.network.cuts import month_starts
from clearing.network.flows import Flows, flows, places
from clearing.network.nodes import UNKNOWN
from clearing.network.privacy import Flags, Made, Tables, Withheld, withhold


@dataclass(frozen=True)
class Sums:
    """Sums of cells: each of a table and a node, empty ones left out; `withheld` are not told."""

    table: Numbers
    node: Numbers
    number: Numbers
    volume: Numbers
    withheld: Flags


@dataclass(frozen=True)
class Trade:
    """Payments between the nodes asked for, and the sums of what each paid and received.

    `flows` has one cell a payer, payee and table, `withheld` tells which of them are not told. The
    node of a total is 0.
    """

    flows: Flows
    withheld: Flags
    paid: Sums
    received: Sums
    totals: Sums


def matrix(session: Session, asked: Asked) -> Trade:
    """Return the payments of a period of whole months, by what is asked for.

    Every month of every union is withheld for itself, so that a longer period shows a cell where
    each of its months does or has nothing in it, and different periods tell nothing more than the
    months do. Regions are withheld beside their groups, so that what is told of both is no help.
    """
    return told(flows(session, asked, month_starts(session, asked)), asked)


def summed_up(session: Session, asked: Asked) -> Flows:
    """Return the same payments without a word of what is told: for what tells sums of them all."""
    found = flows(session, asked, month_starts(session, asked))
    return found if asked.by is Grain.GROUP else _merged(found, *_regions(found, asked))


def told(found: Flows, asked: Asked) -> Trade:
    """Return payments between groups by what is asked for, and what of them is told."""
    chosen = withhold(_tables(found))
    if asked.by is Grain.GROUP:
        return _matrix(found, chosen)
    if asked.by is Grain.UNION:
        return _of_unions(found, chosen)
    return _of_regions(found, *_regions(found, asked), chosen)


def _regions(found: Flows, asked: Asked) -> tuple[list[str], Numbers]:
    """Return the regions that there are, and the place among them of each group's."""
    labels = [name_of(name, asked) for name in found.names]
    names = sorted(set(labels))
    return names, places(labels, names)


def name_of(group_id: str, asked: Asked) -> str:
    """Return what a group is told as where groups or regions are asked for."""
    return asked.regions.get(group_id, UNKNOWN) if asked.by is Grain.REGION else group_id


def _tables(found: Flows) -> Tables:
    rows, row = np.unique(_line(found, found.payer), return_inverse=True)
    columns, column = np.unique(_line(found, found.payee), return_inverse=True)
    size = len(found.names)
    return Tables(
        cells=Made(_something(found.counted), found.payers + found.payees),
        row=row,
        column=column,
        rows=_made(found, row, len(rows)),
        row_table=rows // size if size else rows,
        columns=_made(found, column, len(columns)),
        column_table=columns // size if size else columns,
        totals=_made(found, found.table, len(found.tables)),
    )


def _line(found: Flows, node: Numbers) -> Numbers:
    return found.table * len(found.names) + node


def _made(found: Flows, key: Numbers, size: int) -> Made:
    """Return what the sums of cells are made of, by the key of each cell, 0 to `size` - 1.

    Of each group as many members are in a sum as on that side of the cell that has most of them:
    the same may stand in several cells, and on both sides.
    """
    width = len(found.names) + 1
    keys = np.concatenate([key * width + found.payer, key * width + found.payee])
    ones, which = np.unique(keys, return_inverse=True)
    most = np.zeros(len(ones), dtype=np.int64)
    np.maximum.at(most, which, np.concatenate([found.payers, found.payees]))
    number, is_there = np.zeros(size, dtype=np.int64), np.unique(key)
    number[is_there] = _something(_added(found.counted, key, size)[is_there])
    return Made(number, _added(most, ones // width, size))


def _something(counted: Numbers) -> Numbers:
    """Return what is counted of what is not empty: as many reversals as payments are no nothing."""
    return np.where(counted == 0, -1, counted)


def _sums(found: Flows, node: Numbers) -> Sums:
    size = max(len(found.names), 1)
    keys, which = np.unique(found.table * size + node, return_inverse=True)
    number, volume = (_added(of, which, len(keys)) for of in (found.number, found.volume))
    return Sums(keys // size, keys % size, number, volume, np.zeros(len(keys), dtype=np.bool_))


def _matrix(found: Flows, chosen: Withheld) -> Trade:
    nothing = np.zeros_like(found.table)
    return Trade(
        found,
        chosen.cells,
        _flagged(_sums(found, found.payer), chosen.rows),
        _flagged(_sums(found, found.payee), chosen.columns),
        _flagged(_sums(found, nothing), chosen.totals),
    )


def _flagged(sums: Sums, withheld: Flags) -> Sums:
    return Sums(sums.table, sums.node, sums.number, sums.volume, withheld)


def _merged(found: Flows, names: list[str], node: Numbers) -> Flows:
    """Return flows between fewer nodes: `node` is the place in `names` of each node there was."""
    size = len(names)
    key = (found.table * size + node[found.payer]) * size + node[found.payee]
    keys, which = np.unique(key, return_inverse=True)
    sums = {
        name: _added(getattr(found, name), which, len(keys))
        for name in ("number", "volume", "counted")
    }
    pairs = keys % (size * size)
    return Flows(
        names=names,
        tables=found.tables,
        table=keys // (size * size),
        payer=pairs // size,
        payee=pairs % size,
        payers=np.zeros_like(keys),
        payees=np.zeros_like(keys),
        **sums,
    )


def _of_unions(found: Flows, chosen: Withheld) -> Trade:
    """Return what was paid within each union; payments never leave one."""
    names, union = _unions(found)
    own = union[found.table]
    alike = Flows(**{**vars(found), "names": names, "payer": own, "payee": own})
    merged = _merged(alike, names, np.arange(len(names)))
    is_held = chosen.totals[merged.table]
    return _matrix(merged, Withheld(is_held, is_held, is_held, chosen.totals))


def _of_regions(found: Flows, names: list[str], region: Numbers, chosen: Withheld) -> Trade:
    """Return what regions paid each other; of which what was withheld of their groups counts.

    What is told of groups is known: so what a cell of regions tells beside it is the part that
    was withheld, which must be enough by itself.
    """
    merged = _merged(found, names, region)
    size = len(names)
    rows, row = np.unique(_line(merged, merged.payer), return_inverse=True)
    columns, column = np.unique(_line(merged, merged.payee), return_inverse=True)
    key = _line(merged, merged.payer) * size + merged.payee
    hidden = np.zeros(len(key), dtype=np.bool_)
    own_key = (_line_by(found, region[found.payer], size)) * size + region[found.payee]
    held = found.taken(chosen.cells)
    parts, part = np.unique(own_key[chosen.cells], return_inverse=True)
    of_part = np.searchsorted(key, parts)
    told = withhold(
        Tables(
            cells=_made(held, part, len(parts)),
            row=row[of_part],
            column=column[of_part],
            rows=_left(found, chosen.rows, found.payer, region, rows),
            row_table=rows // size if size else rows,
            columns=_left(found, chosen.columns, found.payee, region, columns),
            column_table=columns // size if size else columns,
            totals=_made(found, found.table, len(found.tables)),
        )
    )
    hidden[of_part] = told.cells
    return _matrix(merged, Withheld(hidden, told.rows, told.columns, chosen.totals))


def _line_by(found: Flows, node: Numbers, size: int) -> Numbers:
    return found.table * size + node


def _left(found: Flows, withheld: Flags, node: Numbers, region: Numbers, keys: Numbers) -> Made:
    """Return what the sums of regions are made of that was withheld of their groups' sums."""
    lines = np.unique(_line(found, node), return_inverse=True)[1]
    part = found.taken(withheld[lines])
    size = int(region.max(initial=0)) + 1
    key = _line_by(part, region[node[withheld[lines]]], size)
    return _made(part, np.searchsorted(keys, key), len(keys))


def whole(one: Trade, start: datetime) -> Trade:
    """Return the months of each union as one, which begins at `start`.

    Of each pair and node is told what every month tells of it.
    """
    found = one.flows
    flows_of_all, which = over_months(found, start)
    union = _unions(found)[1]
    lines = (_whole(sums, union, len(found.names)) for sums in (one.paid, one.received, one.totals))
    return Trade(flows_of_all, _any(one.withheld, which, len(flows_of_all.table)), *lines)


def over_months(found: Flows, start: datetime) -> tuple[Flows, Numbers]:
    """Return the months of each union as one, and in which of its cells each of theirs is."""
    unions, union = _unions(found)
    size = max(len(found.names), 1)
    key = (union[found.table] * size + found.payer) * size + found.payee
    keys, which = np.unique(key, return_inverse=True)
    nothing, pairs = np.zeros_like(keys), keys % (size * size)
    sums = {
        name: _added(getattr(found, name), which, len(keys))
        for name in ("number", "volume", "counted")
    }
    flows_of_all = Flows(
        names=found.names,
        tables=[(name, start) for name in unions],
        table=keys // (size * size),
        payer=pairs // size,
        payee=pairs % size,
        payers=nothing,
        payees=nothing,
        **sums,
    )
    return flows_of_all, which


def _unions(found: Flows) -> tuple[list[str], Numbers]:
    """Return the unions that there are, and the place among them of each table's."""
    unions = sorted({union for union, _ in found.tables})
    return unions, places([union for union, _ in found.tables], unions)


def _whole(sums: Sums, union: Numbers, nodes: int) -> Sums:
    size = max(nodes, 1)
    keys, which = np.unique(union[sums.table] * size + sums.node, return_inverse=True)
    return Sums(
        keys // size,
        keys % size,
        _added(sums.number, which, len(keys)),
        _added(sums.volume, which, len(keys)),
        _any(sums.withheld, which, len(keys)),
    )


def _added(values: Numbers, which: Numbers, size: int) -> Numbers:
    """Return the sum of the values of each kind, 0 to `size` - 1."""
    sums = np.zeros(size, dtype=np.int64)
    np.add.at(sums, which, values)
    return sums


def _any(flags: Flags, which: Numbers, size: int) -> Flags:
    found = np.zeros(size, dtype=np.bool_)
    found[which[flags]] = True
    return found
