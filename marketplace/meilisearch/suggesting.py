"""What somebody who types may mean, from what Meilisearch finds by the beginning of a word."""

import re
import unicodedata
from collections import Counter
from typing import Any, Final

from commons.errors import UnavailableError
from marketplace.meilisearch.documents import MARK_END, MARK_START, value_of
from marketplace.meilisearch.excerpts import MARKED
from marketplace.meilisearch.filters import alive
from marketplace.meilisearch.plan import SEARCHED
from marketplace.meilisearch.server import Server, answering, is_missing, read
from marketplace.query import Place, Suggestions

_LOOKED_AT: Final = 100
_CROPPED_WORDS: Final = 10


def suggestions(server: Server, uid: str, text: str, most: int, now: int) -> Suggestions:
    """Return at most `most` of each kind, of the best hundred listings; nothing without an index.

    Three searches go in one request: for words, for categories, of which all are counted, and
    for places. What was found in spite of a typing error is not suggested.
    """
    tokens = re.findall(r"\w+", unicodedata.normalize("NFC", text))
    if not tokens:
        return Suggestions([], [], [])
    try:
        with answering():
            answer = read(server.reads.multi_search(_questions(uid, " ".join(tokens), now)))
    except UnavailableError as error:
        if is_missing(error):
            return Suggestions([], [], [])
        raise
    words, categories, places = answer["results"]
    counted = categories["facetDistribution"].get("category", {})
    names = [value_of(written) for written in sorted(counted, key=counted.get, reverse=True)]
    return Suggestions(
        words=_words(words["hits"], tokens[-1])[:most],
        categories=[name for name in names if name and _matches(name, tokens)][:most],
        places=_places(places["hits"], tokens)[:most],
    )


def _questions(uid: str, q: str, now: int) -> list[dict[str, Any]]:
    asked = {"indexUid": uid, "q": q, "matchingStrategy": "all", "filter": alive(now)}
    return [
        asked
        | {
            "limit": _LOOKED_AT,
            "attributesToSearchOn": SEARCHED,
            "attributesToRetrieve": ["id"],
            "attributesToHighlight": SEARCHED,
            "highlightPreTag": MARK_START,
            "highlightPostTag": MARK_END,
            "attributesToCrop": ["body"],
            "cropLength": _CROPPED_WORDS,
        },
        asked | {"limit": 0, "attributesToSearchOn": ["categories"], "facets": ["category"]},
        asked
        | {
            "limit": _LOOKED_AT,
            "attributesToSearchOn": ["place_name"],
            "attributesToRetrieve": ["place_name", "_geo"],
        },
    ]


def _words(hits: list[dict[str, Any]], beginning: str) -> list[str]:
    """Return the marked words that begin so: those of titles first, then the most frequent."""
    found: dict[str, None] = {}
    for name in SEARCHED:
        counts: Counter[str] = Counter()
        for hit in hits:
            value = hit["_formatted"][name]
            marked = " ".join(value) if isinstance(value, list) else value
            counts.update({(match[1] + match[2]).lower() for match in MARKED.finditer(marked)})
        for word, _ in counts.most_common():
            if _folded(word).startswith(_folded(beginning)):
                found.setdefault(word)
    return list(found)


def _places(hits: list[dict[str, Any]], tokens: list[str]) -> list[Place]:
    counts: Counter[str] = Counter()
    places: dict[str, Place] = {}
    for hit in hits:
        name, position = hit["place_name"], hit.get("_geo")
        if position is not None and _matches(name, tokens):
            counts[name] += 1
            places.setdefault(name, Place(name, position["lat"], position["lng"]))
    return [places[name] for name, _ in counts.most_common()]


def _matches(value: str, tokens: list[str]) -> bool:
    words = [_folded(word) for word in re.findall(r"\w+", value)]
    *before, beginning = (_folded(token) for token in tokens)
    return set(before) <= set(words) and any(word.startswith(beginning) for word in words)


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    return "".join(c for c in letters if not unicodedata.combining(c)).casefold()
