"""`localpay search` answers as the interface does, and tells what it took the question to mean."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from market import VIENNA, add_groups, draft, publish
from operating import run
from served import served

from commons.database import make_engine
from commons.settings import Settings
from marketplace.drafts import ListingType
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up
from marketplace.payment import Payment, PaymentMeans

PLACE: dict[str, Any] = {"lat": VIENNA[0], "lon": VIENNA[1]}
QUESTIONS = (
    {"q": "bread near vienna"},
    {"q": "bread"},
    {"q": "bread", "payer_group": "river"},
    {"category": "baking"},
    {"language": "de"},
    {"group": "river", "sort": "newest"},
    {"author": "https://hub.example/members/bikes"},
    {"remote": "true"},
    {"since": "2020-01-01", "limit": "2"},
    {"bbox": "16,48,17,49"},
    {"near": "Wien", "radius_km": "5", "sort": "distance"},
    {"type": "want"},
    {"pay": "time"},
    {"q": "bikes", "explain": "1"},
)


@pytest.fixture
def settings(settings: Settings, sqlite_template: Path) -> Settings:
    shutil.copyfile(sqlite_template, settings.data_dir / "localpay.sqlite")
    engine = make_engine(settings.effective_database_url)
    add_groups(engine)
    price = (Payment(PaymentMeans.GROUP_DEFAULT, amount="2"),)
    baker = "https://hub.example/members/baker"
    publish(
        engine,
        *(
            draft(f"bread{number}", f"Bread {number}", author_uri=baker, payments=price, **PLACE)
            for number in range(4)
        ),
        draft("brot", "Brot", language="de", categories=("baking",), remote=True),
        draft("bikes", "Bikes", payments=(Payment(PaymentMeans.TIME, amount="1"),)),
        draft("jars", "Jars", type=ListingType.WANT),
        group_id="river",
    )
    index = EmbeddedIndex(settings.data_dir / "index")
    catch_up(engine, index)
    index.close()
    engine.dispose()
    return settings


def searched(settings: Settings, *arguments: str) -> tuple[list[str], str]:
    """Return the lines of what was found, and what else was told."""
    done = run(settings, "search", *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_the_command_answers_as_the_interface_does(settings: Settings) -> None:
    engine = make_engine(settings.effective_database_url)
    with served(settings, engine) as service:
        for question in QUESTIONS:
            options = [
                word
                for name, value in question.items()
                if name not in {"q", "explain"}
                for word in (f"--{name.replace('_', '-')}", value)
            ]
            options += ["--explain"] if "explain" in question else []
            done = run(settings, "search", "--json", *options, question.get("q", ""))
            told = service.get(f"/listings?{urlencode(question)}").json()
            said = json.loads(done.stdout)
            for page in (told, said):
                page.pop("took_ms")
                for hit in page["hits"]:
                    hit.pop("why")  # has the age of the listing in it
            assert said == told
            assert said["hits"]
    engine.dispose()


def test_a_place_among_the_words_is_told(settings: Settings) -> None:
    found, told = searched(settings, "bread", "near", "leeds")
    assert found == []
    assert "“bread” near Leeds (England, GB), within 50 km" in told
    assert "called so too: Leeds (Alabama, US)" in told
    assert "“" not in searched(settings, "bread")[1]


def test_what_comes_near_is_told_apart(settings: Settings) -> None:
    sentence = "nothing has all of these words"
    found, told = searched(settings, "bikes", "xylophone")
    assert len(found) == 1
    assert sentence in told
    assert sentence not in searched(settings, "bikes")[1]


def test_why_fewer_are_shown_than_found_is_told_and_how_more_are_had(settings: Settings) -> None:
    found, told = searched(settings, "bread")
    assert len(found) == 3
    assert "4 found, 3 shown" in told
    assert "no more than 3 of one author on a page" in told
    cursor = told.partition("--cursor ")[2].split()[0]
    more, told = searched(settings, "bread", "--cursor", cursor)
    assert len(more) == 1
    assert not set(more) & set(found)
    assert "--cursor" not in told


def test_hits_tell_how_they_are_paid_and_scored(settings: Settings) -> None:
    (line, score), _ = searched(settings, "bikes", "--explain")
    assert line.startswith("offer · Bikes · 1 h · ")
    assert score.strip().partition(" = words ")[2]
    (line, *_), _ = searched(settings, "bread", "--payer-group", "river")
    assert "payable in RIV (same-group)" in line
    done = run(settings, "search", "--payer-group", "atlantis")
    assert (done.exit_code, done.stdout) == (2, "")
