"""The question and the answer of a search, the same for every index."""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import orjson

from commons.errors import InvalidError
from commons.groups import GROUP_ID_PATTERN
from marketplace.asked_place import split_place
from marketplace.drafts import ListingType
from marketplace.gazetteer import Choice, choose
from marketplace.payable import Payable, Payee
from marketplace.payment import read_pay
from marketplace.words import Words, read_words

LONGEST_Q: Final = 400
LONGEST_VALUE: Final = 2048
MOST_VALUES: Final = 20
RADIUS_KM: Final = (0.1, 1000.0)
DEFAULT_RADIUS_KM: Final = 50.0
MOST_HITS: Final = 100
WINDOW: Final = 10_000
FACETS_COUNTED: Final = 50_000
_GROUP_ID: Final = re.compile(GROUP_ID_PATTERN)


class Sort(StrEnum):
    """In which order the hits come."""

    RELEVANCE = "relevance"
    DISTANCE = "distance"
    NEWEST = "newest"


@dataclass(frozen=True)
class Query:
    """What is asked for; degrees, km, aware moments. InvalidError names parameter and rule.

    Several values of one parameter mean any of them; different parameters must all hold. `place`
    is what a name given as `near` was taken to mean, `payees` the groups whose members a member
    of `payer_group` can pay. Where the place was read out of `q`, `q` is the words that are left,
    and `typed` all that it was. `own_pays` tells that the payer's own
    currency is one of `pay`, in which all of `payees` can be paid.
    """

    q: str = ""
    near: tuple[float, float] | None = None
    radius_km: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    type: ListingType | None = None
    pay: tuple[str, ...] = ()
    payer_group: str | None = None
    category: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    author: tuple[str, ...] = ()
    remote: bool | None = None
    since: datetime | None = None
    sort: Sort = Sort.RELEVANCE
    limit: int = 20
    cursor: str | None = None
    explain: bool = False
    place: Choice | None = None
    payees: tuple[Payee, ...] | None = None
    own_pays: bool = False
    typed: str | None = None

    def __post_init__(self) -> None:
        _check_text("q", self.q, LONGEST_Q)
        for name in ("pay", "category", "language", "group", "author"):
            _check_values(name, getattr(self, name))
        _ = self.pay_terms
        if self.payer_group is not None and self.type is ListingType.WANT:
            raise InvalidError("payer_group", "goes with offers: a want is paid by its author")
        if self.payer_group is not None and not _GROUP_ID.fullmatch(self.payer_group):
            raise InvalidError("payer_group", "must be the id of a group")
        self._check_places()
        if not 1 <= self.limit <= MOST_HITS:
            raise InvalidError("limit", f"must be between 1 and {MOST_HITS}")
        if self.since is not None and self.since.tzinfo is None:
            raise InvalidError("since", "must have a time zone")
        if self.sort is Sort.DISTANCE and self.near is None:
            raise InvalidError("sort", "distance needs near, a place to measure from")
        _ = self.page

    def _check_places(self) -> None:
        if self.near is not None:
            _check_degrees("near", *self.near)
        if self.radius_km is not None:
            if self.near is None:
                raise InvalidError("radius_km", "needs near")
            least, most = RADIUS_KM
            if not least <= self.radius_km <= most:
                raise InvalidError("radius_km", f"must be between {least:g} and {most:g}")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            _check_degrees("bbox", south, west)
            _check_degrees("bbox", north, east)
            if south > north:
                raise InvalidError("bbox", "south must not be north of north")

    @cached_property
    def asked_words(self) -> Words:
        """What is asked for in words; read once, since several parts of a search go by it."""
        return read_words(self.q)

    @property
    def pay_terms(self) -> list[str]:
        """What an index filters by, of `pay` and `currency`: nothing where `own_pays`."""
        return [] if self.own_pays else [read_pay(value) for value in self.pay]

    @property
    def reach_km(self) -> float:
        """The radius that holds: what was asked for, or the default."""
        return DEFAULT_RADIUS_KM if self.radius_km is None else self.radius_km

    @property
    def page(self) -> int:
        """Number of the page that the cursor leads to, from 0."""
        if self.cursor is None:
            return 0
        rule = "must be one that this search gave"
        try:
            page, mark = orjson.loads(base64.urlsafe_b64decode(self.cursor.encode()))
        except (ValueError, TypeError) as error:
            raise InvalidError("cursor", rule) from error
        if type(page) is not int or not 1 <= page <= WINDOW or mark != self._fingerprint():
            raise InvalidError("cursor", rule)
        return page

    def cursor_to(self, page: int) -> str:
        """Return the cursor that leads to a page of this same question."""
        return base64.urlsafe_b64encode(orjson.dumps([page, self._fingerprint()])).decode()

    def _fingerprint(self) -> str:
        asked = (field.name for field in fields(self) if field.name not in _NOT_ASKED)
        members = {name: getattr(self, name) for name in asked}
        canonical = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:12]


@dataclass(frozen=True)
class Score:
    """How relevant a hit is, part by part: `total` is the product of the other numbers.

    `bm25` is what its words gave, 1 where none were asked for; `distance` is None where no
    `near` was. `weights` are the numbers of the ranking, by name.
    """

    bm25: float
    distance: float | None
    freshness: float
    image: float
    price: float
    total: float
    weights: dict[str, float]


@dataclass(frozen=True)
class Hit:
    """One listing found; `excerpt` is HTML, escaped first, its matches within <mark>.

    `why` is there where the question asked to `explain`, `payable` where it named a
    `payer_group`.
    """

    id: str
    type: ListingType
    title: str
    excerpt: str
    categories: list[str]
    language: str | None
    image: str | None
    payments: list[dict[str, Any]]
    author: str
    group: str | None
    place_name: str | None
    lat: float | None
    lon: float | None
    remote: bool
    distance_km: float | None
    published: datetime
    confirmed: datetime
    url: str
    why: Score | None = None
    payable: Payable | None = None


@dataclass(frozen=True)
class Page:
    """One page of hits; `total` is a lower bound where it is not exact.

    `facets` counts, within what was found, each value of type, pay, category, language, group;
    where more than 50,000 were found, `facets_are_exact` tells whether that is an estimate.
    `place` tells, where `near` was a name, which place was taken and what else is called so;
    `words`, where the place was read out of `q`, what of it was searched as words. Where nothing
    has all the words, it is `loosened`: found is what has most of them, or words like them.
    """

    hits: list[Hit]
    total: int
    total_is_exact: bool
    facets: dict[str, dict[str, int]]
    cursor: str | None
    took_ms: float
    place: Choice | None = None
    words: str | None = None
    loosened: bool = False
    facets_are_exact: bool = True


@dataclass(frozen=True)
class Place:
    """A place by its name, in degrees."""

    name: str
    lat: float
    lon: float


@dataclass(frozen=True)
class Suggestions:
    """What somebody who types may mean, of listings that are seen now; the most frequent first."""

    words: list[str]
    categories: list[str]
    places: list[Place]


def read_query(parameters: Iterable[tuple[str, str]]) -> Query:
    """Read a question from the names and values of a URL's query.

    Where these tell no place, it may be told in the words: `plumber near leeds`.
    Raises InvalidError for unknown names, repeated single-valued ones and broken values.
    """
    read: dict[str, Any] = {}
    for name, value in parameters:
        reader = _READERS.get(name)
        if reader is None:
            raise InvalidError(name[:50], "is not a parameter of a search")
        if name in _REPEATABLE:
            read[name] = (*read.get(name, ()), reader(name, value))
        elif name in read:
            raise InvalidError(name, "must not be repeated")
        else:
            read[name] = reader(name, value)
    if "payer_group" in read:
        read.setdefault("type", ListingType.OFFER)
    if isinstance(place := read.get("near"), Choice):
        read |= {"near": (place.lat, place.lon), "place": place}
    if not read.keys() & {"near", "bbox"}:
        read |= _place_in_words(read.get("q", ""), read.get("radius_km"))
    return Query(**read)


def _place_in_words(q: str, radius_km: float | None) -> dict[str, Any]:
    """Return what is asked for by words that tell a place; a radius given apart holds."""
    _check_text("q", q, LONGEST_Q)
    found = split_place(q)
    if found is None:
        return {}
    if radius_km is None and found.radius_km is not None:
        least, most = RADIUS_KM
        radius_km = min(max(found.radius_km, least), most)
    near = (found.place.lat, found.place.lon)
    told = {"near": near, "place": found.place, "radius_km": radius_km}
    return {"q": found.words, "typed": q, **told}


def _text(_name: str, value: str) -> str:
    return value


def _numbers(count: int) -> Callable[[str, str], tuple[float, ...]]:
    def read(name: str, value: str) -> tuple[float, ...]:
        parts = value.split(",")
        if len(parts) != count:
            raise InvalidError(name, f"must be {count} numbers with commas between them")
        return tuple(_number(name, part) for part in parts)

    return read


def _number(name: str, value: str) -> float:
    if "_" in value:  # which Python would leave out
        raise InvalidError(name, "must be a number")
    try:
        number = float(value)
    except ValueError as error:
        raise InvalidError(name, "must be a number") from error
    if not math.isfinite(number):
        raise InvalidError(name, "must be a finite number")
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _near(name: str, value: str) -> tuple[float, ...] | Choice:
    if all(map(_is_number, value.split(","))):
        return _numbers(2)(name, value)
    place = choose(value)
    if place is None:
        raise InvalidError(name, "must be a place that is known, or latitude,longitude")
    return place


def _whole(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < LONGEST_Q):
        raise InvalidError(name, "must be a whole number")
    return int(value)


def _one_of(choices: type[StrEnum]) -> Callable[[str, str], StrEnum]:
    def read(name: str, value: str) -> StrEnum:
        try:
            return choices(value)
        except ValueError as error:
            raise InvalidError(name, f"must be one of {', '.join(choices)}") from error

    return read


def _yes_or_no(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise InvalidError(name, "must be true or false")
    return value == "true"


def _flag(name: str, value: str) -> bool:
    return _yes_or_no(name, {"1": "true", "0": "false"}.get(value, value))


def _moment(name: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidError(name, "must be a date or a moment by ISO 8601") from error
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise InvalidError(name, "is out of range") from error


def _check_text(name: str, value: str, longest: int) -> None:
    if len(value) > longest:
        raise InvalidError(name, f"must have at most {longest} characters")
    if "\x00" in value:
        raise InvalidError(name, "must not hold NUL")
    # What is no UTF-8 in an address, a lone surrogate too, arrives as U+FFFD.
    if any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in value):
        raise InvalidError(name, "must be UTF-8, without lone surrogates")


def _check_values(name: str, values: tuple[str, ...]) -> None:
    if len(values) > MOST_VALUES:
        raise InvalidError(name, f"must be given at most {MOST_VALUES} times")
    for value in values:
        if not value:
            raise InvalidError(name, "must not be empty")
        _check_text(name, value, LONGEST_VALUE)


def _check_degrees(name: str, lat: float, lon: float) -> None:
    if not (math.isfinite(lat) and -90 <= lat <= 90):  # noqa: PLR2004 (degrees)
        raise InvalidError(name, "latitude must be between -90 and 90")
    if not (math.isfinite(lon) and -180 <= lon <= 180):  # noqa: PLR2004 (degrees)
        raise InvalidError(name, "longitude must be between -180 and 180")


_FOUND_OUT: Final = {"place", "payees", "own_pays", "typed"}
_NOT_ASKED: Final = {"cursor", "explain"} | _FOUND_OUT
_REPEATABLE: Final = {"pay", "category", "language", "group", "author"}
_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    **{field.name: _text for field in fields(Query) if field.name not in _FOUND_OUT},
    "near": _near,
    "radius_km": _number,
    "bbox": _numbers(4),
    "type": _one_of(ListingType),
    "remote": _yes_or_no,
    "since": _moment,
    "sort": _one_of(Sort),
    "limit": _whole,
    "explain": _flag,
}
