"""The plan of the Meilisearch index: its settings as code, and the mark by which it is told."""

import hashlib
from typing import Any, Final

import orjson

from marketplace.places import RESOLUTIONS
from marketplace.query import WINDOW
from marketplace.words import ONE_EDIT_FROM, TWO_EDITS_FROM

# From the most to the least telling, and last the place; the rest is shown, filtered, sorted by.
SEARCHED: Final = ["title", "categories", "body"]
FACETS: Final = ("type", "pay", "category", "language", "group")
# So many values of a field are counted, the most frequent ones: as many cells as a map has.
MOST_VALUES: Final = 10_000
CELLS: Final = {resolution: f"cell_{resolution}" for resolution in RESOLUTIONS}
SEARCH_CUTOFF_MS: Final = 1_500

# Change it with what `documents.document_of` writes; a change of SETTINGS shows by itself.
DOCUMENT_VERSION: Final = 2

SETTINGS: Final[dict[str, Any]] = {
    "searchableAttributes": [*SEARCHED, "place_name"],
    "filterableAttributes": [
        "id",
        *FACETS,
        "currency",
        "author",
        "remote",
        "settles",
        "price",
        "published",
        "expires",
        "_geo",
        *CELLS.values(),
    ],
    "sortableAttributes": ["published", "weight", "_geo"],
    # `sort` first, since distance and newest are asked for instead of relevance, not after it.
    "rankingRules": [
        "sort",
        "words",
        "typo",
        "proximity",
        "attribute",
        "exactness",
        "weight:desc",
    ],
    "typoTolerance": {
        "enabled": True,
        "minWordSizeForTypos": {"oneTypo": ONE_EDIT_FROM, "twoTypos": TWO_EDITS_FROM},
    },
    "faceting": {
        "maxValuesPerFacet": MOST_VALUES,
        "sortFacetValuesBy": {"*": "count"},
    },
    "pagination": {"maxTotalHits": WINDOW},
    "searchCutoffMs": SEARCH_CUTOFF_MS,
}

PLAN: Final = hashlib.sha256(
    orjson.dumps([DOCUMENT_VERSION, SETTINGS], option=orjson.OPT_SORT_KEYS)
).hexdigest()[:16]
