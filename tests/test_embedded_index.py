"""What the embedded index does beyond the contract: processes, kills, versions."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from market import VIENNA, draft, entry, everything, found, names, publish, unpublish
from sqlalchemy import Engine

from commons.errors import UnavailableError
from marketplace.drafts import ListingType
from marketplace.embedded import EmbeddedIndex
from marketplace.embedded.searching import answer, cells
from marketplace.index import Change, Entry, catch_up, read_changes, read_on
from marketplace.query import Query


def test_an_index_reads_on_where_it_stood(database: Engine, tmp_path: Path) -> None:
    publish(database, *(draft(f"n{number}", "Bread") for number in range(10)))
    first = EmbeddedIndex(tmp_path / "index")
    some = read_changes(database, 0, 4)
    first.apply(some, since=0, revision=some[-1].revision)
    first.close()
    unpublish(database, "n1", "n8")
    again = EmbeddedIndex(tmp_path / "index")
    assert again.revision() == 4
    assert catch_up(database, again, batch=3) == 7  # n1 and n8 are read once, as gone
    expected = {f"n{number}" for number in range(10)} - {"n1", "n8"}
    assert set(everything(again, Query())) == expected
    again.close()


def test_killed_in_the_middle_an_index_misses_and_adds_nothing(
    database: Engine, tmp_path: Path
) -> None:
    publish(database, *(draft(f"n{number}", "Bread") for number in range(40)))
    program = """
import os, sys
from pathlib import Path
from commons.database import make_engine
from marketplace.embedded import EmbeddedIndex
from marketplace.index import read_changes
import marketplace.embedded.generation as generation

engine, index = make_engine(sys.argv[1]), EmbeddedIndex(Path(sys.argv[2]))
for since in (0, 15):
    changes = read_changes(engine, since, 15)
    index.apply(changes, since=since, revision=changes[-1].revision)
changes = read_changes(engine, 30, 15)
generation.meta_document = lambda revision: os.kill(os.getpid(), 9)
index.apply(changes, since=30, revision=40)
"""
    arguments = [sys.executable, "-c", program, str(database.url), str(tmp_path / "index")]
    killed = subprocess.run(arguments, check=False)
    assert killed.returncode == -9
    index = EmbeddedIndex(tmp_path / "index")
    assert (index.revision(), index.count()) == (30, 30)
    assert catch_up(database, index) == 10
    assert set(everything(index, Query())) == {f"n{number}" for number in range(40)}
    index.close()


def test_another_process_reads_what_is_committed_and_cannot_write(
    database: Engine, tmp_path: Path
) -> None:
    publish(database, draft("a", "Bread"))
    writer, reader = EmbeddedIndex(tmp_path / "index"), EmbeddedIndex(tmp_path / "index")
    assert reader.count() == 0
    catch_up(database, writer)
    assert found(reader, q="bread") == {"a"}
    publish(database, draft("b", "Bread"))
    catch_up(database, writer)
    assert found(reader, q="bread") == {"a", "b"}
    with pytest.raises(UnavailableError):
        reader.apply([], since=2, revision=2)
    writer.rebuild(database)
    publish(database, draft("c", "Bread"))
    catch_up(database, writer)
    assert found(reader, q="bread") == {"a", "b", "c"}
    writer.close()
    publish(database, draft("d", "Bread"))
    assert catch_up(database, reader) == 1
    assert found(writer, q="bread") == {"a", "b", "c", "d"}
    reader.close()


def test_reading_on_tells_how_far_it_has_come(database: Engine, tmp_path: Path) -> None:
    for name in "abcde":
        publish(database, draft(name, "Bread"))
    index, told = EmbeddedIndex(tmp_path / "index"), list[int]()

    read_on(database, index, batch=2, tick=told.append)

    assert told == [2, 4, 5]
    assert found(index) == set("abcde")
    index.close()


def test_an_index_of_another_version_answers_again_once_it_is_rebuilt(
    database: Engine, tmp_path: Path
) -> None:
    publish(database, draft("a", "Bread"))
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "current").write_text("v0-of-long-ago")
    index = EmbeddedIndex(folder)
    with pytest.raises(UnavailableError):
        index.search(Query())
    assert catch_up(database, index) == 1
    assert found(index) == {"a"}
    index.close()


def test_what_changes_while_the_index_is_rebuilt_is_in_it_once_and_as_it_is_now(
    database: Engine, tmp_path: Path
) -> None:
    publish(database, *(draft(name, "Bread") for name in "abc"))
    index = EmbeddedIndex(tmp_path / "index")

    def change_meanwhile(revision: int) -> None:
        if revision == 3:  # the three are read, but not yet in use
            publish(database, draft("a", "Cake", updated=datetime.now(UTC)), draft("d", "Bread"))
            unpublish(database, "b")

    assert index.rebuild(database, change_meanwhile) == 6
    assert set(everything(index, Query())) == {"a", "c", "d"}
    assert found(index, q="cake") == {"a"}
    assert found(index, q="bread") == {"c", "d"}
    assert (index.revision(), index.count()) == (6, 3)
    index.close()


def test_an_empty_index_far_behind_is_filled_at_once(
    database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(database, *(draft(f"n{number}", "Bread") for number in range(12)))
    monkeypatch.setattr("marketplace.index.FAR_BEHIND", 10)
    index = EmbeddedIndex(tmp_path / "index")
    assert catch_up(database, index, batch=3) == 12
    assert index.count() == 12
    (build,) = index.builds()
    segments = list(Path(build.place).glob("*.store"))
    assert len(segments) == 1  # read on in batches of three, there would be four
    index.close()


def test_what_expires_is_gone_from_results_facets_and_cells_at_that_second(
    database: Engine, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    publish(
        database,
        draft("gone", "Bread", expires_at=now + timedelta(seconds=2), lat=48.2, lon=16.4),
        draft("stays", "Bread", expires_at=now + timedelta(days=2), lat=48.2, lon=16.4),
        draft("never", "Bread", lat=48.2, lon=16.4),
    )
    index = EmbeddedIndex(tmp_path / "index")
    catch_up(database, index)
    generation = index._current()  # noqa: SLF001 (asked at moments of its own choice)
    assert generation is not None
    snapshot = generation.snapshot()
    for query in (Query(), Query(q="bread"), Query(near=(48.2, 16.4))):
        before = answer(snapshot, query, now.timestamp())
        after = answer(snapshot, query, now.timestamp() + 3)
        assert (set(names(before)), before.total) == ({"gone", "stays", "never"}, 3)
        assert (set(names(after)), after.total) == ({"stays", "never"}, 2)
        assert after.facets["type"] == {"offer": 2}
        assert sum(cells(snapshot, query, now.timestamp() + 3, 5).values()) == 2
    index.close()


def test_freshness_tells_equal_listings_apart_however_old(tmp_path: Path) -> None:
    ages_days = (1, 30, 200, 400, 900, 2000)
    confirmed = datetime.now(UTC)
    index = EmbeddedIndex(tmp_path / "index")
    index.apply(
        [
            Change(f"d{days}", revision, bread(f"d{days}", confirmed - timedelta(days=days)))
            for revision, days in enumerate(ages_days, start=1)
        ],
        since=0,
        revision=len(ages_days),
    )
    for query in (Query(), Query(q="bread"), Query(q="bread", near=VIENNA), Query(near=VIENNA)):
        hits = index.search(query).hits
        assert [hit.id for hit in hits] == [f"d{days}" for days in ages_days]
    index.close()


def bread(name: str, confirmed: datetime) -> Entry:
    lat, lon = VIENNA
    return entry(name, title="Bread", lat=lat, lon=lon, published=confirmed, confirmed=confirmed)


def test_facets_of_very_many_are_told_from_a_sample_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.embedded.searching.FACETS_COUNTED", 1_000)
    index = EmbeddedIndex(tmp_path / "index")
    now = datetime.now(UTC)
    few, many = 900, 8_000
    index.fill(
        [
            [
                Change(f"x{n}", n, replace(bread(f"x{n}", now), type=kind_of(n, few), title=title))
                for n, title in enumerate(["Bread"] * few + ["Cake"] * many, start=1)
            ]
        ]
    )
    exact = index.search(Query(q="bread"))
    assert exact.facets_are_exact
    assert exact.facets["type"] == {"offer": few // 3, "want": few - few // 3}
    told = index.search(Query(q="cake"))
    assert (told.total, told.facets_are_exact) == (many, False)
    assert told.facets["type"] != {"want": many}  # or it would have been counted
    assert sum(told.facets["type"].values()) == pytest.approx(many, rel=0.15)
    index.close()


def kind_of(number: int, few: int) -> ListingType:
    return ListingType.OFFER if number <= few and number % 3 == 0 else ListingType.WANT
