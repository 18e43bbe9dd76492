"""What a member of a group can pay for: asked over HTTP, answered out of the ledger as it is."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

import httpx2
import pytest
from clearing_world import HOUR, accept, call, limit, made, open_world, pay, push
from market import VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine, update

from clearing.accounts import set_pair_limit
from clearing.calls import Move, Verb
from commons.database import transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from marketplace.payment import Payment, PaymentMeans

LEEDS = {"Gardening": (Payment(PaymentMeans.TIME, amount="500"),)}
# A group's unit: of Leeds an hour, of Barcelona a tenth of one, of Ghent half of one.
BARCELONA = {
    "Piano": (Payment(PaymentMeans.LOCAL, "https://barcelona.example/group/currency", "25"),)
}
GHENT = {
    "Soup": (Payment(PaymentMeans.GROUP_DEFAULT, amount="6"),),
    "Advice": (Payment(PaymentMeans.GROUP_DEFAULT),),
    "Cement": (Payment(PaymentMeans.NATIONAL, "EUR", "5"),),
}
OWN, BOTH = {"Gardening"}, {"Gardening", "Piano", "Soup", "Advice"}
PATHS = (
    "/listings?payer_group=leeds",
    "/listings?payer%5Fgroup=leeds&q=soup",
    "/listings.rss?payer_group=leeds",
    "/listings.geojson?payer_group=leeds",
    "/listings/map?payer_group=leeds&bbox=-10,35,30,60&zoom=5",
    "/?payer_group=leeds",
)
PROBLEMS = (
    ("/listings?payer_group=atlantis", 422),
    ("/listings?payer_group=leeds&limit=0", 422),
    ("/listings.rss?payer_group=atlantis", 422),
    ("/listings/map?payer_group=leeds", 422),
    ("/listings/nothing?payer_group=leeds", 404),
    ("/nowhere?payer_group=leeds", 404),
)


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    open_world(engine)
    add_groups(engine)
    river = {"Raft": (Payment(PaymentMeans.GROUP_DEFAULT, amount="1"),)}
    groups = {"leeds": LEEDS, "barcelona": BARCELONA, "ghent": GHENT, "river": river}
    for group_id, listings in groups.items():
        for title, payments in listings.items():
            one = draft(title, title, payments=payments, lat=VIENNA[0], lon=VIENNA[1])
            publish(engine, one, group_id=group_id)
    with served(settings, engine) as service:
        service.work()
        yield service


def payable(service: Served, payer_group: str = "leeds", **question: str) -> set[str]:
    answer = service.get("/listings", payer_group=payer_group, **question)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["hits"])
    return {hit["title"] for hit in answer.json()["hits"]}


def limit_pair(engine: Engine, debtor: str, creditor: str, hours: int) -> None:
    with transaction(engine) as session:
        set_pair_limit(session, debtor, creditor, hours * HOUR)


def set_state(engine: Engine, group_id: str, state: HubState) -> None:
    with transaction(engine) as session:
        session.execute(update(Hub).where(Hub.group_id == group_id).values(state=state))


def assert_unkept(answer: httpx2.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers.get_list("cache-control") == ["private, no-store"]
    assert "etag" not in answer.headers


def test_a_member_pays_in_the_own_group_and_where_it_clears(service: Served) -> None:
    assert payable(service) == BOTH
    assert payable(service, q="soup") == {"Soup"}
    assert payable(service, type="offer") == BOTH
    refused = service.get("/listings", payer_group="leeds", type="want")
    assert (refused.status_code, refused.json()["field"]) == (422, "payer_group")
    # Ghent's listing for money alone is there, but no transfer pays for it.
    assert "Cement" in {hit["title"] for hit in service.get("/listings").json()["hits"]}


def test_each_hit_tells_how_it_is_paid_and_nobody_how_much_is_left(service: Served) -> None:
    hits = service.get("/listings", payer_group="leeds").json()["hits"]
    assert {hit["title"]: hit["payable"] for hit in hits} == {
        "Gardening": {"group": "leeds", "how": "same-group", "currency": "LEE"},
        "Piano": {"group": "barcelona", "how": "clearing", "currency": "BAR"},
        "Soup": {"group": "ghent", "how": "clearing", "currency": "GHE"},
        "Advice": {"group": "ghent", "how": "clearing", "currency": "GHE"},
    }
    assert {hit["payable"] for hit in service.get("/listings").json()["hits"]} == {None}


def test_feeds_and_the_map_find_the_same(service: Served, engine: Engine) -> None:
    limit_pair(engine, "leeds", "ghent", 0)
    answer = service.get("/listings.rss", payer_group="leeds")
    rss = ET.fromstring(answer.content)  # noqa: S314 (our own)
    assert {item.findtext("title") for item in rss.iter("item")} == {"Gardening", "Piano"}
    collection = service.get("/listings.geojson", payer_group="leeds").json()
    assert {
        feature["properties"]["title"]: feature["properties"]["payable"]["how"]
        for feature in collection["features"]
    } == {"Gardening": "same-group", "Piano": "clearing"}
    seen = service.get("/listings/map", payer_group="leeds", bbox="10,40,20,50", zoom="5").json()
    assert {one["title"]: one["payable"]["how"] for one in seen["listings"]} == {
        "Gardening": "same-group",
        "Piano": "clearing",
    }


def test_a_map_of_cells_counts_only_what_can_be_paid(service: Served, engine: Engine) -> None:
    price = (Payment(PaymentMeans.GROUP_DEFAULT, amount="1"),)
    for group_id in ("barcelona", "ghent"):
        many = [
            draft(f"{group_id}{n}", "Bread", payments=price, lat=VIENNA[0], lon=VIENNA[1])
            for n in range(101)
        ]
        publish(engine, *many, group_id=group_id)
    service.work()
    limit_pair(engine, "leeds", "ghent", 0)
    seen = service.get("/listings/map", payer_group="leeds", bbox="10,40,20,50", zoom="5").json()
    assert seen["total"] == sum(cell["count"] for cell in seen["cells"]) == 103


def test_a_limit_that_is_used_up_takes_the_listings_away_at_once(
    service: Served, engine: Engine
) -> None:
    revision = service.services.index.revision()
    limit(engine, "leeds", credit="5")
    assert payable(service) == BOTH
    pay(engine, "leeds", "ghent", "5")
    assert payable(service) == OWN
    pay(engine, "barcelona", "leeds", "5")
    assert payable(service) == BOTH
    assert service.services.index.revision() == revision


def test_what_is_pending_takes_its_room_until_it_ends(service: Served, engine: Engine) -> None:
    limit(engine, "barcelona", surplus="4")
    pending = made(engine, push("ghent", "barcelona", "4"))
    assert payable(service) == BOTH - {"Piano"}
    call(engine, Move(pending.id, "barcelona", Verb.REJECT))
    assert payable(service) == BOTH
    call(engine, accept(made(engine, push("ghent", "barcelona", "4"))))
    assert payable(service) == BOTH - {"Piano"}


def test_a_pairs_limit_concerns_that_pair_and_that_direction(
    service: Served, engine: Engine
) -> None:
    limit_pair(engine, "leeds", "ghent", 0)
    assert payable(service) == OWN | {"Piano"}
    assert payable(service, "ghent") == BOTH
    assert payable(service, "barcelona") == BOTH


def test_a_hub_that_is_suspended_is_neither_paid_nor_payer(service: Served, engine: Engine) -> None:
    set_state(engine, "ghent", HubState.SUSPENDED)
    assert payable(service) == OWN | {"Piano"}
    assert payable(service, "ghent") == {"Soup", "Advice"}
    set_state(engine, "ghent", HubState.ADMITTED)
    assert payable(service) == BOTH


def test_a_group_that_does_not_clear_pays_within_itself(service: Served) -> None:
    assert payable(service, "river") == {"Raft"}


def test_a_price_above_what_is_left_is_not_found(service: Served, engine: Engine) -> None:
    limit(engine, "leeds", credit="3")
    assert payable(service) == BOTH
    limit(engine, "leeds", credit="2.9")  # 2, as far as anybody may know
    assert payable(service) == OWN | {"Advice"}
    limit(engine, "leeds", credit="0.0001")  # less than anything can cost
    assert payable(service) == OWN


def test_what_is_left_cannot_be_told_from_the_answers(service: Served, engine: Engine) -> None:
    prices = [f"{tenths / 10:.1f}" for tenths in range(20, 100)]
    ladder = [
        draft(
            f"ladder{price}",
            f"Ladder {price}",
            payments=(Payment(PaymentMeans.TIME, amount=price),),
        )
        for price in prices
    ]
    publish(engine, *ladder, group_id="leeds")
    service.work()
    dearest = []
    for left in ("3", "3.1", "3.9999", "4", "7.77", "9.9"):
        limit(engine, "ghent", credit=left)
        found = payable(service, "ghent", limit="100", q="ladder")
        dearest.append(max(found).removeprefix("Ladder "))
    assert dearest == ["3.0", "3.0", "3.0", "4.0", "7.0", "9.0"]


def test_a_group_that_is_none_is_named_in_the_refusal(service: Served) -> None:
    for path in ("/listings", "/listings.rss", "/listings.geojson"):
        for nobody in ("atlantis", "", "Leeds", "leeds\0", "лидс", "a" * 41):
            answer = service.client.get(path, params={"payer_group": nobody})
            assert answer.status_code == 422, answer.text
            assert answer.json()["field"] == "payer_group"
            assert answer.json()["rule"] == "must be the id of a group"


def test_there_is_one_payer(service: Served) -> None:
    answer = service.client.get("/listings?payer_group=leeds&payer_group=ghent")
    assert answer.status_code == 422
    assert answer.json()["field"] == "payer_group"


def test_nobody_keeps_the_answer(service: Served) -> None:
    for path in PATHS:
        assert_unkept(service.get(path), 200)
        for told in ("*", 'W/"other"'):
            assert_unkept(service.client.get(path, headers={"If-None-Match": told}), 200)
        head = service.client.head(path)
        assert_unkept(head, 200)
        assert head.content == b""


def test_nobody_keeps_a_problem_either(service: Served) -> None:
    for path, status in PROBLEMS:
        assert_unkept(service.client.get(path, headers={"If-None-Match": "*"}), status)
        assert_unkept(service.client.head(path), status)


def test_pages_follow_the_cursor_while_room_changes(service: Served, engine: Engine) -> None:
    first = service.get("/listings", payer_group="leeds", limit="2", sort="newest").json()
    limit_pair(engine, "leeds", "barcelona", 0)
    cursor = {"cursor": first["cursor"], "limit": "2", "sort": "newest"}
    assert service.get("/listings", payer_group="leeds", **cursor).status_code == 200
    other = service.get("/listings", payer_group="ghent", **cursor)
    assert (other.status_code, other.json()["field"]) == (422, "cursor")
