"""Merkle trees as in RFC 6962, section 2.1: leaves and nodes are hashed apart, by their first byte.

No input or output. Hashes are SHA-256, 32 bytes; a leaf is given as the bytes that it stands for.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

_LEAF: Final = b"\0"
_NODE: Final = b"\1"
_SIZE: Final = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash that a leaf stands in the tree with."""
    return hashlib.sha256(_LEAF + leaf).digest()


class Tree:
    """A whole tree over the hashes of its leaves, so that the way from any of them is at hand.

    Neighbours are hashed together, level by level; one that has none goes up as it is. That is the
    tree of RFC 6962, which sends the largest power of two of the leaves to the left.
    """

    def __init__(self, hashes: Iterable[bytes]) -> None:
        self._levels = [b"".join(hashes)]  # 32 bytes a node: a list would hold three times as much
        while len(self._levels[-1]) > _SIZE:
            self._levels.append(_above(self._levels[-1]))

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0]) // _SIZE

    @property
    def root(self) -> bytes:
        """The hash over all leaves; that of none is the hash of nothing."""
        return self._levels[-1] or hashlib.sha256().digest()

    def path(self, index: int) -> list[bytes]:
        """Return the hashes beside the way from a leaf to the root, the leaf's neighbour first."""
        beside = []
        for level in self._levels[:-1]:
            neighbour = _at(level, index ^ 1)
            if neighbour:  # the last of an odd number has none
                beside.append(neighbour)
            index //= 2
        return beside

    def place(self, hashed: bytes) -> int | None:
        """Return where a leaf's hash stands, if its leaves are in the order of their hashes."""
        level = self._levels[0]
        index = bisect_left(range(self.size), hashed, key=lambda place: _at(level, place))
        return index if _at(level, index) == hashed else None


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the hash of the tree over `leaves`; that of no leaves is the hash of nothing."""
    return Tree(map(leaf_hash, leaves)).root


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes beside the way from a leaf to the root, the leaf's neighbour first."""
    return Tree(map(leaf_hash, leaves)).path(index)


def root_by(leaf: bytes, index: int, size: int, beside: Sequence[bytes]) -> bytes | None:
    """Return the root that a leaf, its place in a tree of `size` and its path lead to.

    None where the path is too long or too short, or the tree has no such place.
    """
    if not 0 <= index < size:
        return None
    found, rest = leaf_hash(leaf), list(reversed(beside))
    while size > 1:
        if index ^ 1 < size:
            if not rest:
                return None
            found = _node(rest.pop() + found if index % 2 else found + rest.pop())
        index, size = index // 2, (size + 1) // 2
    return None if rest else found


def _above(level: bytes) -> bytes:
    """Return the level over one of more than one node."""
    pairs = range(0, len(level) - _SIZE, 2 * _SIZE)
    odd = level[-_SIZE:] if len(level) // _SIZE % 2 else b""
    return b"".join([_node(level[place : place + 2 * _SIZE]) for place in pairs]) + odd


def _at(level: bytes, index: int) -> bytes:
    return level[index * _SIZE : (index + 1) * _SIZE]


def _node(both: bytes) -> bytes:
    return hashlib.sha256(_NODE + both).digest()
