"""`localpay events`: what hubs were told, and how their webhooks stand."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from api.terminal import operator_engine, print_json, print_table
from clearing import events, webhooks
from commons import audit_log
from commons.database import reading, transaction
from commons.groups import require_group

MOST_LISTED: Final = 10_000
_OPERATOR: Final = "operator"

app: Final = typer.Typer(help="What hubs are told, and whether their webhooks take it.")

GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The group's short id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_events(
    group: GroupId,
    after: Annotated[int, typer.Option(help="Only those after this number.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=MOST_LISTED)] = 100,
    *,
    json: AsJson = False,
) -> None:
    """List what a group's hub was told, in order."""
    with operator_engine() as engine, reading(engine) as session:
        require_group(session, group)
        found = [events.view(one) for one in events.after(session, group, after, limit)]
        last = events.last_number(session, group)
    if json:
        print_json({"events": found, "last": last})
        return
    rows = [[one["number"], one["happened_at"], one["kind"], one["subject"]] for one in found]
    print_table(["number", "time", "kind", "subject"], rows)


@app.command("status")
def status(*, json: AsJson = False) -> None:
    """Show how far each webhook is, when it is tried next, and what stands against it."""
    with operator_engine() as engine, reading(engine) as session:
        found = webhooks.statuses(session)
    if json:
        print_json({"webhooks": [asdict(one) for one in found]})
        return
    rows = [
        [
            one.group,
            one.url or "none",
            f"{one.delivered} of {one.last}",
            "stopped" if one.stopped_at else one.next_try_at,
            one.attempts,
            one.error,
        ]
        for one in found
    ]
    print_table(["group", "address", "delivered", "next try", "attempts", "error"], rows)


@app.command("replay")
def replay(
    group: GroupId,
    after: Annotated[int, typer.Option(help="The last number that the hub has.", min=0)],
) -> None:
    """Have all events after a number posted to a hub's webhook once more."""
    with operator_engine() as engine, transaction(engine) as session:
        webhooks.replay(session, group, after)
        audit_log.record(session, _OPERATOR, "events-replayed", group, {"after": str(after)})
        told = webhooks.status(session, group)
    print_json(told)


@app.command("resume")
def resume(group: GroupId) -> None:
    """Have a webhook tried again that had stopped, or waits for its next attempt."""
    with operator_engine() as engine, transaction(engine) as session:
        webhooks.resume(session, group)
        audit_log.record(session, _OPERATOR, "events-resumed", group)
        told = webhooks.status(session, group)
    print_json(told)
