"""Payments of whole unions by day, and which runs of days may be told."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
from sqlalchemy.orm import Session

from clearing.columns import Numbers
from clearing.network import steps
from clearing.network.answers import Asked, Every
from clearing.network.cuts import check_days, first_of_month
from clearing.network.flows import Alike, Payments, payments
from clearing.network.privacy import FEWEST_MEMBERS, FEWEST_TRANSFERS
from commons.errors import InvalidError

_DAY: Final = timedelta(days=1)
_GROUP_BITS: Final = 40


@dataclass
class Day:
    """What a union paid on a day: number of payments, net volume, and what is known to be in it.

    `rows` are payments and reversals; `members` are those who paid and were paid, of a day up to
    three of each side.
    """

    number: int = 0
    volume: int = 0
    rows: int = 0
    members: set[int] = field(default_factory=set)

    @property
    def counted(self) -> int:
        """The number of payments less that of reversals."""
        return 2 * self.number - self.rows

    def is_large(self, taken: int = 0) -> bool:
        """Tell whether it is enough to be told, also beside days that take so many away."""
        is_enough = self.counted - taken >= FEWEST_TRANSFERS
        return is_enough and len(self.members) >= FEWEST_MEMBERS

    def add(self, other: "Day") -> None:
        """Count another one in."""
        self.number += other.number
        self.volume += other.volume
        self.rows += other.rows
        self.members |= other.members


class Days:
    """The days of unions in the months that a period lies in.

    Days are told apart only where both have enough in them, even if all that other days of the
    month take away, with more reversals than payments, were taken from one; so whatever is told of
    a month is a sum over runs of days that have enough each. A whole month is told where it has
    enough.
    """

    def __init__(self, session: Session, asked: Asked) -> None:
        check_days(session, asked)
        first, last = first_of_month(asked.start), asked.end - _DAY
        beyond = steps.after(last, Every.MONTH) or asked.end
        starts = [first + number * _DAY for number in range((beyond - first).days)]
        self.payments = payments(session, replace(asked, end=beyond), starts, Every.DAY)
        self.first = first
        self._days = _found(self.payments, starts)
        self.unions = sorted(self._days)
        self._taken = {union: _taken(days) for union, days in self._days.items()}
        for name, moment in (("from", asked.start), ("to", asked.end)):
            if not all(self._may_cut(union, moment.date()) for union in self.unions):
                rule = (
                    f"{moment:%Y-%m-%d} is within a month, and one of the days on both sides has"
                    f" fewer than {FEWEST_TRANSFERS} payments or {FEWEST_MEMBERS} members: to set"
                    " it apart would tell single payments"
                )
                raise InvalidError(name, rule)

    def _may_cut(self, union: str, after: date) -> bool:
        """Tell whether what a union paid before and from a day on may be told apart."""
        taken = self._taken.get(union, {}).get(after.replace(day=1))
        if after.day == 1 or taken is None:
            return True
        sides = (self._days[union].get(day, Day()) for day in (after - _DAY, after))
        return all(side.is_large(taken) for side in sides)

    def between(self, union: str, start: datetime, end: datetime) -> tuple[Day, bool]:
        """Return what was paid between two midnights, and whether that may be told."""
        found, is_told = Day(), True
        for begins, ends in _by_month(start.date(), end.date()):
            part = Day()
            for day, one in self._days.get(union, {}).items():
                if begins <= day < ends:
                    part.add(one)
            is_told &= self._may_cut(union, begins) and self._may_cut(union, ends)
            is_told &= part.is_large() or not part.rows
            found.add(part)
        return found, is_told


def _by_month(start: date, end: date) -> Iterator[tuple[date, date]]:
    while start < end:
        ahead = (start.replace(day=1) + 32 * _DAY).replace(day=1)
        yield start, min(ahead, end)
        start = ahead


def _taken(days: Mapping[date, Day]) -> dict[date, int]:
    """Return, by month, what days with more reversals than payments take away in it."""
    taken: dict[date, int] = {}
    for day, one in days.items():
        month = day.replace(day=1)
        taken[month] = taken.get(month, 0) + max(0, -one.counted)
    return taken


def _found(made: Payments, starts: Sequence[datetime]) -> dict[str, dict[date, Day]]:
    alike = Alike(made.union * len(starts) + made.step)
    sums = (alike.total((made.amount > 0).astype(np.int64)), alike.total(made.amount))
    rows = alike.total(np.ones_like(made.amount))
    members = (
        *alike.least(_members(made.payer, made.payer_member), FEWEST_MEMBERS),
        *alike.least(_members(made.payee, made.payee_member), FEWEST_MEMBERS),
    )
    columns = (column.tolist() for column in (alike.keys, *sums, rows, *members))
    days: dict[str, dict[date, Day]] = {}
    for key, number, volume, count, *some in zip(*columns, strict=True):
        union, place = divmod(key, len(starts))
        day = Day(number, volume, count, {one for one in some if one})
        days.setdefault(made.unions[union], {})[starts[place].date()] = day
    return days


def _members(group: Numbers, member: Numbers) -> Numbers:
    """Return a number for each member of each group, 0 where there is none."""
    return np.where(member == 0, 0, member + (group << np.int64(_GROUP_BITS)))
