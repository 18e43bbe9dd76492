"""A circulation as a min-cost flow without negative costs: what has to move so that it balances."""

from dataclasses import dataclass

import numpy as np

from clearing.netting.arcs import Arcs, Numbers


@dataclass(frozen=True)
class Flow:
    """Up to `capacity` goes from `tail` to `head` at `cost` a unit, 0 or more; a place an arc.

    `supply` is what each node sends on beyond what it takes in; supplies sum to 0.
    """

    tail: Numbers
    head: Numbers
    capacity: Numbers
    cost: Numbers
    supply: Numbers


def as_flow(arcs: Arcs) -> Flow:
    """Return what has to move once every arc starts at its better end.

    An arc that gains starts at its cap, and what flows is given back, from creditor to debtor;
    every other one starts at its least, and what flows comes on top.
    """
    gains = arcs.weight > 0
    start = np.where(gains, arcs.cap, arcs.least)
    supply = np.zeros(arcs.nodes, np.int64)
    np.add.at(supply, arcs.creditor, start)
    np.subtract.at(supply, arcs.debtor, start)
    return Flow(
        tail=np.where(gains, arcs.creditor, arcs.debtor),
        head=np.where(gains, arcs.debtor, arcs.creditor),
        capacity=arcs.cap - arcs.least,
        cost=np.abs(arcs.weight),
        supply=supply,
    )


def amounts(arcs: Arcs, flows: Numbers) -> Numbers:
    """Return what is set off of each arc where `flows` moves along the arcs of `as_flow`."""
    return np.where(arcs.weight > 0, arcs.cap - flows, arcs.least + flows)
