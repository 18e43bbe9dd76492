"""`localpay source`: what publishes other than by ActivityPub, and files that are read by hand."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress
from sqlalchemy import func, select

from api.hub_commands import AsJson, GroupId
from api.terminal import operator_engine, print_json, print_table, progress_console
from commons.database import now, reading, transaction
from commons.errors import InvalidError, NotFoundError, TooLargeError
from crawler import peers
from crawler.peers import Peer, PeerKind
from crawler.sources import files
from crawler.sources.adding import Wanted
from crawler.sources.adding import add as add_source
from crawler.sources.ces import EVERYBODY
from crawler.sources.reading import SOURCES, is_by_hand
from marketplace.listings import Listing, Outcome, visible
from marketplace.listings import shown as is_shown

app: Final = typer.Typer(
    help="Groups whose software speaks no ActivityPub: Komunitin, Murmurations, exports of CES and "
    "TimeOverflow. Each is read daily, and only with its operator's word."
)

_NEAR: Final = re.compile(r"(-?\d{1,2}(?:\.\d{1,10})?),\s*(-?\d{1,3}(?:\.\d{1,10})?)")
_POLE: Final = 90
_ANTIMERIDIAN: Final = 180


class Kind(StrEnum):
    """The kinds of sources that are read."""

    KOMUNITIN = "komunitin"
    MURMURATIONS = "murmurations"
    CES = "ces"
    TIMEOVERFLOW = "timeoverflow"


KindArgument = Annotated[Kind, typer.Argument(help="What its software is.")]
GroupOption = Annotated[str, typer.Option("--group", help="The group's short id.")]


@app.command("add")
def add(  # noqa: PLR0913 (each is one thing that the operator says)
    kind: KindArgument,
    address: Annotated[
        str,
        typer.Argument(
            help="https://host/GROUP of Komunitin (https://host alone only names its groups), "
            "https://index of Murmurations, or a file's address; {a,b} stands for two files, as in "
            "https://host/export/{OFFERS,WANTS}.csv"
        ),
    ],
    *,
    group: GroupOption,
    name: Annotated[str, typer.Option(help="What the group is called.")],
    evidence: Annotated[
        str, typer.Option(help="Who agreed that its public listings are indexed, when and how.")
    ],
    near: Annotated[
        str | None,
        typer.Option(
            metavar="LAT,LON", help="Where the group is, for listings without a place of their own."
        ),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Its currency: one known here, or a Wikidata item as wd:Q25235 (the hour).",
        ),
    ] = None,
    by_hand: Annotated[
        bool,
        typer.Option(
            "--by-hand", help="Fetch nothing: you read its files by localpay source read."
        ),
    ] = False,
) -> None:
    """Add a source with its operator's consent, and have it read at once and then daily.

    Lists of members are never read: an address or file of that name, or with a column for
    passwords, is refused before anything of it is kept.
    """
    wanted = Wanted(
        kind=PeerKind(kind),
        address=address,
        group_id=group,
        name=name,
        evidence=evidence,
        near=_place(near) if near is not None else None,
        currency_uri=currency,
        by_hand=by_hand,
    )
    with operator_engine() as engine, transaction(engine) as session:
        peer = add_source(session, wanted)
        added = {
            "group": peer.group_id,
            "kind": peer.kind,
            "address": peer.actor_uri,
            "state": peer.state,
            "next_look_at": peer.due_at,
        }
    print_json(added)


@app.command("read")
def read(
    kind: KindArgument,
    file: Annotated[
        Path,
        typer.Argument(help="The file; its name says offers or wants, where it does not itself."),
    ],
    group: GroupOption,
    *,
    complete: Annotated[
        bool,
        typer.Option("--complete", help="Withdraw listings of its type that it does not hold."),
    ] = False,
) -> None:
    """Read a file that a group gave you, once, and tell what became of each listing in it."""
    if file.stat().st_size > files.FILE_MAX_BYTES:
        raise TooLargeError(f"{file.name} has more than {files.FILE_MAX_BYTES} bytes")
    with operator_engine() as engine, _progress() as advance:
        report = files.read_file(
            engine,
            PeerKind(kind),
            group,
            file.read_bytes(),
            file.name,
            complete=complete,
            progress=advance,
        )
    counts = {str(outcome): report.outcomes[outcome] for outcome in Outcome}
    counts |= {"invalid": len(report.refused), "withdrawn": report.withdrawn}
    counts |= {"expired": len(report.expired), "not public": len(report.not_public)}
    for name, count in counts.items():
        sys.stdout.write(f"{name}: {count}\n")
    for uri, reason in report.refused:
        sys.stdout.write(" ".join(f"{reason} ({uri})".split()) + "\n")
    for uri in report.expired:
        sys.stdout.write(f"expires: is over already, so it is not shown ({uri})\n")
    for line in report.not_public:
        sys.stdout.write(f"line {line}: scope: is not {EVERYBODY}, which is for everybody\n")


@app.command("list")
def list_sources(*, json: AsJson = False) -> None:
    """List the sources, also those that are only discovered, and how reading them goes."""
    of_kinds = select(Peer).where(Peer.kind.in_(SOURCES)).order_by(Peer.id)
    counted = select(Listing.group_id, func.count()).group_by(Listing.group_id)
    with operator_engine() as engine, reading(engine) as session:
        in_search = counted.where(visible(now(session)))
        listings = {row[0]: row[1] for row in session.execute(in_search)}
        found = [
            {
                "group": peer.group_id,
                "kind": peer.kind,
                "address": peer.actor_uri,
                "state": peer.state,
                "by_hand": is_by_hand(peer),
                "listings": listings.get(peer.group_id, 0),
                "last_heard_at": peer.last_heard_at,
                "next_look_at": peer.due_at,
                "last_error": peer.last_error,
            }
            for peer in session.scalars(of_kinds)
        ]
    if json:
        print_json({"sources": found})
        return
    columns = ["group", "kind", "state", "listings", "last_heard_at", "last_error", "address"]
    headings = [column.replace("_", " ") for column in columns]
    print_table(headings, [[source[column] for column in columns] for source in found])


@app.command("remove")
def remove(group: GroupId) -> None:
    """End reading a group's source and withdraw all its listings."""
    with operator_engine() as engine, transaction(engine) as session:
        peer = peers.by_group(session, group, lock=True)
        if peer.kind not in SOURCES:
            raise NotFoundError(f"the group {group!r} is read by ActivityPub, not from a source")
        mine = select(func.count()).where(Listing.group_id == group, is_shown())
        withdrawn = session.scalar(mine) or 0
        peers.revoke(session, peer)
    print_json({"group": group, "withdrawn": withdrawn})


def _place(text: str) -> tuple[float, float]:
    match = _NEAR.fullmatch(text.strip())
    lat, lon = (float(match[1]), float(match[2])) if match else (_POLE + 1.0, 0.0)
    if abs(lat) > _POLE or abs(lon) > _ANTIMERIDIAN:
        raise InvalidError("near", "must be LAT,LON in degrees on earth, such as 41.4,2.15")
    return lat, lon


@contextmanager
def _progress() -> Iterator[files.Progress]:
    """Show on stderr how many listings are done, once there are any."""
    progress = Progress(console=progress_console, transient=True)
    task = progress.add_task("reading", total=None)
    with ExitStack() as shown:

        def advance(done: int, of: int) -> None:
            if not progress.live.is_started:
                shown.enter_context(progress)
            progress.update(task, completed=done, total=of)

        yield advance
