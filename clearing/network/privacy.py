"""What figures withhold, so that from all that they show nobody's single payments can be told.

A number is small where fewer than 5 transfers or 3 members are in it. Small cells and sums of a
table are withheld, and further ones with them, until nothing small can be worked out from what is
shown: whichever rows and columns are added up or taken from each other.

How that is known: every withheld cell stands in one row and one column, whose sums are told. So
what can be worked out are sums over cuts: take any rows A and columns B such that no withheld cell
of another row stands in B; then the withheld cells of A outside B are known as a sum. The least of
these sums that has a given cell in it is a smallest cut, and as large as the greatest flow from
the cell's row to its column along withheld cells (Ford & Fulkerson 1956). Rows whose sums are
withheld are known together only, and count as one row; columns likewise.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from clearing.columns import Numbers

FEWEST_TRANSFERS: Final = 5
FEWEST_MEMBERS: Final = 3
FEWEST_PARTS: Final = 5
"""A share of something that has fewer parts would tell of each about how large it is."""

PERCENT_PLACES: Final = 2
"""Shares of volumes are told so: exactly, they could be solved for a volume that is withheld."""

_ENOUGH: Final = FEWEST_TRANSFERS
_NOWHERE: Final[dict[int, Any]] = {}
_LITTLE: Final = 2
"""What a small cell of two or more members counts at most: three of them hold three members."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Made:
    """What numbers are made of: transfers, and distinct members at least; one place a number.

    `number` is of transfers less reversals, below 0 where there are no more of the former. Only a
    number that is known anyway is made of 0: it need not and cannot be withheld.
    """

    number: Numbers
    members: Numbers

    @property
    def large(self) -> Flags:
        """Which are made of enough to be told, and to hide something small behind."""
        return (self.number >= FEWEST_TRANSFERS) & (self.members >= FEWEST_MEMBERS)

    @property
    def small(self) -> Flags:
        """Which are made of something, and of too little to be told."""
        is_something: Flags = self.number != 0
        return is_something & ~self.large


@dataclass(frozen=True)
class Tables:
    """Tables of cells with the sums of their rows and columns and of each as a whole.

    `row` and `column` tell the place of each cell's sums in `rows` and `columns`, `row_table` and
    `column_table` the place of each of these in `totals`. Cells without transfers are left out:
    that they are empty is told.
    """

    cells: Made
    row: Numbers
    column: Numbers
    rows: Made
    row_table: Numbers
    columns: Made
    column_table: Numbers
    totals: Made


@dataclass(frozen=True)
class Withheld:
    """Which cells and sums are not told."""

    cells: Flags
    rows: Flags
    columns: Flags
    totals: Flags


def withhold(tables: Tables) -> Withheld:
    """Return what has to be withheld of tables; the same for the same tables, in any case.

    Whatever is worked out from the rest is a sum of at least 5 transfers and 3 members. Where a
    whole table is too small, nothing of it is told.
    """
    return _Choice(tables).made()


class _Choice:
    """What is withheld so far; a node is a row, or beyond these a column."""

    def __init__(self, tables: Tables) -> None:
        self.t = tables
        self.cells, self.rows = tables.cells.small, tables.rows.small
        self.columns, self.totals = tables.columns.small, tables.totals.small
        self.table = tables.row_table[tables.row]
        self.weight = _weights(tables.cells)
        self.left = _left(tables.cells, self.weight)
        self.size = len(tables.row_table)
        self.ends = tables.row, tables.column + self.size
        self.nodes = self.size + len(tables.column_table)
        self._drop()

    def _drop(self) -> None:
        """Withhold all there is of tables that are withheld as a whole."""
        self.cells |= self.totals[self.table]
        self.rows |= self.totals[self.t.row_table]
        self.columns |= self.totals[self.t.column_table]

    def made(self) -> Withheld:
        """Withhold more until nothing small can be worked out."""
        while self._fill_rows() | self._fill_columns():
            pass
        classes = self._contracted()
        for table, cells in _by_table(self.table, self._crossing(classes)):
            _Mending(self, table, cells, classes).mend()
        self._drop()
        return Withheld(self.cells, self.rows, self.columns, self.totals)

    def _fill_rows(self) -> bool:
        """Withhold a further cell of each row of which too little is; its sum if there is none."""
        return self._fill(self.t.row, self.rows, self.t.rows.large)

    def _fill_columns(self) -> bool:
        return self._fill(self.t.column, self.columns, self.t.columns.large)

    def _fill(self, line: Numbers, sums: Flags, large: Flags) -> bool:
        held = np.zeros(len(sums), dtype=np.int64)
        np.add.at(held, line[self.cells], self.left[self.cells])
        is_held = np.zeros(len(sums), dtype=np.bool_)
        is_held[line[self.cells]] = True
        thin = is_held & (held < _ENOUGH) & ~sums
        free = np.flatnonzero(~self.cells & thin[line])
        order = free[np.lexsort((free, self.t.cells.number[free], line[free]))]
        lines, first = np.unique(line[order], return_index=True)
        self.cells[order[first]] = True
        thin[lines] = False
        sums |= thin & large
        return bool(order.size or (thin & large).any())

    def _contracted(self) -> Numbers:
        """Return a class of each node, such that no small sum lies between those of one class."""
        hub = self._hubs()
        strong = self.cells & (self.weight >= _ENOUGH)
        everything = np.arange(self.nodes)
        classes = _joined(
            np.concatenate([self.ends[0][strong], everything]),
            np.concatenate([self.ends[1][strong], hub]),
            self.nodes,
        )
        weak = self.cells & (self.weight < _ENOUGH) & ~self.totals[self.table]
        return _contract(classes, self.ends[0][weak], self.ends[1][weak], self.weight[weak])

    def _hubs(self) -> Numbers:
        """Return each node, or the first with a withheld sum of its side and table for those."""
        hub = np.arange(self.nodes)
        for flags, table, offset in (
            (self.rows, self.t.row_table, 0),
            (self.columns, self.t.column_table, self.size),
        ):
            hidden = np.flatnonzero(flags)
            _, first, which = np.unique(table[hidden], return_index=True, return_inverse=True)
            hub[hidden + offset] = hidden[first][which] + offset
        return hub

    def _crossing(self, classes: Numbers) -> Numbers:
        """Return the withheld cells whose row and column are of different classes."""
        apart = classes[self.ends[0]] != classes[self.ends[1]]
        return np.flatnonzero(self.cells & apart & ~self.totals[self.table])


def _weights(cells: Made) -> Numbers:
    """Return how much each cell hides: cells that come to `_ENOUGH` hold what is to be told.

    One that is large does alone. Of small ones it takes three, of 2 members or more each, which
    are not all the same two: at most two cells, there and back, are of the same two members.
    Reversals alone hide nothing.
    """
    little = np.where(cells.members >= _LITTLE, np.clip(cells.number, 0, _LITTLE), 0)
    return np.where(cells.large, _ENOUGH, little)


def _left(cells: Made, weight: Numbers) -> Numbers:
    """Return what cells add to what is left of their line: reversals alone take away from it."""
    return np.where(cells.large | (cells.number < 0), cells.number, weight)


def _by_table(table: Numbers, cells: Numbers) -> Iterable[tuple[int, Numbers]]:
    for one in np.unique(table[cells]).tolist():
        yield one, cells[table[cells] == one]


def _joined(a: Numbers, b: Numbers, nodes: int) -> Numbers:
    """Return the class of each node where pairs of nodes are joined."""
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _contract(classes: Numbers, a: Numbers, b: Numbers, weight: Numbers) -> Numbers:
    """Join classes between which no cut is below `_ENOUGH`, seen without directions, if not all.

    What remains of a graph once `_ENOUGH` - 1 spanning forests were taken from it, one after the
    other, joins nodes that hang together by each of these forests and by itself (Nagamochi &
    Ibaraki 1992).
    """
    while True:
        one, other, rest = _merged(classes[a], classes[b], weight)
        nodes = int(classes.max(initial=-1)) + 1
        for _ in range(_ENOUGH - 1):
            rest[_forest(one, other, rest, nodes)] -= 1
        safe = rest > 0
        if not safe.any():
            return classes
        classes = _joined(one[safe], other[safe], nodes)[classes]


def _merged(a: Numbers, b: Numbers, weight: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return the edges between different nodes, those of a pair as one."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    apart = low != high
    pair = (low[apart] << 32) | high[apart]
    keys, which = np.unique(pair, return_inverse=True)
    sums = np.zeros(len(keys), dtype=np.int64)
    np.add.at(sums, which, weight[apart])
    return keys >> 32, keys & (2**32 - 1), sums


def _forest(a: Numbers, b: Numbers, rest: Numbers, nodes: int) -> Numbers:
    """Return which edges make a spanning forest of those of which something is left."""
    left = np.flatnonzero(rest > 0)
    graph = coo_array((left + 1, (a[left], b[left])), shape=(nodes, nodes)).tocsr()
    return minimum_spanning_tree(graph).data.astype(np.int64) - 1


class _Mending:
    """One table's cells between classes: each is looked at by itself, and more withheld for it."""

    def __init__(self, choice: _Choice, table: int, cells: Numbers, classes: Numbers) -> None:
        self.choice, self.table, self.cells = choice, table, cells
        self.free = np.flatnonzero((choice.table == table) & ~choice.cells)
        self.is_enough = np.zeros(len(cells), dtype=np.bool_)
        own = np.flatnonzero(np.concatenate([choice.t.row_table, choice.t.column_table]) == table)
        self.place = np.zeros(choice.nodes, dtype=np.int64)
        self.place[own] = np.arange(len(own))
        self.classes = np.unique(classes[own], return_inverse=True)[1]

    def _ends(self, cells: Numbers) -> tuple[Numbers, Numbers]:
        """Return the classes that the rows and the columns of cells are of."""
        row, column = (self.classes[self.place[end[cells]]] for end in self.choice.ends)
        return row, column

    def mend(self) -> None:
        """Withhold more as long as there is a cut that is too small."""
        while not self.choice.totals[self.table]:
            cut = self._small_cut()
            if cut is None:
                return
            self._close(cut)

    def _small_cut(self) -> set[int] | None:
        """Return the classes on one side of a cut with too little in it, None if there is none.

        Where enough flows between two classes, it does so too once more is withheld or joined.
        """
        rows, columns = self._ends(self.cells)
        weights = self.choice.weight[self.cells].tolist()
        arcs: dict[int, dict[int, int]] = defaultdict(dict)
        back: dict[int, dict[int, None]] = defaultdict(dict)
        for row, column, weight in zip(rows.tolist(), columns.tolist(), weights, strict=True):
            if row != column:
                arcs[row][column] = arcs[row].get(column, 0) + weight
                back[column][row] = None
        open_ones = ~self.is_enough & (rows != columns)
        pairs = zip(rows[open_ones].tolist(), columns[open_ones].tolist(), strict=True)
        for row, column in sorted(set(pairs)):
            reached = _reached(arcs, back, row, column)
            if reached is not None:
                return reached
            self.is_enough |= (rows == row) & (columns == column)
        return None

    def _close(self, cut: set[int]) -> None:
        """Withhold the least more that crosses a cut: a cell, or sums of lines, or all there is."""
        choice = self.choice
        has = np.zeros(int(self.classes.max()) + 1, dtype=np.bool_)
        has[list(cut)] = True
        rows, columns = self._ends(self.free)
        free = self.free[has[rows] != has[columns]]
        if free.size:
            cell = free[np.argmin(choice.t.cells.number[free])]
            choice.cells[cell] = True
            self.free = self.free[self.free != cell]
            self._join([choice.ends[0][cell], choice.ends[1][cell]])
            return
        for sums, made, table, offset in (
            (choice.rows, choice.t.rows, choice.t.row_table, 0),
            (choice.columns, choice.t.columns, choice.t.column_table, choice.size),
        ):
            lines = np.flatnonzero((table == self.table) & (sums | made.large))
            side = has[self.classes[self.place[lines + offset]]]
            if side.any() and not side.all():
                order = np.lexsort((made.number[lines], ~sums[lines]))
                chosen = [lines[order[side[order] == which][0]] for which in (True, False)]
                sums[chosen] = True
                self._join([line + offset for line in np.flatnonzero(sums & (table == self.table))])
                return
        choice.totals[self.table] = True

    def _join(self, nodes: Sequence[np.int64]) -> None:
        first, *others = dict.fromkeys(self.classes[self.place[nodes]].tolist())
        for other in others:
            self.classes[self.classes == other] = first


def _reached(
    arcs: dict[int, dict[int, int]], back: dict[int, dict[int, None]], source: int, target: int
) -> set[int] | None:
    """Return the source's side of a smallest cut before the target, None if enough flows there.

    An arc may carry its weight forward and anything back, so that no arc leads into that side.
    """
    direct = arcs[source][target]
    used = defaultdict(int, {(source, target): direct, (target, source): -direct})
    for _ in range(_ENOUGH - direct):
        before = _search(arcs, back, used, source, target)
        if target not in before:
            return set(before)
        node = target
        while node != source:
            used[before[node], node] += 1
            used[node, before[node]] -= 1
            node = before[node]
    return None


def _search(
    arcs: dict[int, dict[int, int]],
    back: dict[int, dict[int, None]],
    used: dict[tuple[int, int], int],
    source: int,
    target: int,
) -> dict[int, int]:
    """Return the nodes that more can flow to, each with the one that it is reached from."""
    before, waiting = {source: source}, [source]
    while waiting and target not in before:
        node = waiting.pop()
        for other, carried in arcs.get(node, _NOWHERE).items():
            if other not in before and used.get((node, other), 0) < carried:
                before[other] = node
                waiting.append(other)
        for other in back.get(node, _NOWHERE):
            if other not in before:
                before[other] = node
                waiting.append(other)
    return before
