"""Prices of a min-cost flow by HiGHS, which long chains do not slow down."""

from typing import Any, Final

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csc_array

from clearing.netting.arcs import Numbers
from clearing.netting.flows import Flow

LARGEST_BITS: Final = 20
"""Amounts are scaled below 2 to this, where HiGHS' tolerance of 1e-7 is finer than they are."""
LONGEST_SECONDS: Final = 600
"""HiGHS gives up after this; it takes ten times as long where it is given no limit at all."""


def rough_prices(flow: Flow) -> Numbers:
    """Return prices of the nodes that are best for the amounts as floats, in whole numbers.

    Costs are whole, so the prices of a vertex are; the amounts were rounded, so for the exact
    ones they need not be the best. Where HiGHS finds none, they are all 0.
    """
    count = flow.tail.size
    largest = max(int(flow.capacity.max(initial=0)), int(np.abs(flow.supply).max(initial=0)))
    scale = np.ldexp(1, min(0, LARGEST_BITS - largest.bit_length()))
    # SciPy takes sparse arrays and bounds by the column here, and its types do not say so.
    balance: Any = csc_array(
        (
            np.tile([1, -1], count),
            np.column_stack([flow.tail, flow.head]).ravel(),
            np.arange(0, 2 * count + 1, 2),
        ),
        shape=(flow.supply.size, count),
    )
    bounds: Any = np.column_stack([np.zeros(count), flow.capacity * scale])
    found = linprog(
        flow.cost,
        A_eq=balance,
        b_eq=flow.supply * scale,
        bounds=bounds,
        method="highs-ds",
        options={"time_limit": LONGEST_SECONDS},
    )
    if found.eqlin.marginals is None:
        return np.zeros_like(flow.supply)
    prices: Numbers = np.rint(found.eqlin.marginals).astype(np.int64)
    return prices
