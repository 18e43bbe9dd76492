"""Excerpts of hits from texts in which Meilisearch marked the matches."""

import html
import re
from typing import Final

from marketplace.meilisearch.documents import MARK_END, MARK_START
from marketplace.words import SEAM, separated

EXCERPT_LETTERS: Final = 240
BEFORE_LETTERS: Final = 60
# Of a word that was found by its beginning only that is marked; `whole_word` adds the rest.
MARKED: Final = re.compile(f"{MARK_START}([^{MARK_START}{MARK_END}]*){MARK_END}(\\w*)")


def whole_word(found: re.Match[str]) -> str:
    """Return the word of which Meilisearch marked the beginning, or all, given a match of MARKED.

    Where words are written without spaces, what follows the mark is no part of its word.
    """
    word = ""
    for part in separated(found[1] + found[2]).split(SEAM):
        word += part
        if len(word) >= len(found[1]):
            break
    return word


def excerpt_of(marked: str) -> str:
    """Return about 240 letters as HTML, around the first match, matches in <mark>."""
    text, ranges = _read(marked)
    match = ranges[0][0] if ranges else 0
    start = max(match - BEFORE_LETTERS, 0)
    if start:  # not in the middle of a word
        start = text.find(" ", start, match) + 1 or match
    end = min(start + EXCERPT_LETTERS, len(text))
    if end < len(text) and (space := text.rfind(" ", match + 1, end)) > start:
        end = space
    pieces = ["… " if start else ""]
    at = start
    for first, last in ranges:
        if last <= end:
            pieces += [html.escape(text[at:first]), f"<mark>{html.escape(text[first:last])}</mark>"]
            at = last
    pieces += [html.escape(text[at:end]), " …" if end < len(text) else ""]
    return "".join(pieces)


def _read(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text without marks, and from where to where each match reaches in it."""
    pieces: list[str] = []
    ranges: list[tuple[int, int]] = []
    length = at = 0
    for found in MARKED.finditer(marked):
        before, match = marked[at : found.start()], whole_word(found)
        length += len(before)
        ranges.append((length, length + len(match)))
        length += len(match)
        pieces += [before, match]
        at = found.end() - len(found[1] + found[2]) + len(match)
    return "".join([*pieces, marked[at:]]), ranges
