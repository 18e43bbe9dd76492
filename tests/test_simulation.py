"""What-if: replays of what was recorded, against hand-made examples and against real ledgers."""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from clearing_world import (
    HOUR,
    accept,
    accepting,
    assert_sound,
    balances,
    call,
    ledger,
    limit,
    made,
    open_world,
    other_hub,
    pay,
    push,
    request,
    state,
)
from sqlalchemy import Engine

from clearing import simulation
from clearing.accounts import set_pair_limit
from clearing.calls import Create, Move, Reverse, Verb, release_queued
from clearing.simulation import Changes, Recorded
from clearing.simulation.recorded import Attempt, micros
from clearing.transfers import TransferState
from commons import database
from commons.database import reading, transaction
from commons.errors import InvalidError, NotFoundError

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
A, B, C = range(3)


def paying(debtor: int, creditor: int, hours: int, day: int, *, wait: bool = False) -> Attempt:
    """Return a payment of whole hours that both agreed to at once on a day, 0 the first."""
    at, amount = micros(START + day * DAY), hours * HOUR
    return Attempt(
        debtor=debtor,
        creditor=creditor,
        out=amount,
        into=amount,
        pair=amount,
        entries=((debtor, creditor, amount),),
        tried_at=at,
        agreed_at=at,
        until=micros(START + 90 * DAY) if wait else None,
        reserves=False,
        wait=wait,
        forced=False,
        reverses=None,
        posted=False,
    )


def recorded(
    attempts: Sequence[Attempt],
    *,
    credit: int | None = 50,
    pair: int | None = None,
    rounds: Iterable[int] = (),
    days: int = 10,
) -> Recorded:
    """Return three groups with the same limits in hours, and what they tried; rounds by day."""
    pairs = {(one, other) for one in range(3) for other in range(3) if one != other}
    stop = None if credit is None else credit * HOUR
    return Recorded(
        union_id="main",
        start=START,
        end=START + days * DAY,
        names=["a", "b", "c"],
        groups=["a", "b", "c"],
        own=[True] * 3,
        barred=frozenset(),
        credit_lines=False,
        positions={},
        credit=[stop] * 3,
        surplus=[None] * 3,
        pair={} if pair is None else dict.fromkeys(pairs, pair * HOUR),
        limits=[],
        moves=[],
        attempts=attempts,
        rounds=[START + day * DAY for day in rounds],
    )


def test_what_does_not_fit_a_limit_is_refused_and_told_by_the_first_limit() -> None:
    tried = [paying(A, B, 40, 1), paying(A, B, 20, 2), paying(B, C, 90, 3), paying(C, A, 10, 4)]
    seen = simulation.replay(recorded(tried))
    assert (seen.tried.number, seen.tried.value) == (4, 160 * HOUR)
    assert (seen.posted.number, seen.posted.value) == (3, 140 * HOUR)
    assert (seen.refused.number, seen.refused.value) == (1, 20 * HOUR)
    assert (seen.met["credit_limit"].number, seen.met["pair_limit"].number) == (1, 0)
    assert seen.balances == {"a": -30 * HOUR, "b": -50 * HOUR, "c": 80 * HOUR}


def test_credit_in_use_and_what_is_owed_are_told_at_their_most_and_over_the_time() -> None:
    # a owes 40 from day 1 on; from day 4 b owes 40 to c besides, so that a and c alone remain.
    seen = simulation.replay(recorded([paying(A, B, 40, 1), paying(B, C, 40, 4)]))
    assert (seen.in_use_peak, seen.in_use_mean) == (40 * HOUR, 36 * HOUR)  # nine of ten days
    assert (seen.owed_peak, seen.owed_mean) == (80 * HOUR, 60 * HOUR)  # 3 days 40, 6 days 80
    assert seen.lines_needed == 40 * HOUR
    assert [step.at for step in seen.steps] == [START + day * DAY for day in range(1, 11)]
    assert [step.owed // HOUR for step in seen.steps] == [40, 40, 40, *[80] * 7]


def test_lines_needed_adds_up_each_groups_lowest_whenever_that_was() -> None:
    seen = simulation.replay(recorded([paying(A, B, 40, 1), paying(B, A, 50, 2)]))
    assert seen.in_use_peak == 40 * HOUR
    assert seen.lines_needed == (40 + 10) * HOUR


def test_a_round_frees_the_pairs_and_changes_no_balance() -> None:
    circle = [paying(A, B, 30, 1), paying(B, C, 30, 1), paying(C, A, 30, 1)]
    again = [replace(one, tried_at=micros(START + 5 * DAY)) for one in circle]
    without = simulation.replay(recorded([*circle, *again], pair=40))
    with_one = simulation.replay(recorded([*circle, *again], pair=40, rounds=[3]))
    assert (without.posted.number, without.refused.number) == (3, 3)
    assert without.met["pair_limit"].number == 3
    assert (with_one.posted.number, with_one.refused.number) == (6, 0)
    assert [(one.owed, one.cleared) for one in with_one.rounds] == [(90 * HOUR, 90 * HOUR)]
    assert with_one.balances == without.balances == {"a": 0, "b": 0, "c": 0}


def test_a_round_releases_what_fits_only_together() -> None:
    # The example of docs/clearing.md: pair limits 100, accounts 50; 80, 90 and 70 are owed.
    queued = [
        paying(A, B, 60, 2, wait=True),
        paying(B, C, 50, 2, wait=True),
        paying(C, A, 40, 2, wait=True),
    ]
    begun = replace(
        recorded(queued, pair=100, rounds=[3]),
        positions={(A, B): -80 * HOUR, (B, C): -90 * HOUR, (A, C): 70 * HOUR},
    )
    seen = simulation.replay(begun)
    assert (seen.posted.number, seen.waiting.number) == (3, 0)
    assert [seen.met[limit].number for limit in simulation.LIMITS] == [2, 0, 1]
    (held,) = seen.rounds
    assert (held.owed, held.cleared, held.released) == (240 * HOUR, 330 * HOUR, 3)
    assert seen.balances == {"a": -30 * HOUR, "b": 0, "c": 30 * HOUR}
    assert simulation.replay(begun, Changes(rounds=())).waiting.number == 3


def test_what_waits_is_posted_once_there_is_room_and_lapses_when_its_time_is_over() -> None:
    tried = [
        paying(A, B, 50, 1),
        paying(A, B, 30, 2, wait=True),
        paying(A, C, 45, 3, wait=True),
        paying(C, A, 30, 4),
    ]
    tried[2] = replace(tried[2], until=micros(START + 6 * DAY))
    seen = simulation.replay(recorded(tried))
    assert (seen.posted.number, seen.waiting.number, seen.lapsed.number) == (3, 0, 1)
    assert seen.met["credit_limit"].number == 2
    assert seen.balances == {"a": -50 * HOUR, "b": 80 * HOUR, "c": -30 * HOUR}


def test_more_room_posts_more_and_less_posts_less() -> None:
    chance = random.Random(1)  # noqa: S311 (the same at each run)
    tried = []
    for number in range(300):
        payer, payee = chance.sample(range(3), 2)
        tried.append(paying(payer, payee, chance.randint(1, 30), number // 10))
    world = recorded(tried, credit=60, pair=40, days=31)
    factors = [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(2), Fraction(100)]
    seen = [
        simulation.replay(world, Changes(credit_factor=one, pair_factor=one)) for one in factors
    ]
    posted = [one.posted.number for one in seen]
    assert posted == sorted(posted)
    assert (posted[0], posted[-1]) == (0, 300)
    for one in seen:
        assert one.tried.number == one.posted.number + one.refused.number
        assert sum(limit.number for limit in one.met.values()) == one.refused.number
        assert sum(one.balances.values()) == 0


def test_a_limit_times_a_fraction_is_exact_and_rounded_down() -> None:
    tried = [paying(A, B, 1, 1)]
    tried[0] = replace(tried[0], out=16_666, into=16_666, pair=16_666)
    third = Changes(credit_factor=Fraction(1, 30))  # of 50 hours: 16,666 2/3 smallest units
    assert simulation.replay(recorded(tried), third).posted.number == 1
    tried[0] = replace(tried[0], out=16_667)
    assert simulation.replay(recorded(tried), third).refused.number == 1


def test_a_group_left_out_tries_nothing_and_keeps_what_it_owed() -> None:
    world = replace(
        recorded([paying(A, B, 10, 1), paying(B, C, 10, 1), paying(C, A, 10, 2)], rounds=[5]),
        positions={(A, B): -5 * HOUR, (B, C): -5 * HOUR, (A, C): 5 * HOUR},
    )
    everybody = simulation.replay(world)
    assert everybody.rounds[0].cleared == 45 * HOUR
    seen = simulation.replay(world, Changes(without=frozenset({"b"})))
    assert (seen.tried.number, seen.posted.number) == (1, 1)
    assert seen.rounds[0].cleared == 0
    assert seen.balances == {"a": 10 * HOUR, "b": 0, "c": -10 * HOUR}


def test_a_replay_of_the_same_is_the_same() -> None:
    tried = [
        paying(n % 3, (n + 1 + n % 2) % 3, n % 7 + 1, n // 4, wait=n % 5 == 0) for n in range(99)
    ]
    world = recorded(tried, credit=9, pair=8, rounds=range(1, 24), days=25)
    assert simulation.replay(world) == simulation.replay(world)


def test_rounds_are_held_every_so_many_days_or_by_a_cron_expression() -> None:
    end = START + 10 * DAY
    assert simulation.every(3, START, end) == [START + day * DAY for day in (3, 6, 9)]
    assert simulation.every(5, START, end) == [START + 5 * DAY]
    assert simulation.by_cron("0 6 * * 1", START, end) == [
        START + timedelta(hours=6),
        START + timedelta(days=7, hours=6),
    ]
    with pytest.raises(InvalidError, match="1 or more"):
        simulation.every(0, START, end)
    with pytest.raises(InvalidError, match="more than 1000"):
        simulation.every(1, START, START + 2_000 * DAY)
    with pytest.raises(InvalidError, match="more than 1000"):
        simulation.by_cron("0 * * * *", START, START + 100 * DAY)
    with pytest.raises(InvalidError, match="cron"):
        simulation.by_cron("every day", START, end)


def read_all(engine: Engine) -> Recorded:
    """Read everything that was recorded of the main union."""
    with reading(engine) as session:
        return simulation.read(session, "main", START, database.now(session) + DAY)


def release(engine: Engine) -> None:
    """Post what waits until nothing of it has room."""
    released = 1
    while released:
        with transaction(engine) as session:
            released = release_queued(session)


def trade_at_random(engine: Engine, seed: int, calls: int) -> None:
    """Have three groups within limits pay, wait, agree, give up, take back, and change limits."""
    chance = random.Random(seed)  # noqa: S311 (the same at each run)
    open_world(engine)
    accepting(engine, "ghent", 10**9)
    groups = ("barcelona", "leeds", "ghent")
    opened: list[Create] = []
    posted: list[Create] = []
    for number in range(calls):
        if number % 10 == 0:
            group, other = chance.sample(groups, 2)
            limit(
                engine, group, credit=str(chance.randint(5, 60)), surplus=str(chance.randint(5, 60))
            )
            with transaction(engine) as session:
                set_pair_limit(session, group, other, chance.randint(5, 60) * HOUR)
            release(engine)
        if opened and chance.random() < 0.4:
            one = opened.pop(chance.randrange(len(opened)))
            verb = chance.choice((Verb.ACCEPT, Verb.ACCEPT, Verb.ACCEPT, Verb.REJECT, Verb.CANCEL))
            caller = one.caller if verb is Verb.CANCEL else other_hub(one)
            call(engine, Move(one.id, caller, verb))
        elif posted and chance.random() < 0.2:
            taken = posted.pop(chance.randrange(len(posted)))
            by = chance.choice((None, other_hub(taken)))
            call(engine, Reverse(uuid.uuid4(), by, taken.id))
        else:
            payer, payee = chance.sample(groups, 2)
            make = chance.choice((push, push, request))
            one = make(payer, payee, f"{chance.randint(1, 3000) / 100:.2f}")
            if make is push:
                one = replace(one, wait=chance.random() < 0.5)
            call(engine, one)
            opened.append(one)
        posted += [one for one in opened if state(engine, one) is TransferState.POSTED]
        opened = [one for one in opened if state(engine, one) is TransferState.PENDING]
        release(engine)
    assert_sound(engine)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_replay_with_nothing_changed_comes_to_what_was_recorded(
    sqlite_engine: Engine, seed: int
) -> None:
    trade_at_random(sqlite_engine, seed, 150)
    before = ledger(sqlite_engine)
    world = read_all(sqlite_engine)
    seen = simulation.replay(world)
    ended = {name: balance for name, balance in seen.balances.items() if balance}
    assert ended == balances(sqlite_engine)
    assert seen.as_recorded == seen.tried.number
    assert seen.refused.number > 0
    assert seen.posted.number > 0
    assert ledger(sqlite_engine) == before


def test_a_replay_of_a_part_begins_with_what_stood_then(engine: Engine) -> None:
    open_world(engine)
    limit(engine, "leeds", credit="10")
    pay(engine, "leeds", "ghent", "4")
    waiting = made(engine, push("leeds", "ghent", "5"))
    with reading(engine) as session:
        cut = database.now(session)
    call(engine, accept(waiting))
    call(engine, push("leeds", "barcelona", "2"))
    limit(engine, "leeds", credit="20")
    pay(engine, "leeds", "barcelona", "3")
    with reading(engine) as session:
        world = simulation.read(session, "main", cut, cut + DAY)
    assert {world.names[one]: amount for (one, _), amount in world.positions.items()} == {
        "leeds": -4 * HOUR
    }
    seen = simulation.replay(world)
    assert (seen.tried.number, seen.posted.number, seen.refused.number) == (3, 2, 1)
    assert {n: b for n, b in seen.balances.items() if b} == balances(engine)
    half = simulation.replay(world, Changes(credit_factor=Fraction(1, 2)))
    assert (half.posted.number, half.refused.number) == (1, 2)


def test_a_period_that_is_none_and_a_union_that_is_none_are_refused(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    with reading(sqlite_engine) as session:
        with pytest.raises(InvalidError, match="later than from"):
            simulation.read(session, "main", START, START)
        with pytest.raises(NotFoundError):
            simulation.read(session, "nowhere", START, START + DAY)
