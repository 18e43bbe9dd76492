"""A disk that fills up while the index is written: searches go on, and nothing is lost."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from market import add_groups, draft, found, publish
from operating import running
from served import keep_keys
from small_disk import BLOCK, SmallDisk, small_disk
from sqlalchemy import Engine

from commons.database import make_engine
from commons.errors import UnavailableError
from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up, read_changes

FULL = "disk is full|No space left"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, megabytes=2) as disk:
        yield disk


@pytest.fixture
def database(settings: Settings, sqlite_template: Path) -> Engine:
    shutil.copyfile(sqlite_template, settings.data_dir / "localpay.sqlite")
    engine = make_engine(settings.effective_database_url)
    add_groups(engine)
    publish(engine, *(draft(f"n{number}", "Fresh bread") for number in range(20)))
    return engine


@pytest.fixture
def index(database: Engine, disk: SmallDisk) -> Iterator[EmbeddedIndex]:
    index = EmbeddedIndex(disk.folder / "index")
    catch_up(database, index)
    yield index
    index.close()


def publish_more(database: Engine, count: int, body: str = "") -> None:
    publish(database, *(draft(f"more{number}", "New bread", body) for number in range(count)))


def test_a_full_disk_stops_the_writing_alone_until_there_is_room(
    database: Engine, disk: SmallDisk, index: EmbeddedIndex
) -> None:
    disk.fill()
    publish_more(database, 20)
    for _ in range(3):
        with pytest.raises(UnavailableError, match=FULL):
            catch_up(database, index)
        assert index.revision() == 20
        assert len(found(index, q="bread")) == 20
    disk.make_room()
    assert catch_up(database, index) == 20
    assert len(found(index, q="bread")) == 40
    publish(database, draft("last", "Last bread"))
    assert catch_up(database, index) == 1


def test_changes_that_fill_the_disk_themselves_leave_nothing_behind(
    database: Engine, disk: SmallDisk, index: EmbeddedIndex
) -> None:
    disk.fill(but_bytes=600_000)
    publish_more(database, 300, "".join(f" {number:x}" for number in range(4_000)))
    with pytest.raises(UnavailableError, match=FULL):
        catch_up(database, index)
    assert (index.revision(), len(found(index, q="bread"))) == (20, 20)
    few = read_changes(database, 20, 3)
    index.apply(few, since=20, revision=23)  # what filled the disk is gone from it
    assert len(found(index, q="bread")) == 23
    disk.make_room()
    with pytest.raises(UnavailableError, match=FULL):
        catch_up(database, index)
    assert index.revision() == 23


def test_a_rebuild_that_fills_the_disk_is_taken_back(
    database: Engine, disk: SmallDisk, index: EmbeddedIndex
) -> None:
    folder = disk.folder / "index"
    before = sorted(path.name for path in folder.iterdir())
    for room in (0, 2 * BLOCK, 8 * BLOCK):
        disk.fill(but_bytes=room)
        with pytest.raises(UnavailableError, match=FULL):
            index.rebuild(database)
        assert sorted({*before, "rebuild.lock"}) == sorted(path.name for path in folder.iterdir())
        assert len(found(index, q="bread")) == 20
        disk.make_room()
    assert index.rebuild(database) == 20
    assert len(found(index, q="bread")) == 20


def test_the_first_change_on_a_full_disk_is_put_in_when_there_is_room(
    database: Engine, disk: SmallDisk
) -> None:
    disk.fill()
    index = EmbeddedIndex(disk.folder / "index")
    with pytest.raises(UnavailableError, match=FULL):
        catch_up(database, index)
    disk.make_room()
    assert catch_up(database, index) == 20
    assert [build.in_use for build in index.builds()] == [True]
    index.close()


def test_the_worker_says_that_the_disk_is_full_and_goes_on_when_there_is_room(
    database: Engine, disk: SmallDisk, settings: Settings, tmp_path: Path
) -> None:
    assert settings.effective_database_url == str(database.url)
    keep_keys(settings)
    (settings.data_dir / "index").symlink_to(disk.folder / "index")
    (disk.folder / "index").mkdir()
    disk.fill()
    index = EmbeddedIndex(settings.data_dir / "index")
    with running(settings, "work", tmp_path / "log") as worker:
        assert worker.says("the disk is full")
        disk.make_room()
        assert worker.until(lambda: index.revision() == 20)
    assert "Traceback" not in worker.said()
    assert len(found(index, q="bread")) == 20
    index.close()
