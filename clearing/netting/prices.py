"""Prices of the nodes that prove a circulation optimal, by Bellman-Ford on its residual graph."""

from operator import mul
from typing import Final

import numpy as np

from clearing.netting.arcs import Arcs, Numbers


class NotProvenError(RuntimeError):
    """What was found is not, or not yet, proven to be the best circulation."""


SWEEPS: Final = 500
"""So often prices are raised over all arcs before the components are set apart by themselves."""


def risen(arcs: Arcs, amount: Numbers, start: Numbers, sweeps: int) -> Numbers:
    """Return one whole number a node such that no arc could gain by another amount.

    Where more could be set off, the creditor's price is at least the debtor's and the weight;
    where less could, it is at most that. Prices begin at `start` and only rise. Raises
    NotProvenError where so many sweeps over all arcs were too few; as many as there are nodes
    are too few only where the circulation is not the best, so that there are no such prices.
    """
    more, less = amount < arcs.cap, amount > arcs.least
    tail = np.concatenate([arcs.debtor[more], arcs.creditor[less]])
    head = np.concatenate([arcs.creditor[more], arcs.debtor[less]])
    step = np.concatenate([arcs.weight[more], -arcs.weight[less]])
    price = start.copy()
    for _ in range(sweeps + 1):
        asked = price[tail] + step
        higher = np.flatnonzero(asked > price[head])
        if not higher.size:
            return price
        np.maximum.at(price, head[higher], asked[higher])
    raise NotProvenError("no prices were found that prove a circulation")


def risen_over_all(arcs: Arcs, amount: Numbers, start: Numbers, component: Numbers) -> Numbers:
    """Return such prices where `start` has them within each component.

    A long way from component to component is not gone arc by arc: where the sweeps are too few,
    all components are set apart at once, in their order.
    """
    try:
        return risen(arcs, amount, start, SWEEPS)
    except NotProvenError:
        apart = int(np.ptp(start) + np.abs(arcs.weight).max())
        in_order = start + (component.max() - component) * apart
        return risen(arcs, amount, in_order, arcs.nodes)


def proven(arcs: Arcs, amount: Numbers, price: Numbers) -> int:
    """Return Σ weight · amount; raises NotProvenError for what is no circulation or not the best.

    At these prices each arc by itself can bring so much at most, and the sum of that is reached.
    """
    balance = np.zeros(arcs.nodes, np.int64)
    np.add.at(balance, arcs.debtor, amount)
    np.subtract.at(balance, arcs.creditor, amount)
    gain = arcs.weight + price[arcs.debtor] - price[arcs.creditor]
    bound = products(gain, np.where(gain > 0, arcs.cap, arcs.least))
    within = (arcs.least <= amount) & (amount <= arcs.cap)
    if balance.any() or not within.all() or bound != products(arcs.weight, amount):
        raise NotProvenError("a circulation was found that its prices do not prove")
    return bound


def products(factors: Numbers, amounts: Numbers) -> int:
    """Return Σ factor · amount, beyond 64 bits too."""
    return sum(map(mul, factors.tolist(), amounts.tolist()))
