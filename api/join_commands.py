"""`localpay hub join`, `discover`, `invite` and `leave`: how hubs come in and go."""

import asyncio
import csv
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer
from rich.progress import Progress
from sqlalchemy import Engine

from api.terminal import FAILED, operator_engine, print_json, print_table, progress_console
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import InvalidError, LocalPayError
from commons.fetch import Door
from commons.keys import load_or_create
from commons.settings import Settings
from crawler import invitations, joining, moving, relays
from crawler.actor import actor_key_id
from crawler.blocks import Blocked
from crawler.finding import Step, find, read_address
from crawler.invitations import DAYS_VALID
from crawler.joining import Joined
from crawler.peers import Peer, PeerKind
from crawler.relays import RelayStyle
from crawler.terms import origin

_COLUMNS: Final = ("address", "actor", "url", "uri", "hub", "website", "domain", "host", "account")
_SEPARATORS: Final = (",", ";", "\t")
_LISTS: Final = frozenset({".csv", ".tsv", ".txt"})
_AT_ONCE: Final = 8


class InvitedKind(StrEnum):
    """The kinds of hubs that can redeem an invitation."""

    ACTIVITYPUB = "activitypub"
    INSTANCE = "instance"


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
    app.command("move")(move)


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
        found_by = joining.BY_OPERATOR
        return await joining.join(
            engine, door, settings, address, invitation=invitation, found_by=found_by
        )


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
    """Look at a list of hubs: those that have agreed are followed, the others asked weekly.

    A file in CSV names its columns on its first line, one of them address, url, domain or account.
    Exits with 1 where none of the addresses leads to a hub.
    """
    listed = [pair for source in sources for pair in _addresses(source)]
    settings = Settings()
    with operator_engine() as engine:
        found = asyncio.run(_discover(engine, settings, listed))
    if json:
        print_json({"hubs": [{"address": address, **_view(told)} for address, told in found]})
    else:
        rows = [
            [address, told.group_id, told.state, told.software, told.to_mend]
            for address, told in found
        ]
        print_table(["address", "group", "state", "software", "to mend"], rows)
    if not any(told.actor_uri for _, told in found):
        raise typer.Exit(FAILED)


def _addresses(source: str) -> list[tuple[str, str]]:
    """Return the addresses of a file, or the one given, each with where it was found."""
    path = Path(source)
    if not path.is_file():
        if path.suffix.lower() in _LISTS and "://" not in source:
            raise InvalidError("source", f"{source} is no file that is here")
        read_address(source, allow_loopback=True)
        return [(source, "the operator's list")]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidError("source", f"{source} is not in UTF-8") from error
    told = [line for line in lines if line.strip() and line[0] != "#"]
    return [(cell, f"the list {path.name}") for cell in _cells(told, source) if cell]


def _cells(lines: list[str], source: str) -> list[str]:
    """Return the addresses among lines, of CSV with any usual separator or one a line."""
    separator = max(_SEPARATORS, key="".join(lines[:1]).count)
    rows = list(csv.reader(lines, delimiter=separator))
    names = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((names.index(name) for name in _COLUMNS if name in names), None)
    if column is not None:
        return [row[column].strip() for row in rows[1:] if len(row) > column]
    if len(names) > 1 and not _is_address(names[0]):
        raise InvalidError("source", f"{source} must name its column of addresses: {_COLUMNS[0]}")
    return [row[0].strip() for row in rows]


def _is_address(word: str) -> bool:
    return any(sign in word for sign in ".:@")


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
        str,
        typer.Argument(
            metavar="ADDRESS", help="The actor's address, its account, or https://host."
        ),
    ],
    evidence: Annotated[str, typer.Option(help="Who agreed for the hub, when and how.")],
    days: Annotated[int, typer.Option(help="How long it is valid.")] = DAYS_VALID,
    kind: Annotated[
        InvitedKind, typer.Option(help="What is read at the address.")
    ] = InvitedKind.ACTIVITYPUB,
) -> None:
    """Make an invitation for a hub whose software cannot agree by itself; it is shown once."""
    settings = Settings()
    with operator_engine() as engine:
        address = asyncio.run(_invited(engine, settings, address))
        with transaction(engine) as session:
            code = invitations.invite(session, address, evidence, kind=PeerKind(kind), days=days)
            audit_log.record(session, "operator", "hub-invited", address[:200])
    query = urlencode({"address": address, "invitation": code})
    link = f"{settings.base_url}/join?{query}"
    print_json({"address": address, "invitation": code, "days": days, "link": link})


async def _invited(engine: Engine, settings: Settings, address: str) -> str:
    """Return the actor that an account is of; any other address as it was given."""
    if origin(address) is not None:
        return address
    sought = read_address(address, allow_loopback=settings.allow_loopback)
    if not sought.account:
        return sought.url or sought.base
    async with _door(engine, settings) as door:
        finding = await find(door, sought)
    if finding.actor is None:
        raise InvalidError("address", f"leads to no actor: {finding.to_mend}")
    return finding.actor.id


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
            progress_console.print(f"The invitation {revoke} is revoked.")
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
        audit_log.record(session, "operator", "hub-left", peer.actor_uri[:200])
        told = {"actor": peer.actor_uri, "state": peer.state}
    print_json(told)


def move(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group's short id.")],
    new_actor: Annotated[
        str, typer.Argument(metavar="NEW_ACTOR", help="The actor that the hub has moved to.")
    ],
) -> None:
    """Move a hub to another actor, which must name the old one; its keys then sign its payments."""
    settings = Settings()
    with operator_engine() as engine:
        peer = asyncio.run(_move(engine, settings, group, new_actor))
        with transaction(engine) as session:
            audit_log.record(session, "operator", "hub-moved", group, {"actor": peer.actor_uri})
        print_json({"id": group, "actor": peer.actor_uri, "state": peer.state})


async def _move(engine: Engine, settings: Settings, group: str, new_actor: str) -> Peer:
    async with _door(engine, settings) as door:
        return await moving.move_by_operator(engine, door, group, new_actor)


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
