"""Reconciliation as a hub asks for it over HTTP, and an operator at the terminal."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clearing_world import counted
from operating import run
from paying_world import World, open_doors, payment, problem
from served import verified_by_our_key
from sqlalchemy import Engine

from api.allowances import Allowance
from api.routes.reconciliations import MOST_DIFFERENCES, MOST_ROWS
from clearing.transfers import Transfer
from commons.database import make_engine
from commons.settings import Settings

CSV = "text/csv"


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def sent(world: World, body: object, query: str = "", **how: object) -> dict[str, object]:
    answer = world.service.call(world.barcelona, "POST", f"/reconciliations{query}", body, **how)
    assert answer.status_code == 200, answer.text
    assert verified_by_our_key(world.service, answer)
    told: dict[str, object] = answer.json()
    return told


def test_a_book_comes_as_csv_or_json_and_is_answered_alike(world: World) -> None:
    ids = [world.made("1.00"), world.made("2.00"), world.made("3.00")]
    world.move(world.leeds, ids[0], "accept")
    foreign = str(uuid.uuid4())
    rows = [
        {"id": ids[0], "amount": "1.00", "state": "posted", "payee": "leeds/moss"},
        {"id": ids[1], "amount": "2.50", "state": "posted"},
        {"id": foreign, "amount": "4.00", "state": "posted"},
    ]
    lines = [",".join(row.get(name, "") for name in rows[0]) for row in rows]
    table = "\ufeff" + "\r\n".join([",".join(rows[0]), *lines])
    told = sent(world, {"transfers": rows})
    assert sent(world, table.encode(), media_type="text/csv; charset=utf-8") == told
    assert told["counts"] == {
        "missing-here": 1,
        "missing-there": 1,
        "amount": 1,
        "rate": 0,
        "state": 1,
        "counterparty": 0,
    }
    differences = told["differences"]
    assert isinstance(differences, list)
    assert [(one["kind"], one["id"], one["row"]) for one in differences] == [
        ("amount", ids[1], 2),
        ("state", ids[1], 2),
        ("missing-here", foreign, 3),
        ("missing-there", ids[2], None),
    ]
    assert (differences[0]["yours"], differences[0]["ours"]) == ("2.50", "2.00")
    assert all(one["do"].endswith((".", "id.")) for one in differences)
    assert counted(world.engine, Transfer) == 3


def test_another_hubs_transfer_is_answered_as_none(world: World) -> None:
    theirs = str(uuid.uuid4())
    paid = payment("1.00") | {"payer": "ghent/lot"}
    assert world.put(world.ghent, paid, theirs).status_code == 201
    nobodys = str(uuid.uuid4())
    rows = [{"id": one, "amount": "1.00", "state": "pending"} for one in (theirs, nobodys)]
    answers = [json.dumps(sent(world, {"transfers": [row]})) for row in rows]
    assert answers[0].replace(theirs, "") == answers[1].replace(nobodys, "")


def test_a_long_book_is_taken_and_a_longer_one_refused(world: World) -> None:
    header = "id,payer,payee,amount,currency,state,date\n"
    line = "{},barcelona/somebody-with-a-name,leeds/somebody-else,12.50,HORA,posted,2026-11-20\n"
    book = header + "".join(line.format(uuid.UUID(int=number)) for number in range(MOST_ROWS))
    assert len(book) > 2**21
    told = sent(world, book.encode(), media_type=CSV)
    assert told["counts"]["missing-here"] == MOST_ROWS  # type: ignore[index] # counts by kind
    assert len(told["differences"]) == MOST_DIFFERENCES  # type: ignore[arg-type] # a list
    assert told["rest"] == MOST_ROWS - MOST_DIFFERENCES
    book += line.format(uuid.uuid4())
    call = world.service.call
    longer = call(world.barcelona, "POST", "/reconciliations", book.encode(), media_type=CSV)
    assert problem(longer, 422, "invalid")["field"] == "transfers"
    huge = call(world.barcelona, "POST", "/reconciliations", b" " * 9_000_000, media_type=CSV)
    problem(huge, 413, "too-large")


def test_what_cannot_be_compared_is_told_by_row_and_column(world: World) -> None:
    call, path = world.service.call, "/reconciliations"
    for body, media_type, status, field in (
        ({"transfers": [{"id": "7"}]}, "application/json", 422, "transfers.1.id"),
        (b"id,amount\n7,1\n", CSV, 422, "transfers.1.id"),
        (b"", CSV, 422, "header"),
        (b"{", "application/json", 400, None),
        (b'{"transfers": [], "transfers": []}', "application/json", 400, None),
        (b"\xff\xfei", CSV, 400, None),
        (b"id,amount\n", "text/plain", 415, None),
    ):
        answer = call(world.barcelona, "POST", path, body, media_type=media_type)
        assert answer.status_code == status, answer.text
        assert answer.json().get("field") == field
    for query in ("?from=yesterday", "?to=2026-11-20T10:00:00", "?from=1900000000"):
        answer = call(world.barcelona, "POST", path + query, {"transfers": []})
        assert problem(answer, 422, "invalid")["field"] == query[1:].partition("=")[0]
    problem(world.service.client.post(path, json={"transfers": []}), 401, "unauthenticated")
    world.service.services.allowances.batches = Allowance(1, 3600)
    sent(world, {"transfers": []})
    problem(call(world.barcelona, "POST", path, {"transfers": []}), 429, "too-many")


def test_an_operator_reconciles_a_file(
    world: World, settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    pending, posted = world.made("1.00"), world.made("2.00")
    world.move(world.leeds, posted, "accept")
    url = str(sqlite_engine.url)
    told = settings.model_copy(update={"database_url": url})
    book = tmp_path / "book.csv"
    book.write_text(f"id,amount,state\n{posted},2.00,posted\n", encoding="utf-8")
    done = run(told, "reconcile", "barcelona", str(book))
    assert done.exit_code == 1
    assert pending in done.stdout
    assert f"POST /transfers/{pending}/cancel" in done.stdout
    assert "1 rows, 1 match" in done.stdout
    assert "ours posted: 1 transfers, paid 2.00, received 0.00" in done.stdout
    as_json = json.loads(run(told, "reconcile", "barcelona", str(book), "--json").stdout)
    assert [one["id"] for one in as_json["differences"]] == [pending]
    assert as_json["counts"]["missing-there"] == 1
    assert run(told, "reconcile", "barcelona", str(book), "--to", "2020-01-01").exit_code == 0
    whole = tmp_path / "book.json"
    rows = [{"id": one, "amount": amount} for one, amount in ((posted, "2"), (pending, "1"))]
    whole.write_text(json.dumps({"transfers": rows}), encoding="utf-8")
    assert run(told, "reconcile", "barcelona", str(whole)).exit_code == 0
    for arguments in (
        ("barcelona", str(tmp_path / "none.csv")),
        ("barcelona", str(book), "--from", "now"),
    ):
        assert run(told, "reconcile", *arguments).exit_code == 2
    nowhere = run(told, "reconcile", "nowhere", str(tmp_path / "none.csv"))  # the group comes first
    assert (nowhere.exit_code, nowhere.stderr) == (1, "localpay: there is no group 'nowhere'\n")
    other = tmp_path / "key.csv"
    other.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ\n", encoding="utf-8")
    no_book = run(told, "reconcile", "barcelona", str(other))
    assert no_book.exit_code == 2
    assert 'header: must name "id" and an amount' in no_book.stderr
    assert "BEGIN" not in no_book.stderr
    with make_engine(url).connect() as connection:
        assert connection is not None
