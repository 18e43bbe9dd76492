"""The min-cost flow by OR-tools, exact in 64-bit integers; also a program of its own.

OR-tools holds the interpreter's lock while it solves, and nothing can break it off. So what is
large is solved by a process of its own, which ends itself once it took all the time that it was
given: it imports little, to start soon, and stands by itself. It reads what to solve from its
standard input and writes the flows to its standard output, all as 64-bit integers.
"""

import signal
import sys
from typing import Final

import numpy as np
import numpy.typing as npt
from ortools.graph.python import min_cost_flow

Numbers = npt.NDArray[np.int64]

INFEASIBLE: Final = 3
"""The exit status where the supplies cannot be brought to where they are demanded."""


def least_cost(
    tail: Numbers, head: Numbers, capacity: Numbers, cost: Numbers, supply: Numbers
) -> Numbers | None:
    """Return what goes over each arc at the least cost; None where no flow meets the supplies.

    `supply` has one place a node, the others one an arc; amounts and costs are whole numbers.
    """
    solver = min_cost_flow.SimpleMinCostFlow()
    places = solver.add_arcs_with_capacity_and_unit_cost(tail, head, capacity, cost)
    solver.set_nodes_supplies(np.arange(supply.size), supply)
    status = solver.solve()
    if status == solver.INFEASIBLE:
        return None
    if status != solver.OPTIMAL:
        msg = f"the netting solver found no optimum ({status})"
        raise ArithmeticError(msg)
    flows: Numbers = solver.flows(places)
    return flows


def main(deadline_ms: int) -> int:
    """Solve what comes in; the process is ended after `deadline_ms` of the processor."""
    words = np.frombuffer(sys.stdin.buffer.read(), np.int64)
    arcs, given = int(words[0]), words[1:]
    tail, head, capacity, cost, supply = np.split(given, arcs * np.arange(1, 5))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, deadline_ms / 1_000)
    flows = least_cost(tail, head, capacity, cost, supply)
    signal.setitimer(signal.ITIMER_PROF, 0)
    if flows is None:
        return INFEASIBLE
    sys.stdout.buffer.write(flows.astype(np.int64, copy=False).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
