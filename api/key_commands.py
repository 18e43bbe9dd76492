"""`localpay hub keys`: the keys that hubs sign with, those that wait for the operator too."""

from typing import Annotated, Final

import typer
from sqlalchemy import select

from api.routes.hub_keys import key_view
from api.terminal import operator_engine, print_json, print_table
from commons import audit_log
from commons.database import reading, transaction
from commons.groups import HubKey, require_group
from crawler.hub_keys import confirm_key, revoke_key

app: Final = typer.Typer(help="The keys that a hub signs with: confirm a new one, revoke one.")

GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The group's short id.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")]


@app.command("list")
def list_keys(
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="One group's only.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the keys of one hub or of all; those that are not confirmed wait for you."""
    query = select(HubKey).order_by(HubKey.group_id, HubKey.added_at, HubKey.key_id)
    with operator_engine() as engine, reading(engine) as session:
        if group is not None:
            require_group(session, group)
        keys = session.scalars(query if group is None else query.where(HubKey.group_id == group))
        found = [(key.group_id, key_view(key)) for key in keys]
    if json:
        print_json({"keys": [{"group": owner, **key.model_dump()} for owner, key in found]})
        return
    rows = [
        [owner, key.algorithm, key.added_at, key.confirmed_at, key.revoked_at, key.key_id]
        for owner, key in found
    ]
    print_table(["group", "algorithm", "added", "confirmed", "revoked", "key"], rows)


@app.command("confirm")
def confirm(group: GroupId, key: KeyId) -> None:
    """Let a new key sign payments: ask the hub's people first whether it is theirs."""
    with operator_engine() as engine, transaction(engine) as session:
        told = key_view(confirm_key(session, group, key))
        audit_log.record(session, "operator", "key-confirmed", group, {"key_id": key})
    print_json(told.model_dump())


@app.command("revoke")
def revoke(group: GroupId, key: KeyId) -> None:
    """Revoke a key for good: it signs nothing from now on, whatever the hub's actor says."""
    with operator_engine() as engine, transaction(engine) as session:
        told = key_view(revoke_key(session, group, key, "operator"))
        audit_log.record(session, "operator", "key-revoked", group, {"key_id": key})
    print_json(told.model_dump())
