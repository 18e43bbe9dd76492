"""Excerpts of hits from texts in which Meilisearch marked the matches."""

import html
import re
from typing import Final

from marketplace.meilisearch.documents import MARK_END, MARK_START

EXCERPT_LETTERS: Final = 240
BEFORE_LETTERS: Final = 60
# Of a word that was found by its beginning only that is marked; the rest belongs to it.
MARKED: Final = re.compile(f"{MARK_START}([^{MARK_START}{MARK_END}]*){MARK_END}(\\w*)")


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
        before, match = marked[at : found.start()], found[1] + found[2]
        length += len(before)
        ranges.append((length, length + len(match)))
        length += len(match)
        pieces += [before, match]
        at = found.end()
    return "".join([*pieces, marked[at:]]), ranges
