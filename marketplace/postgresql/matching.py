"""The words of a question as one condition on the listings' vectors, and what they are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, combinations
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
from marketplace.query import WINDOW, Query
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
_SHORTEST_BEGINNING: Final = 4
_SHORTEST_END: Final = 5
_SHORTEST_COMPOUND: Final = 8
# Of so many words all but one are asked for where all together find nothing; of more any of so
# many: each adds to what has to be ranked.
_MOST_TOGETHER: Final = 6
_MOST_APART: Final = 10
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
    """One word, found by `lexemes`, itself and its stems, or forgiven; it may not be `needed`.

    `held` listings have it as it was typed, `listings` it or a stem of it, and `forgiving` what
    may be meant. Where `begins`, what begins with one of `typos` is found too; `ends` are what
    ends with the word, in titles.
    """

    token: str
    begins: bool = False
    prefix: bool = False
    needed: bool = False
    lexemes: list[str] = field(default_factory=list)
    held: int = 0
    listings: int = 0
    forgiving: int = 0
    typos: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lexemes or self.forgiven)

    @property
    def exactly(self) -> list[str]:
        return [quoted(lexeme) for lexeme in self.lexemes]

    @property
    def forgiven(self) -> list[str]:
        beginning = [quoted(self.token) + ":*"] if self.prefix else []
        typos = [quoted(typo) + (":*" if self.begins else "") for typo in self.typos]
        return beginning + typos + [quoted(end) + ":A" for end in self.ends]

    @property
    def asked(self) -> str:
        return f"({' | '.join(self.exactly + self.forgiven)})"

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
    """Reads the words of a question against one state of the index.

    A `loose` one, for where all the words find nothing, is content with all but one of them, and
    takes for a word what begins or, in a title, ends with it.
    """

    def __init__(self, connection: Connection, query: Query, *, loose: bool) -> None:
        self._connection = connection
        self._read = read_words(query.q)
        self._loose = loose
        stemmed = map(stemmed_as, query.language or CONFIGURATIONS)
        self._languages = sorted({language for language in stemmed if language is not None})

    def matched(self) -> Matched | None:
        """Return what the words ask for; None where no listing can have them."""
        words, phrases = _divided(self._read, loose=self._loose)
        stems = stems_of(
            self._connection, ((each, word.token) for word in words for each in self._languages)
        )
        excluded = [_tokens(phrase) for phrase in self._read.none_of]
        held = self._held(words, phrases + excluded, stems)
        for word in words:
            self._look_up(word, stems, held)
        self._forgive(words)
        needed = [word for word in words if word.needed]
        asked = _most_of(needed) if self._loose else _all_of(needed)
        if asked is None or not all(tokens and all(map(held.get, tokens)) for tokens in phrases):
            return None
        if len(needed) > _MOST_TOGETHER and self._loose:
            words = _rarest(words, WINDOW)
        listings = self._connection.scalar(select(META.c.listings)) or 0 if held else 0
        worth = {token: _worth(count, listings) for token, count in held.items()}
        return Matched(
            _conditions(asked, phrases, [e for e in excluded if e and all(map(held.get, e))]),
            _asked(words, phrases),
            [(word, _worth(word.listings, listings)) for word in words if word],
            [(tokens, max(worth[token] for token in tokens)) for tokens in phrases],
        )

    def _look_up(self, word: _Word, stems: Stems, held: dict[str, int]) -> None:
        found = (stems.get((language, word.token), ()) for language in self._languages)
        known = [word.token, *(stem for each in found for stem in each)]
        word.lexemes = [lexeme for lexeme in known if held[lexeme]]
        word.held = held[word.token]
        word.listings = sum(held[lexeme] for lexeme in word.lexemes)

    def _forgive(self, words: list[_Word]) -> None:
        """Look for typing errors in words that few listings have, loosely for compounds too."""
        rare = [w for w in words if w.held < RANKING.typos_below and edits_forgiven(w.token)]
        by_token = {word.token: word for word in sorted(rare, key=_rarity)[:MOST_FORGIVEN]}
        if by_token:
            for token, similar, listings in self._connection.execute(similar_words([*by_token])):
                if within_edits(token, similar, edits_forgiven(token)):
                    by_token[token].typos.append(similar)
                    by_token[token].forgiving += listings
        if not self._loose:
            return
        long = [word for word in words if len(word.token) >= _SHORTEST_END]
        by_token = {word.token: word for word in sorted(long, key=_rarity)[:MOST_FORGIVEN]}
        if by_token:
            for token, compound, listings in self._connection.execute(compounds([*by_token])):
                by_token[token].ends.append(compound)
                by_token[token].forgiving += listings

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


def similar_words(tokens: Sequence[str]) -> Select[str, str, int]:
    """Return the query of (a token, a word that may be meant, how many listings have that).

    The most alike by trigrams come first. All tokens are in one query, which the index of trigrams
    answers for each of them.
    """
    edits = [edits_forgiven(token) for token in tokens]
    given = func.unnest(
        bindparam(None, list(tokens), ARRAY(Text)), bindparam(None, edits, ARRAY(Integer))
    )
    typed = given.table_valued("token", "edits").render_derived()
    token, length = cast(typed.c.token, Text), func.length(typed.c.token)
    similar = (
        select(WORD.c.word, WORD.c.listings)
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
    chosen = select(token, similar.c.word, similar.c.listings)
    return chosen.select_from(typed.join(similar, true()))


def compounds(tokens: Sequence[str]) -> Select[str, str, int]:
    """Return the query of (a token, a long word that ends with it, how many titles have that)."""
    given = func.unnest(bindparam(None, list(tokens), ARRAY(Text))).table_valued("token")
    ended = given.render_derived()
    token = cast(ended.c.token, Text)
    ending = (
        select(WORD.c.word, WORD.c.titles)
        .where(
            WORD.c.word.like("%" + token),
            func.length(WORD.c.word) >= _SHORTEST_COMPOUND,
            WORD.c.titles > 0,
            WORD.c.word != token,
            NO_STEM,
        )
        .order_by(WORD.c.titles.desc(), WORD.c.word)
        .limit(RANKING.most_prefixed)
        .lateral("ending")
    )
    chosen = select(token, ending.c.word, ending.c.titles)
    return chosen.select_from(ended.join(ending, true()))


def _divided(read: Words, *, loose: bool) -> tuple[list[_Word], list[list[str]]]:
    """Return the single words, and what must follow each other; loosely only what is quoted.

    Words that most texts of a language hold need not be found where there are others.
    """
    telling = {word for word in read.all_of if not says_little(word.lower())}
    singles: dict[str, _Word] = {}
    phrases = [_tokens(phrase) for phrase in (read.quoted if loose else read.phrases)]
    for number, word in enumerate(read.all_of):
        tokens = _tokens((word,))
        if len(tokens) != 1 and not loose:
            phrases.append(tokens)
            continue
        for token in tokens or [""]:  # of a word that is too long to be one
            single = singles.setdefault(token, _Word(token))
            single.prefix |= bool(token) and read.prefix and number == len(read.all_of) - 1
            single.needed |= not telling or word in telling
    for token in _tokens(tuple(chain.from_iterable(read.joined if loose else ()))):
        singles.setdefault(token, _Word(token)).needed = True
    if loose:
        few = sum(word.needed for word in singles.values()) <= _MOST_TOGETHER
        for single in singles.values():
            long = len(single.token) >= _SHORTEST_BEGINNING
            single.prefix = few and (single.prefix or long)
            single.begins = few
    return list(singles.values()), phrases


def _all_of(words: list[_Word]) -> str | None:
    """Return what asks for all the words, "" for none; None where one is nowhere."""
    return " & ".join(word.asked for word in words) if all(words) else None


def _most_of(words: list[_Word]) -> str | None:
    """Return what asks for all of a few words but one, for any of many; None where none has them.

    Of many, and of two, only so many are asked for as few listings have together.
    """
    known = [word for word in words if word]
    missing = len(words) - len(known)
    if len(words) > _MOST_TOGETHER:
        return _any_of(_rarest(known, WINDOW)) or None
    if missing > 1 or (words and not known):
        return None
    if missing or len(words) < 2:  # noqa: PLR2004 (of one none can be left out)
        return _all_of(known)
    if len(words) == 2:  # noqa: PLR2004 (of two, one is enough)
        return _any_of(_rarest(known, 5 * WINDOW))
    combined = combinations(known, len(known) - 1)
    return " | ".join(f"({_all_of([*each])})" for each in combined)


def _any_of(words: list[_Word]) -> str:
    return " | ".join(word.asked for word in words)


def _rarest(words: list[_Word], most: int) -> list[_Word]:
    """Return the words that fewest listings have, of `most` listings together.

    The first that any listing has is among them, however many have it.
    """
    rarest = sorted((word for word in words if word), key=_rarity)[:_MOST_APART]
    together = accumulate(map(_rarity, rarest))
    return [
        word
        for word, so_far in zip(rarest, together, strict=True)
        if so_far <= most or so_far == _rarity(word)
    ]


def _rarity(word: _Word) -> int:
    return word.listings + word.forgiving


def _conditions(asked: str, phrases: list[list[str]], excluded: list[list[str]]) -> list[Condition]:
    each = [f"({asked})"] if asked else []
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
