"""Statements read from the chain: opening balance, lines, closing balance, of any period.

A period is cut by versions, which are gapless: its opening is the last version before it starts,
its closing the last before it ends. So statements of consecutive periods always chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from clearing import chain
from clearing.accounts import Account
from clearing.ledger import ChainRow, Journal
from clearing.statements.contents import Told, tell
from clearing.statements.span import Period, Place
from commons import database
from commons.errors import InvalidError

MOST_LINES: Final = 1_000
LINES: Final = 50


@dataclass(frozen=True)
class Point:
    """An account after one of its versions; `balance` in smallest clearing units."""

    version: int
    balance: int
    head: str


@dataclass(frozen=True)
class Line:
    """One version of the account, as it is chained, and what is told of its journal."""

    point: Point
    journal: str
    kind: str
    counterparty: str
    amount: int
    time: datetime
    digest: str
    value_date: date
    told: Told


@dataclass(frozen=True)
class Statement:
    """A page of an account's statement; opening and closing are the page's own.

    `page` counts from 1; `next_cursor` leads to the next page, None on the last.
    """

    account: str
    union: str
    period: Period
    opening: Point
    lines: Sequence[Line]
    closing: Point
    page: int
    next_cursor: str | None


def certain_until(session: Session, account: Account) -> datetime:
    """Return a moment before which nothing more can be posted to an account.

    What is posted takes its time under the account's lock and is committed later. Whoever held
    the lock before is waited for, so that all of it is seen by a session that begins after this;
    whoever comes later takes a later time. An embedded database has one writer, which this is: it
    wants a transaction of its own, that writes nothing and need not wait for a disk.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL synchronous_commit TO off"))
    session.execute(select(Account.id).where(Account.id == account.id).with_for_update(read=True))
    return database.now(session)


def point_before(session: Session, account: Account, moment: datetime) -> Point:
    """Return an account as it was right before `moment`."""
    return _point(
        account,
        session.execute(
            select(ChainRow.version, ChainRow.balance, ChainRow.hash)
            .where(ChainRow.account_id == account.id, ChainRow.posted_at < moment)
            .order_by(ChainRow.posted_at.desc(), ChainRow.version.desc())
            .limit(1)
        ).first(),
    )


def _point_at(session: Session, account: Account, version: int) -> Point:
    row = session.execute(
        select(ChainRow.version, ChainRow.balance, ChainRow.hash).where(
            ChainRow.account_id == account.id, ChainRow.version == version
        )
    ).first()
    if row is None and version:
        raise InvalidError("cursor", "is none that was given out here")
    return _point(account, row)


def _point(account: Account, row: Row[int, int, str] | None) -> Point:
    if row is None:
        return Point(0, 0, chain.first_hash(account.union_id, account.name))
    return Point(*row)


def read(
    session: Session,
    account: Account,
    where: Period | Place,
    *,
    limit: int | None = LINES,
    with_names: bool = True,
) -> Statement:
    """Return the first page of a period's statement, or the page at a cursor's place.

    At most `limit` lines, None for all; without names neither members nor descriptions are told.
    """
    if limit is not None and not 1 <= limit <= MOST_LINES:
        raise InvalidError("limit", f"must be between 1 and {MOST_LINES}")
    if isinstance(where, Period):
        opening = point_before(session, account, where.start)
        # Were the clock ever set back, the end could seem to come first.
        until = max(opening.version, point_before(session, account, where.end).version)
        where = Place(where, opening.version, until, 1)
    else:
        opening = _point_at(session, account, where.after)
    lines = _lines(session, account, where, limit, with_names=with_names)
    closing = lines[-1].point if lines else opening
    rest = Place(where.period, closing.version, where.until, where.page + 1)
    return Statement(
        account.name,
        account.union_id,
        where.period,
        opening,
        lines,
        closing,
        where.page,
        rest.text() if lines and closing.version < where.until else None,
    )


def _lines(
    session: Session, account: Account, where: Place, limit: int | None, *, with_names: bool
) -> list[Line]:
    rows = session.execute(
        select(*ChainRow.__table__.c, Journal.value_date, Journal.about)
        .join(Journal, Journal.id == ChainRow.journal_id)
        .where(
            ChainRow.account_id == account.id,
            ChainRow.version > where.after,
            ChainRow.version <= where.until,
        )
        .order_by(ChainRow.version)
        .limit(limit)
    ).all()
    told = tell(session, account, rows, with_names=with_names)
    return [
        Line(
            Point(row.version, row.balance, row.hash),
            str(row.journal_id),
            str(row.kind),
            row.counterparty,
            row.amount,
            row.posted_at,
            row.digest,
            row.value_date or row.posted_at.date(),
            told[row.version],
        )
        for row in rows
    ]
