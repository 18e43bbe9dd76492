"""The min-cost flow, solved within this process or in one of its own with a deadline."""

import signal
import subprocess
import sys

import numpy as np

from clearing.netting import solver
from clearing.netting.arcs import NO_WAY_ROUND, InfeasibleError, Numbers
from clearing.netting.flows import Flow
from commons.errors import LocalPayError


def least_cost(flow: Flow) -> Numbers:
    """Return what goes over each arc at the least cost.

    Raises InfeasibleError where no flow meets the supplies.
    """
    try:
        flows = solver.least_cost(flow.tail, flow.head, flow.capacity, flow.cost, flow.supply)
    except ArithmeticError as error:
        raise LocalPayError(str(error)) from error
    if flows is None:
        raise InfeasibleError(NO_WAY_ROUND)
    return flows


def least_cost_apart(flow: Flow, deadline_ms: int) -> Numbers | None:
    """Return what goes over each arc at the least cost; None where that was not found in time.

    The deadline is in time of the processor, so that a busy machine changes no result. Raises
    InfeasibleError where no flow meets the supplies.
    """
    if deadline_ms <= 0:
        return None
    size = np.array([flow.tail.size])
    columns = (size, flow.tail, flow.head, flow.capacity, flow.cost, flow.supply)
    done = subprocess.run(  # noqa: S603 (this interpreter and our own file)
        [sys.executable, "-P", solver.__file__, str(deadline_ms)],
        input=np.concatenate(columns).tobytes(),
        capture_output=True,
        check=False,
    )
    if done.returncode == -signal.SIGPROF:
        return None
    if done.returncode == solver.INFEASIBLE:
        raise InfeasibleError(NO_WAY_ROUND)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LocalPayError(f"the netting solver ended with {done.returncode}: {''.join(said)}")
    return np.frombuffer(done.stdout, np.int64)
