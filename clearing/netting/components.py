"""Strongly connected components, within which alone anything can go round."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clearing.netting.arcs import Arcs, Numbers

LARGE: Final = 5_000
"""A component of more arcs than this is solved by itself; smaller ones up to so many at once."""


def components(arcs: Arcs) -> Numbers:
    """Return a number for each node: the same for those that reach each other over open arcs.

    An arc from one component to another goes from the higher number to the lower, which SciPy
    does and does not promise.
    """
    is_open = arcs.cap > 0
    ends = arcs.debtor[is_open], arcs.creditor[is_open]
    graph = coo_array((np.ones(ends[0].size), ends), shape=(arcs.nodes, arcs.nodes)).tocsr()
    _, labels = connected_components(graph, connection="strong")
    return labels.astype(np.int64)


def parts(arcs: Arcs, component: Numbers) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the places of arcs to be solved together: of each component all are in one part."""
    if not arcs.cap.size:
        return
    sizes = np.bincount(component[arcs.debtor], minlength=component.size)
    large = sizes > LARGE
    batch = np.cumsum(np.where(large, 0, sizes)) // LARGE
    batch[large] = batch[-1] + 1 + np.arange(np.count_nonzero(large))
    part = batch[component[arcs.debtor]]
    order = np.argsort(part, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(part[order])) + 1)


def among_themselves(arcs: Arcs) -> tuple[Arcs, Numbers]:
    """Return the arcs between their own nodes alone, numbered anew, and the nodes' old numbers."""
    meets = np.zeros(arcs.nodes, np.bool_)
    meets[arcs.debtor] = meets[arcs.creditor] = True
    nodes = np.flatnonzero(meets)
    number = np.cumsum(meets) - 1
    few = Arcs(
        nodes.size,
        number[arcs.debtor],
        number[arcs.creditor],
        arcs.least,
        arcs.cap,
        arcs.weight,
    )
    return few, nodes
