"""Places by their names in many languages, without a network; made by `gazetteer_build`."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from marketplace.places import distance_km

TABLE: Final = Path(__file__).with_name("gazetteer.npz")
UNITS_PER_DEGREE: Final = 10_000
MOST_OTHERS: Final = 10

# York is also an old name of Toronto, and Roma a town in Queensland: under its own name a place
# counts as this many times its people.
_OWN_NAME: Final = 20
_AROUND_KM: Final = 50.0
_CENTRES: Final = 5
_LONGEST: Final = 120
_LONGEST_REGION: Final = 6
_UNDECOMPOSED: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i"}
    | {"æ": "ae", "œ": "oe", "þ": "th"}
)
_APOSTROPHES: Final = re.compile(r"['`´‘’ʻʼʹ′]")  # noqa: RUF001 (all that are typed for one)
_BETWEEN: Final = re.compile(r"[\W_]+")
_PARTS: Final = re.compile(r"[,;(،]")

Numbers = npt.NDArray[np.uint32]
Degrees = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A town: the name by which it was found, ISO 3166 country, degrees, people.

    `region` is known for the United States, Canada, Australia and the United Kingdom only.
    """

    name: str
    country: str
    region: str | None
    lat: float
    lon: float
    population: int

    @property
    def label(self) -> str:
        """Return the name with where it is: "Wien (AT)"; `find` reads it."""
        return f"{self.name} ({', '.join(filter(None, (self.region, self.country)))})"


@dataclass(frozen=True)
class Choice(Place):
    """The place that was taken a name to mean, and the others of that name, largest first."""

    others: tuple[Place, ...] = ()


class Gazetteer:
    """The table in memory; names are ordered by how they fold, places by population."""

    def __init__(self, path: Path = TABLE) -> None:
        with np.load(path) as table:
            self._text: bytes = table["names"].tobytes()
            self._owners: Numbers = table["owners"]
            self._lats, self._lons = table["lats"], table["lons"]
            self._people: Numbers = table["people"]
            self._region_of = table["regions_of"]
            regions = table["regions"].tobytes().decode()
            words = table["region_words"].tobytes().decode()
        ends = np.flatnonzero(np.frombuffer(self._text, np.uint8) == ord("\n"))
        self._starts = np.concatenate(([0], ends + 1))
        self._regions: list[tuple[str, str]] = [
            (country, name)
            for country, _, name in (row.partition(" ") for row in regions.split("\n"))
        ]
        self._region_words = {
            word: frozenset(map(int, numbers.split()))
            for word, _, numbers in (row.partition("\t") for row in words.split("\n"))
        }

    def __len__(self) -> int:
        """Return how many places there are."""
        return len(self._people)

    def find(self, text: str, limit: int = MOST_OTHERS + 1) -> list[Place]:
        """Return the places called so, the likeliest first: `Leeds`, `Leeds, UK`, `Paris FR`."""
        if len(text) > _LONGEST:
            return []
        folded = fold(text)
        found: Sequence[int] = self._called(folded)
        parts = list(filter(None, map(fold, _PARTS.split(text))))
        if not found and len(parts) > 1:
            found = self._called(parts[0])
            for part in parts[1:]:
                found = self._inside(found, part) or self._around(found, part)
        elif not found:
            found = self._called_with_region(folded.split())
        return [self._place(entry) for entry in self._ranked(found, limit, text)]

    def starting(self, text: str, limit: int = MOST_OTHERS) -> list[Place]:
        """Return places of which a name begins so, the likeliest first: for suggestions."""
        folded = fold(text)
        if not folded or len(text) > _LONGEST:
            return []
        found = self._between(folded, "\U0010ffff")
        return [self._place(entry) for entry in self._ranked(found, limit)]

    def address(self, place: Place) -> str:
        """Return what `find` reads as this very place: its label, else its position."""
        found = self.find(place.label, 1)
        return place.label if found == [place] else f"{place.lat},{place.lon}"

    def is_own(self, place: Place) -> bool:
        """Tell whether a place was found by its own name, not by another that it has."""
        return any(
            self._owners[entry] & 1 and self._place(entry).lat == place.lat
            for entry in self._called(fold(place.name))
        )

    def country_called(self, name: str) -> str | None:
        """Return the country, by ISO 3166, that a text is the name of, if it is one's alone."""
        named = self._region_words.get(fold(name), frozenset())
        countries = {self._regions[number][0] for number in named}
        if len(countries) != 1:
            return None
        country = countries.pop()
        parts = sum(region_of == country for region_of, _ in self._regions)
        return country if len(named) == parts else None

    def regions_near(self, points: Sequence[tuple[float, float]]) -> list[tuple[str, str | None]]:
        """Return country and region of the town that is nearest to each point, in degrees."""
        if not points:
            return []
        _, nearest = self._towns.query(_on_sphere(*np.radians(np.array(points)).T))
        found = (self._regions[self._region_of[place]] for place in np.atleast_1d(nearest))
        return [(country, region or None) for country, region in found]

    @cached_property
    def _towns(self) -> KDTree:
        units = np.array([self._lats, self._lons], dtype=np.float64) / UNITS_PER_DEGREE
        return KDTree(_on_sphere(*np.radians(units)))

    def _called(self, folded: str) -> range:
        return self._between(folded, "\x00") if folded else range(0)

    def _between(self, folded: str, end: str) -> range:
        """Return the entries whose folded name is at least `folded` and under it with `end`."""
        entries = range(len(self._owners))
        low = bisect_left(entries, folded, key=self._folded)
        return range(low, bisect_left(entries, folded + end, lo=low, key=self._folded))

    def _called_with_region(self, words: list[str]) -> list[int]:
        """Return the places of a name that ends in its region: `Springfield Illinois`."""
        for split in range(len(words) - 1, max(0, len(words) - 1 - _LONGEST_REGION), -1):
            region = " ".join(words[split:])
            if region in self._region_words:
                found = self._inside(self._called(" ".join(words[:split])), region)
                if found:
                    return found
        return []

    def _inside(self, entries: Sequence[int], region: str) -> list[int]:
        regions = self._region_words.get(region, frozenset())
        return [entry for entry in entries if self._region_of[self._owners[entry] >> 1] in regions]

    def _around(self, entries: Sequence[int], name: str) -> list[int]:
        """Return what lies about another place: `Headingley, Leeds`."""
        centres = [self._place(entry) for entry in self._ranked(self._called(name), _CENTRES)]
        return [
            entry
            for entry in entries
            for place in [self._place(entry)]
            if any(
                distance_km(place.lat, place.lon, centre.lat, centre.lon) <= _AROUND_KM
                for centre in centres
            )
        ]

    def _ranked(self, entries: Sequence[int], limit: int, typed: str = "") -> list[int]:
        """Order by people, weighted where it is the place's own name; each place once.

        Of the spellings of one name that fold alike, the one that was typed is kept.
        """
        typed = typed.strip().casefold()
        unlike = [
            bool(typed) and not typed.startswith(self._name(entry).casefold()) for entry in entries
        ]
        chosen = np.asarray(entries, dtype=np.int64)
        owners = self._owners[chosen]
        places, own = (owners >> 1).astype(np.int64), owners & 1
        weights = self._people[places].astype(np.int64) * np.where(own, _OWN_NAME, 1)
        once: dict[int, int] = {}
        for position in np.lexsort((np.array(unlike, np.bool_), places, -weights)):
            once.setdefault(int(places[position]), int(chosen[position]))
            if len(once) == limit:
                break
        return list(once.values())

    def _place(self, entry: int) -> Place:
        owner = int(self._owners[entry]) >> 1
        country, region = self._regions[self._region_of[owner]]
        return Place(
            name=self._name(entry),
            country=country,
            region=region or None,
            lat=int(self._lats[owner]) / UNITS_PER_DEGREE,
            lon=int(self._lons[owner]) / UNITS_PER_DEGREE,
            population=int(self._people[owner]),
        )

    def _name(self, entry: int) -> str:
        start, end = int(self._starts[entry]), int(self._starts[entry + 1]) - 1
        return self._text[start:end].decode()

    def _folded(self, entry: int) -> str:
        return fold(self._name(entry))


def _on_sphere(lats: Degrees, lons: Degrees) -> Degrees:
    """Return points of the unit sphere, between which the straight way tells who is nearest."""
    across = np.cos(lats)
    return np.stack([across * np.cos(lons), across * np.sin(lons), np.sin(lats)], axis=-1)


@cache
def gazetteer() -> Gazetteer:
    """Return the gazetteer, which is read when it is first asked for."""
    return Gazetteer()


def choose(text: str) -> Choice | None:
    """Return the likeliest place of a name, with the others; None where there is none."""
    found = gazetteer().find(text)
    return Choice(**asdict(found[0]), others=tuple(found[1:])) if found else None


def fold(name: str) -> str:
    """Return a name without case, accents, apostrophes and whatever stands between words."""
    if not name.isascii():
        letters = unicodedata.normalize("NFKD", name.casefold())
        name = "".join(c for c in letters if unicodedata.category(c) != "Mn")
    name = _APOSTROPHES.sub("", name.casefold().translate(_UNDECOMPOSED))
    return _BETWEEN.sub(" ", name).strip()
