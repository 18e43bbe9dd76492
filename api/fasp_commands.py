"""`localpay fasp`: fediverse servers that share public content with us, let in by the operator."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Final

import typer
from sqlalchemy import Engine

from api.hub_commands import AsJson
from api.terminal import OneLineErrors, operator_engine, print_json, print_table
from commons.database import reading, transaction
from commons.fetch import Door
from commons.keys import load_or_create
from commons.settings import Settings
from crawler.actor import actor_key_id
from crawler.blocks import Blocked
from crawler.fasp import registering
from crawler.fasp.registering import Told

app: Final = typer.Typer(
    cls=OneLineErrors,
    help="Fediverse servers that announce public posts to us (FASP data sharing).",
)

Server = Annotated[
    str, typer.Argument(metavar="SERVER", help="The server's address, as https://host")
]


@app.command("list")
def list_servers(*, json: AsJson = False) -> None:
    """List the servers that share content with us or ask to, with the keys' fingerprints."""
    settings = Settings()
    with operator_engine() as engine, reading(engine) as session:
        told = registering.servers(session, load_or_create(settings.data_dir).service)
    if json:
        print_json({"servers": [asdict(one) for one in told]})
        return
    rows = [
        [one.address, one.state, one.our_fingerprint, one.their_fingerprint, one.last_error]
        for one in told
    ]
    print_table(["server", "state", "our key", "its key", "last error"], rows)


@app.command("accept")
def accept(server: Server) -> None:
    """Register with a server; its administrator then finishes it there, by our fingerprint.

    It need not have asked: whoever administrates it may have written to you.
    """
    with operator_engine() as engine:
        told = asyncio.run(_accept(engine, Settings(), server))
    print_json(asdict(told))


@app.command("remove")
def remove(server: Server) -> None:
    """Forget a server and withdraw what came by it alone; tell its administrator to remove us."""
    with operator_engine() as engine, transaction(engine) as session:
        withdrawn = registering.remove(session, server)
    print_json({"server": server, "withdrawn": withdrawn})


async def _accept(engine: Engine, settings: Settings, server: str) -> Told:
    keys = load_or_create(settings.data_dir)
    door = Door(settings, actor_key_id(settings), keys.actor, refuses=Blocked(engine))
    try:
        return await registering.accept(engine, door, settings, keys.service, server)
    finally:
        await door.aclose()
