"""What made-up listings are made of: skills and goods in twelve languages, cities, countries."""

import csv
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from marketplace.gazetteer import TABLE
from marketplace.gazetteer import UNITS_PER_DEGREE as UNITS

LANGUAGES: Final = ("en", "de", "fr", "es", "ca", "it", "pt", "nl", "tr", "ru", "ar", "he")
RIGHT_TO_LEFT: Final = ("ar", "he")
_FOLDER: Final = Path(__file__).parent


class City(NamedTuple):
    """A place that listings are around; degrees, ISO 3166 country, inhabitants."""

    name: str
    country: str
    lat: float
    lon: float
    population: int


class Country(NamedTuple):
    """What is spoken and paid with in a country: ISO 639-1 and ISO 4217."""

    languages: tuple[str, ...]
    currency: str


class Thing(NamedTuple):
    """A skill or a good: its category and its name by language."""

    category: str
    names: dict[str, str]


@dataclass(frozen=True)
class Phrases:
    """What is said around a thing in one language, with `{thing}`, `{place}`, `{quality}`."""

    title: tuple[str, ...]
    wanted: tuple[str, ...]
    qualities: tuple[str, ...]
    lines: tuple[str, ...]


ELSEWHERE: Final = Country(LANGUAGES, "USD")


@cache
def cities() -> tuple[City, ...]:
    """Return 161 cities over the world, of every size from 94,000 inhabitants up."""
    return tuple(
        City(
            row["name"],
            row["country"],
            float(row["lat"]),
            float(row["lon"]),
            int(row["population"]),
        )
        for row in _rows("cities.csv")
    )


@cache
def towns() -> tuple[City, ...]:
    """Return all places of the gazetteer, about 70,000."""
    with np.load(TABLE) as table:
        names = table["names"].tobytes().decode().split("\n")
        # An owner is a place's number, doubled, and one more where the name is the place's own.
        owners = zip(table["owners"].tolist(), names, strict=False)
        called = {owner >> 1: name for owner, name in owners if owner & 1}
        regions = [row[:2] for row in table["regions"].tobytes().decode().split("\n")]
        columns = [table[name].tolist() for name in ("regions_of", "lats", "lons", "people")]
    return tuple(
        City(called[place], regions[region], lat / UNITS, lon / UNITS, people)
        for place, (region, lat, lon, people) in enumerate(zip(*columns, strict=True))
        if place in called
    )


@cache
def countries() -> dict[str, Country]:
    """Return the countries where one of the languages is spoken, by ISO 3166 code."""
    return {
        row["country"]: Country(tuple(row["language"].split()), row["currency"])
        for row in _rows("countries.csv")
    }


@cache
def things() -> tuple[Thing, ...]:
    """Return the skills and goods."""
    return tuple(
        Thing(row["category"], {language: row[language] for language in LANGUAGES})
        for row in _rows("concepts.csv")
    )


@cache
def phrases() -> dict[str, Phrases]:
    """Return the phrases by language."""
    text = unicodedata.normalize("NFC", (_FOLDER / "phrases.toml").read_text(encoding="utf-8"))
    return {
        language: Phrases(**{name: tuple(said) for name, said in table.items()})
        for language, table in tomllib.loads(text).items()
    }


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = unicodedata.normalize("NFC", (_FOLDER / name).read_text(encoding="utf-8"))
    return csv.DictReader(text.splitlines())
