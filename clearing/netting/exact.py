"""A min-cost flow made exact from prices that are nearly the best ones; integers throughout."""

import numpy as np
import numpy.typing as npt
from ortools.graph.python import max_flow
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from clearing.netting.arcs import NO_WAY_ROUND, InfeasibleError, Numbers
from clearing.netting.flows import Flow
from commons.errors import LocalPayError


def check_feasible(flow: Flow) -> None:
    """Raise InfeasibleError where no flow meets the supplies, whatever it costs."""
    _, lacking = _brought(flow, np.zeros_like(flow.capacity), np.ones_like(flow.capacity) > 0)
    if lacking.any():
        raise InfeasibleError(NO_WAY_ROUND)


def from_prices(flow: Flow, price: Numbers) -> tuple[Numbers, Numbers]:
    """Return the flow of least cost and the prices that prove it, from any prices to begin with.

    At given prices an arc that gains is full, one that loses is empty, and what is left to bring
    goes over those that do neither. While that is too little, prices rise just as far as opens a
    further way; with good prices to begin with that is never or seldom. There must be a flow
    that meets the supplies.
    """
    loss = flow.cost + price[flow.head] - price[flow.tail]
    moved = np.where(loss < 0, flow.capacity, 0)
    while True:
        loss = flow.cost + price[flow.head] - price[flow.tail]
        moved, left = _brought(flow, moved, loss == 0)
        if not left.any():
            return moved, price
        price = price - _ways(flow, moved, loss, left)


def _brought(flow: Flow, moved: Numbers, tight: npt.NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Return the flow with as much of what is left brought over tight arcs, and what is left then.

    What is left is more than 0 where it waits, less than 0 where it is missing.
    """
    left = _left(flow, moved)
    tail, head, nodes = flow.tail[tight], flow.head[tight], left.size
    waits, lacks = np.flatnonzero(left > 0), np.flatnonzero(left < 0)
    solver = max_flow.SimpleMaxFlow()
    more = solver.add_arcs_with_capacity(tail, head, (flow.capacity - moved)[tight])
    back = solver.add_arcs_with_capacity(head, tail, moved[tight])
    solver.add_arcs_with_capacity(np.full(waits.size, nodes), waits, left[waits])
    solver.add_arcs_with_capacity(lacks, np.full(lacks.size, nodes + 1), -left[lacks])
    status = solver.solve(nodes, nodes + 1)
    if status != solver.OPTIMAL:
        raise LocalPayError(f"the netting solver found no largest flow ({status})")
    brought = moved.copy()
    brought[tight] += solver.flows(more) - solver.flows(back)
    return brought, _left(flow, brought)


def _left(flow: Flow, moved: Numbers) -> Numbers:
    left = flow.supply.copy()
    np.subtract.at(left, flow.tail, moved)
    np.add.at(left, flow.head, moved)
    return left


def _ways(flow: Flow, moved: Numbers, loss: Numbers, left: Numbers) -> Numbers:
    """Return how dear the cheapest way to each node is from where something is left."""
    more, back = moved < flow.capacity, moved > 0
    tail = np.concatenate([flow.tail[more], flow.head[back]])
    head = np.concatenate([flow.head[more], flow.tail[back]])
    dear = np.concatenate([loss[more], -loss[back]])
    order = np.lexsort((dear, head, tail))
    tail, head, dear = tail[order], head[order], dear[order]
    # Of arcs between the same two nodes the cheapest alone: SciPy may add up the others.
    cheapest = (np.diff(tail, prepend=-1) != 0) | (np.diff(head, prepend=-1) != 0)
    starts = np.searchsorted(tail[cheapest], np.arange(left.size + 1))
    columns = dear[cheapest], head[cheapest], starts
    graph = csr_array(columns, shape=(left.size, left.size))
    ways = dijkstra(graph, indices=np.flatnonzero(left > 0), min_only=True)
    farthest = ways[np.isfinite(ways)].max()
    dear_to: Numbers = np.minimum(ways, farthest).astype(np.int64)
    return dear_to
