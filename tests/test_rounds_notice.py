"""Who takes part in a round, what is kept out of it, and that it is whole wherever it is cut."""

import os
import tempfile
import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from clearing_world import (
    GROUPS,
    HOUR,
    accept,
    admit,
    assert_sound,
    balances,
    call,
    ledger,
    open_world,
    pay,
    push,
)
from conftest import databases_folder
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st
from rounds_world import (
    CIRCLE,
    TWO_DAYS,
    A,
    B,
    C,
    cleared,
    commit,
    given,
    let_notice_pass,
    open_circle,
    opt_out,
    owed,
    pair_limit,
    propose,
    settle,
    three_queued,
)
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.orm import Session
from statement_world import SEAL

from clearing import participation, rounds
from clearing.accounts import Position, Union, account_of
from clearing.calls import Move, Verb
from clearing.ledger import Journal
from clearing.rounds import Amendment, KeptBack, OptOut, Round, RoundPrice, RoundState, SetOff
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.groups import Hub, HubState

SEVENTY = dict.fromkeys(CIRCLE, 70)
NOTHING = dict.fromkeys(CIRCLE, 0)
CUT_OFF = 9
FEW, FEWEST = 5, 20  # statements of a step; past the last it is committed


def test_until_its_deadline_groups_opt_out_of_a_round_and_it_waits(engine: Engine) -> None:
    open_circle(engine)
    with transaction(engine) as session:
        admit(session, "apart", GROUPS[A])
        session.get_one(Union, "main").round_notice_seconds = 7_200
    with transaction(engine) as session:
        found = rounds.propose(session, notice=None)
        round_id = found.id
        assert found.commit_at - found.proposed_at == timedelta(hours=2)
        assert rounds.due(session) == []
    for end in (commit, lambda engine, _: settle(engine)):
        before = everything(engine)
        with pytest.raises(ConflictError, match="opt out of round"):
            end(engine, round_id)
        assert everything(engine) == before
    for nobody in ("apart", "unknown"):
        with pytest.raises(NotFoundError):
            opt_out(engine, round_id, nobody)
    with pytest.raises(NotFoundError):
        opt_out(engine, uuid.uuid4(), A)
    opt_out(engine, round_id, A)
    opt_out(engine, round_id, A)
    with reading(engine) as session:
        assert session.scalars(select(OptOut.group_id)).all() == [A]
    let_notice_pass(engine, round_id)
    opt_out(engine, round_id, A)  # said before
    with pytest.raises(ConflictError, match="could opt out until"):
        opt_out(engine, round_id, B)
    with reading(engine) as session:
        assert rounds.due(session) == [round_id]
    before = balances(engine)
    done = settle(engine)
    assert (done.id, done.state, done.amended, done.cleared) == (
        round_id, RoundState.COMMITTED, True, 0
    )  # fmt: skip
    assert (cleared(engine, round_id), balances(engine), given(engine)) == (NOTHING, before, 0)
    with pytest.raises(ConflictError, match="is committed"):
        opt_out(engine, round_id, B)
    assert_sound(engine)


@pytest.mark.parametrize("by", [A, B])
@pytest.mark.parametrize(("amount", "left"), [(30 * HOUR, 50), (None, 0), (200 * HOUR, 0)])
def test_what_either_side_keeps_back_stays(
    sqlite_engine: Engine, by: str, amount: int | None, left: int
) -> None:
    open_circle(sqlite_engine)
    with transaction(sqlite_engine) as session:
        ids = {name: account_of(session, name).id for name in (A, B)}
        other = B if by == A else A
        for own, its, kept in ((by, other, amount), (other, by, 10 * HOUR)):
            row = KeptBack(account_id=ids[own], counterparty_id=ids[its], amount=kept)
            session.add(row)
    done = settle(sqlite_engine)
    assert cleared(sqlite_engine, done.id) == dict.fromkeys(CIRCLE, left)
    assert_sound(sqlite_engine)


def leave(session: Session) -> None:
    account_of(session, C).in_rounds = False


def suspend(session: Session) -> None:
    session.execute(update(Hub).where(Hub.group_id == C).values(state=HubState.SUSPENDED))


def freeze(session: Session) -> None:
    participation.freeze(session, C, "the hub is moving")


@pytest.mark.parametrize("stop", [leave, suspend, freeze])
def test_who_takes_no_part_is_left_alone_and_holds_up_nobody(engine: Engine, stop: object) -> None:
    open_circle(engine)
    for payer, payee in ((B, "york"), ("york", A)):
        if payer == B:
            with transaction(engine) as session:
                admit(session, "york", GROUPS[B])
        pay(engine, payer, payee, "15")
    assert callable(stop)
    round_id = propose(engine)
    with transaction(engine) as session:
        stop(session)
    done = commit(engine, round_id)
    if stop is leave:  # who said so later is in this one
        assert (done.amended, done.cleared) == (False, 3 * 70 * HOUR + 3 * 10 * HOUR)
    else:
        assert (done.amended, cleared(engine, round_id)[C, A]) == (True, 0)
        assert 0 < done.cleared <= 3 * 15 * HOUR
    assert_sound(engine)
    pay(engine, A, B, "9")
    done = settle(engine)
    with reading(engine) as session:
        theirs = rounds.rows(session, done, C)
    assert {part.amount for part in theirs} <= {0}
    assert done.cleared > 0
    assert_sound(engine)


def test_spare_credit_lines_are_drawn_where_a_union_allows_it(engine: Engine) -> None:
    open_world(engine)
    pay(engine, A, B, "80")
    pay(engine, B, C, "90")
    pair_limit(engine, A, C, 60)  # all that A may come to owe C, to whom nobody else lends
    assert settle(engine).cleared == 0
    with transaction(engine) as session:
        session.get_one(Union, "main").credit_lines = True
    before = balances(engine)
    with reading(engine) as session:
        without = rounds.preview(session, credit_lines=False)
    round_id = propose(engine)
    assert_sound(engine)
    done = commit(engine, round_id)
    assert without.cleared == 0
    assert (done.cleared, done.drawn, done.credit_lines) == (120 * HOUR, 60 * HOUR, True)
    left = {(o.debtor, o.creditor): o.amount // HOUR for o in owed(engine)}
    assert left == {(A, B): 20, (A, C): 60, (B, C): 30}
    assert (balances(engine), given(engine)) == (before, 0)
    assert_sound(engine)


def test_rounds_of_unions_stand_side_by_side_and_empty_or_unknown_ones_do_no_harm(
    engine: Engine,
) -> None:
    open_circle(engine)
    with transaction(engine) as session:
        for name in ("york", "hull", "bath"):
            admit(session, name, GROUPS[A], "north")
        session.add(Union(id="nobody", created_at=session.get_one(Union, "main").created_at))
    for payer, payee in (("york", "hull"), ("hull", "bath"), ("bath", "york")):
        pay(engine, payer, payee, "5")
    first = propose(engine)
    with transaction(engine) as session:
        second = rounds.propose(session, "north", notice=TWO_DAYS).id
    done, empty = commit(engine, first), settle(engine, "nobody")
    assert (done.cleared, empty.cleared, empty.state) == (
        210 * HOUR, 0, RoundState.COMMITTED
    )  # fmt: skip
    let_notice_pass(engine, second)
    assert settle(engine, "north").cleared == 15 * HOUR
    before = everything(engine)
    with pytest.raises(NotFoundError):
        settle(engine, "unknown")
    with reading(engine) as session, pytest.raises(NotFoundError):
        rounds.preview(session, "unknown")
    assert everything(engine) == before
    assert_sound(engine)


def test_sums_beyond_what_can_be_added_up_are_refused_and_nothing_is_changed(
    engine: Engine,
) -> None:
    open_world(engine)
    with transaction(engine) as session:
        ids = [account_of(session, name).id for name in (A, B, C)]
        for n, one in enumerate(ids):
            for other, sign in ((ids[(n + 1) % 3], -1), (ids[(n + 2) % 3], 1)):
                session.add(
                    Position(
                        account_id=one, counterparty_id=other, amount=sign * 2**61,
                        pending_out=0, given=0,
                    )
                )  # fmt: skip
    before = everything(engine)
    for what in (propose, settle):
        with pytest.raises(InvalidError, match="2\\^62"):
            what(engine)
        assert everything(engine) == before


def test_of_rounds_at_once_one_is_committed_and_every_payment_kept(engine: Engine) -> None:
    open_circle(engine)
    ready, cleared_in, failed = threading.Barrier(6), [], []

    def run(number: int) -> None:
        ready.wait()
        if number % 3 == 0:
            pay(engine, C, A, "1")
            return
        try:
            cleared_in.append(settle(engine).cleared)
        except ConflictError as error:  # pragma: no cover (who comes second finds nothing left)
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(cleared_in) in {210 * HOUR, 213 * HOUR, 216 * HOUR}
    assert balances(engine) == {A: -8 * HOUR, B: -10 * HOUR, C: 18 * HOUR}
    assert_sound(engine)


def everything(engine: Engine) -> object:
    """All that a round can change."""
    found: dict[str, object] = dict(ledger(engine))
    with reading(engine) as session:
        for table in (Journal, Round, SetOff, Amendment, RoundPrice, OptOut):
            found[table.__tablename__] = session.scalar(select(func.count()).select_from(table))
        states = session.execute(select(Round.id, Round.state, Round.commit_at).order_by(Round.id))
        found["states"] = [tuple(row) for row in states]
    return found


def cut_off(engine: Engine, step: str, round_id: uuid.UUID | None, at: int) -> bool:
    """Do a step in a process of its own that ends at its so manyth statement; True if it did."""
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in {0, CUT_OFF}
        return ended == CUT_OFF
    end = 1
    try:
        do_until(make_engine(engine.url.render_as_string(hide_password=False)), step, round_id, at)
        end = 0
    finally:
        os._exit(end)


def do_until(engine: Engine, step: str, round_id: uuid.UUID | None, at: int) -> None:
    seen = iter(range(1, at))

    def count(*_: object) -> None:
        if next(seen, None) is None:
            os._exit(CUT_OFF)

    with transaction(engine) as session:
        event.listen(engine, "before_cursor_execute", count)
        event.listen(engine, "commit", count)
        if step == "propose":
            rounds.propose(session)
        elif round_id is not None and step == "abandon":
            rounds.abandon(session, round_id)
        elif round_id is None:
            rounds.settle(session, "main", SEAL)
        else:
            rounds.commit(session, round_id, SEAL)


@pytest.mark.parametrize("step", ["propose", "commit", "amend", "settle", "abandon"])
def test_a_process_killed_at_any_statement_leaves_no_part_of_a_round(
    engine: Engine, step: str
) -> None:
    open_circle(engine)
    payments = three_queued(engine)
    round_id = propose(engine) if step in {"commit", "amend", "abandon"} else None
    if step == "amend":
        assert call(engine, Move(payments[1].id, B, Verb.CANCEL)).error is None
    before, at = everything(engine), 1
    engine.dispose()
    while cut_off(engine, step, round_id, at):
        assert everything(engine) == before
        engine.dispose()
        at += 1
    assert at > (FEW if step == "abandon" else FEWEST)
    if step == "propose":
        settle(engine)
    with reading(engine) as session:
        found = session.scalars(select(Round)).one()
    if step == "abandon":
        assert (found.state, given(engine)) == (RoundState.ABANDONED, 0)
        found = settle(engine)
    whole = (RoundState.COMMITTED, False, 330 * HOUR, 3)
    if step == "amend":
        assert (found.state, found.amended) == (RoundState.COMMITTED, True)
        assert 0 < found.cleared < 330 * HOUR
    else:
        assert (found.state, found.amended, found.cleared, found.released) == whole
    assert_sound(engine)


NAMES = (A, B, C, "york")
DEBTS = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda p: p[0] != p[1]),
    st.integers(1, 40),
    min_size=3,
)


@settings(max_examples=25)
@over(debts=DEBTS, waiting=DEBTS, out=st.sampled_from(NAMES), limits=st.integers(5, 60))
def test_whoever_opts_out_nobody_is_above_its_proposal(
    sqlite_template: Path,
    debts: dict[tuple[str, str], int],
    waiting: dict[tuple[str, str], int],
    out: str,
    limits: int,
) -> None:
    with tempfile.TemporaryDirectory(dir=databases_folder()) as folder:
        path = Path(folder) / "world.sqlite"
        path.write_bytes(sqlite_template.read_bytes())
        engine = make_engine(f"sqlite:///{path}")
        open_world(engine)
        with transaction(engine) as session:
            admit(session, "york", GROUPS[B])
        for (payer, payee), hours in debts.items():
            pay(engine, payer, payee, str(hours))
        for payer in NAMES:
            for payee in set(NAMES) - {payer}:
                pair_limit(engine, payer, payee, limits)
        for (payer, payee), hours in waiting.items():
            create = push(payer, payee, str(hours), wait=True)
            call(engine, create)
            call(engine, accept(create))
        round_id = propose(engine, TWO_DAYS)
        assert_sound(engine)
        with reading(engine) as session:
            before = {part[:2]: part for part in rounds.parts(session, round_id)}
            took_part = any(out in pair for pair in before)
        if took_part:
            opt_out(engine, round_id, out)
        let_notice_pass(engine, round_id)
        done = commit(engine, round_id)
        with reading(engine) as session:
            after = {part[:2]: part for part in rounds.rows(session, done)}
        assert after.keys() == before.keys()
        for pair, part in after.items():
            assert part.amount <= (0 if took_part and out in pair else before[pair].amount)
        assert given(engine) == 0
        assert_sound(engine)
        engine.dispose()
