"""Reconciliation: a hub's own book of transfers held against ours, each difference with its cure.

Nothing is stored. What is no transfer of the asking group is to it as if it did not exist.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from clearing.reconciliation import advice
from clearing.reconciliation.books import COLUMNS, MEMBER, BookRow, read_book
from clearing.reconciliation.comparison import Comparison, Difference, Kind
from clearing.transfers import Party, Transfer, TransferState
from commons.errors import InvalidError, NotFoundError
from commons.groups import Currency, Group
from commons.money import format_amount, parse_amount

__all__ = [
    "COLUMNS",
    "MEMBER",
    "BookRow",
    "Bounds",
    "Difference",
    "Kind",
    "Period",
    "Report",
    "Total",
    "read_book",
    "reconcile",
]

_AT_ONCE: Final = 1_000
# What was refused or ended without money need not be in anybody's book.
_EXPECTED: Final = (TransferState.PENDING, TransferState.QUEUED, TransferState.POSTED)


@dataclass(frozen=True)
class Period:
    """The transfers that were made at `begins` or later and before `ends`; None is no bound."""

    begins: datetime | None = None
    ends: datetime | None = None

    def misses(self, row: BookRow) -> bool:
        """Tell whether a row's day lies outside; a row without one never does."""
        before = self.begins is not None and row.ends is not None and row.ends <= self.begins
        after = self.ends is not None and row.begins is not None and row.begins >= self.ends
        return before or after


@dataclass(frozen=True)
class Total:
    """Our transfers of a period in one state, as decimal strings of the group's own currency."""

    state: TransferState
    count: int
    paid: str
    received: str


@dataclass
class Report:
    """What came out: `counts` of all differences by kind, the first of them, and the `rest`.

    `matching` rows agree in all that they say; `outside` rows are of days outside the period.
    """

    rows: int
    matching: int = 0
    outside: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    differences: list[Difference] = field(default_factory=list)
    rest: int = 0
    totals: list[Total] = field(default_factory=list)


@dataclass(frozen=True)
class Bounds:
    """How many differences are listed, and how many of our transfers the period may hold."""

    differences: int | None = None
    transfers: int | None = None


def reconcile(  # noqa: PLR0913 - what is compared with what, and how much of it is told
    session: Session,
    group_id: str,
    rows: Sequence[BookRow],
    period: Period,
    bounds: Bounds,
    *,
    progress: Callable[[int], object] = lambda _rows: None,
) -> Report:
    """Hold a group's book against ours and return every difference, rows first in their order.

    Rows are compared by id with our transfer of whatever time; missing there is what was made in
    the period, is pending, queued or posted, and stands in no row. `progress` is told how many
    rows were compared just now. Raises InvalidError for an amount finer than the group's currency,
    and where the period holds more transfers than `bounds` allow.
    """
    if bounds.transfers is not None:
        _check_size(session, group_id, period, bounds.transfers)
    book = _Book(session, group_id, period, bounds.differences, Report(len(rows)))
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        book.compare(part)
        progress(len(part))
    book.look_for_missing({row.id for row in rows})
    book.report.totals = _totals(session, group_id, period)
    return book.report


@dataclass(frozen=True)
class _Book:
    """One reconciliation on its way."""

    session: Session
    group_id: str
    period: Period
    most: int | None
    report: Report

    def compare(self, rows: Sequence[BookRow]) -> None:
        inside = [row for row in rows if not self.period.misses(row)]
        self.report.outside += len(rows) - len(inside)
        mine = _of_group(self.group_id), Transfer.id.in_([row.id for row in inside])
        ours = {
            transfer.id: transfer
            for transfer in self.session.scalars(select(Transfer).where(*mine))
        }
        currencies = _currencies(self.session, self.group_id, ours.values())
        for row in inside:
            _check_row(row, self.group_id, currencies[self.group_id])
            if row.id in ours:
                comparison = Comparison(row, ours[row.id], self.group_id, currencies)
                found = list(comparison.differences())
            else:
                do = advice.missing_here(row.id, row.state)
                state = row.state
                found = [Difference(Kind.MISSING_HERE, row.id, row.number, None, state, None, do)]
            self.report.matching += not found
            self._add(found)

    def look_for_missing(self, known: Collection[object]) -> None:
        """Find what a hub's book should have and has not, oldest first."""
        asked = (
            select(Transfer.id, Transfer.state, Transfer.initiator, Transfer.payer_group)
            .where(_in_period(self.group_id, self.period), Transfer.state.in_(_EXPECTED))
            .order_by(Transfer.created_at, Transfer.id)
            .execution_options(yield_per=_AT_ONCE)
        )
        for transfer_id, state, initiator, payer_group in self.session.execute(asked):
            if transfer_id not in known:
                own = Party.PAYER if payer_group == self.group_id else Party.PAYEE
                do = advice.missing_there(transfer_id, state, made_by_you=own is initiator)
                kind = Kind.MISSING_THERE
                self._add([Difference(kind, transfer_id, None, None, None, state, do)])

    def _add(self, found: Sequence[Difference]) -> None:
        for difference in found:
            self.report.counts[difference.kind] += 1
            if self.most is None or len(self.report.differences) < self.most:
                self.report.differences.append(difference)
            else:
                self.report.rest += 1


def _check_row(row: BookRow, group_id: str, currency: Currency) -> None:
    """Hold a row against what is known of the group, before any transfer is looked at."""
    groups = [party.partition("/")[0] for party in (row.payer, row.payee) if party]
    if len(groups) == len(Party) and groups.count(group_id) != 1:
        raise row.invalid("payer", f"or the payee, but not both, must be of group {group_id!r}")
    if "amount" in row.amounts and row.unit is None and row.currency in {None, currency.code}:
        try:
            parse_amount(row.amounts["amount"], currency.scale)
        except InvalidError as error:
            raise row.invalid("amount", error.rule) from error


def _of_group(group_id: str) -> ColumnElement[bool]:
    return or_(Transfer.payer_group == group_id, Transfer.payee_group == group_id)


def _in_period(group_id: str, period: Period) -> ColumnElement[bool]:
    bounds = [_of_group(group_id)]
    if period.begins is not None:
        bounds.append(Transfer.created_at >= period.begins)
    if period.ends is not None:
        bounds.append(Transfer.created_at < period.ends)
    return and_(*bounds)


def _check_size(session: Session, group_id: str, period: Period, most: int) -> None:
    some = select(Transfer.id).where(_in_period(group_id, period)).limit(most + 1).subquery()
    if (session.scalar(select(func.count()).select_from(some)) or 0) > most:
        rule = f"to `to` may hold at most {most} of our transfers; ask for a shorter period"
        raise InvalidError("from", rule)


def _totals(session: Session, group_id: str, period: Period) -> list[Total]:
    scale = _currencies(session, group_id, [])[group_id].scale
    is_payer = Transfer.payer_group == group_id
    found = session.execute(
        select(
            Transfer.state,
            Transfer.reverses.is_not(None),
            func.count(),
            func.sum(Transfer.payer_amount).filter(is_payer),
            func.sum(Transfer.payee_amount).filter(~is_payer),
        )
        .where(_in_period(group_id, period))
        .group_by(Transfer.state, Transfer.reverses.is_not(None))
    )
    sums: dict[TransferState, tuple[int, int, int]] = {}
    for state, is_reversal, count, as_payer, as_payee in found:
        paid, received = int(as_payer or 0), int(as_payee or 0)
        if is_reversal:  # its money comes back to the payer
            paid, received = received, paid
        before = sums.get(state, (0, 0, 0))
        sums[state] = (before[0] + count, before[1] + paid, before[2] + received)
    return [
        Total(state, count, format_amount(paid, scale), format_amount(received, scale))
        for state in TransferState
        if state in sums
        for count, paid, received in [sums[state]]
    ]


def _currencies(
    session: Session, group_id: str, transfers: Collection[Transfer]
) -> dict[str, Currency]:
    """Return the currencies of the group and of all whom it meets in these transfers."""
    groups = {t.payer_group for t in transfers} | {t.payee_group for t in transfers} | {group_id}
    rows = session.execute(
        select(Group.id, Currency)
        .join(Currency, Currency.id == Group.currency_id)
        .where(Group.id.in_(groups))
    )
    found: dict[str, Currency] = dict(rows.all())
    if group_id not in found:
        raise NotFoundError(f"there is no group {group_id!r} with a currency")
    return found
