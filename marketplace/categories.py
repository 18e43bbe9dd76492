"""The categories that all groups share, by which a category in one language finds another's."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from commons.remembering import remembered
from marketplace.gazetteer import fold

TABLE: Final = Path(__file__).with_name("categories.toml")
# The first is the one that is shown where another is not known.
# fmt: off
LANGUAGES: Final = (
    "en", "de", "fr", "es", "ca", "it", "pt", "nl", "tr", "ru", "ar", "he", "hu", "el", "ja", "pl",
    "sv", "da", "fi", "ro", "eu",
)
# fmt: on
# fmt: off
_AND: Final = frozenset({
    "and", "und", "et", "y", "e", "i", "en", "ve", "и", "es", "και", "och", "og", "ja", "si", "eta",
})
# fmt: on
_WIKIDATA: Final = re.compile(
    r"(?:(?:https?://)?(?:www\.|m\.)?wikidata\.org/(?:wiki|entity)/|wd:|wikidata:)?(Q[1-9]\d*)",
    re.IGNORECASE,
)
# Without the classification's name only what is as fine as 81.30, since hubs number theirs too.
_CPA: Final = re.compile(
    r"cpa(?:[ _-]?2\.1)?[ :_-]*(\d\d(?:\.\d{1,2}){0,2})|(\d\d\.\d\d(?:\.\d{1,2})?)", re.IGNORECASE
)
_SHORTEST_CODE: Final = 2
_REMEMBERED: Final = 10_000
_LONGEST_REMEMBERED: Final = 200


@dataclass(frozen=True)
class Category:
    """A category of the shared list.

    `names` are by ISO 639-1, the first of them the one to show; `wikidata` are items (`Q2095`),
    `cpa` codes of the EU's classification of products (`81.3`), which cover what is below them.
    """

    id: str
    wikidata: tuple[str, ...]
    cpa: tuple[str, ...]
    names: dict[str, tuple[str, ...]]

    def name(self, language: str = LANGUAGES[0]) -> str:
        """Return what it is called in a language (`de`, `de-AT`), in English where not known."""
        known = self.names.get(language.partition("-")[0].lower(), self.names[LANGUAGES[0]])
        return known[0]


class _Spelt(NamedTuple):
    name: str
    folded: str
    term: str


@cache
def categories() -> dict[str, Category]:
    """Return the shared list by id, in the order of its table."""
    read = tomllib.loads(unicodedata.normalize("NFC", TABLE.read_text(encoding="utf-8")))
    return {
        name: Category(
            id=name,
            wikidata=tuple(row["wikidata"]),
            cpa=tuple(row["cpa"]),
            names={language: tuple(row[language]) for language in LANGUAGES},
        )
        for name, row in read.items()
    }


@remembered(_REMEMBERED, _LONGEST_REMEMBERED)
def term_of(name: str) -> str:
    """Return the term by which a category is found; an unknown one stays as it is.

    A shared category is known by its id, its names in any language, its Wikidata items and its
    CPA codes; its id is its term.
    """
    told = " ".join(unicodedata.normalize("NFC", name).split())
    return _by_name().get(_key(told)) or _of_item(told) or _of_code(told) or told


def name_of(term: str, language: str = LANGUAGES[0]) -> str:
    """Return what a term is called in a language; one of no shared category is its own name."""
    shared = categories().get(term)
    return shared.name(language) if shared else term


def readable(told: Iterable[str], language: str | None) -> list[str]:
    """Return categories as people read them: an item or code by its name in a language.

    The address of an item that no shared category has is left out, since it says nothing.
    """
    names = [
        name_of(term_of(one), language or LANGUAGES[0]) if _is_number(one) else one for one in told
    ]
    left_out = {name for name in names if "/" in name and _WIKIDATA.fullmatch(name)}
    return list(dict.fromkeys(name for name in names if name not in left_out))


def names_beginning(text: str) -> list[tuple[str, str]]:
    """Return names of shared categories that begin so, each with its term, each category once.

    A name has all the words of the text, the last one as a beginning; case and accents are folded.
    Of a category's names one that itself begins with the text is preferred, then one with the
    accents that were typed, then one that is shown.
    """
    typed = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    folded = fold(typed)
    *before, beginning = folded.split() or [""]
    if not beginning:
        return []
    asked = {*before} - _AND
    found: list[tuple[bool, bool, int]] = []
    for number, spelt in enumerate(_spelt()):
        words = spelt.folded.split()
        if any(word.startswith(beginning) for word in words) and asked <= {*words}:
            unlike = not typed.isascii() and not spelt.name.casefold().startswith(typed)
            found.append((not spelt.folded.startswith(folded), unlike, number))
    once: dict[str, str] = {}
    for *_, number in sorted(found):
        once.setdefault(_spelt()[number].term, _spelt()[number].name)
    return [(name, term) for term, name in once.items()]


@cache
def _spelt() -> list[_Spelt]:
    """Return each name of each category: those that are shown before the others."""
    names = [
        (place > 0, LANGUAGES.index(language), _Spelt(name, fold(name), each.id))
        for each in categories().values()
        for language, called in each.names.items()
        for place, name in enumerate(called)
    ]
    return [spelt for *_, spelt in sorted(names, key=lambda name: name[:2])]


@cache
def _by_name() -> dict[str, str]:
    own = {_key(term): term for term in categories()}
    return own | {_key(spelt.name): spelt.term for spelt in _spelt()}


@cache
def _by_item() -> dict[str, str]:
    return {item: each.id for each in categories().values() for item in each.wikidata}


@cache
def _by_code() -> dict[str, str]:
    return {code.replace(".", ""): each.id for each in categories().values() for code in each.cpa}


def _key(name: str) -> str:
    """Return a name as it is compared: `Food & Drink` and `food and drink` are the same."""
    return " ".join(word for word in fold(name).split() if word not in _AND)


def _is_number(told: str) -> bool:
    return bool(_WIKIDATA.fullmatch(told) or _CPA.fullmatch(told))


def _of_item(told: str) -> str | None:
    item = _WIKIDATA.fullmatch(told)
    return _by_item().get(item[1].upper()) if item else None


def _of_code(told: str) -> str | None:
    """Return the category of a CPA code, or of the nearest code above it."""
    code = _CPA.fullmatch(told)
    digits = (code[1] or code[2]).replace(".", "") if code else ""
    above = (digits[:end] for end in range(len(digits), _SHORTEST_CODE - 1, -1))
    return next((_by_code()[one] for one in above if one in _by_code()), None)
