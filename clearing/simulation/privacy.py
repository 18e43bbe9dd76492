"""For which periods, and without which group, an analyst may ask what would have been.

A comparison tells sums of a whole union. What two of them differ by would tell single payments
where it is made of few, so each month must be empty or large enough, at most one group is left
out, and a group only where that sets nothing small apart, whichever others are left out in other
questions. What of an answer is told at all, `clearing.simulation.withholding` says.

How that is known: of a month every answer is made of the same payments but those of one group. So
take the groups that may be left out, and tell payments apart by which of them they touch: each
answer has all of such a class or nothing of it. Every class is empty or large, so whatever is
worked out from any answers is made of whole classes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clearing.network.answers import Asked, Every
from clearing.network.cuts import month_starts
from clearing.network.privacy import FEWEST_MEMBERS, FEWEST_TRANSFERS
from clearing.transfers import Transfer
from commons.errors import InvalidError

MOST_MONTHS = 36
_RULE = f"fewer than {FEWEST_TRANSFERS} payments or {FEWEST_MEMBERS} members"


@dataclass(frozen=True)
class Made:
    """Payments between two members: of which groups, and how many; an erased name is None."""

    payer_group: str
    payer_member: str | None
    payee_group: str
    payee_member: str | None
    number: int

    @property
    def groups(self) -> frozenset[str]:
        """The two groups between which they are."""
        return frozenset({self.payer_group, self.payee_group})

    @property
    def members(self) -> set[tuple[str, str]]:
        """Who pays and is paid; erased names count as none."""
        sides = (self.payer_group, self.payer_member), (self.payee_group, self.payee_member)
        return {(group, member) for group, member in sides if member is not None}


def months_of(
    session: Session, union_id: str, start: datetime, end: datetime
) -> Sequence[tuple[datetime, datetime]]:
    """Return the whole months of a period; raises InvalidError for another one, or too many."""
    months = [*month_starts(session, Asked(union_id, start, end, every=Every.MONTH)), end]
    if len(months) > MOST_MONTHS + 1:
        raise InvalidError("to", f"must be at most {MOST_MONTHS} months after from")
    return list(pairwise(months))


def check(
    session: Session,
    union_id: str,
    months: Iterable[tuple[datetime, datetime]],
    without: str | None,
) -> None:
    """Raise InvalidError where months, or the group left out, would tell of too little."""
    for first, last in months:
        made = _made(session, union_id, first, last)
        if _is_small(made):
            raise InvalidError("from", f"{first:%Y-%m} holds {_RULE}: nothing is told of it")
        traded = {group for one in made for group in one.groups}
        if without in traded and without not in left_out_of(made):
            told = f"that would be told apart by leaving out {without}, or another group"
            raise InvalidError("without", f"{first:%Y-%m} holds {_RULE} {told}")


def left_out_of(made: Sequence[Made]) -> frozenset[str]:
    """Return the groups that may each be left out of a month, by what was paid in it.

    Large or empty has to be: what a group took part in and what it did not; what it had with each
    other group of which that holds, and with all others together; and all that is no business of
    any of the groups that are left.
    """
    of: dict[str, list[Made]] = defaultdict(list)
    for one in made:
        for group in one.groups:
            of[group].append(one)
    whole = {
        group
        for group, own in of.items()
        if not _is_small(own) and not _is_small(one for one in made if group not in one.groups)
    }
    cells: dict[tuple[str, str | None], list[Made]] = defaultdict(list)
    for group in whole:
        for one in of[group]:
            (other,) = one.groups - {group}
            cells[group, other if other in whole else None].append(one)
    found = frozenset(whole - {group for (group, _), cell in cells.items() if _is_small(cell)})
    return frozenset() if _is_small(one for one in made if not one.groups & found) else found


def _is_small(made: Iterable[Made]) -> bool:
    """Tell whether payments are made, but too few or by too few."""
    number, members = 0, set[tuple[str, str]]()
    for one in made:
        number += one.number
        members |= one.members
        if number >= FEWEST_TRANSFERS and len(members) >= FEWEST_MEMBERS:
            return False
    return number > 0


def _made(session: Session, union_id: str, first: datetime, last: datetime) -> list[Made]:
    """Return what was paid, or tried, from `first` to before `last`."""
    sides = (
        Transfer.payer_group,
        Transfer.payer_member,
        Transfer.payee_group,
        Transfer.payee_member,
    )
    rows = session.execute(
        select(*sides, func.count())
        .where(
            Transfer.union_id == union_id,
            Transfer.created_at >= first,
            Transfer.created_at < last,
        )
        .group_by(*sides)
    )
    return [Made(*row) for row in rows]
