"""One search in the embedded index: candidates, the exact circle, the order, one page."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import tantivy

from marketplace.drafts import ListingType
from marketplace.embedded.fields import FACETS
from marketplace.embedded.marking import excerpt
from marketplace.embedded.matching import Asked, Matcher
from marketplace.embedded.ranking import (
    RANKING,
    freshness,
    image_bonus,
    nearness,
    order_by,
    page_of,
    price_bonus,
    relevance,
)
from marketplace.places import haversine_km, rounded_km
from marketplace.query import WINDOW, Hit, Page, Query, Score, Sort
from marketplace.words import read_words

Floats = npt.NDArray[np.float64]
_MOST_OF_A_FACET: Final = 50
_MOST_CELLS: Final = 10_000
_NARROWEST_KM: Final = 0.1


@dataclass(frozen=True)
class _Found:
    """Candidates side by side: addresses, what tantivy scored, distances in km where asked."""

    addresses: list[tantivy.DocAddress]
    scores: Floats
    distances_km: Floats | None

    def kept(self, keep: npt.NDArray[np.bool_]) -> "_Found":
        return _Found(
            [address for address, kept in zip(self.addresses, keep, strict=True) if kept],
            self.scores[keep],
            None if self.distances_km is None else self.distances_km[keep],
        )


class Search:
    """A question put to one snapshot of the index; `now` in seconds since 1970."""

    def __init__(
        self, searcher: tantivy.Searcher, schema: tantivy.Schema, query: Query, now: float
    ) -> None:
        self._searcher = searcher
        self._matcher = Matcher(searcher, schema)
        self._query = query
        self._now = now
        self._worded = bool(read_words(query.q))
        self._wordless = query.sort is Sort.RELEVANCE and not self._worded

    def page(self) -> Page:
        """Return the page that the question's cursor leads to."""
        query = self._query
        asked_for, asked = self._matcher.whole(query, query.reach_km, self._now)
        found, count = self._candidates(asked_for, RANKING.ranked if query.near is None else WINDOW)
        total, exact, counted = count, True, asked_for
        if query.near is not None:
            found, counted = self._within(found, asked_for, query.near, query.reach_km)
            total, exact = len(found.addresses), count <= WINDOW
            if not exact and (query.sort is Sort.DISTANCE or self._wordless):
                found = self._nearest(query.near)
        positions, more = self._chosen(found)
        behind = query.near is None and len(found.addresses) < min(count, WINDOW)
        if behind and len(positions) < query.limit:
            found, _ = self._candidates(asked_for, WINDOW)
            positions, more = self._chosen(found)
            behind = False
        return Page(
            hits=[self._hit(found, position, asked, asked_for) for position in positions],
            total=total,
            total_is_exact=exact,
            facets=self._facets(counted),
            cursor=query.cursor_to(query.page + 1) if more or behind else None,
            took_ms=0.0,
        )

    def cells(self, resolution: int) -> dict[str, int]:
        """Return how many of all that is found lie in each H3 cell, the 10,000 fullest at most."""
        query = self._query
        counted, _ = self._matcher.whole(query, query.reach_km, self._now)
        if query.near is not None:
            found, _ = self._candidates(counted, WINDOW)
            _, counted = self._within(found, counted, query.near, query.reach_km)
        named = f"8{resolution}.*"  # how the names of a resolution's cells begin
        terms = {"field": "cell", "size": _MOST_CELLS, "include": named}
        counts = self._searcher.aggregate(counted, {"cells": {"terms": terms}})
        return {bucket["key"]: bucket["doc_count"] for bucket in counts["cells"]["buckets"]}

    def _candidates(self, asked_for: tantivy.Query, limit: int) -> tuple[_Found, int]:
        """Return the `limit` best candidates by words or time alone, and how many there are."""
        query = self._query
        by = "published" if query.sort is Sort.NEWEST else None
        if self._wordless and query.near is None:
            by = "confirmed"
        result = self._searcher.search(asked_for, limit, order_by_field=by)
        scores = [1.0 if by else score for score, _ in result.hits]
        found = _Found([address for _, address in result.hits], np.array(scores), None)
        return found, int(result.count)  # type: ignore[attr-defined] # missing in its stubs

    def _within(
        self, found: _Found, asked_for: tantivy.Query, near: tuple[float, float], radius_km: float
    ) -> tuple[_Found, tantivy.Query]:
        """Return what lies within the exact circle, and the query less what does not."""
        distances = haversine_km(*near, self._values("lat", found), self._values("lon", found))
        inside = distances <= radius_km
        measured = _Found(found.addresses, found.scores, distances)
        outside = [int(key) for key in self._keys(measured.kept(~inside))]
        return measured.kept(inside), self._matcher.without(asked_for, outside)

    def _nearest(self, near: tuple[float, float]) -> _Found:
        """Return the nearest, where too many lie in the circle to look at all of them.

        The radius is halved until all within it can be looked at; the cursor ends there.
        """
        radius_km = self._query.reach_km
        while True:
            radius_km /= 2
            asked_for, _ = self._matcher.whole(self._query, radius_km, self._now)
            found, count = self._candidates(asked_for, WINDOW)
            if count <= WINDOW or radius_km <= _NARROWEST_KM:
                return self._within(found, asked_for, near, radius_km)[0]

    def _chosen(self, found: _Found) -> tuple[list[int], bool]:
        """Return the positions on the page, and whether there are more behind it."""
        query = self._query
        if not found.addresses:
            return [], False
        authors = [
            int(key or 0) for key in self._searcher.fast_field_values("author_key", found.addresses)
        ]
        capped = query.sort is Sort.RELEVANCE and not query.author
        most = RANKING.most_of_an_author if capped else query.limit
        return page_of(self._order(found), authors, query.page, query.limit, most)

    def _order(self, found: _Found) -> npt.NDArray[np.intp]:
        query = self._query
        keys = self._keys(found)
        if query.sort is Sort.NEWEST:
            return order_by(-self._values("published", found), keys)
        if query.sort is Sort.DISTANCE and found.distances_km is not None:
            return order_by(found.distances_km, keys)
        scores = found.scores if self._worded else np.ones(len(found.addresses))
        relevances = relevance(
            scores,
            found.distances_km,
            self._values("confirmed", found),
            self._values("bonus", found),
            self._now,
        )
        if self._worded or query.near is None:
            # What lies behind the ranked ones stays there, so that pages follow each other.
            relevances[RANKING.ranked :] -= relevances.max(initial=0.0)
        return order_by(-relevances, keys)

    def _values(self, name: str, found: _Found) -> Floats:
        return np.array(self._searcher.fast_field_values(name, found.addresses), dtype=np.float64)

    def _keys(self, found: _Found) -> npt.NDArray[np.int64]:
        return np.array(self._searcher.fast_field_values("key", found.addresses), dtype=np.int64)

    def _facets(self, counted: tantivy.Query) -> dict[str, dict[str, int]]:
        plan = {name: {"terms": {"field": name, "size": _MOST_OF_A_FACET}} for name in FACETS}
        counts = self._searcher.aggregate(counted, plan)
        return {
            name: {bucket["key"]: bucket["doc_count"] for bucket in counts[name]["buckets"]}
            for name in FACETS
        }

    def _hit(self, found: _Found, position: int, asked: Asked, asked_for: tantivy.Query) -> Hit:
        stored = self._searcher.doc(found.addresses[position]).get_first("hit")
        members: dict[str, Any] = orjson.loads(bytes(stored or b""))
        text = members.pop("text")
        distance = None if found.distances_km is None else float(found.distances_km[position])
        return Hit(
            **members
            | {
                "type": ListingType(members["type"]),
                "published": datetime.fromisoformat(members["published"]),
                "confirmed": datetime.fromisoformat(members["confirmed"]),
            },
            excerpt=excerpt(text, members["language"], asked),
            distance_km=None if distance is None else rounded_km(distance),
            why=self._score(members, found, position, asked_for) if self._query.explain else None,
        )

    def _score(
        self, members: dict[str, Any], found: _Found, position: int, asked_for: tantivy.Query
    ) -> Score:
        """Return what each part gave, reckoned as for the order of the hits."""
        alone = found.kept(np.arange(len(found.addresses)) == position)
        (address,) = alone.addresses
        bm25 = 1.0
        if self._worded:  # said by tantivy itself, since another order comes without scores
            told = asked_for.explain(self._searcher, address).to_json()
            bm25 = float(orjson.loads(told)["value"])
        confirmed, distances = self._values("confirmed", alone), alone.distances_km
        fresh = freshness(confirmed, self._now)
        scores, bonus = np.array([bm25]), self._values("bonus", alone)
        return Score(
            bm25=bm25,
            distance=None if distances is None else float(nearness(distances)[0]),
            freshness=float(fresh[0]),
            image=image_bonus(members["image"]),
            price=price_bonus(members["payments"]),
            total=float(relevance(scores, distances, confirmed, bonus, self._now)[0]),
            weights=asdict(RANKING),
        )
