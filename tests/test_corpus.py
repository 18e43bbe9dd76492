"""Made-up listings: any number, the same each time, in the shape of real ones."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from unicodedata import bidirectional

import pytest
from market import publish
from sqlalchemy import Engine, select

from bench.building import build
from bench.corpus import EXPIRES, LARGEST_HUB, Corpus
from bench.plain import PlainTable, batches, plain_table
from bench.postgres import new_database
from bench.questions import Questions
from bench.vocabulary import LANGUAGES, RIGHT_TO_LEFT, City, cities, phrases, things, towns
from commons.database import reading
from marketplace.currencies import NATIONAL_CODES
from marketplace.drafts import check, plain_text
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Entry, read_changes
from marketplace.listings import Listing
from marketplace.payment import PaymentMeans
from marketplace.query import Query

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SAME = (
    "type", "title", "categories", "image", "place_name", "lat", "lon", "remote",
    "payments", "published", "expires_at",
)  # fmt: skip


def corpus(size: int, seed: int = 1) -> Corpus:
    return Corpus(size, seed, NOW)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return [change.entry for change in corpus(5_000).changes() if change.entry]


def test_the_same_seed_makes_the_same_listings() -> None:
    assert list(corpus(500).changes()) == list(corpus(500).changes())
    assert list(corpus(500).drafts()) == list(corpus(500).drafts())
    assert list(corpus(500).drafts()) != list(corpus(500, seed=2).drafts())


def test_a_smaller_corpus_is_the_beginning_of_a_larger_one() -> None:
    assert list(islice(corpus(100_000_000).drafts(), 300)) == list(corpus(300).drafts())


def test_there_are_as_many_listings_as_asked_for_each_with_its_own_id() -> None:
    changes = list(corpus(3_001).changes())
    assert [change.revision for change in changes] == list(range(1, 3_002))
    assert len({change.id for change in changes}) == 3_001
    assert list(corpus(0).changes()) == []


def test_hubs_are_as_large_as_they_should_be() -> None:
    sizes = [hub.size for hub in corpus(500_000).hubs()]
    assert median(sizes) == pytest.approx(22, abs=2)
    assert quantiles(sizes, n=10)[-1] == pytest.approx(130, rel=0.1)
    assert max(sizes) == LARGEST_HUB


def test_larger_cities_have_more_hubs() -> None:
    towns = (City("Small", "DE", 50, 8, 1_000), City("Large", "DE", 52, 13, 9_000))
    hubs = Corpus(60_000, 1, NOW, towns).hubs()
    counted = Counter(hub.city.name for hub in hubs)
    assert counted["Large"] / counted.total() == pytest.approx(0.9, abs=0.03)


def test_the_gazetteer_can_take_the_place_of_the_cities() -> None:
    leeds = [town for town in towns() if town.name == "Leeds"]
    assert {town.country for town in leeds} == {"GB", "US"}
    assert len(towns()) > 65_000
    hubs = list(Corpus(20_000, 1, NOW, towns()).hubs())
    assert len({hub.city.country for hub in hubs}) > 50


def test_making_them_takes_no_memory_that_grows() -> None:
    def peak(size: int) -> int:
        tracemalloc.start()
        for _ in corpus(size).changes():
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(6_000)  # tables and the model of languages are read once, what is remembered is bounded
    assert peak(6_000) < peak(2_000) + 300_000


def test_every_language_means_and_peculiarity_occurs(entries: list[Entry]) -> None:
    assert {draft.language for draft in corpus(500).drafts()} == {*LANGUAGES, None}
    assert {entry.language for entry in entries} - {None} == {*LANGUAGES}
    means = {payment["means"] for entry in entries for payment in entry.payments}
    assert means == set(PaymentMeans)
    titles = "".join(entry.title for entry in entries)
    assert {"R", "AL", "L"} <= {bidirectional(letter) for letter in titles}
    assert "🚲" in titles
    assert any(entry.lat is None for entry in entries)
    assert any(entry.remote and entry.lat is not None for entry in entries)
    assert any(entry.image for entry in entries)
    bodies = "".join(draft.body for draft in corpus(200).drafts())
    assert all(tag in bodies for tag in ("<p>", "<br>", "<li>", "<b>"))


def test_some_have_expired_and_none_before_it_was_published(entries: list[Entry]) -> None:
    expiring = [entry for entry in entries if entry.expires_at is not None]
    assert len(expiring) / len(entries) == pytest.approx(EXPIRES, abs=0.03)
    assert 0.01 < sum(each.expires_at <= NOW for each in expiring) / len(entries) < 0.1  # type: ignore[operator] # filtered above
    for entry in entries:
        assert entry.published <= entry.confirmed <= NOW
        assert entry.expires_at is None or entry.expires_at > entry.published - timedelta(seconds=1)


def test_some_words_are_mistyped(entries: list[Entry]) -> None:
    names = [name for thing in things() for name in thing.names.values()]
    exact = sum(any(name in entry.title for name in names) for entry in entries)
    assert 0.9 < exact / len(entries) < 0.99


def test_what_an_index_gets_is_what_its_draft_becomes(sqlite_engine: Engine) -> None:
    made = corpus(60)
    publish(sqlite_engine, *made.drafts())
    entries = {change.id: change.entry for change in made.changes()}
    read = read_changes(sqlite_engine, 0)
    languages = {change.id: change.entry.language for change in read if change.entry}
    with reading(sqlite_engine) as session:
        stored = session.scalars(select(Listing)).all()
        assert {listing.id for listing in stored} == set(entries)
        for listing in stored:
            entry = entries[listing.id]
            for name in SAME:
                assert getattr(listing, name) == getattr(entry, name), name
            assert entry is not None
            assert entry.language == languages[listing.id]
            assert plain_text(listing.body) == entry.text


def test_every_draft_may_be_kept_as_it_is() -> None:
    for draft in corpus(2_000).drafts():
        checked = check(draft)
        assert (checked.title, checked.categories) == (draft.title, draft.categories)


def test_the_tables_are_whole() -> None:
    assert set(phrases()) == set(LANGUAGES)
    assert len(LANGUAGES) == 12
    assert all(name.strip() for thing in things() for name in thing.names.values())
    assert len({city.name for city in cities()}) == len(cities()) >= 150
    for language in RIGHT_TO_LEFT:
        letters = {bidirectional(thing.names[language][0]) for thing in things()}
        assert letters <= {"R", "AL"}, language
    assert {hub.national for hub in corpus(20_000).hubs()} <= NATIONAL_CODES


@pytest.fixture
def plain(postgresql_server: str) -> Iterator[PlainTable]:
    with new_database(postgresql_server) as url, plain_table(url) as table:
        yield table


def test_the_index_and_its_peer_find_the_same(tmp_path: Path, plain: PlainTable) -> None:
    # Otherwise one of the two would be measured at less work than the other.
    made = Corpus(4_000, 1, datetime.now(UTC))
    build(tmp_path / "index", made)
    for batch in batches(made.changes(), 1_500):
        plain.add(batch)
    plain.finish()
    index = EmbeddedIndex(tmp_path / "index")
    questions = Questions(2, made)
    found = 0
    for _ in range(60):
        asked = questions.place_payment()
        query = Query(near=asked.near, radius_km=50, pay=asked.pay, sort=asked.sort, limit=100)
        own = index.search(query)
        assert {hit.id for hit in own.hits} == set(plain.search(query)) or own.total > 100
        found += own.total
    index.close()
    assert found > 100


def test_questions_are_the_same_each_time_and_most_find_something(tmp_path: Path) -> None:
    made = Corpus(4_000, 1, datetime.now(UTC))
    build(tmp_path / "index", made)
    index = EmbeddedIndex(tmp_path / "index")
    kinds = ("words", "words_place_payment", "place_payment", "typo_prefix")

    def drawn() -> dict[str, list[Query]]:
        questions = Questions(2, made)
        return {kind: [getattr(questions, kind)() for _ in range(40)] for kind in kinds}

    assert drawn() == drawn()
    hits = {kind: sum(bool(index.search(q).hits) for q in asked) for kind, asked in drawn().items()}
    index.close()
    assert hits["words"] > 35
    assert min(hits.values()) > 20
