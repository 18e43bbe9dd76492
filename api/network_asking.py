"""A figure as it is asked for, over HTTP or by a command: read, checked, and answered."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from api.regions import regions
from clearing.accounts import union_of
from clearing.network import Answer, Asked, Every, Grain
from clearing.network.certainty import certain_until
from clearing.network.figures import PARAMETERS, Figure, Span
from clearing.statements import Period, read_moment
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.groups import GROUP_ID_PATTERN

MONTHS: Final = 12
"""How many whole months a figure is about where nobody says."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as it was written; what was not said is None."""

    union: str | None = None
    at: str | None = None
    start: str | None = None
    end: str | None = None
    by: Grain | None = None
    every: Every | None = None

    def of(self, union: str | None) -> "Wanted":
        """Return the same of a union."""
        return replace(self, union=union)

    def check(self, figure: Figure) -> None:
        """Raise InvalidError for what this figure does not take."""
        if self.union is not None:
            check_union(self.union, "union")
        said = {"at": self.at, "from": self.start, "to": self.end, "every": self.every}
        for name, value in said.items():
            if value is not None and name not in PARAMETERS[figure.span]:
                takes = ", ".join(PARAMETERS[figure.span])
                raise InvalidError(name, f"is nothing that {figure.name} takes; it takes {takes}")
        if self.by is not None and self.by not in figure.grains:
            raise InvalidError("by", f"must be one of {', '.join(figure.grains)}")


def check_union(union: str, field: str) -> None:
    """Raise InvalidError that names `field` for what cannot be the id of a union."""
    if re.fullmatch(GROUP_ID_PATTERN, union) is None:
        raise InvalidError(
            field, "must be a union's id: 1 to 40 lower-case letters, digits and inner hyphens"
        )


def year_before(moment: datetime) -> datetime:
    """Return when the month of a moment began a year before, or in the year 1."""
    return _month(moment).replace(year=max(1, moment.year - 1))


def answer(engine: Engine, figure: Figure, wanted: Wanted) -> Answer:
    """Return a figure over one snapshot, in which all is that there will ever be before its end."""
    wanted.check(figure)
    with transaction(engine) as session:
        if wanted.union is not None:
            union_of(session, wanted.union)
        now = certain_until(session, wanted.union)
    period = _period(figure, wanted, now)
    by = wanted.by or figure.grains[0]
    with reading(engine) as session:
        asked = Asked(
            union_id=wanted.union,
            start=period.start,
            end=period.end,
            by=by,
            every=wanted.every or Every.MONTH,
            regions=regions(session) if by is Grain.REGION else {},
        )
        return figure.compute(session, asked)


def _period(figure: Figure, wanted: Wanted, now: datetime) -> Period:
    """Return the period that is asked for, else twelve whole months; of a moment its end counts."""
    if figure.span is Span.MOMENT:
        moment = now if wanted.at is None else read_moment(wanted.at, "at")
        if moment > now:
            raise InvalidError("at", "must not lie in the future")
        return Period(moment, moment)
    end = _month(now) if wanted.end is None else read_moment(wanted.end, "to")
    if end > now:
        raise InvalidError("to", "must not lie in the future")
    start = year_before(end) if wanted.start is None else read_moment(wanted.start, "from")
    return Period.asked(start, end, now)


def _month(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)
