"""Velocity: how often what groups have to their credit changes hands."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    String,
    case,
    cast,
    func,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from clearing.accounts import Account
from clearing.columns import read
from clearing.ledger import ChainRow
from clearing.network import steps
from clearing.network.answers import Answer, Asked, Cell, Column, Every
from clearing.network.days import Days
from clearing.network.flows import is_embedded
from clearing.network.nodes import UNION
from clearing.network.numbers import SHARE_PLACES, money, rounded
from clearing.network.then import balances_before
from commons.money import CLEARING_SCALE

DAY_SECONDS: Final = 86_400
YEAR_SECONDS: Final = 365 * DAY_SECONDS
_HALF: Final = 2**31
"""Amounts are multiplied by seconds in two parts, so that no product passes 64 bits."""

Spans = Sequence[tuple[datetime, datetime]]

_COLUMNS: Final = (
    Column("from", "moment", "The beginning of the step."),
    UNION,
    Column("volume", "clearing units", "What was paid, less what was taken back, where told."),
    Column("mean_stock", "clearing units", "What accounts had to their credit, over time."),
    Column("velocity", "times", "How often that was paid in the step."),
    Column("velocity_per_year", "times", "The same at this pace in 365 days."),
)


def velocity(session: Session, asked: Asked) -> Answer:
    """How often the stock of credit was paid in each step.

    Formula: velocity = Σ volume ÷ M, with M = 1/(t1 - t0) · ∫ S(t) dt from t0 to t1 and the stock
    of credit S(t) = Σ_i max(0, b_i(t)) over all accounts of the union, those that take rounding
    and the union's own among them; per year · 365 days ÷ (t1 - t0). None where nobody had credit
    or the volume is withheld.
    Unit: times; volume and mean stock in clearing units.
    Source: Fisher 1911, The Purchasing Power of Money (V = PT / M, of M the credit that members'
    groups hold); chain rows, their time to the second; transfers as in `volume`, by unions.
    """
    spans = steps.spans(asked.start, steps.ends(asked.start, asked.end, asked.every))
    days, rows = Days(session, asked), list[Sequence[Cell]]()
    stocks = stock(session, asked, spans)
    held = 0
    for step, (begins, ends) in enumerate(spans):
        for union, means in sorted(stocks.items()):
            made, is_told = days.between(union, begins, ends)
            held += not is_told
            seconds = int((ends - begins).total_seconds())
            told = made.volume if is_told else None
            rows.append((begins, union, *_told(told, means[step], seconds)))
    return Answer("velocity", asked, _COLUMNS, rows, _totals(asked, days, stocks, spans), held)


def _told(volume: int | None, mean: Fraction, seconds: int) -> tuple[Cell, Cell, Cell, Cell]:
    paid = None if volume is None else money(volume)
    stock = rounded(mean / 10**CLEARING_SCALE, CLEARING_SCALE)
    if volume is None or not mean:
        return paid, stock, None, None
    speed = volume / mean
    a_year = speed * YEAR_SECONDS / seconds
    return paid, stock, rounded(speed, SHARE_PLACES), rounded(a_year, SHARE_PLACES)


def _totals(
    asked: Asked, days: Days, stocks: dict[str, list[Fraction]], spans: Spans
) -> dict[str, Cell]:
    """Return the same of all unions and the whole period."""
    seconds = [int((ends - begins).total_seconds()) for begins, ends in spans]
    parts = [days.between(union, asked.start, asked.end) for union in stocks]
    is_told = all(told for _, told in parts)
    weighted = sum(
        (
            mean * length
            for means in stocks.values()
            for mean, length in zip(means, seconds, strict=True)
        ),
        Fraction(0),
    )
    volume = sum(made.volume for made, _ in parts) if is_told else None
    cells = _told(volume, weighted / sum(seconds), sum(seconds))
    return dict(zip((column.name for column in _COLUMNS[2:]), cells, strict=True))


def stock(session: Session, asked: Asked, spans: Spans) -> dict[str, list[Fraction]]:
    """Return the mean stock of credit of each union in each step, in smallest clearing units.

    What a chain row adds to the stock is there from its time to the end of the step, so the sums
    of what is added, and of that times when, are all that is needed.
    """
    accounts = session.execute(select(Account.id, Account.union_id))
    union_of = {account.id: account.union_id for account in accounts}
    standing: dict[str, int] = defaultdict(int)
    for account_id, balance in balances_before(session, asked.union_id, asked.start).items():
        standing[union_of[account_id]] += max(0, balance or 0)
    added: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for account_id, step, change, moments in _changes(session, asked, spans):
        if union_of[account_id] in standing:
            sums = added[union_of[account_id], step]
            sums[0] += change
            sums[1] += moments
    return {union: _means(union, now, added, asked, spans) for union, now in standing.items()}


def _means(
    union: str,
    now: int,
    added: Mapping[tuple[str, int], Sequence[int]],
    asked: Asked,
    spans: Spans,
) -> list[Fraction]:
    means = []
    for step, (begins, ends) in enumerate(spans):
        change, moments = added.get((union, step), (0, 0))
        length = int((ends - begins).total_seconds())
        until = int((ends - asked.start).total_seconds())
        means.append(Fraction(now * length + change * until - moments, length))
        now += change
    return means


def _changes(session: Session, asked: Asked, spans: Spans) -> Iterator[tuple[int, int, int, int]]:
    """Yield account, step, what chain rows added to its credit, and that times when.

    The time is in seconds from the start of the period.
    """
    step, seconds = _clock(session, asked, spans)
    before = ChainRow.balance - ChainRow.amount
    change = _above(ChainRow.balance) - _above(before)
    # So that SQLite reads the table through, by no index, which takes it a third of the time.
    account, when = ChainRow.account_id + 0, func.coalesce(ChainRow.posted_at, asked.start)
    query = (
        select(
            account.label("account"),
            step.label("step"),
            cast(func.sum(change), BigInteger).label("change"),
            cast(func.sum(change // _HALF * seconds), BigInteger).label("high"),
            cast(func.sum(change % _HALF * seconds), BigInteger).label("low"),
        )
        .where(
            when >= asked.start,
            when < asked.end,
            or_(ChainRow.balance > 0, before > 0),
        )
        .group_by(account, step)
    )
    accounts, found, changes, highs, lows = read(session, query)
    if is_embedded(session):
        days = [begins.strftime("%Y-%m-%d") for begins, _ in spans]
        shown = [(text + "-01")[:10] for text in found]
        place = {text: max(bisect_right(days, text) - 1, 0) for text in set(shown)}
        found = [place[text] for text in shown]
    else:
        found = (found - 1).tolist()
    columns = (changes.tolist(), highs.tolist(), lows.tolist())
    for account, step_found, total, high, low in zip(
        accounts.tolist(), found, *columns, strict=True
    ):
        yield account, step_found, total, high * _HALF + low


def _above(balance: Any) -> ColumnElement[Any]:  # noqa: ANN401 (a column)
    return case((balance > 0, balance), else_=0)


def _clock(
    session: Session, asked: Asked, spans: Spans
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the step of a chain row, and its time in seconds from the start of the period.

    On SQLite the step is its day or month yet.
    """
    posted = ChainRow.posted_at
    if is_embedded(session):
        text = type_coerce(posted, String)
        letters = 7 if asked.every is Every.MONTH else 10
        days = func.julianday(text, type_=Float) - func.julianday(
            asked.start.strftime("%Y-%m-%d"), type_=Float
        )
        seconds = cast(func.round(days * DAY_SECONDS), BigInteger)
        return func.substr(text, 1, letters, type_=String), seconds
    bounds = cast([begins for begins, _ in spans], ARRAY(ChainRow.__table__.c.posted_at.type))
    elapsed = func.date_part("epoch", posted - asked.start, type_=Float)  # no slow NUMERIC
    return cast(func.width_bucket(posted, bounds), BigInteger), cast(
        func.round(elapsed), BigInteger
    )
