"""What the index in PostgreSQL does beyond what every index does."""

import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import disposed
from market import VIENNA, add_groups, draft, found, names, publish, unpublish
from pydantic import ValidationError
from served import served
from sqlalchemy import Engine, create_engine, make_url, select, text, update

from bench.postgres import new_database
from commons.errors import UnavailableError
from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.embedded.ranking import RANKING
from marketplace.index import catch_up
from marketplace.indexes import open_index
from marketplace.places import RESOLUTIONS
from marketplace.postgresql import PostgresqlIndex, searching
from marketplace.postgresql.tables import META, NEXT_SCHEMA, SCHEMA, WORD
from marketplace.query import Query, Score


@pytest.fixture
def index(postgresql_index_url: str) -> Iterator[PostgresqlIndex]:
    made = PostgresqlIndex(postgresql_index_url)
    yield made
    made.close()


@pytest.fixture
def inside(postgresql_index_url: str) -> Iterator[Engine]:
    """Engine of the index's database, to look into its tables."""
    with disposed(create_engine(postgresql_index_url)) as engine:
        yield engine


@pytest.fixture
def database(sqlite_engine: Engine) -> Engine:
    add_groups(sqlite_engine)
    return sqlite_engine


def test_the_database_of_the_listings_can_hold_the_index(postgresql_engine: Engine) -> None:
    url = postgresql_engine.url.render_as_string(hide_password=False)
    index = open_index(Settings(database_url=url, index_url="postgresql:"))
    add_groups(postgresql_engine)
    publish(postgresql_engine, draft("a", "Bread", lat=VIENNA[0], lon=VIENNA[1]))
    assert catch_up(postgresql_engine, index) == 1
    assert index.rebuild(postgresql_engine) == 1
    assert found(index, q="bread", near=VIENNA) == {"a"}
    index.close()


def test_the_settings_choose_the_index(settings: Settings) -> None:
    assert isinstance(open_index(settings), EmbeddedIndex)
    url = "postgresql+psycopg2://nobody@127.0.0.1:1/none"
    index = open_index(settings.model_copy(update={"index_url": url}))
    assert isinstance(index, PostgresqlIndex)
    for wrong in ("postgresql:", "postgresql://nobody@127.0.0.1/none", "sqlite:///index"):
        with pytest.raises(ValidationError, match="postgresql:"):
            Settings(index_url=wrong)


def test_a_server_that_is_not_there_is_unavailable(database: Engine) -> None:
    index = PostgresqlIndex("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    for ask in (
        lambda: index.search(Query(q="bread")),
        index.revision,
        lambda: index.apply([], since=0, revision=0),
        lambda: index.rebuild(database),
    ):
        with pytest.raises(UnavailableError, match="does not answer"):
            ask()


def test_an_answer_that_takes_too_long_is_unavailable(
    index: PostgresqlIndex, database: Engine, inside: Engine, patience: pytest.MonkeyPatch
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    patience.undo()
    with inside.begin() as connection:
        connection.execute(text(f"LOCK TABLE {SCHEMA}.listing IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(UnavailableError, match="does not answer"):
            index.search(Query(q="bread"))
        assert searching.ANSWER_SECONDS == 2
    assert found(index, q="bread") == {"a"}


def test_all_the_statements_of_a_search_have_its_time_together(
    index: PostgresqlIndex, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(database, draft("a", "Bread", lat=VIENNA[0], lon=VIENNA[1]))
    catch_up(database, index)
    monkeypatch.setattr(searching, "ANSWER_SECONDS", 0)
    for ask in (lambda: index.search(Query(q="bread")), lambda: index.cells(Query(), 4)):
        with pytest.raises(UnavailableError, match="does not answer"):
            ask()


def test_while_the_index_does_not_answer_everything_else_goes_on(
    settings: Settings,
    database: Engine,
    postgresql_index_url: str,
    inside: Engine,
    patience: pytest.MonkeyPatch,
) -> None:
    patience.undo()
    chosen = settings.model_copy(update={"index_url": postgresql_index_url})
    publish(database, draft("a", "Bread"))
    with served(chosen, database) as service:
        service.work()
        assert service.get("/listings", q="bread").json()["total"] == 1
        with inside.begin() as connection:
            connection.execute(text(f"LOCK TABLE {SCHEMA}.meta IN ACCESS EXCLUSIVE MODE"))
            answer = service.get("/listings", q="bread")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
            assert service.get("/groups").status_code == 200
        assert service.get("/listings", q="bread").status_code == 200


def test_who_may_not_create_the_extensions_is_told_what_to_do(
    postgresql_server: str, database: Engine
) -> None:
    with new_database(postgresql_server) as url, disposed(create_engine(url)) as admin:
        name = make_url(url).database or ""
        with admin.begin() as connection:
            connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'narrow'"))
            connection.execute(text(f'GRANT CREATE ON DATABASE "{name}" TO {name}'))
        narrow = make_url(url).set(username=name, password="narrow")  # noqa: S106 (of this test)
        index = PostgresqlIndex(narrow.render_as_string(hide_password=False))
        try:
            with pytest.raises(UnavailableError, match="CREATE EXTENSION postgis"):
                index.rebuild(database)
            with pytest.raises(UnavailableError, match="CREATE EXTENSION postgis"):
                catch_up(_with_a_listing(database), index)
            with admin.begin() as connection:
                connection.execute(text("CREATE EXTENSION postgis; CREATE EXTENSION pg_trgm"))
            assert catch_up(database, index) == 1
            assert found(index) == {"a"}
        finally:
            index.close()
            with admin.begin() as connection:
                connection.execute(text(f"DROP OWNED BY {name}; DROP ROLE {name}"))


def _with_a_listing(database: Engine) -> Engine:
    publish(database, draft("a", "Bread"))
    return database


def test_the_words_are_counted_as_listings_come_and_go(
    index: PostgresqlIndex, database: Engine, inside: Engine
) -> None:
    publish(database, draft("a", "Bread, bread"), draft("b", "Bread and honey"))
    catch_up(database, index)
    assert _counts(inside) == {"bread": 2, "and": 1, "honey": 1}
    unpublish(database, "b")
    publish(database, draft("a", "Bread and jam"))
    catch_up(database, index)
    assert _counts(inside) == {"bread": 1, "and": 1, "jam": 1}
    assert found(index, q="homey") == set()
    assert index.count() == 1


def _counts(inside: Engine) -> dict[str, int]:
    with inside.connect() as connection:
        rows = connection.execute(select(WORD.c.word, WORD.c.listings).where(WORD.c.listings > 0))
        return {row.word: row.listings for row in rows}


def test_catalan_and_basque_are_stemmed(index: PostgresqlIndex, database: Engine) -> None:
    publish(
        database,
        draft("ca", "Classes de música", "Per a nens i nenes.", language="ca"),
        draft("eu", "Liburuak", "Euskarazko liburuak saltzen ditut.", language="eu"),
    )
    catch_up(database, index)
    assert found(index, q="nena") == {"ca"}
    assert found(index, q="classe") == {"ca"}
    assert found(index, q="liburua") == {"eu"}


def test_a_stem_finds_only_its_own_language(index: PostgresqlIndex, database: Engine) -> None:
    publish(
        database,
        draft("en", "Organising parties", language="en"),
        draft("none", "Organising parties"),
    )
    catch_up(database, index)
    assert found(index, q="organise") == {"en"}


def test_words_cannot_break_out_of_their_question(index: PostgresqlIndex, database: Engine) -> None:
    publish(database, draft("a", "O'Brien's bread \\ & | ! <-> :*"))
    catch_up(database, index)
    for q in ("'", "\\", "a' | 'b", "bread:* & !x", "((", "<->", "o'brien's", "%_", ":A", "!!"):
        page = index.search(Query(q=q))
        assert page.total_is_exact
    assert found(index, q="o'brien's") == {"a"}
    nasty = ("x') OR 1=1 --", "{a,b}", '"', "\\")
    assert found(index, category=nasty) == found(index, author=nasty) == set()


def test_a_phrase_does_not_run_from_one_field_into_the_next(
    index: PostgresqlIndex, database: Engine
) -> None:
    publish(database, draft("a", "Garden", "fork", categories=("tools", "metal")))
    catch_up(database, index)
    assert found(index, q='"garden fork"') == found(index, q='"tools metal"') == set()
    assert found(index, q="garden fork metal") == {"a"}


def test_tables_of_another_plan_are_built_anew(
    index: PostgresqlIndex, database: Engine, inside: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    with inside.begin() as connection:
        connection.execute(update(META).values(plan=0))
    assert index.outdated()
    with pytest.raises(UnavailableError, match="rebuilt"):
        index.search(Query())
    assert catch_up(database, index) == 1
    assert found(index) == {"a"}


def test_only_one_rebuilds_and_what_one_left_behind_is_cleared(
    index: PostgresqlIndex, database: Engine, inside: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    with inside.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {NEXT_SCHEMA}; CREATE TABLE {NEXT_SCHEMA}.x ()"))
    refused: list[UnavailableError] = []

    def rebuild_too(_revision: int) -> None:
        def attempt() -> None:
            try:
                index.rebuild(database)
            except UnavailableError as error:
                refused.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    assert index.rebuild(database, rebuild_too) == 1
    assert [error.detail for error in refused] == ["another process rebuilds this index"]
    assert found(index) == {"a"}
    with inside.connect() as connection:
        held = text("SELECT count(*) FROM pg_namespace WHERE nspname = :name")
        assert connection.scalar(held, {"name": NEXT_SCHEMA}) == 0


def test_a_hit_tells_why_it_stands_there(index: PostgresqlIndex, database: Engine) -> None:
    publish(
        database,
        draft("title", "Bread", lat=VIENNA[0], lon=VIENNA[1]),
        draft("body", "Something", "fresh bread", lat=VIENNA[0] + 0.09, lon=VIENNA[1]),
    )
    catch_up(database, index)
    for query in (Query(q="bread", explain=True), Query(q="bread", near=VIENNA, explain=True)):
        page = index.search(query)
        assert names(page) == ["title", "body"]
        scores = [hit.why for hit in page.hits if isinstance(hit.why, Score)]
        assert [s.total for s in scores] == sorted((s.total for s in scores), reverse=True)
        for score in scores:
            product = score.bm25 * score.freshness * score.image * score.price
            product *= 1.0 if score.distance is None else score.distance
            assert score.total == pytest.approx(product)
            assert score.weights == asdict(RANKING)
    assert index.search(Query(q="bread")).hits[0].why is None


def test_suggestions_are_those_of_the_embedded_index(
    index: PostgresqlIndex, database: Engine, tmp_path: Path
) -> None:
    embedded = EmbeddedIndex(tmp_path / "index")
    publish(
        database,
        draft("a", "Réparation de vélos", categories=("Vélo et transport",)),
        draft("b", "Vélo à prêter", "très verni", categories=("Vélo et transport", "garden")),
        draft("c", "Piano", place_name="Vélizy", lat=VIENNA[0], lon=VIENNA[1]),
        draft("d", "Guitar", place_name="Veldhoven"),
    )
    for each in (index, embedded):
        assert not any(asdict(each.suggest("vel", 10)).values())
        catch_up(database, each)
    for typed in (
        "vel",
        "VÉL",
        "réparation v",
        "piano v",
        "transport vel",
        "",
        "-",
        "%",
        "a" * 400,
    ):
        ours, theirs = index.suggest(typed, 10), embedded.suggest(typed, 10)
        assert sorted(ours.words) == sorted(theirs.words)
        assert (ours.categories, ours.places) == (theirs.categories, theirs.places)
    assert index.suggest("ve", 10).words[-1] == "verni"
    assert len(index.suggest("v", 1).words) == 1
    unpublish(database, "a", "b", "c", "d")
    catch_up(database, index)
    assert not any(asdict(index.suggest("v", 10)).values())
    embedded.close()


def test_both_indexes_give_the_same_answers(
    index: PostgresqlIndex, database: Engine, tmp_path: Path
) -> None:
    embedded = EmbeddedIndex(tmp_path / "index")
    shades = ("Bread", "Brot und Honig", "Honey bread", "Jam")
    publish(
        database,
        *(
            draft(
                f"n{number}",
                shades[number % 4],
                lat=VIENNA[0] + number / 50,
                lon=VIENNA[1],
                language=("en", "de")[number % 2],
                categories=(f"c{number % 3}",),
            )
            for number in range(60)
        ),
    )
    for each in (index, embedded):
        catch_up(database, each)
    for query in (
        Query(),
        Query(q="bread"),
        Query(q="honey -bread"),
        Query(q="honey bread xylophone"),
        Query(q="jam bread -honey", near=VIENNA, radius_km=40.0),
        Query(q="xylophone quetzal"),
        Query(category=("c1", "c2"), language=("de",)),
        Query(near=VIENNA, radius_km=40.0),
        Query(q="jam", near=VIENNA, bbox=(16.0, 48.0, 17.0, 48.5)),
    ):
        ours, theirs = index.search(query), embedded.search(query)
        assert (ours.total, ours.facets) == (theirs.total, theirs.facets)
        assert ours.loosened == theirs.loosened
        for resolution in RESOLUTIONS:
            assert index.cells(query, resolution) == embedded.cells(query, resolution)
    embedded.close()
