"""Remembering what a function made of a text, within bounds that no stranger can stretch."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

_Asked = ParamSpec("_Asked")
_Result = TypeVar("_Result")


def remembered(
    most: int, longest: int
) -> Callable[[Callable[_Asked, _Result]], Callable[_Asked, _Result]]:
    """Keep the results of the `most` texts asked for last; of none over `longest` letters.

    Without the second bound whoever asks for long texts would fill the memory. For functions
    whose first argument is the text, all given by position: some are called a thousand times a
    search.
    """

    def remembering(function: Callable[_Asked, _Result]) -> Callable[_Asked, _Result]:
        whole = cast(Callable[..., _Result], function)
        cached = lru_cache(maxsize=most)(whole)

        @wraps(function)
        def short(text: str, *others: object) -> _Result:
            return cached(text, *others) if len(text) <= longest else whole(text, *others)

        return cast(Callable[_Asked, _Result], short)

    return remembering
