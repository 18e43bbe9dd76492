"""Graphs of obligations for the tests of netting: of many shapes, and those that solvers fear."""

from collections.abc import Iterable

import numpy as np

from clearing.netting import Arcs, Circulation

SHAPES = 6


def arcs_of(
    nodes: int,
    ends: Iterable[Iterable[int]],
    cap: Iterable[int],
    least: Iterable[int] | None = None,
    weight: Iterable[int] | None = None,
) -> Arcs:
    """Arcs from the first of `ends` to the second; obligations of which nothing must be set off."""
    debtor, creditor = (np.array(list(end), np.int64) for end in ends)
    caps = np.array(list(cap), np.int64)
    return Arcs(
        nodes,
        debtor,
        creditor,
        np.zeros_like(caps) if least is None else np.array(list(least), np.int64),
        caps,
        np.ones_like(caps) if weight is None else np.array(list(weight), np.int64),
    )


def drawn(draw: np.random.Generator, shape: int, largest: int) -> Arcs:
    """Any graph of a shape in shuffled order; some with credit lines, some with a least."""
    nodes, ends = [_any, _rings, _there_and_back, _ring_with_bridges, _cactus, _parallel][shape](
        draw
    )
    draw.shuffle(ends)
    ends = ends[ends[:, 0] != ends[:, 1]]
    cap = draw.integers(0, largest + 1, len(ends))
    least = np.zeros_like(cap)
    weight = np.ones_like(cap)
    if draw.random() < 0.3:
        share = draw.random(cap.size) ** 3
        least = np.where(draw.random(cap.size) < 0.05, (cap * share).astype(np.int64), 0)
        least = np.minimum(least, cap)
    if draw.random() < 0.3:
        weight = np.where(draw.random(cap.size) < 0.3, -1, 1)
    return arcs_of(nodes, ends.T, cap, least, weight)


Shape = tuple[int, "np.ndarray[tuple[int, int], np.dtype[np.int64]]"]


def _any(draw: np.random.Generator) -> Shape:
    nodes = int(draw.integers(1, 40))
    return nodes, draw.integers(0, nodes, (int(draw.integers(0, 120)), 2))


def _rings(draw: np.random.Generator) -> Shape:
    """Rings that share nodes."""
    nodes = int(draw.integers(3, 40))
    rings = [draw.permutation(nodes)[: draw.integers(2, nodes)] for _ in range(draw.integers(1, 6))]
    return nodes, np.concatenate([np.stack([ring, np.roll(ring, -1)], 1) for ring in rings])


def _there_and_back(draw: np.random.Generator) -> Shape:
    nodes = int(draw.integers(2, 40))
    chain = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)
    return nodes, np.concatenate([chain, chain[:, ::-1]])


def _ring_with_bridges(draw: np.random.Generator) -> Shape:
    nodes = int(draw.integers(3, 40))
    ring = np.stack([np.arange(nodes), np.roll(np.arange(nodes), -1)], 1)
    return nodes, np.concatenate([ring, draw.integers(0, nodes, (3, 2))])


def _cactus(draw: np.random.Generator) -> Shape:
    """Rings that hang on rings, so that all of it contracts step by step."""
    nodes, rings = 1, []
    for _ in range(12):
        size = int(draw.integers(1, 6))
        ring = np.array([draw.integers(0, nodes), *range(nodes, nodes + size)])
        rings.append(np.stack([ring, np.roll(ring, -1)], 1))
        nodes += size
    return nodes, np.concatenate(rings)


def _parallel(draw: np.random.Generator) -> Shape:
    return 3, draw.integers(0, 3, (90, 2))


def ring(nodes: int, caps: Iterable[int]) -> Arcs:
    place = np.arange(nodes)
    return arcs_of(nodes, (place, np.roll(place, -1)), caps)


def ladder(rungs: int, draw: np.random.Generator) -> Arcs:
    """Two rails in opposite directions, and rungs that go over and back in turn."""
    place = np.arange(rungs)
    over = place % 2 == 0
    debtor = [place[:-1], rungs + place[1:], np.where(over, place, rungs + place)]
    creditor = [place[1:], rungs + place[:-1], np.where(over, rungs + place, place)]
    caps = draw.integers(1, 10**9, 3 * rungs - 2)
    return arcs_of(2 * rungs, (np.concatenate(debtor), np.concatenate(creditor)), caps)


def chain_with_hub(nodes: int, draw: np.random.Generator) -> Arcs:
    """A long chain, and one node that owes or is owed by each of it."""
    place = np.arange(nodes)
    owes = draw.random(nodes) < 0.5
    debtor = np.concatenate([place[:-1], np.where(owes, place, nodes)])
    creditor = np.concatenate([place[1:], np.where(owes, nodes, place)])
    return arcs_of(nodes + 1, (debtor, creditor), draw.integers(1, 10**9, debtor.size))


def rings_sharing(nodes: int, shared: int, draw: np.random.Generator) -> Arcs:
    """Two rings of as many nodes, `shared` of which are in both."""
    one = np.arange(nodes)
    others = np.arange(nodes, 2 * nodes - shared)
    two = draw.permutation(np.concatenate([draw.choice(nodes, shared, replace=False), others]))
    debtor = np.concatenate([one, two])
    creditor = np.concatenate([np.roll(one, -1), np.roll(two, -1)])
    return arcs_of(2 * nodes - shared, (debtor, creditor), draw.integers(1, 10**9, 2 * nodes))


def assert_proven(arcs: Arcs, found: Circulation) -> None:
    """Conservation, bounds, slackness and the sum, each in Python's whole numbers."""
    balance, total, bound = [0] * arcs.nodes, 0, 0
    price = found.price.tolist()
    columns = (arcs.debtor, arcs.creditor, arcs.least, arcs.cap, arcs.weight, found.amount)
    for debtor, creditor, least, cap, weight, amount in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        assert least <= amount <= cap
        balance[debtor] -= amount
        balance[creditor] += amount
        gain = weight + price[debtor] - price[creditor]
        assert gain <= 0 or amount == cap
        assert gain >= 0 or amount == least
        total += weight * amount
        bound += max(gain * cap, gain * least)
    assert not any(balance)
    assert total == bound == found.bound
