"""Everything else that a hub's client does, against the service as it is served."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from between import Between, Pauses
from clearing_world import assert_sound, balances
from client_world import client_of, pay, posted
from paying_world import World, open_doors
from sqlalchemy import Engine

from clearing import rate_proposals
from clearing.client import Client, HistoryError
from clearing.rate_proposals import Answer, RateSide, Reply
from commons.database import transaction
from commons.errors import InvalidError
from commons.settings import Settings


@pytest.fixture
def between() -> Iterator[Between]:
    with Between().serving() as running:
        yield running


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine, between: Between) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine, between)


@pytest.fixture
def barcelona(world: World) -> Iterator[Client]:
    with client_of(world, world.barcelona, Pauses()) as client:
        yield client


@pytest.fixture
def leeds(world: World) -> Iterator[Client]:
    with client_of(world, world.leeds, Pauses()) as client:
        yield client


def test_a_posted_transfer_is_reversed_in_part_and_then_wholly(
    world: World, barcelona: Client, leeds: Client
) -> None:
    paid = posted(barcelona, leeds, "12.50")
    part, rest = uuid.uuid4(), uuid.uuid4()
    asked = leeds.reverse(paid, part, amount="2.50", reason="a wheel was left out")
    assert (asked["reverses"], asked["payee_amount"]) == (str(paid), "2.50")
    assert barcelona.accept(part)["state"] == "posted"
    assert balances(world.engine) == {"barcelona": -100_000, "leeds": 100_000}
    barcelona.reverse(paid, rest)
    assert barcelona.reverse(paid, rest)["id"] == str(rest)
    leeds.accept(rest)
    assert balances(world.engine) == {}
    assert barcelona.check().version == leeds.check().version == 3
    assert_sound(world.engine)


def test_a_batch_tells_what_each_call_came_to_and_its_heads_are_kept(
    barcelona: Client, leeds: Client
) -> None:
    ids = [uuid.uuid4() for _ in range(3)]
    payment = {"do": "create", "payer": "barcelona/ines", "payee": "leeds/moss"}
    calls = [{**payment, "id": number, "amount": "1.00"} for number in ids[:2]]
    told = barcelona.batch([*calls, {**payment, "id": ids[2], "amount": "x"}])
    assert [one["status"] for one in told["outcomes"]] == [201, 201, 422]
    accepted = leeds.batch([{"do": "accept", "id": number} for number in ids[:2]], atomic=True)
    states = [one["transfer"]["state"] for one in accepted["outcomes"]]
    assert (accepted["failed"], states) == (0, ["posted", "posted"])
    assert leeds.check().version == 2
    none = leeds.batch(
        [{"do": "accept", "id": ids[0]}, {"do": "accept", "id": ids[2]}], atomic=True
    )
    assert none["failed"] == 2


def test_events_come_in_order_and_go_on_from_the_number_that_was_kept(
    barcelona: Client, leeds: Client, between: Between
) -> None:
    ids = [str(posted(barcelona, leeds, "1.00")) for _ in range(3)]
    told = list(leeds.events(0, wait_seconds=0))
    assert [event["number"] for event in told] == list(range(1, len(told) + 1))
    pending = [event["subject"] for event in told if event["kind"] == "transfer-pending"]
    assert pending == ids
    kinds = [event["kind"] for event in barcelona.events(0, wait_seconds=0)]
    assert kinds.count("transfer-posted") == len(ids)
    waiting = leeds.events(len(told), wait_seconds=20)
    late = str(pay(barcelona, "2.00"))
    assert next(waiting)["subject"] == late
    assert [event["number"] for event in islice(leeds.events(len(told)), 1)] == [len(told) + 1]
    with pytest.raises(InvalidError) as beyond:
        next(leeds.events(1_000, wait_seconds=0))
    assert beyond.value.field == "after"
    assert [path for path in between.paths("GET") if path.startswith("/events?after=0&")]


def test_an_event_that_was_left_out_is_missed(
    barcelona: Client, leeds: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        pay(barcelona, "1.00")
    page = leeds.call("GET", "/events", params={"after": "0"})
    assert page["events"].pop(0)["number"] == 1
    assert page["events"]
    monkeypatch.setattr(leeds, "call", lambda *_args, **_more: page)
    with pytest.raises(HistoryError, match="event 1"):
        next(leeds.events(0))


def test_a_rate_is_proposed_and_agreed(world: World, barcelona: Client) -> None:
    proposal, valid_from = uuid.uuid4(), datetime.now(UTC) + timedelta(days=1)
    for _ in range(2):
        told = barcelona.propose_rate(proposal, "2/13", valid_from)
        assert (told["state"], told["rate"]) == ("proposed", "2/13")
    with transaction(world.engine) as session:
        reply = Reply(Answer.AGREE, RateSide.OPERATOR, "operator", None)
        rate_proposals.answer(session, proposal, reply)
    (own,) = [one for one in barcelona.rates()["groups"] if one["group"] == "barcelona"]
    assert own["history"][-1]["rate"] == "2/13"
    other = uuid.uuid4()
    barcelona.propose_rate(other, "3/13")
    assert barcelona.answer_rate(other, "withdraw")["state"] == "withdrawn"


def test_a_settlement_outside_is_agreed_by_both(
    world: World, barcelona: Client, leeds: Client
) -> None:
    posted(barcelona, leeds, "12.50")
    adjustment = uuid.uuid4()
    sent = ("settlement", "barcelona", "leeds", "10.0000")
    for _ in range(2):
        told = barcelona.propose_adjustment(adjustment, *sent, note="by bank")
        assert told["state"] == "proposed"
    assert [one["id"] for one in leeds.adjustments("proposed")] == [str(adjustment)]
    assert leeds.answer_adjustment(adjustment, "agree")["state"] == "posted"
    assert balances(world.engine) == {"barcelona": -25_000, "leeds": 25_000}
    assert barcelona.check().version == 2


def test_a_book_is_reconciled(barcelona: Client, leeds: Client) -> None:
    paid, pending = posted(barcelona, leeds, "12.50"), pay(barcelona, "3.00")
    book = f"id,amount,state\n{paid},12.50,posted\n".encode()
    told = barcelona.reconcile(book)
    assert (told["matching"], told["counts"]["missing-there"]) == (1, 1)
    assert told["differences"][0]["id"] == str(pending)
    late = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert barcelona.reconcile(book, begins=late)["differences"] == []
    assert barcelona.reconcile(book, ends=late)["differences"] != []


def test_statements_come_page_by_page(barcelona: Client, leeds: Client) -> None:
    posted(barcelona, leeds, "1.00")
    (page,) = barcelona.statement("2020-01-01")
    assert [line["amount"] for line in page["lines"]] == ["-1.0000"]
    assert page["closing"]["head"] == barcelona.account()["head"]


def test_a_hub_sees_how_it_stands(barcelona: Client) -> None:
    assert (barcelona.hub()["id"], barcelona.hub()["state"]) == ("barcelona", "admitted")


def test_a_quote_is_what_the_payment_then_comes_to(barcelona: Client) -> None:
    quote = barcelona.quote("barcelona", "leeds", "12.50")
    made = barcelona.create(uuid.uuid4(), "barcelona/ines", "leeds/moss", "12.50")
    told = ("payer_amount", "payee_amount", "payer_rate", "payee_rate", "residue")
    assert {name: quote[name] for name in told} == {name: made[name] for name in told}
    assert barcelona.quote("barcelona", "leeds", "500")["refusal"] == "credit_limit"


def test_what_a_hubs_rule_accepts_is_posted_at_once(barcelona: Client, leeds: Client) -> None:
    rule = {"initiator": "payer", "counterparty": "barcelona", "up_to": "20.00"}
    assert leeds.change_hub(accepts=[rule])["policy"]["accepts"] == [rule]
    parties = ("barcelona/ines", "leeds/moss")
    assert barcelona.create(uuid.uuid4(), *parties, "20.00")["state"] == "posted"
    assert barcelona.create(uuid.uuid4(), *parties, "20.01")["state"] == "pending"
    assert leeds.hub()["policy"]["accepts"] == [rule]
    assert barcelona.check().version == leeds.check().version == 1
