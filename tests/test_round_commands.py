"""The operator's commands for rounds: settling, and each step of a round by itself."""

import csv
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    balances,
    call,
    open_world,
    pay,
    position,
    push,
    state,
)
from conftest import disposed
from every_table import everything
from sqlalchemy import Engine, select, update
from test_commands import good, refused, run

from api.migrations import upgrade
from clearing import rounds
from clearing.accounts import set_pair_limit
from clearing.calls import Create
from clearing.rounds import Round
from clearing.transfers import TransferState
from commons import database
from commons.audit_log import Deed
from commons.database import make_engine, reading, transaction
from commons.settings import Settings

A, B, C = "barcelona", "leeds", "ghent"


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    """The database of the commands: A owes B 80, B owes C 90, C owes A 70."""
    upgrade(settings.effective_database_url)
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        for payer, payee, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
            pay(engine, payer, payee, hours)
        yield engine


def printed(settings: Settings, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(good(settings, *arguments))


def queued(engine: Engine, hours: str) -> Create:
    """A payment from A to B that waits for room: A may owe B no more than 100."""
    with transaction(engine) as session:
        set_pair_limit(session, A, B, 100 * HOUR)
    create = push(A, B, hours, wait=True)
    for one in (create, accept(create)):
        assert call(engine, one).error is None
    assert state(engine, create) is TransferState.QUEUED
    return create


def actions(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as session:
        rows = session.scalars(select(Deed).order_by(Deed.number))
        return [(one.actor, one.action) for one in rows if one.action.startswith("round-")]


def test_a_round_is_shown_then_settled_and_leaves_balances_alone(
    settings: Settings, ledger: Engine
) -> None:
    before, moved = everything(ledger), balances(ledger)
    shown = printed(settings, "settle", "--dry-run", "--json")
    assert (shown.pop("round"), shown.pop("state")) == (None, "dry run")
    good(settings, "settle", "--dry-run")
    assert everything(ledger) == before
    done = printed(settings, "settle", "--json")
    assert done.pop("round")
    assert done.pop("state") == "committed"
    assert done == shown
    totals = [done[name] for name in ("obligations_before", "cleared", "obligations_after")]
    assert totals == ["240.0000", "210.0000", "30.0000"]
    assert {
        "debtor": A,
        "creditor": B,
        "obligation": "80.0000",
        "released": "0.0000",
        "set_off": "70.0000",
        "drawn": "0.0000",
        "remaining": "10.0000",
    } in done["set_offs"]
    groups = {one["group"]: one for one in done["groups"]}
    assert (groups[A]["owes_before"], groups[A]["owes_after"]) == ("80.0000", "10.0000")
    assert (groups[A]["is_owed_before"], groups[A]["set_off"]) == ("70.0000", "70.0000")
    assert balances(ledger) == moved
    assert printed(settings, "settle", "--json")["cleared"] == "0.0000"
    good(settings, "audit")


def test_settling_releases_what_waits_and_shows_it_to_its_groups(
    settings: Settings, ledger: Engine
) -> None:
    waits = queued(ledger, "60")
    before = everything(ledger)
    shown = printed(settings, "settle", "--dry-run", "--json")
    assert everything(ledger) == before
    assert (shown["waiting"], shown["released"]) == (1, 1)
    groups = {one["group"]: one for one in shown["groups"]}
    payments = [[one["transfer"] for one in groups[name]["payments"]] for name in (A, B, C)]
    assert payments == [[str(waits.id)], [str(waits.id)], []]
    (towards,) = (one for one in groups[A]["pairs"] if one["counterparty"] == B)
    assert (towards["before"], towards["released"]) == ("-80.0000", "-60.0000")
    assert (towards["room_before"], towards["room_after"]) == ("20.0000", "30.0000")
    told = good(settings, "settle")
    assert told.splitlines()[-1] == "1 of 1 queued payments are released"
    assert state(ledger, waits) is TransferState.POSTED
    good(settings, "audit")


@pytest.mark.usefixtures("ledger")
def test_a_round_is_told_as_a_table_of_the_union_that_settles(settings: Settings) -> None:
    shown = good(settings, "settle", "--dry-run").splitlines()
    assert shown[0].split("\t") == ["debtor", "creditor", "obligation", "set off", "remaining"]
    assert f"{A}\t{B}\t80.0000\t70.0000\t10.0000" in shown
    assert f"{A}\t80.0000\t70.0000\t70.0000\t10.0000\t0.0000\t0" in shown
    assert shown[-1] == (
        "dry run: of 240.0000 owed in union main 210.0000 are set off, 30.0000 remain"
    )
    good(settings, "union", "create", "south")
    good(settings, "union", "join", "south", A)
    other = printed(settings, "settle", "--union", "south", "--json")
    assert (other["union"], other["set_offs"]) == ("south", [])
    for more in ((), ("--dry-run",)):
        said = refused(settings, "settle", "--union", "nosuch", *more, code=1)
        assert "nosuch" in said
    assert "committed: of 240.0000 owed in union main" in good(settings, "settle")
    assert printed(settings, "settle", "--dry-run", "--json")["cleared"] == "0.0000"


def test_a_round_that_was_left_proposed_is_committed_by_the_next_settling(
    settings: Settings, ledger: Engine
) -> None:
    with transaction(ledger) as session:
        round_id = rounds.propose(session).id
    assert position(ledger, B, A).given == 70 * HOUR
    done = printed(settings, "settle", "--json")
    assert (done["round"], done["state"]) == (str(round_id), "committed")
    assert position(ledger, B, A).given == 0
    good(settings, "audit")


def test_before_anybody_is_admitted_there_is_nothing_to_settle(settings: Settings) -> None:
    assert "admitted" in refused(settings, "settle", code=1)
    assert printed(settings, "settle", "--dry-run", "--json")["set_offs"] == []
    for command in ("list", "propose"):
        assert "main" in refused(settings, "round", command, code=1)
    good(settings, "audit")


def test_a_round_goes_step_by_step_and_each_step_is_logged(
    settings: Settings, ledger: Engine
) -> None:
    first = printed(settings, "round", "propose", "--notice", "48")
    assert (first["state"], first["proposed_by"]) == ("proposed", "operator")
    before = everything(ledger)
    assert first["commit_at"][:16] in refused(settings, "round", "commit", first["id"], code=1)
    assert "opt out" in refused(settings, "settle", code=1)
    assert first["id"] in refused(settings, "round", "propose", code=1)
    assert everything(ledger) == before
    assert printed(settings, "round", "abandon", first["id"])["state"] == "abandoned"
    second = printed(settings, "round", "propose", "--notice", "48")
    with transaction(ledger) as session:
        late = database.now(session) - timedelta(seconds=1)
        session.execute(update(Round).where(Round.state == "proposed").values(commit_at=late))
    done = printed(settings, "round", "commit", second["id"])
    assert (done["state"], done["cleared"]) == ("committed", "210.0000")
    listed = printed(settings, "round", "list", "--json")["rounds"]
    assert [(one["id"], one["state"]) for one in listed] == [
        (second["id"], "committed"),
        (first["id"], "abandoned"),
    ]
    assert second["id"] in good(settings, "round", "list")
    assert actions(ledger) == [
        ("operator", "round-proposed"),
        ("operator", "round-abandoned"),
        ("operator", "round-proposed"),
        ("operator", "round-committed"),
    ]
    assert_sound(ledger)


def test_a_round_is_shown_whole_and_to_each_group_its_page(
    settings: Settings, ledger: Engine
) -> None:
    waits = queued(ledger, "60")
    done = printed(settings, "settle", "--json")["round"]
    whole = printed(settings, "round", "show", done, "--format", "json")
    assert (whole["state"], whole["queue"]["released"], len(whole["parts"])) == ("committed", 1, 3)
    assert f"{A}\t{B}\t140.0000\t70.0000\t70.0000" in good(settings, "round", "show", done)
    page = printed(settings, "round", "show", done, "--group", A, "--format", "json")
    assert [page[name] for name in ("owes_before", "set_off", "owes_after")] == [
        "80.0000",
        "70.0000",
        "70.0000",
    ]
    table = list(
        csv.DictReader(
            good(settings, "round", "show", done, "--group", A, "--format", "csv").splitlines()
        )
    )
    assert [(row["kind"], row["counterparty"] or row["transfer"]) for row in table] == [
        ("pair", C),
        ("pair", B),
        ("payment", str(waits.id)),
    ]
    assert f"{A} owed 80.0000" in good(settings, "round", "show", done, "--group", A)
    html = good(settings, "round", "show", done, "--group", A, "--format", "html")
    assert html.startswith("<!doctype html>")
    for form in ("csv", "html"):
        said = refused(settings, "round", "show", done, "--format", form, code=2)
        assert "--group" in said
    assert "nobody" in refused(settings, "round", "show", done, "--group", "nobody", code=1)


def test_what_proves_a_round_is_printed_for_each_who_may_see_it(
    settings: Settings, ledger: Engine
) -> None:
    pay(ledger, A, B, "1")
    done = printed(settings, "settle", "--json")["round"]
    public = printed(settings, "round", "certificate", done)
    own = printed(settings, "round", "certificate", done, "--form", "slice", "--group", A)
    full = printed(settings, "round", "certificate", done, "--form", "full")
    assert public == own["public"] == full["public"]
    assert (len(own["rows"]), len(full["rows"])) == (2, 3)
    assert (
        public["hash"]
        == printed(settings, "round", "list", "--json")["rounds"][0]["certificate_hash"]
    )
    for more in (("--form", "slice"), ("--group", A), ("--form", "full", "--group", A)):
        said = refused(settings, "round", "certificate", done, *more, code=2)
        assert "--group" in said
    other = printed(settings, "round", "propose")["id"]
    assert "certificate" in refused(settings, "round", "certificate", other, code=1)


STEPS = ("show", "commit", "abandon", "certificate")
SENSELESS = [
    (["round", "propose", "--notice", "-1"], 2),
    (["round", "propose", "--notice", "2161"], 2),
    (["round", "propose", "--notice", "9" * 30], 2),
    (["round", "propose", "--union", "nosuch"], 1),
    (["round", "list", "--union", "nosuch"], 1),
    *((["round", verb, str(uuid.UUID(int=7))], 1) for verb in STEPS),
    (["union", "rounds", "main", "--schedule", "* * * * *"], 2),
    (["union", "rounds", "main", "--schedule", "every day"], 2),
    (["union", "rounds", "main", "--schedule", "0 6 * * 1", "--no-schedule"], 2),
    (["union", "rounds", "main", "--notice", "-1"], 2),
    (["union", "rounds", "main", "--notice", "2161"], 2),
    (["union", "rounds", "nosuch", "--notice", "1"], 1),
]


def test_what_makes_no_sense_is_refused_in_one_line_and_changes_nothing(
    settings: Settings, ledger: Engine
) -> None:
    before = everything(ledger)
    for arguments, code in SENSELESS:
        refused(settings, *arguments, code=code)
    for verb in STEPS:
        assert run(settings, "round", verb, "last").exit_code == 2
    assert everything(ledger) == before


def test_a_union_has_its_rounds_by_its_own_rules(settings: Settings, ledger: Engine) -> None:
    asked = ["--schedule", "0  6 * * 1", "--notice", "48", "--credit-lines"]
    told = printed(settings, "union", "rounds", "main", *asked)["rounds"]
    moment = told.pop("next")
    assert moment.endswith("T06:00:00Z")
    expected = {"schedule": "0 6 * * 1", "notice_seconds": 172_800, "credit_lines": True}
    assert told == expected
    assert printed(settings, "union", "show", "main")["rounds"] == expected | {"next": moment}
    assert f"0 6 * * 1\t{moment[:10]}" in good(settings, "union", "list")
    # What is not named stays as it is.
    told = printed(settings, "union", "rounds", "main", "--no-credit-lines")["rounds"]
    assert told == expected | {"next": moment, "credit_lines": False}
    told = printed(settings, "union", "rounds", "main", "--no-schedule", "--notice", "0")["rounds"]
    assert told == {"schedule": None, "next": None, "notice_seconds": 0, "credit_lines": False}
    with reading(ledger) as session:
        rows = session.scalars(select(Deed).filter_by(action="union-rounds-changed"))
        logged = [(row.actor, row.subject, row.data["schedule"]) for row in rows]
    assert logged == [("operator", "main", one) for one in ("0 6 * * 1", "0 6 * * 1", "none")]
