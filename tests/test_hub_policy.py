"""What a hub sets for itself: where its events go, and what it accepts at once."""

from collections.abc import Iterator
from typing import Final

import httpx2
import pytest
from clearing_world import assert_sound, balances
from every_table import everything
from hub_server import HubServer, Json
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine

from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def patch(world: World, body: object, group_id: str = "leeds") -> httpx2.Response:
    return world.service.call(world.leeds, "PATCH", f"/hubs/{group_id}", body)


def policy(world: World, hub: HubServer) -> Json | None:
    answer = world.service.call(hub, "GET", "/hubs/leeds")
    assert answer.status_code == 200, answer.text
    found: Json | None = answer.json()["policy"]
    return found and {name: found[name] for name in ("webhook", "accepts")}


RULES: Final[list[Json]] = [
    {"initiator": "payee", "counterparty": None, "up_to": "0.50"},
    {"initiator": "payer", "counterparty": None, "up_to": "5.00"},
    {"initiator": "payer", "counterparty": "ghent", "up_to": "1.00"},
]


def test_a_hub_that_accepts_at_once_is_paid_in_one_call(world: World) -> None:
    answer = patch(world, {"accepts": RULES})
    assert answer.status_code == 200, answer.text
    assert policy(world, world.leeds) == {"webhook": None, "accepts": RULES}
    made = world.put(world.barcelona, payment("5.00"))
    assert (made.status_code, made.json()["state"]) == (201, "posted")
    waiting = world.put(world.barcelona, payment("5.01"))
    assert (waiting.status_code, waiting.json()["state"]) == (201, "pending")
    assert balances(world.engine) == {"barcelona": -50_000, "leeds": 50_000}
    assert patch(world, {"accepts": []}).status_code == 200
    assert world.put(world.barcelona, payment("1.00")).json()["state"] == "pending"
    assert_sound(world.engine)


def test_what_a_hub_has_set_is_shown_to_it_alone(world: World) -> None:
    webhook = f"{world.leeds.base}/events"
    assert patch(world, {"webhook": webhook, "accepts": RULES}).status_code == 200
    assert policy(world, world.leeds) == {"webhook": webhook, "accepts": RULES}
    assert policy(world, world.ghent) is None
    assert world.service.get("/hubs/leeds").json()["policy"] is None
    assert patch(world, {"webhook": None}).status_code == 200
    assert policy(world, world.leeds) == {"webhook": None, "accepts": RULES}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"webhook": ""}, "webhook"),
        ({"webhook": "events"}, "webhook"),
        ({"webhook": "ftp://hub.example/events"}, "webhook"),
        ({"webhook": "https://10.0.0.1/events"}, "webhook"),
        ({"webhook": "https://user:secret@hub.example/events"}, "webhook"),
        ({"webhook": 7}, "webhook"),
        ({"accepts": None}, "accepts"),
        ({"accepts": [RULES[0], RULES[0]]}, "counterparty"),
        ({"accepts": [RULES[0] | {"up_to": 5}]}, "accepts.0.up_to"),
        ({"accepts": [RULES[0] | {"up_to": "0"}]}, "accepts.0.up_to"),
        ({"accepts": [RULES[0] | {"up_to": "5.001"}]}, "accepts.0.up_to"),
        ({"accepts": [RULES[0] | {"counterparty": "turin"}]}, "counterparty"),
        ({"accepts": [RULES[0] | {"counterparty": "leeds"}]}, "counterparty"),
        ({"accepts": [RULES[0] | {"initiator": "both"}]}, "accepts.0.initiator"),
        ({"credit_limit": "1000"}, "credit_limit"),
    ],
)
def test_what_breaks_a_rule_sets_nothing(world: World, body: object, field: str) -> None:
    assert patch(world, {"accepts": RULES}).status_code == 200
    before = everything(world.engine)
    assert problem(patch(world, body), 422, "invalid")["field"] == field
    assert everything(world.engine) == before


def test_nobody_sets_it_for_another(world: World) -> None:
    before = everything(world.engine)
    problem(patch(world, {"accepts": RULES}, "ghent"), 403, "forbidden")
    unsigned = world.service.client.patch("/hubs/leeds", json={"accepts": RULES})
    problem(unsigned, 401, "unauthenticated")
    assert everything(world.engine) == before
