"""The rounds of a replay: when they are held, and what each sets off and releases."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import numpy as np

from clearing.netting.arcs import Numbers
from clearing.netting.queue import NONE, Matrix, Waiting, choose
from clearing.rounds.scheduling import next_time
from clearing.simulation.matrix import Matrix as Standing
from clearing.simulation.matrix import Pair
from clearing.simulation.outcome import AS_RECORDED
from clearing.simulation.recorded import Attempt
from commons.errors import InvalidError

MOST_ROUNDS: Final = 1_000
CHOSEN_FROM: Final = 40
"""A round chooses among so many of the queue that have waited longest, for which the best choice
is found for certain; others are posted once they have room."""

_OFTEN: Final = 3
_DEADLINE_SECONDS: Final = 10


@dataclass(frozen=True)
class Released:
    """What a round of a replay did: which of the queue it released, what it set off and drew."""

    released: Sequence[bool]
    cleared: int
    drawn: int


def rounds_of(
    start: datetime, end: datetime, days: int | None, schedule: str | None, *, none: bool
) -> tuple[Sequence[datetime] | None, str]:
    """Return when rounds are asked for, and how that is said; None as it was recorded.

    Raises InvalidError where more than one of the three is asked for.
    """
    if sum((days is not None, schedule is not None, none)) > 1:
        raise InvalidError("no_rounds", "and rounds_every and schedule exclude each other")
    if days is not None:
        return every(days, start, end), f"every {days} days"
    if schedule is not None:
        return by_cron(schedule, start, end), f"by {schedule}"
    return ((), "none") if none else (None, AS_RECORDED)


def every(days: int, start: datetime, end: datetime) -> list[datetime]:
    """Return when rounds are held every so many days, the first after as many."""
    if days < 1:
        raise InvalidError("rounds_every", "must be a whole number of days, 1 or more")

    def moments() -> Iterator[datetime]:
        moment = start
        while end - moment > timedelta(days=days):
            moment += timedelta(days=days)
            yield moment

    return _few(moments())


def by_cron(expression: str, start: datetime, end: datetime) -> list[datetime]:
    """Return when rounds are held by a cron expression in UTC, after `start` and before `end`."""

    def moments() -> Iterator[datetime]:
        moment = next_time(expression, start.astimezone(UTC))
        while moment < end:
            yield moment
            moment = next_time(expression, moment)

    return _few(moments())


def _few(moments: Iterator[datetime]) -> list[datetime]:
    found = list(islice(moments, MOST_ROUNDS + 1))
    if len(found) > MOST_ROUNDS:
        raise InvalidError("rounds", f"would be more than {MOST_ROUNDS} in this period")
    return found


def run(
    standing: Standing,
    queue: Sequence[Attempt],
    passed_over: Sequence[int],
    barred: Sequence[bool],
    *,
    lines: bool,
) -> Released:
    """Hold a round: post what it releases of the queue, oldest first, and set off all there is.

    `passed_over` is how many rounds have passed over each that waits.
    """
    waiting = [
        Waiting(
            debtor=one.debtor,
            creditor=one.creditor,
            out=one.out,
            into=one.into,
            pair=one.pair,
            entries=one.entries[1:],
            first=often >= _OFTEN,
        )
        for one, often in zip(queue, passed_over, strict=True)
    ]
    choice = choose(_matrix(standing, queue, barred, lines=lines), waiting, _DEADLINE_SECONDS)
    for one, released in zip(queue, choice.released, strict=True):
        if released:
            standing.move(one.entries)
    arcs, amount = choice.standing.arcs, choice.circulation.amount
    rows = zip(arcs.creditor.tolist(), arcs.debtor.tolist(), amount.tolist(), strict=True)
    standing.set_off(row for row in rows if row[2])
    ahead = arcs.weight > 0
    return Released(choice.released, int(amount[ahead].sum()), int(amount[~ahead].sum()))


def _matrix(
    standing: Standing, queue: Sequence[Attempt], barred: Sequence[bool], *, lines: bool
) -> Matrix:
    """Return the matrix of a replay as a round sees it."""
    owed: dict[Pair, int] = {}
    for (one, other), amount in standing.positions.items():
        if amount:
            owed[(other, one) if amount > 0 else (one, other)] = abs(amount)
    touched = [(debtor, creditor) for one in queue for debtor, creditor, _ in one.entries]
    touched += standing.pair if lines else ()
    for debtor, creditor in touched:
        if (creditor, debtor) not in owed:
            owed.setdefault((debtor, creditor), 0)
    pairs = np.array(list(owed), dtype=np.int64).reshape(-1, 2)
    return Matrix(
        nodes=standing.size,
        debtor=pairs[:, 0],
        creditor=pairs[:, 1],
        owed=np.array(list(owed.values()), dtype=np.int64),
        held=np.zeros(len(owed), dtype=np.int64),
        ceiling=_ceilings(standing, owed),
        back=_ceilings(standing, ((creditor, debtor) for debtor, creditor in owed)),
        room_below=_rooms(standing.credit, standing.used_below()),
        room_above=_rooms(standing.surplus, standing.used_above()),
        barred=np.array(barred, dtype=np.bool_),
        lines=lines,
    )


def _ceilings(standing: Standing, pairs: Iterable[Pair]) -> Numbers:
    """Return the most that each may owe the other in the end, beside what is pending."""
    limits, pending = standing.pair, standing.pending_pair
    found = [limits[pair] - pending.get(pair, 0) if pair in limits else NONE for pair in pairs]
    return np.array(found, dtype=np.int64)


def _rooms(stops: Sequence[int | None], used: Sequence[int]) -> Numbers:
    """Return how much further each balance may go."""
    rooms = [NONE if stop is None else stop - use for stop, use in zip(stops, used, strict=True)]
    return np.array(rooms, dtype=np.int64)
