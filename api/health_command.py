"""`localpay hub health`: why a hub's listings are, or are not, in the search."""

import asyncio
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy import Engine

from api.hub_commands import AsJson, GroupId
from api.terminal import operator_engine, prepared, print_json, print_table
from commons.database import reading
from commons.fetch import Door
from commons.keys import load_or_create
from commons.settings import Settings
from crawler.actor import actor_key_id
from crawler.blocks import Blocked
from crawler.diagnosis import Diagnosis, diagnose
from crawler.peers import by_group
from marketplace.indexes import open_index


def register(hub_app: typer.Typer) -> None:
    """Add this command to those on hubs."""
    hub_app.command("health")(hub_health)


def hub_health(
    group: GroupId,
    *,
    ask: Annotated[
        bool, typer.Option("--ask", help="Look at the hub now, in at most 6 requests and 20 s.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show each step from a hub's address to the search; the one thing to mend comes first.

    With the errors as they were noted and the addresses of what was not taken.
    """
    settings = prepared(Settings())
    with operator_engine() as engine:
        with reading(engine) as session:
            peer_id = by_group(session, group).id
        told = asyncio.run(_diagnose(engine, settings, peer_id, ask=ask))
    first = told.first_failed
    if json:
        print_json({**asdict(told), "mend": first.mend if first else None})
        return
    sys.stdout.write(f"{_verdict(told)}\n")
    rows = [
        [step.name, step.state, step.seen, step.error or step.mend, step.at] for step in told.steps
    ]
    print_table(["step", "state", "seen", "error or remedy", "at"], rows)
    for step in told.steps:
        for one in step.counts:
            examples = "".join(f"\n    {uri}" for uri in one.examples)
            sys.stdout.write(f"{one.count} of: {one.reason}{examples}\n")


def _verdict(told: Diagnosis) -> str:
    first = told.first_failed
    in_search = f"{told.listings} listings in the search"
    if first is None:
        return f"{in_search}; {'something is under way' if told.is_waiting else 'all is well'}"
    return f"{in_search}; to mend ({first.name}): {first.seen} {first.mend}"


async def _diagnose(engine: Engine, settings: Settings, peer_id: int, *, ask: bool) -> Diagnosis:
    actor_key = load_or_create(settings.data_dir).actor
    door = Door(settings, actor_key_id(settings), actor_key, refuses=Blocked(engine))
    index = await asyncio.to_thread(open_index, settings)
    try:
        return await diagnose(engine, door, settings, peer_id, index=index, ask=ask)
    finally:
        index.close()
        await door.aclose()
