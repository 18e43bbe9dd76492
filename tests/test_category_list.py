"""A category in one language finds listings in another; one that is not shared stays itself."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market import draft, found, publish
from served import Served, served
from sqlalchemy import Engine, select

from bench.vocabulary import LANGUAGES as OF_THE_CORPUS
from bench.vocabulary import things
from commons.database import reading
from commons.settings import Settings
from crawler import vocabulary
from marketplace import categories as shared
from marketplace.categories import LANGUAGES, categories, name_of, names_beginning, term_of
from marketplace.gazetteer import fold
from marketplace.index import Index, catch_up
from marketplace.listings import Listing
from marketplace.query import Query

BOOKS = "Bücher und Medien"
BICYCLES = (
    draft("en", "Puncture kit", categories=("Bike repair",)),
    draft("de", "Luftpumpe", categories=("Fahrräder",)),
    draft("he", "משאבה", categories=("אופניים",)),
    draft("item", "Saddle", categories=("https://www.wikidata.org/entity/Q11442", "Bikes")),
    draft("code", "Chain", categories=("CPA 30.92",)),
    draft("ja", "空気入れ", categories=("自転車",)),
    draft("other", "Kettle", categories=("Fahrradladen-Nachlass",)),
)


@pytest.mark.parametrize(
    "asked",
    [
        *("bicycles", "VELOS", "bici", "велосипеды", "دراجات", "wd:Q11442", "30.92.10"),
        *("自転車", "ποδηλατο", "rowery", "kerékpár", "Bizikletak"),
    ],
)
def test_a_category_in_one_language_finds_listings_in_another(
    index: Index, database: Engine, asked: str
) -> None:
    publish(database, *BICYCLES)
    catch_up(database, index)
    assert found(index, category=(asked,)) == {"en", "de", "he", "ja", "item", "code"}
    assert found(index, category=("Fahrradladen-Nachlass",)) == {"other"}
    facets = index.search(Query(category=(asked, "Fahrradladen-Nachlass"))).facets
    assert facets["category"] == {"bicycles": 6, "Fahrradladen-Nachlass": 1}


def test_shared_categories_are_suggested_in_the_language_that_is_typed(
    index: Index, database: Engine
) -> None:
    publish(database, *BICYCLES, draft("map", "Map", categories=("Fahrradladen-Nachlass",)))
    catch_up(database, index)
    assert index.suggest("velo", 10).categories == ["Vélos"]
    assert index.suggest("bicic", 10).categories == ["Bicicletas"]
    assert index.suggest("велос", 10).categories == ["Велосипеды"]
    assert index.suggest("自転", 10).categories == ["自転車"]
    assert index.suggest("ποδηλατα", 10).categories == ["Ποδήλατα"]
    assert index.suggest("fahrrad", 10).categories == ["Fahrräder", "Fahrradladen-Nachlass"]
    assert index.suggest("fahrrad", 1).categories == ["Fahrräder"]
    assert index.suggest("gard", 10).categories == []


def test_each_category_has_a_name_in_every_language() -> None:
    assert 40 <= len(categories()) <= 50
    assert set(OF_THE_CORPUS) < set(LANGUAGES)
    for category in categories().values():
        assert set(category.names) == set(LANGUAGES)
        assert all(name.strip() == name and fold(name) for name in names_of(category.id))
        assert term_of(category.id) == category.id


def test_no_name_item_or_code_is_in_two_categories() -> None:
    for category in categories().values():
        assert {term_of(name) for name in names_of(category.id)} == {category.id}
        assert {term_of(item) for item in category.wikidata} <= {category.id}
        assert {term_of(f"CPA {code}") for code in category.cpa} == {category.id}


def test_no_name_is_told_twice_in_a_language() -> None:
    for category in categories().values():
        for language, names in category.names.items():
            assert len({fold(name) for name in names}) == len(names), (category.id, language)


def test_items_and_codes_are_written_as_their_keepers_write_them() -> None:
    for category in categories().values():
        assert all(re.fullmatch(r"Q[1-9]\d*", item) for item in category.wikidata)
        assert category.cpa
        assert all(re.fullmatch(r"\d\d(\.\d\d?)?", code) for code in category.cpa)


def test_the_table_travels_with_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert shared.TABLE.parent.name in packages
    assert shared.TABLE.is_file()


def test_all_that_the_corpus_sells_has_a_shared_category() -> None:
    assert {thing.category for thing in things()} <= set(categories())


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("Food & Drink", "food"),
        ("  food   AND drink ", "food"),
        ("Eten en drinken", "food"),
        ("#Bike_Repair", "bicycles"),
        ("JARDINERIA", "gardening"),
        ("jardineri\u0301a", "gardening"),
        ("Möbel", "furniture"),
        ("食べ物・飲み物", "food"),
        ("ガーデニング", "gardening"),
        ("ｶﾞｰﾃﾞﾆﾝｸﾞ", "gardening"),
        ("τροφιμα ΚΑΙ ποτα", "food"),  # noqa: RUF001 (Greek)
        ("Étel & ital", "food"),
        ("Mad & drikke", "food"),
        ("Zywnosc", "food"),
        ("Mobilă", "furniture"),
        ("Q571", "books"),
        ("q571", "books"),
        ("http://www.wikidata.org/entity/Q571", "books"),
        ("https://www.wikidata.org/wiki/Q571", "books"),
        ("81.30", "gardening"),
        ("CPA 81.3", "gardening"),
        ("cpa:81.30.10", "gardening"),
        ("CPA 2.1 62", "computers"),
        ("26.40", "electronics"),
        ("26.20", "computers"),
    ],
)
def test_a_shared_category_is_known_by_name_item_and_code(name: str, term: str) -> None:
    assert term_of(name) == term


@pytest.mark.parametrize(
    "name",
    [
        *("Ökodorf", "Q1", "https://www.wikidata.org/wiki/Q1", "https://x.example/wiki/Q571"),
        *("CPA 99", "CPA 8", "8", "81", "81.3", "12.10.2026", "1.000", "&", "und", "E", "-", ""),
        *("Food, drink and a dance", "Foo", "Gardenings", "\ud800"),
    ],
)
def test_what_is_not_shared_stays_as_it_is(name: str) -> None:
    assert term_of(name) == name


@given(st.text())
def test_a_term_is_its_own_term(name: str) -> None:
    term = term_of(name)
    assert term_of(term) == term


def test_a_category_is_called_by_its_name_in_a_language() -> None:
    assert name_of("food", "de") == name_of("food", "de-AT") == "Essen und Trinken"
    assert name_of("food") == name_of("food", "xx") == name_of("food", "") == "Food and drink"
    assert name_of("Ökodorf", "de") == "Ökodorf"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("jardín", [("jardín", "gardening")]),
        ("jardin", [("Jardinage", "gardening")]),
        ("drink", [("Food and drink", "food")]),
        ("food and d", [("Food and drink", "food")]),
        ("food dri", [("Food and drink", "food")]),
        ("drink fo", [("Food and drink", "food")]),
        ("自転", [("自転車", "bicycles")]),
        ("ヨガ", [("ヨガ", "sport")]),
        ("σιδερ", [("σιδέρωμα", "cleaning")]),
        ("ruoka ja ju", [("Ruoka ja juoma", "food")]),
        ("food xyl", []),
        ("", []),
        ("-", []),
        ("🙂", []),
        ("a" * 400, []),
    ],
)
def test_names_that_begin_so(typed: str, expected: list[tuple[str, str]]) -> None:
    assert names_beginning(typed) == expected


def test_each_category_begins_once_and_by_the_name_that_is_shown() -> None:
    begun = names_beginning("m")
    terms = [term for _, term in begun]
    assert len(terms) == len({*terms})
    assert begun[:2] == [("Music", "music"), ("Massage and relaxation", "massage")]


@pytest.mark.parametrize(
    ("primary", "told"),
    [
        ({"resourceConformsTo": "https://www.wikidata.org/wiki/Q252924"}, ["Sanitär und Heizung"]),
        ({"resourceConformsTo": {"id": "http://www.wikidata.org/entity/Q571"}}, [BOOKS]),
        ({"resourceClassifiedAs": ["https://www.wikidata.org/wiki/Q571", "old"]}, ["old", BOOKS]),
        ({"resourceClassifiedAs": "CPA 58.11"}, [BOOKS]),
        ({"resourceConformsTo": "https://www.wikidata.org/wiki/Q1"}, []),
        ({"resourceClassifiedAs": ["Q1", "Q571"]}, ["Q1", BOOKS]),
        ({"resourceConformsTo": "a jar of honey"}, []),
        ({"resourceConformsTo": "https://shop.example/books"}, []),
    ],
)
def test_what_a_proposal_conforms_to_is_its_category(
    database: Engine, primary: dict[str, Any], told: list[str]
) -> None:
    document = {
        "@context": [{"@language": "de"}],
        "id": "https://hub.example/1",
        "type": "Proposal",
        "purpose": "offer",
        "attributedTo": "https://hub.example/ana",
        "name": "Angebot",
        "publishes": {"type": "Intent"} | primary,
    }
    [read] = vocabulary.read(document)
    publish(database, read.draft)
    with reading(database) as session:
        [stored] = session.scalars(select(Listing.categories))
    assert stored == told


def test_the_list_is_read_over_http(settings: Settings, sqlite_engine: Engine) -> None:
    with served(settings, sqlite_engine) as service:
        told = listed(service)
    assert [one["id"] for one in told] == list(categories())
    assert all(set(one["names"]) == set(LANGUAGES) for one in told)
    [food] = [one for one in told if one["id"] == "food"]
    assert food["names"]["fr"] == "Alimentation"
    assert term_of(food["wikidata"][0]) == "food"


def listed(service: Served) -> list[dict[str, Any]]:
    answer = service.get("/categories")
    assert answer.status_code == 200
    told: list[dict[str, Any]] = answer.json()["categories"]
    return told


def names_of(term: str) -> list[str]:
    return [name for names in categories()[term].names.values() for name in names]
