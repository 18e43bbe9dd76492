"""A question as tantivy's query: words forgiven, filters without weight."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import tantivy
from tantivy import Occur

from marketplace.embedded.fields import LISTING, STEMMERS, analyser, seconds
from marketplace.embedded.ranking import RANKING
from marketplace.payment import read_pay
from marketplace.places import circle_cells
from marketplace.query import Query
from marketplace.words import Words, edits_forgiven, read_words

Clauses = list[tuple[Occur, tantivy.Query]]
WEIGHTS = {
    "title": RANKING.title_weight,
    "category_words": RANKING.category_weight,
    "body": RANKING.body_weight,
}


@dataclass
class Asked:
    """The words of a question as they are looked for, kept to mark them in the hits.

    `exact` are analysed words, `stems` by language, `prefix` and `typos` what is forgiven:
    each of `typos` is a word and how many edits.
    """

    exact: set[str] = field(default_factory=set)
    stems: dict[str, set[str]] = field(default_factory=dict)
    prefix: str | None = None
    typos: list[tuple[str, int]] = field(default_factory=list)


class Matcher:
    """Makes queries against one state of the index."""

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema) -> None:
        self._searcher = searcher
        self._schema = schema

    def whole(
        self, query: Query, radius_km: float | None, now: float
    ) -> tuple[tantivy.Query, Asked]:
        """Return what a question asks for, and the words that it asks.

        Within `radius_km` of `near` the answer holds all that lies there and a little more.
        """
        asked = Asked()
        words = read_words(query.q)
        clauses = self._words(words, self._languages(query), asked)
        clauses += [
            (Occur.Must, tantivy.Query.const_score_query(part, 0.0))
            for part in self._filters(query, radius_km)
        ]
        if not any(occur == Occur.Must for occur, _ in clauses):
            everything = self._term("kind", LISTING)
            clauses.append((Occur.Must, tantivy.Query.const_score_query(everything, 0.0)))
        clauses.append((Occur.MustNot, self._expired(now)))
        return tantivy.Query.boolean_query(clauses), asked

    def without(self, query: tantivy.Query, keys: list[int]) -> tantivy.Query:
        """Return a query less the listings of some keys."""
        if not keys:
            return query
        outside = tantivy.Query.term_set_query(self._schema, "key", keys)
        return tantivy.Query.boolean_query([(Occur.Must, query), (Occur.MustNot, outside)])

    def _expired(self, now: float) -> tantivy.Query:
        # By the inverted index: few terms lie before now, and no column has to be read.
        return tantivy.Query.range_query(
            self._schema,
            "expires",
            tantivy.FieldType.Integer,
            upper_bound=int(now),
            use_inverted_index=True,
        )

    def _filters(self, query: Query, radius_km: float | None) -> list[tantivy.Query]:
        filters = [
            tantivy.Query.term_set_query(self._schema, name, list(values))
            for name in ("category", "language", "group", "author")
            if (values := getattr(query, name))
        ]
        if query.type is not None:
            filters.append(self._term("type", str(query.type)))
        if query.remote is not None:
            filters.append(self._term("remote", str(query.remote).lower()))
        if query.pay:
            filters.append(self._pay(query.pay))
        if query.since is not None:
            filters.append(
                tantivy.Query.range_query(
                    self._schema,
                    "published",
                    tantivy.FieldType.Integer,
                    lower_bound=seconds(query.since),
                )
            )
        if query.near is not None and radius_km is not None:
            _, cells = circle_cells(*query.near, radius_km)
            filters.append(tantivy.Query.term_set_query(self._schema, "cell", cells))
        if query.bbox is not None:
            filters.append(self._box(*query.bbox))
        return filters

    def _pay(self, values: Iterable[str]) -> tantivy.Query:
        terms = [read_pay(value) for value in values]
        currencies = [t.removeprefix("currency:") for t in terms if t.startswith("currency:")]
        means = [term for term in terms if not term.startswith("currency:")]
        return _any_of(
            tantivy.Query.term_set_query(self._schema, name, chosen)
            for name, chosen in (("pay", means), ("currency", currencies))
            if chosen
        )

    def _box(self, west: float, south: float, east: float, north: float) -> tantivy.Query:
        lat = self._between("lat", south, north)
        if west <= east:
            lon = self._between("lon", west, east)
        else:  # over the antimeridian
            lon = _any_of([self._between("lon", west, 180.0), self._between("lon", -180.0, east)])
        return tantivy.Query.boolean_query([(Occur.Must, lat), (Occur.Must, lon)])

    def _between(self, name: str, low: float, high: float) -> tantivy.Query:
        return tantivy.Query.range_query(
            self._schema, name, tantivy.FieldType.Float, lower_bound=low, upper_bound=high
        )

    def _languages(self, query: Query) -> list[str]:
        return [
            language
            for language in (query.language or STEMMERS)
            if language in STEMMERS and self._searcher.doc_freq("language", language)
        ]

    def _words(self, words: Words, languages: list[str], asked: Asked) -> Clauses:
        clauses: Clauses = []
        for number, word in enumerate(words.all_of):
            tokens = analyser("words").analyze(word)
            if len(tokens) == 1:
                prefix = words.prefix and number == len(words.all_of) - 1
                part = self._word(tokens[0], word, languages, asked, prefix=prefix)
                clauses.append((Occur.Must, part))
            else:
                clauses.append((Occur.Must, self._phrase((word,), asked)))
        clauses += [(Occur.Must, self._phrase(phrase, asked)) for phrase in words.phrases]
        clauses += [(Occur.MustNot, self._phrase(phrase, Asked())) for phrase in words.none_of]
        return clauses

    def _word(
        self, token: str, word: str, languages: list[str], asked: Asked, *, prefix: bool
    ) -> tantivy.Query:
        asked.exact.add(token)
        parts = [
            tantivy.Query.boost_query(self._term(name, token), weight)
            for name, weight in WEIGHTS.items()
        ]
        found = sum(self._searcher.doc_freq(name, token) for name in WEIGHTS)
        for language in languages:
            for stem in analyser(language).analyze(word):
                asked.stems.setdefault(language, set()).add(stem)
                for name in ("title", "body"):
                    stemmed = f"{name}_{language}"
                    if count := self._searcher.doc_freq(stemmed, stem):
                        found += count
                        part = self._term(stemmed, stem)
                        parts.append(tantivy.Query.boost_query(part, WEIGHTS[name]))
        if prefix:
            asked.prefix = token
            parts += self._prefixed(token)
        if found < RANKING.typos_below and (edits := edits_forgiven(token)):
            asked.typos.append((token, edits))
            parts += self._mistyped(token, edits)
        return _any_of(parts)

    def _prefixed(self, token: str) -> list[tantivy.Query]:
        parts = []
        for name, weight in WEIGHTS.items():
            found = self._searcher.terms_with_prefix(name, token, limit=RANKING.most_prefixed)
            if words := [word for word, _ in found if word != token]:
                part = tantivy.Query.term_set_query(self._schema, name, words)
                parts.append(_inexact(part, weight))
        return parts

    def _mistyped(self, token: str, edits: int) -> list[tantivy.Query]:
        return [
            _inexact(
                tantivy.Query.fuzzy_term_query(self._schema, name, token, distance=edits), weight
            )
            for name, weight in WEIGHTS.items()
        ]

    def _phrase(self, phrase: tuple[str, ...], asked: Asked) -> tantivy.Query:
        tokens = [token for word in phrase for token in analyser("words").analyze(word)]
        asked.exact.update(tokens)
        if not tokens:
            return tantivy.Query.empty_query()
        return _any_of(
            tantivy.Query.boost_query(
                self._term(name, tokens[0])
                if len(tokens) == 1
                else tantivy.Query.phrase_query(self._schema, name, list(tokens)),
                weight,
            )
            for name, weight in WEIGHTS.items()
        )

    def _term(self, name: str, value: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, name, value)


def _inexact(query: tantivy.Query, weight: float) -> tantivy.Query:
    return tantivy.Query.const_score_query(query, RANKING.inexact_score * weight)


def _any_of(queries: Iterable[tantivy.Query]) -> tantivy.Query:
    return tantivy.Query.boolean_query([(Occur.Should, query) for query in queries])
