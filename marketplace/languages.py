"""Which language a text is in, where its author did not say."""

from functools import cache
from typing import Final

from py3langid.langid import (  # type: ignore[import-untyped] # ships no types
    MODEL_FILE,
    LanguageIdentifier,
)

# Those that an index analyses, that places have names in, and what is written like them; all of
# them are ISO 639-1. The identifier chooses among 137, so that Afrikaans is not told as Dutch.
# fmt: off
DETECTED: Final = frozenset((
    "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "ga",
    "gl", "he", "hr", "hu", "hy", "id", "it", "ja", "ko", "lt", "lv", "nl", "no", "pl", "pt",
    "ro", "ru", "sk", "sl", "sr", "sv", "ta", "th", "tr", "uk", "vi", "zh",
))
# fmt: on
CONFIDENT: Final = 0.6  # measured: docs/decisions/0015-language-detection.md
_LETTERS_READ: Final = 300


def detect(text: str) -> str | None:
    """Return the language of a text by its beginning, None where that is not sure."""
    language: str
    confidence: float
    language, confidence = _identifier().classify(text[:_LETTERS_READ])
    return language if confidence >= CONFIDENT and language in DETECTED else None


def language_of(told: str | None, title: str, text: str) -> str | None:
    """Return the language of a listing: what its origin told, else what was detected."""
    return told or detect(f"{title}\n{text}")


@cache
def _identifier() -> LanguageIdentifier:
    """Return the identifier: 100 MB that take half a second to read, and only who indexes needs."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
