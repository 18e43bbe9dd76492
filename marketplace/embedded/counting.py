"""Facets: how often each value stands in what a question found."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import tantivy

from marketplace.embedded.fields import FACETS

Facets = dict[str, dict[str, int]]
MOST_OF_A_FACET: Final = 50


def facets_of(searcher: tantivy.Searcher, counted: tantivy.Query, each: int = 1) -> Facets:
    """Count in the columns of all that a query matches, of which each stands for so many."""
    plan = {name: {"terms": {"field": name, "size": MOST_OF_A_FACET}} for name in FACETS}
    counts = searcher.aggregate(counted, plan)
    return {
        name: {bucket["key"]: each * bucket["doc_count"] for bucket in counts[name]["buckets"]}
        for name in FACETS
    }


def facets_among(listings: Iterable[dict[str, Any]]) -> Facets:
    """Count in listings as they are stored, which is sooner done where few are found."""
    counters: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    for stored in listings:
        counters["type"][stored["type"]] += 1
        counters["pay"].update(stored["pay"])
        counters["category"].update(stored["category_terms"])
        for name in ("language", "group"):
            if stored[name] is not None:
                counters[name][stored[name]] += 1
    # The most frequent first, equal ones by name, as the columns give them.
    return {
        name: dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_OF_A_FACET])
        for name, counter in counters.items()
    }
