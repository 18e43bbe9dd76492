"""A hit can tell why it stands where it stands."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest
from market import HOURS, NOW, VIENNA, add_groups, draft, names, publish
from sqlalchemy import Engine, update

from commons.database import transaction
from commons.errors import InvalidError
from marketplace.embedded import EmbeddedIndex
from marketplace.embedded.ranking import RANKING
from marketplace.index import catch_up
from marketplace.listings import Listing
from marketplace.payment import Payment, PaymentMeans
from marketplace.query import Hit, Query, Score, Sort, read_query

PRICED = (Payment(PaymentMeans.TIME, HOURS, "1"),)


@pytest.fixture
def index(sqlite_engine: Engine, tmp_path: Path) -> Iterator[EmbeddedIndex]:
    add_groups(sqlite_engine)
    publish(
        sqlite_engine,
        draft("title", "Bread", lat=VIENNA[0], lon=VIENNA[1]),
        draft("body", "Something", "fresh bread", lat=VIENNA[0], lon=VIENNA[1]),
        draft("priced", "Bread", payments=PRICED, lat=VIENNA[0] + 0.09, lon=VIENNA[1]),
        draft("shown", "Bread", image="https://hub.example/bread.jpg"),
        draft("old", "Bread"),
    )
    with transaction(sqlite_engine) as session:
        long_ago = NOW - timedelta(days=RANKING.freshness_half_days)
        old = Listing.uri == "https://hub.example/old"
        session.execute(update(Listing).where(old).values(confirmed_at=long_ago))
    index = EmbeddedIndex(tmp_path / "index")
    catch_up(sqlite_engine, index)
    yield index
    index.close()


def explained(index: EmbeddedIndex, query: Query) -> dict[str, Score]:
    page = index.search(replace(query, explain=True))
    return {name: why(hit) for name, hit in zip(names(page), page.hits, strict=True)}


def why(hit: Hit) -> Score:
    assert hit.why is not None
    return hit.why


def test_only_who_asks_is_told(index: EmbeddedIndex) -> None:
    assert {hit.why for hit in index.search(Query(q="bread")).hits} == {None}


def test_the_parts_make_the_total_and_the_totals_the_order(index: EmbeddedIndex) -> None:
    for query in (Query(q="bread"), Query(q="bread", near=VIENNA), Query()):
        scores = explained(index, query)
        assert scores
        for score in scores.values():
            product = score.bm25 * score.freshness * score.image * score.price
            product *= 1.0 if score.distance is None else score.distance
            assert score.total == pytest.approx(product)
            assert score.weights == asdict(RANKING)
        totals = [score.total for score in scores.values()]
        assert totals == sorted(totals, reverse=True)


def test_each_part_tells_of_its_own(index: EmbeddedIndex) -> None:
    scores = explained(index, Query(q="bread"))
    assert scores["title"].bm25 > scores["body"].bm25
    assert scores["shown"].image == RANKING.image_bonus
    assert scores["priced"].price == RANKING.price_bonus
    assert scores["title"].image == scores["title"].price == 1.0
    assert scores["old"].freshness == pytest.approx(0.5, abs=0.01)
    assert scores["title"].freshness == pytest.approx(1.0, abs=0.01)
    assert scores["title"].distance is None


def test_the_distance_counts_half_at_ten_km(index: EmbeddedIndex) -> None:
    scores = explained(index, Query(q="bread", near=VIENNA))
    assert scores["priced"].distance == pytest.approx(0.5, abs=0.05)
    assert scores["title"].distance == pytest.approx(1.0, abs=0.15)


def test_without_words_their_part_is_one(index: EmbeddedIndex) -> None:
    assert {score.bm25 for score in explained(index, Query()).values()} == {1.0}


def test_in_another_order_the_words_are_scored_alike(index: EmbeddedIndex) -> None:
    ranked = explained(index, Query(q="bread"))
    newest = explained(index, Query(q="bread", sort=Sort.NEWEST))
    assert {name: score.bm25 for name, score in newest.items()} == {
        name: pytest.approx(score.bm25) for name, score in ranked.items()
    }


def test_asking_why_leads_through_the_same_pages(index: EmbeddedIndex) -> None:
    first = index.search(Query(q="bread", limit=2))
    again = index.search(Query(q="bread", limit=2, cursor=first.cursor, explain=True))
    assert len(again.hits) == 2
    assert not {hit.id for hit in first.hits} & {hit.id for hit in again.hits}


def test_explain_is_read_from_a_question() -> None:
    assert read_query([("explain", "1")]).explain
    assert not read_query([("explain", "0")]).explain
    with pytest.raises(InvalidError, match="explain"):
        read_query([("explain", "perhaps")])
