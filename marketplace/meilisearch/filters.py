"""A question as Meilisearch's words, filter and sort; every value goes through `quoted`."""

from collections.abc import Iterable
from itertools import pairwise

from marketplace.categories import term_of
from marketplace.embedded.fields import says_little
from marketplace.meilisearch.documents import seconds, term
from marketplace.payable import Payee
from marketplace.query import Query, Sort
from marketplace.words import SEAM, Words, separated

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
    chosen = {name: getattr(query, name) for name in ("language", "group", "author")}
    chosen = {"category": tuple(dict.fromkeys(map(term_of, query.category)))} | chosen
    conditions += [any_of(name, map(term, values)) for name, values in chosen.items() if values]
    if query.type is not None:
        conditions.append(f"type = {quoted(term(query.type))}")
    if query.remote is not None:
        conditions.append(f"remote = {str(query.remote).lower()}")
    if query.pay_terms:
        conditions.append(_pay(query.pay_terms))
    if query.payees is not None:
        conditions.append(_payable(query.payees))
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
    return [] if worded else ["weight:desc"]


def words_of(words: Words, *, loose: bool = False) -> str:
    """Return words as Meilisearch reads them; loosely, only what is quoted is a phrase.

    It takes the last word for a beginning, unless something follows it; so the words stand last,
    and a space ends what is to be taken as it is. It looks for the first ten words and phrases
    only, and for no exclusion behind them: so the exclusions stand first, and words that most
    texts of a language hold are left out where there are others.
    """
    telling = [word for word in words.all_of if not says_little(word.lower())] or words.all_of
    parts = [f"-{_written(phrase)}" for phrase in words.none_of]
    parts += [_in_order(phrase) for phrase in (words.quoted if loose else words.phrases)]
    parts += [_together(run) for run in words.joined] if loose else []
    parts += telling
    goes_on = words.prefix and telling[-1] == words.all_of[-1]
    return " ".join(parts) + ("" if goes_on or not parts else " ")


def _written(phrase: tuple[str, ...]) -> str:
    return _in_order(phrase) if len(phrase) > 1 else phrase[0]


def _in_order(phrase: tuple[str, ...]) -> str:
    return f'"{_together(phrase)}"'


def _together(phrase: tuple[str, ...]) -> str:
    """Return words as they were written: without spaces where their script has none.

    `read_words` took their letters apart, of which Meilisearch makes other words than these.
    """
    text = phrase[0]
    for before, word in pairwise(phrase):
        text += word if SEAM in separated(before + word) else f" {word}"
    return text


def _payable(payees: Iterable[Payee]) -> str:
    """Return the condition that what is left for a listing's group is enough to pay it."""
    groups: dict[str | None, list[str]] = {}
    for payee in payees:
        groups.setdefault(payee.available, []).append(term(payee.group))
    each = [
        any_of("group", named)
        if left is None
        else f"({any_of('group', named)} AND (price NOT EXISTS OR price <= {_amount(left)}))"
        for left, named in groups.items()
    ]
    return f"settles = true AND ({' OR '.join(each) or any_of('group', ())})"


def _amount(decimal: str) -> str:
    """Return an amount as the number it is compared as, which is no text that came from outside."""
    return _plain(float(decimal))


def _pay(terms: list[str]) -> str:
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
