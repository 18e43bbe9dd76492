"""How the index in PostgreSQL finds, ranks and counts, however much there is and is asked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random

import h3  # type: ignore[import-untyped] # it has no annotations
import pytest
from conftest import disposed
from market import NOW, VIENNA, draft, entry, everything, found, names, publish
from sqlalchemy import Engine, create_engine, event, select, text

from marketplace.index import Change, Entry, catch_up
from marketplace.payable import How, Payee
from marketplace.payment_terms import PaymentTerms
from marketplace.postgresql import PostgresqlIndex, matching, searching
from marketplace.postgresql.matching import MOST_FORGIVEN, compounds, similar_words
from marketplace.postgresql.stems import STEM_MARK
from marketplace.postgresql.tables import WORD
from marketplace.query import WINDOW, Query, Sort


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


def put(index: PostgresqlIndex, *entries: Entry) -> None:
    since = index.revision()
    changes = [Change(each.id, since + at, each) for at, each in enumerate(entries, start=1)]
    index.apply(changes, since=since, revision=since + len(entries))


def test_of_more_than_ten_thousand_all_are_ranked(index: PostgresqlIndex) -> None:
    old = NOW - timedelta(days=60)
    put(
        index,
        *(entry(f"n{number}", text="fresh bread") for number in range(WINDOW + 200)),
        entry("best", title="Bread", confirmed=old),
        entry("pictured", confirmed=NOW - timedelta(days=1), image="https://hub.example/i.png"),
    )
    page = index.search(Query(q="bread"))
    assert (page.total, page.total_is_exact) == (WINDOW + 201, False)
    assert names(page)[0] == "best"
    assert names(index.search(Query()))[0] == "pictured"
    assert names(index.search(Query(q="bread", limit=100))) == names(
        index.search(Query(q="bread", limit=100))
    )


def test_of_too_many_to_rank_the_foremost_are_ranked_and_counted(
    index: PostgresqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_MOST_LOOKED_AT", 20)
    put(
        index,
        *(
            entry(
                f"n{number}",
                title="Bread" if number in {3, 30} else "Something with bread",
                text="bread",
                language="en" if number < 20 else "de",
                confirmed=NOW - timedelta(days=number),
                lat=VIENNA[0] + number / 100,
                lon=VIENNA[1],
            )
            for number in range(40)
        ),
    )
    for near in (None, VIENNA):
        page = index.search(Query(q="bread", near=near, limit=100))
        assert (page.total, page.facets["language"]) == (20, {"en": 20})
        assert set(names(page)) == {f"n{number}" for number in range(20)}
    last = Query(near=VIENNA, sort=Sort.DISTANCE, limit=100)
    assert names(index.search(last)) == [f"n{number}" for number in range(20)] + [
        f"n{number}" for number in range(20, 40)
    ]
    assert names(index.search(Query(limit=40))) == [f"n{number}" for number in range(40)]


def test_the_fullest_cells_are_told_where_there_are_too_many(
    index: PostgresqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searching._MOST_CELLS == WINDOW  # noqa: SLF001 (what is promised)
    monkeypatch.setattr(searching, "_MOST_CELLS", 2)
    spots = {"a": 0.0, "b": 10.0, "c": 20.0}
    counts = {"a": 1, "b": 3, "c": 2}
    put(
        index,
        *(
            entry(f"{spot}{number}", lat=spots[spot], lon=0.0)
            for spot, count in counts.items()
            for number in range(count)
        ),
    )
    cells = {spot: h3.latlng_to_cell(lat, 0.0, 4) for spot, lat in spots.items()}
    assert index.cells(Query(), 4) == {cells["b"]: 3, cells["c"]: 2}


def test_words_that_nobody_has_are_asked_for_in_few_statements(
    index: PostgresqlIndex, database: Engine
) -> None:
    publish(database, *(draft(f"n{number}", "Garden fork for sale") for number in range(300)))
    catch_up(database, index)
    random = Random(1)  # noqa: S311 (examples, not secrets)
    statements: list[str] = []
    engine = index._engine  # noqa: SLF001 (to count what is asked of the server)
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))

    def words(count: int, letters: int) -> str:
        made = ("".join(random.choices("abcdefgh", k=letters)) for _ in range(count))
        return " ".join(made)

    for q in (
        words(55, 6),
        words(133, 2),
        words(200, 1),
        " ".join(["gardxn"] * 55),
        " ".join(["forx", "gardxn", "salx"] * 18),
        " ".join(f"-{word}" for word in words(55, 5).split()),
        f'"{words(60, 5)}"',
        "a" * 400,
    ):
        statements.clear()
        index.search(Query(q=q[:400]))
        assert len(statements) <= 14, q
    statements.clear()
    index.search(Query(q=words(55, 6)))
    assert 0 < len(statements) <= 12


def test_typing_errors_are_forgiven_in_as_many_words_as_anybody_mistypes(
    index: PostgresqlIndex, database: Engine
) -> None:
    things = ["kitchen", "garden", "bicycle", "piano", "guitar", "hammer", "ladder", "window"]
    publish(database, draft("all", " ".join(things)))
    catch_up(database, index)
    mistyped = [f"{thing[:3]}x{thing[4:]}" for thing in things]
    for known, loosened in ((MOST_FORGIVEN, False), (MOST_FORGIVEN + 1, True)):
        for words in (mistyped[:known], mistyped[:known] + things[known:]):
            page = index.search(Query(q=" ".join(words)))
            assert (names(page), page.loosened) == (["all"], loosened)


def test_of_words_that_nothing_has_together_rare_ones_are_looked_for(
    index: PostgresqlIndex, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "WINDOW", 2)
    bicycles = {f"bicycle{number}" for number in range(12)}
    publish(database, *(draft(name, "Bicycle") for name in bicycles))
    publish(database, draft("harp", "Harp strings"), draft("zither", "Zither"))
    catch_up(database, index)
    many = "kazoo ocarina theremin balalaika didgeridoo"
    for q, expected in (
        ("harp zither", {"harp", "zither"}),
        ("bicycle zither", {"zither"}),  # more than 10 together
        ("bicycle xylophone", bicycles),
        (f"bicycle xylophone {many}", bicycles),
        (f"bicycle harp zither {many}", {"harp", "zither"}),
    ):
        page = index.search(Query(q=q, limit=100))
        assert (set(names(page)), page.loosened) == ({*expected}, True), q
    assert found(index, q="bicycle harp strings") == {"harp"}


def test_words_that_may_be_meant_are_looked_for_by_the_index_of_trigrams(
    index: PostgresqlIndex, database: Engine, inside: Engine
) -> None:
    publish(database, draft("a", "Gardens, gardeners and a kitchen", language="en"))
    publish(database, draft("b", "Kräutergarten", "Obstgarten"))
    catch_up(database, index)
    mistyped, ends = similar_words(["gardan", "kitchan"]), compounds(["garten"])
    with inside.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL pg_trgm.similarity_threshold = 0.2"))
        found_words = [tuple(row) for row in connection.execute(mistyped)]
        found_ends = [tuple(row) for row in connection.execute(ends)]
        for asked in (mistyped, ends):
            explained = asked.compile(inside, compile_kwargs={"literal_binds": True})
            plan = connection.exec_driver_sql(f"EXPLAIN {explained}").scalars()
            assert "Bitmap Index Scan on word_trigrams" in "\n".join(plan)
        stems = connection.scalars(select(WORD.c.word).where(WORD.c.word.startswith(STEM_MARK)))
        assert {"/en/garden", "/en/kitchen"} <= set(stems)
    assert found_words == [("gardan", "gardens", 1), ("kitchan", "kitchen", 1)]
    assert found_ends == [("garten", "krautergarten", 1)]
    assert index.suggest("gard", 10).words == ["gardeners", "gardens"]
    assert index.suggest("/", 10).words == index.suggest("en", 10).words == []


def test_letters_written_without_spaces_are_found_in_their_order(
    index: PostgresqlIndex, database: Engine
) -> None:
    publish(
        database,
        draft("zh", "自行车修理", "我会修理刹车。", language="zh", place_name="北京市"),
        draft("ja", "自転車の修理", language="ja", categories=("日用品",)),
        draft("th", "ซ่อมจักรยาน", language="th"),
        draft("ko", "자전거 수리", language="ko"),
    )
    catch_up(database, index)
    for q, expected in (
        ("自行车", {"zh"}),
        ("修理", {"zh", "ja"}),
        ("理修", {"zh", "ja"}),  # as nothing has them in this order
        ("修理 自", {"zh", "ja"}),
        ("自転車 -刹", {"ja"}),
        ("自 -刹车", {"ja"}),
        ("จักรยาน", {"th"}),
        ("日用品", {"ja"}),
        ("수리", {"ko"}),
    ):
        assert found(index, q=q) == expected, q


def test_a_word_is_excluded_whether_anybody_has_it_or_not(
    index: PostgresqlIndex, database: Engine
) -> None:
    publish(database, draft("a", "Red bread"), draft("b", "Bread with red jam"))
    catch_up(database, index)
    assert found(index, q="bread -jam -xylophone") == {"a"}
    assert found(index, q='-"red bread" -"jam xylophone"') == {"b"}
    assert found(index, q="-bread -xylophone") == set()
    assert found(index, q="-xylophone") == {"a", "b"}


def test_little_words_need_not_be_there_where_others_are(
    index: PostgresqlIndex, database: Engine
) -> None:
    publish(
        database,
        draft("place", "Lessons", place_name="Graz"),
        draft("other", "Lessons für Anfänger in town"),
    )
    catch_up(database, index)
    assert names(index.search(Query(q="lessons in graz"))) == ["place"]
    assert names(index.search(Query(q="lessons für in"))) == ["other", "place"]
    assert found(index, q="für in") == {"other"}
    assert index.suggest("gra", 10).words == []


def test_a_rebuilt_index_knows_its_figures_and_finds_the_same(
    index: PostgresqlIndex, database: Engine, inside: Engine
) -> None:
    publish(database, *(draft(f"n{number}", "Breads", language="en") for number in range(30)))
    catch_up(database, index)
    before = index.search(Query(q="bread"))
    index.rebuild(database)
    with inside.connect() as connection:
        known = text(
            "SELECT reltuples FROM pg_class WHERE oid = 'localpay_index.listing'::regclass"
        )
        assert connection.scalar(known) == 30
    after = index.search(Query(q="bread"))
    assert names(after) == names(before)
    assert after.facets == before.facets


def test_who_can_be_paid_is_asked_together_with_everything_else(index: PostgresqlIndex) -> None:
    priced = {"cheap": 1.5, "dear": 20.0, "silent": None}
    put(
        index,
        *(
            entry(
                name,
                title="Bread",
                group="river",
                lat=VIENNA[0],
                lon=VIENNA[1],
                terms=PaymentTerms(("local",), ("RIV",), settles=True, price=price),
            )
            for name, price in priced.items()
        ),
        entry("euros", title="Bread", group="river", terms=PaymentTerms(("national",), ("EUR",))),
    )
    many = tuple(Payee(f"g{number}", How.CLEARING, "X", f"{number}") for number in range(3000))
    payees = (*many, Payee("river", How.CLEARING, "RIV", "1.50"))
    for question in (Query(), Query(q="bread"), Query(q="braed", near=VIENNA)):
        asked = replace(question, payer_group="lake", payees=payees, explain=True)
        assert set(everything(index, asked)) == {"cheap", "silent"}
        assert index.search(asked).facets["group"] == {"river": 2}
    assert sum(index.cells(Query(payees=payees), 4).values()) == 2
    assert found(index, payees=()) == set()
