"""Statements are printed, verified from files alone, and names are erased, by commands."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from operating import run
from sqlalchemy import Engine
from statement_world import KEY, SEAL, Json, changed, moments, read, sealed, write_history
from test_camt import check
from typer.testing import Result

from clearing import roots
from clearing.accounts import account_of
from commons.database import reading, transaction
from commons.keys import load_or_create
from commons.settings import Settings
from commons.signatures import encode_multikey, generate_ed25519, public_pem

FROM = ("--from", "2026-01-01")


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Settings:
    """Settings of a service on the database with the short history."""
    write_history(sqlite_engine)
    url = sqlite_engine.url.render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": url})


def kept(folder: Path, name: str, document: object) -> str:
    file = folder / name
    file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return str(file)


def only(engine: Engine, group_id: str) -> Json:
    return sealed(read(engine, group_id))


def verify(settings: Settings, *arguments: str) -> Result:
    """Verify where there is neither database nor server: the settings lead to none."""
    nowhere = settings.model_copy(
        update={"database_url": "postgresql+psycopg2://nobody@127.0.0.1:1/none"}
    )
    return run(nowhere, "verify-statement", *arguments)


def test_a_printed_statement_verifies_with_the_services_own_key(
    service: Settings, tmp_path: Path
) -> None:
    printed = run(service, "statement", "leeds", *FROM)
    assert printed.exit_code == 0, printed.stderr
    assert "/ines" not in printed.stdout  # names are the two hubs' alone
    file = kept(tmp_path, "leeds.json", printed.stdout)
    key = kept(
        tmp_path, "key.pem", public_pem(load_or_create(service.data_dir).service.public_key())
    )
    found = verify(service, file, "--key", key)
    assert found.exit_code == 0, found.output
    assert "signed by" in found.stdout
    other = encode_multikey(generate_ed25519().public_key())
    assert verify(service, file, "--key", other).exit_code == 1


def test_a_statement_is_printed_as_csv_and_camt(service: Settings) -> None:
    table = run(service, "statement", "ghent", *FROM, "--format", "csv").stdout
    assert table.splitlines()[0].startswith("version,time,value_date,kind")
    message = run(service, "statement", "ghent", *FROM, "--format", "camt").stdout
    assert list(check(ET.fromstring(message))) == []  # noqa: S314 (our own)


def test_the_first_row_that_does_not_verify_is_named(
    service: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    wrong = changed(only(sqlite_engine, "leeds"), ("lines", 1, "amount"))
    found = verify(service, kept(tmp_path, "leeds.json", wrong))
    assert found.exit_code == 1
    assert found.stdout.splitlines()[0].startswith("FAILS  account leeds: version 2: ")


def test_two_hubs_periods_and_a_root_are_checked_together(
    service: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    cut = moments(sqlite_engine, "leeds")[2]
    with transaction(sqlite_engine) as session:
        account = account_of(session, "leeds")
        day = cut.date()
        roots.publish(session, day, SEAL)
        proven = roots.inclusion(session, account, day)
    files = [
        kept(tmp_path, "1.json", sealed(read(sqlite_engine, "leeds", end=cut))),
        kept(tmp_path, "2.json", sealed(read(sqlite_engine, "leeds", cut))),
        kept(tmp_path, "3.json", only(sqlite_engine, "barcelona")),
    ]
    root = kept(tmp_path, "root.json", proven)
    actor = {"assertionMethod": [{"publicKeyMultibase": encode_multikey(KEY.public_key())}]}
    key = kept(tmp_path, "actor.json", actor)
    found = verify(service, *files, "--root", root, "--key", key)
    assert found.exit_code == 0, found.output
    assert "opposite" in found.stdout
    assert f"published for {day}" in found.stdout
    found = verify(service, files[0], files[2], "--root", root)
    assert found.exit_code == 1  # the head that was published lies in the file that is not there


def test_what_is_no_statement_or_key_is_told_in_a_line(service: Settings, tmp_path: Path) -> None:
    good = kept(tmp_path, "good.json", "{}")
    cases = [
        (good,),
        (kept(tmp_path, "bad.json", "no json"),),
        (good, "--key", "z6Mk"),
        (good, "--key", kept(tmp_path, "actor.json", '{"assertionMethod": []}')),
    ]
    for arguments in cases:
        found = verify(service, *arguments)
        assert (found.exit_code, found.stderr.count("\n")) == (2, 1), found.output
    found = verify(service, str(tmp_path / "missing.json"))
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)


def test_a_balance_is_printed_as_of_a_moment(service: Settings, sqlite_engine: Engine) -> None:
    moment = moments(sqlite_engine, "leeds")[1].isoformat()
    told = json.loads(run(service, "account", "balance", "leeds", "--at", moment).stdout)
    assert (told["version"], told["balance"]) == (1, "8.0000")
    for at in ("2999-01-01", "noon"):
        assert run(service, "account", "balance", "leeds", "--at", at).exit_code == 2


def test_names_are_erased_by_the_operator(service: Settings, sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as session:
        last = account_of(session, "leeds").version
    found = json.loads(run(service, "names", "erase", "--member", "leeds/ines").stdout)
    assert found == {"erased": 2, "still_open": 0}
    payment = read(sqlite_engine, "leeds").lines[0]
    assert payment.told.payment is not None
    transfer_id = payment.journal
    told = json.loads(run(service, "names", "erase", "--transfer", transfer_id).stdout)
    assert told == {"erased": transfer_id}
    with reading(sqlite_engine) as session:
        assert account_of(session, "leeds").version == last
    one = read(sqlite_engine, "leeds").lines[0].told.payment
    assert one is not None
    assert (one.payer, one.payee) == ("barcelona/", "leeds/")
    again = run(service, "names", "erase", "--member", "leeds/ines")
    assert json.loads(again.stdout) == {"erased": 0, "still_open": 0}
    assert "no transfer names leeds/ines" in again.stderr
    nobody = run(service, "names", "erase", "--member", "nosuch/ines")
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert nobody.stderr == "localpay: there is no group 'nosuch'\n"
    for arguments in ((), ("--member", "leeds/ines", "--transfer", transfer_id)):
        assert run(service, "names", "erase", *arguments).exit_code == 2
    missing = run(service, "verify-statement", "none.json")
    assert (missing.exit_code, missing.stderr) == (
        2,
        "localpay: none.json: there is no such file\n",
    )
