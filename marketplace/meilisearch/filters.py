"""A question as Meilisearch's words, filter and sort; every value goes through `quoted`."""

from collections.abc import Iterable

from marketplace.meilisearch.documents import seconds, term
from marketplace.payment import read_pay
from marketplace.query import Query, Sort
from marketplace.words import Words

_EAST_END = 180.0


def quoted(value: str) -> str:
    """Return a value between quotes that it cannot leave.

    Between double quotes Meilisearch reads a backslash and what follows it as one letter; so
    each backslash and each quote gets a backslash before it.
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def any_of(field: str, values: Iterable[str]) -> str:
    """Return the condition that a field has one of some values, as they stand in it."""
    return f"{field} IN [{', '.join(quoted(value) for value in values)}]"


def alive(now: int) -> str:
    """Return the condition that a listing has not expired; `now` in seconds since 1970."""
    return f"(expires NOT EXISTS OR expires > {now})"


def filter_of(query: Query, now: int) -> str:
    """Return the filter of a question; `now` in seconds since 1970."""
    conditions = [alive(now)]
    conditions += [
        any_of(name, map(term, values))
        for name in ("category", "language", "group", "author")
        if (values := getattr(query, name))
    ]
    if query.type is not None:
        conditions.append(f"type = {quoted(term(query.type))}")
    if query.remote is not None:
        conditions.append(f"remote = {str(query.remote).lower()}")
    if query.pay:
        conditions.append(_pay(query.pay))
    if query.since is not None:
        conditions.append(f"published >= {seconds(query.since)}")
    if query.near is not None:
        lat, lon = query.near
        conditions.append(
            f"_geoRadius({_plain(lat)}, {_plain(lon)}, {_plain(query.reach_km * 1000)})"
        )
    if query.bbox is not None:
        conditions.append(_box(*query.bbox))
    return " AND ".join(conditions)


def sort_of(query: Query, *, worded: bool) -> list[str]:
    """Return by what Meilisearch is to sort; nothing where its own ranking is asked for."""
    if query.sort is Sort.NEWEST:
        return ["published:desc"]
    if query.near is not None and (query.sort is Sort.DISTANCE or not worded):
        lat, lon = query.near
        return [f"_geoPoint({_plain(lat)}, {_plain(lon)}):asc"]
    return [] if worded else ["confirmed:desc"]


def words_of(words: Words) -> str:
    """Return words as Meilisearch reads them.

    It takes the last word for a beginning, unless something follows it; so the words stand
    after phrases and exclusions, and a space ends what is to be taken as it is.
    """
    parts = [_in_order(phrase) for phrase in words.phrases]
    parts += [
        f"-{_in_order(phrase)}" if len(phrase) > 1 else f"-{phrase[0]}" for phrase in words.none_of
    ]
    parts += words.all_of
    return " ".join(parts) + ("" if words.prefix or not parts else " ")


def _in_order(phrase: tuple[str, ...]) -> str:
    return f'"{" ".join(phrase)}"'


def _pay(values: Iterable[str]) -> str:
    terms = [read_pay(value) for value in values]
    currencies = [t.removeprefix("currency:") for t in terms if t.startswith("currency:")]
    means = [term for term in terms if not term.startswith("currency:")]
    chosen = [
        any_of(field, map(term, asked))
        for field, asked in (("pay", means), ("currency", currencies))
        if asked
    ]
    return f"({' OR '.join(chosen)})"


def _box(west: float, south: float, east: float, north: float) -> str:
    if west <= east:
        return _one_box(west, south, east, north)
    # Over the antimeridian lie two boxes, one on each side of it.
    first = _one_box(west, south, _EAST_END, north)
    return f"({first} OR {_one_box(-_EAST_END, south, east, north)})"


def _one_box(west: float, south: float, east: float, north: float) -> str:
    corners = f"[{_plain(north)}, {_plain(east)}], [{_plain(south)}, {_plain(west)}]"
    return f"_geoBoundingBox({corners})"


def _plain(number: float) -> str:
    """Return a number without an exponent, to a tenth of a millimetre on the ground."""
    return f"{number:.9f}".rstrip("0").rstrip(".")
