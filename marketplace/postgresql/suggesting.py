"""What somebody who types may mean: words, categories and places of the listings seen now."""

import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, cast, func, select
from sqlalchemy.dialects.postgresql import TSQUERY, array

from marketplace.embedded.fields import analyser
from marketplace.postgresql.tables import LISTING, WORD, quoted, seen
from marketplace.query import Place, Suggestions

_MOST_TRIED: Final = 50
_MOST_NAMES: Final = 1_000


class Suggester:
    """What begins as was typed, in one snapshot of the index; `now` in seconds since 1970."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._seen = seen(now)

    def suggestions(self, text: str, most: int) -> Suggestions:
        """Return at most `most` of each kind, the most frequent first."""
        tokens = analyser("words").analyze(unicodedata.normalize("NFC", text))
        if not tokens:
            return Suggestions([], [], [])
        return Suggestions(
            words=self._words(tokens, most),
            categories=self._categories(tokens, most),
            places=self._places(tokens, most),
        )

    def _words(self, tokens: list[str], most: int) -> list[str]:
        """Return words that the last token begins, where the ones before stand as well."""
        *before, beginning = tokens
        begun = self._connection.scalars(
            select(WORD.c.word)
            .where(WORD.c.word.like(beginning + "%"), WORD.c.listings > 0)
            .order_by(WORD.c.listings.desc(), WORD.c.word)
            .limit(_MOST_TRIED)
        ).all()
        found: dict[str, str] = {}
        for weight in ("A", "B", "C"):  # what is in a title is better than what is in a body
            for word in begun:
                if len(found) == most:
                    break
                if word not in found and (spelt := self._spelt(word, weight, before)):
                    found[word] = spelt
        return list(found.values())

    def _spelt(self, word: str, weight: str, before: list[str]) -> str | None:
        """Return a word as a listing writes it, with its accents; None where none is seen."""
        asked = _all([*map(quoted, before), f"{quoted(word)}:{weight}"])
        stored = self._connection.scalar(
            select(LISTING.c.hit)
            .where(self._seen, LISTING.c.words.op("@@", is_comparison=True)(asked))
            .limit(1)
        )
        if stored is None:
            return None
        hit: dict[str, Any] = orjson.loads(bytes(stored))
        written = " ".join([hit["title"], *hit["categories"], hit["text"]])
        for token in analyser("words").pre_tokenize(written).tokens:
            if token.text == word:
                return written[token.char_offset_from : token.char_offset_to].lower()
        return word  # it stands in the part of a long text that is not kept

    def _categories(self, tokens: list[str], most: int) -> list[str]:
        *before, beginning = tokens
        asked = _all([*(f"{quoted(t)}:B" for t in before), f"{quoted(beginning)}:*B"])
        each = (
            select(func.unnest(LISTING.c.category).label("name"))
            .where(self._seen, LISTING.c.words.op("@@", is_comparison=True)(asked))
            .subquery()
        )
        names = self._connection.scalars(
            select(each.c.name)
            .group_by(each.c.name)
            .order_by(func.count().desc(), each.c.name)
            .limit(_MOST_NAMES)
        )
        return [name for name in names if _fits(name, before, beginning)][:most]

    def _places(self, tokens: list[str], most: int) -> list[Place]:
        *before, beginning = tokens
        asked = _all([*map(quoted, before), f"{quoted(beginning)}:*"])
        position = func.min(array([LISTING.c.lat, LISTING.c.lon]))
        rows = self._connection.execute(
            select(LISTING.c.place, position)
            .where(
                self._seen,
                LISTING.c.place_words.op("@@", is_comparison=True)(asked),
                LISTING.c.lat.is_not(None),
            )
            .group_by(LISTING.c.place)
            .order_by(func.count().desc(), LISTING.c.place)
            .limit(most)
        )
        return [Place(name, lat, lon) for name, (lat, lon) in rows]


def _all(parts: Iterable[str]) -> ColumnElement[str]:
    return cast(" & ".join(parts), TSQUERY)


def _fits(name: str, before: list[str], beginning: str) -> bool:
    tokens = analyser("words").analyze(name)
    return {*before} <= {*tokens} and any(token.startswith(beginning) for token in tokens)
