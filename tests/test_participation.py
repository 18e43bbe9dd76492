"""Groups take part in unions, are frozen and thawed, and leave only when nothing stands open."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    account,
    assert_sound,
    balances,
    call,
    made,
    open_world,
    pay,
    push,
    state,
)
from sqlalchemy import Engine, select
from test_clearing_commands import wait_for_a_lock

from clearing import adjustments, participation, rounds
from clearing.accounts import (
    DEFAULT_LINE,
    Account,
    AccountKind,
    AccountState,
    Position,
    make_union,
    open_account,
    set_limits,
    union_account,
)
from clearing.adjustments import AdjustmentKind
from clearing.calls import Move, Verb
from clearing.events import Event, EventKind
from clearing.ledger import Entry
from clearing.transfers import Transfer, TransferState
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.errors import ConflictError, InvalidError

OPEN, FROZEN, CLOSED = AccountState


@pytest.fixture(autouse=True)
def _world(request: pytest.FixtureRequest) -> None:
    names = {"engine", "postgresql_engine"} & set(request.fixturenames)
    open_world(request.getfixturevalue(names.pop()))


def all_rows(engine: Engine) -> list[Any]:
    """All that payments change."""
    with reading(engine) as session:
        return [
            session.execute(select(model.__table__)).all()
            for model in (Account, Position, Entry, Transfer)
        ]


def freeze(engine: Engine, group_id: str, reason: str = "the hub is moving") -> None:
    with transaction(engine) as session:
        participation.freeze(session, group_id, reason)


def obstacles(engine: Engine, group_id: str) -> dict[str, str]:
    """What closing is refused for, and what to do about each; nothing changes by asking."""
    before = all_rows(engine)
    with transaction(engine) as session, pytest.raises(ConflictError) as refused:
        participation.close(session, group_id)
    assert all_rows(engine) == before
    with reading(engine) as session:
        own = session.scalars(select(Account).filter_by(name=group_id)).one()
        found = {one.what: one.remedy for one in participation.obstacles(session, own)}
    assert refused.value.extra["obstacles"] == list(found)
    assert all(f"{what}: {remedy}" in refused.value.detail for what, remedy in found.items())
    return found


def test_on_a_frozen_account_nothing_new_is_made_or_accepted(engine: Engine) -> None:
    waiting, unwanted = (made(engine, push("barcelona", "leeds", "2")) for _ in range(2))
    regretted = made(engine, push("leeds", "barcelona", "3"))
    freeze(engine, "leeds")
    before = all_rows(engine)
    for refused in (
        push("barcelona", "leeds", "1"),
        push("leeds", "ghent", "1"),
        accept(waiting),
    ):
        outcome = call(engine, refused)
        assert isinstance(outcome.error, ConflictError)
        assert outcome.error.extra["reason"] == "account_frozen"
    assert all_rows(engine) == before
    # What is pending may end otherwise, and others go on.
    call(engine, Move(unwanted.id, "leeds", Verb.REJECT))
    call(engine, Move(regretted.id, "leeds", Verb.CANCEL))
    assert state(engine, unwanted) is TransferState.REJECTED
    assert state(engine, regretted) is TransferState.CANCELLED
    pay(engine, "barcelona", "ghent", "1")
    with transaction(engine) as session:
        participation.thaw(session, "leeds")
    assert call(engine, accept(waiting)).error is None
    assert state(engine, waiting) is TransferState.POSTED
    assert_sound(engine)


def test_the_hub_is_told_and_the_log_keeps_who_froze_it_and_why(engine: Engine) -> None:
    freeze(engine, "leeds", "  unpaid since March  ")
    assert account(engine, "leeds").state_reason == "unpaid since March"
    with transaction(engine) as session:
        participation.thaw(session, "leeds")
        participation.close(session, "leeds")
    told = [
        {"union": "main", "state": "frozen", "reason": "unpaid since March"},
        {"union": "main", "state": "open", "reason": ""},
        {"union": "main", "state": "closed", "reason": ""},
    ]
    with reading(engine) as session:
        events = session.scalars(select(Event).order_by(Event.number)).all()
        deeds = session.scalars(select(Deed).order_by(Deed.number)).all()
    assert [(one.group_id, one.kind, one.data) for one in events] == [
        ("leeds", EventKind.ACCOUNT_CHANGED, data) for data in told
    ]
    assert [(one.actor, one.action, one.subject, one.data) for one in deeds] == [
        ("operator", "account-changed", "main/leeds", data) for data in told
    ]
    assert_sound(engine)


def test_an_account_moves_between_its_states_as_they_allow(engine: Engine) -> None:
    with transaction(engine) as session:
        with pytest.raises(ConflictError, match="is open"):
            participation.thaw(session, "leeds")
        for reason in ("", " ", "x" * 201):
            with pytest.raises(InvalidError, match="reason"):
                participation.freeze(session, "leeds", reason)
    freeze(engine, "leeds")
    with transaction(engine) as session:
        with pytest.raises(ConflictError, match="is frozen"):
            participation.freeze(session, "leeds", "again")
        participation.close(session, "leeds")  # a frozen account may be closed
    with transaction(engine) as session:
        for move in (participation.thaw, participation.close):
            with pytest.raises(ConflictError, match="is closed"):
                move(session, "leeds")
        with pytest.raises(ConflictError, match="closed for good"):
            open_account(session, "leeds")
        states = session.scalars(select(Account.state).filter_by(group_id="leeds"))
        assert set(states) == {CLOSED}  # the residue's too
    outcome = call(engine, push("barcelona", "leeds", "1"))
    assert outcome.error is not None
    assert state(engine, push("barcelona", "leeds", "1")) is None
    assert_sound(engine)


def test_closing_is_refused_with_all_that_stands_in_the_way(engine: Engine) -> None:
    odd = push("leeds", "ghent", "9.3057")  # leaves a residue
    call(engine, accept(made(engine, odd)))
    pay(engine, "barcelona", "leeds", "2")
    made(engine, push("ghent", "leeds", "1"))
    with transaction(engine) as session:
        rounds.propose(session)
    proposal = adjustments.Proposal(
        uuid.uuid4(), "leeds", AdjustmentKind.SETTLEMENT, "leeds", "ghent", "1"
    )
    with transaction(engine) as session:
        adjustments.propose(session, proposal)
    found = obstacles(engine, "leeds")
    whats = [what for what in found if not what.startswith("round ")]
    assert whats == [
        "leeds is owed by barcelona 2.0000",
        "leeds owes ghent 9.0000",
        "leeds owes residue/ghent 0.3057",
        "1 pending transfers",
        "1 proposed adjustments",
    ]
    assert "assigned to the commons" in found["leeds owes ghent 9.0000"]
    assert "close the period" in found["leeds owes residue/ghent 0.3057"]
    assert any("residue/ghent is owed by leeds" in what for what in obstacles(engine, "ghent"))


def test_a_proposed_round_and_what_is_queued_stand_in_the_way(engine: Engine) -> None:
    for payer, payee in (("leeds", "ghent"), ("ghent", "barcelona"), ("barcelona", "leeds")):
        pay(engine, payer, payee, "3")
    with transaction(engine) as session:
        round_id = rounds.propose(session).id
    assert f"round {round_id} is proposed" in obstacles(engine, "leeds")
    with transaction(engine) as session:
        rounds.commit(session, round_id)
        participation.close(session, "barcelona")
    with transaction(engine) as session:
        set_limits(session, "leeds", 0, None)
    queued = replace(push("leeds", "ghent", "5"), wait=True)
    call(engine, queued)
    call(engine, accept(queued))
    assert state(engine, queued) is TransferState.QUEUED
    assert list(obstacles(engine, "leeds")) == ["1 queued transfers"]
    call(engine, Move(queued.id, "leeds", Verb.CANCEL))
    with transaction(engine) as session:
        participation.close(session, "leeds")
    assert_sound(engine)


def test_who_cannot_pay_leaves_by_way_of_the_commons(engine: Engine) -> None:
    pay(engine, "leeds", "ghent", "5")
    agree(engine, AdjustmentKind.ASSIGNMENT, ("leeds", "ghent"), by="ghent", then="leeds")
    assert obstacles(engine, "leeds") == {
        "leeds owes commons 5.0000": "settle it outside with the union, which the operator signs "
        "for commons"
    }
    agree(engine, AdjustmentKind.SETTLEMENT, ("leeds", "commons"), by="leeds", then=None)
    with transaction(engine) as session:
        participation.close(session, "leeds")
    # What leeds did not pay is the union's loss, and ghent has lost nothing.
    assert balances(engine) == {"commons": -5 * HOUR, "ghent": 5 * HOUR}
    assert_sound(engine)


def agree(
    engine: Engine, kind: AdjustmentKind, sides: tuple[str, str], *, by: str, then: str | None
) -> None:
    """Have an adjustment of 5 hours proposed by one side and agreed to by the other."""
    proposal = adjustments.Proposal(uuid.uuid4(), by, kind, *sides, "5")
    with transaction(engine) as session:
        adjustments.propose(session, proposal)
    with transaction(engine) as session:
        adjustments.move(session, adjustments.Move(proposal.id, then, adjustments.Verb.AGREE))


def test_a_new_group_starts_with_what_its_union_gives(engine: Engine) -> None:
    with transaction(engine) as session:
        make_union(session, "north").credit_default = 7 * HOUR
        opened = participation.join(session, "leeds", "north")
        assert (opened.credit_limit, opened.surplus_limit) == (7 * HOUR, DEFAULT_LINE)
        given = participation.join(session, "ghent", "north", 0, 3 * HOUR)
        assert (given.credit_limit, given.surplus_limit) == (0, 3 * HOUR)
        again = participation.join(session, "ghent", "north", 5, 5)
        assert (again.id, again.credit_limit) == (given.id, 0)
        told = session.scalars(select(Event).filter_by(kind=EventKind.ACCOUNT_CHANGED)).all()
        assert {(one.group_id, one.data["union"]) for one in told} == {
            ("leeds", "north"),
            ("ghent", "north"),
        }
    assert_sound(engine)


def test_a_unions_own_account_is_opened_once_and_is_no_groups(engine: Engine) -> None:
    with transaction(engine) as session:
        for kind in (AccountKind.LEVY, AccountKind.COMMONS):
            opened = union_account(session, "main", kind)
            assert (opened.name, opened.group_id, opened.kind) == (kind.value, None, kind)
            assert union_account(session, "main", kind).id == opened.id
            with pytest.raises(ConflictError, match="the union itself"):
                open_account(session, kind.value)
        with pytest.raises(ValueError, match="residue"):
            union_account(session, "main", AccountKind.RESIDUE)
    assert_sound(engine)


def test_two_who_open_a_unions_account_at_once_get_the_same(postgresql_engine: Engine) -> None:
    def opened() -> int:
        with transaction(postgresql_engine) as session:
            return union_account(session, "north", AccountKind.COMMONS).id

    with transaction(postgresql_engine) as session:
        make_union(session, "north")
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgresql_engine) as session:
            first = union_account(session, "north", AccountKind.COMMONS).id
            second = pool.submit(opened)
            wait_for_a_lock(postgresql_engine)
        assert second.result() == first


def test_a_payment_that_comes_while_an_account_is_closed_finds_it_closed(
    postgresql_engine: Engine,
) -> None:
    create = push("barcelona", "leeds", "1")
    with ThreadPoolExecutor(1) as pool:
        with transaction(postgresql_engine) as session:
            participation.close(session, "leeds")
            coming = pool.submit(call, postgresql_engine, create)
            wait_for_a_lock(postgresql_engine)
        outcome = coming.result()
    assert isinstance(outcome.error, ConflictError)
    assert outcome.error.extra["reason"] == "account_closed"
    assert state(postgresql_engine, create) is None
    assert_sound(postgresql_engine)
