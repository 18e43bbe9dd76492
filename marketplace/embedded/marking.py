"""Excerpts of hits with what was asked for marked; escaped first, marked after."""

import html
from typing import Final

from marketplace.embedded.fields import STEMMERS, analyser
from marketplace.embedded.matching import Asked
from marketplace.words import within_edits

EXCERPT_LETTERS: Final = 240
BEFORE_LETTERS: Final = 60

Range = tuple[int, int]


def excerpt(text: str, language: str | None, asked: Asked) -> str:
    """Return about 240 letters of `text` as HTML, around the first match, matches in <mark>."""
    ranges = _matches(text, language, asked)
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


def _matches(text: str, language: str | None, asked: Asked) -> list[Range]:
    if not (asked.exact or asked.prefix):
        return []
    tokens = analyser("words").pre_tokenize(text).tokens
    matches = {
        (token.char_offset_from, token.char_offset_to)
        for token in tokens
        if token.text in asked.exact or (asked.prefix and token.text.startswith(asked.prefix))
    }
    stems = asked.stems.get(language or "", set())
    if stems and language in STEMMERS:
        matches |= {
            (token.char_offset_from, token.char_offset_to)
            for token in analyser(language).pre_tokenize(text).tokens
            if token.text in stems
        }
    if not matches:
        matches = {
            (token.char_offset_from, token.char_offset_to)
            for token in tokens
            if any(within_edits(word, token.text, edits) for word, edits in asked.typos)
        }
    return sorted(matches)
