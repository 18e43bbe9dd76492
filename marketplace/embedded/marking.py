"""Excerpts of hits with what was asked for marked; escaped first, marked after."""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    words = [(found.span(), found.group()) for found in words_in(text)]
    plain = {word: analysed(word, "words") for word in {word for _, word in words}}
    tokens = [plain[word] for _, word in words]
    matches = {at for run in asked.runs for at in _places_of(run, tokens)}
    if alike := _alike(plain, language, asked):
        matches.update(at for at, (_, word) in enumerate(words) if word in alike)
    if not matches:
        mistyped = {
            token
            for token in plain.values()
            if any(within_edits(typo, token, edits) for typo, edits in asked.typos)
        }
        matches = {at for at, token in enumerate(tokens) if token in mistyped}
    return [words[at][0] for at in sorted(matches)]


def _places_of(run: tuple[str, ...], tokens: Sequence[str]) -> Iterator[int]:
    """Return where words are that stand there in the order of `run`, nothing between."""
    for at, token in enumerate(tokens):
        if token == run[0] and tuple(tokens[at : at + len(run)]) == run:
            yield from range(at, at + len(run))


def _alike(plain: Mapping[str, str], language: str | None, asked: Asked) -> set[str]:
    """Return the words that were asked for, that begin as was asked or that have the same stem."""
    stems = asked.stems.get(language or "", set())
    beginnings = tuple(asked.beginnings)
    return {
        word
        for word, token in plain.items()
        if token in asked.exact
        or token.startswith(beginnings)
        or (stems and analysed(word, language or "") in stems)
    }
