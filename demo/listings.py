"""What the three demo groups are and what their members offer and want, read from `demo/data`."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Place:
    """Where something is offered or wanted, in degrees."""

    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Pay:
    """How a listing may be paid, as the data files say it.

    `means` is `local` (the group's currency), `group` (whatever the group uses), `time` (hours),
    `gift`, `barter`, `crypto:btc` and the like, an ISO 4217 code, or the Wikidata item of a
    currency; `what` is the amount, or with `barter` what is wanted in return.
    """

    means: str
    what: str = ""


@dataclass(frozen=True)
class Listing:
    """One offer (`purpose` is `offer`) or want (`request`) of a member."""

    member: str
    purpose: str
    language: str
    action: str
    title: str
    text: str
    place: Place
    pay: Pay
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupCurrency:
    """A group's own currency; `rate` is clearing units per unit, 1 hour of work being 1."""

    code: str
    name: str
    kind: str
    rate: str
    scale: int = 2


@dataclass(frozen=True)
class GroupProfile:
    """A group as its hub is set up; `unlisted` members do not want to be found by search."""

    id: str
    name: str
    summary: str
    place: Place
    currency: GroupCurrency
    members: tuple[str, ...]
    listings: tuple[Listing, ...]
    unlisted: frozenset[str] = field(default_factory=frozenset)
    announces: bool = False


def groups() -> tuple[GroupProfile, GroupProfile, GroupProfile]:
    """Return the three demo groups."""
    gracia = _group(
        "gracia",
        "Xarxa d'Intercanvi de Gràcia",
        "Veïnes i veïns que canvien hores, pa i bicicletes, de Gràcia a Perpinyà.",
        "Gràcia, Barcelona",
        GroupCurrency("GRC", "gràcies", "local", "1/12"),
        unlisted=frozenset({"quim"}),
    )
    kreuzberg = _group(
        "kreuzberg",
        "Zeitbank Kreuzberg",
        "Eine Stunde ist eine Stunde, egal wofür. Nachbarschaftshilfe in vier Sprachen.",
        "Kreuzberg, Berlin",
        GroupCurrency("STD", "Stunden", "time", "1/1"),
        announces=True,
    )
    leeds = _group(
        "leeds",
        "Leeds LETS",
        "Local exchange since the nineties: ten calders for an hour of your time.",
        "Headingley, Leeds",
        GroupCurrency("CLD", "calders", "local", "1/10"),
    )
    return gracia, kreuzberg, leeds


@cache
def place(name: str) -> Place:
    """Return a place of `places.csv` by its name."""
    for row in _rows("places"):
        if row["place"] == name:
            return Place(name, float(row["latitude"]), float(row["longitude"]))
    raise KeyError(name)


def _group(  # noqa: PLR0913 - what a group is
    group_id: str,
    name: str,
    summary: str,
    place_name: str,
    currency: GroupCurrency,
    *,
    unlisted: frozenset[str] = frozenset(),
    announces: bool = False,
) -> GroupProfile:
    listings = tuple(_listing(row) for row in _rows(group_id))
    return GroupProfile(
        id=group_id,
        name=name,
        summary=summary,
        place=place(place_name),
        currency=currency,
        members=tuple(dict.fromkeys(listing.member for listing in listings)),
        listings=listings,
        unlisted=unlisted,
        announces=announces,
    )


def _listing(row: dict[str, str]) -> Listing:
    return Listing(
        member=row["member"],
        purpose=row["purpose"],
        language=row["language"],
        action=row["action"],
        title=row["title"],
        text=row["text"],
        place=place(row["place"]),
        pay=Pay(row["pay"], row["amount"]),
        tags=tuple(row["tags"].split()),
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="|", quoting=csv.QUOTE_NONE, strict=True)
