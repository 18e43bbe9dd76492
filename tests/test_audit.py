"""The audit passes a clean book and names every single row changed behind its back."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    call,
    levied,
    limit,
    made,
    open_world,
    pay,
    push,
)
from sqlalchemy import Engine, Row, Table, insert, select, true, update
from statement_world import SEAL
from tampering import NAMES, UNCERTIFIED, UNPROVEN, after, guards, problems, tamperings

from clearing import adjustments, erasure, participation, periods, rounds
from clearing.accounts import Account, LimitChange, Position, set_pair_limit
from clearing.adjustments import Adjustment, AdjustmentKind, AdjustmentState
from clearing.audit import Finding, audit
from clearing.calls import Create, Move, Outcome, Reverse, Verb, handle
from clearing.events import Event, EventStream
from clearing.ledger import ChainRow, Entry, Journal, JournalKind
from clearing.levies import LevyChange
from clearing.periods import PeriodEnd
from clearing.rates import Rate
from clearing.rounds import Amendment, Candidate, Round, RoundPrice, SetOff
from clearing.transfers import Transfer, TransferState, Unit
from commons import database
from commons.audit_log import Deed
from commons.database import Base, reading, transaction
from commons.errors import RefusedError

AROUND = [
    Account,
    Position,
    Transfer,
    Journal,
    Round,
    SetOff,
    Amendment,
    RoundPrice,
    Candidate,
    LimitChange,
    Adjustment,
    PeriodEnd,
    LevyChange,
    Rate,
    Event,
    EventStream,
    Deed,
]


@pytest.fixture(autouse=True)
def _book(engine: Engine) -> None:
    """A book with something of everything in it."""
    open_world(engine)
    levied(engine, Fraction(1, 100))
    for payer, payee, hours in (("barcelona", "leeds", "8"), ("leeds", "ghent", "9")):
        pay(engine, payer, payee, hours)
    odd = push("leeds", "ghent", "9.3057")  # leaves a residue
    call(engine, accept(made(engine, odd)))
    pay(engine, "ghent", "barcelona", "7")
    limit(engine, "barcelona", credit="20", surplus="30")
    with transaction(engine) as session:
        set_pair_limit(session, "leeds", "barcelona", 20 * HOUR)
    with transaction(engine) as session:
        rounds.commit(session, rounds.propose(session).id, SEAL)
    released_by_an_amended_round(engine)
    rejected = made(engine, push("barcelona", "leeds", "1"))
    call(engine, Move(rejected.id, "leeds", Verb.REJECT))
    refused = call(engine, push("barcelona", "leeds", "1000"))
    assert isinstance(refused.error, RefusedError)
    described = push("barcelona", "leeds", "1.25", Unit.PAYEE, description="a bicycle")
    call(engine, accept(made(engine, described)))
    pay(engine, "leeds", "barcelona", "11")
    take_back(engine, odd)
    settle(engine)
    assert call(engine, Reverse(uuid.uuid4(), None, described.id)).error is None
    with transaction(engine) as session:
        erasure.erase_in_transfer(session, described.id)
        yesterday = database.now(session).date() - timedelta(days=1)
        periods.close(session, "main", yesterday, "operator")
    pay(engine, "leeds", "ghent", "1.3057")
    waiting = replace(push("barcelona", "leeds", "1000"), wait=True)
    assert call(engine, waiting).error is None
    assert state_of(call(engine, accept(waiting))) is TransferState.QUEUED
    with transaction(engine) as session:
        rounds.abandon(session, rounds.propose(session).id)
    made(engine, replace(push("barcelona", "ghent", "3"), id=uuid.uuid4()))
    with transaction(engine) as session:
        rounds.propose(session)
        participation.freeze(session, "ghent", "the hub is moving")


def released_by_an_amended_round(engine: Engine) -> None:
    """Have a round release a queued payment of two, and set off less than it proposed."""
    with transaction(engine) as session:
        set_pair_limit(session, "ghent", "barcelona", HOUR)
    for payer, payee in (("barcelona", "leeds"), ("leeds", "ghent")):
        pay(engine, payer, payee, "4")
    waiting = [push("ghent", "barcelona", hours, wait=True) for hours in ("2", "3")]
    for create in waiting:
        assert call(engine, create).error is None
        assert state_of(call(engine, accept(create))) is TransferState.QUEUED
    with transaction(engine) as session:
        round_id = rounds.propose(session).id
    cancelled = Move(waiting[1].id, "ghent", Verb.CANCEL)
    assert call(engine, cancelled).error is None
    with transaction(engine) as session:
        done = rounds.commit(session, round_id, SEAL)
        assert (done.amended, done.released, done.waiting) == (True, 1, 2)


def state_of(outcome: Outcome) -> TransferState | None:
    return None if outcome.transfer is None else outcome.transfer.state


def take_back(engine: Engine, payment: Create) -> None:
    """Take a payment back in part, as both its hubs agree."""
    reversal = Reverse(uuid.uuid4(), "ghent", payment.id, "5")
    assert call(engine, reversal).error is None
    assert state_of(call(engine, Move(reversal.id, "leeds", Verb.ACCEPT))) is TransferState.POSTED


def settle(engine: Engine) -> None:
    """Settle a part of what leeds owes ghent outside, as both hubs say."""
    proposal = adjustments.Proposal(
        uuid.uuid4(), "ghent", AdjustmentKind.SETTLEMENT, "leeds", "ghent", "0.5"
    )
    with transaction(engine) as session:
        adjustments.propose(session, proposal)
    with transaction(engine) as session:
        agreed = adjustments.Move(proposal.id, "leeds", adjustments.Verb.AGREE)
        assert adjustments.move(session, agreed).state is AdjustmentState.POSTED


def versions(engine: Engine) -> dict[tuple[uuid.UUID, int], tuple[str, int]]:
    """Account name and version by journal and account."""
    with reading(engine) as session:
        query = select(ChainRow.journal_id, Account.id, Account.name, ChainRow.version)
        rows = session.execute(query.join(Account, Account.id == ChainRow.account_id)).all()
    return {(journal, account): (name, version) for journal, account, name, version in rows}


# Rows that took no part in any posting prove nothing and are proven by nothing.
TAKING_PART = {
    "accounts": Account.version > 0,
    "transfers": Transfer.state == TransferState.POSTED,
    "set_offs": SetOff.round_id.in_(
        select(Round.id).where(Round.certificate_hash.is_not(None), ~Round.amended)
    )
    & (SetOff.amount > 0),  # where it was solved again, only what it came to counts
    "candidates": Candidate.transfer_id.in_(select(Journal.id)),
}


def rows_of(engine: Engine, table: Table) -> list[Row[Any]]:
    """All rows; on the server, where each look takes longer, the first of each kind."""
    with engine.connect() as connection:
        part = TAKING_PART.get(table.name, true())
        rows = list(connection.execute(select(table).where(part)).all())
    return rows if engine.dialect.name == "sqlite" else rows[:1]


def test_a_clean_book_passes(engine: Engine) -> None:
    assert_sound(engine)
    with reading(engine) as session:
        told: list[str] = []
        findings = audit(session, told.append)
    assert [finding.rule for finding in findings] == told
    assert [finding.number for finding in findings] == [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
    ]
    assert all(finding.checked for finding in findings)
    assert all(isinstance(finding, Finding) for finding in findings)


@pytest.mark.parametrize("model", [Entry, ChainRow])
def test_every_change_of_the_ledger_is_named_by_account_and_version(
    engine: Engine, model: type[Entry | ChainRow]
) -> None:
    table, named = Base.metadata.tables[model.__tablename__], versions(engine)
    missed, tried = [], 0
    for row in rows_of(engine, table):
        name, version = named[row.journal_id, row.account_id]
        for what, change in tamperings(table, row, UNPROVEN):
            found = after(engine, table, change)
            tried += found is not None
            wanted = f"account {name}: version {version}"
            if found is not None and not any(wanted in problem for problem in found):
                missed.append((what, wanted, found))
    assert missed == []
    assert tried > 2


@pytest.mark.parametrize("model", AROUND)
def test_every_change_around_the_ledger_is_found(engine: Engine, model: type[Base]) -> None:
    table, tried = Base.metadata.tables[model.__tablename__], 0
    missed = []
    for row in rows_of(engine, table):
        unproven = UNPROVEN
        if table.name == "transfers" and row.key is None:
            unproven = UNPROVEN | NAMES
        if table.name == "rounds" and row.certificate is None:
            unproven = UNPROVEN | UNCERTIFIED
        for what, change in tamperings(table, row, unproven):
            found = after(engine, table, change)
            tried += found is not None
            if found == []:
                missed.append((what, tuple(row)))
    assert missed == []
    assert tried


@pytest.mark.parametrize(
    "values",
    [
        {"payer_clearing": 4 * HOUR},
        {"payee_clearing": 1 * HOUR},
        {"reserved": False},
        {"levy": 5},
        {"state": TransferState.QUEUED, "reserved": False},
        {"state": TransferState.CANCELLED, "ended_at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_change_of_what_a_pending_transfer_reserves_is_found(
    engine: Engine, values: dict[str, Any]
) -> None:
    pending = update(Transfer).where(Transfer.state == TransferState.PENDING)
    found = after(engine, Base.metadata.tables["transfers"], pending.values(values))
    assert any("open ones sum to" in problem for problem in found or [])


def test_what_was_kept_of_erased_names_is_held_by_the_chains(engine: Engine) -> None:
    table = Base.metadata.tables["transfers"]
    with reading(engine) as session:
        query = select(Transfer).where(Transfer.key.is_(None), Transfer.reverses.is_(None))
        erased = session.scalars(query).one()
        kept = dict(erased.kept_digests or {})
    assert sorted(kept) == ["description", "payee_member", "payer_member"]
    here = table.update().where(table.c.id == erased.id)
    changes: tuple[dict[str, Any], ...] = (
        {"kept_digests": {**kept, "description": "0" * 64}},
        {"kept_digests": {}},
        {"kept_digests": None},
        {"description": "a bicycle"},
        {"reason": "a bicycle"},
        {"payer_member": "ines", "payee_member": "moss"},
    )
    for values in changes:
        found = after(engine, table, here.values(values))
        assert any(f"transfer {erased.id} changed" in problem for problem in found or []), values
    found = after(engine, table, here.values(payee_member="moss"))
    assert found == []  # as where one hub alone erased its member: lawful


def test_a_payment_beyond_a_stop_that_stood_when_it_was_made_is_found(engine: Engine) -> None:
    with transaction(engine) as session:
        set_pair_limit(session, "leeds", "ghent", 0)
    limit(engine, "leeds", credit="0", surplus="0")  # below what is used: nothing is undone
    assert_sound(engine)
    leeds = posted_past_the_limits(engine, push("leeds", "ghent", "30"))
    assert any("leeds: credit limit was 0 when version" in one for one in leeds)
    assert any("leeds: pair limit towards ghent was 0 when" in one for one in leeds)
    barcelona = posted_past_the_limits(engine, push("barcelona", "leeds", "30"))
    assert any("leeds: surplus limit was 0 when" in one for one in barcelona)


def posted_past_the_limits(engine: Engine, create: Create) -> list[str]:
    """What is found of a payment that a defect in posting lets past the limits."""
    with reading(engine) as session:
        participation.thaw(session, "ghent")
        session.execute(update(Account).values(credit_limit=None, surplus_limit=None))
        session.execute(update(Position).values(pair_limit=None))
        for one in (create, accept(create)):
            assert handle(session, [one])[0].error is None
        found = problems(session)
        session.rollback()
    return found


def test_a_line_that_no_other_account_tells_is_found(engine: Engine) -> None:
    """What statements rest on is checked by itself, not only by what the hashes say."""
    table = Base.metadata.tables["chain_rows"]
    with reading(engine) as session:
        payment = ChainRow.kind == JournalKind.PAYMENT
        row = session.scalars(select(ChainRow).where(payment, ChainRow.amount > 0)).first()
        assert row is not None
        here = (ChainRow.account_id == row.account_id) & (ChainRow.version == row.version)
    for values, said in (
        ({"amount": row.amount + 1}, "do not make its balance"),
        ({"amount": row.amount + 1}, f"journal {row.journal_id}: its accounts' lines sum to 1"),
        ({"counterparty": "nobody"}, "its counterparty has no line of it"),
    ):
        found = findings(engine, table, table.update().where(here).values(values))[9]
        assert any(said in problem for problem in found), (values, found)


def test_what_is_said_to_be_posted_twice_or_not_at_all_is_found(engine: Engine) -> None:
    tables = Base.metadata.tables
    with reading(engine) as session:
        levy = session.scalars(select(Journal).where(Journal.kind == JournalKind.LEVY)).first()
        round_journal = session.scalars(select(Journal).filter_by(kind=JournalKind.SET_OFF)).first()
        adjustment = session.scalars(select(Adjustment)).first()
        assert round_journal is not None
        assert levy is not None
        assert adjustment is not None
    journals, adjustments_table = tables["journals"], tables["adjustments"]
    gone = journals.delete().where(Journal.id == levy.id)
    assert any(
        f"{levy.id} is said to be posted and has no" in problem
        for problem in findings(engine, journals, gone)[5]
    )
    other = adjustments_table.update().where(Adjustment.id == adjustment.id)
    found = findings(engine, adjustments_table, other.values(id=round_journal.id))[5]
    assert f"{round_journal.id} is not what it is about says" in " ".join(found)
    assert f"journal {adjustment.id} is of nothing that was posted" in found


def findings(engine: Engine, table: Table, change: Any) -> dict[int, list[str]]:  # noqa: ANN401 (passed on as it is)
    """What each check says after a change, by its number."""
    with reading(engine) as session:
        guards(session, table, on=False)
        assert session.connection().execute(change).rowcount == 1
        guards(session, table, on=True)
        session.expunge_all()
        found = {finding.number: finding.problems for finding in audit(session)}
        session.rollback()
    return found


def test_a_journal_is_held_against_what_it_is_about_and_no_namesake(engine: Engine) -> None:
    """What came to nothing may have the id that something else was posted under."""
    declined = adjustments.Proposal(
        uuid.uuid4(), "ghent", AdjustmentKind.SETTLEMENT, "leeds", "ghent", "0.1"
    )
    with transaction(engine) as session:
        participation.thaw(session, "ghent")
        adjustments.propose(session, declined)
        adjustments.move(session, adjustments.Move(declined.id, "ghent", adjustments.Verb.CANCEL))
    with transaction(engine) as session:
        settled = session.scalars(select(Adjustment.id).where(Adjustment.state == "posted")).one()
        posted = select(Transfer.id).where(Transfer.state == "posted")
        paid = session.scalars(posted.order_by(Transfer.id)).first()
        for table, state, journal in (
            (Transfer, TransferState.REJECTED, settled),
            (Adjustment, AdjustmentState.CANCELLED, paid),
        ):
            ended = update(table).where(table.state == state).values(id=journal)
            assert session.execute(ended.returning(table.id)).scalars().one() == journal
    with reading(engine) as session:
        assert problems(session) == []


def test_a_guard_that_is_off_is_named(engine: Engine) -> None:
    with reading(engine) as session:
        guards(session, Base.metadata.tables["entries"], on=False)
        assert problems(session) == ["table entries: its guarding trigger is missing or off"]


def test_a_row_put_in_behind_the_back_is_found(engine: Engine) -> None:
    with reading(engine) as session:
        ids = dict(session.execute(select(Account.name, Account.id)).all())
        journal = session.scalars(select(Journal.id)).first()
        one = {"journal_id": journal, "account_id": ids["ghent"]}
        one |= {"counterparty_id": ids["residue/barcelona"], "amount": 5}
        other = one | {"account_id": one["counterparty_id"], "counterparty_id": ids["ghent"]}
        session.execute(insert(Entry), [one, other | {"amount": -5}])
        found = problems(session)
    assert any("account ghent" in problem for problem in found)
    assert any("account residue/barcelona" in problem for problem in found)
