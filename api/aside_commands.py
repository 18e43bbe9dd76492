"""`localpay aside`: what arrived and was not taken, why, and reading it once more."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
from rich.progress import Progress
from sqlalchemy import ColumnElement, Engine, Select, select

from api.hub_commands import AsJson
from api.terminal import operator_engine, prepared, print_json, print_table, progress_console
from commons.database import reading
from commons.errors import FetchError, InvalidError, NotFoundError
from commons.fetch import Door
from commons.groups import Hub
from commons.keys import load_or_create
from commons.settings import Settings
from crawler.actor import actor_key_id
from crawler.backfill import try_again
from crawler.blocks import Blocked
from crawler.kept import PutAside
from crawler.peers import FOLLOWS, Peer, by_group, may_index
from crawler.plain_words import explain
from marketplace.listings import by_uri

LISTED_MOST: Final = 200

aside_app: Final = typer.Typer(help="What arrived and was not taken: what, why, and once more.")

OfGroup = Annotated[str | None, typer.Option("--group", help="Of this group alone, by short id.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(aside_app, name="aside")


@aside_app.command("list")
def list_aside(
    group: OfGroup = None,
    reason: Annotated[
        str | None, typer.Option(help="Only where the reason holds these words.")
    ] = None,
    *,
    json: AsJson = False,
) -> None:
    """List what was put aside, newest first: at most 200, with the reasons counted below."""
    with operator_engine() as engine, reading(engine) as session:
        rows = session.execute(_chosen(group, reason).order_by(PutAside.at.desc())).all()
        told = [_told(row, peer) for row, peer in rows[:LISTED_MOST]]
        reasons = Counter(row.reason for row, _ in rows)
    if json:
        print_json({"aside": told, "reasons": dict(reasons.most_common()), "total": len(rows)})
        return
    headings = ["id", "group", "at", "again at", "reason", "what"]
    print_table(headings, [[one[key] for key in _COLUMNS] for one in told])
    for said, count in reasons.most_common():
        sys.stdout.write(f"{count} of: {said}\n")


@aside_app.command("show")
def show_aside(aside_id: Annotated[int, typer.Argument(metavar="ID", help="As listed.")]) -> None:
    """Show one thing that was put aside as JSON: as it came, and what to mend."""
    with operator_engine() as engine, reading(engine) as session:
        found = session.execute(_chosen(None, None).where(PutAside.id == aside_id)).first()
        if found is None:
            raise NotFoundError(f"nothing was put aside as {aside_id}")
        row, peer = found
        more = {
            "author": row.author_uri,
            "attempts": row.attempts,
            "last_error": row.last_error,
            "mend": explain(row.reason).mend,
            "document": row.document,
        }
        print_json({**_told(row, peer), **more})


@aside_app.command("again")
def read_again(
    group: OfGroup = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Of all groups.")] = False,
) -> None:
    """Read again what was put aside, with today's reader; what is a listing now is taken.

    Prints how much was taken, left out, and stays aside.
    """
    if (group is None) is not everything:
        raise InvalidError("group", "must be given, or else --all")
    settings = prepared(Settings())
    with operator_engine() as engine:
        ids = _readable(engine, group)
        outcomes = asyncio.run(_read_each(engine, settings, ids))
    words = ("taken", "left out", "still aside")
    sys.stdout.write(", ".join(f"{outcomes[word]} {word}" for word in words) + "\n")


def _readable(engine: Engine, group: str | None) -> list[int]:
    """Return what can be read again: of hubs whose listings are taken, and no page of an outbox.

    Sources that are pulled are read whole each day, by the reader that they need.
    """
    with reading(engine) as session:
        if group is not None:
            by_group(session, group)  # which tells of one that there is not
        rows = session.execute(_chosen(group, None).order_by(PutAside.id)).all()
        allowed = {peer.id for _, peer in rows if peer.kind in FOLLOWS and may_index(session, peer)}
        outboxes = {hub.group_id: hub.outbox_uri for hub in session.scalars(select(Hub))}
        return [
            row.id
            for row, peer in rows
            if peer.id in allowed and not _is_page(row.uri, outboxes.get(peer.group_id or ""))
        ]


def _is_page(uri: str, outbox_uri: str | None) -> bool:
    return outbox_uri is not None and uri.startswith(outbox_uri)


async def _read_each(engine: Engine, settings: Settings, ids: Sequence[int]) -> Counter[str]:
    actor_key = load_or_create(settings.data_dir).actor
    door = Door(settings, actor_key_id(settings), actor_key, refuses=Blocked(engine))
    outcomes: Counter[str] = Counter()
    try:
        with Progress(console=progress_console) as progress:
            for aside_id in progress.track(ids, description="reading again"):
                outcomes[await _read_one(engine, door, aside_id)] += 1
    finally:
        await door.aclose()
    return outcomes


async def _read_one(engine: Engine, door: Door, aside_id: int) -> str:
    with reading(engine) as session:
        row = session.get(PutAside, aside_id)
        if row is None:  # the worker took it meanwhile
            return "taken"
        peer_id, uri = row.peer_id, row.uri
    try:
        await try_again(engine, door, aside_id)
    except FetchError:
        return "still aside"
    with reading(engine) as session:
        mine = (PutAside.peer_id == peer_id, PutAside.uri == uri)
        if session.scalar(select(PutAside.id).where(*mine)) is not None:
            return "still aside"
        listing = by_uri(session, uri)
        is_taken = listing is not None and listing.withdrawn_at is None
        return "taken" if is_taken else "left out"


_COLUMNS: Final = ("id", "group", "at", "again_at", "reason", "uri")


def _chosen(group: str | None, reason: str | None) -> Select[PutAside, Peer]:
    conditions: list[ColumnElement[bool]] = []
    if group is not None:
        conditions.append(Peer.group_id == group)
    if reason is not None:
        conditions.append(PutAside.reason.contains(reason, autoescape=True))
    return select(PutAside, Peer).join(Peer, Peer.id == PutAside.peer_id).where(*conditions)


def _told(row: PutAside, peer: Peer) -> dict[str, Any]:
    return {
        "id": row.id,
        "group": peer.group_id,
        "at": row.at,
        "again_at": row.due_at,
        "reason": row.reason,
        "uri": row.uri,
    }
