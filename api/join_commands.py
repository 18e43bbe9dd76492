"""`localpay hub join`, `discover`, `invite` and `leave`: how hubs come in and go."""

import asyncio
import csv
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer
from rich.progress import Progress
from sqlalchemy import Engine

from api.terminal import operator_engine, print_json, print_table, progress_console
from commons.database import reading, transaction
from commons.errors import InvalidError, LocalPayError
from commons.fetch import Door
from commons.keys import load_or_create
from commons.settings import Settings
from crawler import invitations, joining, relays
from crawler.actor import actor_key_id
from crawler.blocks import Blocked
from crawler.finding import Step, read_address
from crawler.invitations import DAYS_VALID
from crawler.joining import Joined
from crawler.peers import PeerKind
from crawler.relays import RelayStyle

_COLUMNS: Final = ("address", "actor", "url", "uri", "hub")
_AT_ONCE: Final = 8

Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="A server, an account or a web address of the hub.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def register(app: typer.Typer) -> None:
    """Add these commands to those of `localpay hub`."""
    app.command("join")(join)
    app.command("discover")(discover)
    app.command("invite")(invite)
    app.command("invitations")(list_invitations)
    app.command("leave")(leave)


def join(
    address: Address,
    invitation: Annotated[
        str | None, typer.Option(help="The code of an invitation, for software that cannot agree.")
    ] = None,
    relay: Annotated[
        RelayStyle | None,
        typer.Option(help="Follow it as a relay, in this style; ADDRESS may be its inbox."),
    ] = None,
    *,
    json: AsJson = False,
) -> None:
    """Find a hub or relay by its address and follow it, or tell what is to be mended."""
    if relay is not None and invitation is not None:
        raise InvalidError("invitation", "is for hubs; a relay is followed on your word")
    settings = Settings()
    with operator_engine() as engine:
        if relay is not None:
            told = asyncio.run(_join_relay(engine, settings, address, relay))
        else:
            told = asyncio.run(_join(engine, settings, address, invitation))
    if json:
        print_json(_view(told))
        return
    print_table(["address", "asked for", "outcome"], [_row(step) for step in told.tried])
    typer.echo(_sentence(told))


async def _join(engine: Engine, settings: Settings, address: str, invitation: str | None) -> Joined:
    async with _door(engine, settings) as door:
        return await joining.join(engine, door, settings, address, invitation=invitation)


async def _join_relay(
    engine: Engine, settings: Settings, address: str, style: RelayStyle
) -> Joined:
    async with _door(engine, settings) as door:
        finding, state = await relays.join_relay(engine, door, settings, address, style)
    return Joined(
        actor_uri=finding.actor.id if finding.actor else None,
        kind=PeerKind.RELAY,
        state=state,
        tried=finding.steps,
        to_mend=finding.to_mend,
    )


@asynccontextmanager
async def _door(engine: Engine, settings: Settings) -> AsyncIterator[Door]:
    keys = load_or_create(settings.data_dir)
    door = Door(settings, actor_key_id(settings), keys.actor, refuses=Blocked(engine))
    try:
        yield door
    finally:
        await door.aclose()


def discover(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Addresses, and files with one a line or in CSV."),
    ],
    *,
    json: AsJson = False,
) -> None:
    """Look at a list of hubs: those that have agreed are followed, the others asked weekly."""
    listed = [pair for source in sources for pair in _addresses(source)]
    settings = Settings()
    with operator_engine() as engine:
        found = asyncio.run(_discover(engine, settings, listed))
    if json:
        print_json({"hubs": [{"address": address, **_view(told)} for address, told in found]})
        return
    rows = [
        [address, told.group_id, told.state, told.software, told.to_mend] for address, told in found
    ]
    print_table(["address", "group", "state", "software", "to mend"], rows)


def _addresses(source: str) -> list[tuple[str, str]]:
    """Return the addresses of a file, or the one given, each with where it was found."""
    path = Path(source)
    if not path.is_file():
        read_address(source, allow_loopback=True)
        return [(source, "the operator's list")]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidError("source", f"{source} is not in UTF-8") from error
    rows = list(csv.reader(line for line in lines if line.strip() and line[0] != "#"))
    names = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((names.index(name) for name in _COLUMNS if name in names), None)
    cells = (
        [row[column] for row in rows[1:] if len(row) > column]
        if column is not None
        else [row[0] for row in rows]
    )
    return [(cell.strip(), f"the list {path.name}") for cell in cells if cell.strip()]


async def _discover(
    engine: Engine, settings: Settings, listed: Sequence[tuple[str, str]]
) -> list[tuple[str, Joined]]:
    room = asyncio.Semaphore(_AT_ONCE)
    with Progress(console=progress_console, disable=not progress_console.is_terminal) as progress:
        task = progress.add_task("Looking at hubs", total=len(listed))
        async with _door(engine, settings) as door:

            async def one(address: str, found_by: str) -> tuple[str, Joined]:
                async with room:
                    try:
                        told = await joining.join(
                            engine, door, settings, address, found_by=found_by
                        )
                    except LocalPayError as error:
                        told = Joined(to_mend=error.detail)
                progress.advance(task)
                return address, told

            return list(await asyncio.gather(*(one(*pair) for pair in listed)))


def invite(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The actor's address, or https://host.")
    ],
    evidence: Annotated[str, typer.Option(help="Who agreed for the hub, when and how.")],
    days: Annotated[int, typer.Option(help="How long it is valid.")] = DAYS_VALID,
    kind: Annotated[
        PeerKind, typer.Option(help="What is read at the address.")
    ] = PeerKind.ACTIVITYPUB,
) -> None:
    """Make an invitation for a hub whose software cannot agree by itself; it is shown once."""
    with operator_engine() as engine, transaction(engine) as session:
        code = invitations.invite(session, address, evidence, kind=kind, days=days)
    query = urlencode({"address": address, "invitation": code})
    link = f"{Settings().base_url}/join?{query}"
    print_json({"address": address, "invitation": code, "days": days, "link": link})


def list_invitations(
    revoke: Annotated[int | None, typer.Option(help="End the invitation of this number.")] = None,
    *,
    json: AsJson = False,
) -> None:
    """List the invitations that can be used, or were; never their codes."""
    with operator_engine() as engine:
        if revoke is not None:
            with transaction(engine) as session:
                invitations.revoke_invitation(session, revoke)
        with reading(engine) as session:
            found = [
                {
                    "id": row.id,
                    "address": row.address,
                    "kind": row.kind,
                    "evidence": row.evidence,
                    "created_at": row.created_at,
                    "expires_at": row.expires_at,
                    "used_at": row.used_at,
                }
                for row in invitations.open_invitations(session)
            ]
    if json:
        print_json({"invitations": found})
        return
    headings = ["id", "address", "kind", "evidence", "expires_at", "used_at"]
    print_table(headings, [[row[heading] for heading in headings] for row in found])


def leave(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="The actor's address, the group's id, or a relay's inbox."
        ),
    ],
) -> None:
    """Stop following a hub or relay, tell it so, and take away what was indexed of it."""
    settings = Settings()
    with operator_engine() as engine, transaction(engine) as session:
        peer = relays.leave(session, settings, address)
        told = {"actor": peer.actor_uri, "state": peer.state}
    print_json(told)


def _row(step: Step) -> list[str]:
    return [step.address, step.asked, step.outcome]


def _sentence(told: Joined) -> str:
    if told.to_mend is not None:
        return f"To mend: {told.to_mend}."
    name = f" as the group {told.group_id}" if told.group_id else ""
    return f"{told.actor_uri} is followed{name}; the worker of the service does the rest."


def _view(told: Joined) -> dict[str, Any]:
    return {
        "actor": told.actor_uri,
        "kind": told.kind,
        "state": told.state,
        "group": told.group_id,
        "software": told.software,
        "to_mend": told.to_mend,
        "tried": [
            {"address": step.address, "asked": step.asked, "outcome": step.outcome}
            for step in told.tried
        ],
    }
