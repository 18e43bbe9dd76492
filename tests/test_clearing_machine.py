"""Any sequence of calls keeps every invariant: the service against a plain dictionary."""

import os
import tempfile
import uuid
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import pytest
from clearing_model import NAMES, Model, Pair
from clearing_world import HOUR, open_world, other_hub, push
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, update

from clearing import rounds
from clearing.acceptance import ANY_GROUP, Rule, set_rules
from clearing.accounts import Account, Position, set_limits, set_pair_limit
from clearing.audit import audit
from clearing.calls import (
    Call,
    Create,
    Move,
    Outcome,
    Reverse,
    Verb,
    expire_due,
    handle,
    release_queued,
)
from clearing.transfers import Party, Transfer, TransferState
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError
from commons.money import CLEARING_SCALE, format_amount

PAIRS = st.sampled_from([(a, b) for a in NAMES for b in NAMES if a != b])
HALVES = st.integers(1, 40)  # of an hour: every group's money divides that far
STOPS = st.none() | st.integers(0, 20).map(lambda hours: hours * HOUR)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
SEARCHES = os.environ.get("HYPOTHESIS_PROFILE") == "search"
EXAMPLES, STEPS, AUDITED_EACH = (500, 50, 1) if SEARCHES else (25, 30, 6)
IN_HALVES = {"barcelona": (500, 2), "leeds": (50, 2), "ghent": (1, 0)}
"""What half an hour is in smallest units of each group, and how many decimals that has."""


class LostPowerError(Exception):
    """What ends a transaction before its commit."""


def payment(pair: Pair, halves: int, *, requested: bool = False, wait: bool = False) -> Create:
    """Return a push, or the payee's hub's request; only who pushes may say that it waits."""
    one = push(*pair, format_amount(halves * HOUR // 2, CLEARING_SCALE))
    caller = pair[1] if requested else pair[0]
    return Create(
        one.id, caller, one.payer, one.payee, one.amount, one.unit, wait=wait and not requested
    )


class ClearingMachine(RuleBasedStateMachine):
    """Calls a real service on SQLite and a dictionary the same way."""

    template: ClassVar[Path]
    transfers = Bundle("transfers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "machine.sqlite"
        path.write_bytes(self.template.read_bytes())
        self.engine: Engine = make_engine(f"sqlite:///{path}")
        self.model = Model()
        self.round: UUID | None = None
        self.steps = 0

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    def calls(self, *calls: Call, atomic: bool = False) -> list[Outcome]:
        """Call both, and compare what each call came to."""
        before = deepcopy(self.model)
        expected = [self.model.take(call) for call in calls]
        if atomic and any(expected):
            self.model = before
        with transaction(self.engine) as session:
            outcomes = handle(session, calls, atomic=atomic)
        if atomic and any(expected):
            assert all(outcome.error is not None for outcome in outcomes)
            assert not any(outcome.created for outcome in outcomes)
        else:
            errors = [None if one.error is None else type(one.error) for one in outcomes]
            assert errors == expected
        return outcomes

    @initialize(target=transfers, hours=st.tuples(*[st.integers(1, 9)] * len(NAMES)))
    def pay_in_a_circle(self, hours: tuple[int, ...]) -> MultipleResults[Create]:
        """Begin with something that a round can set off."""
        made: list[Create] = []
        for payer, payee, amount in zip(NAMES, (*NAMES[1:], NAMES[0]), hours, strict=True):
            made.append(payment((payer, payee), 2 * amount))
            self.calls(made[-1], Move(made[-1].id, payee, Verb.ACCEPT))
        return multiple(*made)

    @rule(
        target=transfers,
        pair=PAIRS,
        halves=HALVES,
        requested=st.booleans(),
        wait=st.booleans(),
    )
    def create(self, pair: Pair, halves: int, requested: bool, wait: bool) -> Create:  # noqa: FBT001 (Hypothesis names it)
        """Push or request a transfer."""
        one = payment(pair, halves, requested=requested, wait=wait)
        outcome = self.calls(one)[0]
        assert outcome.transfer is not None
        assert outcome.created
        return one

    @rule(
        target=transfers,
        wanted=st.lists(st.tuples(PAIRS, HALVES), min_size=2, max_size=4),
        atomic=st.booleans(),
        verb=st.sampled_from(Verb),
    )
    def batch(
        self,
        wanted: list[tuple[Pair, int]],
        atomic: bool,  # noqa: FBT001 (Hypothesis names it)
        verb: Verb,
    ) -> MultipleResults[Create]:
        """Make several at once and move the first on; wholly or not, or each for itself."""
        made = [payment(pair, halves) for pair, halves in wanted]
        caller = made[0].caller if verb is Verb.CANCEL else other_hub(made[0])
        self.calls(*made, Move(made[0].id, caller, verb), atomic=atomic)
        return multiple(*(one for one in made if one.id in self.model.transfers))

    @rule(one=transfers, verb=st.sampled_from(Verb), wait=st.booleans())
    def move(self, one: Create, verb: Verb, wait: bool) -> None:  # noqa: FBT001 (Hypothesis names it)
        """Accept, reject or cancel, whatever the transfer's state."""
        caller = one.caller if verb is Verb.CANCEL else other_hub(one)
        is_payers = caller == one.payer.partition("/")[0]
        waits = wait and verb is Verb.ACCEPT and is_payers
        self.calls(Move(one.id, caller, verb, wait=waits))

    @rule(
        one=transfers,
        by=st.sampled_from([Party.PAYER, Party.PAYEE, None]),
        halves=st.none() | HALVES,
        verb=st.sampled_from([*Verb, None]),
    )
    def reverse(self, one: Create, by: Party | None, halves: int | None, verb: Verb | None) -> None:
        """Take a transfer back, whole or in part, and go on with that as a hub would."""
        payer, payee = one.payer.partition("/")[0], one.payee.partition("/")[0]
        caller = None if by is None else (payer if by is Party.PAYER else payee)
        minor, scale = IN_HALVES[payee]
        amount = None if halves is None else format_amount(halves * minor, scale)
        back = Reverse(uuid.uuid4(), caller, one.id, amount)
        outcome = self.calls(back)[0]
        if verb is None or caller is None or back.id not in self.model.transfers:
            return
        assert outcome.transfer is not None
        other = payee if caller == payer else payer
        self.calls(Move(back.id, caller if verb is Verb.CANCEL else other, verb))
        self.calls(back)  # and asked again it is answered again

    @rule(one=transfers)
    def retry(self, one: Create) -> None:
        """Send the same again: the answer is the transfer as it stands."""
        outcome = self.calls(one)[0]
        assert outcome.transfer is not None
        assert not outcome.created
        assert outcome.transfer.state is self.model.transfers[one.id].state

    @rule(one=transfers)
    def retry_otherwise(self, one: Create) -> None:
        """Send another body under the same id: a conflict, and nothing is done."""
        changed = Create(one.id, one.caller, one.payer, one.payee, "0.5", one.unit, "Otherwise")
        with transaction(self.engine) as session:
            assert isinstance(handle(session, [changed])[0].error, ConflictError)

    @rule(pair=PAIRS, halves=HALVES)
    def lose_power(self, pair: Pair, halves: int) -> None:
        """End before the commit: nothing of it is there, and the service opens again."""
        one = payment(pair, halves)
        with suppress(LostPowerError), transaction(self.engine) as session:
            handle(session, [one, Move(one.id, pair[1], Verb.ACCEPT)])
            raise LostPowerError
        url = self.engine.url
        self.engine.dispose()
        self.engine = make_engine(url.render_as_string())

    @rule(one=transfers)
    def expire(self, one: Create) -> None:
        """Have an open transfer's time be over; one that has ended is left as it is."""
        known = self.model.transfers[one.id]
        still_open = (Transfer.id == one.id, Transfer.ended_at.is_(None))
        with transaction(self.engine) as session:
            session.execute(update(Transfer).where(*still_open).values(expires_at=PAST))
        with transaction(self.engine) as session:
            assert expire_due(session) == int(known.is_open)
        if known.is_open:
            known.state = TransferState.EXPIRED

    @rule()
    def release(self) -> None:
        """Post what waits and has room, what waited longer first."""
        expected = self.model.release()
        with transaction(self.engine) as session:
            assert release_queued(session) == expected

    @rule(name=st.sampled_from(NAMES), credit=STOPS, surplus=STOPS)
    def change_limits(self, name: str, credit: int | None, surplus: int | None) -> None:
        """Set an account's limits, also below what is used."""
        with transaction(self.engine) as session:
            set_limits(session, name, credit, surplus)
        self.model.credit[name], self.model.surplus[name] = credit, surplus

    @rule(pair=PAIRS, stop=STOPS)
    def change_pair_limit(self, pair: Pair, stop: int | None) -> None:
        """Set how much one group may owe another."""
        with transaction(self.engine) as session:
            set_pair_limit(session, *pair, stop)
        self.model.pair_limit[pair] = stop

    @rule(
        pair=PAIRS,
        initiator=st.sampled_from(Party),
        halves=HALVES,
        anybody=st.booleans(),
    )
    def change_rules(self, pair: Pair, initiator: Party, halves: int, anybody: bool) -> None:  # noqa: FBT001 (Hypothesis names it)
        """Have a hub accept at once what another makes, up to an amount."""
        other = ANY_GROUP if anybody else pair[1]
        up_to = halves * IN_HALVES[pair[0]][0]
        with transaction(self.engine) as session:
            set_rules(session, pair[0], [Rule(initiator, other, up_to)])
        self.model.rules[pair[0]] = (initiator, other, halves * HOUR // 2)

    @rule()
    def propose(self) -> None:
        """Propose a round, which only one can be."""
        if self.round is not None:
            with transaction(self.engine) as session, pytest.raises(ConflictError):
                rounds.propose(session)
            return
        with transaction(self.engine) as session:
            self.round = rounds.propose(session).id
            parts = rounds.parts(session, self.round)
        flow = dict.fromkeys(NAMES, 0)
        for part in parts:
            pair = (part.creditor, part.debtor)
            assert part.obligation == self.model.position[pair] > 0
            stop = self.model.pair_limit.get(pair)
            if stop is not None:
                assert part.amount <= max(0, stop - self.model.used(*pair)[2])
            self.model.given[pair] = part.amount
            flow[part.debtor] += part.amount
            flow[part.creditor] -= part.amount
        assert set(flow.values()) == {0}

    @precondition(lambda self: self.round is not None)
    @rule(committed=st.booleans())
    def end_round(self, committed: bool) -> None:  # noqa: FBT001 (Hypothesis names it)
        """Commit or abandon the proposed round."""
        assert self.round is not None
        before = {name: self.model.balance(name) for name in NAMES}
        with transaction(self.engine) as session:
            (rounds.commit if committed else rounds.abandon)(session, self.round)
        for (creditor, debtor), amount in self.model.given.items():
            if committed:
                self.model.owe(creditor, debtor, amount)
        assert {name: self.model.balance(name) for name in NAMES} == before
        self.model.given, self.round = {}, None

    @invariant()
    def ledger_is_the_model(self) -> None:
        """Positions, balances and reservations are the dictionary's; at times all is audited."""
        model = self.model
        with reading(self.engine) as session:
            self.steps += 1
            if self.steps % AUDITED_EACH == 0:
                assert [p for finding in audit(session) for p in finding.problems] == []
            names = dict(session.execute(select(Account.id, Account.name)).all())
            for account in session.scalars(select(Account)):
                assert account.balance == model.balance(account.name)
                reserved = account.pending_out, account.pending_in
                assert reserved == (model.out_of(account.name), model.into(account.name))
            found = {
                (names[row.account_id], names[row.counterparty_id]): row.amount
                for row in session.scalars(select(Position))
                if row.amount
            }
            rows = session.execute(select(Transfer.id, Transfer.state, Transfer.reversed_amount))
            states = {key: (state, bool(taken_back)) for key, state, taken_back in rows}
        assert found == {pair: amount for pair, amount in model.position.items() if amount}
        assert states == {
            key: (one.state, one.taken_back > 0) for key, one in model.transfers.items()
        }


def test_any_sequence_of_calls_keeps_every_invariant(sqlite_template: Path, tmp_path: Path) -> None:
    template = tmp_path / "world.sqlite"
    template.write_bytes(sqlite_template.read_bytes())
    engine = make_engine(f"sqlite:///{template}")
    open_world(engine)
    engine.dispose()
    ClearingMachine.template = template
    run_state_machine_as_test(
        ClearingMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
