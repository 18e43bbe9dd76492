"""What the embedded index does beyond the contract: processes, kills, versions."""

import subprocess
import sys
from pathlib import Path

import pytest
from market import add_groups, draft, everything, found, publish, unpublish
from sqlalchemy import Engine

from commons.errors import UnavailableError
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up, read_changes, read_on
from marketplace.query import Query


@pytest.fixture
def database(sqlite_engine: Engine) -> Engine:
    add_groups(sqlite_engine)
    return sqlite_engine


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
