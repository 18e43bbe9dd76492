"""What somebody who types may mean, from what Meilisearch finds by the beginning of a word."""

import re
import unicodedata
from collections import Counter
from typing import Any, Final

from commons.errors import UnavailableError
from marketplace.categories import categories, names_beginning
from marketplace.meilisearch.documents import MARK_END, MARK_START, term, value_of
from marketplace.meilisearch.excerpts import MARKED, whole_word
from marketplace.meilisearch.filters import alive, any_of
from marketplace.meilisearch.plan import SEARCHED
from marketplace.meilisearch.server import Server, answering, is_missing, read
from marketplace.query import Place, Suggestions

_LOOKED_AT: Final = 100
_CROPPED_WORDS: Final = 10


def suggestions(server: Server, uid: str, text: str, most: int, now: int) -> Suggestions:
    """Return at most `most` of each kind, of the best hundred listings; nothing without an index.

    The searches go in one request: for words, for categories, of which all are counted, for
    places, and for the shared categories of which a name begins so, whatever a listing calls
    them. What was found in spite of a typing error is not suggested.
    """
    tokens = re.findall(r"\w+", unicodedata.normalize("NFC", text))
    if not tokens:
        return Suggestions([], [], [])
    names = {known: name for name, known in names_beginning(text)}
    try:
        with answering():
            questions = _questions(uid, " ".join(tokens), list(names), now)
            answer = read(server.reads.multi_search(questions))
    except UnavailableError as error:
        if is_missing(error):
            return Suggestions([], [], [])
        raise
    words, own, places, *shared = answer["results"]
    return Suggestions(
        words=_words(words["hits"], tokens[-1])[:most],
        categories=_categories(own, shared, names, tokens)[:most],
        places=_places(places["hits"], tokens)[:most],
    )


def _questions(uid: str, q: str, terms: list[str], now: int) -> list[dict[str, Any]]:
    asked = {"indexUid": uid, "q": q, "matchingStrategy": "all", "filter": alive(now)}
    questions = [
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
    if terms:
        filed = f"{alive(now)} AND {any_of('category', map(term, terms))}"
        questions.append(
            {"indexUid": uid, "q": "", "filter": filed, "limit": 0, "facets": ["category"]}
        )
    return questions


def _categories(
    own: dict[str, Any], shared: list[dict[str, Any]], names: dict[str, str], tokens: list[str]
) -> list[str]:
    """Return what categories are called, the most frequent first.

    Shared ones have the name that was typed, by their term in `names`; the others their own.
    """
    counts: Counter[str] = Counter()
    for written, count in own["facetDistribution"].get("category", {}).items():
        name = value_of(written)
        if name and name not in categories() and _matches(name, tokens):
            counts[name] = count
    for answer in shared:
        for written, count in answer["facetDistribution"].get("category", {}).items():
            if (of_all := value_of(written)) in names:
                counts[names[of_all]] = count
    return [name for name, _ in counts.most_common()]


def _words(hits: list[dict[str, Any]], beginning: str) -> list[str]:
    """Return the marked words that begin so: those of titles first, then the most frequent."""
    found: dict[str, None] = {}
    for name in SEARCHED:
        counts: Counter[str] = Counter()
        for hit in hits:
            value = hit["_formatted"][name]
            marked = " ".join(value) if isinstance(value, list) else value
            counts.update({whole_word(match).lower() for match in MARKED.finditer(marked)})
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
