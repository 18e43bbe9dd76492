"""A union in words, and what fits in it told by rules of its own, to hold choices against."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random

import numpy as np
from scipy.optimize import linprog

from clearing.netting.queue import NONE, Choice, Matrix, Waiting, choose

PATIENT = 30
"""Seconds that no choice here comes near."""

NEVER = 2**63
"""Nanoseconds of a clock that it does not reach."""


@dataclass
class Union:
    """A union in words: who owes whom, and limits, where there are any."""

    nodes: int
    owed: dict[tuple[int, int], int] = field(default_factory=dict)
    limit: dict[tuple[int, int], int] = field(default_factory=dict)
    held: dict[frozenset[int], int] = field(default_factory=dict)
    below: dict[int, int] = field(default_factory=dict)
    above: dict[int, int] = field(default_factory=dict)
    barred: set[int] = field(default_factory=set)
    lines: bool = False

    def matrix(self, waiting: Iterable[Waiting] = ()) -> Matrix:
        """Return it as arrays, with a place for all that is owed, limited or waits."""
        touched = [
            *self.owed,
            *self.limit,
            *((debtor, creditor) for one in waiting for debtor, creditor, _ in one.owed),
        ]
        pairs: dict[frozenset[int], tuple[int, int]] = {}
        for pair in touched:
            pairs.setdefault(frozenset(pair), pair)
        places = list(pairs.values())

        def column(values: Iterable[int]) -> np.ndarray:
            return np.array(list(values), np.int64)

        return Matrix(
            self.nodes,
            column(debtor for debtor, _ in places),
            column(creditor for _, creditor in places),
            column(self.owed.get(pair, 0) for pair in places),
            column(self.held.get(frozenset(pair), 0) for pair in places),
            column(self.limit.get(pair, NONE) for pair in places),
            column(self.limit.get((creditor, debtor), NONE) for debtor, creditor in places),
            column(self.below.get(node, NONE) for node in range(self.nodes)),
            column(self.above.get(node, NONE) for node in range(self.nodes)),
            np.array([node in self.barred for node in range(self.nodes)], np.bool_),
            self.lines,
        )


def pay(debtor: int, creditor: int, amount: int, *, first: bool = False) -> Waiting:
    """Return a queued payment without residue or levy."""
    return Waiting(debtor, creditor, amount, amount, amount, first=first)


def chosen(union: Union, waiting: Sequence[Waiting], deadline: int = PATIENT) -> Choice:
    """Choose, and check that what comes out is a choice that fits, with its circulation."""
    found = choose(union.matrix(waiting), waiting, deadline)
    released = [one for one, yes in zip(waiting, found.released, strict=True) if yes]
    assert found.value == sum(one.pair for one in released) <= found.bound
    assert found.exact or deadline != PATIENT
    assert found.value == found.bound or not found.exact
    rows = list(rows_of(union, released))
    most = most_set_off(union, rows)
    assert rooms_hold(union, released)
    assert most is not None
    arcs, amount = found.standing.arcs, found.circulation.amount
    assert (amount >= arcs.least).all()
    assert (amount <= arcs.cap).all()
    assert int((amount * arcs.weight).sum()) == found.circulation.bound == most
    out = np.bincount(arcs.debtor, amount, union.nodes) - np.bincount(
        arcs.creditor, amount, union.nodes
    )
    assert not out.any()
    return found


@dataclass(frozen=True)
class Row:
    """What may flow from a debtor to a creditor; `weight` is -1 over a spare credit line."""

    debtor: int
    creditor: int
    least: int
    cap: int
    weight: int


def rows_of(union: Union, released: Sequence[Waiting]) -> Iterator[Row]:
    """Yield what may be set off once payments are posted, by the rules in words, pair by pair."""
    net: dict[tuple[int, int], int] = defaultdict(int)
    for (debtor, creditor), amount in union.owed.items():
        net[debtor, creditor] += amount
        net[creditor, debtor] -= amount
    was = dict(net)
    for one in released:
        for debtor, creditor, amount in one.owed:
            net[debtor, creditor] += amount
            net[creditor, debtor] -= amount
    for debtor, creditor in {*net, *union.limit, *((b, a) for a, b in union.limit)}:
        now = max(0, net.get((debtor, creditor), 0))
        before = max(0, was.get((debtor, creditor), 0))
        limit = union.limit.get((debtor, creditor))
        other = union.limit.get((creditor, debtor))
        added = net.get((debtor, creditor), 0) - was.get((debtor, creditor), 0)
        other_before = max(0, was.get((creditor, debtor), 0))
        held = union.held.get(frozenset((debtor, creditor)), 0)
        takes_part = not {debtor, creditor} & union.barred
        cap = max(0, now - held) if takes_part and now else 0
        if other is not None:
            # Until it is posted it is reserved as what the creditor may come to owe the debtor.
            cap = max(0, min(cap, other - other_before + max(0, added)))
        least = now - limit if limit is not None and now > max(limit, before) else 0
        if now:
            yield Row(debtor, creditor, least, cap, 1)
        if union.lines and takes_part and not held and other is not None:
            owes = max(0, net.get((creditor, debtor), 0))
            # Reserved beside what the set-off takes beyond what payments add to the obligation.
            room = other - max(other_before, owes) - max(0, cap - max(0, added))
            if room > 0:
                yield Row(debtor, creditor, 0, room, -1)


def most_set_off(union: Union, rows: Sequence[Row]) -> int | None:
    """Return the most that rows can bring, by a linear program; None where nothing balances."""
    if any(row.least > row.cap for row in rows):
        return None
    if not rows:
        return 0
    balance = np.zeros((union.nodes, len(rows)))
    for number, row in enumerate(rows):
        balance[row.debtor, number] += 1
        balance[row.creditor, number] -= 1
    answer = linprog(
        [-row.weight for row in rows],
        A_eq=balance,
        b_eq=np.zeros(union.nodes),
        bounds=[(row.least, row.cap) for row in rows],
    )
    return None if answer.fun is None else round(-answer.fun)


def rooms_hold(union: Union, released: Sequence[Waiting]) -> bool:
    """Tell whether no balance ends beyond a limit, or further beyond it than it was."""
    moved: dict[int, int] = defaultdict(int)
    for one in released:
        moved[one.debtor] -= one.out
        moved[one.creditor] += one.into
    return all(
        -move <= max(0, union.below.get(node, NONE)) and move <= max(0, union.above.get(node, NONE))
        for node, move in moved.items()
    )


def best_of_all(union: Union, waiting: Sequence[Waiting]) -> tuple[bool, ...]:
    """Return the best of all subsets that fit: tried from the best on, until one does."""

    def rank(taken: tuple[bool, ...]) -> tuple[list[bool], int, tuple[bool, ...]]:
        firsts = [yes for yes, one in zip(taken, waiting, strict=True) if one.first]
        return firsts, sum(o.pair for o, yes in zip(waiting, taken, strict=True) if yes), taken

    for taken in sorted(product((False, True), repeat=len(waiting)), key=rank, reverse=True):
        released = [one for one, yes in zip(waiting, taken, strict=True) if yes]
        if any({one.debtor, one.creditor} & union.barred for one in released):
            continue
        if not rooms_hold(union, released):
            continue
        if most_set_off(union, list(rows_of(union, released))) is not None:
            return taken
    raise AssertionError("releasing nothing always fits")


def random_union(random: Random, nodes: int) -> Union:
    """Return a small union in which limits are tight, and some are passed already."""
    union = Union(nodes, lines=random.random() < 0.3)
    pairs = [(a, b) for a in range(nodes) for b in range(a) if random.random() < 0.8]
    for a, b in pairs:
        pair = (a, b) if random.random() < 0.5 else (b, a)
        if random.random() < 0.85:
            union.owed[pair] = random.randint(1, 12)
        for one in (pair, pair[::-1]):
            if random.random() < 0.75:
                union.limit[one] = random.randint(-1 if random.random() < 0.1 else 2, 14)
        if random.random() < 0.15:
            union.held[frozenset(pair)] = random.randint(1, 10)
    for node in range(nodes):
        if random.random() < 0.5:
            union.below[node] = random.randint(-3, 15)
        if random.random() < 0.4:
            union.above[node] = random.randint(-3, 15)
    if random.random() < 0.2:
        union.barred.add(random.randrange(nodes))
    return union


def random_waiting(random: Random, nodes: int, number: int) -> list[Waiting]:
    """Return queued payments, some with a residue to another node, few of them marked first."""
    waiting = []
    for _ in range(number):
        debtor, creditor, other = random.sample(range(nodes), 3)
        amount, residue = random.randint(1, 12), random.choice((0, 0, 0, 1, 2))
        waiting.append(
            Waiting(
                debtor,
                creditor,
                amount + residue,
                amount,
                amount,
                ((debtor, other, residue),) if residue else (),
                first=random.random() < 0.15,
            )
        )
    return waiting


# The example that clearing.md calculates: A, B, C owe each other in a circle, limits of 100.
CIRCLE = Union(
    3,
    owed={(0, 1): 80, (1, 2): 90, (2, 0): 70},
    limit=dict.fromkeys(((0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)), 100),
    below={0: 40, 1: 40, 2: 70},
    above={0: 60, 1: 60, 2: 30},
)
QUEUED = [pay(0, 1, 60), pay(1, 2, 50), pay(2, 0, 40)]
