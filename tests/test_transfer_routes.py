"""What else hubs do with transfers over HTTP: waiting for room, reversing, searching, warnings."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from clearing_world import HOUR, assert_sound, balances
from hub_server import Json
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine

from clearing.accounts import Limit, LimitKind, account_of, set_limit, set_limits
from commons.database import transaction
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def found(world: World, **asked: object) -> list[str]:
    answer = world.service.call(world.barcelona, "GET", f"/transfers?{urlencode(asked)}")
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["transfers"]]


def test_a_payment_says_its_union_its_day_and_that_it_may_wait(world: World) -> None:
    said = {"union": "main", "wait": True, "value_date": "2026-11-19"}
    made = world.put(world.barcelona, payment(**said))
    assert made.status_code == 201, made.text
    assert made.json().items() >= said.items()
    other = payment(**(said | {"value_date": "2026-11-18"}))
    problem(world.put(world.barcelona, other, made.json()["id"]), 409, "conflict")


def test_what_both_agreed_on_waits_for_room_where_the_payers_hub_says_so(world: World) -> None:
    with transaction(world.engine) as session:
        set_limits(session, "barcelona", 10 * HOUR, None)
    pushed = world.put(world.barcelona, payment("12.50", wait=True))
    assert (pushed.status_code, pushed.json()["state"]) == (201, "pending"), pushed.text
    assert pushed.json()["reserved"] is False
    accepted = world.move(world.leeds, pushed.json()["id"], "accept").json()
    assert (accepted["state"], accepted["reserved"]) == ("queued", False)
    assert found(world, state="queued") == [pushed.json()["id"]]
    ended = world.move(world.leeds, pushed.json()["id"], "cancel").json()
    assert ended["state"] == "cancelled"
    assert balances(world.engine) == {}
    assert_sound(world.engine)


def test_a_hub_asks_for_money_back_and_the_other_agrees(world: World) -> None:
    original = world.made("12.50")
    world.move(world.leeds, original, "accept")
    path, reversal = f"/transfers/{original}/reverse", str(uuid.uuid4())
    asked = {"id": reversal, "amount": "2.50", "reason": "Half a repair"}
    made = world.service.call(world.barcelona, "POST", path, asked)
    assert (made.status_code, made.json()["state"]) == (201, "pending"), made.text
    assert made.json()["reverses"] == original
    again = world.service.call(world.barcelona, "POST", path, asked)
    assert (again.status_code, again.json()["id"]) == (200, reversal)
    problem(world.move(world.ghent, reversal, "accept"), 404, "not-found")
    problem(world.move(world.barcelona, reversal, "accept"), 403, "forbidden")
    assert world.move(world.leeds, reversal, "accept").json()["state"] == "posted"
    assert world.see(world.leeds, original)["reversed_amount"] == "2.50"
    assert balances(world.engine) == {"barcelona": -100_000, "leeds": 100_000}
    assert found(world, reverses=original) == [reversal]
    assert_sound(world.engine)


def test_a_warning_comes_with_the_answer(world: World) -> None:
    with transaction(world.engine) as session:
        levels = Limit(warn=10 * HOUR, stop=100 * HOUR)
        set_limit(session, account_of(session, "barcelona"), LimitKind.CREDIT, levels)
    assert world.put(world.barcelona, payment("5.00")).json()["warnings"] == []
    warned = world.put(world.barcelona, payment("6.00")).json()
    assert warned["state"] == "pending"
    assert warned["warnings"] == ["credit_limit"]


def test_a_rejection_says_a_code_and_words(world: World) -> None:
    transfer_id = world.made()
    told = {"code": "unknown-member", "reason": "We know no moss."}
    rejected: Json = world.move(world.leeds, transfer_id, "reject", told).json()
    assert (rejected["reason_code"], rejected["reason"]) == (told["code"], told["reason"])
    bare = world.move(world.leeds, world.made(), "reject", {"reason": "No."}).json()
    assert bare["reason_code"] == "other"


def test_a_hub_finds_its_transfers_by_what_it_knows_of_them(world: World) -> None:
    bread = world.made("1.00", description="Two loaves of bread")
    bike = world.made("1.00", description="Bicycle repair", payer="barcelona/joan")
    ghents = world.put(world.barcelona, payment("2.00") | {"payee": "ghent/lot"}).json()["id"]
    assert found(world, text="BREAD") == [bread]
    assert found(world, text="100%") == []
    assert found(world, member="joan") == [bike]
    assert found(world, party="ghent") == [ghents]
    assert found(world, party="turin") == []
    assert found(world, union="main") == [ghents, bike, bread]
    assert found(world, union="other") == []
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert found(world, to=soon, party="leeds") == [bike, bread]
    assert found(world, **{"from": soon}) == []
    for bad, field in (("from=1900000000", "from"), ("text=", "text"), ("reverses=x", "reverses")):
        answer = world.service.call(world.barcelona, "GET", f"/transfers?{bad}")
        assert problem(answer, 422, "invalid")["field"] == field
