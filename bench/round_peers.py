"""Other ways to clear what is owed: OR-tools alone, networkx's simplex, hunting cycles greedily."""

import time

import networkx as nx
import numpy as np

from clearing.netting import Arcs, solver
from clearing.netting.flows import as_flow


def bare_seconds(arcs: Arcs) -> float:
    """Return how long OR-tools takes by itself, with neither prices nor proof."""
    flow = as_flow(arcs)
    start = time.perf_counter()
    solver.least_cost(flow.tail, flow.head, flow.capacity, flow.cost, flow.supply)
    return time.perf_counter() - start


def simplex(arcs: Arcs) -> tuple[float, int]:
    """Return how long networkx takes to find what must remain, and how much that clears.

    No two arcs may have the same ends; its graph is made before.
    """
    flow = as_flow(arcs)
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node, supply in enumerate(flow.supply.tolist()):
        graph.add_node(node, demand=-supply)
    columns = (flow.tail.tolist(), flow.head.tolist(), flow.capacity.tolist())
    for tail, head, capacity in zip(*columns, strict=True):
        graph.add_edge(tail, head, capacity=capacity, weight=1)
    start = time.perf_counter()
    remains, _ = nx.network_simplex(graph)
    return time.perf_counter() - start, int(arcs.cap.sum()) - int(remains)


def greedy(arcs: Arcs) -> tuple[float, int]:
    """Return how long it takes to clear any cycle that is met until there is none, and how much.

    From each node debts are followed; where they come back to a node on the way, the least of
    that cycle is cleared on all of it, and the way goes on from before what was used up.
    """
    start = time.perf_counter()
    order = np.argsort(arcs.debtor, kind="stable")
    first = np.searchsorted(arcs.debtor[order], np.arange(arcs.nodes + 1)).tolist()
    head, left = arcs.creditor[order].tolist(), arcs.cap[order].tolist()
    cleared, following, end = 0, first[:-1], first[1:]
    place_on_way = [-1] * arcs.nodes
    for root in range(arcs.nodes):
        nodes = [root]
        way: list[int] = []
        place_on_way[root] = 0
        while nodes:
            node = nodes[-1]
            while following[node] < end[node] and not left[following[node]]:
                following[node] += 1
            if following[node] == end[node]:  # whoever owes nothing is in no cycle
                place_on_way[nodes.pop()] = -1
                if way:
                    left[way.pop()] = 0
                continue
            arc = following[node]
            met = place_on_way[head[arc]]
            way.append(arc)
            if met < 0:
                place_on_way[head[arc]] = len(nodes)
                nodes.append(head[arc])
                continue
            cycle = way[met:]
            least = min(left[each] for each in cycle)
            cleared += least * len(cycle)
            for each in cycle:
                left[each] -= least
            used_up = next(at for at, each in enumerate(way) if not left[each])
            for gone in nodes[used_up + 1 :]:
                place_on_way[gone] = -1
            del nodes[used_up + 1 :], way[used_up:]
    return time.perf_counter() - start, cleared
