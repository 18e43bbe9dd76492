"""Batches over HTTP: each call its own outcome, order kept; all or nothing only where asked."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from clearing_world import assert_sound, balances, counted
from every_table import everything
from hub_server import Json
from paying_world import World, open_doors, payment, problem
from served import verified_by_our_key
from sqlalchemy import Engine

from clearing.ledger import Journal
from clearing.transfers import Transfer
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    """The same on SQLite alone, for what does not depend on the database."""
    yield from open_doors(settings, sqlite_engine)


def create(amount: str = "1.00", **more: Any) -> Json:  # noqa: ANN401 (whatever is sent)
    return {"do": "create", "id": str(uuid.uuid4()), **payment(amount), **more}


def outcomes(world: World, hub: Any, calls: list[Json], **more: object) -> list[Json]:  # noqa: ANN401 (a hub)
    answer = world.service.call(hub, "POST", "/transfers/batch", {"calls": calls, **more})
    assert answer.status_code == 200, answer.text
    assert verified_by_our_key(world.service, answer)
    found: list[Json] = answer.json()["outcomes"]
    assert answer.json()["failed"] == sum(one["problem"] is not None for one in found)
    assert [one["id"] for one in found] == [call.get("id") for call in calls]
    return found


def test_a_batch_does_each_call_as_it_would_be_done_alone(world: World) -> None:
    first, second, third = create("1.00"), create("2.00"), create("4.00")
    made = outcomes(
        world,
        world.barcelona,
        [first, second, create("nothing"), create("999.00"), third, first, first | {"amount": "9"}],
    )
    assert [one["status"] for one in made] == [201, 201, 422, 409, 201, 200, 409]
    assert made[3]["problem"]["reason"] == "credit_limit"
    assert made[3]["transfer"]["state"] == "refused"
    assert made[5]["transfer"]["id"] == made[0]["transfer"]["id"]
    ids = [call["id"] for call in (first, second, third)]
    moved = outcomes(
        world,
        world.leeds,
        [
            {"do": "accept", "id": ids[0]},
            {"do": "reject", "id": ids[1], "reason": "No moss here", "code": "unknown-member"},
            {"do": "cancel", "id": ids[2]},
            {"do": "accept", "id": str(uuid.uuid4())},
            {"do": "reverse", "id": str(uuid.uuid4()), "transfer": ids[0], "amount": "0.50"},
        ],
    )
    assert [one["status"] for one in moved] == [200, 200, 403, 404, 201]
    states = [one["transfer"] and one["transfer"]["state"] for one in moved]
    assert states == ["posted", "rejected", None, None, "pending"]
    assert moved[1]["transfer"]["reason_code"] == "unknown-member"
    assert moved[4]["transfer"]["reverses"] == ids[0]
    assert balances(world.engine) == {"barcelona": -10_000, "leeds": 10_000}
    assert_sound(world.engine)


def test_an_atomic_batch_is_done_wholly_or_not_at_all(world: World) -> None:
    known = world.made("3.00")
    accept = {"do": "accept", "id": known}
    before = everything(world.engine)
    for spoiling in (
        {"do": "accept", "id": str(uuid.uuid4())},
        {"do": "accept", "id": known, "wait": 1},
        {"do": "reverse", "id": str(uuid.uuid4()), "transfer": str(uuid.uuid4())},
    ):
        told = outcomes(world, world.leeds, [accept, spoiling, accept], atomic=True)
        assert [one["status"] for one in told] in ([409, 404, 409], [409, 422, 409])
        assert everything(world.engine) == before
    refused = [create("1.00"), create("999.00")]
    told = outcomes(world, world.barcelona, refused, atomic=True)
    assert [one["status"] for one in told] == [409, 409]
    assert everything(world.engine) == before
    told = outcomes(world, world.leeds, [accept, accept], atomic=True)
    assert [one["status"] for one in told] == [200, 200]
    assert counted(world.engine, Journal) == 1
    assert_sound(world.engine)


def test_a_replayed_batch_is_refused_as_a_whole(world: World) -> None:
    told = {"calls": [create(), create()]}
    request = world.service.request(world.barcelona, "POST", "/transfers/batch", told)
    assert world.service.client.send(request).status_code == 200
    before = everything(world.engine)
    problem(world.service.client.send(request), 401, "unauthenticated")
    assert everything(world.engine) == before


def test_eight_thousand_transfers_go_in_one_batch(embedded: World) -> None:
    made = outcomes(embedded, embedded.barcelona, [create("0.01") for _ in range(8_000)])
    assert {one["status"] for one in made} == {201}
    assert counted(embedded.engine, Transfer) == 8_000
    accepts = [{"do": "accept", "id": one["id"]} for one in made]
    assert {one["status"] for one in outcomes(embedded, embedded.leeds, accepts)} == {200}
    assert balances(embedded.engine) == {"barcelona": -800_000, "leeds": 800_000}


@pytest.mark.parametrize("verb", ["put", "accept", "cancel", "reverse", "batch"])
def test_an_unsigned_batch_or_call_does_nothing(embedded: World, verb: str) -> None:
    known = embedded.made()
    before = everything(embedded.engine)
    method, path, body = {
        "put": ("PUT", f"/transfers/{uuid.uuid4()}", payment()),
        "accept": ("POST", f"/transfers/{known}/accept", {}),
        "cancel": ("POST", f"/transfers/{known}/cancel", {}),
        "reverse": ("POST", f"/transfers/{known}/reverse", {"id": str(uuid.uuid4())}),
        "batch": ("POST", "/transfers/batch", {"calls": [create()]}),
    }[verb]
    answer = embedded.service.client.request(method, path, json=body)
    problem(answer, 401, "unauthenticated")
    assert everything(embedded.engine) == before
