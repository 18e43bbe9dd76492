"""A damaged folder of the embedded index: it is said, nothing else suffers, one command heals."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from market import add_groups, draft, found, publish, unpublish
from operating import run, running
from served import keep_keys, served
from sqlalchemy import Engine, select

from api.migrations import upgrade
from commons.database import make_engine, reading
from commons.errors import UnavailableError
from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.index import catch_up
from marketplace.listings import Listing
from marketplace.query import Query

Damage = Callable[[Path], object]
SEGMENT_FILES = ("fast", "fieldnorm", "idx", "pos", "store", "term", "del")


def in_use(folder: Path) -> Path:
    return folder / (folder / "current").read_text()


def changed(path: Path, content: bytes) -> None:
    """Put other bytes in a file's place, as a restored or repaired one; readers keep theirs."""
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(path)


def current_says(content: bytes) -> Damage:
    return lambda folder: changed(folder / "current", content)


def meta_says(content: bytes) -> Damage:
    return lambda folder: changed(in_use(folder) / "meta.json", content)


def cut(ending: str) -> Damage:
    def damage(folder: Path) -> None:
        for path in in_use(folder).glob(f"*.{ending}"):
            changed(path, path.read_bytes()[: path.stat().st_size // 2])

    return damage


def flipped(ending: str) -> Damage:
    """One bit in the middle of what a file holds, before the end by which it is known."""

    def damage(folder: Path) -> None:
        path = next(in_use(folder).glob(f"*.{ending}"))
        content = bytearray(path.read_bytes())
        footer_bytes = int.from_bytes(content[-8:-4], "little") + 8
        content[(len(content) - footer_bytes) // 2] ^= 4
        changed(path, bytes(content))

    return damage


def gone(ending: str) -> Damage:
    return lambda folder: next(in_use(folder).glob(f"*.{ending}")).unlink()


# Each with what is told of it.
DAMAGES: dict[str, tuple[Damage, str]] = {
    "current is empty": (current_says(b""), "does not name a build"),
    "current is no text": (current_says(b"\xff\xfe\x00"), "does not name a build"),
    "current leads elsewhere": (current_says(b"v2-../../listings"), "does not name a build"),
    "current is cut": (
        lambda folder: changed(folder / "current", (folder / "current").read_bytes()[:7]),
        "meta.json: No such file",
    ),
    "the folder is gone": (lambda folder: shutil.rmtree(in_use(folder)), "No such file"),
    "meta.json is gone": (lambda folder: (in_use(folder) / "meta.json").unlink(), "No such file"),
    "meta.json is empty": (meta_says(b""), "meta.json cannot be read"),
    "meta.json is garbage": (meta_says(b"\xff{]"), "meta.json cannot be read"),
    "meta.json is another document": (meta_says(b'{"segments": 7}'), "meta.json cannot be read"),
    **{f"{kind} is cut": (cut(kind), f".{kind} is cut short") for kind in SEGMENT_FILES},
    **{f"{kind} is flipped": (flipped(kind), "not as it was written") for kind in SEGMENT_FILES},
    **{f"{kind} is gone": (gone(kind), f".{kind}: No such file") for kind in SEGMENT_FILES},
}


@pytest.fixture
def database(settings: Settings, sqlite_template: Path) -> Engine:
    shutil.copyfile(sqlite_template, settings.data_dir / "localpay.sqlite")
    engine = make_engine(settings.effective_database_url)
    add_groups(engine)
    publish(engine, *(draft(f"n{number}", "Fresh bread") for number in range(9)))
    return engine


@pytest.fixture
def folder(database: Engine, settings: Settings) -> Path:
    """Folder of an index of two segments, in one of which something is deleted."""
    index = EmbeddedIndex(settings.data_dir / "index")
    catch_up(database, index)
    publish(database, draft("late", "Late bread"))
    unpublish(database, "n0")
    catch_up(database, index)
    index.close()
    return settings.data_dir / "index"


def rows(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as session:
        return [tuple(row) for row in session.execute(select(*Listing.__table__.columns))]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_refuses_and_is_built_anew_from_the_listings(
    name: str, database: Engine, folder: Path
) -> None:
    damage, told = DAMAGES[name]
    before = rows(database)
    damage(folder)
    index = EmbeddedIndex(folder)
    (build, *_) = index.builds()
    assert build.in_use
    assert build.broken is not None
    assert told in build.broken
    for ask in (
        lambda: index.search(Query(q="bread")),
        lambda: index.suggest("br", 5),
        lambda: index.cells(Query(), 4),
        index.revision,
        index.count,
        lambda: catch_up(database, index),
    ):
        with pytest.raises(UnavailableError):
            ask()

    index.rebuild(database)
    assert found(index, q="bread") == {f"n{number}" for number in range(1, 9)} | {"late"}
    assert index.builds()[0].broken is None
    assert rows(database) == before
    index.close()


@pytest.mark.parametrize("name", ["current is empty", "the folder is gone", "store is flipped"])
def test_the_status_says_what_is_damaged_and_one_command_makes_it_good(
    name: str, settings: Settings, folder: Path
) -> None:
    damage, told = DAMAGES[name]
    damage(folder)
    status = run(settings, "index", "status", "--json")
    assert status.exit_code == 1
    assert str(folder) in status.stderr
    assert "`localpay reindex`" in status.stderr
    assert told in json.loads(status.stdout)["builds"][0]["broken"]
    assert "broken" in run(settings, "index", "status").stdout
    assert run(settings, "reindex").exit_code == 0
    assert run(settings, "index", "status").exit_code == 0
    assert "Late bread" in run(settings, "search", "late").stdout


@pytest.mark.parametrize(
    "name",
    ["current is no text", "the folder is gone", "meta.json is garbage", "term is cut"],
)
def test_what_is_damaged_while_it_answers_is_a_503_until_it_is_built_anew(
    name: str, database: Engine, settings: Settings, folder: Path
) -> None:
    with served(settings, database) as service:
        assert service.get("/listings", q="bread").json()["total"] == 9
        DAMAGES[name][0](folder)
        services = service.services
        with pytest.MonkeyPatch.context() as patch:
            # A process that begins here has nothing open yet.
            patch.setattr(services.index, "_generation", None)
            for path in ("/listings", "/listings/map?zoom=4&bbox=0,0,9,9", "/listings.rss"):
                answer = service.client.get(path)
                assert answer.status_code == 503, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["Retry-After"]) > 0
                assert str(folder) not in answer.text
            assert service.get("/groups").status_code == 200
        services.index.rebuild(database)
        assert service.get("/listings", q="bread").json()["total"] == 9


def test_an_index_that_may_not_be_read_is_told_and_answers_when_it_may(
    database: Engine, folder: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may act as somebody who may not read")
    index = EmbeddedIndex(folder)
    assert found(index, q="late") == {"late"}
    again = EmbeddedIndex(folder)
    folder.parent.chmod(0o711)
    folder.chmod(0o700)
    os.seteuid(65534)
    try:
        (build,) = again.builds()
        with pytest.raises(UnavailableError):
            again.search(Query())
    finally:
        os.seteuid(0)
    assert build.broken is not None
    assert found(again, q="late") == {"late"}
    assert database.url.database is not None


def test_serving_says_at_start_what_is_damaged_and_takes_up_what_is_built_anew(
    database: Engine, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    keep_keys(settings)
    flipped("store")(folder)
    with running(settings, "serve", tmp_path / "log") as service:
        assert service.says("`localpay reindex`")
        (line,) = (line for line in service.said().splitlines() if "`localpay reindex`" in line)
        assert str(folder) in line
        refusal = service.answers("/listings", 503)
        assert refusal is not None
        assert refusal.headers["Retry-After"]
        assert service.answers("/groups", 200)
        assert service.answers("/transfers", 401)  # clearing goes on, and knows who does not call
        assert run(settings, "reindex").exit_code == 0
        assert service.answers("/listings", 200, "Late bread")
        publish(database, draft("new", "New bread"))
        assert service.answers("/listings", 200, "New bread")
    assert "Traceback" not in service.said()


def test_the_worker_says_at_start_what_is_damaged_and_goes_on_when_it_is_built_anew(
    database: Engine, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    keep_keys(settings)
    cut("term")(folder)
    with running(settings, "work", tmp_path / "log") as worker:
        assert worker.says("`localpay reindex`")
        assert str(folder) in worker.said()
        assert run(settings, "reindex").exit_code == 0
        publish(database, draft("new", "New bread"))
        index = EmbeddedIndex(folder)
        worker.until(lambda: index.revision() == 12)
        assert found(index, q="new") == {"new"}
        index.close()
    assert "Traceback" not in worker.said()


def test_a_new_folder_is_no_damage(settings: Settings) -> None:
    upgrade(settings.effective_database_url)
    done = run(settings, "index", "status", "--json")
    assert json.loads(done.stdout) == {"kind": "embedded", "last_revision": 0, "builds": []}
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "damaged" not in done.stderr
