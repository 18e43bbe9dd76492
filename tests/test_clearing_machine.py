"""Any sequence of calls keeps every invariant: the service against a plain dictionary."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from uuid import UUID

import pytest
from clearing_world import GROUPS, HOUR, call, open_world, other_hub, push
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
from clearing.accounts import Account, Position, set_limits, set_pair_limit
from clearing.audit import audit
from clearing.calls import Create, Move, Verb, expire_due
from clearing.transfers import Transfer, TransferState
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError, RefusedError
from commons.money import CLEARING_SCALE, format_amount

NAMES = tuple(GROUPS)
PAIRS = st.sampled_from([(a, b) for a in NAMES for b in NAMES if a != b])
HALVES = st.integers(1, 40)  # of an hour: every group's money divides that far
STOPS = st.none() | st.integers(0, 20).map(lambda hours: hours * HOUR)
ENDS = {
    Verb.ACCEPT: TransferState.POSTED,
    Verb.REJECT: TransferState.REJECTED,
    Verb.CANCEL: TransferState.CANCELLED,
}
Pair = tuple[str, str]


@dataclass
class Model:
    """What the ledger should hold, kept the simplest way; amounts in smallest clearing units."""

    position: dict[Pair, int] = field(default_factory=dict)
    state: dict[UUID, TransferState] = field(default_factory=dict)
    amount: dict[UUID, tuple[Pair, int]] = field(default_factory=dict)
    credit: dict[str, int | None] = field(default_factory=dict)
    surplus: dict[str, int | None] = field(default_factory=dict)
    pair_limit: dict[Pair, int | None] = field(default_factory=dict)
    given: dict[Pair, int] = field(default_factory=dict)

    def balance(self, name: str) -> int:
        return sum(amount for (a, _), amount in self.position.items() if a == name)

    def pending(self, matches: Callable[[Pair], bool]) -> int:
        """Sum of the pending transfers whose (payer, payee) matches."""
        return sum(
            amount
            for key, (pair, amount) in self.amount.items()
            if self.state[key] is TransferState.PENDING and matches(pair)
        )

    def used(self, payer: str, payee: str) -> tuple[int, int, int]:
        """What is taken of the payer's line, the payee's surplus line and the pair's."""
        pair = (payer, payee)
        below = self.pending(lambda p: p[0] == payer) - self.balance(payer)
        above = self.pending(lambda p: p[1] == payee) + self.balance(payee)
        owed = max(0, -self.position.get(pair, 0))
        return below, above, owed + self.pending(lambda p: p == pair) + self.given.get(pair, 0)

    def broken(self, payer: str, payee: str, amount: int) -> str | None:
        """The first limit that one more transfer would break."""
        stops = (
            self.credit.get(payer),
            self.surplus.get(payee),
            self.pair_limit.get((payer, payee)),
        )
        names = ("credit_limit", "surplus_limit", "pair_limit")
        for name, stop, used in zip(names, stops, self.used(payer, payee), strict=True):
            if stop is not None and used + amount > stop:
                return name
        return None

    def move(self, debtor: str, creditor: str, amount: int) -> None:
        """Have `debtor` owe `creditor` so much more."""
        self.position[debtor, creditor] = self.position.get((debtor, creditor), 0) - amount
        self.position[creditor, debtor] = self.position.get((creditor, debtor), 0) + amount


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

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @initialize(target=transfers, hours=st.tuples(*[st.integers(1, 9)] * len(NAMES)))
    def pay_in_a_circle(self, hours: tuple[int, ...]) -> MultipleResults[Create]:
        """Begin with something that a round can set off."""
        made: list[Create] = []
        for payer, payee, amount in zip(NAMES, (*NAMES[1:], NAMES[0]), hours, strict=True):
            one = self.create((payer, payee), 2 * amount, requested=False)
            assert isinstance(one, Create)
            self.move(one, Verb.ACCEPT)
            made.append(one)
        return multiple(*made)

    @rule(target=transfers, pair=PAIRS, halves=HALVES, requested=st.booleans())
    def create(self, pair: Pair, halves: int, requested: bool) -> Create:  # noqa: FBT001 (Hypothesis names it)
        """Push or request a transfer."""
        amount = halves * HOUR // 2
        one = push(*pair, format_amount(amount, CLEARING_SCALE))
        if requested:
            one = Create(one.id, pair[1], one.payer, one.payee, one.amount, one.unit)
        broken = self.model.broken(*pair, amount)
        outcome = call(self.engine, one)
        if broken is None:
            assert outcome.error is None
        else:
            assert isinstance(outcome.error, RefusedError)
            assert outcome.error.extra["reason"] == broken
        state = TransferState.PENDING if broken is None else TransferState.REFUSED
        self.model.state[one.id], self.model.amount[one.id] = state, (pair, amount)
        return one

    @rule(one=transfers, verb=st.sampled_from(Verb))
    def move(self, one: Create, verb: Verb) -> None:
        """Accept, reject or cancel, whatever the transfer's state."""
        caller = one.caller if verb is Verb.CANCEL else other_hub(one)
        before = self.model.state[one.id]
        outcome = call(self.engine, Move(one.id, caller, verb))
        if before is TransferState.PENDING:
            self.model.state[one.id] = ENDS[verb]
            if verb is Verb.ACCEPT:
                pair, amount = self.model.amount[one.id]
                self.model.move(*pair, amount)
        if before in {TransferState.PENDING, ENDS[verb]}:
            assert outcome.error is None
        else:
            assert isinstance(outcome.error, ConflictError)

    @rule(one=transfers)
    def retry(self, one: Create) -> None:
        """Send the same again: the answer is the transfer as it stands."""
        outcome = call(self.engine, one)
        assert outcome.transfer is not None
        assert not outcome.created
        assert outcome.transfer.state is self.model.state[one.id]

    @rule(one=transfers)
    def expire(self, one: Create) -> None:
        """Have a pending transfer's time be over; one that has ended is left as it is."""
        pending = self.model.state[one.id] is TransferState.PENDING
        still_pending = (Transfer.id == one.id, Transfer.state == TransferState.PENDING)
        with transaction(self.engine) as session:
            past = datetime(2020, 1, 1, tzinfo=UTC)
            session.execute(update(Transfer).where(*still_pending).values(expires_at=past))
        with transaction(self.engine) as session:
            assert expire_due(session) == int(pending)
        if pending:
            self.model.state[one.id] = TransferState.EXPIRED

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

    @rule()
    def propose(self) -> None:
        """Propose a round, which only one can be."""
        if self.round is not None:
            with transaction(self.engine) as session:
                try:
                    rounds.propose(session)
                except ConflictError:
                    return
            pytest.fail("a second round was proposed")
        with transaction(self.engine) as session:
            self.round = rounds.propose(session).id
            parts = rounds.parts(session, self.round)
        flow = dict.fromkeys(NAMES, 0)
        for part in parts:
            pair = (part.creditor, part.debtor)
            assert part.obligation == self.model.position[pair] > 0
            stop = self.model.pair_limit.get(pair)
            if stop is not None:
                room = max(0, stop - self.model.used(*pair)[2])
                assert part.amount <= room
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
                self.model.move(creditor, debtor, amount)
        assert {name: self.model.balance(name) for name in NAMES} == before
        self.model.given, self.round = {}, None

    @invariant()
    def ledger_is_the_model(self) -> None:
        """Positions, balances and reservations are the dictionary's, and the audit passes."""
        with reading(self.engine) as session:
            assert [p for finding in audit(session) for p in finding.problems] == []
            names = dict(session.execute(select(Account.id, Account.name)).all())
            for account in session.scalars(select(Account)):
                assert account.balance == self.model.balance(account.name)
            found = {
                (names[row.account_id], names[row.counterparty_id]): row.amount
                for row in session.scalars(select(Position))
                if row.amount
            }
            states = dict(session.execute(select(Transfer.id, Transfer.state)).all())
        assert found == {pair: amount for pair, amount in self.model.position.items() if amount}
        assert states == self.model.state


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
            max_examples=40,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
