"""Whom a group can pay, and how much: exactly what the ledger then lets through."""

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from clearing_world import (
    GROUPS,
    HOUR,
    accept,
    admit,
    call,
    limit,
    made,
    open_world,
    pay,
    push,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market import NOW, add_groups
from sqlalchemy import Engine, event, insert, update
from sqlalchemy.orm import Session

from clearing.accounts import (
    Position,
    account_of,
    new_position,
    open_account,
    set_limits,
    set_pair_limit,
)
from clearing.calls import Move, Verb, handle
from clearing.headroom import Headroom, headroom_of
from clearing.rates import agree
from clearing.transfers import TransferState, Unit
from commons.database import reading, transaction
from commons.errors import RefusedError
from commons.groups import Hub, HubState
from commons.money import CLEARING_SCALE, Side, ceil_minor, floor_minor, format_amount, parse_rate

SMALLEST = Fraction(1, HOUR)
NAMES = tuple(GROUPS)
PAIRS = st.sampled_from([(a, b) for a in NAMES for b in NAMES if a != b])
LIMITS = st.none() | st.integers(0, 40 * HOUR)


@dataclass(frozen=True)
class World:
    """What the groups agreed on and what they did, by name or by payer and payee."""

    rates: dict[str, Fraction]
    payments: list[tuple[tuple[str, str], int, bool]]
    limits: dict[str, tuple[int | None, int | None]]
    pair_limits: dict[tuple[str, str], int | None]
    promised: dict[tuple[str, str], int]


WORLDS = st.builds(
    World,
    rates=st.fixed_dictionaries(
        dict.fromkeys(
            NAMES, st.sampled_from(["1/1", "1/10", "1/2", "2/13", "355/113", "1/100000", "1000/7"])
        )
    ).map(lambda rates: {name: parse_rate(rate) for name, rate in rates.items()}),
    payments=st.lists(st.tuples(PAIRS, st.integers(1, 20 * HOUR), st.booleans()), max_size=6),
    limits=st.fixed_dictionaries(dict.fromkeys(NAMES, st.tuples(LIMITS, LIMITS))),
    pair_limits=st.dictionaries(PAIRS, LIMITS),
    promised=st.dictionaries(PAIRS, st.integers(0, 10 * HOUR)),
)


def listed(engine: Engine, payer: str) -> dict[str, int | None]:
    """Return the room, in smallest clearing units, of whom a group can pay."""
    with reading(engine) as session:
        return {found.group_id: found.room for found in headroom_of(session, payer)}


def set_state(engine: Engine, group_id: str, state: HubState) -> None:
    with transaction(engine) as session:
        session.execute(update(Hub).where(Hub.group_id == group_id).values(state=state))


def test_without_limits_everybody_can_be_paid_without_end(engine: Engine) -> None:
    open_world(engine)
    assert listed(engine, "leeds") == {"barcelona": None, "ghent": None}


def test_the_least_of_the_three_rooms_counts_with_what_is_pending(engine: Engine) -> None:
    open_world(engine)
    limit(engine, "leeds", credit="10")
    limit(engine, "ghent", surplus="8")
    assert listed(engine, "leeds") == {"barcelona": 10 * HOUR, "ghent": 8 * HOUR}
    with transaction(engine) as session:
        set_pair_limit(session, "leeds", "barcelona", 5 * HOUR)
        set_pair_limit(session, "barcelona", "leeds", 1 * HOUR)
    assert listed(engine, "leeds") == {"barcelona": 5 * HOUR, "ghent": 8 * HOUR}
    pending = made(engine, push("leeds", "barcelona", "3"))
    assert listed(engine, "leeds") == {"barcelona": 2 * HOUR, "ghent": 7 * HOUR}
    call(engine, accept(pending))
    assert listed(engine, "leeds") == {"barcelona": 2 * HOUR, "ghent": 7 * HOUR}
    pay(engine, "ghent", "leeds", "4")
    assert listed(engine, "leeds") == {"barcelona": 2 * HOUR, "ghent": 11 * HOUR}
    made(engine, push("leeds", "barcelona", "2"))
    assert listed(engine, "leeds") == {"ghent": 9 * HOUR}
    assert listed(engine, "barcelona") == {"leeds": 1 * HOUR, "ghent": 12 * HOUR}


def test_who_may_make_no_transfers_is_not_there_to_be_paid(engine: Engine) -> None:
    open_world(engine)
    for state in (HubState.SUSPENDED, HubState.REGISTERED):
        set_state(engine, "ghent", state)
        assert listed(engine, "leeds") == {"barcelona": None}
        assert listed(engine, "ghent") == {}
    set_state(engine, "ghent", HubState.ADMITTED)
    assert listed(engine, "ghent") == {"barcelona": None, "leeds": None}


def test_who_has_no_account_or_no_rate_is_not_there_to_be_paid(engine: Engine) -> None:
    open_world(engine)
    add_groups(engine)
    with transaction(engine) as session:
        for name in ("river", "hours"):
            told: dict[str, object] = {
                "inbox_uri": f"https://{name}.example/inbox",
                "rate_wanted": "1/1",
            }
            told |= {"group_id": name, "state": HubState.ADMITTED, "registered_at": NOW}
            session.execute(insert(Hub), told)
        agree(session, "river", Fraction(1))
        open_account(session, "hours")
    assert set(listed(engine, "leeds")) == {"barcelona", "ghent"}
    for name in ("river", "hours", "nowhere"):
        assert listed(engine, name) == {}


def test_the_rate_that_was_agreed_last_counts(engine: Engine) -> None:
    open_world(engine)
    limit(engine, "leeds", credit="10")
    with transaction(engine) as session:
        agree(session, "barcelona", Fraction(1, 5))
    with reading(engine) as session:
        found = headroom_of(session, "leeds")
    assert [(one.group_id, one.most()) for one in found] == [("barcelona", 50_00), ("ghent", 20)]
    assert [one.currency for one in found] == ["BAR", "GHE"]


@pytest.mark.parametrize(
    ("room", "rate", "scale", "most"),
    [
        (None, Fraction(1), 2, None),
        (0, Fraction(1), 2, 0),
        (-5, Fraction(1), 2, 0),
        (99, Fraction(1), 2, 0),
        (199, Fraction(1), 2, 1),
        (1_538_462, Fraction(2, 13), 0, 1000),
        (1_538_461, Fraction(2, 13), 0, 999),
        # Two units would fit, and are worth less than the smallest clearing unit.
        (1, Fraction(1, 25_000), 0, 0),
        (2, Fraction(1, 25_000), 0, 5),
    ],
)
def test_what_fits_is_rounded_down(
    room: int | None, rate: Fraction, scale: int, most: int | None
) -> None:
    assert Headroom("ghent", "GHE", Side(rate, scale), room).most() == most


@pytest.mark.parametrize(
    ("room", "told"),
    [(None, None), (0, 0), (-7, -7), (1, 1), (9, 9), (10, 10), (19, 10), (987_654, 900_000)],
)
def test_anybody_may_know_the_first_digit_only(room: int | None, told: int | None) -> None:
    assert Headroom("ghent", "GHE", Side(Fraction(1), 2), room).rounded().room == told


def test_it_takes_two_questions_however_many_groups_there_are(engine: Engine) -> None:
    open_world(engine)
    asked: list[str] = []
    with reading(engine) as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *said: asked.append(said[2]))
        headroom_of(session, "leeds")
    assert len([text for text in asked if "accounts" in text]) == 2
    assert len(asked) <= 3  # and the clock


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=WORLDS)
def test_what_is_told_to_be_payable_is_taken_and_no_unit_more(
    sqlite_engine: Engine, world: World
) -> None:
    with reading(sqlite_engine) as session:  # which is never committed
        _open(session, world)
        for payer in NAMES:
            found = {one.group_id: one for one in headroom_of(session, payer)}
            for payee in set(NAMES) - {payer}:
                side = Side(world.rates[payee], GROUPS[payee].scale)
                _assert_exact(session, payer, payee, side, found.get(payee))


def _open(session: Session, world: World) -> None:
    for name, rate in world.rates.items():
        admit(session, name, replace(GROUPS[name], rate=rate))
    for pair, amount, posted in world.payments:
        _pay(session, *pair, amount, posted=posted)
    for name, (credit, surplus) in world.limits.items():
        set_limits(session, name, credit, surplus)
    for pair, stop in world.pair_limits.items():
        set_pair_limit(session, *pair, stop)
    for pair, amount in world.promised.items():
        _position(session, *pair).given = amount
    session.flush()


def _assert_exact(
    session: Session, payer: str, payee: str, side: Side, found: Headroom | None
) -> None:
    if found is None:
        assert _refuses(session, payer, payee, _worth_of(SMALLEST, side), side)
        return
    assert found.side == side
    most = found.most()
    if most is None or found.room is None:
        assert not _refuses(session, payer, payee, _worth_of(Fraction(100_000), side), side)
        return
    more = _hours(most + 1, side)
    assert _hours(most, side) * HOUR <= found.room < more * HOUR
    # Of what is more by less than a smallest clearing unit, the payee's side is rounded down.
    if floor_minor(more, CLEARING_SCALE) > found.room:
        assert _refuses(session, payer, payee, most + 1, side)
    if most:
        assert not _refuses(session, payer, payee, most, side)


def _refuses(session: Session, payer: str, payee: str, minor: int, side: Side) -> bool:
    """Try a payment in the payee's smallest units; what is taken is cancelled again."""
    one = push(payer, payee, format_amount(minor, side.scale), Unit.PAYEE)
    outcome = handle(session, [one])[0]
    if outcome.error is not None:
        assert isinstance(outcome.error, RefusedError)
        return True
    handle(session, [Move(one.id, payer, Verb.CANCEL)])
    return False


def _pay(session: Session, payer: str, payee: str, minor: int, *, posted: bool) -> None:
    one = push(payer, payee, format_amount(minor, CLEARING_SCALE))
    outcome = handle(session, [one])[0]
    if posted and outcome.error is None:
        done = handle(session, [accept(one)])[0].transfer
        assert done is not None
        assert done.state is TransferState.POSTED


def _position(session: Session, payer: str, payee: str) -> Position:
    pair = account_of(session, payer).id, account_of(session, payee).id
    found = session.get(Position, pair)
    if found is None:
        found = new_position(*pair)
        session.add(found)
        session.flush()
    return found


def _hours(minor: int, side: Side) -> Fraction:
    return Fraction(minor, 10**side.scale) * side.rate


def _worth_of(hours: Fraction, side: Side) -> int:
    return ceil_minor(hours / side.rate, side.scale)
