"""What all commands share: settings, the database, results on stdout, errors in one line."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from typer.core import TyperGroup

from api import migrations
from commons.database import make_engine
from commons.errors import InvalidError, LocalPayError, MalformedError
from commons.settings import Settings

FAILED: Final = 1
BAD_INPUT: Final = 2

_ASTRAY: Final[dict[type[OSError], str]] = {
    FileNotFoundError: "there is no such file",
    FileExistsError: "this file exists already; name another or remove it",
    IsADirectoryError: "this is a folder, not a file",
}
"""What is said of a file that was not meant."""

progress_console: Final = Console(stderr=True)
"""Where progress is shown; results go to stdout, so that they can be piped."""


class OneLineErrors(TyperGroup):
    """A group of commands that tells errors in one line: 2 for bad input, 1 for a failure."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's own types are private)
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (InvalidError, MalformedError) as error:
            _end(error.detail, BAD_INPUT, error)
        except LocalPayError as error:
            _end(error.detail, FAILED, error)
        except ValidationError as error:
            first = error.errors()[0]
            name = "LOCALPAY_" + "_".join(str(part) for part in first["loc"]).upper()
            _end(f"{name}: {first['msg']}", BAD_INPUT, error)
        except OperationalError as error:
            _end(f"the database does not answer: {error.orig}", FAILED, error)
        except OSError as error:  # a file that is not there, a folder that may not be written
            _end(_of_file(error), BAD_INPUT if isinstance(error, tuple(_ASTRAY)) else FAILED, error)


def _of_file(error: OSError) -> str:
    """Return what the system says of a file in a sentence, without its number."""
    said = next((text for kind, text in _ASTRAY.items() if isinstance(error, kind)), None)
    said = said or (error.strerror or str(error)).lower()
    return said if error.filename is None else f"{error.filename}: {said}"


def _end(sentence: str, code: int, error: Exception) -> None:
    line = " ".join(sentence.split())
    sys.stderr.write(f"localpay: {line}\n")
    raise typer.Exit(code) from error


@contextmanager
def operator_engine() -> Iterator[Engine]:
    """Yield an engine on the database of the settings, which must be migrated."""
    engine = make_engine(prepared(Settings()).effective_database_url)
    try:
        migrations.check(engine)
        yield engine
    finally:
        engine.dispose()


def prepared(settings: Settings) -> Settings:
    """Make the data folder, and bring the embedded database to this version by itself.

    A server's database is migrated only when the operator says so, by `localpay migrate`.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if settings.effective_database_url.startswith("sqlite"):
        migrations.upgrade(settings.effective_database_url)
    return settings


def moment_of(text: str, option: str) -> datetime:
    """Read a moment that an option names; InvalidError for one without its zone."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(option, "must be a moment such as 2026-12-01T00:00:00Z") from error
    raise InvalidError(option, "must be a moment with its zone")


def print_json(document: object) -> None:
    """Print a result for programs."""
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)
    sys.stdout.write(text.decode() + "\n")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a result for people, of which nothing is cut; times to the second, in UTC.

    A terminal wraps what is too long for it; where there is none, each row is one line, with tabs.
    """
    lines = [[_cell(cell) for cell in row] for row in rows]
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        sys.stdout.writelines("\t".join(line) + "\n" for line in (headings, *lines))
        return
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _cell(value: object) -> str:
    """Return a value as text on one line, without what would steer a terminal."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return f"{moment:%Y-%m-%d %H:%M:%SZ}"
    text = "" if value is None else str(value)
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr that something long is being done; yield a function that names the step."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    nobody_looks = not progress_console.is_terminal
    with Progress(
        *columns, console=progress_console, transient=True, disable=nobody_looks
    ) as progress:
        task = progress.add_task(what)
        yield lambda step: progress.update(task, description=f"{what}: {step}")
