"""Rounds by schedule: proposed when a cron expression says so, committed after their notice."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest
import structlog
from clearing_world import GROUPS, HOUR, admit, assert_sound, open_world, pay, position
from sqlalchemy import Engine, func, select, text, update
from statement_world import SEAL
from test_clearing_commands import wait_for_a_lock

from clearing import rounds
from clearing.accounts import Account, Union, lock_accounts, open_account, union_of
from clearing.rounds import Round, RoundState, holding, scheduling
from clearing.rounds.holding import Holder
from commons import database
from commons.database import reading, transaction
from commons.errors import InvalidError

A, B, C = "barcelona", "leeds", "ghent"
MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("0 6 * * 1", MONDAY, datetime(2026, 11, 30, 6, 0, tzinfo=UTC)),
        ("30 * * * *", MONDAY, datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),
        ("0 8 * * *", MONDAY, datetime(2026, 11, 24, 8, 0, tzinfo=UTC)),
        ("0 0 L * *", MONDAY, datetime(2026, 11, 30, 0, 0, tzinfo=UTC)),
        ("0 12 29 2 *", MONDAY, datetime(2028, 2, 29, 12, 0, tzinfo=UTC)),
        ("  15   3 1 jan  * ", MONDAY, datetime(2027, 1, 1, 3, 15, tzinfo=UTC)),
    ],
)
def test_the_next_moment_of_a_schedule_is_in_utc(
    expression: str, after: datetime, expected: datetime
) -> None:
    assert scheduling.next_time(expression, after) == expected
    elsewhere = after.astimezone(tz=None)
    assert scheduling.next_time(expression, elsewhere) == expected


@pytest.mark.parametrize(
    "expression",
    [
        *("", "x", "* * * * *", "*/5 * * * *", "0,30 * * * *", "0-1 * * * *", "60 * * * *"),
        *("0 24 * * *", "0 0 30 2 *", "0 0 * * 8", "0 0 * * * *", "0 0 * *", "@daily"),
        *("0 0 * * mon#6", "0 0 ٣ * *", "0\0 0 * * *", "0 0 * * " + "1," * 60 + "1", "-1 0 * * *"),
        *(
            "0 0 99999999999999999999 * *",
            "0 0 1/0 * *",
            "0 0 * * \N{SUPERSCRIPT TWO}L",
            "1.5 0 * * *",
        ),
    ],
)
def test_what_is_no_schedule_or_more_than_hourly_is_refused(expression: str) -> None:
    with pytest.raises(InvalidError) as refused:
        scheduling.next_time(expression, MONDAY)
    assert refused.value.field == "schedule"


@pytest.mark.parametrize("seconds", [-1, 90 * 86_400 + 1, 2**63])
def test_a_notice_is_at_most_90_days_and_never_negative(seconds: int) -> None:
    with pytest.raises(InvalidError):
        scheduling.checked_notice(seconds)
    assert scheduling.checked_notice(90 * 86_400) == 90 * 86_400


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    """A owes B 80, B owes C 90, C owes A 70."""
    open_world(engine)
    circle(engine)
    return engine


def circle(engine: Engine) -> None:
    for payer, payee, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        pay(engine, payer, payee, hours)


def scheduled(engine: Engine, *, notice: int = 0, union_id: str = "main") -> None:
    """Have a union's rounds be due now, and for some days already."""
    with transaction(engine) as session:
        union = union_of(session, union_id)
        scheduling.set_schedule(session, union, "0 * * * *")
        scheduling.set_notice(union, notice)
    make_due(engine, union_id)


def make_due(engine: Engine, union_id: str = "main") -> None:
    with transaction(engine) as session:
        late = database.now(session) - timedelta(days=3)
        session.execute(update(Union).where(Union.id == union_id).values(round_at=late))


def held(engine: Engine) -> list[Round]:
    with reading(engine) as session:
        found = session.scalars(select(Round).order_by(Round.proposed_at)).all()
        session.expunge_all()
        return list(found)


def notice_over(engine: Engine) -> None:
    with transaction(engine) as session:
        late = database.now(session) - timedelta(seconds=1)
        session.execute(update(Round).values(commit_at=late))


def test_what_is_due_is_held_once_however_often_it_was_missed(ledger: Engine) -> None:
    holder = Holder(ledger, SEAL)
    assert holder.hold() == 0
    scheduled(ledger)
    assert (holder.hold(), holder.hold()) == (1, 0)
    (done,) = held(ledger)
    assert (done.state, done.cleared, done.proposed_by) == (
        RoundState.COMMITTED,
        210 * HOUR,
        "schedule",
    )
    with reading(ledger) as session:
        union, moment = union_of(session, "main"), database.now(session)
        assert union.round_at is not None
        assert moment < union.round_at <= moment + timedelta(hours=1)
    assert_sound(ledger)


def test_with_notice_a_round_is_proposed_first_and_committed_when_it_is_over(
    ledger: Engine,
) -> None:
    holder = Holder(ledger, SEAL)
    scheduled(ledger, notice=48 * 3_600)
    assert holder.hold() == 1
    (proposed,) = held(ledger)
    assert proposed.state is RoundState.PROPOSED
    assert proposed.commit_at - proposed.proposed_at == timedelta(hours=48)
    assert position(ledger, B, A).given == 70 * HOUR
    make_due(ledger)  # the next one waits for this one, and fails nobody
    assert holder.hold() == 0
    notice_over(ledger)
    assert holder.hold() == 2
    first, second = held(ledger)
    assert (first.id, first.state) == (proposed.id, RoundState.COMMITTED)
    assert (second.state, second.cleared) == (RoundState.PROPOSED, 0)
    assert_sound(ledger)


def test_a_schedule_that_is_taken_away_holds_no_more_rounds(ledger: Engine) -> None:
    scheduled(ledger)
    with transaction(ledger) as session:
        scheduling.set_schedule(session, union_of(session, "main"), None)
    assert Holder(ledger, SEAL).hold() == 0
    assert held(ledger) == []


def at_once(engine: Engine) -> list[int]:
    """Have two workers look at the same moment; return how much each did, least first."""
    barrier, done = Barrier(2), []

    def work() -> None:
        holder = Holder(engine, SEAL)
        barrier.wait()
        done.append(holder.hold())

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(done)


def test_of_two_workers_at_once_one_holds_the_round(ledger: Engine) -> None:
    with structlog.testing.capture_logs() as logged:
        scheduled(ledger)
        assert at_once(ledger) == [0, 1]  # proposed and committed at once
        scheduled(ledger, notice=3_600)
        assert at_once(ledger) == [0, 1]  # proposed
        notice_over(ledger)
        assert at_once(ledger) == [0, 1]  # committed
    assert [one for one in logged if one["log_level"] == "error"] == []
    assert [one.state for one in held(ledger)] == [RoundState.COMMITTED] * 2
    assert_sound(ledger)


def test_an_operator_who_proposes_meanwhile_is_first_and_nobody_fails(
    postgresql_engine: Engine,
) -> None:
    engine = postgresql_engine
    open_world(engine)
    circle(engine)
    scheduled(engine, notice=3_600)
    done: list[int] = []
    thread = Thread(target=lambda: done.append(Holder(engine, SEAL).hold()))
    with structlog.testing.capture_logs() as logged:
        with transaction(engine) as session:
            lock_accounts(session, select(Account.id))
            thread.start()
            wait_for_a_lock(engine)  # it holds the union's row and waits for the accounts
            session.execute(text("SET LOCAL lock_timeout = '10s'"))
            rounds.propose(session, notice=timedelta(hours=1))
        thread.join()
    assert (done, [one for one in logged if one["log_level"] == "error"]) == ([0], [])
    assert [one.proposed_by for one in held(engine)] == ["operator"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "AGAIN_AFTER", timedelta(0))


@pytest.mark.usefixtures("impatient")
def test_a_union_that_fails_holds_up_no_other_and_is_logged_once(sqlite_engine: Engine) -> None:
    engine = sqlite_engine
    with transaction(engine) as session:
        for name in (A, B):
            admit(session, name, GROUPS[name], "broken")
        for name in (A, B):
            open_account(session, name)
    for union_id in ("broken", "main"):
        scheduled(engine, union_id=union_id)
    break_schedule(engine, "0,30 * * * *")
    holder = Holder(engine, SEAL)
    with structlog.testing.capture_logs() as logged:
        assert [holder.hold() for _ in range(3)] == [1, 0, 0]
        assert [(one["which"], one["log_level"]) for one in logged] == [("broken", "error")]
        break_schedule(engine, "no cron at all")
        assert holder.hold() == 0
        assert [one["which"] for one in logged] == ["broken", "broken"]
    assert [one.union_id for one in held(engine)] == ["main"]
    break_schedule(engine, "0 0 * * *")
    assert holder.hold() == 1
    assert sorted(one.union_id for one in held(engine)) == ["broken", "main"]


def break_schedule(engine: Engine, expression: str) -> None:
    with transaction(engine) as session:
        mend = update(Union).where(Union.id == "broken").values(round_schedule=expression)
        session.execute(mend)


def test_what_failed_is_left_alone_for_a_while(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    scheduled(sqlite_engine)
    with transaction(sqlite_engine) as session:
        session.execute(update(Union).values(round_schedule="no cron"))
    holder = Holder(sqlite_engine, SEAL)
    assert holder.hold() == 0
    with transaction(sqlite_engine) as session:
        session.execute(update(Union).values(round_schedule="0 * * * *"))
    assert holder.hold() == 0  # not asked again yet
    assert Holder(sqlite_engine, SEAL).hold() == 1


def test_who_looks_while_nothing_is_due_writes_nothing(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    with transaction(sqlite_engine) as session:
        scheduling.set_schedule(session, union_of(session, "main"), "0 0 1 1 *")
        written = session.scalar(select(func.count()).select_from(Account))
        assert written
        assert Holder(sqlite_engine, SEAL).hold() == 0  # beside a writer: it waits for nobody
