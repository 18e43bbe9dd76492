"""Rounds as a hub's client calls for them, against the service as it is served."""

import uuid
from collections.abc import Iterator

import pytest
from between import Pauses
from clearing_world import assert_sound
from client_world import client_of
from paying_world import World, open_doors
from round_world import act, operator_token, pay_in_a_circle, proposed
from sqlalchemy import Engine

from clearing.client import Client
from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.settings import Settings

NO_TERMS = {"group": "leeds", "union": "main", "in_rounds": True, "kept_back": []}


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


@pytest.fixture
def leeds(world: World) -> Iterator[Client]:
    with client_of(world, world.leeds, Pauses()) as client:
        yield client


def test_a_hub_sees_its_rounds_and_keeps_what_proves_them(world: World, leeds: Client) -> None:
    pay_in_a_circle(world)
    token = operator_token(world)
    assert leeds.rounds() == []
    made = proposed(world, token, notice_seconds=0)
    told = leeds.round(made["id"])
    assert (told["state"], len(told["parts"])) == ("proposed", 2)
    with pytest.raises(NotFoundError):
        leeds.round_slice(made["id"])
    assert act(world, token, made, "commit").status_code == 200
    assert [one["state"] for one in leeds.rounds("main")] == ["committed"]
    page, proof = leeds.round_page(made["id"]), leeds.round_slice(made["id"])
    assert (page["group"], page["set_off"]) == ("leeds", "7.0000")
    assert (proof["group"], len(proof["rows"])) == ("leeds", 2)
    assert proof["public"]["hash"] == page["round"]["certificate_hash"]
    assert leeds.check().version == leeds.account()["version"]
    with pytest.raises(NotFoundError):
        leeds.round(uuid.uuid4())
    with pytest.raises(NotFoundError):
        leeds.rounds("coast")


def test_a_hub_opts_out_of_a_round_and_says_what_it_keeps_back(world: World, leeds: Client) -> None:
    pay_in_a_circle(world)
    token = operator_token(world)
    made = proposed(world, token, notice_seconds=3_600)
    said = leeds.opt_out(made["id"])
    assert leeds.opt_out(made["id"]) == said
    assert leeds.round_page(made["id"])["opted_out_at"] == said["opted_out_at"]
    assert act(world, token, made, "abandon").status_code == 200
    assert leeds.round_terms() == NO_TERMS
    kept = [{"counterparty": "ghent", "amount": "5"}, {"counterparty": "barcelona"}]
    told = leeds.set_round_terms(kept_back=kept)
    assert told["kept_back"] == [
        {"counterparty": "barcelona", "amount": None},
        {"counterparty": "ghent", "amount": "5.0000"},
    ]
    with pytest.raises(InvalidError) as refused:
        leeds.set_round_terms(kept_back=[{"counterparty": "leeds"}])
    assert refused.value.field == "kept_back.0.counterparty"
    assert leeds.round_terms("main") == told
    assert leeds.set_round_terms(in_rounds=False) == NO_TERMS | {"in_rounds": False}
    second = proposed(world, token, notice_seconds=3_600)
    assert act(world, token, second, "abandon").status_code == 200
    with pytest.raises(ConflictError):
        leeds.opt_out(second["id"])
    assert_sound(world.engine)
