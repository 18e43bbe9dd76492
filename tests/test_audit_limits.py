"""What the operator takes back may pass a stop; nothing else may in its shadow."""

import uuid

import pytest
from clearing_world import accept, assert_sound, call, limit, open_world, pay, push
from sqlalchemy import Engine, select, update
from tampering import problems

from clearing.accounts import Account
from clearing.calls import Create, Reverse, handle
from commons.database import reading


@pytest.fixture
def paid(engine: Engine) -> Create:
    """A payment to ghent, which owes one hour after it and must owe nothing from now on."""
    open_world(engine)
    pay(engine, "ghent", "leeds", "7")
    paid = pay(engine, "leeds", "ghent", "6")
    limit(engine, "ghent", credit="0", surplus="0")
    return paid


def forced(paid: Create) -> Reverse:
    """Four hours taken back by the operator."""
    return Reverse(uuid.uuid4(), None, paid.id, amount="8")


def test_an_operators_reversal_covers_no_more_than_itself(engine: Engine, paid: Create) -> None:
    """It may use what a stop forbids; what a defect lets past the stop afterwards is found."""
    assert call(engine, forced(paid)).error is None
    assert_sound(engine)
    for amount in ("0.5", "30"):
        found = made_past_the_limits(engine, push("ghent", "leeds", amount))
        assert any("ghent: credit limit is 0, used" in one for one in found), amount


def made_past_the_limits(engine: Engine, create: Create) -> list[str]:
    """What is found of a transfer that a defect lets reserve more than there is room for."""
    with reading(engine) as session:
        own = update(Account).where(Account.name == "ghent")
        stop = session.scalars(select(Account.credit_limit).where(Account.name == "ghent")).one()
        session.execute(own.values(credit_limit=None))
        assert handle(session, [create])[0].error is None
        session.execute(own.values(credit_limit=stop))
        found = problems(session)
        session.rollback()
    return found


def test_a_payment_past_a_stop_is_found_after_an_operators_reversal(
    engine: Engine, paid: Create
) -> None:
    """It was made before the operator's, and posted after it."""
    with reading(engine) as session:
        session.execute(update(Account).values(credit_limit=None, surplus_limit=None))
        create = push("ghent", "leeds", "30")
        for one in (create, forced(paid), accept(create)):
            assert handle(session, [one])[0].error is None
        found = problems(session)
        session.rollback()
    assert any("ghent: credit limit was 0 when" in one for one in found)
