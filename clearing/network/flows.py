"""Payments between groups by month: what every figure of flows is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    String,
    case,
    cast,
    func,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from clearing.accounts import Account
from clearing.columns import Names, Numbers, coded, read, told_apart
from clearing.network.answers import Asked, Every
from clearing.transfers import Transfer, TransferState

_DAY_LETTERS: Final = {Every.DAY: 10, Every.MONTH: 7}
_DAY_FORMAT: Final = {Every.DAY: "%Y-%m-%d", Every.MONTH: "%Y-%m"}
_NONE: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Flows:
    """Payments from node to node in each table, a month of a union; what is empty is left out.

    `payer` and `payee` are places in `names`, `table` one in `tables`. `number` counts payments,
    `volume` is what they come to less what was taken back meanwhile, in smallest clearing units.
    `counted` is the number of payments less that of reversals, so that sums of it are too.
    `payers` and `payees` are the members on each side, counted up to two; erased names are none.
    """

    names: Sequence[str]
    tables: Sequence[tuple[str, datetime]]
    table: Numbers
    payer: Numbers
    payee: Numbers
    number: Numbers
    volume: Numbers
    counted: Numbers
    payers: Numbers
    payees: Numbers

    def taken(self, which: npt.NDArray[Any]) -> "Flows":
        """Return some of the cells."""
        cells = ("table", "payer", "payee", "number", "volume", "counted", "payers", "payees")
        return replace(self, **{name: getattr(self, name)[which] for name in cells})


@dataclass(frozen=True)
class Payments:
    """Posted payments and reversals as arrays, a place for each; of those below, and of `groups`.

    `amount` is what a payment counts, in smallest clearing units, and below zero what a reversal
    takes back. Members are numbers of their group alone: the same for the same, 0 where erased.
    On PostgreSQL these are hashes, of 64 bits: should two members ever have the same, they count
    as one, so that more is withheld and never less.
    """

    unions: Sequence[str]
    groups: Sequence[str]
    union: Numbers
    step: Numbers
    amount: Numbers
    payer: Numbers
    payee: Numbers
    payer_member: Numbers
    payee_member: Numbers


def payments(session: Session, asked: Asked, starts: Sequence[datetime], every: Every) -> Payments:
    """Return what was posted from the first of some successive days or months to the end."""
    unions, groups = known(session, asked)
    step = Steps(session, starts, every)
    union, payer, payee = (
        Names(session, column, names)
        for column, names in (
            (Transfer.union_id, unions),
            (Transfer.payer_group, groups),
            (Transfer.payee_group, groups),
        )
    )
    amount = case(
        (Transfer.reverses.is_(None), Transfer.payee_clearing), else_=-Transfer.payee_clearing
    )
    members = (coded(session, name) for name in (Transfer.payer_member, Transfer.payee_member))
    told = (union.column, step.column, amount, payer.column, payee.column, *members)
    query = select(*(column.label(f"v{n}") for n, column in enumerate(told)))
    found = read(session, query.where(*posted(asked, starts[0], asked.end)))
    return Payments(
        unions,
        groups,
        union.places(found[0]),
        step.places(found[1]),
        found[2],
        payer.places(found[3]),
        payee.places(found[4]),
        *map(told_apart, found[5:]),
    )


def known(session: Session, asked: Asked) -> tuple[list[str], list[str]]:
    """Return the unions that are asked for, and the groups with an account in them."""
    query = select(Account.union_id, Account.group_id).where(Account.group_id.is_not(None))
    if asked.union_id is not None:
        query = query.where(Account.union_id == asked.union_id)
    rows = session.execute(query).all()
    return sorted({union for union, _ in rows}), sorted({group for _, group in rows if group})


def flows(session: Session, asked: Asked, months: Sequence[datetime]) -> Flows:
    """Return what groups paid each other from the first of some successive months to the end.

    A payment counts in the month in which it was posted, and so does what takes it back.
    """
    return flows_of(payments(session, asked, months, Every.MONTH), months)


def flows_of(made: Payments, months: Sequence[datetime]) -> Flows:
    """Return payments by pair and month, in an order of their own: so the same are withheld."""
    size = max(len(made.groups), 1)
    table = made.union * len(months) + made.step
    alike = Alike((table * size + made.payer) * size + made.payee)
    is_payment = (made.amount > 0).astype(np.int64)
    number = alike.total(is_payment)
    tables, place = np.unique(alike.keys // (size * size), return_inverse=True)
    pairs = alike.keys % (size * size)
    return Flows(
        names=made.groups,
        tables=[(made.unions[t // len(months)], months[t % len(months)]) for t in tables.tolist()],
        table=place,
        payer=pairs // size,
        payee=pairs % size,
        number=number,
        volume=alike.total(made.amount),
        counted=2 * number - alike.total(np.ones_like(is_payment)),
        payers=alike.up_to(2, made.payer_member),
        payees=alike.up_to(2, made.payee_member),
    )


class Alike:
    """Rows of the same key, each key once and in order in `keys`."""

    def __init__(self, key: Numbers) -> None:
        self._order = np.argsort(key)
        ordered = key[self._order]
        self._first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
        self.keys = ordered[self._first]

    def total(self, values: Numbers) -> Numbers:
        """Return the sum of the values of each key."""
        sums: Numbers = np.add.reduceat(values[self._order], self._first)
        return sums

    def least(self, values: Numbers, most: int) -> list[Numbers]:
        """Return up to so many of the smallest different values of each key, 0 where there is none.

        A value of 0 is none.
        """
        ordered, found = values[self._order], list[Numbers]()
        rest = np.where(ordered == 0, _NONE, ordered)
        row = np.repeat(np.arange(len(self.keys)), np.diff(self._first, append=len(rest)))
        for _ in range(most):
            least = np.minimum.reduceat(rest, self._first)
            found.append(np.where(least == _NONE, 0, least))
            rest = np.where(rest == least[row], _NONE, rest)
        return found

    def up_to(self, most: int, values: Numbers) -> Numbers:
        """Count the different values of each key, those of 0 not among them, up to so many."""
        found = np.zeros(len(self.keys), dtype=np.int64)
        for one in self.least(values, most):
            found += one != 0
        return found


def posted(asked: Asked, start: datetime, end: datetime) -> list[ColumnElement[bool]]:
    """Return the conditions of what was posted in a period; `value_date` is not looked at."""
    conditions: list[ColumnElement[bool]] = [
        Transfer.state == TransferState.POSTED,
        Transfer.ended_at >= start,
        Transfer.ended_at < end,
    ]
    if asked.union_id is not None:
        conditions.append(Transfer.union_id == asked.union_id)
    return conditions


class Steps:
    """Steps of days or months in SQL: where each begins is a midnight in UTC."""

    def __init__(self, session: Session, starts: Sequence[datetime], every: Every) -> None:
        self._is_embedded = is_embedded(session)
        if self._is_embedded:
            text = type_coerce(Transfer.ended_at, String)
            self.column: ColumnElement[Any] = func.substr(
                text, 1, _DAY_LETTERS[every], type_=String
            )
            self._by_text = {
                start.strftime(_DAY_FORMAT[every]): place for place, start in enumerate(starts)
            }
        else:
            bounds = cast(list(starts), ARRAY(Transfer.__table__.c.ended_at.type))
            self.column = cast(func.width_bucket(Transfer.ended_at, bounds), BigInteger)

    def places(self, found: Any) -> Numbers:  # noqa: ANN401 (of two kinds)
        """Return the steps, from 0, that a query found by `column`."""
        if self._is_embedded:
            return np.fromiter(map(self._by_text.__getitem__, found), np.int64, len(found))
        return np.asarray(found, dtype=np.int64) - 1


def is_embedded(session: Session) -> bool:
    """Tell whether the database is SQLite."""
    return session.get_bind().dialect.name == "sqlite"


def places(found: Sequence[Any], among: Sequence[Any]) -> Numbers:
    """Return where each of the values found stands among those that there are."""
    place = {value: number for number, value in enumerate(among)}
    return np.fromiter(map(place.__getitem__, found), np.int64, len(found))
