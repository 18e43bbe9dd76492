"""Accounts and obligations over HTTP: each hub sees its own part and no more."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from clearing_world import HOUR
from hub_server import HubServer, Json
from paying_world import World, open_doors, payment, problem
from served import verified_by_our_key
from sqlalchemy import Engine

from clearing import rounds
from clearing.accounts import (
    Limit,
    LimitKind,
    open_account,
    set_limit,
    set_limits,
    set_pair_limit,
)
from commons import tokens
from commons.database import transaction
from commons.settings import Settings
from commons.tokens import Role


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def pay(world: World, payer: HubServer, payee: HubServer, amount: str) -> None:
    names = {"payer": f"{payer.name}/ines", "payee": f"{payee.name}/moss"}
    made = world.put(payer, payment(amount) | names)
    assert made.status_code == 201, made.text
    assert world.move(payee, made.json()["id"], "accept").status_code == 200


def pay_in_a_circle(world: World) -> None:
    """Have barcelona owe leeds 8, leeds owe ghent 9, ghent owe barcelona 7."""
    pay(world, world.barcelona, world.leeds, "8")
    pay(world, world.leeds, world.ghent, "9")
    pay(world, world.ghent, world.barcelona, "7")


def get(world: World, hub: HubServer, path: str) -> Json:
    answer = world.service.call(hub, "GET", path)
    assert answer.status_code == 200, answer.text
    assert verified_by_our_key(world.service, answer)
    found: Json = answer.json()
    return found


def pairs(rows: list[Json]) -> set[tuple[str, str]]:
    return {(row["debtor"], row["creditor"]) for row in rows}


def test_an_account_tells_balance_limits_and_positions(world: World) -> None:
    with transaction(world.engine) as session:
        account = set_limits(session, "barcelona", 10 * HOUR, None)
        set_limit(session, account, LimitKind.CREDIT, Limit(8 * HOUR, 10 * HOUR))
        set_pair_limit(session, "barcelona", "leeds", 9 * HOUR)
    pay(world, world.barcelona, world.leeds, "2.50")
    assert world.put(world.barcelona, payment("4")).status_code == 201
    seen = get(world, world.barcelona, "/accounts/barcelona")
    assert seen.pop("version") == 1
    assert len(seen.pop("head")) == 64
    assert seen == {
        "group": "barcelona",
        "union": "main",
        "state": "open",
        "state_reason": None,
        "balance": "-2.5000",
        "pending_out": "4.0000",
        "pending_in": "0.0000",
        "credit_warn": "8.0000",
        "credit_limit": "10.0000",
        "surplus_warn": None,
        "surplus_limit": None,
        "available_out": "3.5000",
        "available_in": None,
        "status": "alert",
        "positions": [
            {
                "counterparty": "leeds",
                "amount": "-2.5000",
                "pending_out": "4.0000",
                "given": "0.0000",
                "pair_warn": None,
                "pair_limit": "9.0000",
                "available": "2.5000",
            }
        ],
    }
    other = get(world, world.leeds, "/accounts/leeds")
    assert (other["balance"], other["pending_in"]) == ("2.5000", "4.0000")


def test_nobody_sees_the_account_of_another(embedded: World) -> None:
    told = [
        problem(embedded.service.call(embedded.leeds, "GET", path), 404, "not-found")
        for path in ("/accounts/barcelona", "/accounts/nobody", "/accounts/residue%2Fleeds")
    ]
    assert told[0] == told[1]


def test_a_hub_sees_the_obligations_of_its_own_group_only(world: World) -> None:
    pay_in_a_circle(world)
    expected = {
        "barcelona": {("barcelona", "leeds"), ("ghent", "barcelona")},
        "leeds": {("barcelona", "leeds"), ("leeds", "ghent")},
        "ghent": {("leeds", "ghent"), ("ghent", "barcelona")},
    }
    for hub in (world.barcelona, world.leeds, world.ghent):
        found = get(world, hub, "/obligations")["obligations"]
        assert pairs(found) == expected[hub.name]
    assert {"debtor": "leeds", "creditor": "ghent", "amount": "9.0000"} in found


def test_the_rounds_of_a_union_are_seen_by_its_groups_and_by_tokens(embedded: World) -> None:
    world = embedded
    with transaction(world.engine) as session:
        for group in ("barcelona", "leeds"):
            open_account(session, group, "coast")
            set_limits(session, group, None, None, "coast")
    names = {"payer": "barcelona/ines", "payee": "leeds/moss", "union": "coast"}
    made = world.put(world.barcelona, payment("8") | names)
    assert world.move(world.leeds, made.json()["id"], "accept").status_code == 200
    with transaction(world.engine) as session:
        round_id = rounds.propose(session, "coast").id
    assert get(world, world.leeds, "/rounds") == {"rounds": []}
    listed = get(world, world.leeds, "/rounds?union=coast")["rounds"]
    assert [one["id"] for one in listed] == [str(round_id)]
    for path in ("/rounds?union=coast", "/obligations?union=coast", f"/rounds/{round_id}"):
        problem(world.service.call(world.ghent, "GET", path), 404, "not-found")
        for union, status in ((None, 200), ("coast", 200), ("main", 404)):
            with transaction(world.engine) as session:
                _, text = tokens.create(session, Role.ANALYST, "n", timedelta(days=1), union)
            told = {"Authorization": f"Bearer {text}"}
            assert world.service.client.get(path, headers=told).status_code == status
    seen = get(world, world.barcelona, f"/rounds/{round_id}")
    assert [one["obligation"] for one in seen["parts"]] == ["8.0000"]


def test_what_is_unsigned_or_replayed_is_not_answered(embedded: World) -> None:
    for path in ("/accounts/leeds", "/obligations", "/rounds", f"/rounds/{uuid.uuid4()}"):
        problem(embedded.service.get(path), 401, "unauthenticated")
        request = embedded.service.request(embedded.leeds, "GET", path)
        assert embedded.service.client.send(request).status_code in {200, 404}
        problem(embedded.service.client.send(request), 401, "unauthenticated")


def test_a_round_that_there_is_not_is_told(embedded: World) -> None:
    service, hub = embedded.service, embedded.leeds
    problem(service.call(hub, "GET", f"/rounds/{uuid.uuid4()}"), 404, "not-found")
    told = problem(service.call(hub, "GET", "/rounds/last"), 422, "invalid")
    assert told["field"] == "round_id"
