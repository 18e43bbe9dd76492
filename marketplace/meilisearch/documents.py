"""A listing as a document of Meilisearch, and a document as a hit."""

import hashlib
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from marketplace.drafts import ListingType
from marketplace.embedded.ranking import weight_of
from marketplace.index import Entry
from marketplace.meilisearch.plan import CELLS
from marketplace.places import cells_of
from marketplace.query import Hit

# Around the matches in a text that Meilisearch marks; private letters, taken out of the texts.
MARK_START: Final = "\ue000"
MARK_END: Final = "\ue001"

# Meilisearch cuts the values that it filters by and counts at 468 bytes.
MOST_TERM_BYTES: Final = 400
_HASHED: Final = "%~"
_NO_MARKS: Final = {ord(MARK_START): None, ord(MARK_END): None}


def term(value: str) -> str:
    """Return a value as it stands in the fields that are filtered by and counted.

    Meilisearch takes values for the same that differ in case or form only. What it would fold
    is written as percent and bytes here, so that each value is itself alone, as in the other
    indexes; one that is too long stands as its hash and is not counted.
    """
    written = "".join(letter if _kept(letter) else _as_bytes(letter) for letter in value)
    if len(written.encode()) > MOST_TERM_BYTES:
        return _HASHED + hashlib.sha256(value.encode()).hexdigest()
    return written


def value_of(written: str) -> str | None:
    """Return the value that `term` wrote; None where only its hash is there."""
    return None if written.startswith(_HASHED) else unquote(written)


def document_of(entry: Entry) -> dict[str, Any]:
    """Return a listing as the document that an index holds of it; moments in seconds."""
    document: dict[str, Any] = {
        "id": entry.id,
        "title": entry.title,
        "categories": entry.categories,
        "body": entry.text.translate(_NO_MARKS),
        "type": term(entry.type),
        "pay": [term(pay) for pay in entry.terms.pay],
        "currency": [term(currency) for currency in entry.terms.currencies],
        "category": sorted({term(each) for each in entry.category_terms}),
        "author": term(entry.author),
        "remote": entry.remote,
        "settles": entry.terms.settles,
        "published": seconds(entry.published),
        "weight": weight_of(entry),
        "hit": _hit(entry),
    }
    if entry.terms.price is not None:
        document["price"] = entry.terms.price
    if entry.language is not None:
        document["language"] = term(entry.language)
    if entry.place_name is not None:
        document["place_name"] = entry.place_name
    if entry.group is not None:
        document["group"] = term(entry.group)
    if entry.expires_at is not None:
        document["expires"] = seconds(entry.expires_at)
    if entry.lat is not None and entry.lon is not None:
        document["_geo"] = {"lat": entry.lat, "lng": entry.lon}
        document |= zip(CELLS.values(), cells_of(entry.lat, entry.lon), strict=True)
    return document


def hit_of(document: Mapping[str, Any], excerpt: str, distance_km: float | None) -> Hit:
    """Return the hit that a document is."""
    members: dict[str, Any] = document["hit"]
    return Hit(
        **members
        | {
            "id": document["id"],
            "type": ListingType(members["type"]),
            "title": document["title"],
            "categories": document["categories"],
            "published": datetime.fromisoformat(members["published"]),
            "confirmed": datetime.fromisoformat(members["confirmed"]),
        },
        excerpt=excerpt,
        distance_km=distance_km,
    )


def seconds(moment: datetime) -> int:
    """Return whole seconds since 1970, rounded down."""
    return int(moment.timestamp() // 1)


def _kept(letter: str) -> bool:
    """Tell whether Meilisearch leaves a letter as it is, wherever it stands in a value."""
    folded = unicodedata.normalize("NFKD", letter).lower()
    return (
        folded == letter
        and letter not in '%"\\'
        and letter.isprintable()
        and not letter.isspace()
        and not unicodedata.combining(letter)
    )


def _as_bytes(letter: str) -> str:
    return "".join(f"%{byte:02x}" for byte in letter.encode())


def _hit(entry: Entry) -> dict[str, Any]:
    return {
        "type": str(entry.type),
        "language": entry.language,
        "image": entry.image,
        "payments": entry.payments,
        "author": entry.author,
        "group": entry.group,
        "place_name": entry.place_name,
        "lat": entry.lat,
        "lon": entry.lon,
        "remote": entry.remote,
        "published": entry.published.isoformat(),
        "confirmed": entry.confirmed.isoformat(),
        "url": entry.url,
    }
