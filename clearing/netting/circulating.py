"""The circulation that sets off the most, with prices that prove it."""

from typing import Final

import numpy as np

from clearing.netting.apart import least_cost, least_cost_apart
from clearing.netting.arcs import NO_WAY_ROUND, Arcs, Circulation, InfeasibleError, Numbers
from clearing.netting.chains import Chains
from clearing.netting.components import LARGE, among_themselves, components, parts
from clearing.netting.exact import check_feasible, from_prices
from clearing.netting.flows import amounts, as_flow
from clearing.netting.highs import rough_prices
from clearing.netting.prices import products, proven, risen, risen_over_all
from commons.errors import InvalidError

MAX_TOTAL: Final = 2**62
"""The sum of all caps must stay below this, so that the solver's 64-bit costs cannot overflow."""
DEADLINE_MS: Final = 2_000
"""How long OR-tools may take for a large component, of the processor, and beyond that …"""
ARCS_A_MS: Final = 50
"""… for so many arcs each: some five times what it takes where arcs are many and chains short."""


def circulate(arcs: Arcs, deadline_ms: int | None = None) -> Circulation:
    """Return a circulation of the largest Σ weight · amount, and prices that prove it.

    That sum does not depend on the order of the arcs, nor on how nodes are numbered. At a large
    component OR-tools is broken off after `deadline_ms` of the processor, or what the size
    gives it, and HiGHS takes over; what comes out is exact either way. With 0 HiGHS does it all.
    Raises InfeasibleError where
    the least of every arc cannot be met, InvalidError for an arc from a node to itself or to one
    that there is not, for negative amounts, and for sums beyond 2⁶².
    """
    check(arcs)
    order = np.argsort(arcs.debtor * arcs.nodes + arcs.creditor, kind="stable")
    ordered = arcs.at(order)
    component = components(ordered)
    found, start = _settled(ordered, component, deadline_ms)
    price = risen_over_all(ordered, found, start, component)
    amount = np.empty_like(found)
    amount[order] = found
    return Circulation(amount, price, proven(ordered, found, price))


def check(arcs: Arcs) -> None:
    """Raise for arcs of which no circulation can be made."""
    ends = np.concatenate([arcs.debtor, arcs.creditor])
    if ends.size and not 0 <= ends.min() <= ends.max() < arcs.nodes:
        raise InvalidError("nodes", "an arc ends at a node that there is not")
    if (arcs.debtor == arcs.creditor).any():
        raise InvalidError("creditor", "nobody owes itself")
    if min(arcs.least.min(initial=0), arcs.cap.min(initial=0)) < 0:
        raise InvalidError("amount", "must not be negative")
    if products(np.abs(arcs.weight) + 1, arcs.cap) >= 2 * MAX_TOTAL:
        raise InvalidError("amount", "the sum of all obligations must stay below 2^62")
    if (arcs.least > arcs.cap).any():
        raise InfeasibleError("of an arc more must be set off than may be")


def _settled(arcs: Arcs, component: Numbers, deadline_ms: int | None) -> tuple[Numbers, Numbers]:
    """Return the amounts of the best circulation, and prices that prove it within components."""
    amount, price = np.zeros_like(arcs.cap), np.zeros(arcs.nodes, np.int64)
    inner = (arcs.cap > 0) & (component[arcs.debtor] == component[arcs.creditor])
    if arcs.least[~inner].any():
        raise InfeasibleError(NO_WAY_ROUND)
    if not inner.any():
        return amount, price
    chains = Chains.of(arcs.at(inner), component)
    around = chains.arcs.debtor == chains.arcs.creditor
    rest = chains.arcs.at(~around)
    of_chains = np.where(chains.arcs.weight > 0, chains.arcs.cap, chains.arcs.least)
    # Where much went round by itself, further nodes are left with one arc in and one out.
    again = rest.cap.size < chains.arcs.cap.size * 9 // 10
    solve = _settled if again else _solved
    of_chains[~around], price = solve(rest, component, deadline_ms)
    amount[inner] = chains.amounts(of_chains)
    return amount, chains.prices(of_chains, price)


def _solved(arcs: Arcs, component: Numbers, deadline_ms: int | None) -> tuple[Numbers, Numbers]:
    """Return the amounts of the best circulation, and prices that prove it, from the solvers."""
    amount, price = np.zeros_like(arcs.cap), np.zeros(arcs.nodes, np.int64)
    for places in parts(arcs, component):
        part, nodes = among_themselves(arcs.at(places))
        amount[places], price[nodes] = _solved_part(part, deadline_ms)
    return amount, risen(arcs, amount, price, arcs.nodes)


def _solved_part(arcs: Arcs, deadline_ms: int | None) -> tuple[Numbers, Numbers]:
    """Return the amounts, and the prices of the nodes as far as the solver told them."""
    flow = as_flow(arcs)
    size = arcs.cap.size
    unknown = np.zeros(arcs.nodes, np.int64)
    if size <= LARGE and deadline_ms != 0:
        return amounts(arcs, least_cost(flow)), unknown
    given = DEADLINE_MS + size // ARCS_A_MS
    flows = least_cost_apart(flow, given if deadline_ms is None else deadline_ms)
    if flows is not None:
        return amounts(arcs, flows), unknown
    check_feasible(flow)
    flows, price = from_prices(flow, rough_prices(flow))
    return amounts(arcs, flows), price
