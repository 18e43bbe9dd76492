"""`localpay log`: who did what with the operator's or a hub's powers, and whether that is whole."""

import sys
from typing import Annotated, Any, Final

import typer

from api.terminal import FAILED, operator_engine, print_json, print_table
from commons import audit_log
from commons.audit_log import Deed
from commons.database import reading

MOST_LISTED: Final = 10_000

app: Final = typer.Typer(help="The audit log: who did what, in one chain of hashes.")


@app.command("list")
def list_deeds(
    after: Annotated[int, typer.Option(help="Only rows after this number.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=MOST_LISTED)] = 100,
    *,
    newest: Annotated[bool, typer.Option("--newest", help="The newest ones.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the rows of the audit log in their order."""
    with operator_engine() as engine, reading(engine) as session:
        if newest:
            last = audit_log.newest(session)
            after = max(after, last.number - limit) if last is not None else after
        found = audit_log.after(session, after, limit)
    if json:
        print_json({"deeds": [_told(deed) for deed in found]})
        return
    rows = [[one.number, one.done_at, one.actor, one.action, one.subject] for one in found]
    print_table(["number", "time", "actor", "action", "subject"], rows)


def _told(deed: Deed) -> dict[str, Any]:
    return {
        "number": deed.number,
        "time": deed.done_at,
        "actor": deed.actor,
        "action": deed.action,
        "subject": deed.subject,
        "data": deed.data,
        "hash": deed.hash,
    }


@app.command("verify")
def verify() -> None:
    """Check that no row of the audit log was changed or is missing; fail where one was."""
    with operator_engine() as engine, reading(engine) as session:
        problems = list(audit_log.broken(session))
        last = audit_log.newest(session)
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    if problems:
        raise typer.Exit(FAILED)
    told = "it is empty" if last is None else f"{last.number} rows, head {last.hash}"
    sys.stdout.write(f"the audit log is whole: {told}\n")
