"""The words of a question as conditions on the listings' vectors, and what each is worth."""

from dataclasses import dataclass, field
from math import log1p
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    TableValuedAlias,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, REAL, REGCONFIG, TSQUERY

from marketplace.embedded.fields import STEMMERS, analyser
from marketplace.embedded.matching import Asked
from marketplace.embedded.ranking import RANKING
from marketplace.postgresql.tables import CONFIGURATIONS, LISTING, META, WORD, quoted
from marketplace.query import Query
from marketplace.words import edits_forgiven, read_words, within_edits

Condition = ColumnElement[bool]
Number = ColumnElement[float]
# Of two words as far apart as is forgiven, which share at least this part of their trigrams;
# only neighbours swapped within 4 letters leave less.
_SIMILAR: Final = 0.2
_MOST_SIMILAR: Final = 500
_MOST_FORGIVEN: Final = 10  # words of a question
# ts_rank wants at most 1, in the order D, C, B, A.
_WEIGHTS: Final = [
    weight / RANKING.title_weight
    for weight in (0.0, RANKING.body_weight, RANKING.category_weight, RANKING.title_weight)
]


@dataclass
class _Word:
    """One word that must be found: as it is, by its stems, or forgiven."""

    token: str
    prefix: bool
    stems: dict[str, list[str]]
    typos: list[str] = field(default_factory=list)

    def exactly(self) -> Condition:
        """Return the condition that the word itself or its stem is there."""
        return or_(_has(quoted(self.token)), *(_has_stem(*pair) for pair in self.stems.items()))

    def forgiven(self) -> str:
        """Return what is taken in its place, as a tsquery; empty where nothing is."""
        parts = [quoted(self.token) + ":*"] if self.prefix else []
        return " | ".join(parts + [quoted(typo) for typo in self.typos])


@dataclass
class Matched:
    """What the words of a question ask for: conditions, the score, and what to mark in hits."""

    conditions: list[Condition]
    score: Number
    asked: Asked


class Matcher:
    """Reads the words of a question against one state of the index."""

    def __init__(self, connection: Connection, query: Query) -> None:
        self._connection = connection
        self._read = read_words(query.q)
        languages = query.language or tuple(CONFIGURATIONS)
        self._configurations = sorted(
            {CONFIGURATIONS[name] for name in languages if name in CONFIGURATIONS}
        )

    def matched(self) -> Matched:
        """Return the conditions and the score of the question's words."""
        read = self._read
        all_of = [_tokens((word,)) for word in read.all_of]
        last = len(all_of) - 1 if read.prefix else -1
        single = [(tokens[0], i == last) for i, tokens in enumerate(all_of) if len(tokens) == 1]
        phrases = [tokens for tokens in all_of if len(tokens) != 1]
        phrases += [_tokens(phrase) for phrase in read.phrases]
        single = sorted(single, key=lambda pair: pair[1])  # of the same word the last may go on
        prefixes = dict(single)
        stems = self._stems(list(prefixes))
        words = [_Word(token, prefix, stems.get(token, {})) for token, prefix in prefixes.items()]
        held = self._held([w.token for w in words] + [t for tokens in phrases for t in tokens])
        possible = self._forgive([w for w in words if held[w.token] < RANKING.typos_below])
        worth = self._worth(held)
        conditions = [self._found(word) for word in words] if possible else [false()]
        conditions += [_has(_phrase(tokens)) if tokens else false() for tokens in phrases]
        excluded = (_tokens(phrase) for phrase in read.none_of)
        conditions += [~_has(_phrase(tokens)) for tokens in excluded if tokens]
        scores = [_score_of(word, worth[word.token]) for word in words]
        scores += [
            _rank(LISTING.c.words, _phrase(tokens)) * max(worth[token] for token in tokens)
            for tokens in phrases
            if tokens
        ]
        score = sum(scores[1:], scores[0]) if scores else literal(1.0, Float)
        return Matched(conditions, score, _asked(words, phrases))

    def _found(self, word: _Word) -> Condition:
        forgiven = word.forgiven()
        return or_(word.exactly(), _has(forgiven)) if forgiven else word.exactly()

    def _stems(self, tokens: list[str]) -> dict[str, dict[str, list[str]]]:
        """Return for each word its stems, and for each the configurations that give it."""
        if not tokens:
            return {}
        named, words = _listed(self._configurations), _listed(sorted({*tokens}))
        word = words.c.value
        stem = cast(func.plainto_tsquery(cast(named.c.value, REGCONFIG), word), Text)
        rows = self._connection.execute(
            select(word, stem, func.array_agg(named.c.value))
            .select_from(words.join(named, true()))
            .where(stem != "")
            .group_by(word, stem)
        )
        stems: dict[str, dict[str, list[str]]] = {}
        for token, found, configurations in rows:
            stems.setdefault(token, {})[found] = configurations
        return stems

    def _forgive(self, words: list[_Word]) -> bool:
        """Look for typing errors in words that few listings have; False where one has no form."""
        long = [word for word in words if edits_forgiven(word.token)][:_MOST_FORGIVEN]
        if not long:
            return True
        counts = [
            select(func.count())
            .select_from(
                select(LISTING.c.id).where(word.exactly()).limit(RANKING.typos_below).subquery()
            )
            .scalar_subquery()
            for word in long
        ]
        self._connection.execute(
            select(func.set_config("pg_trgm.similarity_threshold", str(_SIMILAR), True))  # noqa: FBT003 (for this transaction only)
        )
        found = self._connection.execute(select(*counts)).one()
        for word, count in zip(long, found, strict=True):
            if count < RANKING.typos_below:
                word.typos = self._mistyped(word.token)
                if not (count or word.prefix or word.typos):
                    return False  # no listing has this word, so none has them all
        return True

    def _mistyped(self, token: str) -> list[str]:
        edits = edits_forgiven(token)
        similar = self._connection.scalars(
            select(WORD.c.word)
            .where(
                WORD.c.word.op("%")(token),
                func.length(WORD.c.word).between(len(token) - edits, len(token) + edits),
                WORD.c.listings > 0,
                WORD.c.word != token,
            )
            .order_by(func.similarity(WORD.c.word, token).desc(), WORD.c.word)
            .limit(_MOST_SIMILAR)
        )
        return [word for word in similar if within_edits(token, word, edits)]

    def _held(self, tokens: list[str]) -> dict[str, int]:
        """Return in how many listings each word stands as it is."""
        # Not `= ANY`, which the index of trigrams would answer, slowly.
        asked = select(_listed(tokens).c.value)
        rows = self._connection.execute(
            select(WORD.c.word, WORD.c.listings).where(WORD.c.word.in_(asked))
        )
        return dict.fromkeys(tokens, 0) | {row.word: row.listings for row in rows}

    def _worth(self, held: dict[str, int]) -> dict[str, float]:
        """Return the inverse document frequency of each word, as BM25 reckons it."""
        if not held:
            return {}
        listings = self._connection.scalar(select(META.c.listings)) or 0
        return {
            token: log1p((max(listings - count, 0) + 0.5) / (count + 0.5))
            for token, count in held.items()
        }


def _score_of(word: _Word, worth: float) -> Number:
    score = _rank(LISTING.c.words, quoted(word.token))
    for stem, configurations in word.stems.items():
        of_these = _among(LISTING.c.configuration, configurations)
        score += case((of_these, _rank(LISTING.c.stems, stem)), else_=0.0)
    if forgiven := word.forgiven():
        score += RANKING.inexact_score * _rank(LISTING.c.words, forgiven)
    return score * worth


def _rank(vector: ColumnElement[Any], asked: str) -> Number:
    weights = bindparam(None, _WEIGHTS, ARRAY(REAL))
    rank = func.ts_rank(cast(weights, ARRAY(REAL)), vector, cast(asked, TSQUERY), type_=Float)
    return RANKING.title_weight * rank


def _has(asked: str) -> Condition:
    return LISTING.c.words.op("@@", is_comparison=True)(cast(asked, TSQUERY))


def _has_stem(stem: str, configurations: list[str]) -> Condition:
    of_these = _among(LISTING.c.configuration, configurations)
    return and_(LISTING.c.stems.op("@@", is_comparison=True)(cast(stem, TSQUERY)), of_these)


def _among(column: ColumnElement[Any], values: list[str]) -> Condition:
    return column == any_(bindparam(None, values, ARRAY(Text)))


def _listed(values: list[str]) -> TableValuedAlias:
    listed = func.unnest(bindparam(None, values, ARRAY(Text))).table_valued("value")
    return listed.render_derived()


def _phrase(tokens: list[str]) -> str:
    return " <-> ".join(map(quoted, tokens))


def _tokens(words: tuple[str, ...]) -> list[str]:
    return [token for word in words for token in analyser("words").analyze(word)]


def _asked(words: list[_Word], phrases: list[list[str]]) -> Asked:
    """Return the words as excerpts mark them, stemmed as there."""
    asked = Asked(exact={token for tokens in phrases for token in tokens})
    for word in words:
        asked.exact.add(word.token)
        if word.prefix:
            asked.prefix = word.token
        if word.typos:
            asked.typos.append((word.token, edits_forgiven(word.token)))
        for language in STEMMERS:
            asked.stems.setdefault(language, set()).update(analyser(language).analyze(word.token))
    return asked
