"""Two readings of the database held side by side, each read once and in the same order."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, TypeVar

Left = TypeVar("Left")
Right = TypeVar("Right")


def side_by_side(
    left: Iterable[Left],
    right: Iterable[Right],
    left_key: Callable[[Left], Any],
    right_key: Callable[[Right], Any],
) -> Iterator[tuple[Any, list[Left], list[Right]]]:
    """Yield each key with what both sides have of it; both are in the order of their keys.

    Held in memory is what has one key. It takes a database without a fitting index as long as the
    square of its rows to do the same.
    """
    lefts = ((key, list(group)) for key, group in groupby(left, left_key))
    rights = ((key, list(group)) for key, group in groupby(right, right_key))
    here, there = next(lefts, None), next(rights, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here[0] < there[0]):
            assert here is not None  # noqa: S101 (told to the type checker)
            yield here[0], here[1], []
            here = next(lefts, None)
        elif here is None or there[0] < here[0]:
            yield there[0], [], there[1]
            there = next(rights, None)
        else:
            yield here[0], here[1], there[1]
            here, there = next(lefts, None), next(rights, None)
