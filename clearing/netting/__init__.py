"""Optimal set-off: the most that can be cancelled of what groups owe each other.

Setting off X with 0 ≤ X ≤ cap on every obligation and, for every node, as much of what it owes
as of what it is owed, changes nobody's net position. The largest Σ X is found as a min-cost flow
of what must remain: each node supplies its net position, each obligation carries up to its cap
at cost 1, and the flow that costs least is the least that has to stay.
[Fleischman, Dini, Littera 2020, JRFM 13:295.]
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clearing.netting.arcs import Arcs, Circulation, InfeasibleError
from clearing.netting.circulating import MAX_TOTAL, circulate
from commons.errors import InvalidError

__all__ = [
    "MAX_TOTAL",
    "Arcs",
    "Circulation",
    "InfeasibleError",
    "Netting",
    "Obligation",
    "circulate",
    "merge",
    "net_positions",
    "solve",
]


@dataclass(frozen=True, order=True)
class Obligation:
    """What `debtor` owes `creditor`, in smallest units, more than 0."""

    debtor: str
    creditor: str
    amount: int


@dataclass(frozen=True)
class Netting:
    """Set-offs that cancel the most there is to cancel; all amounts in smallest units.

    `set_offs` holds every obligation, sorted, with how much of it is cancelled (0 included).
    """

    set_offs: Mapping[Obligation, int]
    total: int
    net_internal_debt: int

    @property
    def cleared(self) -> int:
        """Σ of all set-offs."""
        return sum(self.set_offs.values())

    @property
    def remaining(self) -> list[Obligation]:
        """What is still owed, sorted by debtor and creditor."""
        return [
            Obligation(o.debtor, o.creditor, o.amount - off)
            for o, off in self.set_offs.items()
            if o.amount > off
        ]


def merge(obligations: Sequence[Obligation]) -> list[Obligation]:
    """Add up obligations of the same debtor to the same creditor and sort them.

    Raises InvalidError for an obligation to oneself, an amount that is not positive, and sums
    beyond 2⁶².
    """
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for number, obligation in enumerate(obligations, 1):
        if obligation.debtor == obligation.creditor:
            raise InvalidError("creditor", f"obligation {number}: nobody owes itself")
        if obligation.amount <= 0:
            raise InvalidError("amount", f"obligation {number}: must be more than 0")
        sums[obligation.debtor, obligation.creditor] += obligation.amount
    if sum(sums.values()) >= MAX_TOTAL:
        raise InvalidError("amount", "the sum of all obligations must stay below 2^62")
    return [Obligation(*pair, amount) for pair, amount in sorted(sums.items())]


def net_positions(obligations: Sequence[Obligation]) -> dict[str, int]:
    """Return what each node is owed less what it owes, in smallest units; they sum to 0."""
    net: dict[str, int] = defaultdict(int)
    for obligation in obligations:
        net[obligation.creditor] += obligation.amount
        net[obligation.debtor] -= obligation.amount
    return dict(net)


def solve(
    obligations: Sequence[Obligation], caps: Mapping[tuple[str, str], int] | None = None
) -> Netting:
    """Return the netting that cancels the most; the total does not depend on the input's order.

    `caps` says, by (debtor, creditor), how much of an obligation may be set off at most, where
    that is less than all of it. Net internal debt is Σ of the positive net positions.
    """
    if any(cap < 0 for cap in (caps or {}).values()):
        raise InvalidError("caps", "must not be negative")
    merged = merge(obligations)
    limits = [min(o.amount, (caps or {}).get((o.debtor, o.creditor), o.amount)) for o in merged]
    off = circulate(_as_arcs(merged, limits)).amount.tolist()
    net = net_positions(merged)
    return Netting(
        dict(zip(merged, off, strict=True)),
        sum(o.amount for o in merged),
        sum(amount for amount in net.values() if amount > 0),
    )


def _as_arcs(obligations: Sequence[Obligation], limits: Sequence[int]) -> Arcs:
    names = sorted({name for o in obligations for name in (o.debtor, o.creditor)})
    number = {name: place for place, name in enumerate(names)}
    count = len(obligations)
    return Arcs(
        nodes=len(names),
        debtor=np.fromiter((number[o.debtor] for o in obligations), np.int64, count),
        creditor=np.fromiter((number[o.creditor] for o in obligations), np.int64, count),
        least=np.zeros(count, np.int64),
        cap=np.fromiter(limits, np.int64, count),
        weight=np.ones(count, np.int64),
    )
