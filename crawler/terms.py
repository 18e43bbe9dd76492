"""Documents of the fediverse read as plain JSON, by compact term; pure.

Contexts are never fetched: `vf:publishes`, `ValueFlows:publishes` and `publishes` are one term,
and a value may stand alone, in an array, as a URI or as an object with an id.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from commons.errors import InvalidError, MalformedError

PUBLIC: Final = "https://www.w3.org/ns/activitystreams#Public"
# In UTF-8, since an index of PostgreSQL takes no key of more than 2,704 bytes.
LONGEST_URI_BYTES: Final = 2048

_PREFIXES: Final = ("", "vf:", "ValueFlows:", "om2:", "as:", "toot:")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Document = dict[str, Any]


@dataclass(frozen=True)
class Activity:
    """An activity's envelope; `object` is empty where only its id is given."""

    type: str
    id: str
    actor: str
    object_id: str
    object: Document
    target_ids: tuple[str, ...]
    published: datetime | None


def local_name(term: str) -> str:
    """Return a type or unit without its prefix or namespace: `vf:Proposal` is `Proposal`."""
    return term.rsplit("#", 1)[-1].rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def get(document: Document, term: str) -> Any:  # noqa: ANN401 - JSON may be anything
    """Return the value of a compact term, under any usual prefix; None where there is none."""
    for prefix in _PREFIXES:
        value = document.get(prefix + term)
        if value is not None:
            return value
    return None


def values(document: Document, term: str) -> list[Any]:
    """Return a term's values as a list, whatever form they have."""
    value = get(document, term)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def objects(document: Document, term: str) -> Iterator[Document]:
    """Yield those of a term's values that are embedded objects."""
    return (value for value in values(document, term) if isinstance(value, dict))


def types(document: Document) -> frozenset[str]:
    """Return the local names of a document's types."""
    named = [*values(document, "type"), *values(document, "@type")]
    return frozenset(local_name(name) for name in named if isinstance(name, str))


def id_of(value: object) -> str:
    """Return the URI that a value is or has as its id; empty where it has none."""
    if isinstance(value, dict):
        value = value.get("id") or value.get("@id") or value.get("href")
    return value if isinstance(value, str) and _is_short(value) else ""


def _is_short(uri: str) -> bool:
    return len(uri.encode(errors="replace")) <= LONGEST_URI_BYTES


def ids(document: Document, term: str) -> tuple[str, ...]:
    """Return the URIs of a term's values."""
    return tuple(uri for value in values(document, term) if (uri := id_of(value)))


def first_id(document: Document, *terms: str) -> str:
    """Return the first URI under the first of the terms that has one; else empty."""
    return next((uri for term in terms for uri in ids(document, term)), "")


def text(document: Document, *terms: str) -> str:
    """Return the first text under the first of the terms that has one; else empty."""
    for term in terms:
        for value in values(document, term):
            literal = value.get("@value") if isinstance(value, dict) else value
            if isinstance(literal, str) and literal.strip():
                return literal
    return ""


def texts(document: Document, term: str) -> tuple[str, ...]:
    """Return those of a term's values that are texts."""
    return tuple(value for value in values(document, term) if isinstance(value, str))


def decimal_text(document: Document, term: str) -> str | None:
    """Return a number as it was written; a JSON number in its shortest decimal form."""
    for value in values(document, term):
        literal = value.get("@value") if isinstance(value, dict) else value
        if isinstance(literal, str):
            return literal.strip()
        if isinstance(literal, int | float) and not isinstance(literal, bool):
            return f"{Decimal(repr(literal)):f}"
    return None


def number(document: Document, term: str, field: str) -> float | None:
    """Return a number such as a latitude; InvalidError where it is there and is none."""
    written = decimal_text(document, term)
    if written is None:
        return None
    try:
        return float(written)
    except ValueError as error:
        raise InvalidError(field, "must be a number") from error


def flag(document: Document, term: str) -> bool | None:
    """Return a yes or no; None where neither is said."""
    value = get(document, term)
    return value if isinstance(value, bool) else None


def moment(document: Document, *terms: str) -> datetime | None:
    """Return the first time under the terms, in UTC; InvalidError where it is none."""
    written = text(document, *terms)
    if not written:
        return None
    try:
        read = datetime.fromisoformat(written.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(terms[0], "must be a time by RFC 3339") from error


def origin(uri: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an http(s) address; None where it is none that is kept."""
    if not _is_short(uri):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port


def same_origin(uri: str, other: str) -> bool:
    """Tell whether two addresses belong to one origin, which owns both (FEP-fe34)."""
    mine = origin(uri)
    return mine is not None and mine == origin(other)


def activity(document: Document) -> Activity:
    """Read an activity's envelope; MalformedError where it has no id, type or actor."""
    embedded = next(objects(document, "object"), {})
    kinds, uri, actor = types(document), id_of(document), first_id(document, "actor")
    if not kinds or not uri or not actor:
        raise MalformedError("an activity needs id, type and actor")
    return Activity(
        type=min(kinds),
        id=uri,
        actor=actor,
        object_id=first_id(document, "object"),
        object=embedded if len(embedded) > 1 else {},
        target_ids=ids(document, "target"),
        published=moment(document, "published", "updated"),
    )
