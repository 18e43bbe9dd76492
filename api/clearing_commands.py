"""The operator's commands for clearing: a round, the audit, netting a file."""

import csv
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.orm import Session

from api import account_commands, database_commands, union_commands
from api.hub_commands import AsJson
from api.terminal import operator_engine, print_json, print_table, progress_console
from clearing import accounts, netting, rounds
from clearing.accounts import DEFAULT_UNION
from clearing.audit import audit as audit_ledger
from clearing.netting import Obligation
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import InvalidError, MalformedError
from commons.money import CLEARING_SCALE, format_amount

COLUMNS: Final = ("debtor", "creditor", "amount")
STANDARD_INPUT: Final = Path("-")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,8})?")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(account_commands.app, name="account")
    app.add_typer(union_commands.app, name="union")
    app.add_typer(database_commands.app, name="database")
    app.command("settle")(settle)
    app.command("audit")(audit)
    app.command("net")(net)


def settle(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what a round would do; change nothing.")
    ] = False,
    union: Annotated[str, typer.Option(help="The union whose groups settle.")] = DEFAULT_UNION,
    json: AsJson = False,
) -> None:
    """Run a netting round: propose the optimal set-off and commit it; print what it did.

    A round that an interrupted run left proposed is committed instead of a new one.
    """
    with operator_engine() as engine, _working("Settling"):
        if dry_run:
            with reading(engine) as session:
                result = _preview(session, union)
        else:
            with transaction(engine) as session:
                round_id = _proposed(session, union).id
            with transaction(engine) as session:
                done = rounds.commit(session, round_id)
                told = {"union": done.union_id, "cleared": _units(done.cleared)}
                audit_log.record(session, "operator", "round-committed", str(round_id), told)
            with reading(engine) as session:
                result = _done(session, rounds.find(session, round_id))
    if json:
        print_json(result)
    else:
        _show(result)


def _proposed(session: Session, union: str) -> rounds.Round:
    return rounds.proposed_now(session, union) or rounds.propose(session, union)


def _show(result: dict[str, Any]) -> None:
    """Print what is set off as a table, and below it what that comes to."""
    names = ["debtor", "creditor", "obligation", "set_off", "remaining"]
    if result["set_offs"]:
        rows = [[one[name] for name in names] for one in result["set_offs"]]
        print_table([name.replace("_", " ") for name in names], rows)
    done = f"round {result['round']} is {result['state']}" if result["round"] else result["state"]
    typer.echo(
        f"{done}: of {result['obligations_before']} owed in union {result['union']} "
        f"{result['cleared']} are set off, {result['obligations_after']} remain"
    )


def _done(session: Session, done: rounds.Round) -> dict[str, Any]:
    parts = [
        (Obligation(part.debtor, part.creditor, part.obligation), part.amount)
        for part in rounds.parts(session, done.id)
    ]
    told = {"round": str(done.id), "state": str(done.state), "union": done.union_id}
    return told | _effect(parts)


def _preview(session: Session, union: str) -> dict[str, Any]:
    if union != DEFAULT_UNION:  # which is there from the first admission on
        accounts.union_of(session, union)
    result = rounds.preview(session, union)
    return {"round": None, "state": "dry run", "union": union} | _effect(
        list(result.set_offs.items())
    )


def _units(minor: int) -> str:
    return format_amount(minor, CLEARING_SCALE)


def _effect(parts: list[tuple[Obligation, int]]) -> dict[str, Any]:
    """Return a round's totals and rows, as decimal strings in clearing units."""
    before = sum(owed.amount for owed, _ in parts)
    cleared = sum(amount for _, amount in parts)
    return {
        "obligations_before": _units(before),
        "cleared": _units(cleared),
        "obligations_after": _units(before - cleared),
        "set_offs": [
            {
                "debtor": owed.debtor,
                "creditor": owed.creditor,
                "obligation": _units(owed.amount),
                "set_off": _units(amount),
                "remaining": _units(owed.amount - amount),
            }
            for owed, amount in parts
        ],
    }


def audit(*, json: AsJson = False) -> None:
    """Check every invariant of the ledger; exit with 1 when one does not hold."""
    with operator_engine() as engine, reading(engine) as session, _working("Auditing") as progress:
        findings = audit_ledger(session, progress)
    if json:
        print_json(
            [
                {
                    "invariant": one.number,
                    "rule": one.rule,
                    "checked": one.checked,
                    "holds": not one.problems,
                    "problems": one.problems,
                }
                for one in findings
            ]
        )
    else:
        for one in findings:
            mark = "FAILS" if one.problems else "holds"
            typer.echo(f"{one.number:>2} {mark}  {one.rule} ({one.checked} checked)")
            for problem in one.problems:
                typer.echo(f"         {problem}")
    if any(one.problems for one in findings):
        raise typer.Exit(1)


def net(
    file: Annotated[
        Path,
        typer.Argument(
            help='CSV with the header "debtor,creditor,amount"; "-" reads standard input.'
        ),
    ],
) -> None:
    """Net the obligations of a file and print the least that must remain, as JSON.

    Whole amounts are printed as JSON numbers, decimal ones as strings with all their places.
    """
    with _working("Netting"):
        rows, places = _read_obligations(file)
        result = netting.solve(rows)
    print_json(
        {
            "total": _amount(result.total, places),
            "net_internal_debt": _amount(result.net_internal_debt, places),
            "cleared": _amount(result.cleared, places),
            "remaining": [
                {
                    "debtor": one.debtor,
                    "creditor": one.creditor,
                    "amount": _amount(one.amount, places),
                }
                for one in result.remaining
            ],
        }
    )


def _amount(minor: int, places: int) -> int | str:
    return format_amount(minor, places) if places else minor


def _read_obligations(file: Path) -> tuple[list[Obligation], int]:
    """Read the file; return its obligations in the smallest unit that it uses, and the places."""
    reader = csv.DictReader(StringIO(_text_of(file), newline=""), strict=True)
    try:
        if [name.strip() for name in reader.fieldnames or []] != list(COLUMNS):
            raise InvalidError("header", f'must be "{",".join(COLUMNS)}"')
        read = [_read_row(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise MalformedError(f"after line {reader.line_num}: {error}") from error
    places = max((max(0, -int(amount.as_tuple().exponent)) for *_, amount in read), default=0)
    return [Obligation(d, c, int(a.scaleb(places))) for d, c, a in read], places


def _text_of(file: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{file} is not UTF-8: {error.reason}") from error


def _read_row(row: dict[str | None, Any], line: int) -> tuple[str, str, Decimal]:
    cells = [str(cell).strip() for cell in row.values()]
    if None in row or len(cells) != len(COLUMNS) or not all(cells):
        raise InvalidError(f"line {line}", "must have a debtor, a creditor and an amount")
    debtor, creditor, amount = cells
    if debtor == creditor:
        raise InvalidError(f"line {line}", "nobody owes itself")
    if not _DECIMAL.fullmatch(amount) or not Decimal(amount):
        raise InvalidError(
            f"line {line}", f"amount must be a positive decimal number, not {amount[:40]!r}"
        )
    return debtor, creditor, Decimal(amount)


@contextmanager
def _working(what: str) -> Iterator[Any]:
    """Show on stderr that something long is being done; yield a function that names the step."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    nobody_looks = not progress_console.is_terminal
    with Progress(
        *columns, console=progress_console, transient=True, disable=nobody_looks
    ) as progress:
        task = progress.add_task(what)
        yield lambda step: progress.update(task, description=f"{what}: {step}")
