"""The operator's commands for clearing: accounts, limits, a round, the audit, netting a file."""

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
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.hub_commands import AsJson, GroupId, limit_minor
from api.routes.accounts import account_view
from api.terminal import operator_engine, print_json, print_table, progress_console
from clearing import accounts, netting, rounds
from clearing.accounts import Account, AccountKind
from clearing.audit import audit as audit_ledger
from clearing.netting import Obligation
from commons.database import reading, transaction
from commons.errors import InvalidError, MalformedError
from commons.money import CLEARING_SCALE, format_amount

accounts_app = typer.Typer(help="Group accounts and their limits.")

COLUMNS: Final = ("debtor", "creditor", "amount")
STANDARD_INPUT: Final = Path("-")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,8})?")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(accounts_app, name="account")
    app.command("settle")(settle)
    app.command("audit")(audit)
    app.command("net")(net)


@accounts_app.command("list")
def list_accounts(*, json: AsJson = False) -> None:
    """List all group accounts: balance, what is pending, limits, status."""
    own = select(Account).where(Account.kind == AccountKind.GROUP).order_by(Account.name)
    with operator_engine() as engine, reading(engine) as session:
        found = [account_view(session, account) for account in session.scalars(own)]
    if json:
        print_json({"accounts": [account.model_dump() for account in found]})
        return
    columns = ["group", "balance", "pending_out", "pending_in", "credit_limit", "surplus_limit"]
    columns += ["status", "version"]
    headings = [name.replace("_", " ") for name in columns]  # these wrap in a narrow terminal
    print_table(headings, [[getattr(one, name) for name in columns] for one in found])


@accounts_app.command("show")
def show_account(group: GroupId) -> None:
    """Show one account as JSON, with its positions towards every other."""
    with operator_engine() as engine, reading(engine) as session:
        print_json(account_view(session, accounts.account_of(session, group)).model_dump())


@accounts_app.command("limits")
def limits(
    group: GroupId,
    credit_limit: Annotated[
        str | None,
        typer.Option(help='How far the account may go below zero, clearing units, or "none".'),
    ] = None,
    surplus_limit: Annotated[
        str | None,
        typer.Option(help='How far the account may go above zero, clearing units, or "none".'),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(help='OTHER=AMOUNT: how much this group may owe group OTHER, or "none".'),
    ] = None,
) -> None:
    """Set limits of a group's account; those that are not named stay as they are."""
    pairs = [_pair(text) for text in pair or []]
    with operator_engine() as engine, transaction(engine) as session:
        account = accounts.account_of(session, group)
        others = [accounts.account_of(session, other).id for other, _ in pairs]
        # All at once and in the order of ids, as payments do, so that nobody waits in a circle.
        accounts.lock_accounts(session, [account.id, *others])
        if credit_limit is not None or surplus_limit is not None:
            credit_minor = _limit(credit_limit, "--credit-limit", account.credit_limit)
            surplus_minor = _limit(surplus_limit, "--surplus-limit", account.surplus_limit)
            accounts.set_limits(session, group, credit_minor, surplus_minor)
        for other, pair_minor in pairs:
            accounts.set_pair_limit(session, group, other, pair_minor)
        print_json(account_view(session, account).model_dump())


def _pair(text: str) -> tuple[str, int | None]:
    other, equals, amount = text.partition("=")
    if not equals:
        raise InvalidError("--pair", "must be OTHER=AMOUNT")
    return other, _limit(amount, "--pair", None)


def _limit(text: str | None, option: str, kept: int | None) -> int | None:
    """Read a limit: "none" lifts it, and without any word it stays as it is."""
    if text is None:
        return kept
    return None if text == "none" else limit_minor(text, option)


def settle(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what a round would do; change nothing.")
    ] = False,
) -> None:
    """Run a netting round: propose the optimal set-off and commit it; print what it did.

    A round that an interrupted run left proposed is committed instead of a new one.
    """
    with operator_engine() as engine, _working("Settling"):
        if dry_run:
            with reading(engine) as session:
                result = _preview(session)
        else:
            with transaction(engine) as session:
                round_id = (rounds.proposed_now(session) or rounds.propose(session)).id
            with transaction(engine) as session:
                rounds.commit(session, round_id)
            with reading(engine) as session:
                result = _done(session, rounds.find(session, round_id))
    print_json(result)


def _done(session: Session, done: rounds.Round) -> dict[str, Any]:
    parts = [
        (Obligation(part.debtor, part.creditor, part.obligation), part.amount)
        for part in rounds.parts(session, done.id)
    ]
    return {"round": str(done.id), "state": str(done.state)} | _effect(parts)


def _preview(session: Session) -> dict[str, Any]:
    result = rounds.preview(session)
    return {"round": None, "state": "dry run"} | _effect(list(result.set_offs.items()))


def _effect(parts: list[tuple[Obligation, int]]) -> dict[str, Any]:
    """Return a round's totals and rows, as decimal strings in clearing units."""
    before = sum(owed.amount for owed, _ in parts)
    cleared = sum(amount for _, amount in parts)
    return {
        "obligations_before": format_amount(before, CLEARING_SCALE),
        "cleared": format_amount(cleared, CLEARING_SCALE),
        "obligations_after": format_amount(before - cleared, CLEARING_SCALE),
        "set_offs": [
            {
                "debtor": owed.debtor,
                "creditor": owed.creditor,
                "obligation": format_amount(owed.amount, CLEARING_SCALE),
                "set_off": format_amount(amount, CLEARING_SCALE),
                "remaining": format_amount(owed.amount - amount, CLEARING_SCALE),
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
    except OSError as error:
        raise MalformedError(f"{file} cannot be read: {error.strerror}") from error
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
