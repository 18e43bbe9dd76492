"""Questions that are allowed and as hard to answer as they can be made, by kind."""

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.corpus import mistyped
from bench.questions import Questions
from marketplace.index import Index
from marketplace.query import LONGEST_Q, MOST_HITS, MOST_VALUES, Query, read_query

SUGGESTED: Final = 10
COARSE, FINE = 2, 7
_FAR_PAGES: Final = (2, 20, 99)
_WORLD: Final = "-180,-90,180,90"
_OVER_THE_LINE: Final = "100,-90,-30,90"


@dataclass(frozen=True)
class Awkward:
    """One thing asked of an index, reading the question included; `text` tells it to people."""

    kind: str
    text: str
    ask: Callable[[Index], object]


class AwkwardQuestions:
    """Makes awkward questions out of the words that members ask for; seeded."""

    def __init__(self, seed: int, questions: Questions) -> None:
        self._chance = random.Random(f"{seed}/awkward")  # noqa: S311 (nothing secret)
        self._questions = questions

    def all(self) -> Iterator[Awkward]:
        """Yield all of them, those of a kind together."""
        texts = self._texts()
        for kind, some in texts.items():
            for text in some:
                yield self._searched(kind, {"q": text})
        for kind in ("one letter", "beginnings", "one letter words", "known words"):
            for text in texts[kind]:
                yield Awkward(f"suggest: {kind}", text, _suggested(text))
        for kind, parameters in self._filtered():
            yield self._searched(kind, parameters)
        for box in (_WORLD, _OVER_THE_LINE):
            query = read_query([("bbox", box)])
            for resolution in (COARSE, FINE):
                yield Awkward("cells", f"{box} at {resolution}", _counted(query, resolution))
        for page in _FAR_PAGES:
            query = Query(limit=MOST_HITS)
            far = replace(query, cursor=query.cursor_to(page))
            yield Awkward("far pages", str(page), _found(far))

    def _texts(self) -> dict[str, list[str]]:
        known = [self._known() for _ in range(400)]
        letters = string.ascii_lowercase
        return {
            "operators": ['"' * LONGEST_Q, "-" * LONGEST_Q, "AND OR NOT * ( ~ : \\", '-"" ' * 100],
            "one letter": list(letters),
            "beginnings": [word[:length] for word in known[:30] for length in (2, 3, 4)],
            "one letter words": [_long(self._chance.choices(letters, k=200)) for _ in range(5)],
            "letters with stars": [" ".join(f"{c}*" for c in letters[:n]) for n in (2, 10, 26)],
            "known words": [_long(self._chance.sample(known, 60)) for _ in range(5)],
            "pairs of known words": [_long(self._chance.sample(known, 2)) for _ in range(30)],
            "mistyped words": [
                _long([mistyped(self._chance, word) for word in self._chance.sample(known, 60)])
                for _ in range(5)
            ],
            "one mistyped word": [mistyped(self._chance, word) for word in known[:30]],
            "unknown words": [
                _long([self._unknown(n) for _ in range(99)]) for n in (3, 5, 7, 9, 12)
            ],
            "one unknown word": [self._unknown(n) for n in (4, 6, 8, 10, 20, 100, LONGEST_Q)],
            "phrases": [f'"{_long(self._chance.sample(known, 60))[:398]}"'] * 2
            + [_long([f'"{word}"' for word in self._chance.sample(known, 60)])],
            "exclusions": [_long([f"-{word}" for word in known]), _long(["-a"] * 133), "-e"],
            "places": ["near " * 80, "in " * 133, _long(["near", "in", "bei"] * 40), "5 km " * 80],
            "marks and signs": ["e" + "\u0301" * 399, "🙂" * LONGEST_Q, "خبز " * 100, "面包" * 200],
        }

    def _filtered(self) -> Iterator[tuple[str, dict[str, str]]]:
        word = self._known()
        for near in ("48.2,16.4", "0,180", "90,0", "-90,0"):
            for sort in ("relevance", "distance", "newest"):
                told = {"near": near, "radius_km": "1000", "sort": sort, "limit": "100"}
                yield "wide circles", told
                yield "wide circles", {**told, "q": word}
        for box in (_WORLD, _OVER_THE_LINE, "-180,80,180,90", "0,0,0,0"):
            yield "boxes", {"bbox": box, "limit": "100"}
            yield "boxes", {"bbox": box, "near": "0,180", "radius_km": "1000", "explain": "1"}
        yield "everything", {"limit": "100", "explain": "1"}
        yield "everything", {"limit": "100", "sort": "newest", "since": "1970-01-01"}

    def _searched(self, kind: str, parameters: dict[str, str]) -> Awkward:
        told = list(parameters.items())
        if kind == "everything":  # with as many values of every filter as there may be
            for name in ("pay", "category", "language", "group", "author"):
                told += [(name, f"{name}{number:03}") for number in range(MOST_VALUES)]
        return Awkward(kind, str(parameters), lambda index: index.search(read_query(told)))

    def _known(self) -> str:
        words: list[str] = []
        while not words:
            words = self._questions.words().q.split()
        return self._chance.choice(words)

    def _unknown(self, length: int) -> str:
        return "".join(self._chance.choices("qxzjvwk", k=length))


def _suggested(text: str) -> Callable[[Index], object]:
    return lambda index: index.suggest(text, SUGGESTED)


def _counted(query: Query, resolution: int) -> Callable[[Index], object]:
    return lambda index: index.cells(query, resolution)


def _found(query: Query) -> Callable[[Index], object]:
    return lambda index: index.search(query)


def _long(words: list[str]) -> str:
    """Join words, as many as a question may hold."""
    text = ""
    for word in words:
        if len(text) + len(word) >= LONGEST_Q:
            break
        text = f"{text} {word}".strip()
    return text
