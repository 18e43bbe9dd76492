"""Questions as members ask them, in the words of the made-up listings."""

import random
import re
from itertools import accumulate
from typing import Final

from bench.corpus import Corpus, Hub, around, draw_thing, mistyped
from bench.vocabulary import LANGUAGES, phrases
from marketplace.query import Query, Sort

RADIUS_KM: Final = 50.0
ONE_WORD: Final = 0.5
COMMON_WORD: Final = 0.15
SHORTEST_MISTYPED: Final = 6
PREFIX_LETTERS: Final = (3, 5)
_WORD: Final[re.Pattern[str]] = re.compile(r"[^\W\d_]{4,}")
_MEANS: Final = ("local", "time", "national", "barter", "gift")


class Questions:
    """Draws questions of the members of a corpus' hubs; the seed is not to be the listings'.

    Members ask where they live and in their hub's language, of a large hub more often.
    """

    def __init__(self, seed: int, corpus: Corpus) -> None:
        self._chance = random.Random(f"{seed}/questions")  # noqa: S311 (nothing secret)
        self._hubs = list(corpus.hubs())
        self._sums = list(accumulate(hub.size for hub in self._hubs))

    def words(self) -> Query:
        """Ask for words alone: mostly a thing, now and then a word that many listings hold."""
        return Query(q=self._words(self._hub()))

    def words_place_payment(self) -> Query:
        """Ask for a thing within 50 km, payable in one way."""
        hub = self._hub()
        return Query(
            q=self._words(hub),
            near=around(self._chance, hub.city),
            radius_km=RADIUS_KM,
            pay=(self._pay(hub),),
        )

    def place_payment(self) -> Query:
        """Ask for anything within 50 km, payable in one way, the nearest first."""
        hub = self._hub()
        near = around(self._chance, hub.city)
        return Query(near=near, radius_km=RADIUS_KM, pay=(self._pay(hub),), sort=Sort.DISTANCE)

    def typo_prefix(self) -> Query:
        """Ask for two words: one with a typing error, one of which only the beginning is typed."""
        hub = self._hub()
        typed = self._long_word(hub)
        begun = self._common_word(hub)[: self._chance.randint(*PREFIX_LETTERS)]
        return Query(q=f"{mistyped(self._chance, typed)} {begun}")

    def _hub(self) -> Hub:
        return self._chance.choices(self._hubs, cum_weights=self._sums)[0]

    def _words(self, hub: Hub) -> str:
        if self._chance.random() < COMMON_WORD:
            return self._common_word(hub)
        words = _split(draw_thing(self._chance).names[hub.language])
        if not words:
            return self._words(hub)
        return self._chance.choice(words) if self._chance.random() < ONE_WORD else " ".join(words)

    def _common_word(self, hub: Hub) -> str:
        line = self._chance.choice(phrases()[hub.language].lines)
        return self._chance.choice(_split(re.sub(r"{\w+}", "", line)))

    def _long_word(self, hub: Hub) -> str:
        language = hub.language
        while True:
            for word in _split(draw_thing(self._chance).names[language]):
                if len(word) >= SHORTEST_MISTYPED:
                    return word
            language = self._chance.choice(LANGUAGES)

    def _pay(self, hub: Hub) -> str:
        national = f"national:{hub.national}"
        return self._chance.choice((*_MEANS, national))


def _split(text: str) -> list[str]:
    return [found.group() for found in _WORD.finditer(text)]
