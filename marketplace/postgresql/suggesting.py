"""What somebody who types may mean: words, categories and places of the listings seen now."""

import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, and_, cast, exists, func, or_, select
from sqlalchemy.dialects.postgresql import TSQUERY, array

from marketplace.categories import categories, names_beginning
from marketplace.embedded.fields import analyser
from marketplace.postgresql.tables import CATEGORY, HIT, LISTING, WORD, quoted, seen, tokens_of
from marketplace.query import Place, Suggestions

_MOST_TRIED: Final = 50
_MOST_BEFORE: Final = 5


class Suggester:
    """What begins as was typed, in one snapshot of the index; `now` in seconds since 1970."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._seen = seen(now)

    def suggestions(self, text: str, most: int) -> Suggestions:
        """Return at most `most` of each kind, the most frequent first."""
        tokens = tokens_of(unicodedata.normalize("NFC", text))
        if not tokens:
            return Suggestions([], [], [])
        *before, beginning = tokens
        tokens = [*list(dict.fromkeys(before))[-_MOST_BEFORE:], beginning]
        return Suggestions(
            words=self._words(tokens, most),
            categories=self._categories(text, tokens, most),
            places=self._places(tokens, most),
        )

    def _words(self, tokens: list[str], most: int) -> list[str]:
        """Return words that the last token begins, where the ones before stand as well.

        What is in a title is better than what is in a category, and that than what is in a body.
        """
        *before, beginning = tokens
        frequent = (
            select(WORD.c.word, WORD.c.listings, WORD.c.titles > 0, WORD.c.categories > 0)
            .where(
                WORD.c.word.like(beginning + "%"),
                or_(WORD.c.titles > 0, WORD.c.categories > 0, WORD.c.bodies > 0),
            )
            .order_by(WORD.c.listings.desc(), WORD.c.word)
            .limit(_MOST_TRIED)
        )
        begun = sorted(
            self._connection.execute(frequent).all(),
            key=lambda row: (not row[2], not row[3], -row[1], row[0]),
        )
        found: list[str] = []
        if before and not self._spelt(before[0], before[1:]):
            return found  # not even these stand together
        for word, *_ in begun:
            if len(found) == most:
                break
            if spelt := self._spelt(word, before):
                found.append(spelt)
        return found

    def _spelt(self, word: str, before: list[str]) -> str | None:
        """Return a word as a listing writes it, with its accents; None where none is seen."""
        asked = _all(f"{quoted(each)}:ABC" for each in (*before, word))
        stored = self._connection.scalar(
            select(HIT.c.hit)
            .join(LISTING, LISTING.c.id == HIT.c.id)
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

    def _categories(self, text: str, tokens: list[str], most: int) -> list[str]:
        """Return categories by names that begin so: shared ones by the name that was typed."""
        names = {term: name for name, term in names_beginning(text)}
        *before, beginning = tokens
        asked = _all([*map(quoted, before), f"{quoted(beginning)}:*"])
        own = and_(
            CATEGORY.c.words.op("@@", is_comparison=True)(asked),
            CATEGORY.c.term.not_in(list(categories())),
        )
        frequent = (
            select(CATEGORY.c.term, CATEGORY.c.listings)
            .where(CATEGORY.c.listings > 0, or_(CATEGORY.c.term.in_(list(names)), own))
            .order_by(CATEGORY.c.listings.desc(), CATEGORY.c.term)
            .limit(_MOST_TRIED)
            .subquery()
        )
        is_seen = exists().where(self._seen, LISTING.c.category.contains(array([frequent.c.term])))
        terms = self._connection.scalars(
            select(frequent.c.term)
            .where(is_seen)
            .order_by(frequent.c.listings.desc(), frequent.c.term)
            .limit(most)
        )
        return [names.get(term, term) for term in terms]

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
