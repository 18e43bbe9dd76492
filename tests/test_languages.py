"""A language is told where it is sure, and none where it is not."""

import subprocess
import sys

import pytest
from market import add_groups, draft, publish
from served import served
from sqlalchemy import Engine, select

from bench.vocabulary import cities, phrases, things
from commons.database import reading
from commons.settings import Settings
from marketplace.index import read_changes
from marketplace.languages import detect
from marketplace.listings import Listing


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Rasenmäher zu verleihen, am Wochenende", "de"),
        ("Réparation de vélos le soir et le week-end", "fr"),
        ("Arreglo bicicletas por las tardes y los fines de semana", "es"),
        ("Arreglo bicicletes al vespre i els caps de setmana", "ca"),
        ("Ремонт велосипедов вечером и в выходные", "ru"),
        ("Ремонтую велосипеди ввечері й на вихідних", "uk"),
        ("تصليح الدراجات في المساء وعطلة نهاية الأسبوع", "ar"),
        ("תיקון אופניים בערב ובסוף השבוע", "he"),
        ("自転車の修理をします", "ja"),
        ("我晚上和周末修理自行车。", "zh"),
    ],
)
def test_a_sentence_tells_its_language(text: str, language: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "Bread", "Massage", "Piano", "Radio", "🙂", "12", "\x00", "\ud800"),
        "Ek maak fietse reg in die aand en oor naweke, bring asseblief jou eie onderdele saam.",
        "میں شام کو اور ہفتے کے آخر میں سائیکل ٹھیک کرتا ہوں",
    ],
)
def test_what_is_not_sure_has_no_language(text: str) -> None:
    assert detect(text) is None


def test_few_titles_and_no_listing_are_told_in_a_wrong_language() -> None:
    titles, listings, told = [], [], 0
    places = [city.name for city in cities()]
    for number, thing in enumerate(things()):
        for language, said in phrases().items():
            place = places[(number * len(thing.names)) % len(places)]
            title = said.title[number % len(said.title)].format(
                thing=thing.names[language], place=place
            )
            line = said.lines[number % len(said.lines)].format(
                thing=thing.names[language], place=place, quality=said.qualities[0]
            )
            found = detect(f"{title}\n{line}")
            told += found is not None
            titles.append(detect(title) in {None, language})
            listings.append(found in {None, language})
    assert titles.count(False) <= len(titles) / 200
    assert listings.count(False) == 0
    assert told > len(listings) * 0.95


def test_an_index_holds_the_detected_language_and_the_listing_the_told_one(
    sqlite_engine: Engine,
) -> None:
    add_groups(sqlite_engine)
    publish(
        sqlite_engine,
        draft("told", "Réparation de vélos le soir", language="br"),
        draft("untold", "Réparation de vélos", "<p>Je viens le <b>soir</b> chez vous.</p>"),
        draft("unsure", "Piano"),
    )
    entries = [change.entry for change in read_changes(sqlite_engine, 0)]
    with reading(sqlite_engine) as session:
        stored = list(session.scalars(select(Listing.language).order_by(Listing.revision)))
    assert [entry.language for entry in entries if entry] == ["br", "fr", None]
    assert stored == ["br", None, None]


def test_who_only_searches_reads_no_model(settings: Settings, sqlite_engine: Engine) -> None:
    add_groups(sqlite_engine)
    publish(sqlite_engine, draft("untold", "Fietsreparatie in de avond"))
    with served(settings, sqlite_engine) as service:
        service.work()
    program = """
import sys
from fastapi.testclient import TestClient
from api.app import create_app
from commons.settings import Settings
from marketplace import languages

settings = Settings(data_dir=sys.argv[1], database_url=sys.argv[2], base_url="http://testserver")
with TestClient(create_app(settings, work=False)) as client:
    for path in ("/listings?q=fietsreparatie", "/suggest?q=fiets", "/?q=fietsreparatie"):
        answer = client.get(path)
        assert answer.status_code == 200 and "ietsreparatie" in answer.text, answer.text
sys.exit(languages._identifier.cache_info().currsize)
"""
    arguments = [sys.executable, "-c", program, str(settings.data_dir), str(sqlite_engine.url)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
