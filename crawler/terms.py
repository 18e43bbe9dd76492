"""Documents of the fediverse read as plain JSON, by compact term; pure.

Contexts are never fetched: `vf:publishes`, `ValueFlows:publishes` and `publishes` are one term,
and a value may stand alone, in an array, as a list or a literal of JSON-LD, as a URI or as an
object with an id.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from commons.errors import InvalidError, MalformedError
from commons.json_reading import DEPTH_MAX

PUBLIC: Final = "https://www.w3.org/ns/activitystreams#Public"
# In UTF-8, since an index of PostgreSQL takes no key of more than 2,704 bytes.
LONGEST_URI_BYTES: Final = 2048

_PREFIXES: Final = ("", "vf:", "ValueFlows:", "om2:", "as:", "toot:")
_NESTED_MOST: Final = 3
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LEFT_OUT: Final = re.compile(r"^[\0- ]|[\t\r\n]")  # what `urlsplit` reads over
_DISPUTED: Final = re.compile(r"[@\\]")
_KEPT_AS_WRITTEN: Final = frozenset({"id", "type"})  # `schema:id` and `dc:type` say other things
_LARGEST_INTEGER: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,4})?")
_EPOCH_SECONDS: Final = re.compile(r"[0-9]{9,11}")
_ZONE_NAME: Final = re.compile(r"\[[^\]]*\]$")  # RFC 9557 puts it behind the offset
_LONGEST_TIME: Final = 100
_LEAP_SECOND: Final = re.compile(r"(?<=:[0-9]{2}):60(?![0-9])")
_FLAGS: Final = {"true": True, "false": False}

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


def compact(document: Document) -> Document:
    """Return a document in which every term stands under its compact name too.

    A term that is written without prefix goes before the same with one. Raises MalformedError
    where the document is nested more deeply than any that is read here.
    """
    compacted: Document = _compacted(document, DEPTH_MAX)
    return compacted


def _compacted(value: Any, depth: int) -> Any:  # noqa: ANN401 - JSON may be anything
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        msg = f"the document is nested more than {DEPTH_MAX} levels deep"
        raise MalformedError(msg)
    if isinstance(value, list):
        return [_compacted(one, depth - 1) for one in value]
    members = {key: _compacted(one, depth - 1) for key, one in value.items()}
    for key in value:
        name = local_name(key) if ":" in key else ""
        is_new = name not in _KEPT_AS_WRITTEN and members.get(name) is None
        if name and is_new:
            members[name] = members[key]
    return members


def values(document: Document, term: str) -> list[Any]:
    """Return a term's values as a list, whatever form they have."""
    value = get(document, term)
    if not isinstance(value, list | dict):
        return [] if value is None else [value]
    found: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        inner = one.get("@list", one.get("@set")) if isinstance(one, dict) else None
        found += inner if isinstance(inner, list) else [one]
    return [one for one in found if one is not None]


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


def literal(value: object) -> object:
    """Return what a literal of JSON-LD says; any other value as it is."""
    return value.get("@value") if isinstance(value, dict) else value


def text(document: Document, *terms: str) -> str:
    """Return the first text under the first of the terms that has one; else empty."""
    for term in terms:
        for value in values(document, term):
            written = literal(value)
            if isinstance(written, str) and written.strip():
                return written
    return ""


def texts(document: Document, term: str) -> tuple[str, ...]:
    """Return those of a term's values that are texts."""
    said = (literal(value) for value in values(document, term))
    return tuple(written for written in said if isinstance(written, str))


def decimal_text(document: Document, term: str) -> str | None:
    """Return a number as it was written; a JSON number in its shortest decimal form."""
    for value in values(document, term):
        written = literal(value)
        if isinstance(written, str) and written.strip():
            return written.strip()
        if _is_number(written):
            return f"{Decimal(repr(written)):f}"
    return None


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER
    return isinstance(value, float) and math.isfinite(value)


def number(document: Document, term: str, field: str) -> float | None:
    """Return a number such as a latitude; InvalidError where it is there and is none."""
    written = decimal_text(document, term)
    if written is None:
        return None
    read = float(written) if _NUMBER.fullmatch(written) else math.nan
    if not math.isfinite(read):
        raise InvalidError(field, "must be a number")
    return read + 0.0  # no negative zero


def flag(document: Document, term: str) -> bool | None:
    """Return a yes or no, also one written as a text; None where neither is said."""
    for value in values(document, term):
        said = literal(value)
        if isinstance(said, str):
            said = _FLAGS.get(said.strip().lower())
        if isinstance(said, bool):
            return said
    return None


def moment(document: Document, *terms: str) -> datetime | None:
    """Return the first time under the terms, in UTC; InvalidError where it is none.

    A number is a time in seconds since 1970; a time without a zone is taken as UTC.
    """
    for term in terms:
        for value in values(document, term):
            written = literal(value)
            if _is_number(written) or (isinstance(written, str) and written.strip()):
                return _moment(str(written).strip(), term)
    return None


def _moment(written: str, term: str) -> datetime:
    try:
        written = written[:_LONGEST_TIME]
        if _EPOCH_SECONDS.fullmatch(written.partition(".")[0]):
            return datetime.fromtimestamp(float(written), UTC)
        plain = _LEAP_SECOND.sub(":59", _ZONE_NAME.sub("", written).upper())
        read = datetime.fromisoformat(plain)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidError(term, "must be a time by RFC 3339") from error


def origin(uri: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an http(s) address; None where it is none that is kept.

    Nor is one of which readers disagree whose it is: browsers end a host at a backslash, and some
    take what stands before an `@` for it.
    """
    if not _is_short(uri) or _LEFT_OUT.search(uri):
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if _DISPUTED.search(parts.netloc):
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


def nested(document: Document) -> list[Document]:
    """Return the objects embedded in each other inside an activity, outermost first, at most 3."""
    found: list[Document] = []
    while (document := next(objects(document, "object"), {})) and len(found) < _NESTED_MOST:
        found.append(document)
    return found


def innermost_id(document: Document) -> str:
    """Return the id of what an activity is about in the end, through those that carry others."""
    deepest = [document, *nested(document)][-1]
    return id_of(deepest.get("object")) or id_of(deepest)
