"""Only what the payer can pay for, asked of each index: groups within reach, prices within room."""

from collections.abc import Iterator

import pytest
from market import (
    HOURS,
    IMPLEMENTATIONS,
    VIENNA,
    add_groups,
    draft,
    everything,
    found,
    publish,
)
from sqlalchemy import Engine

from marketplace.index import Index, catch_up
from marketplace.payable import How, Payee
from marketplace.payment import Payment, PaymentMeans
from marketplace.query import Query, Sort

RIV = "https://river.example/currency"
OWN = Payee("river", How.SAME_GROUP, "RIV", None)
LOCAL, NATIONAL, TIME = PaymentMeans.LOCAL, PaymentMeans.NATIONAL, PaymentMeans.TIME
RIVER = {
    "default": (Payment(PaymentMeans.GROUP_DEFAULT, amount="10"),),
    "uri": (Payment(LOCAL, RIV, "12.5"),),
    "code": (Payment(LOCAL, "RIV", "50"),),
    "unpriced": (Payment(LOCAL, RIV),),
    "euros": (Payment(NATIONAL, "EUR", "5"),),
    "jam": (Payment(PaymentMeans.BARTER),),
    "gift": (Payment(PaymentMeans.GIFT),),
    "either": (Payment(LOCAL, RIV, "40"), Payment(NATIONAL, "EUR", "3")),
    "cheaper": (Payment(LOCAL, RIV, "100"), Payment(LOCAL, RIV, "8")),
    "silent": (Payment(PaymentMeans.UNSPECIFIED),),
    "elsewhere": (Payment(LOCAL, "https://lake.example/currency", "1"),),
}
TIMES = {
    "lesson": (Payment(TIME, HOURS, "1"),),
    "course": (Payment(TIME, HOURS, "3"),),
    "helping": (Payment(TIME, amount="2"),),
}
UNPRICED = {"unpriced", "gift", "silent"}
OF_RIVER = UNPRICED | {"default", "uri", "code", "either", "cheaper"}


def hours(available: str | None) -> Payee:
    return Payee("hours", How.CLEARING, "HRS", available)


def river(available: str | None) -> Payee:
    return Payee("river", How.CLEARING, "RIV", available)


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def index(request: pytest.FixtureRequest, sqlite_engine: Engine) -> Iterator[Index]:
    add_groups(sqlite_engine)
    lat, lon = VIENNA
    for group_id, listings in (("river", RIVER), ("hours", TIMES)):
        drafts = [
            draft(name, f"Bread {name}", payments=payments, lat=lat, lon=lon)
            for name, payments in listings.items()
        ]
        publish(sqlite_engine, *drafts, group_id=group_id)
    publish(sqlite_engine, draft("nobodys", "Bread", payments=(Payment(LOCAL, RIV, "1"),)))
    made = IMPLEMENTATIONS[request.param](request)
    catch_up(sqlite_engine, made)
    yield made
    made.close()


def test_without_a_payer_everything_is_found(index: Index) -> None:
    assert found(index) == {*RIVER, *TIMES, "nobodys"}
    assert found(index, payees=()) == set()


def test_only_what_a_transfer_settles_is_found(index: Index) -> None:
    assert found(index, payer_group="river", payees=(OWN,)) == OF_RIVER
    assert found(index, payees=(OWN, hours(None))) == OF_RIVER | set(TIMES)
    assert found(index, payees=(hours(None),)) == set(TIMES)


@pytest.mark.parametrize(
    ("available", "priced"),
    [
        ("7.99", set()),
        ("8.00", {"cheaper"}),
        ("12.49", {"cheaper", "default"}),
        ("12.50", {"cheaper", "default", "uri"}),
        ("49", {"cheaper", "default", "uri", "either"}),
        ("900719925474099.10", {"cheaper", "default", "uri", "either", "code"}),
    ],
)
def test_a_price_above_what_is_left_is_not_found(
    index: Index, available: str, priced: set[str]
) -> None:
    assert found(index, payees=(river(available),)) == UNPRICED | priced


def test_each_group_has_what_is_left_for_it(index: Index) -> None:
    assert found(index, payees=(OWN, hours("2.00"))) == OF_RIVER | {"lesson", "helping"}
    assert found(index, payees=(river("9"), hours("0.50"))) == UNPRICED | {"cheaper"}
    assert found(index, payees=(river("2"), hours("2"))) == UNPRICED | {"lesson", "helping"}


def test_it_goes_together_with_every_other_condition(index: Index) -> None:
    payees = (OWN, hours("1"))
    assert found(index, payees=payees, pay=("time",)) == {"lesson"}
    assert found(index, payees=payees, pay=("national:EUR",)) == {"either"}
    assert found(index, payees=payees, group=("hours",)) == {"lesson"}
    assert found(index, payees=payees, q="lesson") == {"lesson"}
    assert found(index, payees=payees, q="course") == set()
    assert found(index, payees=payees, near=VIENNA, radius_km=5.0) == OF_RIVER | {"lesson"}
    assert found(index, payees=payees, near=(0.0, 0.0), radius_km=5.0) == set()


@pytest.mark.parametrize("sort", [Sort.NEWEST, Sort.DISTANCE])
def test_pages_facets_and_totals_count_only_it(index: Index, sort: Sort) -> None:
    question = Query(payer_group="river", payees=(OWN, hours("1")), near=VIENNA, sort=sort, limit=4)
    assert set(everything(index, question)) == OF_RIVER | {"lesson"}
    page = index.search(question)
    assert page.facets["group"] == {"river": len(OF_RIVER), "hours": 1}
    assert page.facets["pay"]["time"] == 1
    assert page.facets["pay"]["national"] == 1


def test_a_map_counts_only_it(index: Index) -> None:
    assert sum(index.cells(Query(payees=(OWN, hours("1"))), 7).values()) == len(OF_RIVER) + 1
    assert index.cells(Query(payees=()), 7) == {}


def test_thousands_of_groups_may_be_in_reach(index: Index) -> None:
    others = [Payee(f"g{n}", How.CLEARING, "X", f"{n}.25") for n in range(2_000)]
    assert found(index, payees=(OWN, *others, hours("2"))) == OF_RIVER | {"lesson", "helping"}
