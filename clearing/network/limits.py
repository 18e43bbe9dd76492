"""Limits as of a moment: who is near one, and how long it lasts at the pace of the last weeks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

from sqlalchemy.orm import Session

from clearing.accounts import AccountStatus, Limit, LimitKind, Position, is_beyond
from clearing.network.answers import Answer, Asked, Cell, Column, Grain
from clearing.network.nodes import NAMED, UNION, Node, label, nodes
from clearing.network.numbers import money, rounded, share
from clearing.network.pairs import pairs_before
from clearing.network.then import Past, balances_before, before

PACE_DAYS: Final = 28
"""Four whole weeks, so that each day of the week counts alike."""

_KIND: Final = Column("kind", "word", "credit, surplus, or pair: what it may owe one other group.")
_OF_GROUP: Final = (
    Column("counterparty", "id", "The group that a pair limit is towards."),
    Column("warn", "clearing units", "Beyond this payments go through and are flagged."),
    Column("limit", "clearing units", "Nothing goes beyond this."),
    Column("used", "clearing units", "How much of it is used, reservations counted."),
    Column("in_use", "share", "How much of the limit that is."),
    Column("room", "clearing units", "How much more could be used; below zero: beyond it."),
    Column("level", "word", "ok, alert (beyond half of it or the warning) or over."),
    Column("days_left", "days", "How long the room lasts at the pace of the last 28 days."),
)
_OF_MANY: Final = (
    Column("limits", "number", "Limits that are set."),
    Column("ok", "number", "Those well within."),
    Column("alert", "number", "Those beyond half, or beyond a warning."),
    Column("over", "number", "Those that are passed."),
    Column("limit", "clearing units", "All that may be used of them."),
    Column("used", "clearing units", "What of them is used, reservations counted."),
    Column("in_use", "share", "How much of the limits that is."),
    Column("days_left", "days", "How long the first of them lasts at the pace of 28 days."),
)


@dataclass(frozen=True)
class _Pressed:
    """A limit and what presses on it, in smallest clearing units.

    `used` may be negative: that much more than the limit is free. `moved` is by how much it grew in
    `PACE_DAYS`.
    """

    node: Node
    kind: LimitKind
    towards: Node | None
    limit: Limit
    used: int
    moved: int

    @property
    def level(self) -> AccountStatus:
        """Return how this limit alone stands, by the rule of an account's status."""
        stop, warn = self.limit.stop, self.limit.warn
        if is_beyond(stop, self.used):
            return AccountStatus.OVER
        near = is_beyond(stop, 2 * self.used) or is_beyond(warn, self.used)
        return AccountStatus.ALERT if near else AccountStatus.OK

    @property
    def taken(self) -> int:
        """What of the limit is used: nothing where the balance lies on the other side of zero."""
        return max(0, self.used)

    @property
    def room(self) -> int | None:
        return None if self.limit.stop is None else self.limit.stop - self.used

    @property
    def days_left(self) -> Fraction | None:
        """Return room ÷ (moved ÷ days); None where it never ends at this pace."""
        if self.room is None or self.moved <= 0:
            return None
        return Fraction(max(0, self.room) * PACE_DAYS, self.moved)

    def cells(self) -> Sequence[Cell]:
        stop = self.limit.stop
        return (
            self.node.union_id,
            self.node.name,
            str(self.kind),
            self.towards.name if self.towards else None,
            _told(self.limit.warn),
            _told(stop),
            money(self.taken),
            None if stop is None else share(self.taken, stop),
            _told(self.room),
            str(self.level),
            _days(self.days_left),
        )


def _told(minor: int | None) -> Cell:
    return None if minor is None else money(minor)


def _days(left: Fraction | None) -> Cell:
    return None if left is None else rounded(left, 1)


@dataclass
class _Sum:
    """Limits of one kind summed up."""

    levels: Counter[AccountStatus] = field(default_factory=Counter)
    stop: int = 0
    used: int = 0
    days: list[Fraction] = field(default_factory=list)

    def add(self, one: _Pressed) -> None:
        self.levels[one.level] += 1
        if one.limit.stop is not None:
            self.stop += one.limit.stop
            self.used += one.taken
        if one.days_left is not None:
            self.days.append(one.days_left)

    def cells(self) -> Sequence[Cell]:
        return (
            self.levels.total(),
            *(self.levels[status] for status in AccountStatus),
            money(self.stop),
            money(self.used),
            share(self.used, self.stop),
            _days(min(self.days, default=None)),
        )


def limits(session: Session, asked: Asked) -> Answer:
    """How near every limit is, and how many days it lasts at the pace of the last 28 days.

    Formula: used of a credit limit = pending out - b(i), of a surplus limit b(i) + pending in, of
    the limit of i towards j max(0, P(j,i)) + what is reserved of it; room = limit - used;
    days left = room ÷ (growth of b, or of what i owes j, in the last 28 days, in the direction of
    the limit, ÷ 28), none where it moves away or stands. alert: used > limit ÷ 2 or used > warning.
    Unit: clearing units; what is in use is a share of 1; days.
    Source: changes of limits, chain rows, entries, and the times of transfers and rounds, all
    before the moment. Pending payments count as used, not in the pace.
    """
    found = nodes(session, asked)
    pressed = list(_pressed(session, asked, found))
    whole = _Sum()
    for one in pressed:
        whole.add(one)
    totals = dict(zip((column.name for column in _OF_MANY), whole.cells(), strict=True))
    is_single = asked.by is Grain.GROUP
    rows = [one.cells() for one in pressed] if is_single else _summed(pressed, asked)
    own = _OF_GROUP if is_single else _OF_MANY
    return Answer("limits", asked, (UNION, *NAMED[asked.by], _KIND, *own), rows, totals)


def _summed(pressed: Sequence[_Pressed], asked: Asked) -> list[Sequence[Cell]]:
    sums: dict[tuple[str, str, LimitKind], _Sum] = {}
    for one in pressed:
        union_id, name = label(one.node.union_id, one.node.group_id, one.node.name, asked)
        sums.setdefault((union_id, name, one.kind), _Sum()).add(one)
    is_whole = asked.by is Grain.UNION
    return [
        (union_id, *(() if is_whole else (name,)), str(kind), *sums[union_id, name, kind].cells())
        for union_id, name, kind in sorted(sums)
    ]


def _pressed(session: Session, asked: Asked, found: Sequence[Node]) -> Iterator[_Pressed]:
    """Yield every limit that is set, by account, kind and counterparty."""
    past = before(session, asked.union_id, found, asked.end)
    start = _weeks_before(asked.end)
    was = balances_before(session, asked.union_id, start)
    towards = _Towards(session, asked, start, found, past)
    for node in found:
        if node.id not in past.accounts:
            continue
        account = past.accounts[node.id]
        grown = account.balance - (was[node.id] or 0)
        for kind, used, moved in (
            (LimitKind.CREDIT, account.used_below(), -grown),
            (LimitKind.SURPLUS, account.used_above(), grown),
        ):
            limit = past.limits.get((node.id, None, kind), Limit())
            if limit != Limit():
                yield _Pressed(node, kind, None, limit, used, moved)
        yield from towards.of(node)


class _Towards:
    """The pair limits that are set, with what the pairs come to; read where there are any."""

    def __init__(
        self,
        session: Session,
        asked: Asked,
        start: datetime,
        found: Sequence[Node],
        past: Past,
    ) -> None:
        self._past = past
        self._nodes = {node.id: node for node in found}
        self._set: dict[int, list[int]] = {}
        for (account, other, _), limit in past.limits.items():
            if other is not None and limit != Limit():
                self._set.setdefault(account, []).append(other)
        self._amounts: dict[tuple[int, int], tuple[int, int]] = {}
        if self._set:
            self._read(session, asked, start)

    def _read(self, session: Session, asked: Asked, start: datetime) -> None:
        """Keep P(account, counterparty) at the start and at the end, of those pairs alone."""
        pairs = pairs_before(session, asked.union_id, [start, asked.end])
        was, now = (step.tolist() for step in pairs.at_each(2))
        wanted = {(a, b) for a, others in self._set.items() for b in others}
        sides = zip(pairs.one.tolist(), pairs.other.tolist(), was, now, strict=True)
        for one, other, first, last in sides:
            if (one, other) in wanted:
                self._amounts[one, other] = first, last
            if (other, one) in wanted:
                self._amounts[other, one] = -first, -last

    def of(self, node: Node) -> Iterator[_Pressed]:
        """Yield the pair limits of an account, by the names of their counterparties."""
        others = (self._nodes[other] for other in self._set.get(node.id, ()))
        for other in sorted(others, key=lambda one: one.name):
            was, now = self._amounts.get((node.id, other.id), (0, 0))
            limit = self._past.limits[node.id, other.id, LimitKind.PAIR]
            reserved = self._past.reserved
            position = Position(
                amount=now,
                pending_out=reserved.pairs.get((node.union_id, node.name, other.name), 0),
                given=reserved.given.get((node.id, other.id), 0),
            )
            moved = max(0, -now) - max(0, -was)
            yield _Pressed(node, LimitKind.PAIR, other, limit, position.used(), moved)


def _weeks_before(moment: datetime) -> datetime:
    first, pace = datetime.min.replace(tzinfo=UTC), timedelta(days=PACE_DAYS)
    return moment - pace if moment - first > pace else first
