"""What a round that is solved again may take, whom it costs something, and whom it does not."""

import uuid

import pytest
from clearing_world import (
    GROUPS,
    HOUR,
    accepting,
    admit,
    assert_sound,
    call,
    ledger,
    limit,
    open_world,
    pay,
    push,
    told,
)
from rounds_world import (
    TWO_DAYS,
    A,
    B,
    C,
    commit,
    given,
    let_notice_pass,
    open_circle,
    opt_out,
    owed,
    pair_limit,
    propose,
    queued,
    settle,
    states,
    three_queued,
)
from sqlalchemy import Engine, func, select

from clearing import adjustments, disputes, participation, rounds
from clearing.adjustments import AdjustmentKind
from clearing.audit import audit
from clearing.calls import Create, Move, Verb, handle
from clearing.events import EventKind
from clearing.rounds import Amendment, amending, waiting
from clearing.rounds.table import Rows
from clearing.transfers import TransferState
from commons.database import reading, transaction
from commons.errors import ConflictError
from commons.money import MAX_MINOR, format_amount


def cancel(engine: Engine, *payments: Create) -> None:
    for one in payments:
        assert call(engine, Move(one.id, one.caller, Verb.CANCEL)).error is None


def settle_outside(engine: Engine, hours: str) -> None:
    """Have A settle with B outside some of what it owes."""
    one = uuid.uuid4()
    kind = AdjustmentKind.SETTLEMENT
    with transaction(engine) as session:
        adjustments.propose(session, adjustments.Proposal(one, A, kind, A, B, hours))
    with transaction(engine) as session:
        adjustments.move(session, adjustments.Move(one, B, adjustments.Verb.AGREE))


def dispute(engine: Engine, hours: str) -> None:
    """Have B dispute some of what A owes it."""
    with transaction(engine) as session:
        disputes.mark(session, disputes.Mark(uuid.uuid4(), B, A, B, hours, "not what we agreed"))


def debts(engine: Engine) -> dict[tuple[str, str], int]:
    return {(one.debtor, one.creditor): one.amount // HOUR for one in owed(engine)}


@pytest.mark.parametrize("take", [settle_outside, dispute])
def test_what_a_round_did_not_reserve_is_settled_or_disputed_and_stays_so(
    engine: Engine, take: object
) -> None:
    open_circle(engine)
    payments = three_queued(engine)
    round_id = propose(engine, TWO_DAYS)
    assert callable(take)
    with pytest.raises(ConflictError):
        take(engine, "30.0001")
    take(engine, "30")  # of 80, of which 50 are reserved; the other 60 of 110 come by a payment
    cancel(engine, *payments)
    let_notice_pass(engine, round_id)
    done = commit(engine, round_id)
    assert (done.amended, done.cleared) == (True, 3 * 50 * HOUR)
    left = {(A, B): 30} if take is dispute else {}
    assert debts(engine) == {**left, (B, C): 40, (C, A): 20}
    assert_sound(engine)


def test_the_audit_finds_a_round_that_took_more_than_it_reserved(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_circle(sqlite_engine)
    payments = three_queued(sqlite_engine)
    round_id = propose(sqlite_engine)
    cancel(sqlite_engine, *payments)
    with monkeypatch.context() as broken:
        broken.setattr(Rows, "reserved", lambda rows: rows.amount)
        assert commit(sqlite_engine, round_id).cleared == 3 * 70 * HOUR
    with reading(sqlite_engine) as session:
        (found,) = [one for one in audit(session) if one.problems]
    assert found.problems == [
        f"round {round_id}: somebody is above its proposal, or what it reserved"
    ]


@pytest.mark.parametrize("take", [settle_outside, dispute])
def test_what_a_released_payment_lessens_is_not_free_beside_the_round(
    engine: Engine, take: object
) -> None:
    open_circle(engine)
    queued(engine, B, A, "45")  # with it B would come to -55
    limit(engine, A)
    limit(engine, B)
    round_id = propose(engine, TWO_DAYS)
    before = debts(engine)
    assert given(engine) == 3 * 35 * HOUR
    assert callable(take)
    with pytest.raises(ConflictError):
        take(engine, "0.0001")
    assert debts(engine) == before
    let_notice_pass(engine, round_id)
    done = commit(engine, round_id)
    assert (done.amended, done.released) == (False, 1)
    assert debts(engine) == {(B, C): 55, (C, A): 35}
    assert_sound(engine)


@pytest.mark.parametrize(("seconds", "posted"), [(10, 3), (-1, 0)])
def test_who_has_no_room_left_for_its_own_release_costs_no_other_group_theirs_while_there_is_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: int, posted: int
) -> None:
    monkeypatch.setattr(amending, "SECONDS_TO_CHOOSE", seconds)
    open_circle(engine)
    with transaction(engine) as session:
        for name in ("derby", "essen", "fulda"):
            admit(session, name, GROUPS[A])
    pair_limit(engine, "derby", "essen", 6)
    limit(engine, "derby", credit="20")
    for payer, payee in (("derby", "essen"), ("essen", "fulda"), ("fulda", "derby")):
        pay(engine, payer, payee, "5")
    older = queued(engine, "derby", "essen", "6")
    payments = three_queued(engine)
    round_id = propose(engine)
    pay(engine, "derby", "fulda", "19")  # so that 6 more would bring it below -20
    done = commit(engine, round_id)
    assert (done.amended, done.released) == (True, posted)
    then = "posted" if posted else "queued"
    assert states(engine, [older, *payments]) == ["queued", *[then] * 3]
    assert debts(engine).get((B, C), 0) == (30 if posted else 40)
    assert_sound(engine)


@pytest.mark.parametrize("first", [False, True])
def test_of_what_breaks_a_rule_the_newest_is_dropped_unless_it_comes_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, *, first: bool
) -> None:
    open_world(engine)
    limit(engine, A, credit="10")
    older, newer = queued(engine, A, B, "20"), queued(engine, A, C, "30")
    if first:
        monkeypatch.setattr(waiting, "PASSED_OVER", 1)
        with transaction(engine) as session:
            participation.freeze(session, B, "the hub is moving")
        assert settle(engine).waiting == 1  # the newer one is passed over
        with transaction(engine) as session:
            participation.thaw(session, B)
    limit(engine, A, credit="60")
    round_id = propose(engine)
    with reading(engine) as session:
        found = rounds.candidates(session, round_id)
    assert [(one.first, one.proposed) for one in found] == [(False, True), (first, True)]
    limit(engine, A, credit="35")
    assert commit(engine, round_id).released == 1
    posted = ["queued", "posted"] if first else ["posted", "queued"]
    assert states(engine, [older, newer]) == posted
    assert_sound(engine)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_round_that_only_releases_has_parts_in_it_and_ends_as_any_other(
    engine: Engine, *, cancelled: bool
) -> None:
    open_world(engine)
    pay(engine, A, B, "10")
    pair_limit(engine, B, A, 5)  # a payment by itself has to keep below it
    payment = queued(engine, B, A, "10")
    round_id = propose(engine, TWO_DAYS)
    with reading(engine) as session:
        assert rounds.parts(session, round_id) == []
    subject = str(round_id)
    for name in (A, B):
        assert told(engine, name)[-1] == (EventKind.ROUND_CHANGED, subject)
    opt_out(engine, round_id, B)
    if cancelled:
        cancel(engine, payment)
    let_notice_pass(engine, round_id)
    done = commit(engine, round_id)
    assert (done.amended, done.released) == (cancelled, 0 if cancelled else 1)
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(Amendment)) == 0
    for name in (A, B):
        assert [what for what in told(engine, name) if what[1] == subject][1:] == [
            (EventKind.ROUND_CHANGED, subject)
        ]
    assert debts(engine) == ({(A, B): 10} if cancelled else {})
    assert_sound(engine)


def test_who_spoils_its_own_release_does_not_come_first_by_that(sqlite_engine: Engine) -> None:
    engine = sqlite_engine
    open_circle(engine)
    payments = three_queued(engine)
    for _ in range(3):
        round_id = propose(engine, TWO_DAYS)
        opt_out(engine, round_id, C)
        let_notice_pass(engine, round_id)
        assert commit(engine, round_id).released == 0
    assert states(engine, payments) == ["queued"] * 3
    round_id = propose(engine)
    with reading(engine) as session:
        assert [one.first for one in rounds.candidates(session, round_id)] == [False] * 3


def test_payments_beyond_all_that_can_be_added_up_hold_up_no_round(engine: Engine) -> None:
    open_circle(engine)
    accepting(engine, B, MAX_MINOR)
    amount = format_amount(MAX_MINOR, 4)
    with transaction(engine) as session:
        made = handle(session, [push(A, B, amount, wait=True) for _ in range(520)])
    assert {one.transfer.state for one in made if one.transfer} == {TransferState.QUEUED}
    payments = three_queued(engine)
    done = settle(engine)
    assert (done.waiting, done.released, done.cleared) == (3, 3, 330 * HOUR)
    assert states(engine, payments) == ["posted"] * 3
    with reading(engine) as session:
        assert [one.place for one in rounds.candidates(session, done.id)] == [0, 1, 2]
    assert_sound(engine)


def test_a_round_chooses_among_those_that_come_first_and_then_the_oldest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_circle(engine)
    for name in (A, B, C):
        limit(engine, name)
    with transaction(engine) as session:
        admit(session, "york", GROUPS[A])
    limit(engine, "york", credit="0")
    apart = queued(engine, "york", A, "1")
    waits = [queued(engine, A, B, hours) for hours in ("101", "102", "103")]
    with transaction(engine) as session:
        participation.freeze(session, "york", "the hub is moving")
    monkeypatch.setattr(waiting, "MOST_CANDIDATES", 2)

    def chosen() -> list[tuple[int, bool]]:
        done = settle(engine)
        with reading(engine) as session:
            found = rounds.candidates(session, done.id)
        every = [one.id for one in (apart, *waits)]
        return [(every.index(one.transfer), one.first) for one in found if not one.posted]

    pair_limit(engine, A, B, 20)
    for _ in range(3):
        assert chosen() == [(1, False), (2, False)]  # what cannot be chosen is in nobody's way
    monkeypatch.setattr(waiting, "PASSED_OVER", 3)
    assert chosen() == [(1, True), (2, True)]
    with transaction(engine) as session:
        participation.thaw(session, "york")
    assert chosen() == [(1, True), (2, True)]
    cancel(engine, waits[0])
    assert chosen() == [(0, False), (2, True)]
    assert_sound(engine)


def test_an_account_with_a_part_in_a_proposed_round_cannot_be_closed(engine: Engine) -> None:
    open_circle(engine)
    round_id = propose(engine)
    before = ledger(engine)
    with (
        pytest.raises(ConflictError, match=f"round {round_id} is proposed"),
        transaction(engine) as session,
    ):
        participation.close(session, A)
    assert ledger(engine) == before
    assert commit(engine, round_id).cleared == 3 * 70 * HOUR
