"""`localpay hub`: the hubs that registered, how they are, and their admission."""

import re
from typing import Annotated, Final

import typer
from sqlalchemy import select

from api import join_commands
from api.routes.accounts import account_view
from api.routes.hubs import view
from api.terminal import operator_engine, print_json, print_table
from clearing import participation, rates
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import ConflictError
from commons.groups import Hub, HubKey
from commons.money import CLEARING_SCALE, parse_amount, parse_rate
from crawler import moving
from crawler.peers import by_group
from crawler.registration import admit as admit_hub

_ZERO: Final = re.compile(rf"0(\.0{{1,{CLEARING_SCALE}}})?")

app: Final = typer.Typer(help="The hubs: who registered, how they are, who may pay.")

GroupId = Annotated[str, typer.Argument(metavar="GROUP", help="The group's short id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_hubs(*, json: AsJson = False) -> None:
    """List the hubs with their state, and how the crawler stands with them."""
    with operator_engine() as engine, reading(engine) as session:
        ids = session.scalars(select(Hub.group_id).order_by(Hub.group_id)).all()
        found = [view(session, group_id) for group_id in ids]
    if json:
        print_json({"hubs": [hub.model_dump() for hub in found]})
        return
    rows = [[hub.id, hub.state, hub.peer.state, hub.peer.listings, hub.actor] for hub in found]
    print_table(["group", "hub", "crawler", "listings", "actor"], rows)


@app.command("show")
def show_hub(group: GroupId) -> None:
    """Show a hub as JSON: its state, its keys, how it is crawled, and a Move that waits for you."""
    with operator_engine() as engine, reading(engine) as session:
        keys = session.scalars(
            select(HubKey).where(HubKey.group_id == group).order_by(HubKey.key_id)
        )
        shown = [
            {
                "key_id": key.key_id,
                "algorithm": key.algorithm,
                "added_at": key.added_at,
                "revoked_at": key.revoked_at,
            }
            for key in keys
        ]
        told = view(session, group).model_dump()
        move = moving.waiting(by_group(session, group))
        print_json({**told, "keys": shown, "move_that_waits": move or None})


@app.command("admit")
def admit(
    group: GroupId,
    credit_limit: Annotated[
        str | None,
        typer.Option(help="How far its account may go below zero; else as for new groups."),
    ] = None,
    surplus_limit: Annotated[
        str | None,
        typer.Option(help="How far its account may go above zero; else as for new groups."),
    ] = None,
) -> None:
    """Admit a hub to clearing: open its account and agree to the rate it asked for."""
    credit_minor, surplus_minor = (
        None if text is None else limit_minor(text, field)
        for text, field in ((credit_limit, "credit_limit"), (surplus_limit, "surplus_limit"))
    )
    with operator_engine() as engine, transaction(engine) as session:
        hub = admit_hub(session, group)
        if hub.rate_wanted is None:
            raise ConflictError(f"the hub of {group!r} has named no currency and rate")
        agreed = rates.start(session, group, parse_rate(hub.rate_wanted))
        account = participation.join(
            session, group, credit_limit=credit_minor, surplus_limit=surplus_minor
        )
        opened = account_view(session, account)
        result = {
            "id": group,
            "state": hub.state,
            "union": opened.union,
            "rate": agreed.rate,
            "credit_limit": opened.credit_limit,
            "surplus_limit": opened.surplus_limit,
        }
        audit_log.record(session, "operator", "hub-admitted", group, {"rate": agreed.rate})
    print_json(result)


join_commands.register(app)


def limit_minor(text: str, field: str) -> int:
    """Read a limit in clearing units into smallest units; unlike an amount it may be zero."""
    return 0 if _ZERO.fullmatch(text) else parse_amount(text, CLEARING_SCALE, field)
