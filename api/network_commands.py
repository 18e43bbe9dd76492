"""`localpay network`: the figures of the network, in the terminal or for programs."""

import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

from api import network_asking
from api.network_asking import Wanted
from api.network_tables import Form, written
from api.routes.network import view
from api.terminal import operator_engine, print_json, print_table, progress_console
from clearing.network import Answer, Every, Grain
from clearing.network.figures import FIGURES
from commons.errors import NotFoundError

LIST: Final = "list"


class Shown(StrEnum):
    """How a figure is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("network")(network)


def network(  # noqa: PLR0913 (as much as a figure may be asked)
    name: Annotated[str, typer.Argument(metavar="NAME", help="A figure; `list` lists them.")],
    *,
    union: Annotated[str | None, typer.Option(help="The union's id; else all.")] = None,
    at: Annotated[str | None, typer.Option(help="As of a moment, or a day in UTC.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Since a moment or day.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Before a moment or day.")] = None,
    by: Annotated[Grain | None, typer.Option(help="What a row is about.")] = None,
    every: Annotated[Every | None, typer.Option(help="How long a step is; else a month.")] = None,
    form: Annotated[Shown, typer.Option("--format", help="How to print it.")] = Shown.TABLE,
) -> None:
    """Print a figure of the network as a whole, or the list of them; members are in none."""
    if name == LIST:
        _list(form)
        return
    figure = FIGURES.get(name)
    if figure is None:
        known = ", ".join(FIGURES)
        raise NotFoundError(f"there is no figure {name!r}; there are {known}")
    with operator_engine() as engine:
        wanted = Wanted(union=union, at=at, start=start, end=end, by=by, every=every)
        answer = network_asking.answer(engine, figure, wanted)
    if form is Shown.TABLE:
        _print(answer)
    else:
        sys.stdout.buffer.write(written(answer, Form(form)))


def _list(form: Shown) -> None:
    found = [view(figure) for figure in FIGURES.values()]
    if form is Shown.TABLE:
        rows = [[one.name, one.title, " ".join(one.by), " ".join(one.takes)] for one in found]
        print_table(["figure", "what", "by", "takes"], rows)
    else:
        print_json({"figures": [one.model_dump(mode="json") for one in found]})


def _print(answer: Answer) -> None:
    """Print rows on stdout; what is told besides goes where progress is shown."""
    print_table([column.name for column in answer.columns], answer.rows)
    for total, value in answer.totals.items():
        progress_console.print(f"{total}: {'none' if value is None else value}", highlight=False)
    if answer.withheld:
        progress_console.print(f"{answer.withheld} cells are withheld")
