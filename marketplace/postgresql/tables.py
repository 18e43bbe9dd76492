"""The tables of the PostgreSQL index, in a schema of their own, and a listing as their row."""

from collections.abc import Iterable, Iterator
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
    insert,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.schema import CreateSchema, CreateTable

from marketplace.embedded.fields import TEXT_KEPT, analyser, key_of, seconds
from marketplace.embedded.ranking import weight_of
from marketplace.index import Entry
from marketplace.places import cells_of
from marketplace.postgresql.stems import STEM_MARK, Stems, stemmed_as
from marketplace.query import Hit
from marketplace.words import separated

# Stands in the meta row: tables of another plan are never asked, but built anew.
PLAN: Final = 2
SCHEMA: Final = "localpay_index"
NEXT_SCHEMA: Final = "localpay_index_next"
EXTENSIONS: Final = ("postgis", "pg_trgm")
FACETS: Final = ("type", "pay", "category", "language", "group")
_LEAST_WEIGHT: Final = 1e-200  # PostgreSQL refuses products that are too small to hold
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
    Column("expires", BigInteger),
    Column("weight", Double, nullable=False),  # what a listing gives its score by itself
    Column("settles", Boolean, nullable=False),
    Column("price", Double),
    Column("place", Text),
    Column("words", TSVECTOR, nullable=False),  # and beside each its stems, in its language
    Column("place_words", TSVECTOR),
    Index("listing_words", "words", postgresql_using="gin"),
    Index("listing_place_words", "place_words", postgresql_using="gin"),
    Index("listing_position", "position", postgresql_using="gist"),
    Index("listing_box", "lat", "lon"),
    Index("listing_pay", "pay", postgresql_using="gin"),
    Index("listing_currency", "currency", postgresql_using="gin"),
    Index("listing_category", "category", postgresql_using="gin"),
    Index("listing_group", "group"),
    Index("listing_author", "author", postgresql_using="hash"),
    Index("listing_published", "published"),
    Index("listing_weight", "weight", "key"),
)
# What a hit shows of a listing, apart from the above so that looking for it reads less.
HIT: Final = Table(
    "hit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hit", LargeBinary, nullable=False),
)
# Each word and each stem of any listing: in how many it is, and in how many of their titles, …
WORD: Final = Table(
    "word",
    metadata,
    Column("word", Text(collation="C"), primary_key=True),  # so that beginnings are found by it
    Column("listings", BigInteger, nullable=False),
    Column("titles", BigInteger, nullable=False),
    Column("categories", BigInteger, nullable=False),
    Column("bodies", BigInteger, nullable=False),
)
NO_STEM: Final = WORD.c.word.not_like(text(f"'{STEM_MARK}%'"))
Index(
    "word_trigrams",
    WORD.c.word,
    postgresql_using="gin",
    postgresql_ops={"word": "gin_trgm_ops"},
    postgresql_where=NO_STEM,
)
# Each category by its term, in how many listings it is, and the words by which it is suggested.
CATEGORY: Final = Table(
    "category",
    metadata,
    Column("term", Text, primary_key=True),
    Column("listings", BigInteger, nullable=False),
    Column("words", TSVECTOR, nullable=False),
    Index("category_words", "words", postgresql_using="gin"),
)
_HIT_MEMBERS: Final = {f.name for f in fields(Entry)} & {f.name for f in fields(Hit)}


def create_tables(connection: Connection, schema: str) -> None:
    """Create the empty tables in a new schema; their indexes follow by `create_indexes`."""
    connection.execute(CreateSchema(schema))
    for table in metadata.tables.values():
        connection.execute(CreateTable(table))
    connection.execute(insert(META).values(plan=PLAN, revision=0, listings=0))
    for index in WORD.indexes | CATEGORY.indexes:
        index.create(connection)


def create_indexes(connection: Connection) -> None:
    """Create the indexes of the listings, which is quicker once they are in."""
    for index in sorted(LISTING.indexes, key=lambda index: str(index.name)):
        index.create(connection)


def insertions() -> tuple[Insert, Insert]:
    """Return the statements that put in a listing, given what `row_of` returns."""
    plain = {c.name: bindparam(c.name, type_=c.type) for c in LISTING.c}
    vectors = {n: cast(bindparam(n, type_=Text), TSVECTOR) for n in ("words", "place_words")}
    return insert(LISTING).values(plain | vectors), insert(HIT)


def tokens_of(text: str) -> list[str]:
    """Return the words of a text as they are looked for: folded, and split as ours are."""
    return analyser("words").analyze(separated(text))


def to_stem(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield (language, word) for each word of a listing that has stems in its language."""
    language = stemmed_as(entry.language)
    if language is not None:
        for written in (entry.title, entry.text):
            for word in tokens_of(written):
                yield language, word


def row_of(entry: Entry, stems: Stems) -> dict[str, Any]:
    """Return a listing's columns; `stems` holds those of what `to_stem` yields of it."""
    language = stemmed_as(entry.language) or ""

    def with_stems(written: str) -> Iterator[list[str]]:
        return ([word, *stems.get((language, word), ())] for word in tokens_of(written))

    place = [] if entry.place_name is None else [(_alone(entry.place_name), "A")]
    placed = entry.lat is not None and entry.lon is not None
    hit = {name: getattr(entry, name) for name in _HIT_MEMBERS}
    return {
        "id": entry.id,
        "key": key_of(entry.id),
        "author_key": key_of(entry.author),
        "type": str(entry.type),
        "pay": list(entry.terms.pay),
        "currency": list(entry.terms.currencies),
        "category": entry.category_terms,
        "language": entry.language,
        "group": entry.group,
        "author": entry.author,
        "remote": entry.remote,
        "lat": entry.lat,
        "lon": entry.lon,
        "position": f"SRID=4326;POINT({entry.lon} {entry.lat})" if placed else None,
        "cells": _cells(entry),
        "published": seconds(entry.published),
        "expires": None if entry.expires_at is None else seconds(entry.expires_at),
        "weight": max(weight_of(entry), _LEAST_WEIGHT),
        "settles": entry.terms.settles,
        "price": entry.terms.price,
        "words": _vector(
            (with_stems(entry.title), "A"),
            *((_alone(category), "B") for category in entry.categories),
            (with_stems(entry.text), "C"),
            (_alone(entry.place_name or ""), "D"),
        ),
        "place": entry.place_name,
        "place_words": _vector(*place),
        "hit": orjson.dumps(hit | {"text": entry.text[:TEXT_KEPT]}),
    }


def words_of(category: str) -> str:
    """Return the words of a category as a tsvector is written."""
    return _vector((_alone(category), "A"))


def seen(now: float) -> ColumnElement[bool]:
    """Condition of the listings that are not expired; `now` in seconds since 1970."""
    return or_(LISTING.c.expires.is_(None), LISTING.c.expires > int(now))


def quoted(word: str) -> str:
    """Return a lexeme as it is written in a tsvector or tsquery."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _cells(entry: Entry) -> list[str] | None:
    if entry.lat is None or entry.lon is None:
        return None
    return cells_of(entry.lat, entry.lon)


def _alone(written: str) -> Iterator[list[str]]:
    return ([word] for word in tokens_of(written))


def _vector(*parts: tuple[Iterable[list[str]], str]) -> str:
    """Write out a tsvector of fields, each (the lexemes of its first place, of its second, …)."""
    # Written out here, since PostgreSQL's own parser cuts words in other places than ours.
    places: dict[str, list[str]] = {}
    position = count(1)
    for each_place, weight in parts:
        for lexemes in each_place:
            at = min(next(position), _LAST_POSITION)
            for lexeme in lexemes:
                places.setdefault(lexeme, []).append(f"{at}{weight}")
        for _ in range(_FIELDS_APART):
            next(position)
    return " ".join(f"{quoted(lexeme)}:{','.join(at)}" for lexeme, at in places.items())
