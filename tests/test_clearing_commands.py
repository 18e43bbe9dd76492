"""The operator's commands for clearing: limits, a round, the audit, netting a file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clearing_world import HOUR, account, balances, open_world, pay, position
from conftest import disposed
from sqlalchemy import Engine, text, update
from test_commands import environment, good, refused, run

from api.migrations import upgrade
from clearing import rounds
from clearing.accounts import Account, lock_accounts
from commons.database import make_engine, transaction
from commons.settings import Settings

WAIT_SECONDS = 30.0
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


def test_a_round_is_shown_then_settled_and_leaves_balances_alone(
    settings: Settings, ledger: Engine
) -> None:
    before = balances(ledger)
    shown = printed(settings, "settle", "--dry-run")
    assert (shown.pop("round"), shown.pop("state")) == (None, "dry run")
    assert printed(settings, "settle", "--dry-run")["cleared"] == "210.0000"
    done = printed(settings, "settle")
    assert done.pop("round")
    assert done.pop("state") == "committed"
    assert done == shown
    totals = [done[name] for name in ("obligations_before", "cleared", "obligations_after")]
    assert totals == ["240.0000", "210.0000", "30.0000"]
    assert {
        "debtor": A,
        "creditor": B,
        "obligation": "80.0000",
        "set_off": "70.0000",
        "remaining": "10.0000",
    } in done["set_offs"]
    assert balances(ledger) == before
    assert printed(settings, "settle")["cleared"] == "0.0000"
    good(settings, "audit")


def test_a_round_that_was_left_proposed_is_committed_by_the_next_settling(
    settings: Settings, ledger: Engine
) -> None:
    with transaction(ledger) as session:
        round_id = rounds.propose(session).id
    assert position(ledger, B, A).given == 70 * HOUR
    done = printed(settings, "settle")
    assert (done["round"], done["state"]) == (str(round_id), "committed")
    assert position(ledger, B, A).given == 0
    good(settings, "audit")


def test_before_anybody_is_admitted_there_is_nothing_to_settle(settings: Settings) -> None:
    assert "admitted" in refused(settings, "settle", code=1)
    assert printed(settings, "settle", "--dry-run")["set_offs"] == []
    good(settings, "audit")


def test_limits_are_set_lifted_and_otherwise_kept(settings: Settings, ledger: Engine) -> None:
    told = printed(settings, "account", "limits", A, "--credit-limit", "25", "--pair", f"{B}=90.5")
    assert (told["credit_limit"], told["surplus_limit"]) == ("25.0000", None)
    told = printed(
        settings, "account", "limits", A, "--surplus-limit", "0.0000", "--pair", f"{C}=0"
    )
    assert (told["credit_limit"], told["surplus_limit"]) == ("25.0000", "0.0000")
    pairs = {one["counterparty"]: one["pair_limit"] for one in told["positions"]}
    assert pairs == {B: "90.5000", C: "0.0000"}
    told = printed(
        settings, "account", "limits", A, "--credit-limit", "none", "--pair", f"{B}=none"
    )
    assert told["credit_limit"] is None
    assert printed(settings, "account", "show", A) == told
    assert account(ledger, A).surplus_limit == 0
    listed = printed(settings, "account", "list", "--json")["accounts"]
    assert [one["group"] for one in listed] == [A, C, B]
    assert "-10.0000" in good(settings, "account", "list")
    good(settings, "audit")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--credit-limit", "-1"], 2, "--credit-limit"),
        (["--surplus-limit", "1e3"], 2, "--surplus-limit"),
        (["--pair", B], 2, "--pair"),
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
    assert {one["invariant"] for one in findings} == {1, 2, 3, 4, 5, 6, 7, 8, 10}
    assert all(one["holds"] for one in findings)
    with transaction(ledger) as session:
        session.execute(update(Account).where(Account.name == B).values(balance=1))
    done = run(settings, "audit", "--json")
    assert done.exit_code == 1
    failed = {one["invariant"] for one in json.loads(done.stdout) if not one["holds"]}
    assert failed == {1, 3, 8}
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
        assert "cannot be read" in refused(settings, "net", str(path), code=2)
