"""`localpay reconcile`: a hub's own book of transfers held against the database."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress

from api.hub_commands import AsJson, GroupId
from api.terminal import FAILED, operator_engine, print_json, print_table, progress_console
from clearing.reconciliation import (
    BookRow,
    Bounds,
    Period,
    Report,
    read_book,
    reconcile,
)
from clearing.statements import read_moment
from commons.database import reading
from commons.groups import require_group

MOST_SHOWN: Final = 1_000


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("reconcile")(reconcile_book)


def reconcile_book(
    group: GroupId,
    file: Annotated[
        Path, typer.Argument(help="The hub's own book: CSV with a header, or JSON (.json).")
    ],
    begins: Annotated[
        str | None, typer.Option("--from", help="Ours that were made from this day or moment on.")
    ] = None,
    ends: Annotated[
        str | None, typer.Option("--to", help="And before this day or moment, in UTC.")
    ] = None,
    *,
    json: AsJson = False,
) -> None:
    """Compare a hub's own book of transfers with ours; exit with 1 where they differ.

    Each difference tells what the hub should do. Nothing is stored.
    """
    period = Period(_moment(begins, "--from"), _moment(ends, "--to"))
    with operator_engine() as engine, reading(engine) as session:
        require_group(session, group)
        rows = _read(file)
        with _bar(len(rows)) as progress:
            task = progress.add_task("Comparing", total=len(rows))
            report = reconcile(
                session,
                group,
                rows,
                period,
                Bounds(differences=None if json else MOST_SHOWN),
                progress=lambda done: progress.advance(task, done),
            )
    if json:
        print_json(asdict(report) | {"counts": {str(k): n for k, n in report.counts.items()}})
    else:
        _show(report)
    if report.differences:
        raise typer.Exit(FAILED)


def _read(file: Path) -> list[BookRow]:
    return read_book(file.read_bytes(), is_json=file.suffix.lower() == ".json")


def _moment(text: str | None, option: str) -> datetime | None:
    return None if text is None else read_moment(text, option)


def _bar(rows: int) -> Progress:
    short = rows < MOST_SHOWN
    return Progress(
        console=progress_console,
        transient=True,
        disable=short or not progress_console.is_terminal,
    )


def _show(report: Report) -> None:
    if report.differences:
        headings = ["row", "transfer", "kind", "field", "yours", "ours", "what to do"]
        columns = ["row", "id", "kind", "field", "yours", "ours", "do"]
        lines = [[getattr(one, name) for name in columns] for one in report.differences]
        print_table(headings, lines)
    counts = ", ".join(f"{kind} {count}" for kind, count in report.counts.items() if count)
    typer.echo(
        f"{report.rows} rows, {report.matching} match, {report.outside} outside the period; "
        f"differences: {counts or 'none'}" + (f" ({report.rest} not shown)" if report.rest else "")
    )
    for total in report.totals:
        told = f"{total.count} transfers, paid {total.paid}, received {total.received}"
        typer.echo(f"ours {total.state}: {told}")
