"""The place in what was typed: `plumer near leeds` asks for `plumer` about Leeds; pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Final

from marketplace.categories import categories
from marketplace.gazetteer import Choice, choose, fold, gazetteer
from marketplace.place_words import (
    BEFORE,
    BEHIND,
    CAPITAL,
    COMMON,
    FROM,
    GLUED,
    KM_OF,
    MADE,
    NUMBER,
    THERE_ONLY,
    WEAK,
    WITHIN,
)
from marketplace.words import read_words

LONGEST: Final = 400

_MOST_PHRASES: Final = 8
_MOST_NAME: Final = 5
_SHORT_NAME: Final = 3
_TOWN: Final = 10_000
_LARGE_TOWN: Final = 50_000
_CITY: Final = 100_000
# A name of both the town and the country is the town's here only.
_CITY_STATES: Final = frozenset(("AD", "GI", "HK", "LU", "MC", "MO", "SG", "SM", "VA"))
_TOKEN: Final = re.compile(
    rf'(?:(?<=\s)|^)-?"[^"]*"?|(?:(?<=\s)|^)[dD][\'’](?=\w)|{GLUED}|(?:(?!{GLUED})\S)+'  # noqa: RUF001 (both are typed)
)
_DISTANCE: Final = re.compile(NUMBER)
_BEHIND: Final = re.compile(GLUED)


@dataclass(frozen=True)
class AskedPlace:
    """What was typed, taken apart: `words` to search for, and the place to search about.

    `literal` is the text with what told the place in quotes, which makes words of it; `radius_km`
    is None where no distance was said.
    """

    words: str
    literal: str
    place: Choice
    radius_km: float | None = None


@dataclass(frozen=True)
class _Token:
    """A word with its span in the text; a `closed` one, quoted or excluded, is left as it is."""

    start: int
    end: int
    text: str
    folded: str
    closed: bool


@dataclass(frozen=True)
class _Sign:
    """Tokens that tell that a name follows, or, `behind` it, went before.

    A `weak` sign is no more than a hint: it says what it is, of where it is said.
    """

    start: int
    end: int
    radius_km: float | None = None
    behind: bool = False
    weak: str = ""


def split_place(text: str) -> AskedPlace | None:
    """Read a place out of what was typed; None where it tells none that is known.

    `near`, `in der Nähe von`, `közelében` and their like, with a distance or without, tell one
    anywhere in the text, the last first; `in`, `à` or `en` only at its end, before a town of some
    size and behind words to search for. What is in quotes or behind a minus stays as it is.
    """
    if len(text) > LONGEST:
        return None
    tokens = _tokens(text)
    signs = list(_signs(tokens))[-_MOST_PHRASES:]
    for sign in sorted(signs, key=lambda sign: (bool(sign.weak), -sign.start)):
        for start, end in _names(tokens, sign):
            name, with_region = (_name(tokens[start:end], between) for between in ("", ","))
            place = _place(name, sign) or _place(with_region, sign)
            if place is None:
                continue
            radius_km, after = sign.radius_km, max(end, sign.end)
            if radius_km is None:
                radius_km, after = _distance(tokens, after)
            before = min(start, sign.start)
            words = _without(text, tokens[before].start, tokens[after - 1].end)
            if sign.weak and not (_ends(tokens, after) and _meant(tokens, before, words)):
                continue
            return AskedPlace(words, _quoted(text, tokens[before:after]), place, radius_km)
    return None


def as_words(text: str) -> str:
    """Return a text with all that tells a place in quotes, so that it is searched word by word."""
    for _ in range(_MOST_PHRASES):
        found = split_place(text)
        if found is None:
            break
        text = found.literal
    return text


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(*found.span(), piece, fold(piece), closed='"' in piece or _excludes(piece))
        for found in _TOKEN.finditer(text)
        for piece in [found[0]]
    ]


def _excludes(piece: str) -> bool:
    return piece.startswith("-") and len(piece) > 1


def _signs(tokens: list[_Token]) -> Iterator[_Sign]:
    """Yield what tells a place, in the order of the text."""
    start = 0
    while start < len(tokens):
        found = _sign(tokens, start)
        if found is not None:
            yield found
        start = start + 1 if found is None else found.end


def _sign(tokens: list[_Token], start: int) -> _Sign | None:
    radius_km, reached = _distance(tokens, start)
    if radius_km is not None:
        end = max(_longest(tokens, reached, _table(table)) for table in (BEFORE, FROM))
        return _Sign(start, end, radius_km) if end else None
    if end := _longest(tokens, start, _table(BEFORE)):
        return _Sign(start, end)
    if end := _longest(tokens, start, _table(BEHIND)):
        return _Sign(start, end, behind=True)
    typed = tokens[start].text.casefold()  # not folded: "à" is no article of English
    if _BEHIND.fullmatch(typed):
        return _Sign(start, start + 1, behind=True)
    return _Sign(start, start + 1, weak=typed) if typed in WEAK else None


def _names(tokens: list[_Token], sign: _Sign) -> Iterator[tuple[int, int]]:
    """Yield the spans of tokens that may be the name, the longest first."""
    if sign.behind:
        for start in range(max(0, sign.start - _MOST_NAME), sign.start):
            if not any(token.closed for token in tokens[start : sign.start]):
                yield start, sign.start
        return
    for end in range(min(len(tokens), sign.end + _MOST_NAME), sign.end, -1):
        if not any(token.closed for token in tokens[sign.end : end]):
            yield sign.end, end


def _name(tokens: list[_Token], between: str = "") -> str:
    """Return tokens as a name, with `between` for what a region is told by: Leeds in England."""
    inner = range(1, len(tokens) - 1)
    return " ".join(
        between if between and at in inner and _joins(token.folded) else token.text
        for at, token in enumerate(tokens)
    )


def _place(name: str, sign: _Sign) -> Choice | None:
    """Return the place of a name, unless what was typed is likelier to mean something else."""
    name = name.removeprefix("在") if sign.behind else name
    folded = fold(name)
    place = choose(name)
    if place is None:
        return None
    own = gazetteer().is_own(place)
    if not own and (_is_common(folded) or _too_short(name, folded)):
        return None
    if _is_common(folded) and place.population < (_CITY if name.islower() else _LARGE_TOWN):
        return None
    country = gazetteer().country_called(name)
    if country is not None and (country != place.country or sign.weak):
        return place if country == place.country and country in _CITY_STATES else None
    return place if not sign.weak or _is_meant(name, place, own, sign.weak) else None


def _is_meant(name: str, place: Choice, own: bool, weak: str) -> bool:  # noqa: FBT001 (a fact)
    """Tell whether what is said so of much else means a place here."""
    folded = fold(name)
    if folded in COMMON or (folded in CAPITAL and name.islower()) or not _spelt(name, place):
        return False
    here = place.country in WEAK[weak]
    if not here and weak in THERE_ONLY:
        return False
    if not own or not here:
        return place.population >= _CITY
    return place.population >= (_LARGE_TOWN if name.islower() else _TOWN)


def _is_common(folded: str) -> bool:
    """Tell whether a name is a word besides, which only a large town outweighs."""
    return folded in COMMON or folded in CAPITAL or folded in _filed()


@cache
def _filed() -> frozenset[str]:
    """Return the names of the shared categories, folded, that are one word."""
    names = chain.from_iterable(chain(*each.names.values()) for each in categories().values())
    return frozenset(folded for folded in map(fold, names) if " " not in folded)


def _spelt(name: str, place: Choice) -> bool:
    """Tell whether a name has the accents with which it was typed: mão is not Mao."""
    typed = unicodedata.normalize("NFC", name).casefold()
    return typed.isascii() or typed.startswith(place.name.casefold())


def _joins(folded: str) -> bool:
    """Tell whether a word says of a place in which region it is: Leeds in England."""
    return folded in WEAK and folded not in THERE_ONLY


def _too_short(name: str, folded: str) -> bool:
    """Tell whether a name is so short that capitals only make one of it: LA, but not la."""
    return folded.isascii() and len(folded) <= _SHORT_NAME and not name.isupper()


def _distance(tokens: list[_Token], start: int) -> tuple[float | None, int]:
    """Read `within 5 km`, `5km`, `im Umkreis von 3 Meilen`: the km, and where it ends."""
    at = _longest(tokens, start, _table(WITHIN)) or start
    if at >= len(tokens) or tokens[at].closed:
        return None, start
    number = _DISTANCE.fullmatch(tokens[at].text)
    if number is None:
        return None, start
    unit, end = fold(number[2]), at + 1
    if not unit and end < len(tokens):
        unit, end = tokens[end].folded, end + 1
    unit = unit.split()[0] if unit else ""  # "km-es"
    if unit not in KM_OF:
        return None, start
    return round(float(number[1].replace(",", ".")) * KM_OF[unit], 2), end


def _ends(tokens: list[_Token], end: int) -> bool:
    """Tell whether nothing but what is quoted or excluded follows."""
    return all(token.closed for token in tokens[end:])


def _meant(tokens: list[_Token], before: int, words: str) -> bool:
    """Tell whether words are left that can be searched for, and are not of "made in"."""
    return bool(read_words(words)) and not (before and tokens[before - 1].folded in MADE)


def _without(text: str, start: int, end: int) -> str:
    return " ".join(filter(None, (text[:start].strip(), text[end:].strip())))


def _quoted(text: str, phrase: list[_Token]) -> str:
    start, end = phrase[0].start, phrase[-1].end
    return " ".join(
        filter(None, (text[:start].strip(), f'"{text[start:end]}"', text[end:].strip()))
    )


@cache
def _table(lines: str) -> dict[tuple[str, ...], int]:
    """Return the phrases of a list by their folded words, with how many these are."""
    phrases: Iterable[str] = re.split(r"[|\n]", lines.strip())
    return {words: len(words) for words in (tuple(fold(phrase).split()) for phrase in phrases)}


def _longest(tokens: list[_Token], start: int, table: dict[tuple[str, ...], int]) -> int:
    """Return where the longest phrase of a table that begins at `start` ends; 0 for none."""
    for end in range(min(len(tokens), start + max(table.values())), start, -1):
        span = tokens[start:end]
        if tuple(token.folded for token in span) in table:
            return 0 if any(token.closed for token in span) else end
    return 0
