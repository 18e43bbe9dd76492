"""Cycles: how much of trade, and of what is owed, goes round and could be set off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.accounts import Account
from clearing.columns import Numbers, total
from clearing.netting import Arcs, circulate
from clearing.network.answers import Answer, Asked, Cell, Column
from clearing.network.flows import Flows
from clearing.network.matrix import over_months, summed_up
from clearing.network.nodes import UNION
from clearing.network.numbers import SHARE_PLACES, rounded, summed
from clearing.network.pairs import pairs_before
from clearing.network.privacy import FEWEST_PARTS, PERCENT_PLACES

_COLUMNS: Final = (
    UNION,
    Column("of", "word", "trade: what was paid; obligations: what is owed at the end."),
    Column("nodes", "number", "Those that paid or were paid, owe or are owed."),
    Column("links", "number", "Ordered pairs of them with more than nothing between them."),
    Column("core", "number", "How many the largest strongly connected component has."),
    Column("in_core", "share", "Of the value, what is between these."),
    Column("in_components", "share", "Of the value, what is within any such component."),
    Column("in_cycles", "share", "Of the value, the most that goes round in cycles."),
)


@dataclass(frozen=True)
class Links:
    """A directed graph with values: arrays of one place a link, nodes from 0."""

    nodes: int
    source: Numbers
    target: Numbers
    value: Numbers


def cycles(session: Session, asked: Asked) -> Answer:
    """Show the strongly connected core of trade, and the share of value that goes in cycles.

    Formula: a component is a largest set of nodes of which each reaches each along links with
    w(i,j) > 0, i ≠ j; core = the one of most nodes, of such the one of most value, none of a
    single node; in components = Σ w within components ÷ Σ w, which is 1 - flow hierarchy;
    in cycles = max Σ x ÷ Σ w over 0 ≤ x ≤ w with as much into each node as out of it, exactly as
    a round sets off. Of trade w is the volume of the period, below zero taken as 0; of obligations
    what accounts owe each other at the end of the period, those that take rounding among them. None
    without value, and of trade where there are fewer than 5 links, which it would tell of.
    Unit: number; shares of 1, those of trade to whole percents.
    Source: transfers as in `trade`, entries as in `positions`; Tarjan 1972 (components); Luo &
    Magee 2011, Complexity 16:53 (flow hierarchy); Fleischman, Dini, Littera 2020, JRFM 13:295
    (cycles).
    """
    found, _ = over_months(summed_up(session, asked), asked.start)
    rows: list[Sequence[Cell]] = []
    for table, (union, _) in enumerate(found.tables):
        links = of_trade(found.taken(found.table == table))
        rows.append((union, "trade", *_told(links, PERCENT_PLACES, FEWEST_PARTS)))
    for union, links in _obligations(session, asked):
        rows.append((union, "obligations", *_told(links, SHARE_PLACES, 0)))
    return Answer("cycles", asked, _COLUMNS, rows)


def of_trade(found: Flows) -> Links:
    """Return the links of one table, from who paid to who was paid."""
    links = found.taken((found.payer != found.payee) & (found.volume > 0))
    return _links(links.payer, links.payee, links.volume)


def _obligations(session: Session, asked: Asked) -> Iterator[tuple[str, Links]]:
    """Yield what is owed in each union, from who owes to who is owed."""
    unions = select(Account.union_id).distinct().order_by(Account.union_id)
    if asked.union_id is not None:
        unions = unions.where(Account.union_id == asked.union_id)
    for union in session.scalars(unions):
        pairs = pairs_before(session, union, [asked.end])
        (owed,) = pairs.at_each(1)
        debtor = np.where(owed > 0, pairs.other, pairs.one)
        creditor = np.where(owed > 0, pairs.one, pairs.other)
        some = owed != 0
        yield union, _links(debtor[some], creditor[some], np.abs(owed[some]))


def _links(source: Numbers, target: Numbers, value: Numbers) -> Links:
    nodes, places = np.unique(np.concatenate([source, target]), return_inverse=True)
    return Links(len(nodes), places[: len(source)], places[len(source) :], value)


def _told(links: Links, decimals: int, fewest: int) -> tuple[Cell, ...]:
    value = total(links.value)
    core, in_core, in_components = components(links)
    if not value or len(links.value) < fewest:
        return (links.nodes, len(links.value), core, None, None, None)
    parts = (in_core, in_components, circulating(links))
    shares = (rounded(Fraction(part, value), decimals) for part in parts)
    return (links.nodes, len(links.value), core, *shares)


def components(links: Links) -> tuple[int, int, int]:
    """Return the nodes of the core, the value in it, and that in all strong components."""
    if not links.nodes:
        return 0, 0, 0
    ones = np.ones(len(links.value), dtype=np.int8)
    graph = coo_array((ones, (links.source, links.target)), shape=(links.nodes, links.nodes))
    count, label = connected_components(graph, connection="strong")
    inside = label[links.source] == label[links.target]
    values = summed(label[links.source][inside].astype(np.int64), links.value[inside], count)
    sizes = np.bincount(label, minlength=count).tolist()
    core, value = max(zip(sizes, values, strict=True))
    return (core, value, sum(values)) if core > 1 else (0, 0, 0)


def circulating(links: Links) -> int:
    """Return the most of the value that a circulation carries, as a round would set it off."""
    zero, one = np.zeros_like(links.value), np.ones_like(links.value)
    found = circulate(Arcs(links.nodes, links.source, links.target, zero, links.value, one))
    return total(found.amount)
