"""The fields of the embedded index, their analysers, and a listing as a document."""

import hashlib
import re
from datetime import datetime
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import tantivy

from commons.remembering import remembered
from marketplace.index import Entry
from marketplace.places import Floats, cells_of
from marketplace.words import separated

# Part of the folder's name: an index of another version is never opened, but built anew.
SCHEMA_VERSION: Final = 4
SAMPLES: Final = 16  # equal parts of the listings, by chance
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
_ASKED: Final = ("id", "kind", "currency", "author", "settles", "sample")
_WORDS: Final = ("title", "category_words", "body", "place_words")
# tantivy has lists of words that say little for these of its languages.
_WITH_STOP_WORDS: Final = (
    "da",
    "de",
    "en",
    "es",
    "fi",
    "fr",
    "hu",
    "it",
    "nb",
    "nl",
    "pt",
    "ru",
    "sv",
)
_LONG_WORD: Final = re.compile(r"[^\W\d_]{8,}")
_LONGEST_WORD: Final = 100
_LONGEST_REMEMBERED: Final = 40
_MOST_WEIGHT: Final = 120.0
_MICRO: Final = 1_000_000
_LON_BITS: Final = 30  # for 360 million millionths of a degree


def schema() -> tantivy.Schema:
    """Return the plan of the index; change SCHEMA_VERSION with it."""
    builder = tantivy.SchemaBuilder()
    for name in _COUNTED:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    for name in _ASKED:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in _WORDS:
        builder.add_text_field(name, tokenizer_name="words")
    for name in ("all", "ends"):
        builder.add_text_field(name, tokenizer_name="words", index_option="basic")
    for language in STEMMERS:
        builder.add_text_field(f"all_{language}", tokenizer_name=language, index_option="basic")
        for name in ("title", "body"):
            builder.add_text_field(
                f"{name}_{language}", tokenizer_name=language, index_option="freq"
            )
    for name in ("lat", "lon", "price", "weight", "prior"):
        builder.add_float_field(name, fast=True)
    for name in ("published", "revision", "key", "author_key", "expires"):
        builder.add_integer_field(name, fast=True)
    builder.add_integer_field("spot", indexed=True, fast=True)
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


@cache
def _without_stop_words(language: str) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.lowercase())
    return builder.filter(tantivy.Filter.stopword(STEMMERS[language])).build()


@remembered(10_000, _LONGEST_REMEMBERED)
def says_little(word: str) -> bool:
    """Tell whether a word is one that most texts of some language hold, as `of` or `des`."""
    return any(not _without_stop_words(name).analyze(word) for name in _WITH_STOP_WORDS)


@remembered(50_000, _LONGEST_REMEMBERED)
def analysed(word: str, name: str) -> str:
    """Return one word as an analyser leaves it; "" where it leaves nothing."""
    return "".join(analyser(name).analyze(word)[:1])


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


def spot_of(lat: float, lon: float) -> int:
    """Return a place to a millionth of a degree as one number, which is read faster than two."""
    return (round(lat * _MICRO) << _LON_BITS) + round(lon * _MICRO)


def places_of(spots: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the latitudes and longitudes of what `spot_of` gave."""
    half = 1 << (_LON_BITS - 1)
    lats = (spots + half) >> _LON_BITS
    return lats / _MICRO, (spots - (lats << _LON_BITS)) / _MICRO


def document_of(entry: Entry, revision: int, weight: float) -> tantivy.Document:
    """Return a listing as a document; `weight` multiplies what its words score."""
    document = tantivy.Document()
    for name, value in _terms(entry):
        document.add_text(name, value)
    if entry.lat is not None and entry.lon is not None:
        document.add_float("lat", entry.lat)
        document.add_float("lon", entry.lon)
        document.add_integer("spot", spot_of(entry.lat, entry.lon))
        for cell in cells_of(entry.lat, entry.lon):
            document.add_text("cell", cell)
    for name, number in (
        ("published", seconds(entry.published)),
        ("revision", revision),
        ("key", key_of(entry.id)),
        ("author_key", key_of(entry.author)),
    ):
        document.add_integer(name, number)
    if entry.expires_at is not None:
        document.add_integer("expires", seconds(entry.expires_at))
    if entry.terms.price is not None:
        document.add_float("price", entry.terms.price)
    document.add_float("weight", weight)
    document.add_float("prior", 2.0 ** float(bounded(np.array(weight))) - 2.0)
    document.add_bytes("hit", orjson.dumps(_hit(entry)))
    return document


def bounded(weights: Floats) -> Floats:
    """Return by what tantivy multiplies scores where it weighs by `prior`: log2(2 + prior).

    That is never below 1, and reckoned in 32 bits; the order goes by the whole weight.
    """
    within: Floats = np.clip(weights, 1.0, _MOST_WEIGHT)
    return within


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
        ("settles", str(entry.terms.settles).lower()),
        ("sample", str(key_of(entry.id) % SAMPLES)),
        ("title", separated(entry.title)),
        ("body", separated(entry.text)),
    ]
    if long_words := _LONG_WORD.findall(entry.title):  # told from behind, to find compounds by
        terms.append(("ends", " ".join(word[::-1] for word in long_words)))
    terms += [("pay", pay) for pay in entry.terms.pay]
    terms += [("currency", currency) for currency in entry.terms.currencies]
    terms += [("category", term) for term in entry.category_terms]
    terms += [("category_words", separated(category)) for category in entry.categories]
    if entry.place_name is not None:
        terms += [("place", entry.place_name), ("place_words", separated(entry.place_name))]
    if entry.group is not None:
        terms.append(("group", entry.group))
    if entry.language is not None:
        terms.append(("language", entry.language))
    if entry.language in STEMMERS:
        for name, text in (("title", entry.title), ("body", entry.text)):
            terms += [(f"{name}_{entry.language}", text), (f"all_{entry.language}", text)]
    # All words once more, without how often and where, to count by and to forgive errors in.
    return terms + [("all", text) for name, text in terms if name in _WORDS]


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
        "pay": entry.terms.pay,
        "category_terms": entry.category_terms,
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
