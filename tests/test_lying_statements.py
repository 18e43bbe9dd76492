"""Statements that a service made up, hashes and all: what they tell does not fit together."""

import copy
import json
import uuid
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import pytest
from clearing_world import accept, call, levied, limit, made, open_world, push
from journal_world import A, B, C, agreed, close, owe, proposal, yesterday
from sqlalchemy import Engine
from statement_world import Json, read, sealed, verified

from clearing import chain
from clearing.calls import Move, Reverse, Verb
from clearing.transfers import Unit, levy_journal
from clearing.verifying.documents import Payment
from clearing.verifying.local import Places

Lie = Callable[[Json], None]


def hashed(told: Json) -> Json:
    """Have balances, digests and hashes fit what a statement tells now, as its service could."""
    told = json.loads(json.dumps(told))
    balance, head = minor(told["opening"]["balance"]), told["opening"]["head"]
    for line in told["lines"]:
        balance += minor(line["amount"])
        line["balance"] = units(balance)
        line["digest"] = chain.digest(line["content"])
        row = chain.Row(
            account=told["account"],
            version=str(line["version"]),
            journal=line["journal"],
            kind=line["kind"],
            counterparty=line["counterparty"],
            amount=str(minor(line["amount"])),
            balance=str(balance),
            time=line["time"],
            digest=line["digest"],
        )
        head = line["hash"] = chain.next_hash(head, row)
    last = told["lines"][-1]
    told["closing"] = {"version": last["version"], "balance": last["balance"], "head": head}
    return told


def minor(amount: str) -> int:
    return int(amount.replace(".", ""))


def units(amount: int) -> str:
    digits = str(abs(amount)).rjust(5, "0")
    return f"{'-' if amount < 0 else ''}{digits[:-4]}.{digits[-4:]}"


def problems(told: Json) -> list[str]:
    return verified(hashed(told), key=False).problems


def line_of(told: Json, kind: str) -> Json:
    found: Json = next(line for line in told["lines"] if line["kind"] == kind)
    return found


@pytest.fixture
def told(sqlite_engine: Engine) -> Json:
    """A true statement of barcelona with lines of nearly every kind."""
    engine = sqlite_engine
    open_world(engine)
    for group_id in (A, B, C):
        limit(engine, group_id)
    levied(engine, Fraction(1, 100))
    owe(engine, B, A, "20.0000")
    for amount in ("17.77", "5.00"):
        paid = made(engine, push(A, C, amount, Unit.PAYER))
        call(engine, accept(paid))
    back = Reverse(uuid.uuid4(), A, paid.id, amount="1", reason="one too many")
    assert call(engine, back).error is None
    assert call(engine, Move(back.id, C, Verb.ACCEPT)).error is None
    agreed(engine, proposal(B, "settlement", B, A, "3.0000"))
    agreed(engine, proposal(B, "assignment", B, A, "2.0000"))
    close(engine, yesterday())
    true = sealed(read(engine, A))
    assert problems(copy.deepcopy(true)) == []
    return true


def another_kind(kind: str, other: str) -> Lie:
    def lie(told: Json) -> None:
        line_of(told, kind)["kind"] = other

    return lie


def another_amount(kind: str) -> Lie:
    def lie(told: Json) -> None:
        line = line_of(told, kind)
        line["amount"] = units(minor(line["amount"]) + 10_000)

    return lie


def another_counterparty(kind: str) -> Lie:
    def lie(told: Json) -> None:
        line_of(told, kind)["counterparty"] = "utrecht"

    return lie


def the_same_twice(told: Json) -> None:
    twice = copy.deepcopy(line_of(told, "payment"))
    twice["version"] = told["lines"][-1]["version"] + 1
    told["lines"].append(twice)


def a_levy_on_another_payment(told: Json) -> None:
    payments = [line["journal"] for line in told["lines"] if line["kind"] == "payment"]
    content = line_of(told, "levy")["content"]
    content["about"] = next(one for one in payments if one != content["about"])
    content["journal"] = str(levy_journal(uuid.UUID(content["about"])))
    line_of(told, "levy")["journal"] = content["journal"]


LIES = {
    "twice": the_same_twice,
    "a levy on another payment": a_levy_on_another_payment,
    **{
        f"{kind} as {other}": another_kind(kind, other)
        for kind in ("payment", "reversal", "levy", "opening", "settlement", "assignment")
        for other in ("payment", "levy", "settlement", "opening", "residue", "set-off")
        if kind != other
    },
    **{
        f"another amount of {kind}": another_amount(kind)
        for kind in ("payment", "reversal", "levy", "opening", "settlement", "assignment")
    },
    **{
        f"another counterparty of {kind}": another_counterparty(kind)
        for kind in ("payment", "reversal", "levy", "opening", "settlement", "assignment")
    },
}


def test_no_lie_fits_though_every_hash_does(told: Json) -> None:
    for name, lie in LIES.items():
        lied = copy.deepcopy(told)
        lie(lied)
        found = problems(lied)
        assert found, name
        assert not [problem for problem in found if "hash" in problem or "digest" in problem], name


def moved(amount: str, by: int) -> str:
    """Return the same digits with the point so many places to the left."""
    whole, _, part = amount.partition(".")
    digits = (whole + part).rjust(len(part) + by + 1, "0")
    cut = len(digits) - len(part) - by
    return (digits[:cut].lstrip("0") or "0") + (f".{digits[cut:]}" if digits[cut:] else "")


def test_a_point_that_was_moved_is_found(told: Json) -> None:
    """No hash covers the decimal places of a currency; what the amount is worth does."""
    assert moved("50.00", 2) == "0.5000"
    assert moved("50.00", -2) == "5000"
    for by, side in product((-2, -1, 1, 2, 4), ("payer_amount", "payee_amount")):
        for most in (1, 100):
            lied = copy.deepcopy(told)
            payments = [line["payment"] for line in lied["lines"] if line["payment"] is not None]
            for one in payments[:most]:
                one[side] = moved(one[side], by)
            if lied != told:  # of an amount without places the point moves one way alone
                found = verified(lied, key=False).problems
                assert [one for one in found if f"{side} is not worth" in one], (by, side)


def test_a_currency_keeps_its_places_even_where_it_is_worth_next_to_nothing() -> None:
    first = payment("0.50", "COW")
    places = Places()
    assert list(places.check(first)) == []
    assert list(places.check(payment("0.5", "COW")))
    assert list(places.check(payment("5", "COW")))
    assert list(places.check(payment("7.25", "COW"))) == []


def payment(amount: str, code: str) -> Payment:
    return Payment(
        payer="leeds/",
        payee="ghent/",
        description="",
        payer_amount=amount,
        payer_currency=code,
        payee_amount="3",
        payee_currency="GHE",
        payer_rate="1/1",
        payee_rate="1/1",
        levy="0.0000",
        reverses=None,
    )


def test_an_amount_is_written_in_one_way_only(told: Json) -> None:
    for amount in ("050.00", ".50", "50.", "+5", "5e1", "1_0.00", "-5.00", ""):
        line_of(told, "payment")["payment"]["payee_amount"] = amount
        assert verified(told, key=False).problems, amount
