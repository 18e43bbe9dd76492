"""Excerpts of hits with what was asked for marked; escaped first, marked after."""

import html
from collections.abc import Iterable, Iterator, Sequence
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
    if not (asked.exact or asked.runs):
        return []
    words = [(found.group(), found.span()) for found in words_in(text)]
    seen = asked.seen.setdefault(language or "", {})
    matches = set()
    for word, span in words:
        if (alike := seen.get(word)) is None:  # hits have most of their words in common
            alike = seen[word] = _is_alike(word, language or "", asked)
        if alike:
            matches.add(span)
    if asked.runs:
        matches |= _of_runs(words, asked.runs)
    return sorted(matches or {span for word, span in words if _is_mistyped(word, asked)})


def _is_alike(word: str, language: str, asked: Asked) -> bool:
    """Tell whether a word was asked for, begins as was asked or has the same stem."""
    token = analysed(word, "words")
    stems = asked.stems.get(language)
    return (
        token in asked.exact
        or token.startswith(tuple(asked.beginnings))
        or bool(stems and analysed(word, language) in stems)
    )


def _is_mistyped(word: str, asked: Asked) -> bool:
    token = analysed(word, "words")
    return any(within_edits(typo, token, edits) for typo, edits in asked.typos)


def _of_runs(words: Sequence[tuple[str, Range]], runs: Iterable[tuple[str, ...]]) -> set[Range]:
    """Return where words stand in the order of a run, nothing between."""
    tokens = [analysed(word, "words") for word, _ in words]
    return {
        span
        for run in runs
        for at, token in enumerate(tokens)
        if token == run[0] and tuple(tokens[at : at + len(run)]) == run
        for _, span in words[at : at + len(run)]
    }
