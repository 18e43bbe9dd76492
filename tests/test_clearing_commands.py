"""The operator's commands for clearing: limits, the audit, netting a file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clearing_world import HOUR, account, open_world, pay
from conftest import disposed
from sqlalchemy import Engine, select, text, update
from test_commands import environment, good, refused, run

from api.migrations import upgrade
from clearing.accounts import Account, lock_accounts
from clearing.events import Event, EventKind
from commons.audit_log import Deed
from commons.database import make_engine, reading, transaction
from commons.settings import Settings

WAIT_SECONDS = 30.0
A, B, C = "barcelona", "leeds", "ghent"
INVARIANTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]


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


def test_limits_are_set_lifted_and_otherwise_kept(settings: Settings, ledger: Engine) -> None:
    told = printed(settings, "account", "limits", A, "--credit-limit", "25", "--pair", f"{B}=90.5")
    assert (told["credit_limit"], told["surplus_limit"]) == ("25.0000", None)
    options = ["--surplus-limit", "0.0000", "--pair", f"{C}=0", "--pair-warn", f"{B}=80"]
    told = printed(settings, "account", "limits", A, "--credit-warn", "20", *options)
    assert (told["credit_limit"], told["surplus_limit"]) == ("25.0000", "0.0000")
    assert (told["credit_warn"], told["surplus_warn"]) == ("20.0000", None)
    pairs = {one["counterparty"]: one for one in told["positions"]}
    assert [(pairs[x]["pair_warn"], pairs[x]["pair_limit"]) for x in (B, C)] == [
        ("80.0000", "90.5000"),
        (None, "0.0000"),
    ]
    # The balance is -10 and A owes B 80: of 25, 15 are left, towards B 10.5, towards C nothing.
    assert (told["available_out"], told["available_in"]) == ("15.0000", "10.0000")
    assert [pairs[x]["available"] for x in (B, C)] == ["10.5000", "0.0000"]
    lifted = ["--credit-limit", "none", "--credit-warn", "none"]
    lifted += ["--pair", f"{B}=none", "--pair-warn", f"{B}=none"]
    told = printed(settings, "account", "limits", A, *lifted)
    assert (told["credit_limit"], told["credit_warn"], told["available_out"]) == (None, None, None)
    assert printed(settings, "account", "show", A) == told
    assert account(ledger, A).surplus_limit == 0
    listed = printed(settings, "account", "list", "--json")["accounts"]
    assert [one["group"] for one in listed] == [A, C, B]
    assert "-10.0000" in good(settings, "account", "list")
    good(settings, "audit")


@pytest.mark.usefixtures("ledger")
def test_to_and_from_whom_may_not_pay_nothing_is_available(settings: Settings) -> None:
    def available(group: str) -> dict[str, str | None]:
        told = printed(settings, "account", "show", group)
        own = {name: told[f"available_{name}"] for name in ("out", "in")}
        return own | {one["counterparty"]: one["available"] for one in told["positions"]}

    assert available(A) == {"out": None, "in": None, B: None, C: None}
    good(settings, "account", "freeze", B, "--reason", "moving")
    good(settings, "hub", "suspend", C, "--reason", "spam")
    assert available(A) == {"out": None, "in": None, B: "0.0000", C: "0.0000"}
    for stopped, others in ((B, (A, C)), (C, (A, B))):
        assert available(stopped) == dict.fromkeys(("out", "in", *others), "0.0000")


def test_a_changed_limit_is_told_to_the_hubs_concerned_and_logged(
    settings: Settings, ledger: Engine
) -> None:
    before = {name: told_of(ledger, name) for name in (A, B, C)}
    options = ["--credit-limit", "25", "--pair", f"{B}=90", "--pair-warn", f"{B}=70"]
    for _ in range(2):  # what is set to what it is, nobody is told
        good(settings, "account", "limits", A, *options)
    fresh = {name: told_of(ledger, name)[len(before[name]) :] for name in (A, B, C)}
    credit = {"kind": "credit", "counterparty": "", "warn": "none", "stop": "25.0000"}
    pair = {"kind": "pair", "counterparty": B, "warn": "70.0000", "stop": "90.0000"}
    credit, pair = ({"union": "main", "group": A, **one} for one in (credit, pair))
    kind = EventKind.LIMIT_CHANGED
    assert fresh == {A: [(kind, credit), (kind, pair)], B: [(kind, pair)], C: []}
    with reading(ledger) as session:
        rows = session.scalars(select(Deed).filter_by(action="limit-changed").order_by(Deed.number))
        assert [(row.actor, row.subject, row.data) for row in rows] == [
            ("operator", f"main/{A}", credit),
            ("operator", f"main/{A}", pair),
        ]


def told_of(engine: Engine, group_id: str) -> list[tuple[EventKind, dict[str, Any]]]:
    """The events of a hub: what kind, and with what data."""
    with reading(engine) as session:
        rows = session.scalars(select(Event).filter_by(group_id=group_id).order_by(Event.number))
        return [(row.kind, row.data) for row in rows]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--credit-limit", "-1"], 2, "--credit-limit"),
        (["--surplus-limit", "1e3"], 2, "--surplus-limit"),
        (["--pair", B], 2, "--pair"),
        (["--pair-warn", f"{B}=2", "--pair", f"{B}=1"], 2, "pair_warn"),
        (["--credit-warn", "26", "--credit-limit", "25"], 2, "credit_warn"),
        (["--pair", f"{B}=much"], 2, "--pair"),
        (["--pair", f"{A}=1"], 2, "pair_limit"),
        (["--credit-limit", "1", "--pair", "nobody=1"], 1, "nobody"),
    ],
)
def test_a_bad_limit_is_told_in_one_line_and_changes_nothing(
    settings: Settings, ledger: Engine, options: list[str], code: int, said: str
) -> None:
    before = printed(settings, "account", "show", A)
    assert said in refused(settings, "account", "limits", A, *options, code=code)
    assert printed(settings, "account", "show", A) == before
    assert account(ledger, A).credit_limit is None


def test_limits_and_payments_take_their_locks_in_the_same_order(
    settings: Settings, postgresql_engine: Engine
) -> None:
    open_world(postgresql_engine)
    url = postgresql_engine.url.render_as_string(hide_password=False)
    told = environment(settings.model_copy(update={"database_url": url}))
    first, second = (account(postgresql_engine, name).id for name in (A, B))
    assert first < second
    command = [sys.executable, "-m", "api.commands", "account", "limits", B]
    with transaction(postgresql_engine) as session:
        lock_accounts(session, [first])
        changing = subprocess.Popen(
            [*command, "--credit-limit", "5", "--pair", f"{A}=3"],
            env=told,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait_for_a_lock(postgresql_engine)
        session.execute(text("SET LOCAL lock_timeout = '10s'"))
        lock_accounts(session, [second])  # fails, or has the other fail, where it is held
    said = changing.communicate(timeout=WAIT_SECONDS)[1]
    assert changing.returncode == 0, said
    assert account(postgresql_engine, B).credit_limit == 5 * HOUR


def wait_for_a_lock(engine: Engine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
        os.sched_yield()
    raise AssertionError("nobody waits for a lock")


def test_an_audit_fails_where_an_invariant_does(settings: Settings, ledger: Engine) -> None:
    findings = printed(settings, "audit", "--json")
    assert [one["invariant"] for one in findings] == INVARIANTS
    assert all(one["holds"] for one in findings)
    with transaction(ledger) as session:
        session.execute(update(Account).where(Account.name == B).values(balance=1))
    done = run(settings, "audit", "--json")
    assert done.exit_code == 1
    failed = {one["invariant"] for one in json.loads(done.stdout) if not one["holds"]}
    assert failed == {1, 3, 8, 11}
    told = run(settings, "audit")
    assert told.exit_code == 1
    assert " 3 FAILS  balance" in told.stdout


def test_a_file_of_obligations_is_netted(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "owed.csv"
    file.write_text("debtor,creditor,amount\nA,B,80\nB,C,90\n\nC,A,70\n", encoding="utf-8-sig")
    assert printed(settings, "net", str(file)) == {
        "total": 240,
        "net_internal_debt": 20,
        "cleared": 210,
        "remaining": [
            {"debtor": "A", "creditor": "B", "amount": 10},
            {"debtor": "B", "creditor": "C", "amount": 20},
        ],
    }


def test_decimal_obligations_stay_exact_and_are_told_as_text(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "owed.csv"
    file.write_text('debtor,creditor,amount\r\n"A, of B",B,0.30\r\nB,"A, of B",0.1\r\n')
    found = printed(settings, "net", str(file))
    assert (found["total"], found["net_internal_debt"], found["cleared"]) == (
        "0.40",
        "0.20",
        "0.20",
    )
    assert found["remaining"] == [{"debtor": "A, of B", "creditor": "B", "amount": "0.20"}]


def test_a_pipe_is_netted_too(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.commands", "net", "-"],
        input=b"debtor,creditor,amount\nA,B,3\nB,A,1\n",
        env=environment(settings),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["cleared"] == 2
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "header"),
        (b"creditor,debtor,amount\nA,B,1\n", "header"),
        (b"debtor,creditor,amount\nA,B,1\nA,A,1\n", "line 3"),
        (b"debtor,creditor,amount\nA,B,0\n", "line 2"),
        (b"debtor,creditor,amount\nA,B,-1\n", "line 2"),
        (b"debtor,creditor,amount\nA,B,1e5\n", "line 2"),
        (b"debtor,creditor,amount\nA,B,NaN\n", "line 2"),
        (b"debtor,creditor,amount\nA,B\n", "line 2"),
        (b"debtor,creditor,amount\nA,B,1,2\n", "line 2"),
        (b"debtor,creditor,amount\n,B,1\n", "line 2"),
        (b'debtor,creditor,amount\n"A,B,1\n', "after line 1"),
        (b"debtor,creditor,amount\n\xff,B,1\n", "UTF-8"),
    ],
)
def test_a_file_that_holds_no_obligations_is_told_in_one_line(
    settings: Settings, tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "owed.csv"
    file.write_bytes(content)
    assert said in refused(settings, "net", str(file), code=2)


def test_a_file_that_is_not_there_is_told_in_one_line(settings: Settings, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path):
        said = refused(settings, "net", str(path), code=2)
        assert str(path) in said
        assert "Errno" not in said
