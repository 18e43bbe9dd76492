"""Three groups whose history is written under a clock of its own, so that it has months."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from clearing_world import accept, call
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from clearing.calls import Call, Create, Outcome
from clearing.network import Answer, Asked, Every, Grain
from clearing.network.answers import Cell
from clearing.network.figures import FIGURES
from clearing.transfers import Unit
from commons import database
from commons.database import reading

PAYERS, PAYEES = cycle(("ines", "joan", "nuria")), cycle(("moss", "wren"))
REGIONS: Mapping[str, str] = {"barcelona": "ES", "leeds": "GB, England"}


def day(text: str) -> datetime:
    """Return a moment in UTC, of a day or of a moment without its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Clock:
    """The database's clock, which a test sets; it goes on by a second with every look at it."""

    def __init__(self) -> None:
        self.at = day("2025-01-01")

    def now(self, _session: Session) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@contextmanager
def clock() -> Iterator[Clock]:
    """Have the database's clock be set by the test."""
    ours = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "now", ours.now)
        yield ours


def create(
    payer: str, payee: str, amount: str, unit: Unit = Unit.CLEARING, *, wait: bool = False
) -> Create:
    """Return a push from one of three members to one of two."""
    return Create(
        id=uuid.uuid4(),
        caller=payer,
        payer=f"{payer}/{next(PAYERS)}",
        payee=f"{payee}/{next(PAYEES)}",
        amount=amount,
        unit=unit,
        wait=wait,
    )


def paid(engine: Engine, payer: str, payee: str, amount: str, unit: Unit = Unit.CLEARING) -> Create:
    """Push a payment and have it accepted."""
    one = create(payer, payee, amount, unit)
    for step in (one, accept(one)):
        error = call(engine, step).error
        assert error is None, error
    return one


def pushed(engine: Engine, one: Call) -> Outcome:
    """Push a payment and leave it to the other hub; or move one."""
    return call(engine, one)


def figure(  # noqa: PLR0913, PLR0917 (as much as a figure may be asked)
    engine: Engine,
    name: str,
    end: datetime,
    start: datetime | None = None,
    by: Grain = Grain.GROUP,
    every: Every = Every.MONTH,
    union: str | None = None,
) -> Answer:
    """Return a figure over one snapshot."""
    asked = Asked(union, start or end, end, by, every, REGIONS)
    with reading(engine) as session:
        return FIGURES[name].compute(session, asked)


def rows(answer: Answer) -> list[dict[str, Cell]]:
    """Return the rows by the names of their columns."""
    names = [column.name for column in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def by_group(answer: Answer) -> dict[str, dict[str, Cell]]:
    """Return the rows by their group or region."""
    return {str(row.get("group", row.get("region"))): row for row in rows(answer)}
