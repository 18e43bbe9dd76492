"""Each thing that an operator does by a command stands in the audit log, in its chain."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from clearing_world import open_world, pay
from conftest import disposed
from hub_server import HubServer
from sqlalchemy import Engine, select
from test_commands import good, hub, refused, settings

from clearing.events import Event, EventKind
from commons import audit_log
from commons.audit_log import Deed
from commons.database import make_engine, reading
from commons.settings import Settings

__all__ = ["hub", "settings"]  # fixtures that this file uses too


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        for payer, payee in (("leeds", "ghent"), ("ghent", "barcelona"), ("barcelona", "leeds")):
            pay(engine, payer, payee, "3")
        yield engine


def deeds(engine: Engine) -> list[tuple[str, str, dict[str, Any]]]:
    """What the log says the operator did."""
    with reading(engine) as session:
        assert list(audit_log.broken(session)) == []
        rows = session.scalars(select(Deed).order_by(Deed.number)).all()
    assert {row.actor for row in rows} <= {"operator"}
    return [(row.action, row.subject, row.data) for row in rows]


def test_what_is_blocked_suspended_and_settled_is_logged(
    settings: Settings, ledger: Engine
) -> None:
    good(settings, "block", "add", "spam.example", "--reason", "spam")
    good(settings, "block", "remove", "spam.example")
    good(settings, "hub", "suspend", "leeds", "--reason", "spam")
    good(settings, "hub", "resume", "leeds")
    settled = json.loads(good(settings, "settle", "--json"))
    assert deeds(ledger) == [
        ("domain-blocked", "spam.example", {"reason": "spam", "by": "operator"}),
        ("block-removed", "spam.example", {}),
        ("hub-suspended", "leeds", {"reason": "spam"}),
        ("hub-resumed", "leeds", {"state": "admitted"}),
        ("round-committed", settled["round"], {"union": "main", "cleared": "9.0000"}),
    ]
    good(settings, "settle", "--dry-run")
    refused(settings, "hub", "resume", "leeds", code=1)
    refused(settings, "account", "freeze", "leeds", "--reason", " ", code=2)
    assert len(deeds(ledger)) == 5


def test_an_admission_is_logged_and_told_with_the_account(
    settings: Settings, hub: HubServer
) -> None:
    good(settings, "hub", "admit", hub.name)
    account = {"union": "main", "state": "open", "reason": ""}
    with disposed(make_engine(settings.effective_database_url)) as engine:
        assert deeds(engine) == [
            ("account-changed", f"main/{hub.name}", account),
            ("hub-admitted", hub.name, {"rate": "1/1"}),
        ]
        with reading(engine) as session:
            told = session.scalars(select(Event)).all()
        assert [(one.kind, one.data) for one in told] == [(EventKind.ACCOUNT_CHANGED, account)]
        good(settings, "hub", "leave", hub.name)
        assert deeds(engine)[2:] == [("hub-left", hub.actor_uri, {})]
