"""Merkle trees as in RFC 6962, section 2.1: leaves and nodes are hashed apart, by their first byte.

No input or output. Hashes are SHA-256, 32 bytes; a leaf is given as the bytes that it stands for.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

_LEAF: Final = b"\0"
_NODE: Final = b"\1"


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the hash of the tree over `leaves`; that of no leaves is the hash of nothing."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(_LEAF + leaves[0]).digest()
    left = _split(len(leaves))
    return _node(root(leaves[:left]), root(leaves[left:]))


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes beside the way from a leaf to the root, the leaf's neighbour first."""
    if len(leaves) == 1:
        return []
    left = _split(len(leaves))
    if index < left:
        return [*path(leaves[:left], index), root(leaves[left:])]
    return [*path(leaves[left:], index - left), root(leaves[:left])]


def root_by(leaf: bytes, index: int, size: int, beside: Sequence[bytes]) -> bytes | None:
    """Return the root that a leaf, its place in a tree of `size` and its path lead to.

    None where the path is too long or too short, or the tree has no such place.
    """
    if not 0 <= index < size:
        return None
    if size == 1:
        return None if beside else root([leaf])
    if not beside:
        return None
    left = _split(size)
    if index < left:
        below = root_by(leaf, index, left, beside[:-1])
        return None if below is None else _node(below, beside[-1])
    below = root_by(leaf, index - left, size - left, beside[:-1])
    return None if below is None else _node(beside[-1], below)


def _split(size: int) -> int:
    """Return how many leaves go left: the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
