"""The judged set: listings and questions written by hand, and how well each answers which."""

import csv
import hashlib
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from api.migrations import upgrade
from commons.database import make_engine, transaction
from commons.groups import Currency, Group
from commons.money import CurrencyKind
from marketplace.consent import Consent, ConsentBasis
from marketplace.drafts import Draft, ListingType, listing_id
from marketplace.gazetteer import Choice, choose
from marketplace.index import Entry, read_changes
from marketplace.listings import upsert
from marketplace.payment import Payment, PaymentMeans
from marketplace.query import Query, read_query

FOLDER: Final = Path(__file__).with_name("judged")
GRADES: Final = {"exact": 3, "good": 2, "fair": 1}
TYPO: Final = "typo"
HALVES: Final = ("tuning", "held-back")

_PUBLISHED_BEFORE: Final = timedelta(days=20)
_ETHER: Final = "caip:19:eip155:1/slip44:60"
_PARAMETERS: Final = ("q", "near", "radius_km", "type", "remote", "pay", "category")
_CONSENT: Final = Consent(allowed=True, basis=ConsentBasis.HUB, reason="the hub consents")


@dataclass(frozen=True)
class Question:
    """One question, as the parameters of a URL, and what it should find.

    `grades` tells by listing id how well it answers what the member means: 3 exactly what is
    sought, 2 good, 1 acceptable; all others 0. `clean` is the id of the question of which this
    one is a misspelt twin.
    """

    id: str
    kind: str
    parameters: tuple[tuple[str, str], ...]
    grades: dict[str, int]
    clean: str | None = None

    @property
    def half(self) -> str:
        """Where it belongs, by a hash of its id; a misspelt twin stays with the clean one."""
        digest = hashlib.sha256((self.clean or self.id).encode()).digest()
        return HALVES[digest[0] % 2]

    def query(self, limit: int) -> Query:
        """Return the question as the service would read it from a URL."""
        return read_query([*self.parameters, ("limit", str(limit))])


@cache
def questions() -> tuple[Question, ...]:
    """Return all questions, each followed by its misspelt twins."""
    ids = {row["id"]: listing_id(_uri(row)) for row in _rows("listings.csv")}
    return tuple(
        question
        for path in sorted((FOLDER / "queries").glob("*.toml"))
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["query"]
        for question in _questions(table, ids)
    )


@cache
def names() -> dict[str, str]:
    """Return the names that the judged listings have in the set, by listing id."""
    return {listing_id(_uri(row)): row["id"] for row in _rows("listings.csv")}


def entries(now: datetime) -> list[Entry]:
    """Return the judged listings as an index gets them, through a database of their own.

    Only their ages are set afterwards, since a listing that is stored has just been confirmed.
    """
    rows = list(_rows("listings.csv"))
    ages = {listing_id(_uri(row)): timedelta(days=int(row["age_days"])) for row in rows}
    with tempfile.TemporaryDirectory(prefix="localpay-judged-") as folder:
        url = f"sqlite:///{folder}/judged.sqlite"
        upgrade(url)
        engine = make_engine(url)
        with transaction(engine) as session:
            _add_groups(session, now)
            for row in rows:
                draft = _draft(row, now)
                upsert(session, draft, _CONSENT, consented_by=draft.uri, group_id=row["group"])
        kept = [change.entry for change in read_changes(engine, 0) if change.entry]
        engine.dispose()
    return [replace(entry, confirmed=now - ages[entry.id]) for entry in kept]


def _questions(table: dict[str, Any], ids: dict[str, str]) -> Iterator[Question]:
    parameters = tuple(
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name in _PARAMETERS
        if name in table
        for value in (table[name] if isinstance(table[name], list) else [table[name]])
    )
    grades = {
        ids[listing]: grade for name, grade in GRADES.items() for listing in table.get(name, [])
    }
    clean = Question(table["id"], table["kind"], parameters, grades)
    yield clean
    for number, typed in enumerate(table.get("typos", []), start=1):
        misspelt = tuple((name, typed if name == "q" else value) for name, value in parameters)
        yield replace(
            clean, id=f"{clean.id}~{number}", kind=TYPO, parameters=misspelt, clean=clean.id
        )


def _add_groups(session: Session, now: datetime) -> None:
    for row in _rows("groups.csv"):
        kind = CurrencyKind(row["kind"])
        uri = f"https://{row['id']}.example/currency"
        currency = Currency(uri=uri, code=row["code"], name=row["code"], scale=2, kind=kind)
        session.add(currency)
        session.flush()
        place = _place(row["place"])
        session.add(
            Group(
                id=row["id"],
                uri=f"https://{row['id']}.example/group",
                name=row["id"],
                currency_id=currency.id,
                place_name=_name(row["place"]),
                lat=place.lat,
                lon=place.lon,
                created_at=now - timedelta(days=2_000),
            )
        )


def _draft(row: dict[str, str], now: datetime) -> Draft:
    """Return a row of the table as its origin would tell it."""
    at = f"https://{row['group']}.example"
    told = row["place"] or _home()[row["group"]]
    place = _place(told)
    marks = row["marks"].split()
    return Draft(
        uri=_uri(row),
        type=ListingType(row["type"]),
        title=row["title"],
        author_uri=f"{at}/members/{row['author'] or row['id']}",
        body=row["body"],
        language=None if "undeclared" in marks else row["language"],
        categories=tuple(name.strip() for name in row["categories"].split(";")),
        image=f"{at}/images/{row['id']}.jpg" if "image" in marks else None,
        group_uri=f"{at}/group",
        place_name=_name(told),
        lat=place.lat,
        lon=place.lon,
        remote="remote" in marks,
        payments=tuple(_payment(text, row["group"]) for text in row["payments"].split()),
        published=now - timedelta(days=int(row["age_days"])) - _PUBLISHED_BEFORE,
        expires_at=now - timedelta(days=1) if "expired" in marks else None,
    )


def _payment(text: str, group: str) -> Payment:
    """Read `gift`, `time:2`, `group:15` (the group's own currency) or `national:EUR:30`."""
    name, *rest = text.split(":")
    means = PaymentMeans.GROUP_DEFAULT if name == "group" else PaymentMeans(name)
    currency = {
        PaymentMeans.LOCAL: f"https://{group}.example/currency",
        PaymentMeans.CRYPTO: _ETHER,
    }.get(means)
    if means is PaymentMeans.NATIONAL:
        currency, *rest = rest
    return Payment(means, currency=currency, amount=rest[0] if rest else None)


def _place(told: str) -> Choice:
    place = choose(told)
    if place is None:
        raise ValueError(f"the gazetteer does not know {told}")
    return place


def _name(told: str) -> str:
    """Return a place without the country that tells it from its namesakes: `York, UK`."""
    return told.partition(",")[0]


@cache
def _home() -> dict[str, str]:
    return {row["id"]: row["place"] for row in _rows("groups.csv")}


def _uri(row: dict[str, str]) -> str:
    return f"https://{row['group']}.example/listings/{row['id']}"


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
