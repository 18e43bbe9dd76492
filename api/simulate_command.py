"""`localpay simulate`: what would have been with other limits, rounds or members."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress

from api.hub_commands import AsJson
from api.network_asking import check_union
from api.terminal import operator_engine, print_json, print_table, progress_console
from clearing import simulation
from clearing.accounts import DEFAULT_UNION
from clearing.simulation import Changes, Comparison
from clearing.statements import read_moment
from commons import database
from commons.database import reading

_FEW: Final = 10_000
_YEAR: Final = timedelta(days=365)
_ROWS: Final = (
    ("tried", "payments tried"),
    ("posted", "posted"),
    ("refused", "refused"),
    ("lapsed", "waited in vain"),
    ("waiting", "waiting at the end"),
    ("posted_value", "value posted"),
    ("refused_value", "value refused"),
    ("met_credit_limit", "met the credit limit"),
    ("met_surplus_limit", "met the surplus limit"),
    ("met_pair_limit", "met the pair limit"),
    ("in_use_peak", "credit in use, most"),
    ("in_use_mean", "credit in use, mean"),
    ("lines_needed", "credit lines needed"),
    ("owed_peak", "owed, most"),
    ("owed_mean", "owed, mean"),
    ("rounds", "rounds"),
    ("cleared", "cleared in rounds"),
    ("cleared_share", "share of what was owed"),
    ("released", "released by rounds"),
)

Text = str | None


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("simulate")(simulate)


def simulate(  # noqa: PLR0913, PLR0917 (each is an option, by name)
    begins: Annotated[Text, typer.Option("--from", help="Since this day or moment.")] = None,
    ends: Annotated[Text, typer.Option("--to", help="Before this one, in UTC; else now.")] = None,
    union: Annotated[str, typer.Option(help="The union.")] = DEFAULT_UNION,
    credit_factor: Annotated[str, typer.Option(help="Credit limits times this: 1/2, 0.5.")] = "1",
    surplus_factor: Annotated[str, typer.Option(help="Surplus limits times this.")] = "1",
    pair_factor: Annotated[str, typer.Option(help="Pair limits times this.")] = "1",
    rounds_every: Annotated[
        int | None, typer.Option(metavar="DAYS", help="A round each so many days.")
    ] = None,
    schedule: Annotated[
        Text, typer.Option(metavar="CRON", help="Rounds by a cron expression in UTC.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="Without this group; repeatable.")
    ] = None,
    *,
    no_rounds: Annotated[bool, typer.Option("--no-rounds", help="Without any round.")] = False,
    credit_lines: Annotated[
        bool | None, typer.Option(help="Rounds draw on spare credit lines or not.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Replay what was paid and refused in a period with other limits, rounds or members.

    Nothing is changed. Without options it tells what was, for the last twelve months.
    """
    check_union(union, "--union")
    credit, surplus, pair = (
        simulation.parse_factor(text, option)
        for text, option in (
            (credit_factor, "--credit-factor"),
            (surplus_factor, "--surplus-factor"),
            (pair_factor, "--pair-factor"),
        )
    )
    with _progress() as working:
        with operator_engine() as engine, reading(engine) as session:
            end = database.now(session) if ends is None else read_moment(ends, "--to")
            start = end - _YEAR if begins is None else read_moment(begins, "--from")
            total = simulation.count(session, union, start, end)
            recorded = simulation.read(session, union, start, end, working("reading", total))
        left = frozenset(without or ())
        simulation.check_groups(recorded, left)
        held = simulation.rounds_of(start, end, rounds_every, schedule, none=no_rounds)
        changes = Changes(credit, surplus, pair, left, *held, credit_lines=credit_lines)
        size = len(recorded.attempts)
        baseline = simulation.replay(recorded, tick=working("as it was", size))
        what_if = simulation.replay(recorded, changes, working("what if", size))
    compared = Comparison(union, start, end, changes, baseline, what_if)
    document = simulation.view(compared)
    print_json(document) if json else _show(document)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Show bars on stderr; yield what begins one, which returns what moves it on."""
    nobody_looks = not progress_console.is_terminal
    with Progress(console=progress_console, transient=True, disable=nobody_looks) as progress:

        def begin(what: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=total, visible=total > _FEW)
            return lambda done: progress.advance(task, done)

        yield begin


def _show(document: dict[str, Any]) -> None:
    """Print a comparison for people."""
    base, other, by = (document[name] for name in ("baseline", "what_if", "difference"))
    rows = [(said, base[name], other[name], _signed(by.get(name))) for name, said in _ROWS]
    print_table(("", "as it was", "what if", "difference"), rows)


def _signed(value: int | str | None) -> str:
    text = "" if value is None else str(value)
    return text if text.startswith("-") or not text.strip("0.") else f"+{text}"
