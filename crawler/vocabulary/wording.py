"""Texts of a document in the language that is read, its own or the first of its maps; pure."""

import re
from collections.abc import Iterable
from typing import Final

from crawler.terms import Document, get, origin, text, values
from marketplace.drafts import shows

_TITLED: Final = ("name", "title")
_WORDED: Final = ("content", "summary", "description", "note")
_MARKING: Final = ("content", "name", "summary")
_TAG: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,8}")
_NO_LANGUAGE: Final = frozenset({"und", "mul", "zxx"})


def language(document: Document) -> str | None:
    """Return the language that the text is marked with, by its map or by the context."""
    for term in _MARKING:
        translations = _translations(document, term)
        alone = _alone(document, term)
        for tag, written in translations.items():
            if alone in {"", written} and tag not in _NO_LANGUAGE:
                return tag
    for context in values(document, "@context"):
        marked = context.get("@language") if isinstance(context, dict) else None
        if isinstance(marked, str):
            return marked
    return None


def title(documents: Iterable[Document]) -> str:
    """Return the first name among the documents that shows anything; empty where none does."""
    return _first(documents, _TITLED)


def body(documents: Iterable[Document]) -> str:
    """Return the first content, or summary, among the documents that shows anything."""
    return _first(documents, _WORDED)


def _first(documents: Iterable[Document], terms: tuple[str, ...]) -> str:
    for document in documents:
        tag = language(document)
        for term in terms:
            written = in_language(document, term, tag)
            if shows(written):
                return written
    return ""


def in_language(document: Document, term: str, tag: str | None) -> str:
    """Return a text, or where it stands only in its language map the one of that language."""
    alone = _alone(document, term)
    if alone:
        return alone
    translations = _translations(document, term)
    return translations.get(tag or "") or next(iter(translations.values()), "")


def _alone(document: Document, term: str) -> str:
    """Return a text that stands outside of a map; literals that name a language are one."""
    plain = [value for value in values(document, term) if not _tagged(value)]
    return text({term: plain}, term)


def _translations(document: Document, term: str) -> dict[str, str]:
    """Return a text by its languages: from its map, from literals or where it is a map itself."""
    mapped = get(document, f"{term}Map")
    return dict(pair for value in (mapped, *values(document, term)) for pair in _tagged(value))


def _tagged(value: object) -> list[tuple[str, str]]:
    """Return texts with their languages, from a map or from a literal that names its own."""
    if not isinstance(value, dict):
        return []
    tag = value.get("@language")
    told = {tag: value.get("@value")} if isinstance(tag, str) else value
    return [
        (tag, written)
        for tag, written in told.items()
        if _TAG.fullmatch(tag) and isinstance(written, str) and written.strip()
        if tag != "id" or origin(written) is None  # Indonesian, or the id of an object
    ]
