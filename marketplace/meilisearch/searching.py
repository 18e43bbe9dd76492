"""One search in Meilisearch: candidates and counts, their order, the hits of one page."""

from collections import Counter
from dataclasses import replace
from typing import Any, Final

import numpy as np

from commons.errors import UnavailableError
from marketplace.embedded.ranking import (
    RANKING,
    Floats,
    Order,
    nearness,
    order_by,
    page_of,
    score_of,
)
from marketplace.meilisearch.documents import MARK_END, MARK_START, hit_of, value_of
from marketplace.meilisearch.excerpts import excerpt_of
from marketplace.meilisearch.filters import any_of, filter_of, sort_of, words_of
from marketplace.meilisearch.plan import CELLS, FACETS
from marketplace.meilisearch.server import Server, answering, is_missing, read
from marketplace.places import haversine_km, rounded_km
from marketplace.query import WINDOW, Hit, Page, Query, Score, Sort
from marketplace.words import read_words

_RANKED_BY: Final = ["id", "author", "published", "weight", "_geo"]
_SHOWN: Final = ["id", "title", "categories", "hit"]
_MOST_OF_A_FACET: Final = 50
_WEIGHTS: Final = ("distance_half_km", "freshness_half_days", "image_bonus", "price_bonus")

Document = dict[str, Any]


def answer(server: Server, uid: str, query: Query, now: float) -> Page:
    """Return a page, of what has most of the words where nothing has all; `now` in seconds.

    Most of the words are the first ones: Meilisearch leaves out the last, then the one before, down
    to the first, or to a phrase, where the other indexes leave out any one. Quotes and exclusions
    stay. It takes only the last word for a beginning, and none for the end of a longer one.
    """
    page = Search(server, uid, query, now).page()
    if page.total or not read_words(query.q):
        return page
    loosened = Search(server, uid, query, now, loose=True).page()
    return replace(loosened, loosened=True) if loosened.total else page


def cells(server: Server, uid: str, query: Query, now: float, resolution: int) -> dict[str, int]:
    """Count what `answer` finds in each H3 cell of a resolution."""
    found, counts = Search(server, uid, query, now).cells(resolution)
    if not found and read_words(query.q):
        _, counts = Search(server, uid, query, now, loose=True).cells(resolution)
    return counts


class Search:
    """A question put to the index `uid`; `now` in seconds since 1970.

    Where words are asked for, the thousand that Meilisearch finds best by its own rules are ranked
    by everything; what lies behind them keeps its place. It scores how well a listing matches and
    not how rare its words are, takes in only the first ten words and phrases, does not stem, and
    counts a wrong first letter as two typing errors. Without words the thousand nearest are ranked
    so. Where neither is asked for, and by `newest` and `distance`, the order is that of all.
    """

    def __init__(
        self, server: Server, uid: str, query: Query, now: float, *, loose: bool = False
    ) -> None:
        self._index = server.reads.index(uid)
        self._query = query
        self._now = now
        words = read_words(query.q)
        self._q = words_of(words, loose=loose)
        self._worded = bool(words)
        self._matching = {"matchingStrategy": "last" if loose else "all"}

    def page(self) -> Page:
        """Return the page that the question's cursor leads to; an empty one without an index."""
        query = self._query
        try:
            found, facets = self._candidates(RANKING.ranked)
            positions, more = self._chosen(found)
            # The number of hits that Meilisearch tells ends at the window; this one does not.
            total = sum(facets["type"].values())
            behind = len(found) < min(total, WINDOW)
            if behind and len(positions) < query.limit:
                found, facets = self._candidates(WINDOW)
                positions, more = self._chosen(found)
                behind = False
            hits = self._hits([found[position] for position in positions])
        except UnavailableError as error:
            if not is_missing(error):
                raise
            hits, total, facets, more, behind = [], 0, {name: {} for name in FACETS}, False, False
        return Page(
            hits=hits,
            total=total,
            total_is_exact=total <= WINDOW,
            facets=facets,
            cursor=query.cursor_to(query.page + 1) if more or behind else None,
            took_ms=0.0,
        )

    def cells(self, resolution: int) -> tuple[bool, dict[str, int]]:
        """Return whether anything is found, and how much of it lies in each H3 cell."""
        parameters: Document = {
            **self._matching,
            "filter": filter_of(self._query, int(self._now)),
            "limit": 0,
            "facets": ["type", CELLS[resolution]],
        }
        try:
            with answering():
                counted = read(self._index.search(self._q, parameters))
        except UnavailableError as error:
            if is_missing(error):
                return False, {}
            raise
        counts = counted["facetDistribution"]
        return bool(counts.get("type")), counts.get(CELLS[resolution], {})

    def _candidates(self, limit: int) -> tuple[list[Document], dict[str, dict[str, int]]]:
        """Return the best candidates by Meilisearch's own order, and the counts of all."""
        parameters: Document = {
            **self._matching,
            "filter": filter_of(self._query, int(self._now)),
            "limit": limit,
            "attributesToRetrieve": _RANKED_BY,
            "facets": list(FACETS),
            "showRankingScore": True,
        }
        if sort := sort_of(self._query, worded=self._worded):
            parameters["sort"] = sort
        with answering():
            found = read(self._index.search(self._q, parameters))
        counts = found["facetDistribution"]
        return found["hits"], {name: _most_frequent(counts.get(name, {})) for name in FACETS}

    def _chosen(self, found: list[Document]) -> tuple[list[int], bool]:
        """Return the positions of the page's hits, and whether there are more behind them."""
        query = self._query
        if not found:
            return [], False
        numbers: dict[str, int] = {}
        authors = [numbers.setdefault(each["author"], len(numbers)) for each in found]
        capped = query.sort is Sort.RELEVANCE and not query.author
        most = RANKING.most_of_an_author if capped else query.limit
        return page_of(self._order(found), authors, query.page, query.limit, most)

    def _order(self, found: list[Document]) -> Order:
        keys = np.arange(len(found))  # of equals the order in which they came
        distances = self._distances(found)
        if self._query.sort is Sort.NEWEST:
            return order_by(-_numbers("published", found), keys)
        if self._query.sort is Sort.DISTANCE and distances is not None:
            return order_by(distances, keys)
        scores = _numbers("_rankingScore", found) if self._worded else np.ones(len(found))
        relevances = scores * _numbers("weight", found)
        if distances is not None:
            relevances *= nearness(distances)
        # What lies behind the ranked ones stays there, so that pages follow each other.
        relevances[RANKING.ranked :] -= relevances.max(initial=0.0)
        return order_by(-relevances, keys)

    def _distances(self, found: list[Document]) -> Floats | None:
        if self._query.near is None:
            return None
        lats = np.array([each["_geo"]["lat"] for each in found])
        lons = np.array([each["_geo"]["lng"] for each in found])
        return haversine_km(*self._query.near, lats, lons)

    def _hits(self, chosen: list[Document]) -> list[Hit]:
        """Return the hits in their order; what was withdrawn since they were found is left out."""
        if not chosen:
            return []
        parameters: Document = {
            **self._matching,
            "filter": any_of("id", [each["id"] for each in chosen]),
            "limit": len(chosen),
            "attributesToRetrieve": _SHOWN,
            "attributesToHighlight": ["body"],
            "highlightPreTag": MARK_START,
            "highlightPostTag": MARK_END,
        }
        with answering():
            documents = read(self._index.search(self._q, parameters))["hits"]
        by_id = {document["id"]: document for document in documents}
        return [
            self._hit(document, each)
            for each in chosen
            if (document := by_id.get(each["id"])) is not None
        ]

    def _hit(self, document: Document, found: Document) -> Hit:
        distances = self._distances([found])
        hit = hit_of(
            document,
            excerpt_of(document["_formatted"]["body"]),
            None if distances is None else rounded_km(float(distances[0])),
        )
        return replace(hit, why=self._score(hit, found)) if self._query.explain else hit

    def _score(self, hit: Hit, found: Document) -> Score:
        """Return what each part gave; in place of BM25 stands Meilisearch's ranking score."""
        score = float(found["_rankingScore"]) if self._worded else 1.0
        distances = self._distances([found])
        distance = None if distances is None else float(distances[0])
        told = score_of(hit, score, distance, self._now)
        return replace(told, weights={name: told.weights[name] for name in _WEIGHTS})


def _most_frequent(counts: dict[str, int]) -> dict[str, int]:
    """Return the fifty most frequent values with their counts, as they were before `term`."""
    return {
        value: count
        for written, count in Counter(counts).most_common(_MOST_OF_A_FACET)
        if (value := value_of(written)) is not None
    }


def _numbers(name: str, found: list[Document]) -> Floats:
    return np.array([each[name] for each in found], dtype=np.float64)
