"""One search in the embedded index: candidates, the exact circle, the order, one page."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import tantivy

from marketplace.drafts import ListingType
from marketplace.embedded.counting import Facets, facets_among, facets_of
from marketplace.embedded.fields import SAMPLES, bounded, places_of
from marketplace.embedded.marking import excerpt
from marketplace.embedded.matching import Matcher
from marketplace.embedded.ranking import RANKING, nearness, order_by, page_of, score_of
from marketplace.embedded.snapshot import Snapshot
from marketplace.embedded.wording import Asked
from marketplace.places import haversine_km, rounded_km
from marketplace.query import FACETS_COUNTED, WINDOW, Hit, Page, Query, Sort

Floats = npt.NDArray[np.float64]
_FEW: Final = 100
_MOST_CELLS: Final = 10_000
_MOST_LOOKS: Final = 10
_NOT_SHOWN: Final = ("text", "pay", "category_terms")


@dataclass(frozen=True)
class _Found:
    """Candidates side by side: addresses, what tantivy went by, distances in km where asked."""

    addresses: list[tantivy.DocAddress]
    scores: Floats
    distances_km: Floats | None = None

    def kept(self, keep: npt.NDArray[np.bool_]) -> "_Found":
        return _Found(
            [address for address, kept in zip(self.addresses, keep.tolist(), strict=True) if kept],
            self.scores[keep],
            None if self.distances_km is None else self.distances_km[keep],
        )

    def joined(self, farther: "_Found", from_km: float) -> "_Found":
        """Return these and what another has beyond a distance."""
        if self.distances_km is None or farther.distances_km is None:
            return self
        beyond = farther.distances_km > from_km
        more = farther.kept(beyond)
        return _Found(
            self.addresses + more.addresses,
            np.concatenate([self.scores, more.scores]),
            np.concatenate([self.distances_km, farther.distances_km[beyond]]),
        )


@dataclass(frozen=True)
class _Counted:
    """How many there are, whether that is exact, and at which spots near the circle are others.

    `matched` are those of the query, in which others near the circle are.
    """

    total: int
    exact: bool
    outside: list[int]
    matched: int


def answer(snapshot: Snapshot, query: Query, now: float) -> Page:
    """Return a page, of what has most of the words where nothing has all; `now` in seconds."""
    page = Search(snapshot, query, now).page()
    if page.total or not query.asked_words:
        return page
    loosened = Search(snapshot, query, now, loose=True).page()
    return loosened if loosened.total else page


def cells(snapshot: Snapshot, query: Query, now: float, resolution: int) -> dict[str, int]:
    """Count what `answer` finds in each H3 cell of a resolution."""
    search = Search(snapshot, query, now)
    counts = search.cells(resolution)
    # Where nothing is counted, what is found may all be without a place.
    if counts or not query.asked_words or search.finds():
        return counts
    return Search(snapshot, query, now, loose=True).cells(resolution)


class Search:
    """A question put to one snapshot of the index; `now` in seconds since 1970."""

    def __init__(
        self, snapshot: Snapshot, query: Query, now: float, *, loose: bool = False
    ) -> None:
        self._searcher = snapshot.searcher
        self._matcher = Matcher(snapshot)
        self._query = query
        self._now = now
        self._worded = bool(query.asked_words)
        self._loose = loose
        self._asked_for, self._asked = self._whole(query.reach_km)
        self._read: dict[tuple[int, int], dict[str, Any]] = {}

    def _whole(self, radius_km: float) -> tuple[tantivy.Query, Asked]:
        return self._matcher.scoring(self._query, radius_km, self._now, loose=self._loose)

    def _counting(self, outside: list[int]) -> tantivy.Query:
        return self._matcher.counting(self._query, outside, self._now, loose=self._loose)

    def page(self) -> Page:
        """Return the page that the question's cursor leads to."""
        query = self._query
        if query.near is None:
            found, counted, chosen, more = self._anywhere()
        else:
            found, counted = self._around(query.near)
            chosen, more = self._chosen(found)
        hits = [self._hit(found, position) for position in chosen]
        return Page(
            hits=self._explained(hits, found, chosen) if query.explain else hits,
            total=counted.total,
            total_is_exact=counted.exact,
            facets=self._facets(found, counted),
            facets_are_exact=counted.exact and counted.total <= FACETS_COUNTED,
            cursor=query.cursor_to(query.page + 1) if more else None,
            took_ms=0.0,
            loosened=self._loose,
        )

    def finds(self) -> bool:
        """Tell whether there is anything."""
        if self._query.near is None:
            return self._candidates(self._asked_for, 1)[1] > 0
        return self._around(self._query.near)[1].total > 0

    def cells(self, resolution: int) -> dict[str, int]:
        """Return how many of all that is found lie in each H3 cell, the 10,000 fullest at most."""
        near = self._query.near
        outside = [] if near is None else self._around(near)[1].outside
        named = f"8{resolution}.*"  # how the names of a resolution's cells begin
        terms = {"field": "cell", "size": _MOST_CELLS, "include": named}
        counts = self._searcher.aggregate(self._counting(outside), {"cells": {"terms": terms}})
        return {bucket["key"]: bucket["doc_count"] for bucket in counts["cells"]["buckets"]}

    def _anywhere(self) -> tuple[_Found, _Counted, list[int], bool]:
        """Return what is best anywhere: of the best by words, of more where these do not do."""
        found, count = self._candidates(self._asked_for, RANKING.ranked)
        counted = _Counted(count, exact=True, outside=[], matched=count)
        chosen, more = self._chosen(found)
        behind = len(found.addresses) < min(count, WINDOW)
        if behind and len(chosen) < self._query.limit:
            found, _ = self._candidates(self._asked_for, WINDOW)
            return found, counted, *self._chosen(found)
        return found, counted, chosen, more or behind

    def _around(self, near: tuple[float, float]) -> tuple[_Found, _Counted]:
        """Return what lies within the circle, all of it where it can be looked at."""
        query = self._query
        found, count = self._candidates(self._asked_for, WINDOW)
        found, outside = self._within(found, near, query.reach_km)
        exact = count <= WINDOW
        counted = _Counted(len(found.addresses), exact, outside, count)
        by_words = query.sort is Sort.RELEVANCE and self._worded
        if not exact and not by_words and query.sort is not Sort.NEWEST:
            found = self._nearest(near, found)
        return found, counted

    def _candidates(self, asked_for: tantivy.Query, limit: int) -> tuple[_Found, int]:
        """Return the `limit` best by words and weight, or the newest, and how many there are."""
        by, weight = None, None
        if self._query.sort is Sort.NEWEST:
            by = "published"
        elif self._query.sort is Sort.RELEVANCE and self._worded:
            weight = "prior"
        elif self._query.near is None:
            by = "weight"
        result = self._searcher.search(asked_for, limit, order_by_field=by, weight_by_field=weight)
        scores = np.array([score for score, _ in result.hits], dtype=np.float64)
        found = _Found([address for _, address in result.hits], scores)
        return found, int(result.count)  # type: ignore[attr-defined] # missing in its stubs

    def _within(
        self, found: _Found, near: tuple[float, float], radius_km: float
    ) -> tuple[_Found, list[int]]:
        """Return what lies within the exact circle, and the spots of what does not."""
        spots = self._numbers("spot", found.addresses)
        distances = haversine_km(*near, *places_of(spots))
        inside = distances <= radius_km
        measured = _Found(found.addresses, found.scores, distances)
        return measured.kept(inside), np.unique(spots[~inside]).tolist()

    def _nearest(self, near: tuple[float, float], overfull: _Found) -> _Found:
        """Return the nearest, where too many lie in the circle to look at more than `overfull`.

        The radius that holds as many as can be looked at is closed in on until they fill the page.
        Where they do not, as many lie farther out at about one distance: of these come some.
        """
        wanted = 2 * self._query.limit * (self._query.page + 1)
        whole_km = self._query.reach_km
        fits_km, too_far_km = 0.0, whole_km
        fitting, _ = self._within(_Found([], np.array([])), near, 0.0)
        for _ in range(_MOST_LOOKS):
            radius_km = (fits_km + too_far_km) / 2
            asked_for, _ = self._whole(radius_km)
            found, count = self._candidates(asked_for, WINDOW)
            if count <= WINDOW:
                fits_km, (fitting, _) = radius_km, self._within(found, near, radius_km)
                if len(fitting.addresses) >= wanted:
                    return fitting
            else:
                too_far_km, (overfull, _) = radius_km, self._within(found, near, whole_km)
        return fitting.joined(overfull, fits_km)

    def _chosen(self, found: _Found) -> tuple[list[int], bool]:
        """Return the positions on the page, the best first, and whether there are more behind it.

        Only as many as fill the page are put in order, and whatever ties with the last of them.
        """
        query = self._query
        values = self._values(found)
        capped = query.sort is Sort.RELEVANCE and not query.author
        most = RANKING.most_of_an_author if capped else query.limit
        enough = max(_FEW, 2 * query.limit * (query.page + 1))
        while True:
            best = _lowest(values, enough)
            addresses = [found.addresses[position] for position in best.tolist()]
            order = best[order_by(values[best], self._numbers("key", addresses))]
            authors = self._numbers("author_key", [found.addresses[at] for at in order.tolist()])
            places = np.arange(len(order))
            chosen, more = page_of(places, authors.tolist(), query.page, query.limit, most)
            behind = len(best) < len(values)
            if len(chosen) == query.limit or not behind:
                return order[chosen].tolist(), more or behind
            enough *= 10

    def _values(self, found: _Found) -> Floats:
        """Return what the order goes by, the best lowest."""
        sort = self._query.sort
        if sort is Sort.DISTANCE and found.distances_km is not None:
            return found.distances_km
        if sort is Sort.NEWEST:
            values = -found.scores
        else:
            weights = self._column("weight", found.addresses)
            values = -(found.scores * weights / bounded(weights) if self._worded else weights)
        if found.distances_km is not None:
            return values * nearness(found.distances_km) if sort is Sort.RELEVANCE else values
        if len(values) > RANKING.ranked:
            # What lies behind the first looked at stays there, so that pages follow each other.
            values[RANKING.ranked :] += np.ptp(values) + 1.0
        return values

    def _numbers(self, name: str, addresses: list[tantivy.DocAddress]) -> npt.NDArray[np.int64]:
        return np.array(self._searcher.fast_field_values(name, addresses), dtype=np.int64)

    def _column(self, name: str, addresses: list[tantivy.DocAddress]) -> Floats:
        return np.array(self._searcher.fast_field_values(name, addresses), dtype=np.float64)

    def _facets(self, found: _Found, counted: _Counted) -> Facets:
        if counted.total == len(found.addresses) <= _FEW:
            return facets_among(self._stored(address) for address in found.addresses)
        counting = self._counting(counted.outside)
        if counted.matched <= FACETS_COUNTED:
            return facets_of(self._searcher, counting)
        return facets_of(self._searcher, self._matcher.sampled(counting), SAMPLES)

    def _stored(self, address: tantivy.DocAddress) -> dict[str, Any]:
        at = address.segment_ord, address.doc
        if at not in self._read:
            stored = self._searcher.doc(address).get_first("hit")
            self._read[at] = orjson.loads(stored or b"")
        return self._read[at]

    def _hit(self, found: _Found, position: int) -> Hit:
        stored = self._stored(found.addresses[position])
        members = {name: value for name, value in stored.items() if name not in _NOT_SHOWN}
        members |= {
            "type": ListingType(stored["type"]),
            "published": datetime.fromisoformat(stored["published"]),
            "confirmed": datetime.fromisoformat(stored["confirmed"]),
        }
        distance = None if found.distances_km is None else float(found.distances_km[position])
        return Hit(
            **members,
            excerpt=excerpt(stored["text"], stored["language"], self._asked),
            distance_km=None if distance is None else rounded_km(distance),
        )

    def _explained(self, hits: list[Hit], found: _Found, chosen: list[int]) -> list[Hit]:
        """Add what each part of the score gave; the words' part is asked again for these alone.

        The order that was asked for may have come without it, or weighed by more than the words.
        """
        asked_for = self._matcher.among(self._asked_for, [hit.id for hit in hits])
        scored = self._searcher.search(asked_for, max(len(hits), 1)).hits
        by_words = {(at.segment_ord, at.doc): float(score) for score, at in scored}
        explained = []
        for hit, position in zip(hits, chosen, strict=True):
            at = found.addresses[position]
            distance = None if found.distances_km is None else float(found.distances_km[position])
            bm25 = by_words[at.segment_ord, at.doc]
            explained.append(replace(hit, why=score_of(hit, bm25, distance, self._now)))
        return explained


def _lowest(values: Floats, count: int) -> npt.NDArray[np.intp]:
    """Return the positions of the `count` lowest values and of all that equal the last of them."""
    if len(values) <= count:
        return np.arange(len(values))
    bound = np.partition(values, count - 1)[count - 1]
    return np.flatnonzero(values <= bound)
