"""What somebody who types may mean: words, categories and places of the listings seen now."""

import unicodedata
from typing import Any, Final

import orjson
import tantivy
from tantivy import Occur

from marketplace.categories import categories, names_beginning
from marketplace.embedded.fields import analyser
from marketplace.embedded.matching import Matcher
from marketplace.embedded.snapshot import Snapshot
from marketplace.query import Place, Query, Suggestions

_WORDS: Final = ("title", "category_words", "body")
_MOST_NAMES: Final = 1_000


class Suggester:
    """What begins as was typed, in one snapshot of the index; `now` in seconds since 1970."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self._searcher = snapshot.searcher
        self._schema = snapshot.schema
        self._visible = Matcher(snapshot).counting(Query(), [], now, loose=False)

    def suggestions(self, text: str, most: int) -> Suggestions:
        """Return at most `most` of each kind, the most frequent first."""
        tokens = analyser("words").analyze(unicodedata.normalize("NFC", text))
        if not tokens:
            return Suggestions([], [], [])
        return Suggestions(
            words=self._words(tokens, most),
            categories=self._categories(text, tokens)[:most],
            places=self._places(tokens, most),
        )

    def _words(self, tokens: list[str], most: int) -> list[str]:
        """Return words that the last token begins, where the ones before stand as well."""
        *before, beginning = tokens
        among = self._all(
            self._visible, *(self._any([(name, token) for name in _WORDS]) for token in before)
        )
        found: dict[str, str] = {}
        for name in _WORDS:  # what is in a title is better than what is only in a body
            for term, _ in self._searcher.terms_with_prefix(name, beginning, among, most):
                if term not in found and len(found) < most:
                    found[term] = self._spelt(name, term, among)
        return list(found.values())

    def _spelt(self, name: str, term: str, among: tantivy.Query) -> str:
        """Return an analysed word as a listing writes it, with its accents."""
        hit = self._first(self._all(among, self._any([(name, term)])))
        written = " ".join([hit["title"], *hit["categories"], hit["text"]])
        for token in analyser("words").pre_tokenize(written).tokens:
            if token.text == term:
                return written[token.char_offset_from : token.char_offset_to].lower()
        return term  # it stands in the part of a long text that is not kept

    def _categories(self, text: str, tokens: list[str]) -> list[str]:
        """Return categories by names that begin so: shared ones by the name that was typed."""
        names = {term: name for name, term in names_beginning(text)}
        shared = tantivy.Query.term_set_query(self._schema, "category", list(names))
        own = self._begun("category_words", tokens, self._visible)
        either = tantivy.Query.boolean_query([(Occur.Should, own), (Occur.Should, shared)])
        return [
            names.get(term, term)
            for term in self._values("category", self._all(self._visible, either))
            if term in names or (term not in categories() and _matches(term, tokens))
        ]

    def _places(self, tokens: list[str], most: int) -> list[Place]:
        placed = self._all(self._visible, tantivy.Query.exists_query("lat"))
        begun = self._values("place", self._begun("place_words", tokens, placed))
        names = [name for name in begun if _matches(name, tokens)][:most]
        hits = (self._first(self._all(placed, self._any([("place", name)]))) for name in names)
        return [Place(name, hit["lat"], hit["lon"]) for name, hit in zip(names, hits, strict=True)]

    def _begun(self, words: str, tokens: list[str], listings: tantivy.Query) -> tantivy.Query:
        """Return those of some listings that have all the tokens, the last one as beginning."""
        *before, beginning = tokens
        begun = self._searcher.terms_with_prefix(words, beginning, listings)
        return self._all(
            listings,
            *(self._any([(words, token)]) for token in before),
            tantivy.Query.term_set_query(self._schema, words, [term for term, _ in begun]),
        )

    def _values(self, name: str, among: tantivy.Query) -> list[str]:
        """Return the values of a field among some listings, the most frequent first."""
        plan = {"values": {"terms": {"field": name, "size": _MOST_NAMES}}}
        buckets = self._searcher.aggregate(among, plan)["values"]["buckets"]
        return [bucket["key"] for bucket in buckets]

    def _first(self, asked_for: tantivy.Query) -> dict[str, Any]:
        (_, address), *_ = self._searcher.search(asked_for, 1).hits
        stored = self._searcher.doc(address).get_first("hit")
        hit: dict[str, Any] = orjson.loads(bytes(stored or b""))
        return hit

    def _all(self, *queries: tantivy.Query) -> tantivy.Query:
        return tantivy.Query.boolean_query([(Occur.Must, query) for query in queries])

    def _any(self, terms: list[tuple[str, str]]) -> tantivy.Query:
        return tantivy.Query.boolean_query(
            [
                (Occur.Should, tantivy.Query.term_query(self._schema, name, value))
                for name, value in terms
            ]
        )


def _matches(value: str, asked: list[str]) -> bool:
    *before, beginning = asked
    tokens = analyser("words").analyze(value)
    return set(before) <= set(tokens) and any(token.startswith(beginning) for token in tokens)
