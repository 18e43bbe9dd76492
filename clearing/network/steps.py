"""The steps of a series: calendar days, weeks or months in UTC, of which each ends somewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from clearing.network.answers import Every
from commons.errors import InvalidError

MOST_STEPS: Final = 1_000
_LAST_YEAR: Final = 9_999
_DECEMBER: Final = 12


def ends(start: datetime, end: datetime, every: Every) -> list[datetime]:
    """Return where each step ends: at every beginning of the next after `start`, last at `end`.

    Raises InvalidError for a period of more than a thousand steps.
    """
    found: list[datetime] = []
    cut = after(start, every)
    while cut is not None and cut < end:
        found.append(cut)
        if len(found) >= MOST_STEPS:
            raise InvalidError("every", f"makes more than {MOST_STEPS} steps of this period")
        cut = after(cut, every)
    return [*found, end]


def after(moment: datetime, every: Every) -> datetime | None:
    """Return when the next step begins, None beyond the calendar."""
    day = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    try:
        if every is Every.MONTH:
            year, month = divmod(moment.year * _DECEMBER + moment.month, _DECEMBER)
            return datetime(year, month + 1, 1, tzinfo=UTC) if year <= _LAST_YEAR else None
        days = 1 if every is Every.DAY else 7 - day.weekday()
        return day + timedelta(days=days)
    except OverflowError:
        return None


def spans(start: datetime, cuts: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Return each step as where it begins and where it ends."""
    return list(pairwise([start, *cuts]))
