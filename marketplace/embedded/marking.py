"""Excerpts of hits with what was asked for marked; escaped first, marked after."""

import html
from collections.abc import Iterable, Iterator
from typing import Final

from marketplace.embedded.fields import analysed
from marketplace.embedded.wording import Asked
from marketplace.words import within_edits, words_in

EXCERPT_LETTERS: Final = 240
BEFORE_LETTERS: Final = 60

Range = tuple[int, int]


def excerpt(text: str, language: str | None, asked: Asked) -> str:
    """Return about 240 letters of `text` as HTML, around the first match, matches in <mark>."""
    ranges = list(_joined(_matches(text, language, asked)))
    start, end = _window(text, ranges[0][0] if ranges else 0)
    pieces = ["… " if start else ""]
    at = start
    for first, last in ranges:
        if first < start or last > end:
            continue
        pieces += [html.escape(text[at:first]), "<mark>", html.escape(text[first:last]), "</mark>"]
        at = last
    pieces += [html.escape(text[at:end]), " …" if end < len(text) else ""]
    return "".join(pieces)


def _window(text: str, match: int) -> Range:
    start = max(match - BEFORE_LETTERS, 0)
    if start:  # not in the middle of a word
        start = text.find(" ", start, match) + 1 or match
    end = min(start + EXCERPT_LETTERS, len(text))
    if end < len(text):
        end = max(text.rfind(" ", match, end), start) if " " in text[match:end] else end
    return start, end


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Make one of those that touch: the letters of a word that is written without spaces."""
    start = end = -1
    for first, last in ranges:
        if first != end:
            if end > start:
                yield start, end
            start = first
        end = last
    if end > start:
        yield start, end


def _matches(text: str, language: str | None, asked: Asked) -> list[Range]:
    if not asked.exact:
        return []
    words = [(found.span(), found.group()) for found in words_in(text)]
    stems = asked.stems.get(language or "", set())
    matches = [
        span
        for span, word in words
        if (plain := analysed(word, "words")) in asked.exact
        or (asked.beginnings and plain.startswith(tuple(asked.beginnings)))
        or (stems and analysed(word, language or "") in stems)
    ]
    return matches or [
        span
        for span, word in words
        if any(within_edits(typo, analysed(word, "words"), edits) for typo, edits in asked.typos)
    ]
