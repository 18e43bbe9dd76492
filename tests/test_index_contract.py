"""What every index of listings must do, asked of each of them."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from market import (
    HOURS,
    NOW,
    VIENNA,
    draft,
    found,
    names,
    publish,
    unpublish,
)
from sqlalchemy import Engine, delete, select, update

from commons.database import reading
from commons.errors import ConflictError
from marketplace.drafts import ListingType
from marketplace.index import Index, catch_up, read_changes
from marketplace.listings import Listing, visible
from marketplace.meilisearch import MeilisearchIndex
from marketplace.payment import Payment, PaymentMeans
from marketplace.query import Query, Sort

WORDS = (
    draft("rad", "Fahrräder reparieren", "Ich richte Bremsen und Ketten.", language="de"),
    draft("velo", "Réparation de vélos", "Freins, chaînes et roues.", language="fr"),
    draft("bike", "Bicycle repairs", "Brakes, chains and <b>wheels</b>.", language="en"),
    draft("fork", "Garden fork", "Hardly used, from a bicycle shed.", language="en"),
    draft("street", "Straßenmusik", "Für Feste", language="de", categories=("Musik",)),
    draft("silent", "Cello lessons", "No language told."),
)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("bicycle", {"bike", "fork"}),
        ("BICYCLE", {"bike", "fork"}),
        ("repair", {"bike"}),
        ("repairing", {"bike"}),
        ("bicycles", {"bike", "fork"}),
        ("reparation", {"velo"}),
        ("velo", {"velo"}),
        ("vélos", {"velo"}),
        ("strassenmusik", {"street"}),
        ("straßenmusik", {"street"}),
        ("musik", {"street"}),
        ("fahrrad", {"rad"}),
        ("bremse", {"rad"}),
        ("bicylce", {"bike", "fork"}),
        ("strasenmusk", {"street"}),
        ("gardn fork", {"fork"}),
        ("bicyc", {"bike", "fork"}),
        ("bicycle gard", {"fork"}),
        ("cello lessons", {"silent"}),
        ('"garden fork"', {"fork"}),
        ('"fork garden"', set()),
        ('"bicyc"', set()),
        ("bicycle -garden", {"bike"}),
        ('bicycle -"garden fork"', {"bike"}),
        ("-bicycle", {"rad", "velo", "street", "silent"}),
        ("celo", {"silent"}),
        ("xylophone", set()),
        ("bicycle xylophone", {"bike", "fork"}),
    ],
)
def test_words_are_found(index: Index, database: Engine, q: str, expected: set[str]) -> None:
    publish(database, *WORDS)
    catch_up(database, index)
    if isinstance(index, MeilisearchIndex) and not {'"', "-"} & set(q):
        # It does not stem, and forgives typing errors in beginnings too, so it may find more.
        assert found(index, q=q) >= (set() if q == "repairing" else expected)
    else:
        assert found(index, q=q) == expected


def test_a_title_counts_more_than_a_body(index: Index, database: Engine) -> None:
    publish(database, *WORDS)
    catch_up(database, index)
    assert names(index.search(Query(q="bicycle"))) == ["bike", "fork"]


def test_an_exact_word_comes_before_a_forgiven_one(index: Index, database: Engine) -> None:
    publish(database, draft("a", "Lamb for sale"), draft("b", "Lamp for sale"))
    catch_up(database, index)
    assert names(index.search(Query(q="lamp sale"))) == ["b", "a"]


def test_matches_are_marked_and_the_rest_is_escaped(index: Index, database: Engine) -> None:
    if isinstance(index, MeilisearchIndex):
        pytest.skip("it does not stem; its marking is tested by its requests")
    body = "Brakes &amp; chains: 1 &lt; 2 and one repaired bicycle. Ask &lt;script&gt; me."
    publish(database, draft("bike", "Service", body, language="en"))
    catch_up(database, index)
    [hit] = index.search(Query(q="bicylce repair chain")).hits
    assert hit.excerpt == (
        "Brakes &amp; <mark>chains</mark>: 1 &lt; 2 and one <mark>repaired</mark> bicycle. "
        "Ask &lt;script&gt; me."
    )
    [hit] = index.search(Query(q="bicylce")).hits
    assert "<mark>bicycle</mark>" in hit.excerpt


def test_an_excerpt_is_cut_around_its_match(index: Index, database: Engine) -> None:
    body = "far " * 60 + "needle " + "away " * 100
    publish(database, draft("a", "Sewing", body))
    catch_up(database, index)
    [hit] = index.search(Query(q="needle")).hits
    assert hit.excerpt.startswith("… far far")
    assert "far <mark>needle</mark> away" in hit.excerpt
    assert hit.excerpt.endswith("away …")
    assert len(hit.excerpt) < 280


PAID = (
    draft("eur", "Bread", payments=(Payment(PaymentMeans.NATIONAL, "EUR", "3"),)),
    draft("usd", "Bread", payments=(Payment(PaymentMeans.NATIONAL, "USD", "3"),)),
    draft("gift", "Bread", payments=(Payment(PaymentMeans.GIFT),), remote=True),
    draft("swap", "Bread", type=ListingType.WANT, payments=(Payment(PaymentMeans.BARTER),)),
    draft("coin", "Bread", payments=(Payment(PaymentMeans.CRYPTO, "caip:19:x/slip44:128"),)),
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"pay": ("national:EUR",)}, {"eur"}),
        ({"pay": ("national",)}, {"eur", "usd"}),
        ({"pay": ("EUR",)}, {"eur"}),
        ({"pay": ("eur",)}, {"eur"}),
        ({"pay": ("https://www.wikidata.org/entity/Q4916",)}, {"eur"}),
        ({"pay": ("hour",)}, {"bank", "bank2"}),
        ({"pay": ("gift", "barter")}, {"gift", "swap"}),
        ({"pay": ("gift", "USD")}, {"gift", "usd"}),
        ({"pay": ("crypto",)}, {"coin"}),
        ({"pay": ("caip:19:x/slip44:128",)}, {"coin"}),
        ({"pay": ("time",)}, {"bank", "bank2"}),
        ({"pay": (HOURS,)}, {"bank", "bank2"}),
        ({"pay": ("hrs",)}, {"bank", "bank2"}),
        ({"pay": ("local",)}, {"river"}),
        ({"pay": ("RIV",)}, {"river"}),
        ({"type": ListingType.WANT}, {"swap"}),
        ({"group": ("hours",)}, {"bank", "bank2"}),
        ({"group": ("hours", "river")}, {"bank", "bank2", "river"}),
        ({"author": ("https://hub.example/members/eur",)}, {"eur"}),
        ({"remote": True}, {"gift"}),
        ({"category": ("Food & drink",)}, {"river"}),
        ({"category": ("food",)}, {"river"}),
        ({"category": ("Alimentación",)}, {"river"}),
        ({"category": ("Foo",)}, set()),
        ({"language": ("it", "nl")}, {"bank", "river"}),
        ({"since": NOW - timedelta(hours=2)}, {"bank2"}),
        ({"pay": ("local",), "type": ListingType.WANT}, set()),
        ({"q": "bread", "pay": ("time",)}, {"bank2"}),
    ],
)
def test_filters_choose(
    index: Index, database: Engine, question: dict[str, object], expected: set[str]
) -> None:
    default = (Payment(PaymentMeans.GROUP_DEFAULT),)
    publish(database, *PAID)
    publish(
        database,
        draft("bank", "Lift", payments=default, language="it"),
        draft("bank2", "Bread", payments=default, published=NOW - timedelta(hours=1)),
        group_id="hours",
    )
    river = draft(
        "river", "Bread", payments=default, categories=("Food & drink",), language="nl-BE"
    )
    publish(database, river, group_id="river")
    catch_up(database, index)
    assert found(index, **question) == expected


def test_facets_count_what_was_found(index: Index, database: Engine) -> None:
    publish(database, *PAID)
    river = draft("river", "Bread", payments=(Payment(PaymentMeans.GROUP_DEFAULT),))
    publish(database, replace(river, language="nl", categories=("Food",)), group_id="river")
    catch_up(database, index)
    facets = index.search(Query(pay=("national", "local", "barter"))).facets
    assert facets["type"] == {"offer": 3, "want": 1}
    assert facets["pay"] == {
        "national": 2,
        "national:EUR": 1,
        "national:USD": 1,
        "barter": 1,
        "group-default": 1,
        "local": 1,
    }
    assert (facets["group"], facets["language"]) == ({"river": 1}, {"nl": 1})
    assert facets["category"] == {"food": 1}


def test_an_empty_index_finds_nothing(index: Index) -> None:
    page = index.search(Query(q="bread"))
    assert (page.hits, page.total, page.cursor) == ([], 0, None)
    assert (index.revision(), index.count()) == (0, 0)


def test_updates_replace_and_tombstones_remove(index: Index, database: Engine) -> None:
    publish(database, draft("a", "Bread"), draft("b", "Bread"), draft("c", "Bread"))
    assert catch_up(database, index) == 3
    publish(database, draft("a", "Honey", updated=NOW))
    unpublish(database, "b", "unheard")
    assert catch_up(database, index) == 3
    assert catch_up(database, index) == 0
    assert found(index, q="bread") == {"c"}
    assert found(index, q="honey") == {"a"}
    assert (index.count(), index.revision()) == (2, 6)


def test_an_expired_listing_is_not_shown_before_it_is_removed(
    index: Index, database: Engine
) -> None:
    later = datetime.now(UTC) + timedelta(days=9)
    publish(database, draft("a", "Bread", expires_at=later), draft("b", "Bread"))
    with database.begin() as connection:  # as if the time had passed since
        yesterday = NOW - timedelta(days=1)
        was_a = Listing.uri == "https://hub.example/a"
        connection.execute(update(Listing).where(was_a).values(expires_at=yesterday))
    publish(database, draft("c", "Bread", expires_at=later))
    catch_up(database, index)
    assert found(index, q="bread") == {"b", "c"}
    assert found(index) == {"b", "c"}


def test_no_author_has_more_than_three_hits_on_a_page(index: Index, database: Engine) -> None:
    flood = [
        draft(f"f{number}", "Bread", author_uri="https://hub.example/flood") for number in range(10)
    ]
    publish(database, *flood, *(draft(f"o{number}", "Bread") for number in range(4)))
    catch_up(database, index)
    query = Query(q="bread", limit=6)
    pages = []
    while True:
        page = index.search(query)
        pages.append(names(page))
        if page.cursor is None:
            break
        query = replace(query, cursor=page.cursor)
    assert all(sum(name[0] == "f" for name in page) <= 3 for page in pages)
    assert len(pages[0]) == 6
    flat = [name for page in pages for name in page]
    assert sorted(flat) == sorted({*flat})
    assert len(flat) == 14
    own = index.search(Query(author=("https://hub.example/flood",)))
    assert len(own.hits) == 10


def test_newest_first(index: Index, database: Engine) -> None:
    publish(
        database,
        *(draft(f"d{day}", "Bread", published=NOW - timedelta(days=day)) for day in (3, 1, 2)),
    )
    catch_up(database, index)
    assert names(index.search(Query(sort=Sort.NEWEST))) == ["d1", "d2", "d3"]


def test_of_equal_listings_the_nearer_and_the_fresher_come_first(
    index: Index, database: Engine
) -> None:
    lat, lon = VIENNA
    publish(
        database,
        draft("far", "Bread", lat=lat + 0.3, lon=lon),
        draft("near", "Bread", lat=lat, lon=lon),
        draft("stale", "Bread", lat=lat, lon=lon),
    )
    with database.begin() as connection:
        stale = Listing.uri == "https://hub.example/stale"
        values = {"confirmed_at": NOW - timedelta(days=30)}
        connection.execute(update(Listing).where(stale).values(values))
    catch_up(database, index)
    for q in ("", "bread"):
        assert names(index.search(Query(q=q, near=VIENNA))) == ["near", "stale", "far"]


def test_changes_that_do_not_follow_are_refused(index: Index, database: Engine) -> None:
    publish(database, draft("a", "Bread"), draft("b", "Bread"))
    changes = read_changes(database, 1)
    with pytest.raises(ConflictError):
        index.apply(changes, since=1, revision=2)
    assert index.revision() == 0
    assert catch_up(database, index) == 2


def test_searches_go_on_while_an_index_is_swapped(index: Index, database: Engine) -> None:
    expected = {f"n{number}" for number in range(30)}
    publish(database, *(draft(name, "Bread") for name in expected))
    catch_up(database, index)
    wrong: list[object] = []
    searches = 0
    done = threading.Event()

    def search_on() -> None:
        nonlocal searches
        while not done.is_set():
            page = index.search(Query(q="bread", limit=100))
            searches += 1
            if set(names(page)) != expected:
                wrong.append(page)

    thread = threading.Thread(target=search_on)
    thread.start()
    try:
        for _ in range(4):
            assert index.rebuild(database) == 30
    finally:
        done.set()
        thread.join()
    assert searches
    assert not wrong
    publish(database, draft("after", "Bread"))
    assert catch_up(database, index) == 1
    assert index.count() == 31


def test_an_index_that_is_ahead_of_its_listings_is_rebuilt(index: Index, database: Engine) -> None:
    publish(database, draft("a", "Bread"), draft("b", "Bread"))
    catch_up(database, index)
    with database.begin() as connection:  # as if an older copy had been restored
        connection.execute(delete(Listing).where(Listing.revision == 2))
    assert catch_up(database, index) == 1
    assert found(index) == {"a"}


def test_the_index_is_the_listings_after_any_changes(index: Index, database: Engine) -> None:
    random = Random(3)  # noqa: S311 (examples, not secrets)
    for step in range(60):
        name = f"n{random.randrange(15)}"
        if random.random() < 0.3:
            unpublish(database, name)
        else:
            publish(database, draft(name, f"Bread {step}", updated=datetime.now(UTC)))
        if random.random() < 0.3:
            catch_up(database, index, batch=random.randint(1, 5))
        if random.random() < 0.05:
            index.rebuild(database)
    catch_up(database, index)
    with reading(database) as session:
        rows = session.scalars(select(Listing).where(visible(datetime.now(UTC))))
        expected = {row.title for row in rows}
    assert {hit.title for hit in index.search(Query(limit=100)).hits} == expected
