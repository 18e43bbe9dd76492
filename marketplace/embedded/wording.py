"""The words of a question as tantivy's query: typing errors, stems and beginnings forgiven."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import tantivy
from tantivy import Occur

from marketplace.embedded.fields import analysed, analyser, says_little
from marketplace.embedded.ranking import RANKING
from marketplace.embedded.snapshot import Snapshot
from marketplace.words import Words, edits_forgiven

Clauses = list[tuple[Occur, tantivy.Query]]
WEIGHTS: Final = {
    "title": RANKING.title_weight,
    "category_words": RANKING.category_weight,
    "body": RANKING.body_weight,
    "place_words": RANKING.place_weight,
}
_STEMMED: Final = {name: WEIGHTS[name] for name in ("title", "body")}
# What is forgiven is looked for in two fields of which the titles are in both.
_INEXACT: Final = {"all": WEIGHTS["body"], "title": WEIGHTS["title"] - WEIGHTS["body"]}
_MATCHED: Final = {"all": 1.0}
_SHORTEST_BEGINNING: Final = 4
_SHORTEST_END: Final = 5
_MOST_TOGETHER: Final = 6


@dataclass
class Asked:
    """The words of a question as they are looked for, kept to mark them in the hits.

    `exact` are analysed words, `runs` such words that follow each other, `stems` by language,
    `beginnings` and `typos` what is forgiven: each of `typos` is a word and how many edits. `seen`
    is what was found of words in the hits before, by language.
    """

    exact: set[str] = field(default_factory=set)
    runs: set[tuple[str, ...]] = field(default_factory=set)
    stems: dict[str, set[str]] = field(default_factory=dict)
    beginnings: set[str] = field(default_factory=set)
    typos: list[tuple[str, int]] = field(default_factory=list)
    seen: dict[str, dict[str, bool]] = field(default_factory=dict)


class Wording:
    """Makes the part of a query that asks for words.

    A `scored` one asks each field for what it weighs, another only whether a listing matches at
    all, which is sooner told. A `loose` one, for where all the words find nothing, is content with
    all but one of them, and takes for a word what begins or, in a title, ends with it or is
    stemmed like it but for a typing error.
    """

    def __init__(
        self, snapshot: Snapshot, languages: list[str], *, loose: bool, scored: bool
    ) -> None:
        self.asked = Asked()
        self._searcher = snapshot.searcher
        self._schema = snapshot.schema
        self._languages = languages
        self._loose = loose
        self._exact = WEIGHTS if scored else _MATCHED
        self._stemmed_in = _STEMMED if scored else _MATCHED
        self._inexact = _INEXACT if scored else _MATCHED

    def clauses(self, words: Words) -> Clauses:
        """Return what must, should and must not be matched."""
        telling = [word for word in words.all_of if not says_little(word.lower())]
        required: list[tantivy.Query] = []
        clauses: Clauses = []
        for number, word in enumerate(words.all_of):
            prefix = words.prefix and number == len(words.all_of) - 1
            part = self._word(word, prefix=prefix)
            if telling and word not in telling:
                clauses.append((Occur.Should, part))
            else:
                required.append(part)
        if self._loose:
            required += [self._word(word, prefix=False) for run in words.joined for word in run]
            required = _all_but_one(required)
        else:
            required += [self._phrase(run) for run in words.joined]
        required += [self._phrase(phrase) for phrase in words.quoted]
        clauses += [(Occur.Must, part) for part in required]
        marked, self.asked = self.asked, Asked()  # what must not be there is not marked
        clauses += [(Occur.MustNot, self._phrase(phrase)) for phrase in words.none_of]
        self.asked = marked
        return clauses

    def _word(self, word: str, *, prefix: bool) -> tantivy.Query:
        tokens = analyser("words").analyze(word)
        if len(tokens) != 1:
            return self._phrase((word,))
        (token,) = tokens
        self.asked.exact.add(token)
        parts = [boosted(self._term(name, token), weight) for name, weight in self._exact.items()]
        parts += self._stemmed(word)
        if prefix or (self._loose and len(token) >= _SHORTEST_BEGINNING):
            self.asked.beginnings.add(token)
            parts += self._begun(token)
        if self._loose and len(token) >= _SHORTEST_END:
            parts += self._ended(token)
        known = self._searcher.doc_freq("all", token)
        if known < RANKING.typos_below and (edits := edits_forgiven(token)):
            self.asked.typos.append((token, edits))
            parts += self._mistyped(token, edits)
            if self._loose:
                parts += self._mistyped_stems(word)
        return any_of(parts)

    def _stemmed(self, word: str) -> list[tantivy.Query]:
        parts = []
        for language in self._languages:
            stem = analysed(word, language)
            self.asked.stems.setdefault(language, set()).add(stem)
            if not self._searcher.doc_freq(f"all_{language}", stem):
                continue
            for name, weight in self._stemmed_in.items():
                parts.append(boosted(self._term(f"{name}_{language}", stem), weight))
        return parts

    def _begun(self, token: str) -> list[tantivy.Query]:
        parts = []
        for name, weight in self._inexact.items():
            found = self._searcher.terms_with_prefix(name, token, limit=RANKING.most_prefixed)
            if words := [word for word, _ in found if word != token]:
                part = tantivy.Query.term_set_query(self._schema, name, words)
                parts.append(_inexact(part, weight))
        return parts

    def _ended(self, token: str) -> list[tantivy.Query]:
        most = RANKING.most_prefixed
        ends = [end for end, _ in self._searcher.terms_with_prefix("ends", token[::-1], limit=most)]
        part = tantivy.Query.term_set_query(self._schema, "ends", ends)
        return [_inexact(part, WEIGHTS["title"])] if ends else []

    def _mistyped(self, token: str, edits: int) -> list[tantivy.Query]:
        """Return words that are `edits` away; asked loosely, what begins with such a word."""
        return [
            _inexact(
                tantivy.Query.fuzzy_term_query(
                    self._schema, name, token, distance=edits, prefix=self._loose
                ),
                weight,
            )
            for name, weight in self._inexact.items()
        ]

    def _mistyped_stems(self, word: str) -> list[tantivy.Query]:
        return [
            _inexact(
                tantivy.Query.fuzzy_term_query(self._schema, f"title_{language}", stem),
                WEIGHTS["title"],
            )
            for language in self._languages
            if len(stem := analysed(word, language)) >= _SHORTEST_BEGINNING
        ]

    def _phrase(self, phrase: tuple[str, ...]) -> tantivy.Query:
        tokens = [token for word in phrase for token in analyser("words").analyze(word)]
        if not tokens:
            return tantivy.Query.empty_query()
        self.asked.runs.add(tuple(tokens))
        return any_of(
            boosted(
                self._term(name, tokens[0])
                if len(tokens) == 1
                else tantivy.Query.phrase_query(self._schema, name, list(tokens)),
                weight,
            )
            for name, weight in WEIGHTS.items()
        )

    def _term(self, name: str, value: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, name, value)


def any_of(queries: Iterable[tantivy.Query]) -> tantivy.Query:
    """Return a query for what any of `queries` matches."""
    return tantivy.Query.boolean_query([(Occur.Should, query) for query in queries])


def boosted(query: tantivy.Query, weight: float) -> tantivy.Query:
    """Return a query that scores `weight` times as much."""
    return tantivy.Query.boost_query(query, weight)


def _all_but_one(parts: list[tantivy.Query]) -> list[tantivy.Query]:
    """Return what must be matched so that one of a few parts may be missing, or most of many."""
    if len(parts) < 2:  # noqa: PLR2004 (of one none can be left out)
        return parts
    if len(parts) > _MOST_TOGETHER:
        return [any_of(parts)]
    return [
        any_of(
            tantivy.Query.boolean_query(
                [(Occur.Must, part) for other, part in enumerate(parts) if other != left_out]
            )
            for left_out in range(len(parts))
        )
    ]


def _inexact(query: tantivy.Query, weight: float) -> tantivy.Query:
    return tantivy.Query.const_score_query(query, RANKING.inexact_score * weight)
