"""Levies: what a payer's group pays its union besides, by a dated rule that everybody can see."""

from datetime import timedelta
from fractions import Fraction

import pytest
from clearing_world import HOUR, assert_sound, balances, levied, open_world, pay
from hypothesis import given
from hypothesis import strategies as st
from journal_world import A, B, C, agreed, everything, move, positions, proposal, propose, told
from sqlalchemy import Engine

from clearing import levies
from clearing.accounts import account_of
from clearing.levies import LevyChange, LevyRule
from commons import database
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.errors import InvalidError, NotFoundError


@pytest.fixture
def world(sqlite_engine: Engine) -> Engine:
    open_world(sqlite_engine)
    return sqlite_engine


def set_rule(engine: Engine, share: Fraction | None) -> None:
    with transaction(engine) as session:
        levies.set_rule(session, "main", share, "operator")


@given(
    st.integers(1, 2**53 - 1),
    st.integers(1, 10**12 - 1).flatmap(
        lambda top: st.builds(Fraction, st.just(top), st.integers(top + 1, 10**12))
    ),
)
def test_a_levy_is_the_exact_share_rounded_down(amount: int, share: Fraction) -> None:
    levy = LevyRule(share).levy(amount)
    assert 0 <= amount * share - levy < 1
    assert 0 <= levy < amount


def test_a_rule_applies_after_notice_the_first_one_too(world: Engine) -> None:
    set_rule(world, Fraction(1, 3))
    pay(world, A, B, "10")
    assert ("levy", A) not in positions(world)
    with reading(world) as session:
        first = levies.coming(session, "main", database.now(session))
        assert first is not None
        assert first.valid_from == first.known_from + levies.NOTICE
    assert_sound(world)


def test_another_rule_applies_after_notice(world: Engine) -> None:
    levied(world, Fraction(1, 100))
    pay(world, A, B, "10.0099")
    assert positions(world)["levy", A] == 1_000
    set_rule(world, Fraction(1, 2))
    set_rule(world, None)
    pay(world, A, B, "10")
    assert positions(world)["levy", A] == 2_000
    with reading(world) as session:
        moment = database.now(session)
        change = levies.coming(session, "main", moment)
        assert change is not None
        assert change.share == "1/2"  # the next one; that of none comes right after it
        later = moment + levies.NOTICE + timedelta(minutes=1)
        assert levies.levy_of(session, ["main", "nowhere"], moment) == {
            "main": LevyRule(Fraction(1, 100))
        }
        assert levies.levy_of(session, ["main"], later) == {}
        deeds = [(deed.action, deed.data["levy"]) for deed in session.query(Deed)]
        assert deeds == [("levy-changed", share) for share in ("1/2", "none")]
    for hub in (A, B, C):
        assert [one["levy"] for one in told(world, hub, "union-changed")] == ["1/2", None]
    assert_sound(world)


def test_levies_are_paid_outside_and_the_operator_confirms(world: Engine) -> None:
    levied(world, Fraction(1, 10))
    pay(world, A, B, "50")
    assert positions(world) == {(B, A): 50 * HOUR, ("levy", A): 5 * HOUR}
    assert balances(world) == {A: -55 * HOUR, B: 50 * HOUR, "levy": 5 * HOUR}
    paid = propose(world, proposal(A, "settlement", A, "levy", "4"))
    assert move(world, paid.id, None, "agree").state == "posted"
    assert positions(world)["levy", A] == HOUR
    assert balances(world) == {A: -51 * HOUR, B: 50 * HOUR, "levy": HOUR}
    agreed(world, proposal(A, "settlement", A, B, "50"))
    assert balances(world) == {A: -HOUR, "levy": HOUR}
    assert_sound(world)


def test_a_rule_that_is_none_changes_nothing(world: Engine) -> None:
    before = everything(world)
    for share in (Fraction(0), Fraction(1), Fraction(-1, 2), Fraction(3, 2)):
        with transaction(world) as session, pytest.raises(InvalidError, match="levy"):
            levies.set_rule(session, "main", share, "operator")
    with transaction(world) as session, pytest.raises(NotFoundError):
        levies.set_rule(session, "nowhere", Fraction(1, 2), "operator")
    assert everything(world) == before
    with reading(world) as session:
        assert session.query(LevyChange).all() == []
        assert account_of(session, A).balance == 0
