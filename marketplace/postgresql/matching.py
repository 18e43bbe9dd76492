"""The words of a question as one condition on the listings' vectors, and what they are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log1p
from typing import Any, Final

from sqlalchemy import (
    ColumnCollection,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, REAL, TSQUERY

from marketplace.embedded.fields import STEMMERS, analyser, says_little
from marketplace.embedded.ranking import RANKING
from marketplace.embedded.wording import Asked
from marketplace.postgresql.stems import CONFIGURATIONS, Stems, stemmed_as, stems_of
from marketplace.postgresql.tables import LISTING, META, NO_STEM, WORD, quoted, tokens_of
from marketplace.query import Query
from marketplace.words import Words, edits_forgiven, read_words, within_edits

Columns = ColumnCollection[str, ColumnElement[Any]]
Condition = ColumnElement[bool]
Number = ColumnElement[float]
# Of so many words of a question typing errors are looked for, those that fewest listings have
# first: whoever mistypes more than that finds what has the words as they stand.
MOST_FORGIVEN: Final = 5
# Of two words as far apart as is forgiven, which share at least this part of their trigrams;
# only neighbours swapped within 4 letters leave less.
SIMILAR: Final = 0.2
_MOST_SIMILAR: Final = 1_000  # looked at for all words of a question together
# ts_rank wants at most 1, in the order D, C, B, A.
_WEIGHTS: Final = [
    weight / RANKING.title_weight
    for weight in (
        RANKING.place_weight,
        RANKING.body_weight,
        RANKING.category_weight,
        RANKING.title_weight,
    )
]


@dataclass
class _Word:
    """One word, found by `lexemes`, itself and its stems, or forgiven; it may not be `needed`."""

    token: str
    prefix: bool
    needed: bool
    lexemes: list[str] = field(default_factory=list)
    listings: int = 0
    typos: list[str] = field(default_factory=list)

    @property
    def exactly(self) -> list[str]:
        return [quoted(lexeme) for lexeme in self.lexemes]

    @property
    def forgiven(self) -> list[str]:
        beginning = [quoted(self.token) + ":*"] if self.prefix else []
        return beginning + [quoted(typo) for typo in self.typos]

    def score(self, columns: Columns, worth: float) -> Number:
        """Return what the word gives a listing; a forgiven one as if it stood there once."""
        parts: list[Number] = []
        if self.lexemes:
            parts.append(_rank(columns, self.exactly))
        if forgiven := self.forgiven:
            once = func.least(_rank(columns, forgiven), RANKING.title_weight, type_=Float)
            parts.append(RANKING.inexact_score * once)
        return sum(parts[1:], parts[0]) * worth


@dataclass
class Matched:
    """What the words of a question ask for: conditions, and what to mark in hits."""

    conditions: list[Condition]
    asked: Asked
    words: list[tuple[_Word, float]]
    phrases: list[tuple[list[str], float]]

    def __bool__(self) -> bool:
        return bool(self.words or self.phrases)

    def score(self, columns: Columns) -> Number:
        """Return what the words give a listing, of which `columns` are some; 1 without words."""
        scores = [word.score(columns, worth) for word, worth in self.words]
        scores += [_rank(columns, [_phrase(tokens)]) * worth for tokens, worth in self.phrases]
        return sum(scores[1:], scores[0]) if scores else literal(1.0, Float)


class Matcher:
    """Reads the words of a question against one state of the index."""

    def __init__(self, connection: Connection, query: Query) -> None:
        self._connection = connection
        self._read = read_words(query.q)
        stemmed = map(stemmed_as, query.language or CONFIGURATIONS)
        self._languages = sorted({language for language in stemmed if language is not None})

    def matched(self) -> Matched | None:
        """Return what the words ask for; None where no listing can have them all."""
        words, phrases = _divided(self._read)
        stems = stems_of(
            self._connection, ((each, word.token) for word in words for each in self._languages)
        )
        excluded = [_tokens(phrase) for phrase in self._read.none_of]
        held = self._held(words, phrases + excluded, stems)
        for word in words:
            self._look_up(word, stems, held)
        self._forgive(words)
        if any(word.needed and not (word.lexemes or word.forgiven) for word in words):
            return None
        if not all(tokens and all(held[token] for token in tokens) for tokens in phrases):
            return None
        listings = self._connection.scalar(select(META.c.listings)) or 0 if held else 0
        worth = {token: _worth(count, listings) for token, count in held.items()}
        return Matched(
            _conditions(words, phrases, [e for e in excluded if e and all(map(held.get, e))]),
            _asked(words, phrases),
            [(w, _worth(w.listings, listings)) for w in words if w.lexemes or w.forgiven],
            [(tokens, max(worth[token] for token in tokens)) for tokens in phrases],
        )

    def _look_up(self, word: _Word, stems: Stems, held: dict[str, int]) -> None:
        found = (stems.get((language, word.token), ()) for language in self._languages)
        known = [word.token, *(stem for each in found for stem in each)]
        word.lexemes = [lexeme for lexeme in known if held[lexeme]]
        word.listings = sum(held[lexeme] for lexeme in word.lexemes)

    def _forgive(self, words: list[_Word]) -> None:
        """Look for typing errors in words that few listings have."""
        rare = [w for w in words if w.listings < RANKING.typos_below and edits_forgiven(w.token)]
        rare = sorted(rare, key=lambda word: word.listings)[:MOST_FORGIVEN]
        if not rare:
            return
        by_token = {word.token: word for word in rare}
        for token, similar in self._connection.execute(similar_words(list(by_token))):
            if within_edits(token, similar, edits_forgiven(token)):
                by_token[token].typos.append(similar)

    def _held(
        self, words: Iterable[_Word], phrases: list[list[str]], stems: Stems
    ) -> dict[str, int]:
        """Return in how many listings each word and each stem stands."""
        lexemes = {word.token for word in words} | {token for tokens in phrases for token in tokens}
        lexemes |= {stem for found in stems.values() for stem in found}
        if not lexemes:
            return {}
        # Not `= ANY`, which the index of trigrams would answer, slowly.
        listed = func.unnest(bindparam(None, sorted(lexemes), ARRAY(Text))).table_valued("value")
        asked = select(listed.render_derived().c.value)
        rows = self._connection.execute(
            select(WORD.c.word, WORD.c.listings).where(WORD.c.word.in_(asked))
        )
        return dict.fromkeys(lexemes, 0) | {row.word: row.listings for row in rows}


def similar_words(tokens: Sequence[str]) -> Select[str, str]:
    """Return the query of (a token, a word that may be meant) by trigrams, the most alike first.

    All tokens in one query, which the index of trigrams answers for each of them.
    """
    edits = [edits_forgiven(token) for token in tokens]
    given = func.unnest(
        bindparam(None, list(tokens), ARRAY(Text)), bindparam(None, edits, ARRAY(Integer))
    )
    typed = given.table_valued("token", "edits").render_derived()
    token, length = cast(typed.c.token, Text), func.length(typed.c.token)
    similar = (
        select(WORD.c.word)
        .where(
            WORD.c.word.op("%", is_comparison=True)(token),
            func.length(WORD.c.word).between(length - typed.c.edits, length + typed.c.edits),
            WORD.c.listings > 0,
            WORD.c.word != token,
            NO_STEM,
        )
        .order_by(func.similarity(WORD.c.word, token).desc(), WORD.c.word)
        .limit(_MOST_SIMILAR // len(tokens))
        .lateral("similar")
    )
    return select(token, similar.c.word).select_from(typed.join(similar, true()))


def _divided(read: Words) -> tuple[list[_Word], list[list[str]]]:
    """Return the single words, and what must follow each other.

    Words that most texts of a language hold need not be found where there are others.
    """
    telling = {word for word in read.all_of if not says_little(word.lower())}
    singles: dict[str, _Word] = {}
    phrases: list[list[str]] = []
    for number, word in enumerate(read.all_of):
        tokens = _tokens((word,))
        if len(tokens) != 1:
            phrases.append(tokens)
            continue
        single = singles.setdefault(tokens[0], _Word(tokens[0], prefix=False, needed=False))
        single.prefix |= read.prefix and number == len(read.all_of) - 1
        single.needed |= not telling or word in telling
    return list(singles.values()), phrases + [_tokens(phrase) for phrase in read.phrases]


def _conditions(
    words: list[_Word], phrases: list[list[str]], excluded: list[list[str]]
) -> list[Condition]:
    needed = [word.exactly + word.forgiven for word in words if word.needed]
    each = [f"({' | '.join(any_of)})" for any_of in needed]
    each += [f"({_phrase(tokens)})" for tokens in phrases]
    conditions = [_has(" & ".join(each))] if each else []
    without = " | ".join(f"({_phrase(tokens)})" for tokens in excluded)
    return [*conditions, ~_has(without)] if without else conditions


def _worth(count: int, listings: int) -> float:
    """Return the inverse document frequency as BM25 reckons it."""
    return log1p((max(listings - count, 0) + 0.5) / (count + 0.5))


def _rank(columns: Columns, any_of: list[str]) -> Number:
    """Return the sum of what each of several queries gives, of which ts_rank tells the mean."""
    asked = cast(" | ".join(any_of), TSQUERY)
    weights = cast(bindparam(None, _WEIGHTS, ARRAY(REAL)), ARRAY(REAL))
    mean = func.ts_rank(weights, columns["words"], asked, type_=Float)
    return RANKING.title_weight * len(any_of) * mean


def _has(asked: str) -> Condition:
    return LISTING.c.words.op("@@", is_comparison=True)(cast(asked, TSQUERY))


def _phrase(tokens: list[str]) -> str:
    return " <-> ".join(map(quoted, tokens))


def _tokens(words: tuple[str, ...]) -> list[str]:
    return [token for word in words for token in tokens_of(word)]


def _asked(words: list[_Word], phrases: list[list[str]]) -> Asked:
    """Return the words as excerpts mark them, stemmed as there."""
    asked = Asked(exact={token for tokens in phrases for token in tokens})
    for word in words:
        asked.exact.add(word.token)
        if word.prefix:
            asked.beginnings.add(word.token)
        if word.typos:
            asked.typos.append((word.token, edits_forgiven(word.token)))
        for language in STEMMERS:
            asked.stems.setdefault(language, set()).update(analyser(language).analyze(word.token))
    return asked
