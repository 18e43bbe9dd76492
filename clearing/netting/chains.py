"""Arcs in series taken as one: what comes into a node with a single way out goes out again."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from clearing.netting.arcs import Arcs, InfeasibleError, Numbers


@dataclass(frozen=True)
class Chains:
    """Arcs between nodes that have one arc in and one out, chain by chain from start to end.

    `arcs` has one arc a chain, which runs from its first debtor to its last creditor: the least
    and the cap that all of it can take, the weight of all of it. `order` tells the places of the
    arcs of `whole` chain by chain, `first` where in `order` each chain begins. A cycle that
    meets nothing else is a chain from a node to itself.
    """

    whole: Arcs
    arcs: Arcs
    order: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]

    @classmethod
    def of(cls, arcs: Arcs, component: Numbers) -> Self:
        """Contract arcs whose ends lie in the same strongly connected component."""
        passes = _passes(arcs, component)
        order, first = _in_series(arcs, passes)
        last = np.append(first[1:], order.size) - 1
        chains = Arcs(
            nodes=arcs.nodes,
            debtor=arcs.debtor[order[first]],
            creditor=arcs.creditor[order[last]],
            least=np.maximum.reduceat(arcs.least[order], first),
            cap=np.minimum.reduceat(arcs.cap[order], first),
            weight=np.add.reduceat(arcs.weight[order], first),
        )
        if (chains.least > chains.cap).any():
            raise InfeasibleError("of a chain of arcs more must be set off than may be")
        return cls(arcs, chains, order, first)

    def amounts(self, of_chains: Numbers) -> Numbers:
        """Return what is set off of each arc: what its chain sets off."""
        amount = np.empty_like(self.whole.cap)
        amount[self.order] = self._spread(of_chains)
        return amount

    def prices(self, of_chains: Numbers, price: Numbers) -> Numbers:
        """Return the prices with those of the nodes within chains, which prove what their ends do.

        Along a chain the price rises by the weights; what the chain gains or loses as a whole,
        the first of its arcs does that can take no other amount.
        """
        whole, ends = self.whole, self.arcs
        gain = ends.weight + price[ends.debtor] - price[ends.creditor]
        amount, gains = self._spread(of_chains), self._spread(gain)
        bound = np.where(gains > 0, whole.cap[self.order], whole.least[self.order])
        place = np.arange(self.order.size)
        binding = np.minimum.reduceat(
            np.where((gains == 0) | (amount == bound), place, place.size), self.first
        )
        weight = whole.weight[self.order]
        risen = np.cumsum(weight)
        before = self._spread(risen[self.first] - weight[self.first])
        after = np.where(place >= self._spread(binding), gains, 0)
        prices = price.copy()
        prices[whole.creditor[self.order]] = (
            self._spread(price[ends.debtor]) + risen - before - after
        )
        return prices

    def _spread(self, of_chains: npt.NDArray[np.int64]) -> Numbers:
        """Return for each place in `order` what its chain has."""
        return np.repeat(of_chains, np.diff(self.first, append=self.order.size))


def _passes(arcs: Arcs, component: Numbers) -> npt.NDArray[np.bool_]:
    """Return which nodes pass on what one arc brings over one other, but one a lone cycle."""
    incoming = np.bincount(arcs.creditor, minlength=arcs.nodes)
    outgoing = np.bincount(arcs.debtor, minlength=arcs.nodes)
    passes: npt.NDArray[np.bool_] = (incoming == 1) & (outgoing == 1)
    met = np.zeros(arcs.nodes, np.bool_)
    met[component[(incoming + outgoing > 0) & ~passes]] = True
    alone = np.flatnonzero(passes & ~met[component])
    _, at = np.unique(component[alone], return_index=True)
    passes[alone[at]] = False
    return passes


def _in_series(
    arcs: Arcs, passes: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the arcs' places, chain by chain from start to end, and where each chain begins."""
    count = arcs.cap.size
    outgoing = np.empty(arcs.nodes, np.int64)
    outgoing[arcs.debtor] = np.arange(count)
    end = np.where(passes[arcs.creditor], outgoing[arcs.creditor], np.arange(count))
    ahead = (end != np.arange(count)).astype(np.int64)
    while not np.array_equal(further := end[end], end):
        ahead += ahead[end]
        end = further
    order = np.argsort((end + 1) * (int(ahead.max()) + 1) - ahead, kind="stable")
    first = np.flatnonzero(np.diff(end[order], prepend=-1))
    return order, first
