"""The first half of the demo: hubs publish, and what they publish is found."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from demo.checks import Checks, Summary
from demo.documents import Json, Publication
from demo.hub import Hub
from demo.listings import Listing, Pay, place
from demo.service import Service

FOUND_WITHIN_SECONDS: Final = 30.0
LEAST_LISTINGS: Final = 40
LEAST_LANGUAGES: Final = 4
SEARCHABLE_WITHIN_SECONDS: Final = 2.0
GIVE_UP_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02
ASKED_IN_KREUZBERG: Final = "plumer near leeds"  # typed with a mistake
FOUND_IN_KREUZBERG: Final = "Plumber for small jobs"
MEANS: Final = ("local", "time", "national", "crypto", "barter", "gift", "group-default")

NEW_LISTING: Final = Listing(
    member="emre",
    purpose="offer",
    language="de",
    action="deliverService",
    title="Drachen bauen mit Schulkindern",
    text="Papier, Leisten und Schnur sind da; gebaut wird im Hof.",
    place=place("Kreuzberg, Berlin"),
    pay=Pay("local", "1.50"),
    tags=("kinder", "basteln"),
)


def wait_for_listings(service: Service, hubs: Sequence[Hub], console: Console) -> dict[str, int]:
    """Wait until all that the hubs publish is searchable; return how many were found of each.

    Returns what there is when `FOUND_WITHIN_SECONDS` are over.
    """
    bars = Progress(
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), console=console
    )
    found: dict[str, int] = {}
    deadline = time.monotonic() + FOUND_WITHIN_SECONDS
    with bars:
        tasks = {hub: bars.add_task(hub.group.id, total=len(searchable(hub))) for hub in hubs}
        while time.monotonic() < deadline:
            for hub, task in tasks.items():
                found[hub.group.id] = count(service, hub)
                bars.update(task, completed=found[hub.group.id])
            if bars.finished:
                break
            time.sleep(0.1)
    return found


def searchable(hub: Hub) -> list[Publication]:
    """Return what a hub publishes of members who do not mind being found."""
    return [
        publication
        for publication in hub.published()
        if publication.listing.member not in hub.group.unlisted
    ]


def count(service: Service, hub: Hub) -> int:
    """Return how many listings of a hub the search finds."""
    total: int = service.listings(group=hub.group.id, limit=1)["total"]
    return total


def check_found(
    service: Service, hubs: Sequence[Hub], found: dict[str, int], checks: Checks
) -> None:
    """Check that all is found that should be, in all its variety, and nothing that should not."""
    for hub in hubs:
        group_id = hub.group.id
        checks.at_least(f"listings of {group_id} found", found.get(group_id, 0), LEAST_LISTINGS)
        checks.equal(f"all of {group_id} found", found.get(group_id, 0), len(searchable(hub)))
    languages = service.listings(limit=1)["facets"]["language"]
    checks.at_least("languages found", len(languages), LEAST_LANGUAGES)
    for means in MEANS:
        total = service.listings(pay=means, limit=1)["total"]
        checks.at_least(f"listings payable by {means}", total, 1)
    for hub in hubs:
        for publication in hub.published():
            if publication.listing.member in hub.group.unlisted:
                title = publication.listing.title
                is_found = title in service.titles(title, hub.group.id)
                checks.equal(f"“{title}” is found, whose author says no", is_found, expected=False)


def check_story(service: Service, hubs: Sequence[Hub], checks: Checks, console: Console) -> None:
    """Check that a member who has hours finds whom to pay with them, far away and mistyped."""
    payers = next(hub.group for hub in hubs if hub.group.currency.kind == "time")
    question = {"q": ASKED_IN_KREUZBERG, "payer_group": payers.id, "pay": "time"}
    page = service.listings(**question)
    first: Json = page["hits"][0] if page["hits"] else {"title": "nothing", "payable": None}
    asked = f"“{ASKED_IN_KREUZBERG}”, to be paid from {payers.id} in hours"
    checks.equal(asked, first["title"], FOUND_IN_KREUZBERG)
    checks.equal(
        f"how “{first['title']}” is paid from {payers.id}",
        (first["payable"] or {}).get("how"),
        "clearing",
    )
    console.print(f"  {asked}: found “{first['title']}”")


def measure_pushes(
    service: Service, hub: Hub, checks: Checks, summary: Summary, console: Console
) -> None:
    """Let a hub edit, add and withdraw a listing, and measure until search shows each."""
    edited, withdrawn = searchable(hub)[:2]
    new_title = f"{edited.listing.title} (neue Zeiten)"
    steps: tuple[tuple[str, str, bool, Callable[[], object]], ...] = (
        (
            "edited",
            new_title,
            True,
            lambda: hub.edit(edited.number, replace(edited.listing, title=new_title)),
        ),
        ("added", NEW_LISTING.title, True, lambda: hub.publish(NEW_LISTING)),
        (
            "withdrawn",
            withdrawn.listing.title,
            False,
            lambda: hub.withdraw(withdrawn.number),
        ),
    )
    longest = 0.0
    for what, title, appears, push in steps:
        seconds = seconds_until_shown(service, hub, title, appears=appears, push=push)
        console.print(f"  {what} “{title}”: searched right after {seconds:.2f} s")
        checks.at_most(f"seconds until what was {what} shows", seconds, SEARCHABLE_WITHIN_SECONDS)
        longest = max(longest, seconds)
    checks.equal(
        f"listings of {hub.group.id} after that", count(service, hub), len(searchable(hub))
    )
    summary.seconds_to_searchable = round(longest, 3)


def seconds_until_shown(
    service: Service, hub: Hub, title: str, *, appears: bool, push: Callable[[], object]
) -> float:
    """Push, and return the seconds from its start until search shows (or no longer) the title.

    Gives up, and returns what has passed, after `GIVE_UP_SECONDS`.
    """
    start = time.monotonic()
    push()
    while (title in service.titles(title, hub.group.id)) is not appears:
        if time.monotonic() - start > GIVE_UP_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    return time.monotonic() - start
