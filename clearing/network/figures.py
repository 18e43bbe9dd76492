"""The figures that there are, by name: a further one is added here and nowhere else."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy.orm import Session

from clearing.network.answers import Answer, Asked, Grain
from clearing.network.balances import balances
from clearing.network.concentration import concentration
from clearing.network.cycles import cycles
from clearing.network.failures import failures
from clearing.network.limits import limits
from clearing.network.positions import positions
from clearing.network.reciprocity import reciprocity
from clearing.network.rounds import rounds
from clearing.network.trade import trade
from clearing.network.velocity import velocity
from clearing.network.volume import volume

_PARTS: Final = re.compile(r"\b(Formula|Unit|Source): ")


class Span(StrEnum):
    """What time a figure is asked for: right before a moment, a period, or the steps of one."""

    MOMENT = "moment"
    PERIOD = "period"
    SERIES = "series"


PARAMETERS: Final[Mapping[Span, tuple[str, ...]]] = {
    Span.MOMENT: ("union", "at", "by"),
    Span.PERIOD: ("union", "from", "to", "by"),
    Span.SERIES: ("union", "from", "to", "by", "every"),
}
"""What a figure may be asked with, besides the form of its answer."""


@dataclass(frozen=True)
class Figure:
    """A figure, what it may be asked for, and the column that its picture shows.

    The first of `grains` is what its rows are about where nobody says. What it is stands in its
    function's docstring: a line, then formula, unit and source.
    """

    compute: Callable[[Session, Asked], Answer]
    span: Span
    grains: tuple[Grain, ...]
    drawn: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that it is asked for by."""
        return self.compute.__name__

    @property
    def about(self) -> str:
        """All that its docstring says."""
        return inspect.getdoc(self.compute) or ""

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return self.about.partition("\n")[0].rstrip(".")

    def told(self, part: str) -> str:
        """Return its `Formula`, `Unit` or `Source`, on one line."""
        pieces = _PARTS.split(self.about)
        return " ".join(dict(zip(pieces[1::2], pieces[2::2], strict=True))[part].split())


_GROUPS_FIRST: Final = (Grain.GROUP, Grain.REGION, Grain.UNION)
_UNIONS_FIRST: Final = (Grain.UNION, Grain.REGION, Grain.GROUP)
_BETWEEN: Final = (Grain.GROUP, Grain.REGION)

FIGURES: Final[Mapping[str, Figure]] = {
    figure.name: figure
    for figure in (
        Figure(balances, Span.MOMENT, _GROUPS_FIRST, ("balance",)),
        Figure(limits, Span.MOMENT, _GROUPS_FIRST, ("in_use",)),
        Figure(positions, Span.SERIES, _UNIONS_FIRST, ("net_internal_debt", "net_position")),
        Figure(rounds, Span.PERIOD, _UNIONS_FIRST, ("cleared_share",)),
        Figure(failures, Span.PERIOD, _UNIONS_FIRST, ("number",)),
        Figure(trade, Span.PERIOD, _GROUPS_FIRST, ("volume",)),
        Figure(volume, Span.SERIES, _UNIONS_FIRST, ("volume", "paid")),
        Figure(velocity, Span.SERIES, (Grain.UNION,), ("velocity_per_year",)),
        Figure(reciprocity, Span.PERIOD, _BETWEEN, ("links_returned",)),
        Figure(concentration, Span.PERIOD, _BETWEEN, ("gini",)),
        Figure(cycles, Span.PERIOD, _BETWEEN, ("in_cycles",)),
    )
}
