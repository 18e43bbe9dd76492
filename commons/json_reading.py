"""JSON from outside, read strictly; one reader for what is fetched and for what is sent to us."""

import json
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NoReturn

from commons.errors import MalformedError

DEPTH_MAX: Final = 100
VALUES_MAX: Final = 45_000
"""Commas and opening brackets in a text: a mebibyte of them would take forty in memory."""
_INTEGER_MAX: Final = 2**63 - 1


def read_json(body: bytes, values_max: int = VALUES_MAX) -> Any:  # noqa: ANN401 - any JSON
    """Read a JSON text, or raise MalformedError.

    Taken: UTF-8, at most 100 levels of arrays and objects and some `values_max` values, finite
    numbers with integers of up to 64 bits. Refused besides: duplicate keys, NaN, and strings that
    no database takes (with NUL or half of a surrogate pair). The caller bounds the size beforehand.
    """
    if sum(map(body.count, (b",", b"{", b"["))) > values_max:
        msg = f"the JSON has more than {values_max} values"
        raise MalformedError(msg)
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        msg = f"this is no JSON in UTF-8: {error}"
        raise MalformedError(msg) from error
    if b"\\u" in body:  # by an escape alone a text in UTF-8 comes to what is no text
        _check_strings(value)
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "an object has the same key twice"
        raise MalformedError(msg)
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = "a number is too large"
        raise MalformedError(msg)
    return number


def _integer(text: str) -> int:
    # Longer ones are not even read: Python refuses some of them, in words of its own.
    if len(text) > len(str(-_INTEGER_MAX)) or abs(number := int(text)) > _INTEGER_MAX:
        msg = "an integer has more than 64 bits"
        raise MalformedError(msg)
    return number


def _no_constant(text: str) -> NoReturn:
    msg = f"{text} is no JSON"
    raise MalformedError(msg)


def _too_deep() -> MalformedError:
    return MalformedError(f"the JSON is nested more than {DEPTH_MAX} levels deep")


def _check_depth(value: object) -> None:
    """Go through the containers level by level, without recursion of our own."""
    level, depth = [value], 0
    while level := [node for node in level if isinstance(node, dict | list)]:
        if depth == DEPTH_MAX:
            raise _too_deep()
        inner = (node.values() if isinstance(node, dict) else node for node in level)
        level = list(chain.from_iterable(inner))
        depth += 1


def _check_strings(value: object) -> None:
    level = [value]
    while level:
        for node in level:
            if isinstance(node, str):
                _check_string(node)
        containers = (node for node in level if isinstance(node, dict | list))
        level = [member for container in containers for member in _members(container)]


def _members(container: dict[str, Any] | list[Any]) -> Iterable[object]:
    return chain(container, container.values()) if isinstance(container, dict) else container


def _check_string(text: str) -> None:
    if "\0" in text:
        msg = "a string holds NUL"
        raise MalformedError(msg)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = "a string holds half of a surrogate pair"
        raise MalformedError(msg) from error
