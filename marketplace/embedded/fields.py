"""The fields of the embedded index, their analysers, and a listing as a document."""

import hashlib
from datetime import datetime
from functools import cache
from typing import Any, Final

import orjson
import tantivy

from marketplace.index import Entry
from marketplace.places import cells_of

# Part of the folder's name: an index of another version is never opened, but built anew.
SCHEMA_VERSION: Final = 2
TEXT_KEPT: Final = 1000
LISTING: Final = "listing"
META: Final = "meta"

# tantivy's stemmers by the languages that listings are in (ISO 639-1).
STEMMERS: Final = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
FACETS: Final = ("type", "pay", "category", "language", "group")
_COUNTED: Final = (*FACETS, "remote", "place", "cell")
_ASKED: Final = ("id", "kind", "currency", "author")
_WORDS: Final = ("title", "category_words", "body", "place_words")
_LONGEST_WORD: Final = 100


def schema() -> tantivy.Schema:
    """Return the plan of the index; change SCHEMA_VERSION with it."""
    builder = tantivy.SchemaBuilder()
    for name in _COUNTED:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    for name in _ASKED:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in _WORDS:
        builder.add_text_field(name, tokenizer_name="words")
    for language in STEMMERS:
        for name in ("title", "body"):
            builder.add_text_field(
                f"{name}_{language}", tokenizer_name=language, index_option="freq"
            )
    for name in ("lat", "lon", "bonus"):
        builder.add_float_field(name, fast=True)
    for name in ("published", "confirmed", "revision", "author_key"):
        builder.add_integer_field(name, fast=True)
    builder.add_integer_field("key", indexed=True, fast=True)
    builder.add_integer_field("expires", indexed=True)
    builder.add_bytes_field("hit", stored=True)
    return builder.build()


@cache
def analyser(name: str) -> tantivy.TextAnalyzer:
    """Return the analyser of a language in STEMMERS, or of plain `words`."""
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(_LONGEST_WORD))
    builder = builder.filter(tantivy.Filter.lowercase())
    if name != "words":
        builder = builder.filter(tantivy.Filter.stemmer(STEMMERS[name]))
    return builder.filter(tantivy.Filter.ascii_fold()).build()


def register_analysers(index: tantivy.Index) -> None:
    """Make the analysers known to an index that was opened."""
    for name in ("words", *STEMMERS):
        index.register_tokenizer(name, analyser(name))


def key_of(text: str) -> int:
    """Return 63 bits of a text's hash, to hold and compare it as a number."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def meta_document(revision: int) -> tantivy.Document:
    """Return the one document that says how far the index has come."""
    document = tantivy.Document()
    document.add_text("kind", META)
    document.add_integer("revision", revision)
    return document


def document_of(entry: Entry, revision: int, bonus: float) -> tantivy.Document:
    """Return a listing as a document; `bonus` is its factor for an image and a price."""
    document = tantivy.Document()
    for name, value in _terms(entry):
        document.add_text(name, value)
    if entry.lat is not None and entry.lon is not None:
        document.add_float("lat", entry.lat)
        document.add_float("lon", entry.lon)
        for cell in cells_of(entry.lat, entry.lon):
            document.add_text("cell", cell)
    for name, number in (
        ("published", seconds(entry.published)),
        ("confirmed", seconds(entry.confirmed)),
        ("revision", revision),
        ("key", key_of(entry.id)),
        ("author_key", key_of(entry.author)),
    ):
        document.add_integer(name, number)
    if entry.expires_at is not None:
        document.add_integer("expires", seconds(entry.expires_at))
    document.add_float("bonus", bonus)
    document.add_bytes("hit", orjson.dumps(_hit(entry)))
    return document


def seconds(moment: datetime) -> int:
    """Return whole seconds since 1970, rounded down."""
    return int(moment.timestamp() // 1)


def _terms(entry: Entry) -> list[tuple[str, str]]:
    terms = [
        ("id", entry.id),
        ("kind", LISTING),
        ("type", str(entry.type)),
        ("remote", str(entry.remote).lower()),
        ("author", entry.author),
        ("title", entry.title),
        ("body", entry.text),
    ]
    terms += [("pay", pay) for pay in entry.terms.pay]
    terms += [("currency", currency) for currency in entry.terms.currencies]
    terms += [("category", category) for category in entry.categories]
    terms += [("category_words", category) for category in entry.categories]
    if entry.place_name is not None:
        terms += [("place", entry.place_name), ("place_words", entry.place_name)]
    if entry.group is not None:
        terms.append(("group", entry.group))
    if entry.language is not None:
        terms.append(("language", entry.language))
    if entry.language in STEMMERS:
        terms += [
            (f"title_{entry.language}", entry.title),
            (f"body_{entry.language}", entry.text),
        ]
    return terms


def _hit(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "type": entry.type,
        "title": entry.title,
        "text": entry.text[:TEXT_KEPT],
        "categories": entry.categories,
        "language": entry.language,
        "image": entry.image,
        "payments": entry.payments,
        "author": entry.author,
        "group": entry.group,
        "place_name": entry.place_name,
        "lat": entry.lat,
        "lon": entry.lon,
        "remote": entry.remote,
        "published": entry.published,
        "confirmed": entry.confirmed,
        "url": entry.url,
    }
