"""What a member typed, as words, phrases and exclusions."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ONE_EDIT_FROM: Final = 4
TWO_EDITS_FROM: Final = 8
SHORTEST_PREFIX: Final = 2

# Puts letters apart that are written without spaces. A control character: it ends a word in
# every index, and taking it out again gives the text as it was.
SEAM: Final = "\x1f"
_UNSPACED: Final = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3105-\u312f\u31a0-\u31bf"  # bopomofo
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf"  # Lao
    "\u1000-\u102a\u103f\u1780-\u17b3\u17d7\u17dc"  # Burmese, Khmer
)
_UPON_THEM: Final = (  # marks upon such letters, and what chooses one of their forms
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u17dd"
    "\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
)
_ANY_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_WORD: Final = re.compile(r"[^\W_]+")
_WORD_OR_LETTER: Final = re.compile(rf"[{_UNSPACED}][{_UPON_THEM}]*|[^\W_{_UNSPACED}]+")
_BESIDE_UNSPACED: Final = re.compile(
    f"(?=[{_UNSPACED}])|(?<=[{_UNSPACED}{_UPON_THEM}])(?![{_UPON_THEM}])"
)
# What French, Italian and Catalan leave of a small word before a vowel: d'abeilles, dell'orto.
_ELIDED: Final = re.compile(
    r"^(?:[cdjlmnst]|qu|(?:d|n|s)?(?:e|a|u)?ll|un|quest)['’](?=\w)",  # noqa: RUF001 (both are typed)
    re.IGNORECASE,
)
_PIECE: Final = re.compile(r'(?:(?<=\s)|^)(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True)
class Words:
    """`all_of` must each be found, forgiving; `phrases` word for word; `none_of` not at all.

    Each of `phrases` and `none_of` is a sequence of words that follow each other: `quoted` ones,
    and those `joined` by what is no space, as in e-bike. `prefix` tells that the last of `all_of`
    may be the beginning of a word.
    """

    all_of: tuple[str, ...] = ()
    quoted: tuple[tuple[str, ...], ...] = ()
    joined: tuple[tuple[str, ...], ...] = ()
    none_of: tuple[tuple[str, ...], ...] = ()
    prefix: bool = False

    @property
    def phrases(self) -> tuple[tuple[str, ...], ...]:
        """All that must be found word for word."""
        return self.quoted + self.joined

    def __bool__(self) -> bool:
        return bool(self.all_of or self.phrases)


def read_words(text: str) -> Words:
    """Read words, `"exact phrases"` and `-exclusions` from what was typed."""
    all_of: list[str] = []
    quoted: list[tuple[str, ...]] = []
    joined: list[tuple[str, ...]] = []
    none_of: list[tuple[str, ...]] = []
    prefix = False
    for minus, inside, bare in _PIECE.findall(unicodedata.normalize("NFC", text)):
        without = bool(minus) or (bare.startswith("-") and len(bare) > 1)
        words = _split(separated(inside or _ELIDED.sub("", bare)))
        if not words:
            continue
        prefix = False
        if without:
            none_of.append(words)
        elif inside:
            quoted.append(words)
        elif len(words) > 1:  # "e-bike" is one thing, not two
            joined.append(words)
        else:
            all_of += words
            prefix = len(words[0]) >= SHORTEST_PREFIX
    return Words(tuple(all_of), tuple(quoted), tuple(joined), tuple(none_of), prefix)


def separated(text: str) -> str:
    """Return a text with SEAM between letters that are written without spaces.

    Of Chinese, Japanese, Thai, Lao, Khmer and Burmese each letter is a word of its own, with the
    marks upon it, and a word of several is a phrase; Korean has spaces. To be used on what is
    indexed; `read_words` uses it on what is asked.
    """
    if text.isascii() or not _ANY_UNSPACED.search(text):
        return text
    return _BESIDE_UNSPACED.sub(SEAM, text)


def words_in(text: str) -> Iterator[re.Match[str]]:
    """Find the words of a text as an index has them: what `separated` puts apart is none."""
    unspaced = not text.isascii() and _ANY_UNSPACED.search(text)
    return (_WORD_OR_LETTER if unspaced else _WORD).finditer(text)


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
