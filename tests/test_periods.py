"""Periods: closed days take nothing more, and each group gets its residue back."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from threading import Barrier

import pytest
from clearing_world import (
    HOUR,
    accept,
    assert_sound,
    balances,
    call,
    levied,
    limit,
    made,
    open_world,
    pay,
    push,
)
from journal_world import (
    A,
    B,
    C,
    agreed,
    close,
    everything,
    move,
    positions,
    proposal,
    propose,
    set_state,
    told,
    yesterday,
)
from sqlalchemy import Engine, select

from clearing import levies, periods, rounds
from clearing.accounts import Account, AccountKind, AccountState, open_account, set_pair_limit
from clearing.adjustments import AdjustmentKind, Proposal
from clearing.ledger import Book, ChainRow, Draft, Journal, JournalKind, Line, post
from clearing.periods import PeriodEnd
from commons import database
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.errors import ConflictError, InvalidError, NotFoundError

A_WEEK_AGO = yesterday() - timedelta(days=7)


@pytest.fixture
def world(engine: Engine) -> Engine:
    """Ghent's money does not divide: A pays 1.2345 for 2 of its units, B 2.7777 for 5."""
    _residues(engine)
    return engine


@pytest.fixture
def embedded(sqlite_engine: Engine) -> Engine:
    """The same on SQLite alone, where the database does not matter."""
    _residues(sqlite_engine)
    return sqlite_engine


def _residues(engine: Engine) -> None:
    open_world(engine)
    pay(engine, A, C, "1.2345")
    pay(engine, B, C, "2.7777")
    assert positions(engine) == {
        (C, A): HOUR,
        (C, B): 25_000,
        (f"residue/{C}", A): 2_345,
        (f"residue/{C}", B): 2_777,
    }


def test_closing_gives_each_group_its_residue_back(world: Engine) -> None:
    with reading(world) as session:
        shown = [back.amount for back in periods.preview(session, "main", yesterday())]
    done = close(world, yesterday())
    assert [back.amount for back in done] == shown == [0, 0, 5_122]
    assert positions(world) == {(C, A): 12_345, (C, B): 27_777}
    assert balances(world) == {A: -12_345, B: -27_777, C: 40_122}
    with reading(world) as session:
        end = session.scalars(select(PeriodEnd)).one()
        journal = session.scalars(select(Journal).filter_by(kind=JournalKind.RESIDUE)).one()
        assert journal.about == end.id
        rows = session.scalars(select(ChainRow).filter_by(journal_id=journal.id)).all()
        assert {row.digest for row in rows} == {periods.content_digest(end, C)}
        assert sorted(row.amount for row in rows) == [-5_122, 0, 0, 5_122]
        deed = session.scalars(select(Deed)).one()
        assert (deed.action, deed.subject) == ("period-closed", "main")
        assert deed.data == {"until": yesterday().isoformat()}
    for hub, amount in ((A, "0.0000"), (C, "0.5122")):
        assert [one["residue"] for one in told(world, hub, "period-closed")] == [amount]
    assert_sound(world)


def test_a_period_is_closed_once_and_only_when_it_is_over(embedded: Engine) -> None:
    close(embedded, A_WEEK_AGO)
    before = everything(embedded)
    today = yesterday() + timedelta(days=1)
    for day in (today, today + timedelta(days=1)):
        with pytest.raises(InvalidError, match="not over"):
            close(embedded, day)
    for day in (A_WEEK_AGO, A_WEEK_AGO - timedelta(days=1)):
        with pytest.raises(ConflictError, match="closed until"):
            close(embedded, day)
    with pytest.raises(NotFoundError):
        close(embedded, yesterday(), "nowhere")
    assert everything(embedded) == before
    close(embedded, yesterday())
    with reading(embedded) as session:
        assert periods.closed_until(session, ["main", "nowhere"]) == {"main": yesterday()}
        assert [end.until for end in periods.ends(session)] == [yesterday(), A_WEEK_AGO]


def test_looking_changes_nothing(embedded: Engine) -> None:
    before = everything(embedded)
    with transaction(embedded) as session:
        assert periods.preview(session, "main", yesterday())
        with pytest.raises(InvalidError):
            periods.preview(session, "main", yesterday() + timedelta(days=1))
    assert everything(embedded) == before


@pytest.mark.parametrize("stop", ["surplus", "pair", "closed"])
def test_a_residue_that_does_not_fit_stays_until_the_next_closing(
    embedded: Engine, stop: str
) -> None:
    if stop == "surplus":
        limit(embedded, C, surplus="4.0121")
    elif stop == "pair":
        with transaction(embedded) as session:
            set_pair_limit(session, B, C, 27_776)
    else:
        set_state(embedded, C, AccountState.CLOSED)
    before = positions(embedded)
    assert [back.fits for back in close(embedded, A_WEEK_AGO)] == [True, True, False]
    assert positions(embedded) == before
    assert told(embedded, C, "period-closed")[-1]["residue"] == "0.0000"
    if stop == "surplus":
        limit(embedded, C, surplus="4.0122")
    elif stop == "pair":
        with transaction(embedded) as session:
            set_pair_limit(session, B, C, 27_777)
    else:
        set_state(embedded, C, AccountState.OPEN)
    close(embedded, yesterday())
    assert positions(embedded) == {(C, A): 12_345, (C, B): 27_777}
    assert_sound(embedded)


def test_residues_that_owe_each_other_or_their_own_group_go_back_too(embedded: Engine) -> None:
    """Rounds may lead to such positions: here they are posted as a round would leave them."""
    with transaction(embedded) as session:
        ids = {a.name: a.id for a in session.scalars(select(Account))}
        own, other = ids[f"residue/{C}"], ids[f"residue/{B}"]
        circle = ((ids[C], own, 7), (own, other, 5), (other, ids[A], 3))
        book = Book.lock(session, [(debtor, creditor) for debtor, creditor, _ in circle])
        moment, entries, touched = database.now(session), [], set()
        for debtor, creditor, amount in circle:
            entries += [(debtor, creditor, -amount), (creditor, debtor, amount)]
            touched |= {debtor, creditor}
        lines = [Line(one, "", "0" * 64) for one in sorted(touched)]
        post(book, Draft(uuid.uuid4(), JournalKind.OPENING, entries, lines), moment)
        book.write()
    before = sum(balances(embedded).values())
    done = close(embedded, yesterday())
    assert all(back.fits for back in done)
    left = positions(embedded)
    assert not [pair for pair in left if any(name.startswith("residue/") for name in pair)]
    assert sum(balances(embedded).values()) == before == 0
    with reading(embedded) as session:
        residues = session.scalars(select(Account).filter_by(kind=AccountKind.RESIDUE)).all()
        assert {account.balance for account in residues} == {0}


def test_a_payment_is_not_dated_into_a_closed_period(embedded: Engine) -> None:
    waiting = made(embedded, replace(push(A, B, "1"), value_date=yesterday()))
    close(embedded, yesterday())
    before = balances(embedded), positions(embedded)
    late = call(embedded, accept(waiting))
    assert isinstance(late.error, ConflictError)
    new = call(embedded, replace(push(A, B, "1"), value_date=yesterday()))
    assert isinstance(new.error, InvalidError)
    ahead = yesterday() + timedelta(days=33)
    far = call(embedded, replace(push(A, B, "1"), value_date=ahead))
    assert isinstance(far.error, InvalidError)
    assert (balances(embedded), positions(embedded)) == before
    near = made(embedded, replace(push(A, B, "1"), value_date=ahead - timedelta(days=1)))
    assert call(embedded, accept(near)).error is None
    with reading(embedded) as session:
        assert session.get_one(Journal, near.id).value_date == ahead - timedelta(days=1)
    assert_sound(embedded)


def test_each_union_has_its_own_periods_levies_and_commons(embedded: Engine) -> None:
    with transaction(embedded) as session:
        for group in (A, B):
            open_account(session, group, "coast")
    levied(embedded, Fraction(1, 2), "coast")
    here = replace(proposal(A, "opening", A, B, "10"), union="coast")
    agreed(embedded, here)
    agreed(embedded, replace(here, id=uuid.uuid4(), kind=AdjustmentKind.ASSIGNMENT, amount="4"))
    assert close(embedded, yesterday(), "coast")
    with reading(embedded) as session:
        for union, owed in (("main", []), ("coast", [(A, B, 6 * HOUR), (A, "commons", 4 * HOUR)])):
            found = [
                (o.debtor, o.creditor, o.amount) for o in rounds.obligations(session, A, union)
            ]
            assert [one for one in found if one[1] in {B, "commons"}] == sorted(owed)
        assert periods.closed_until(session, ["main", "coast"]) == {"coast": yesterday()}
        assert set(levies.levy_of(session, ["main", "coast"], database.now(session))) == {"coast"}
    pay(embedded, A, C, "1.2345")
    assert positions(embedded)[f"residue/{C}", A] == 2 * 2_345
    with pytest.raises(InvalidError, match="both have accounts: main"):
        propose(embedded, replace(here, id=uuid.uuid4(), creditor=C))
    dated = replace(proposal(A, "opening", A, B, "1"), value_date=yesterday())
    assert agreed(embedded, dated).union == "main"
    with pytest.raises(InvalidError, match="closed"):
        propose(embedded, replace(dated, id=uuid.uuid4(), union="coast"))
    assert_sound(embedded)


def test_nothing_slips_into_a_period_that_is_just_being_closed(postgresql_engine: Engine) -> None:
    open_world(postgresql_engine)
    dated = [replace(proposal(A, "opening", A, B, "1"), value_date=yesterday()) for _ in range(12)]
    for one in dated:
        propose(postgresql_engine, one)
    together = Barrier(4)

    def agree(some: list[Proposal]) -> int:
        together.wait()
        done = 0
        for one in some:
            with suppress(ConflictError):
                done += move(postgresql_engine, one.id, B, "agree").state == "posted"
        return done

    with ThreadPoolExecutor(4) as pool:
        agreeing = [pool.submit(agree, dated[start::3]) for start in range(3)]
        together.wait()
        close(postgresql_engine, yesterday())
        posted = sum(one.result() for one in agreeing)
    with reading(postgresql_engine) as session:
        closed_at = session.scalars(select(PeriodEnd.closed_at)).one()
        moments = session.scalars(select(Journal.posted_at).filter_by(kind="opening")).all()
    assert len(moments) == posted
    assert all(moment <= closed_at for moment in moments)
    assert_sound(postgresql_engine)
