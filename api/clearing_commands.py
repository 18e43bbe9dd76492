"""The operator's commands for clearing: the audit, netting a file."""

import csv
import re
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api import account_commands, database_commands, round_commands, union_commands
from api.hub_commands import AsJson
from api.terminal import operator_engine, print_json, working
from clearing import netting
from clearing.audit import audit as audit_ledger
from clearing.netting import Obligation
from commons.database import reading
from commons.errors import InvalidError, MalformedError
from commons.money import format_amount

COLUMNS: Final = ("debtor", "creditor", "amount")
STANDARD_INPUT: Final = Path("-")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,8})?")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(account_commands.app, name="account")
    app.add_typer(union_commands.app, name="union")
    app.add_typer(database_commands.app, name="database")
    round_commands.register(app)
    app.command("audit")(audit)
    app.command("net")(net)


def audit(*, json: AsJson = False) -> None:
    """Check every invariant of the ledger; exit with 1 when one does not hold."""
    with operator_engine() as engine, reading(engine) as session, working("Auditing") as progress:
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
    with working("Netting"):
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
