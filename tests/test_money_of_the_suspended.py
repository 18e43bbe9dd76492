"""The group of a suspended hub can neither pay nor be paid, nor settle, until it is resumed."""

import pytest
from clearing_world import call, open_world, push, request
from journal_world import everything, move, proposal, propose
from sqlalchemy import Engine, update

from clearing.adjustments import AdjustmentState
from commons.database import transaction
from commons.errors import ConflictError, InvalidError
from commons.groups import Hub, HubState


def set_hub(engine: Engine, group_id: str, state: HubState) -> None:
    with transaction(engine) as session:
        session.execute(update(Hub).where(Hub.group_id == group_id).values(state=state))


def test_nothing_is_paid_or_adjusted_with_a_suspended_hub(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    waiting = [
        propose(sqlite_engine, proposal("leeds", "opening", "leeds", "ghent", "10"))
        for _ in range(2)
    ]
    set_hub(sqlite_engine, "leeds", HubState.SUSPENDED)
    before = everything(sqlite_engine)
    for payment in (push("ghent", "leeds", "1"), request("leeds", "ghent", "1")):
        assert isinstance(call(sqlite_engine, payment).error, InvalidError)
    with pytest.raises(ConflictError, match="not admitted"):
        move(sqlite_engine, waiting[0].id, "ghent", "agree")
    for caller in ("ghent", None):
        with pytest.raises(ConflictError, match="not admitted"):
            propose(sqlite_engine, proposal(caller, "opening", "leeds", "ghent", "1"))
    assert everything(sqlite_engine) == before
    ended = move(sqlite_engine, waiting[0].id, "ghent", "decline")
    assert ended.state is AdjustmentState.DECLINED
    set_hub(sqlite_engine, "leeds", HubState.ADMITTED)
    posted = move(sqlite_engine, waiting[1].id, "ghent", "agree")
    assert posted.state is AdjustmentState.POSTED
