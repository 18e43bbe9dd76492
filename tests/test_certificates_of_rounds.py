"""Rounds that were committed are certified, and their files verify without the service."""

import json
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
from certificate_world import verified
from clearing_world import (
    HOUR,
    Terms,
    accept,
    admit,
    assert_sound,
    call,
    levied,
    made,
    open_world,
    pay,
    push,
)
from operating import run
from sqlalchemy import Engine, text
from statement_world import KEY, SEAL, Json

from clearing import certificates, rounds
from clearing.accounts import Union, set_pair_limit
from clearing.audit import audit
from clearing.certificates.documents import FIRST_HASH
from clearing.transfers import TransferState, Unit
from commons.database import reading, transaction
from commons.errors import LocalPayError, NotFoundError
from commons.money import CurrencyKind
from commons.settings import Settings
from commons.signatures import encode_multikey

A, B, C = "barcelona", "leeds", "ghent"


def circle(engine: Engine) -> None:
    """A owes B 80, B owes C 90, C owes A 70."""
    open_world(engine)
    for payer, payee, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        pay(engine, payer, payee, hours)


def settle(engine: Engine, union_id: str = "main") -> UUID:
    with transaction(engine) as session:
        return rounds.settle(session, union_id, SEAL).id


def public(engine: Engine, round_id: UUID) -> Json:
    with reading(engine) as session:
        found = rounds.find(session, round_id).certificate
        assert found is not None
        return found


def full(engine: Engine, round_id: UUID) -> Json:
    with reading(engine) as session:
        return certificates.full(session, rounds.find(session, round_id))


def slices(engine: Engine, round_id: UUID, *groups: str) -> list[Json]:
    with reading(engine) as session:
        found = rounds.find(session, round_id)
        return [certificates.slice_of(session, found, group) for group in groups]


def assert_proven(engine: Engine, round_id: UUID, *groups: str) -> Json:
    """All forms verify, each slice by itself, and all together prove the whole."""
    told, parts = public(engine, round_id), slices(engine, round_id, *groups)
    for one in (told, full(engine, round_id), *parts):
        assert verified(one).problems == []
    together = verified(*parts)
    assert together.problems == []
    assert any("proven whole" in said for said in together.checked)
    assert_sound(engine)
    return told


def test_a_committed_round_is_proven_by_its_files(engine: Engine) -> None:
    circle(engine)
    round_id = settle(engine)
    told = assert_proven(engine, round_id, A, B, C)
    assert {name: told[name] for name in ("obligations_total", "net_internal_debt", "cleared")} == {
        "obligations_total": "240.0000",
        "net_internal_debt": "20.0000",
        "cleared": "210.0000",
    }
    assert (told["bound"], told["number"], told["previous"]) == ("210.0000", 1, FIRST_HASH)
    with reading(engine) as session:
        assert rounds.find(session, round_id).certificate_hash == told["hash"]


def test_certificates_of_a_union_chain_and_each_union_has_its_own_chain(engine: Engine) -> None:
    circle(engine)
    terms = Terms(Fraction(1), 2, CurrencyKind.TIME)
    with transaction(engine) as session:
        for group_id in ("york", "hull"):
            admit(session, group_id, terms, "north")
    found = []
    for _ in range(11):  # as text, 10 would come before 9
        pay(engine, A, B, "1")
        found.append(public(engine, settle(engine)))
    north = public(engine, settle(engine, "north"))
    assert [one["number"] for one in found] == list(range(1, 12))
    assert (north["number"], north["previous"], north["rows"]) == (1, FIRST_HASH, 0)
    report = verified(*found, north)
    assert report.problems == []
    assert "certificate 11 of main follows 10" in report.checked


def queue(engine: Engine, payer: str, payee: str, hours: str) -> None:
    create = push(payer, payee, hours, wait=True)
    call(engine, create)
    outcome = call(engine, accept(create))
    assert outcome.transfer is not None
    assert outcome.transfer.state is TransferState.QUEUED


def test_a_round_with_queued_payments_released_is_proven(sqlite_engine: Engine) -> None:
    """Pair limits of 100: what waits fits only together, and is in what is set off."""
    engine = sqlite_engine
    circle(engine)
    with transaction(engine) as session:
        for debtor, creditor in ((A, B), (B, C), (C, A)):
            set_pair_limit(session, debtor, creditor, 100 * HOUR)
    for payer, payee, hours in ((A, B, "60"), (B, C, "50"), (C, A, "40")):
        queue(engine, payer, payee, hours)
    round_id = settle(engine)
    told = assert_proven(engine, round_id, A, B, C)
    assert told["queue"] == {
        "waiting": 3,
        "released": 3,
        "value": "150.0000",
        "bound": "150.0000",
        "exact": True,
    }
    assert (told["obligations_total"], told["cleared"]) == ("390.0000", "330.0000")
    [one] = slices(engine, round_id, A)
    owed = next(row for row in one["rows"] if row["debtor"] == A)
    assert [owed[name] for name in ("obligation", "released", "least", "amount")] == [
        "140.0000",
        "60.0000",
        "40.0000",
        "110.0000",
    ]


def test_a_round_over_spare_credit_lines_is_proven(sqlite_engine: Engine) -> None:
    """A owes B, B owes C; C lends to nobody yet, and may come to owe A."""
    engine = sqlite_engine
    open_world(engine)
    for payer, payee, hours in ((A, B, "80"), (B, C, "90")):
        pay(engine, payer, payee, hours)
    with transaction(engine) as session:
        session.get_one(Union, "main").credit_lines = True
        for debtor in (A, B, C):
            for creditor in {A, B, C} - {debtor}:
                set_pair_limit(session, debtor, creditor, 100 * HOUR)
    round_id = settle(engine)
    told = assert_proven(engine, round_id, A, B, C)
    assert told["rules"]["credit_lines"]
    assert told["drawn"] != "0.0000"
    assert verified(full(engine, round_id)).problems == []


def test_a_round_that_draws_more_than_it_sets_off_is_proven(sqlite_engine: Engine) -> None:
    """A may owe B nothing; what waits goes round by C, over two lines: the bound is below 0."""
    engine = sqlite_engine
    open_world(engine)
    with transaction(engine) as session:
        session.get_one(Union, "main").credit_lines = True
        set_pair_limit(session, A, B, 0)
        set_pair_limit(session, C, B, 100 * HOUR)
        set_pair_limit(session, A, C, 100 * HOUR)
    queue(engine, A, B, "10")
    round_id = settle(engine)
    told = assert_proven(engine, round_id, A, B, C)
    assert (told["cleared"], told["drawn"], told["bound"]) == ("10.0000", "20.0000", "-10.0000")
    assert verified(full(engine, round_id)).problems == []


def test_a_round_that_was_solved_again_is_proven_as_it_came_to_be(sqlite_engine: Engine) -> None:
    engine = sqlite_engine
    circle(engine)
    terms = Terms(Fraction(1), 2, CurrencyKind.TIME)
    with transaction(engine) as session:
        admit(session, "york", terms)
    for payer, payee, hours in ((A, "york", "30"), ("york", C, "5"), (C, A, "20")):
        pay(engine, payer, payee, hours)
    with transaction(engine) as session:
        round_id = rounds.propose(session, notice=timedelta(hours=1)).id
    with transaction(engine) as session:
        rounds.opt_out(session, round_id, "york")
        found = rounds.find(session, round_id)
        found.commit_at = found.proposed_at
    with transaction(engine) as session:
        rounds.commit(session, round_id, SEAL)
    told = assert_proven(engine, round_id, A, B, C, "york")
    assert told["rules"]["amended"]
    [one] = slices(engine, round_id, "york")
    assert {row["amount"] for row in one["rows"]} == {"0.0000"}


def test_rounding_and_levies_stand_in_the_slices_of_whom_they_are_between(
    sqlite_engine: Engine,
) -> None:
    engine = sqlite_engine
    circle(engine)
    levied(engine, Fraction(1, 100))
    for payer, payee in ((A, C), (B, C)):
        call(engine, accept(made(engine, push(payer, payee, "17.77", Unit.PAYER))))
    round_id = settle(engine)
    assert_proven(engine, round_id, A, B, C)
    [ghent] = slices(engine, round_id, C)
    names = {price["account"] for price in ghent["prices"]}
    assert "residue/ghent" in names
    [leeds] = slices(engine, round_id, B)
    assert "levy" in {price["account"] for price in leeds["prices"]}
    other = {name for one in leeds["rows"] for name in (one["debtor"], one["creditor"])}
    assert "residue/barcelona" not in other


def test_there_is_no_slice_for_who_has_no_part_and_nothing_of_a_round_not_committed(
    sqlite_engine: Engine,
) -> None:
    engine = sqlite_engine
    circle(engine)
    with transaction(engine) as session:
        admit(session, "york", Terms(Fraction(1), 2, CurrencyKind.TIME))
    with transaction(engine) as session:
        proposed = rounds.propose(session).id
    for ask in (slices, lambda engine, round_id, _: full(engine, round_id)):
        with pytest.raises(NotFoundError, match="no certificate"):
            ask(engine, proposed, A)
    with transaction(engine) as session:
        rounds.commit(session, proposed, SEAL)
    with pytest.raises(NotFoundError, match="'york' has no part"):
        slices(engine, proposed, "york")


@pytest.mark.parametrize("asked_before", [True, False])
def test_no_slice_is_told_of_rows_that_were_changed(
    sqlite_engine: Engine, *, asked_before: bool
) -> None:
    engine = sqlite_engine
    circle(engine)
    round_id = settle(engine)
    if asked_before:
        first = slices(engine, round_id, A)
        assert slices(engine, round_id, A) == first
    with engine.begin() as connection:  # as only somebody with the database in hand could
        connection.exec_driver_sql("DROP TRIGGER set_offs_no_update")
        connection.exec_driver_sql("UPDATE set_offs SET amount = amount - 1")
    with pytest.raises(LocalPayError, match="are not those of its root"):
        slices(engine, round_id, A)
    assert any("root: " in said for said in verified(full(engine, round_id)).problems)


def test_a_round_whose_totals_are_not_its_rows_is_not_certified(sqlite_engine: Engine) -> None:
    engine = sqlite_engine
    circle(engine)
    round_id = settle(engine)
    with transaction(engine) as session:
        found = rounds.find(session, round_id)
        found.cleared -= 1
        with pytest.raises(LocalPayError, match="its cleared is not"):
            certificates.certify(session, found, SEAL)
        session.rollback()


CHANGES = [
    "UPDATE rounds SET certificate = '{}' WHERE id = :last",
    "UPDATE rounds SET certificate = json_set(certificate, '$.number', 'x') WHERE id = :last",
    "UPDATE rounds SET certificate = json_set(certificate, '$.number', 7) WHERE id = :first",
    "UPDATE rounds SET certificate = json_set(certificate, '$.queue.waiting', 3) WHERE id = :last",
    "UPDATE rounds SET certificate_hash = :zeros WHERE id = :first",
    "UPDATE rounds SET key = :zeros WHERE id = :last",
    "UPDATE rounds SET ended_at = proposed_at, key = NULL WHERE id = :last",
    "UPDATE rounds SET waiting = waiting + 1 WHERE id = :last",
    "UPDATE set_offs SET cap = amount WHERE round_id = :first",
    "UPDATE set_offs SET released = 1 WHERE round_id = :last",
    "UPDATE round_prices SET price = price + 1 WHERE round_id = :last",
    "UPDATE round_prices SET price = 2 * price WHERE round_id = :last",
    "DELETE FROM round_prices WHERE round_id = :last",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_certificate_that_is_not_its_rounds_is_told_by_the_audit(
    sqlite_engine: Engine, change: str
) -> None:
    engine = sqlite_engine
    circle(engine)
    first = settle(engine)
    pay(engine, A, B, "8")
    pay(engine, B, A, "1")
    last = settle(engine)
    assert_sound(engine)
    names = {"first": first.hex, "last": last.hex, "zeros": "00" * 32}
    with transaction(engine) as session:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for name in session.scalars(text(triggers)).all():
            session.execute(text(f'DROP TRIGGER "{name}"'))
        used = {name: value for name, value in names.items() if f":{name}" in change}
        if "SET key = :zeros" in change:
            used["zeros"] = bytes(32)  # type: ignore[assignment]
        assert session.execute(text(change), used).rowcount > 0  # type: ignore[attr-defined]
    with reading(engine) as session:
        problems = list(certificates.broken(session))
        audited = [problem for finding in audit(session) for problem in finding.problems]
    assert problems
    assert set(problems) <= set(audited)
    round_id = first if ":first" in change else last
    assert any(problem.startswith(f"round {round_id}: ") for problem in problems)


def test_rounds_are_verified_by_a_command_from_their_files_alone(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    circle(sqlite_engine)
    round_id = settle(sqlite_engine)
    files = []
    for number, one in enumerate(slices(sqlite_engine, round_id, A, B, C)):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(one, indent=2), "utf-8")
    nowhere = settings.model_copy(
        update={"database_url": "postgresql+psycopg2://nobody@127.0.0.1:1/none"}
    )
    key = encode_multikey(KEY.public_key())
    found = run(nowhere, "verify-round", *map(str, files), "--key", key)
    assert found.exit_code == 0, found.output
    assert all(line.startswith("holds  ") for line in found.stdout.splitlines())
    assert "all 3 slices together" in found.stdout
    assert "signed by https://clearing.example" in found.stdout
    wrong = files[0].read_text("utf-8").replace('"amount": "70.0000"', '"amount": "69.0000"', 1)
    files[0].write_text(wrong, "utf-8")
    found = run(nowhere, "verify-round", str(files[0]))
    assert found.exit_code == 1
    assert found.stdout.startswith(f"FAILS  {files[0]}: row barcelona owes leeds: ")
    files[0].write_text("{}", "utf-8")
    found = run(nowhere, "verify-round", str(files[0]))
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert run(nowhere, "verify-round", str(tmp_path / "none.json")).exit_code == 2
