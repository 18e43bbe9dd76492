"""What a comparison tells, and how finely: exact to the operator, rough to an analyst."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from clearing.simulation import withholding
from clearing.simulation.outcome import LIMITS, Comparison, Counted, Outcome
from clearing.simulation.withholding import Told
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, format_amount

_FACTOR: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6})?|[0-9]{1,9}/[1-9][0-9]{0,8}")
_MOST: Final = 1_000
_ROUGH_COUNT: Final = 5
_ROUGH_DIGITS: Final = 2
_SHARE_PLACES: Final = 4


def parse_factor(text: str, field: str) -> Fraction:
    """Read what limits are multiplied by: "0.5", "1/3" or "2"; from 0 to 1000.

    Raises InvalidError that names `field`.
    """
    found = Fraction(text) if _FACTOR.fullmatch(text) else None
    if found is None or found > _MOST:
        raise InvalidError(field, f'must be a number such as "0.5" or "1/3", from 0 to {_MOST}')
    return found


@dataclass(frozen=True)
class Fineness:
    """How numbers are told: counts and amounts each by their own rule, and which amounts at all."""

    count: Callable[[int], int]
    amount: Callable[[int], int]
    told: Callable[[Comparison], tuple[Told, Told]]


def rough_count(number: int) -> int:
    """Return a number rounded towards 0 to a multiple of five: nothing less than that is told."""
    return number - number % _ROUGH_COUNT


def rough_amount(minor: int) -> int:
    """Return an amount rounded towards 0 to its first two digits."""
    step: int = 10 ** max(0, len(str(minor)) - _ROUGH_DIGITS)
    return minor - minor % step


EXACT: Final = Fineness(lambda number: number, lambda minor: minor, withholding.everything)
ROUGH: Final = Fineness(rough_count, rough_amount, withholding.told)
"""So that nobody's single payments can be told by asking twice, with a little changed."""


def view(comparison: Comparison, fineness: Fineness = EXACT) -> dict[str, Any]:
    """Return what is told of a comparison; money as decimal strings in clearing units.

    An amount that is withheld is None, and so is a difference from it.
    """
    changes, baseline = comparison.changes, comparison.baseline
    as_recorded, tried = (fineness.count(n) for n in (baseline.as_recorded, baseline.tried.number))
    told_base, told_other = fineness.told(comparison)
    base = _numbers(baseline, fineness, told_base)
    other = _numbers(comparison.what_if, fineness, told_other)
    return {
        "union": comparison.union_id,
        "from": comparison.start,
        "to": comparison.end,
        "changes": {
            "credit_factor": str(changes.credit_factor),
            "surplus_factor": str(changes.surplus_factor),
            "pair_factor": str(changes.pair_factor),
            "without": sorted(changes.without),
            "rounds": changes.rounds_are,
            "credit_lines": changes.credit_lines,
        },
        "as_recorded": _share(as_recorded, tried),
        "baseline": _whole(base, _steps(baseline, fineness, told_base)),
        "what_if": _whole(other, _steps(comparison.what_if, fineness, told_other)),
        "difference": _shown({name: _less(other[name], base[name]) for name in base}),
    }


def _less(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one - other


def _numbers(outcome: Outcome, fineness: Fineness, told: Told) -> dict[str, int | None]:
    """Return the figures of an outcome; those of money have names in `_MONEY`."""
    released = Counted(
        sum(one.released for one in outcome.rounds),
        sum(one.released_value for one in outcome.rounds),
    )
    counted = {
        "tried": outcome.tried,
        "posted": outcome.posted,
        "refused": outcome.refused,
        "waiting": outcome.waiting,
        "lapsed": outcome.lapsed,
        "given_up": outcome.given_up,
        **{f"met_{limit}": outcome.met[limit] for limit in LIMITS},
        "released": released,
    }
    found: dict[str, int | None] = {"rounds": len(outcome.rounds)}
    for name, one in counted.items():
        found[name] = fineness.count(one.number)
        found[f"{name}_value"] = fineness.amount(one.value) if name in told.values else None
    money = {
        "in_use_peak": outcome.in_use_peak,
        "in_use_mean": outcome.in_use_mean,
        "lines_needed": outcome.lines_needed,
        "owed_peak": outcome.owed_peak,
        "owed_mean": outcome.owed_mean,
        "owed_before_rounds": outcome.owed_before_rounds,
        "cleared": outcome.cleared,
        "drawn": sum(one.drawn for one in outcome.rounds),
    }
    return found | {
        name: fineness.amount(value) if told.stocks else None for name, value in money.items()
    }


_MONEY: Final = frozenset(
    {
        "in_use_peak", "in_use_mean", "lines_needed", "owed_peak", "owed_mean",
        "owed_before_rounds", "cleared", "drawn",
    }
)  # fmt: skip


def _whole(numbers: dict[str, int | None], steps: list[dict[str, Any]]) -> dict[str, Any]:
    share = _share(numbers["cleared"], numbers["owed_before_rounds"])
    return _shown(numbers) | {"cleared_share": share, "steps": steps}


def _shown(numbers: dict[str, int | None]) -> dict[str, str | int | None]:
    return {
        name: format_amount(value, CLEARING_SCALE)
        if value is not None and (name in _MONEY or name.endswith("_value"))
        else value
        for name, value in numbers.items()
    }


def _steps(outcome: Outcome, fineness: Fineness, told: Told) -> list[dict[str, Any]]:
    return [
        {
            "at": step.at,
            **{
                name: format_amount(fineness.amount(getattr(step, name)), CLEARING_SCALE)
                if told.stocks and place in told.values
                else None
                for name in ("in_use", "owed", "posted_value", "cleared")
            },
        }
        for place, step in enumerate(outcome.steps)
    ]


def _share(part: int | None, whole: int | None) -> str | None:
    """Return part ÷ whole in four places, None of nothing or of what is withheld."""
    if part is None or not whole:
        return None
    ten = 10**_SHARE_PLACES
    return str(Decimal(round(Fraction(part * ten, whole))).scaleb(-_SHARE_PLACES))
