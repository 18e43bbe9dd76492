"""What part of an account's history a statement is asked for: a period, and a page of it."""

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from clearing import chain
from commons.errors import InvalidError

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CURSOR: Final = re.compile(r"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,9}) (\S{27}) (\S{27})")


def read_moment(text: str, field: str) -> datetime:
    """Read a moment with its zone, or a date, which begins in UTC; InvalidError names `field`."""
    try:
        moment = datetime.fromisoformat(text)
        if _DATE.fullmatch(text):
            return moment.replace(tzinfo=UTC)
        if moment.tzinfo is None:
            raise InvalidError(field, "needs its zone, such as 2026-11-01T00:00:00Z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(
            field, "must be a date or a moment with its zone, such as 2026-11-01T00:00:00Z"
        ) from error


@dataclass(frozen=True)
class Period:
    """From `start` on and before `end`; both are aware moments."""

    start: datetime
    end: datetime

    @classmethod
    def asked(cls, start: datetime, end: datetime | None, now: datetime) -> Self:
        """Return the period that is asked for, which without an end ends now.

        Raises InvalidError where it ends before it starts, or in the future, when nobody knows
        yet what will be in it.
        """
        if start > now:
            raise InvalidError("from", "must not lie in the future")
        if end is not None and end > now:
            raise InvalidError("to", "must not lie in the future; leave it out for all until now")
        if end is not None and end < start:
            raise InvalidError("to", "must not lie before from")
        return cls(start, now if end is None else end)


@dataclass(frozen=True)
class Place:
    """Where in a period's statement a page begins: after version `after`; it ends at `until`.

    `page` counts 1, 2, 3 …
    """

    period: Period
    after: int
    until: int
    page: int

    def text(self) -> str:
        """Write it as the cursor of the page."""
        moments = chain.time_text(self.period.start), chain.time_text(self.period.end)
        text = f"{self.after} {self.until} {self.page} {' '.join(moments)}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Read a cursor, or raise InvalidError."""
        try:
            match = _CURSOR.fullmatch(base64.urlsafe_b64decode(cursor).decode("ascii"))
            if match is not None:
                start, end = (datetime.fromisoformat(text) for text in match.group(4, 5))
                after, until, page = (int(text) for text in match.group(1, 2, 3))
                if start.tzinfo and end.tzinfo and after <= until:
                    period = Period(start.astimezone(UTC), end.astimezone(UTC))
                    return cls(period, after, until, page)
        except (ValueError, OverflowError) as error:
            raise _foreign() from error
        raise _foreign()


def _foreign() -> InvalidError:
    return InvalidError("cursor", "is none that was given out here")
