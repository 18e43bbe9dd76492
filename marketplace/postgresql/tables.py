"""The tables of the PostgreSQL index, in a schema of their own, and a listing as their row."""

from collections.abc import Iterable
from dataclasses import fields
from itertools import count
from typing import Any, Final

import orjson
from geoalchemy2 import Geography
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Insert,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    or_,
)
from sqlalchemy.dialects.postgresql import ARRAY, REGCONFIG, TSVECTOR
from sqlalchemy.schema import CreateSchema, CreateTable

from marketplace.embedded.fields import TEXT_KEPT, analyser, key_of, seconds
from marketplace.embedded.ranking import bonus_of
from marketplace.index import Entry
from marketplace.places import cells_of
from marketplace.query import Hit

# Stands in the meta row: tables of another plan are never asked, but built anew.
PLAN: Final = 1
SCHEMA: Final = "localpay_index"
NEXT_SCHEMA: Final = "localpay_index_next"
EXTENSIONS: Final = ("postgis", "pg_trgm")
FACETS: Final = ("type", "pay", "category", "language", "group")
# PostgreSQL's text search configurations by the languages that listings are in (ISO 639-1).
CONFIGURATIONS: Final = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
_FIELDS_APART: Final = 10  # so that no phrase runs from one field into the next
_LAST_POSITION: Final = 16_383  # of a tsvector

# A metadata of its own: SQLite has no geography, and migrations know nothing of an index.
metadata: Final = MetaData(schema=SCHEMA)
META: Final = Table(
    "meta",
    metadata,
    Column("plan", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("listings", BigInteger, nullable=False),
)
LISTING: Final = Table(
    "listing",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key", BigInteger, nullable=False),
    Column("author_key", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("pay", ARRAY(Text), nullable=False),
    Column("currency", ARRAY(Text), nullable=False),
    Column("category", ARRAY(Text), nullable=False),
    Column("language", Text),
    Column("group", Text),
    Column("author", Text, nullable=False),
    Column("remote", Boolean, nullable=False),
    Column("lat", Double),
    Column("lon", Double),
    Column("position", Geography("POINT", srid=4326, spatial_index=False)),
    Column("cells", ARRAY(Text)),  # from the coarsest of RESOLUTIONS on
    Column("published", BigInteger, nullable=False),
    Column("confirmed", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("bonus", Double, nullable=False),
    Column("configuration", Text),
    Column("place", Text),
    Column("words", TSVECTOR, nullable=False),
    Column("place_words", TSVECTOR),
    Column("stems", TSVECTOR),
    Column("hit", LargeBinary, nullable=False),
    Index("listing_words", "words", postgresql_using="gin"),
    Index("listing_stems", "stems", postgresql_using="gin"),
    Index("listing_place_words", "place_words", postgresql_using="gin"),
    Index("listing_position", "position", postgresql_using="gist"),
    Index("listing_box", "lat", "lon"),
    Index("listing_pay", "pay", postgresql_using="gin"),
    Index("listing_currency", "currency", postgresql_using="gin"),
    Index("listing_category", "category", postgresql_using="gin"),
    Index("listing_group", "group"),
    Index("listing_author", "author", postgresql_using="hash"),
    Index("listing_published", "published"),
    Index("listing_confirmed", "confirmed"),
)
# Each word of any listing, and in how many it is.
WORD: Final = Table(
    "word",
    metadata,
    Column("word", Text(collation="C"), primary_key=True),  # so that beginnings are found by it
    Column("listings", BigInteger, nullable=False),
    Index("word_trigrams", "word", postgresql_using="gin", postgresql_ops={"word": "gin_trgm_ops"}),
)
_HIT_MEMBERS: Final = {f.name for f in fields(Entry)} & {f.name for f in fields(Hit)}


def create_tables(connection: Connection, schema: str) -> None:
    """Create the empty tables in a new schema; their indexes follow by `create_indexes`."""
    connection.execute(CreateSchema(schema))
    for table in metadata.tables.values():
        connection.execute(CreateTable(table))
    connection.execute(insert(META).values(plan=PLAN, revision=0, listings=0))
    for index in WORD.indexes:
        index.create(connection)


def create_indexes(connection: Connection) -> None:
    """Create the indexes of the listings, which is quicker once they are in."""
    for index in sorted(LISTING.indexes, key=lambda index: str(index.name)):
        index.create(connection)


def insertion() -> Insert:
    """Return the statement that puts in a listing, given what `row_of` returns."""
    configuration = cast(bindparam("configuration", type_=Text), REGCONFIG)
    stems = (
        func.setweight(func.to_tsvector(configuration, bindparam(name, type_=Text)), weight)
        for name, weight in (("folded_title", "A"), ("folded_body", "C"))
    )
    title, body = stems
    plain = {c.name: bindparam(c.name, type_=c.type) for c in LISTING.c}
    return insert(LISTING).values(
        plain
        | {
            "words": cast(bindparam("words", type_=Text), TSVECTOR),
            "place_words": cast(bindparam("place_words", type_=Text), TSVECTOR),
            "stems": title.op("||", return_type=TSVECTOR())(body),
        }
    )


def row_of(entry: Entry) -> dict[str, Any]:
    """Return a listing's columns, and its words as they are to be stemmed."""
    title, body = analyser("words").analyze(entry.title), analyser("words").analyze(entry.text)
    categories = [analyser("words").analyze(category) for category in entry.categories]
    place = analyser("words").analyze(entry.place_name or "")
    placed = entry.lat is not None and entry.lon is not None
    hit = {name: getattr(entry, name) for name in _HIT_MEMBERS}
    return {
        "id": entry.id,
        "key": key_of(entry.id),
        "author_key": key_of(entry.author),
        "type": str(entry.type),
        "pay": list(entry.terms.pay),
        "currency": list(entry.terms.currencies),
        "category": entry.categories,
        "language": entry.language,
        "group": entry.group,
        "author": entry.author,
        "remote": entry.remote,
        "lat": entry.lat,
        "lon": entry.lon,
        "position": f"SRID=4326;POINT({entry.lon} {entry.lat})" if placed else None,
        "cells": _cells(entry),
        "published": seconds(entry.published),
        "confirmed": seconds(entry.confirmed),
        "expires": None if entry.expires_at is None else seconds(entry.expires_at),
        "bonus": bonus_of(entry),
        "configuration": CONFIGURATIONS.get(entry.language or ""),
        "words": _vector([(title, "A"), *((words, "B") for words in categories), (body, "C")]),
        "place": entry.place_name,
        "place_words": None if entry.place_name is None else _vector([(place, "A")]),
        "folded_title": " ".join(title),
        "folded_body": " ".join(body),
        "hit": orjson.dumps(hit | {"text": entry.text[:TEXT_KEPT]}),
    }


def seen(now: float) -> ColumnElement[bool]:
    """Condition of the listings that are not expired; `now` in seconds since 1970."""
    return or_(LISTING.c.expires.is_(None), LISTING.c.expires > int(now))


def quoted(word: str) -> str:
    """Return a word as it is written in a tsvector or tsquery."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _cells(entry: Entry) -> list[str] | None:
    if entry.lat is None or entry.lon is None:
        return None
    return cells_of(entry.lat, entry.lon)


def _vector(parts: Iterable[tuple[list[str], str]]) -> str:
    # Written out here, since PostgreSQL's own parser cuts words in other places than ours.
    places: dict[str, list[str]] = {}
    position = count(1)
    for words, weight in parts:
        for word in words:
            at = min(next(position), _LAST_POSITION)
            places.setdefault(word, []).append(f"{at}{weight}")
        for _ in range(_FIELDS_APART):
            next(position)
    return " ".join(f"{quoted(word)}:{','.join(at)}" for word, at in places.items())
