"""`localpay index status`: how far each build of the index is, how large, and how well."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from market import add_groups, draft, publish, unpublish
from meilisearch_server import recording
from operating import environment, run
from sqlalchemy import Engine, create_engine, text
from typer.testing import CliRunner

from api.commands import app
from commons.database import make_engine, transaction
from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index, catch_up
from marketplace.indexes import open_index
from marketplace.listings import by_uri
from marketplace.postgresql.tables import NEXT_SCHEMA, SCHEMA, create_tables
from marketplace.query import Query

HOUR_SECONDS = 3600


@pytest.fixture
def database(settings: Settings, sqlite_template: Path) -> Engine:
    shutil.copyfile(sqlite_template, settings.data_dir / "localpay.sqlite")
    engine = make_engine(settings.effective_database_url)
    add_groups(engine)
    return engine


def fall_behind(database: Engine, index: Index) -> None:
    """Leave an index three revisions behind, of which the first is an hour old."""
    publish(database, draft("a", "Bread"), draft("b", "Bread"))
    catch_up(database, index)
    publish(database, draft("c", "Bread"))
    with transaction(database) as session:
        late = by_uri(session, "https://hub.example/c")
        assert late is not None
        late.confirmed_at -= timedelta(seconds=HOUR_SECONDS)
    publish(database, draft("d", "Bread"))
    unpublish(database, "a")


def status(settings: Settings) -> dict[str, Any]:
    done = run(settings, "index", "status", "--json")
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def assert_behind(told: dict[str, Any]) -> None:
    assert told["last_revision"] == 5
    build = told["builds"][0]
    assert build["in_use"] is True
    assert build["broken"] is None
    assert build["outdated"] is False
    assert build["plan"]
    assert (build["revision"], build["lag"], build["listings"]) == (2, 3, 2)
    assert HOUR_SECONDS <= build["lag_seconds"] < HOUR_SECONDS + 600
    assert build["size_bytes"] > 0


def test_the_embedded_index_tells_how_far_it_is_while_it_is_written(
    database: Engine, settings: Settings
) -> None:
    index = EmbeddedIndex(settings.data_dir / "index")
    fall_behind(database, index)  # and holds the writer's lock
    told = status(settings)
    assert told["kind"] == "embedded"
    assert_behind(told)
    assert catch_up(database, index) == 3
    (build,) = status(settings)["builds"]
    assert (build["revision"], build["lag"], build["lag_seconds"]) == (5, 0, 0)
    table = run(settings, "index", "status").stdout
    assert "in use" in table
    assert "sound" in table
    assert str(settings.data_dir / "index") in table
    index.close()


def test_a_missing_index_is_told_with_what_makes_one(database: Engine, settings: Settings) -> None:
    publish(database, draft("a", "Bread"))
    done = run(settings, "index", "status")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no index yet; `localpay reindex` builds it" in done.stderr
    assert run(settings, "reindex").exit_code == 0
    assert run(settings, "index", "status").exit_code == 0


def test_a_folder_that_is_deleted_while_it_is_open_is_filled_anew(
    database: Engine, settings: Settings
) -> None:
    index = EmbeddedIndex(settings.data_dir / "index")
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    shutil.rmtree(settings.data_dir / "index")
    assert index.search(Query(q="bread")).total == 0
    publish(database, draft("b", "Bread"))
    assert catch_up(database, index) == 2
    assert index.search(Query(q="bread")).total == 2
    index.close()


def test_a_narrow_terminal_shows_places_and_damage_whole(
    database: Engine, settings: Settings
) -> None:
    index = EmbeddedIndex(settings.data_dir / "index")
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    index.close()
    (build,) = index.builds()
    for file in Path(build.place).glob("*.store"):
        file.unlink()  # not cut short: who has it open would be ended
    (broken,) = index.builds()
    assert broken.broken
    narrow = CliRunner(env=environment(settings) | {"COLUMNS": "80"})
    done = narrow.invoke(app, ["index", "status"])
    assert done.exit_code == 1
    assert f"in use: {build.place} is broken: {broken.broken}\n" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()[:-1])


def test_builds_that_lie_beside_are_told_after_the_one_in_use(
    database: Engine, settings: Settings
) -> None:
    folder = settings.data_dir / "index"
    index = EmbeddedIndex(folder)
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    before = (folder / "current").read_text()
    publish(database, draft("b", "Bread"))
    index.rebuild(database)
    index.close()
    (folder / "v0-of-long-ago").mkdir()
    told = status(settings)["builds"]
    assert [(build["in_use"], build["revision"]) for build in told] == [
        (True, 2),
        (False, None),
        (False, 1),
    ]
    assert [build["outdated"] for build in told] == [False, True, False]
    assert told[2]["place"] == str(folder / before)


def test_an_index_of_another_plan_is_told_as_outdated(settings: Settings, database: Engine) -> None:
    folder = settings.data_dir / "index"
    folder.mkdir()
    (folder / "v0-of-long-ago").mkdir()
    (folder / "current").write_text("v0-of-long-ago")
    (build,) = status(settings)["builds"]
    assert (build["outdated"], build["plan"], build["revision"]) == (True, "0", None)
    assert "outdated" in run(settings, "index", "status").stdout
    assert database.dialect.name == "sqlite"


def test_the_postgresql_index_tells_how_far_it_is(
    database: Engine, settings: Settings, postgresql_index_url: str
) -> None:
    settings = settings.model_copy(update={"index_url": postgresql_index_url})
    index = open_index(settings)
    fall_behind(database, index)
    told = status(settings)
    assert told["kind"] == "postgresql"
    assert_behind(told)
    assert len(told["builds"]) == 1
    engine = create_engine(postgresql_index_url)
    beside = engine.execution_options(schema_translate_map={SCHEMA: NEXT_SCHEMA})
    with beside.begin() as connection:
        create_tables(connection, NEXT_SCHEMA)  # as a rebuild leaves them that was killed
    with engine.begin() as connection:
        connection.execute(text("UPDATE localpay_index.meta SET plan = plan - 1"))
    engine.dispose()
    told = status(settings)
    assert [(build["in_use"], build["outdated"]) for build in told["builds"]] == [
        (True, True),
        (False, False),
    ]
    index.close()


def test_the_meilisearch_index_tells_how_far_it_is(database: Engine, settings: Settings) -> None:
    with recording() as recorder:
        settings = settings.model_copy(update={"index_url": recorder.url})
        none = run(settings, "index", "status", "--json")
        assert (none.exit_code, json.loads(none.stdout)["builds"]) == (1, [])
        fall_behind(database, open_index(settings))
        recorder.sent()
        told = status(settings)
        asked = {(request.method, request.path) for request in recorder.sent()}
    assert told["kind"] == "meilisearch"
    assert_behind(told)
    assert ("GET", "/stats") in asked
    assert {method for method, path in asked if not path.endswith("/fetch")} == {"GET"}


def test_a_server_that_does_not_answer_is_told_in_one_line(
    database: Engine, settings: Settings
) -> None:
    with recording() as recorder:
        nowhere = recorder.url
    settings = settings.model_copy(update={"index_url": nowhere})
    assert settings.effective_database_url == str(database.url)
    done = run(settings, "index", "status")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
