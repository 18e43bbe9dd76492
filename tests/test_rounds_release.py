"""A round releases what fits only together, within limits as they are when it is committed."""

import uuid
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from clearing_world import (
    HOUR,
    account,
    assert_sound,
    balances,
    call,
    levied,
    limit,
    pay,
    set_expiry,
    told,
)
from rounds_world import (
    CIRCLE,
    NO_NOTICE,
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
from sqlalchemy import Engine, select, update

from clearing import rounds
from clearing.calls import Create, Move, Reverse, Verb, release_queued
from clearing.events import EventKind
from clearing.ledger import Journal
from clearing.netting import Obligation
from clearing.rounds import Candidate, RoundState, SetOff
from commons.database import reading, transaction
from commons.groups import Hub, HubState

LEFT = [Obligation(A, B, 30 * HOUR), Obligation(B, C, 30 * HOUR)]


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_circle(engine)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_fits_only_together_is_released_and_set_off(engine: Engine, *, at_once: bool) -> None:
    payments = three_queued(engine)
    with transaction(engine) as session:
        assert release_queued(session) == 0
    if at_once:
        done = settle(engine)
    else:
        round_id = propose(engine, NO_NOTICE)
        assert given(engine) == (110 - 60 + 110 - 50 + 110 - 40) * HOUR  # the rest comes with them
        assert states(engine, payments) == ["queued"] * 3
        assert_sound(engine)
        done = commit(engine, round_id)
    assert (done.state, done.amended) == (RoundState.COMMITTED, False)
    assert (done.waiting, done.released, done.released_exact) == (3, 3, True)
    assert (done.cleared, done.released_value) == (330 * HOUR, 150 * HOUR)
    assert owed(engine) == LEFT
    assert balances(engine) == {A: -30 * HOUR, C: 30 * HOUR}
    assert states(engine, payments) == ["posted"] * 3
    assert given(engine) == 0
    with reading(engine) as session:
        abouts = session.scalars(select(Journal.about).where(Journal.about.is_not(None)))
        assert list(abouts) == [done.id] * 3
        seen = rounds.candidates(session, done.id, A)
    assert [(one.transfer, one.posted) for one in seen] == [
        (payments[0].id, True), (payments[2].id, True)
    ]  # fmt: skip
    for name in (A, B, C):
        kinds = [kind for kind, _ in told(engine, name)]
        assert kinds[-3:-1] == [EventKind.TRANSFER_POSTED] * 2
        assert kinds[-1] is EventKind.ROUND_CHANGED
        assert kinds.count(EventKind.ROUND_CHANGED) == (1 if at_once else 2)
    assert_sound(engine)
    with transaction(engine) as session:
        assert release_queued(session) == 0


def test_a_released_payment_is_taken_back_as_any_other(engine: Engine) -> None:
    payments = three_queued(engine)
    settle(engine)
    limit(engine, C)
    reversal = Reverse(uuid.uuid4(), C, payments[1].id, "20")
    assert call(engine, reversal).error is None
    assert call(engine, Move(reversal.id, B, Verb.ACCEPT)).error is None
    assert balances(engine) == {A: -30 * HOUR, B: 10 * HOUR, C: 20 * HOUR}
    assert call(engine, Reverse(uuid.uuid4(), None, payments[0].id)).error is None
    assert balances(engine) == {A: 30 * HOUR, B: -50 * HOUR, C: 20 * HOUR}
    assert_sound(engine)


def test_levies_and_residues_of_released_payments_are_posted_with_them(engine: Engine) -> None:
    levied(engine, Fraction(1, 100))
    odd = queued(engine, B, C, "50.3057")  # leaves a residue
    payments = [queued(engine, A, B, "60"), odd, queued(engine, C, A, "40")]
    assert settle(engine).released == 3
    assert states(engine, payments) == ["posted"] * 3
    found = balances(engine)
    assert found["residue/ghent"] > 0
    assert found["levy"] > HOUR
    assert sum(found.values()) == 0
    assert_sound(engine)


def cancel(engine: Engine, one: Create) -> None:
    assert call(engine, Move(one.id, B, Verb.CANCEL)).error is None


def expire(engine: Engine, one: Create) -> None:
    set_expiry(engine, one, datetime(2026, 1, 1, tzinfo=UTC))


def post(engine: Engine, one: Create) -> None:
    """Have it posted by itself meanwhile, since room came."""
    pair_limit(engine, B, C, None)
    limit(engine, B)
    limit(engine, C)
    with transaction(engine) as session:
        assert release_queued(session, [one.id]) == 1


def suspend(engine: Engine, _: Create) -> None:
    with transaction(engine) as session:
        hub = update(Hub).where(Hub.group_id == C)
        session.execute(hub.values(state=HubState.SUSPENDED))


def lower(engine: Engine, _: Create) -> None:
    limit(engine, A, credit="0", surplus="0")


@pytest.mark.parametrize("meanwhile", [cancel, expire, post, suspend, lower])
def test_what_cannot_be_released_any_more_is_left_out_and_the_rest_solved_again(
    engine: Engine, meanwhile: object
) -> None:
    payments = three_queued(engine)
    round_id = propose(engine)
    before = {o[:2]: o for o in proposed(engine, round_id)}
    assert callable(meanwhile)
    meanwhile(engine, payments[1])
    done = commit(engine, round_id)
    assert (done.amended, done.released_exact) == (True, False)
    assert done.released < 3
    assert given(engine) == 0
    with reading(engine) as session:
        after = rounds.rows(session, done)
    assert [row[:2] for row in after] == sorted(before)
    for row in after:
        assert row.amount <= before[row[:2]].amount
    for debtor, creditor in CIRCLE:
        assert pair_used(engine, debtor, creditor) <= 100 * HOUR or meanwhile is post
    assert_sound(engine)


def proposed(engine: Engine, round_id: uuid.UUID) -> list[rounds.Part]:
    with reading(engine) as session:
        return rounds.parts(session, round_id)


def pair_used(engine: Engine, debtor: str, creditor: str) -> int:
    return sum(o.amount for o in owed(engine) if (o.debtor, o.creditor) == (debtor, creditor))


def test_a_payment_posted_meanwhile_can_take_the_room_of_a_release_and_is_kept(
    engine: Engine,
) -> None:
    limit(engine, B)
    limit(engine, C)
    payments = three_queued(engine)
    round_id = propose(engine)
    kept = pay(engine, A, C, "25")  # with it A would come to -55, of which it may -50
    done = commit(engine, round_id)
    assert (done.amended, done.released) == (True, 2)
    assert states(engine, [*payments, kept]) == ["queued", "posted", "posted", "posted"]
    assert balances(engine) == {A: 5 * HOUR, B: -60 * HOUR, C: 55 * HOUR}
    assert_sound(engine)


def test_who_was_passed_over_by_three_rounds_comes_first(engine: Engine) -> None:
    for name in (A, B, C):
        limit(engine, name)
    small = queued(engine, A, B, "30")
    for _ in range(3):
        large = queued(engine, A, B, "70")  # with it the small one has no room
        done = settle(engine)
        assert (done.waiting, done.released) == (2, 1)
        assert states(engine, [small, large]) == ["queued", "posted"]
        for (payer, payee), hours in zip(CIRCLE, ("80", "90", "70"), strict=True):
            back(engine, payer, payee, hours)
    large = queued(engine, A, B, "70")
    done = settle(engine)
    assert states(engine, [small, large]) == ["posted", "queued"]
    with reading(engine) as session:
        chosen = rounds.candidates(session, done.id)
    assert [(one.transfer, one.first) for one in chosen] == [(small.id, True), (large.id, False)]
    assert_sound(engine)


def back(engine: Engine, payer: str, payee: str, hours: str) -> None:
    """Bring what a group owes another back to so much."""
    now = pair_used(engine, payer, payee) - pair_used(engine, payee, payer)
    more = int(hours) * HOUR - now
    if more:
        way = (payer, payee) if more > 0 else (payee, payer)
        pay(engine, *way, str(Fraction(abs(more), HOUR)))


def test_nobody_of_a_group_that_takes_no_part_is_released(engine: Engine) -> None:
    payments = three_queued(engine)
    with transaction(engine) as session:
        session.execute(update(Hub).where(Hub.group_id == C).values(state=HubState.SUSPENDED))
    done = settle(engine)
    assert (done.waiting, done.released, done.cleared) == (1, 0, 0)
    assert states(engine, payments) == ["queued"] * 3
    assert_sound(engine)


def test_a_round_with_notice_tells_until_when_and_releases_within_what_is_left(
    engine: Engine,
) -> None:
    payments = three_queued(engine)
    round_id = propose(engine, TWO_DAYS)
    opt_out(engine, round_id, C)
    let_notice_pass(engine, round_id)
    done = commit(engine, round_id)
    assert (done.amended, done.cleared, done.released) == (True, 0, 0)
    assert states(engine, payments) == ["queued"] * 3
    with reading(engine) as session:
        kept = session.scalars(select(SetOff.amount).where(SetOff.round_id == round_id)).all()
        chosen = session.scalars(select(Candidate.proposed).filter_by(round_id=round_id)).all()
    assert kept == [110 * HOUR] * 3  # the proposal stays as it was
    assert chosen == [True] * 3
    assert account(engine, A).version == 2
    assert_sound(engine)
