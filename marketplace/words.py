"""What a member typed, as words, phrases and exclusions."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

ONE_EDIT_FROM: Final = 4
TWO_EDITS_FROM: Final = 8
SHORTEST_PREFIX: Final = 2
_PIECE: Final = re.compile(r'(?:(?<=\s)|^)(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True)
class Words:
    """`all_of` must each be found, forgiving; `phrases` word for word; `none_of` not at all.

    Each of `phrases` and `none_of` is a sequence of words that follow each other; `prefix`
    tells that the last of `all_of` may be the beginning of a word.
    """

    all_of: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    none_of: tuple[tuple[str, ...], ...] = ()
    prefix: bool = False

    def __bool__(self) -> bool:
        return bool(self.all_of or self.phrases)


def read_words(text: str) -> Words:
    """Read words, `"exact phrases"` and `-exclusions` from what was typed."""
    all_of: list[str] = []
    phrases: list[tuple[str, ...]] = []
    none_of: list[tuple[str, ...]] = []
    prefix = False
    for minus, quoted, bare in _PIECE.findall(unicodedata.normalize("NFC", text)):
        without = bool(minus) or (bare.startswith("-") and len(bare) > 1)
        words = _split(quoted or bare)
        if not words:
            continue
        prefix = False
        if without:
            none_of.append(words)
        elif quoted or len(words) > 1:  # "e-bike" is one thing, not two
            phrases.append(words)
        else:
            all_of += words
            prefix = len(words[0]) >= SHORTEST_PREFIX
    return Words(tuple(all_of), tuple(phrases), tuple(none_of), prefix)


def _split(text: str) -> tuple[str, ...]:
    """Split at whatever is neither letter, number nor a mark upon one."""
    kept = (c if unicodedata.category(c)[0] in "LNM" else " " for c in text)
    return tuple("".join(kept).split())


def edits_forgiven(word: str) -> int:
    """Return how many typing errors are forgiven in `word`."""
    return (len(word) >= ONE_EDIT_FROM) + (len(word) >= TWO_EDITS_FROM)


def within_edits(word: str, other: str, most: int) -> bool:
    """Tell whether `other` is at most `most` edits from `word`.

    An edit puts in, takes out or changes a letter or swaps two neighbours (optimal string
    alignment).
    """
    if abs(len(word) - len(other)) > most:
        return False
    letters, others = set(word), set(other)
    if len(letters - others) > most or len(others - letters) > most:
        return False  # an edit brings at most one letter that is not there; most words end here
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, start=1):
        last, row, before_last = row, [i], before
        for j, candidate in enumerate(other, start=1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != candidate))
            swapped = i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == candidate
            row.append(min(cost, before_last[j - 2] + 1) if swapped else cost)
        if min(row) > most:
            return False
        before = last
    return row[-1] <= most
