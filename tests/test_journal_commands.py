"""The operator's commands for adjustments, disputes, periods and levies."""

import json
import uuid
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from clearing_world import HOUR, assert_sound, balances, levied, open_world, pay
from conftest import disposed
from journal_world import (
    A,
    B,
    C,
    dispute,
    everything,
    mark,
    positions,
    proposal,
    propose,
    yesterday,
)
from sqlalchemy import Engine
from test_commands import good, refused

from api.migrations import upgrade
from commons.database import make_engine
from commons.settings import Settings


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    """The database of the commands: three groups that owe each other nothing yet."""
    upgrade(settings.effective_database_url)
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        yield engine


def printed(settings: Settings, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(good(settings, *arguments))


def test_positions_are_opened_and_what_the_union_is_owed_is_confirmed(
    settings: Settings, ledger: Engine
) -> None:
    day = yesterday().isoformat()
    opened = printed(
        settings, "adjustment", "open", A, B, "12.5", "--date", day, "--note", "Old book"
    )
    assert (opened["state"], opened["value_date"]) == ("posted", day)
    assert balances(ledger) == {A: -125_000, B: 125_000}
    pay(ledger, A, B, "1")
    waiting = printed(settings, "adjustment", "open", A, C, "1")
    assert (waiting["state"], waiting["waits_for"]) == ("proposed", [A, C])
    assert f"{A}, {C}" in good(settings, "adjustment", "list", "--state", "proposed")
    assert printed(settings, "adjustment", "cancel", waiting["id"])["state"] == "cancelled"
    assert printed(settings, "adjustment", "show", waiting["id"])["state"] == "cancelled"
    told = printed(settings, "adjustment", "list", "--group", B, "--json")["adjustments"]
    assert [one["id"] for one in told] == [opened["id"]]
    assert printed(settings, "adjustment", "erase", opened["id"]) == opened | {"note": ""}
    assert "12.5000" in good(settings, "adjustment", "list", "--state", "posted")
    good(settings, "union", "levy", "main", "1/10")
    before = everything(ledger)
    for arguments, code in (
        (("adjustment", "show", str(uuid.uuid4())), 1),
        (("adjustment", "agree", opened["id"]), 1),
        (("adjustment", "open", A, B, "1", "--date", "yesterday"), 2),
        (("adjustment", "open", A, "nobody", "1"), 2),
    ):
        refused(settings, *arguments, code=code)
    for amount in ("-5", "-0.5"):
        said = refused(settings, "adjustment", "open", A, B, amount, code=2)
        assert said == "localpay: amount: must be more than zero; who owes is named first\n"
    assert '"1/100"' in refused(settings, "union", "levy", "main", "0.01", code=2)
    assert '"1/10"' in refused(settings, "rate", "propose", A, "0.1", code=2)
    assert everything(ledger) == before
    assert_sound(ledger)


def test_a_levy_is_set_paid_outside_and_confirmed(settings: Settings, ledger: Engine) -> None:
    told = printed(settings, "union", "levy", "main", "1/20")
    assert (told["levy"], told["coming_levy"]["levy"]) == (None, "1/20")
    levied(ledger, Fraction(1, 10))
    pay(ledger, A, B, "50")
    paid = propose(ledger, proposal(A, "settlement", A, "levy", "3"))
    assert printed(settings, "adjustment", "agree", str(paid.id))["state"] == "posted"
    other = propose(ledger, proposal(A, "settlement", A, "levy", "1"))
    assert printed(settings, "adjustment", "decline", str(other.id))["state"] == "declined"
    assert positions(ledger)["levy", A] == 2 * HOUR
    told = printed(settings, "union", "levy", "main", "none")
    assert (told["levy"], told["coming_levy"]["levy"]) == ("1/10", "1/20")
    for union, share in (("main", "2"), ("main", "3/2"), ("main", "0.1")):
        refused(settings, "union", "levy", union, share, code=2)
    refused(settings, "union", "levy", "nowhere", "1/2", code=1)
    assert_sound(ledger)


def test_a_period_is_shown_then_closed(settings: Settings, ledger: Engine) -> None:
    pay(ledger, A, C, "1.2345")
    before = everything(ledger)
    arguments = ("period", "close", "main", "--until", yesterday().isoformat())
    shown = printed(settings, *arguments, "--dry-run")
    assert shown["returned"] == [{"group": C, "residue": "0.2345"}]
    assert everything(ledger) == before
    assert printed(settings, *arguments) == shown | {"dry_run": False}
    assert positions(ledger) == {(C, A): 12_345}
    refused(settings, *arguments, code=1)
    refused(settings, "period", "close", "main", "--until", "2999-01-01", code=2)
    (closed,) = printed(settings, "period", "list", "--union", "main", "--json")["periods"]
    assert (closed["union"], closed["until"]) == ("main", yesterday().isoformat())
    assert yesterday().isoformat() in good(settings, "period", "list")


def test_disputes_are_listed_and_lifted(settings: Settings, ledger: Engine) -> None:
    pay(ledger, A, B, "80")
    marked = mark(ledger, dispute(A, A, B, "30"))
    assert "Posted twice" in good(settings, "dispute", "list")
    assert printed(settings, "dispute", "lift", str(marked.id))["state"] == "lifted"
    told = printed(settings, "dispute", "list", "--state", "lifted", "--group", B, "--json")
    assert [one["id"] for one in told["disputes"]] == [str(marked.id)]
    assert printed(settings, "dispute", "erase", str(marked.id))["reason"] == ""
    for verb in ("lift", "erase"):
        refused(settings, "dispute", verb, str(uuid.uuid4()), code=1)
