"""Somebody types `plumer near leeds` on a telephone and lives in a group that pays in hours."""

import re
from collections.abc import Iterator

import pytest
from clearing_world import limit, open_world
from market import VIENNA, add_groups, draft, publish
from pages_world import address, titles
from served import Served, served
from sqlalchemy import Engine

from commons.settings import Settings
from marketplace.payment import Payment, PaymentMeans

HEADINGLEY = (53.82, -1.58)
IN_GROUPS_UNIT = PaymentMeans.GROUP_DEFAULT
# Leeds counts hours; it clears with Barcelona, whose unit is a tenth of one, and with Ghent.
# Which hub publishes a listing says nothing of where its author lives.
PLUMBERS = {
    "barcelona": ("Plumber for taps and drains", "20", HEADINGLEY),
    "ghent": ("Plumber with a van", "90000", HEADINGLEY),
    "river": ("Plumber, plumber, plumber", "1", HEADINGLEY),
    "leeds": ("Plumber who moved away", "1", VIENNA),
}


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    open_world(sqlite_engine)
    limit(sqlite_engine, "leeds", credit="5")
    add_groups(sqlite_engine)
    for group_id, (title, amount, (lat, lon)) in PLUMBERS.items():
        payments = (Payment(IN_GROUPS_UNIT, amount=amount),)
        one = draft(f"of-{group_id}", title, payments=payments, lat=lat, lon=lon)
        publish(sqlite_engine, one, group_id=group_id)
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def test_the_first_plumber_is_one_that_can_be_paid(service: Served) -> None:
    text = service.get("/", q="plumer near leeds", payer_group="leeds").text
    assert titles(text) == ["Plumber for taps and drains"]
    assert "Payable from your group in BAR" in text
    assert "<b>plumer</b>, near <b>Leeds (England, GB)</b>" in text
    assert re.search(r"<span>[0-9.]+ km</span>", text)


def test_without_a_group_all_plumbers_near_are_found(service: Served) -> None:
    text = service.get("/", q="plumer near leeds").text
    assert set(titles(text)) == {
        PLUMBERS[group_id][0] for group_id in ("barcelona", "ghent", "river")
    }
    assert "Payable" not in text


def test_the_interface_for_programs_says_the_same(service: Served) -> None:
    page = service.get("/listings", q="plumer near leeds", payer_group="leeds").json()
    assert [hit["title"] for hit in page["hits"]] == ["Plumber for taps and drains"]
    assert page["hits"][0]["payable"]["how"] == "clearing"
    assert (page["words"], page["place"]["name"]) == ("plumer", "Leeds")


def test_words_that_tell_no_place_are_searched_as_they_are(service: Served) -> None:
    page = service.get("/listings", q="plumber").json()
    assert page["words"] is page["place"] is None
    quoted = service.get("/listings", q='plumber "near leeds"').json()
    assert quoted["total"] == 0
    assert quoted["words"] is None


def test_who_pays_in_hours_finds_what_hours_pay_through_clearing(service: Served) -> None:
    text = service.get("/", q="plumer near leeds", payer_group="leeds", pay="time").text
    assert titles(text) == ["Plumber for taps and drains"]  # which is priced in BAR


def test_another_means_beside_the_group_must_hold_too(service: Served) -> None:
    text = service.get("/", q="plumer near leeds", payer_group="leeds", pay="barter").text
    assert titles(text) == []
    onward = service.get(address(text, "all that your group can pay")).text
    assert titles(onward) == ["Plumber for taps and drains"]
