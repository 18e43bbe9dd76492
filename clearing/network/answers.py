"""What a figure is asked with and what it answers: a table with totals, over one snapshot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

Cell = str | int | Decimal | bool | datetime | None
"""None is a value that is withheld or that there is none of; the column says which."""


class Grain(StrEnum):
    """What a row of a figure is about."""

    UNION = "union"
    REGION = "region"
    GROUP = "group"


class Every(StrEnum):
    """How long each step of a series is, in UTC; weeks begin on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Asked:
    """What is asked: a union or all (None), from `start` to before `end`, or as of `end`.

    `regions` tells the region of each group that has one, by group id.
    """

    union_id: str | None
    start: datetime
    end: datetime
    by: Grain = Grain.GROUP
    every: Every = Every.MONTH
    regions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column of a figure: its name, its unit and what it means, for whoever reads the table.

    Money is a `Decimal` in clearing units, a share or ratio a `Decimal` of six places.
    """

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Answer:
    """A figure's table; `totals` are over what its rows are made of, withheld cells included.

    `withheld` is how many cells were suppressed so that nobody's single payments can be told.
    """

    figure: str
    asked: Asked
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    totals: Mapping[str, Cell] = field(default_factory=dict)
    withheld: int = 0
