"""Every request that the Meilisearch index makes, as its documentation wants them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import h3  # type: ignore[import-untyped] # it has no annotations
import pytest
from market import NOW, draft, entry, publish, unpublish
from meilisearch_server import Recorder, Request, recording
from pydantic import SecretStr
from sqlalchemy import Engine

from commons.errors import ConflictError, UnavailableError
from commons.settings import Settings
from marketplace.embedded.ranking import ERA, RANKING
from marketplace.index import Change, Entry, catch_up
from marketplace.indexes import open_index
from marketplace.meilisearch import MeilisearchIndex, plan
from marketplace.payment_terms import PaymentTerms

DOCUMENTS = "/indexes/listings/documents"
META = "/indexes/listings-revision/documents"
HELD = Request("POST", f"{META}/fetch", {"limit": 100})
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as made:
        yield made


@pytest.fixture
def index(recorder: Recorder) -> MeilisearchIndex:
    return MeilisearchIndex(f"{recorder.url}/", "secret", "listings")


def test_the_settings_choose_the_server_and_its_key(settings: Settings, recorder: Recorder) -> None:
    index_key = SecretStr("secret")
    chosen = settings.model_copy(update={"index_url": recorder.url, "index_key": index_key})
    assert "secret" not in repr(chosen)
    index = open_index(chosen)
    assert isinstance(index, MeilisearchIndex)
    assert index.revision() == 0
    assert recorder.keys == {"Bearer secret"}
    assert recorder.sent()[0].path == "/indexes/localpay-listings-revision/documents/fetch"


def warm(name: str, **values: object) -> Entry:
    members: dict[str, object] = {
        "title": "Bread",
        "text": "Fresh \ue000& warm",
        "author": "https://hub.example/Ana",
        "published": LONG_AGO,
        "confirmed": LONG_AGO,
    }
    return entry(name, **members | values)


def full_entry() -> Entry:
    return warm(
        "full",
        language="de",
        categories=["Food", "Brot"],
        category_terms=["food", "Brot"],
        image="https://hub.example/i.png",
        group="river",
        place_name="Wien",
        lat=48.2,
        lon=16.3,
        payments=[{"means": "national", "currency": "EUR", "amount": "3"}],
        terms=PaymentTerms(("national", "national:EUR"), ("EUR",), settles=True, price=12.5),
        expires_at=LONG_AGO + timedelta(days=1),
    )


WEIGHT = 2 ** ((LONG_AGO - ERA) / timedelta(days=RANKING.freshness_half_days))
SHOWN = {
    "type": "offer",
    "language": "de",
    "image": "https://hub.example/i.png",
    "payments": [{"means": "national", "currency": "EUR", "amount": "3"}],
    "author": "https://hub.example/Ana",
    "group": "river",
    "place_name": "Wien",
    "lat": 48.2,
    "lon": 16.3,
    "remote": False,
    "published": "2026-01-02T03:04:05+00:00",
    "confirmed": "2026-01-02T03:04:05+00:00",
    "url": "https://hub.example/full",
}
BARE = {
    "id": "bare",
    "title": "Bread",
    "categories": [],
    "body": "Fresh & warm",
    "type": "offer",
    "pay": [],
    "currency": [],
    "category": [],
    "author": "https://hub.example/%41na",
    "remote": False,
    "settles": False,
    "published": 1767323045,
    "weight": WEIGHT,
    "hit": SHOWN
    | {"language": None, "image": None, "payments": [], "group": None, "lat": None}
    | {"lon": None, "place_name": None, "url": "https://hub.example/bare"},
}
FULL_DOCUMENT = BARE | {
    "id": "full",
    "categories": ["Food", "Brot"],
    "pay": ["national", "national:%45%55%52"],
    "currency": ["%45%55%52"],
    "category": ["%42rot", "food"],
    "settles": True,
    "price": 12.5,
    "weight": 1.05 * 1.05 * WEIGHT,
    "language": "de",
    "group": "river",
    "place_name": "Wien",
    "expires": 1767323045 + 86400,
    "_geo": {"lat": 48.2, "lng": 16.3},
    **{f"cell_{each}": h3.latlng_to_cell(48.2, 16.3, each) for each in range(2, 8)},
    "hit": SHOWN,
}


def test_the_first_changes_make_the_indexes_with_their_settings(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    changes = [
        Change("full", 1, full_entry()),
        Change("gone", 2, None),
        Change("bare", 3, warm("bare")),
    ]
    index.apply(changes, since=0, revision=3)
    [held, *making, current, documents, removing, reached] = recorder.sent()
    assert recorder.keys == {"Bearer secret"}
    assert held == HELD
    assert making == [
        Request("DELETE", "/indexes/listings-revision", None),
        Request("DELETE", "/indexes/listings", None),
        Request("POST", "/indexes", {"uid": "listings", "primaryKey": "id"}),
        Request("PATCH", "/indexes/listings/settings", plan.SETTINGS),
        Request("POST", "/indexes", {"uid": "listings-revision", "primaryKey": "id"}),
    ]
    generation = current.body[0]["generation"]
    assert current == Request(
        "POST", META, [{"id": "current", "generation": generation, "plan": plan.PLAN}]
    )
    assert removing == Request("POST", f"{DOCUMENTS}/delete", {"filter": 'id IN ["gone"]'})
    assert reached == Request("POST", META, [{"id": generation, "revision": 3}])
    assert (documents.method, documents.path) == ("POST", DOCUMENTS)
    assert documents.body == [FULL_DOCUMENT, BARE]


def test_the_settings_are_what_the_search_needs() -> None:
    assert plan.SETTINGS["searchableAttributes"][:3] == ["title", "categories", "body"]
    assert plan.SETTINGS["typoTolerance"]["minWordSizeForTypos"] == {"oneTypo": 4, "twoTypos": 8}
    assert plan.SETTINGS["pagination"] == {"maxTotalHits": 10_000}
    assert plan.SETTINGS["rankingRules"][0] == "sort"
    filtered = plan.SETTINGS["filterableAttributes"]
    assert {"id", "author", "currency", "expires", "published", "remote", "_geo"} < set(filtered)
    assert {*plan.FACETS, "settles", "price"} < set(filtered)
    assert plan.SETTINGS["sortableAttributes"] == ["published", "weight", "_geo"]
    assert plan.SETTINGS["rankingRules"][-1] == "weight:desc"
    assert plan.SETTINGS["faceting"]["maxValuesPerFacet"] == 10_000


def test_what_is_held_is_asked_of_the_second_index(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    assert (index.revision(), index.count(), index.outdated()) == (0, 0, False)
    index.apply([Change("a", 1, warm("a"))], since=0, revision=1)
    index.apply([Change("b", 2, warm("b")), Change("a", 4, None)], since=1, revision=4)
    recorder.sent()
    assert (index.revision(), index.count(), index.outdated()) == (4, 1, False)
    assert recorder.sent() == [HELD, Request("GET", "/indexes/listings/stats", None), HELD]
    assert set(recorder.indexes["listings"]) == {"b"}


def test_many_documents_are_sent_in_parts(index: MeilisearchIndex, recorder: Recorder) -> None:
    index.apply([Change("a", 1, warm("a"))], since=0, revision=1)
    recorder.sent()
    changes = [Change(f"n{number}", number, warm(f"n{number}")) for number in range(2, 1203)]
    index.apply(changes, since=1, revision=1202)
    sent = [request for request in recorder.sent() if request.path == DOCUMENTS]
    assert [len(request.body) for request in sent] == [250, 250, 250, 250, 201]


def test_changes_that_do_not_follow_are_not_sent(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    with pytest.raises(ConflictError):
        index.apply([Change("a", 2, warm("a"))], since=1, revision=2)
    assert recorder.sent() == [HELD]


def test_a_task_is_waited_for_until_it_ends(index: MeilisearchIndex, recorder: Recorder) -> None:
    recorder.pending = 2
    index.apply([Change("a", 1, warm("a"))], since=0, revision=1)
    looks = [each.path for each in recorder.requests if each.path.startswith("/tasks/")]
    assert looks == [f"/tasks/{uid}" for uid in (0, 0, 0, 1, 2, 3, 4, 5, 6, 7)]


def test_a_failed_task_is_told_and_the_revision_stays(
    index: MeilisearchIndex, recorder: Recorder
) -> None:
    index.apply([Change("a", 1, warm("a"))], since=0, revision=1)
    error = {"message": "No space left on device", "code": "no_space_left_on_device"}
    recorder.failing["documentAdditionOrUpdate"] = error
    again = [Change("b", 2, warm("b")), Change("a", 3, None)]
    with pytest.raises(UnavailableError, match=r"documentAdditionOrUpdate.*No space left"):
        index.apply(again, since=1, revision=3)
    assert index.revision() == 1
    recorder.failing.clear()
    index.apply(again, since=1, revision=3)
    assert (index.revision(), set(recorder.indexes["listings"])) == (3, {"b"})


def test_after_a_crash_before_the_revision_the_same_changes_are_put_in_again(
    index: MeilisearchIndex, recorder: Recorder, database: Engine
) -> None:
    publish(database, draft("a", "Bread"), draft("b", "Honey"))
    catch_up(database, index)
    held = {uid: dict(documents) for uid, documents in recorder.indexes.items()}
    publish(database, draft("a", "Cake", updated=NOW))
    unpublish(database, "b")
    catch_up(database, index)
    after = recorder.indexes["listings"].copy()
    recorder.indexes["listings-revision"] = held["listings-revision"]
    assert index.revision() == 2
    assert catch_up(database, index) == 2
    assert (index.revision(), recorder.indexes["listings"]) == (4, after)


def test_a_rebuild_fills_a_second_index_and_swaps_both_with_their_revisions(
    index: MeilisearchIndex, recorder: Recorder, database: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    publish(database, draft("b", "Bread"))
    recorder.sent()
    ticks: list[int] = []
    assert index.rebuild(database, ticks.append) == 2
    assert ticks == [2]
    sent = recorder.sent()
    assert [(each.method, each.path) for each in sent if each.path.endswith("next/settings")]
    assert sent[-3:] == [
        Request(
            "POST",
            "/swap-indexes",
            [
                {"indexes": ["listings", "listings-next"]},
                {"indexes": ["listings-revision", "listings-next-revision"]},
            ],
        ),
        Request("DELETE", "/indexes/listings-next-revision", None),
        Request("DELETE", "/indexes/listings-next", None),
    ]
    assert set(recorder.indexes) == {"listings", "listings-revision"}
    assert (index.revision(), index.count()) == (2, 2)
    publish(database, draft("c", "Bread"))
    assert catch_up(database, index) == 1


def test_what_the_old_index_took_during_a_rebuild_is_put_into_the_new_one(
    index: MeilisearchIndex, recorder: Recorder, database: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    old = dict(recorder.indexes["listings-revision"])
    generation = old["current"]["generation"]
    index.rebuild(database)
    publish(database, draft("b", "Bread"))
    # As if another process had put the change into the old index just before the swap, and
    # had written its revision just after it.
    recorder.indexes["listings-revision"][generation] = {"id": generation, "revision": 2}
    assert index.revision() == 1
    assert catch_up(database, index) == 1
    assert (index.revision(), index.count()) == (2, 2)


def test_a_rebuild_that_cannot_swap_leaves_the_old_index_in_use(
    index: MeilisearchIndex, recorder: Recorder, database: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    before = dict(recorder.indexes["listings-revision"])
    recorder.failing["indexSwap"] = {"message": "I am full", "code": "internal"}
    with pytest.raises(UnavailableError, match=r"indexSwap.*I am full"):
        index.rebuild(database)
    assert recorder.indexes["listings-revision"] == before
    recorder.failing.clear()
    assert index.rebuild(database) == 1
    assert set(recorder.indexes) == {"listings", "listings-revision"}


def test_an_index_of_another_plan_is_rebuilt(
    index: MeilisearchIndex, recorder: Recorder, database: Engine
) -> None:
    publish(database, draft("a", "Bread"))
    catch_up(database, index)
    recorder.indexes["listings-revision"]["current"]["plan"] = "an older one"
    assert index.outdated()
    assert catch_up(database, index) == 1
    assert not index.outdated()
