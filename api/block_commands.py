"""`localpay block` and `localpay hub suspend`: what the operator keeps out, and takes back in."""

from typing import Annotated, Final

import typer

from api.hub_commands import AsJson, GroupId
from api.terminal import OneLineErrors, operator_engine, print_json, print_table
from commons import audit_log
from commons.database import reading, transaction
from crawler import blocks, suspension

app: Final = typer.Typer(
    cls=OneLineErrors, help="Domains that are kept out: not asked, not heard, not shown."
)

Domain = Annotated[
    str, typer.Argument(metavar="DOMAIN", help="The domain, however written; all below it too.")
]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks at it later.")]


@app.command("add")
def add_block(
    domain: Domain,
    reason: Reason,
    by: Annotated[str, typer.Option(help="Who decided it.")] = "operator",
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Block a public suffix such as co.uk as a whole.")
    ] = False,
) -> None:
    """Block a domain: withdraw what is held of it, and neither ask nor hear it any more."""
    with operator_engine() as engine:
        added = blocks.add(engine, domain, reason, by=by, force=force)
        with transaction(engine) as session:
            told = {"reason": reason, "by": by}
            audit_log.record(session, "operator", "domain-blocked", added.domain, told)
    print_json({"domain": added.domain, "hubs": added.peers, "listings": added.listings})


@app.command("remove")
def remove_block(domain: Domain) -> None:
    """Take a block back; a hub there may join anew."""
    with operator_engine() as engine, transaction(engine) as session:
        removed = blocks.remove(session, domain)
        audit_log.record(session, "operator", "block-removed", removed)
    print_json({"domain": removed})


@app.command("list")
def list_blocks(*, json: AsJson = False) -> None:
    """List the blocked domains, with why, since when and by whom."""
    with operator_engine() as engine, reading(engine) as session:
        rows = [
            {"domain": one.domain, "reason": one.reason, "added_at": one.added_at, "by": one.by}
            for one in blocks.listed(session)
        ]
    if json:
        print_json({"blocks": rows})
        return
    print_table(["domain", "reason", "since", "by"], [list(row.values()) for row in rows])


def suspend_hub(group: GroupId, reason: Reason) -> None:
    """Suspend a hub: withdraw its listings, refuse its pushes, send it nothing."""
    with operator_engine() as engine, transaction(engine) as session:
        hub = suspension.suspend(session, group, reason)
        told = {"id": group, "state": hub.state, "reason": hub.suspended_reason}
        said = {"reason": hub.suspended_reason or ""}
        audit_log.record(session, "operator", "hub-suspended", group, said)
    print_json(told)


def resume_hub(group: GroupId) -> None:
    """Lift a suspension: the hub is read anew at once, and its listings come back."""
    with operator_engine() as engine, transaction(engine) as session:
        told = {"id": group, "state": suspension.resume(session, group).state}
        audit_log.record(session, "operator", "hub-resumed", group, {"state": told["state"]})
    print_json(told)


def register(to: typer.Typer, hubs: typer.Typer) -> None:
    """Add the commands of this file to `localpay` and to `localpay hub`."""
    to.add_typer(app, name="block")
    hubs.command("suspend")(suspend_hub)
    hubs.command("resume")(resume_hub)
