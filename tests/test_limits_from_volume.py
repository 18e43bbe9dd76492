"""Limits computed from what was traded: proposed to the operator, set when they are confirmed."""

import csv
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clearing_world import HOUR, account, call, limit, open_world, pay
from conftest import disposed
from sqlalchemy import Engine, select, update
from test_commands import good, refused

from api.line_commands import COLUMNS
from api.migrations import upgrade
from clearing import volumes
from clearing.accounts import Account, LimitChange, Union
from clearing.calls import Reverse
from clearing.events import Event, EventKind
from clearing.transfers import Transfer
from commons import database
from commons.audit_log import Deed
from commons.database import make_engine, reading, transaction
from commons.settings import Settings

LEEDS = ["main", "leeds", "1211.0000", "30.0000"]


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    """The database of the commands: leeds was paid 1211 in a year, and 900 before."""
    upgrade(settings.effective_database_url)
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        long_ago = pay(engine, "barcelona", "leeds", "900")
        with transaction(engine) as session:
            earlier = database.now(session) - volumes.PERIOD - timedelta(days=1)
            old = session.get_one(Transfer, long_ago.id)
            old.ended_at = earlier
        pay(engine, "barcelona", "leeds", "1000")
        pay(engine, "ghent", "leeds", "211")
        pay(engine, "leeds", "ghent", "30")
        mistaken = pay(engine, "ghent", "leeds", "400")
        call(engine, Reverse(uuid.uuid4(), None, mistaken.id))
        yield engine


def limits(engine: Engine) -> list[Any]:
    """Every limit with its history."""
    with reading(engine) as session:
        columns = ("name", "credit_warn", "credit_limit", "surplus_warn", "surplus_limit")
        query = select(*(getattr(Account, name) for name in columns)).order_by(Account.id)
        return [
            *session.execute(query).all(),
            *session.execute(select(LimitChange.__table__)).all(),
        ]


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as lines:
        return list(csv.reader(lines))


def test_two_usual_months_are_proposed_and_nothing_is_set(
    settings: Settings, ledger: Engine, tmp_path: Path
) -> None:
    with transaction(ledger) as session:
        session.get_one(Union, "main").surplus_default = 40 * HOUR
    before, file = limits(ledger), tmp_path / "lines.csv"
    printed = good(settings, "account", "propose-limits", str(file))
    rows = rows_of(file)
    assert rows[0] == list(COLUMNS)
    # 1211 in twelve months: two are 201.83, so 202; of 30 paid two are 5, and the least is 40.
    assert rows[3] == [
        *LEEDS,
        *("none", "none", "none", "none"),
        *("161.6000", "202.0000", "32.0000", "40.0000"),
    ]
    assert [row[1] for row in rows[1:]] == ["barcelona", "ghent", "leeds"]
    shown = [f"none → {level} below" for level in ("161.6000", "202.0000", "32.0000", "40.0000")]
    assert "\t".join([*rows[3][1:4], *shown]) in printed
    assert limits(ledger) == before
    said = refused(settings, "account", "propose-limits", str(file), code=2)
    assert said.startswith(f"localpay: {file}: this file exists already")
    limit(ledger, "leeds", credit="150", surplus="40")
    again = good(settings, "account", "propose-limits", str(tmp_path / "again.csv"))
    assert "150.0000 → 202.0000 above\tnone → 32.0000 below\t40.0000\n" in again
    said = refused(settings, "account", "propose-limits", "x", "--union", "south", code=1)
    assert "no union 'south'" in said


def test_confirmed_limits_are_set_told_and_logged(
    settings: Settings, ledger: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "lines.csv"
    good(settings, "account", "propose-limits", str(file))
    text = file.read_text().replace("161.6000,202.0000", "none,150.0000")  # the operator's word
    file.write_text(text)
    done = json.loads(good(settings, "account", "confirm-limits", str(file)))
    assert done == {"union": "main", "groups": 3, "limits_changed": 6}
    leeds = account(ledger, "leeds")
    assert (leeds.credit_warn, leeds.credit_limit) == (None, 150 * HOUR)
    assert (leeds.surplus_warn, leeds.surplus_limit) == (80 * HOUR, 100 * HOUR)
    with reading(ledger) as session:
        deeds = session.scalars(select(Deed).filter_by(action="limit-changed")).all()
        told = session.scalars(select(Event).filter_by(kind=EventKind.LIMIT_CHANGED)).all()
    assert len(deeds) == len(told) == 6
    assert {deed.actor for deed in deeds} == {"operator"}
    assert {(one.group_id, one.data["stop"]) for one in told} >= {("leeds", "150.0000")}


@pytest.mark.parametrize("meanwhile", ["limit", "closed", "twice"])
def test_what_changed_meanwhile_is_not_overwritten(
    settings: Settings, ledger: Engine, tmp_path: Path, meanwhile: str
) -> None:
    file = tmp_path / "lines.csv"
    good(settings, "account", "propose-limits", str(file))
    if meanwhile == "limit":
        limit(ledger, "leeds", credit="500")
    if meanwhile == "closed":
        with transaction(ledger) as session:
            session.execute(update(Account).values(state="closed").filter_by(name="leeds"))
    if meanwhile == "twice":
        file.write_text(file.read_text() + file.read_text().splitlines()[-1])
    before = limits(ledger)
    code = 2 if meanwhile == "twice" else 1
    assert "leeds" in refused(settings, "account", "confirm-limits", str(file), code=code)
    assert limits(ledger) == before


@pytest.mark.parametrize(
    ("found", "put", "said"),
    [
        ("new_credit_limit", "new_credit", "columns"),
        ("161.6000,202.0000", "203,202", "credit_warn"),
        ("161.6000,202.0000", "1e2,202", "leeds: new_credit_warn"),
        ("161.6000,202.0000", "-1,202", "leeds: new_credit_warn"),
        ("161.6000,202.0000", "202", "columns"),
        ("main,leeds", "north,leeds", "union"),
        ("main,leeds", "main,nobody", "nobody"),
        ("main,leeds", "main,le\udcffeds", "UTF-8"),
    ],
)
def test_a_file_that_was_spoilt_sets_nothing(  # noqa: PLR0913, PLR0917 (a case has that much)
    settings: Settings, ledger: Engine, tmp_path: Path, found: str, put: str, said: str
) -> None:
    file = tmp_path / "lines.csv"
    good(settings, "account", "propose-limits", str(file))
    text = file.read_text()
    assert found in text
    file.write_text(text.replace(found, put), errors="surrogateescape")
    before = limits(ledger)
    assert said in refused(settings, "account", "confirm-limits", str(file), code=2)
    assert limits(ledger) == before
