"""`localpay index`: how the index of listings is; and `localpay reindex`."""

import sys
from dataclasses import asdict
from typing import Any, Final

import typer
from rich.filesize import decimal
from rich.progress import Progress
from sqlalchemy.orm import Session

from api.hub_commands import AsJson
from api.index_check import REMEDY, sentence_on
from api.terminal import (
    FAILED,
    operator_engine,
    prepared,
    print_json,
    print_table,
    progress_console,
)
from commons.database import now, reading
from commons.settings import Settings
from marketplace.index import Build
from marketplace.indexes import kind_of, open_index
from marketplace.listings import last_revision, oldest_change_after

index_app: Final = typer.Typer(help="The index of listings: how far it is, how large, how well.")

HEADINGS: Final = (
    "use",
    "plan",
    "state",
    "revision",
    "behind",
    "seconds behind",
    "listings",
    "size",
)


NO_INDEX: Final = f"there is no index yet; `{REMEDY}` builds it"


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(index_app, name="index")
    app.command("reindex")(reindex)


@index_app.command("status")
def status(*, json: AsJson = False) -> None:
    """Show each build of the index: revision, lag, listings, size; 1 where none can be used.

    Reads every byte of an embedded index, and keeps nobody from writing it.
    """
    settings = prepared(Settings())
    opened = open_index(settings)
    builds = opened.builds()
    opened.close()
    with operator_engine() as engine, reading(engine) as session:
        last = last_revision(session)
        told = [asdict(build) | _lag(session, build, last) for build in builds]
    kind = kind_of(settings)
    if json:
        print_json({"kind": kind, "last_revision": last, "builds": told})
    else:
        _show(told)
        progress_console.print(f"{kind} index; the listings are at revision {last}")
    used = [build for build in builds if build.in_use]
    sentences = [sentence_on(build) for build in used if build.broken] if used else [NO_INDEX]
    for sentence in sentences:
        sys.stderr.write(f"localpay: {sentence}\n")
    if sentences:
        raise typer.Exit(FAILED)


def reindex() -> None:
    """Build the index anew beside the one in use, then swap; prints how many changes it read."""
    opened = open_index(prepared(Settings()))
    with operator_engine() as engine, Progress(console=progress_console) as progress:
        with reading(engine) as session:
            task = progress.add_task("building the index", total=last_revision(session))
        count = opened.rebuild(engine, lambda revision: progress.update(task, completed=revision))
    opened.close()
    sys.stdout.write(f"{count}\n")


def _lag(session: Session, build: Build, last: int) -> dict[str, int | None]:
    """Return how many revisions a build lacks, and how long ago the first of them was made."""
    if build.revision is None:
        return {"lag": None, "lag_seconds": None}
    first = oldest_change_after(session, build.revision)
    seconds = 0 if first is None else max(0, int((now(session) - first).total_seconds()))
    return {"lag": max(0, last - build.revision), "lag_seconds": seconds}


def _show(builds: list[dict[str, Any]]) -> None:
    """Print a table, and below it in lines of their own what may be long: places and damage."""
    if builds:
        print_table(HEADINGS, [_row(one) for one in builds])
    for one in builds:
        damage = f" is broken: {one['broken']}" if one["broken"] else ""
        sys.stdout.write(f"{_use(one)}: {one['place']}{damage}\n")


def _use(told: dict[str, Any]) -> str:
    return "in use" if told["in_use"] else "beside"


def _row(told: dict[str, Any]) -> list[object]:
    state = "broken" if told["broken"] else "outdated" if told["outdated"] else "sound"
    size = told["size_bytes"]
    return [
        _use(told),
        told["plan"],
        state,
        told["revision"],
        told["lag"],
        told["lag_seconds"],
        told["listings"],
        None if size is None else decimal(size),
    ]
