"""Concentration: how unevenly groups share in what is paid, received and held."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Final

from sqlalchemy.orm import Session

from clearing.accounts import AccountKind
from clearing.network.answers import Answer, Asked, Cell, Column
from clearing.network.matrix import Sums, Trade, matrix, name_of, whole
from clearing.network.nodes import UNION, nodes
from clearing.network.numbers import rounded
from clearing.network.privacy import FEWEST_PARTS, PERCENT_PLACES
from clearing.network.then import balances_before

TOP: Final = (1, 5, 10)

_COLUMNS: Final = (
    UNION,
    Column("of", "word", "What is shared: volume paid, volume received, or positive balances."),
    Column("parts", "number", "Groups or regions that have an account, those without any too."),
    Column("gini", "share", "The Gini coefficient: 0 where all have the same; in percents."),
    *(Column(f"top_{top}", "share", f"What the largest {top} have; in percents.") for top in TOP),
)


def concentration(session: Session, asked: Asked) -> Answer:
    """How unevenly volume paid, volume received and positive balances are spread.

    Formula: of parts x(1) ≤ … ≤ x(n), those below zero taken as 0, Gini = Σ_i Σ_j |x(i) - x(j)|
    ÷ (2 n Σ x) = (2 Σ i·x(i)) ÷ (n Σ x) - (n + 1) ÷ n; top k = the k largest ÷ Σ x. None where
    there is nothing, where fewer than 5 have any, for a top of which one's sum is withheld, and for
    Gini where anybody's is.
    Unit: shares of 1, to whole percents.
    Source: Gini 1912, Variabilità e mutabilità; transfers by when they were posted, as in `trade`;
    balances right before the end of the period.
    """
    found = whole(matrix(session, asked), asked.start)
    parts = _parts(session, asked)
    balances = _balances(session, asked)
    rows: list[Sequence[Cell]] = []
    for union in sorted(parts):
        for word, sums in (("paid", found.paid), ("received", found.received)):
            values, held = _values(found, sums, union)
            rows.append((union, word, *_told(values, held, parts[union])))
        rows.append((union, "balances", *_told(balances[union], set(), parts[union])))
    return Answer("concentration", asked, _COLUMNS, rows)


def _parts(session: Session, asked: Asked) -> dict[str, int]:
    """Return how many parts each union has."""
    names: dict[str, set[str]] = {}
    for node in nodes(session, asked):
        if node.kind is AccountKind.GROUP and node.group_id is not None:
            names.setdefault(node.union_id, set()).add(name_of(node.group_id, asked))
    return {union: len(own) for union, own in names.items()}


def _balances(session: Session, asked: Asked) -> dict[str, dict[str, int]]:
    """Return the positive balances of each union's groups, summed by what is asked for."""
    at_end = balances_before(session, asked.union_id, asked.end)
    found: dict[str, dict[str, int]] = {}
    for node in nodes(session, asked):
        if node.kind is AccountKind.GROUP and node.group_id is not None:
            name, own = name_of(node.group_id, asked), found.setdefault(node.union_id, {})
            own[name] = own.get(name, 0) + max(0, at_end[node.id] or 0)
    return found


def _values(found: Trade, sums: Sums, union: str) -> tuple[dict[str, int], set[str]]:
    """Return the sums of a union's nodes by name, and which of them are withheld."""
    values, held = {}, set()
    columns = (sums.table, sums.node, sums.volume, sums.withheld)
    for table, node, volume, is_held in zip(*(one.tolist() for one in columns), strict=True):
        if found.flows.tables[table][0] == union:
            name = found.flows.names[node]
            values[name] = max(0, volume)
            if is_held:
                held.add(name)
    return values, held


def _told(values: dict[str, int], held: set[str], parts: int) -> Sequence[Cell]:
    ordered = sorted(((value, name) for name, value in values.items() if value), reverse=True)
    if len(ordered) < FEWEST_PARTS:
        return (parts, None, *(None for _ in TOP))
    sums = list(accumulate(value for value, _ in ordered))
    tops: list[Cell] = []
    for top in TOP:
        is_told = held.isdisjoint(name for _, name in ordered[:top])
        largest = Fraction(sums[min(top, len(sums)) - 1], sums[-1])
        tops.append(rounded(largest, PERCENT_PLACES) if is_told else None)
    exact = None if held else gini([value for value, _ in ordered], parts)
    return (parts, None if exact is None else rounded(exact, PERCENT_PLACES), *tops)


def gini(values: Sequence[int], parts: int) -> Fraction:
    """Return the Gini coefficient of `parts` values of which these are all that are not 0."""
    weighted = sum((parts - place) * value for place, value in enumerate(sorted(values)[::-1]))
    return Fraction(2 * weighted, parts * sum(values)) - Fraction(parts + 1, parts)
