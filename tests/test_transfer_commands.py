"""`localpay transfer`: the operator looks at payments without names, and takes them back."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clearing_world import (
    assert_sound,
    balances,
    call,
    ledger,
    made,
    open_world,
    pay,
    push,
    told,
)
from conftest import disposed
from sqlalchemy import Engine, select
from test_commands import good, refused

from api.migrations import upgrade
from clearing.calls import Reverse
from clearing.events import EventKind
from commons.audit_log import Deed
from commons.database import make_engine, reading
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings) -> Iterator[Engine]:
    """The database of the commands: three groups that owe each other nothing yet."""
    upgrade(settings.effective_database_url)
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        yield engine


def printed(settings: Settings, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(good(settings, "transfer", *arguments))


def listed(settings: Settings, *arguments: str) -> list[str]:
    return [one["id"] for one in printed(settings, "list", "--json", *arguments)["transfers"]]


def test_transfers_are_listed_and_shown_without_names(settings: Settings, world: Engine) -> None:
    posted = str(pay(world, "barcelona", "leeds", "3").id)
    waiting = str(made(world, push("leeds", "ghent", "1", description="for Moss")).id)
    assert listed(settings) == [waiting, posted]
    now = datetime.now(UTC)
    soon = (now + timedelta(hours=1)).isoformat()
    for arguments, found in (
        (["--state", "posted"], [posted]),
        (["--state", "queued"], []),
        (["--party", "ghent"], [waiting]),
        (["--party", "leeds"], [waiting, posted]),
        (["--union", "main"], [waiting, posted]),
        (["--union", "north"], []),
        (["--from", soon], []),
        (["--to", soon], [waiting, posted]),
        (["--to", (now - timedelta(hours=1)).isoformat()], []),
        (["--reverses", posted], []),
    ):
        assert listed(settings, *arguments) == found, arguments
    first = printed(settings, "list", "--json", "--limit", "1")
    assert [one["id"] for one in first["transfers"]] == [waiting]
    assert listed(settings, "--cursor", first["cursor"]) == [posted]
    shown = printed(settings, "show", waiting)
    assert (shown["state"], shown["payer"], shown["description"]) == ("pending", "leeds/", "")
    rows = [line.split("\t") for line in good(settings, "transfer", "list").splitlines()]
    assert rows[1][:5] == [waiting, "pending", "main", "leeds", "ghent"]
    for told_of in (good(settings, "transfer", "list", "--json"), str(rows), str(shown)):
        assert "ines" not in told_of
        assert "moss" not in told_of.lower()
    refused(settings, "transfer", "show", str(uuid.uuid4()), code=1)
    for option, value in (("--from", "yesterday"), ("--to", "2026-12-01"), ("--cursor", "x")):
        refused(settings, "transfer", "list", option, value, code=2)


def test_the_operator_takes_a_payment_back_and_both_hubs_are_told(
    settings: Settings, world: Engine
) -> None:
    payment = pay(world, "barcelona", "leeds", "3")
    waiting = Reverse(uuid.uuid4(), "leeds", payment.id, "0.01")
    assert call(world, waiting).error is None
    before = ledger(world)
    for amount in ("3.01", "0"):
        code = 1 if amount == "3.01" else 2
        refused(settings, "transfer", "reverse", str(payment.id), "--amount", amount, code=code)
    refused(settings, "transfer", "reverse", str(uuid.uuid4()), code=1)
    assert ledger(world) == before
    part = printed(
        settings, "reverse", str(payment.id), "--amount", "1.00", "--reason", "paid twice"
    )
    assert (part["state"], part["reverses"], part["payee_amount"]) == (
        "posted", str(payment.id), "1.00"
    )  # fmt: skip
    assert (part["by_operator"], part["description"]) == (True, "")
    assert printed(settings, "show", str(waiting.id))["state"] == "cancelled"
    rest = printed(settings, "reverse", str(payment.id))
    assert rest["payee_amount"] == "2.00"
    assert balances(world) == {}
    assert listed(settings, "--reverses", str(payment.id), "--state", "posted") == [
        rest["id"], part["id"]
    ]  # fmt: skip
    for hub in ("barcelona", "leeds"):
        posted = [
            subject for kind, subject in told(world, hub) if kind is EventKind.TRANSFER_POSTED
        ]
        assert posted[-2:] == [part["id"], rest["id"]]
    with reading(world) as session:
        deeds = session.scalars(select(Deed).order_by(Deed.number)).all()
        assert [(one.actor, one.action, one.subject) for one in deeds] == [
            ("operator", "transfer-reversed", str(payment.id))
        ] * 2
    assert_sound(world)
