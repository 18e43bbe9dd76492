"""Adjustments, disputes and unions over HTTP: signed by hubs, each seeing its own."""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import httpx2
import pytest
from clearing_world import HOUR, assert_sound, balances, levied
from hub_server import HubServer, Json
from journal_world import A, B, close, everything, owe, positions, yesterday
from paying_world import World, open_doors, problem
from served import verified_by_our_key
from sqlalchemy import Engine

from clearing import levies
from commons.database import transaction
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    """The same on SQLite alone, for what never reaches the database."""
    yield from open_doors(settings, sqlite_engine)


def settlement(amount: object = "30", **more: object) -> Json:
    return {"kind": "settlement", "debtor": A, "creditor": B, "amount": amount, **more}


def put(
    world: World, hub: HubServer, body: object, of: str = "adjustments", one: object = None
) -> httpx2.Response:
    return world.service.call(hub, "PUT", f"/{of}/{one or uuid.uuid4()}", body)


def act(world: World, hub: HubServer, path: str) -> httpx2.Response:
    return world.service.call(hub, "POST", path)


def see(world: World, hub: HubServer, path: str) -> Json:
    answer = world.service.call(hub, "GET", path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_two_hubs_settle_outside_and_both_see_it(world: World) -> None:
    owe(world.engine, A, B, "80")
    sent = settlement(note="Bank transfer", value_date=datetime.now(UTC).date().isoformat())
    made = put(world, world.barcelona, sent)
    assert made.status_code == 201, made.text
    assert verified_by_our_key(world.service, made)
    assert made.json().items() >= (sent | {"amount": "30.0000", "state": "proposed"}).items()
    path = f"/adjustments/{made.json()['id']}"
    again = put(world, world.barcelona, sent, one=made.json()["id"])
    assert (again.status_code, again.json()) == (200, made.json())
    problem(put(world, world.barcelona, settlement(), one=made.json()["id"]), 409, "conflict")
    problem(world.service.call(world.ghent, "GET", path), 404, "not-found")
    problem(act(world, world.ghent, f"{path}/agree"), 404, "not-found")
    problem(act(world, world.barcelona, f"{path}/agree"), 403, "forbidden")
    assert positions(world.engine) == {(B, A): 80 * HOUR}
    posted = act(world, world.leeds, f"{path}/agree").json()
    assert (posted["state"], posted["agreed"]) == ("posted", [A, B])
    for hub in (world.barcelona, world.leeds):
        assert see(world, hub, path) == posted
        assert posted in see(world, hub, "/adjustments?state=posted")["adjustments"]
    assert see(world, world.ghent, "/adjustments") == {"adjustments": []}
    problem(act(world, world.leeds, f"{path}/decline"), 409, "conflict")
    problem(act(world, world.barcelona, f"{path}/cancel"), 409, "conflict")
    assert balances(world.engine) == {A: -50 * HOUR, B: 50 * HOUR}
    told = see(world, world.leeds, "/events?after=0")
    assert "adjustment-ended" in str(told)
    assert_sound(world.engine)


@pytest.mark.parametrize(("verb", "state"), [("decline", "declined"), ("cancel", "cancelled")])
def test_what_is_declined_or_cancelled_changes_nothing(
    embedded: World, verb: str, state: str
) -> None:
    owe(embedded.engine, A, B, "80")
    made = put(embedded, embedded.barcelona, settlement()).json()
    hub = embedded.leeds if verb == "decline" else embedded.barcelona
    assert act(embedded, hub, f"/adjustments/{made['id']}/{verb}").json()["state"] == state
    problem(act(embedded, embedded.leeds, f"/adjustments/{made['id']}/agree"), 409, "conflict")
    assert positions(embedded.engine) == {(B, A): 80 * HOUR}


def test_a_bad_body_is_refused_and_leaves_no_trace(embedded: World) -> None:
    owe(embedded.engine, A, B, "80")
    before = everything(embedded.engine)
    ahead = (datetime.now(UTC).date() + timedelta(days=33)).isoformat()
    bad: list[object] = [
        *(settlement(amount) for amount in (30, 3.5, "1e1", "-1", "0", "1_0", "NaN", "1.00001")),
        settlement(value_date=ahead),
        *(settlement(value_date=day) for day in (1, "1", "1700000000", "20261301", "2026-1-1")),
        settlement(kind="payment"),
        settlement(creditor="nobody"),
        settlement(debtor=B),
        settlement(note="x" * 501),
        settlement(union="nowhere"),
        settlement(extra=1),
        {},
    ]
    for body in bad:
        problem(put(embedded, embedded.barcelona, body), 422, "invalid")
    problem(put(embedded, embedded.ghent, settlement()), 403, "forbidden")
    problem(put(embedded, embedded.barcelona, settlement("80.0001")), 409, "conflict")
    problem(put(embedded, embedded.barcelona, settlement(), one="7"), 422, "invalid")
    disputed: list[object] = [
        {"debtor": A, "creditor": B, "amount": "1"},
        {"debtor": A, "creditor": B, "amount": "1", "reason": ""},
        {"debtor": A, "creditor": B, "amount": 1, "reason": "Why"},
    ]
    for body in disputed:
        problem(put(embedded, embedded.barcelona, body, of="disputes"), 422, "invalid")
    unsigned = embedded.service.client.put(f"/adjustments/{uuid.uuid4()}", json=settlement())
    problem(unsigned, 401, "unauthenticated")
    assert everything(embedded.engine) == before


def test_a_hub_disputes_and_lifts(embedded: World) -> None:
    owe(embedded.engine, A, B, "80")
    sent = {"debtor": A, "creditor": B, "amount": "30", "reason": "Posted twice"}
    made = put(embedded, embedded.barcelona, sent, of="disputes")
    assert made.status_code == 201, made.text
    assert made.json().items() >= (sent | {"amount": "30.0000", "state": "standing"}).items()
    path = f"/disputes/{made.json()['id']}"
    assert put(embedded, embedded.barcelona, sent, "disputes", made.json()["id"]).status_code == 200
    problem(put(embedded, embedded.leeds, sent | {"amount": "51"}, "disputes"), 409, "conflict")
    problem(act(embedded, embedded.leeds, f"{path}/lift"), 403, "forbidden")
    problem(act(embedded, embedded.ghent, f"{path}/lift"), 404, "not-found")
    assert see(embedded, embedded.leeds, path)["state"] == "standing"
    assert act(embedded, embedded.barcelona, f"{path}/lift").json()["state"] == "lifted"
    assert see(embedded, embedded.leeds, "/disputes?state=standing") == {"disputes": []}
    assert len(see(embedded, embedded.leeds, "/disputes")["disputes"]) == 1
    assert see(embedded, embedded.ghent, "/disputes") == {"disputes": []}


def test_a_unions_rules_are_shown_to_its_hubs(embedded: World) -> None:
    told = see(embedded, embedded.leeds, "/unions/main")
    assert told.items() >= {"levy": None, "coming_levy": None, "closed_until": None}.items()
    assert (told["clearing_unit"], told["scale"], told["credit_default"]) == ("hour", 4, "100.0000")
    levied(embedded.engine, Fraction(1, 100))
    owe(embedded.engine, A, B, "80")
    with transaction(embedded.engine) as session:
        levies.set_rule(session, "main", None, "operator")
    close(embedded.engine, date(2001, 1, 31))
    close(embedded.engine, yesterday())
    told = see(embedded, embedded.leeds, "/unions/main")
    assert (told["levy"], told["coming_levy"]["levy"]) == ("1/100", None)
    assert told["closed_until"] == yesterday().isoformat()
    closed = see(embedded, embedded.leeds, "/unions/main/periods")["periods"]
    assert [one["until"] for one in closed] == [yesterday().isoformat(), "2001-01-31"]
    for path in ("/unions/nowhere", "/unions/nowhere/periods"):
        problem(embedded.service.call(embedded.leeds, "GET", path), 404, "not-found")
        problem(embedded.service.client.get(path), 401, "unauthenticated")
