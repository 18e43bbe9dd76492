"""Remembering what a function made of a text, within bounds that no stranger can stretch."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

_Asked = ParamSpec("_Asked")
_Result = TypeVar("_Result")


def remembered(
    most: int, longest: int
) -> Callable[[Callable[_Asked, _Result]], Callable[_Asked, _Result]]:
    """Keep the results of the `most` texts asked for last; of none over `longest` letters.

    Without the second bound whoever asks for long texts would fill the memory.
    """

    def remembering(function: Callable[_Asked, _Result]) -> Callable[_Asked, _Result]:
        cached = lru_cache(maxsize=most)(function)

        @wraps(function)
        def short(*asked: _Asked.args, **named: _Asked.kwargs) -> _Result:
            if all(len(text) <= longest for text in asked if isinstance(text, str)):
                return cached(*asked, **named)  # type: ignore[arg-type] # texts can be hashed
            return function(*asked, **named)

        return short

    return remembering
