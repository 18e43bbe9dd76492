"""The periods that figures of payments may be asked for, and the steps that they may tell.

Of groups, regions and pairs only whole months that are over are told, each with its own cells
withheld; else two periods that differ by a day would tell that day. Of whole unions any days are,
as long as no cut between two days sets something small apart from what is told of its month.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from clearing.network import steps
from clearing.network.answers import Asked, Every
from commons import database
from commons.errors import InvalidError

_WHY: Final = "so that what two periods differ by tells nobody's single payments"


def month_starts(session: Session, asked: Asked) -> list[datetime]:
    """Return where each month of a period begins; all of them are whole, and over.

    Raises InvalidError for any other period, or where steps of another length are asked for.
    """
    if asked.every is not Every.MONTH:
        raise InvalidError("every", f"must be month here, {_WHY}")
    for name, moment in (("from", asked.start), ("to", asked.end)):
        if moment != first_of_month(moment):
            raise InvalidError(name, f"must be the beginning of a month in UTC, {_WHY}")
    _check_over(asked, first_of_month(database.now(session)), "month")
    return [asked.start, *steps.ends(asked.start, asked.end, Every.MONTH)[:-1]]


def check_days(session: Session, asked: Asked) -> None:
    """Raise InvalidError for a period that is not of whole days that are over."""
    for name, moment in (("from", asked.start), ("to", asked.end)):
        if moment != midnight(moment):
            raise InvalidError(name, f"must be midnight in UTC, {_WHY}")
    _check_over(asked, midnight(database.now(session)), "day")


def _check_over(asked: Asked, latest: datetime, what: str) -> None:
    if asked.start >= asked.end:
        raise InvalidError("from", "must be before the end of the period")
    if asked.end > latest:
        raise InvalidError("to", f"must not be after {latest:%Y-%m-%d}: the {what} is not over")


def first_of_month(moment: datetime) -> datetime:
    """Return when the month of a moment began, in UTC."""
    return midnight(moment).replace(day=1)


def midnight(moment: datetime) -> datetime:
    """Return when the day of a moment began, in UTC."""
    utc = moment.astimezone(UTC)
    return datetime(utc.year, utc.month, utc.day, tzinfo=UTC)
