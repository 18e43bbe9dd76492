"""Payments, adjustments, levies, disputes, rounds, closings in any order: the books stay whole."""

import uuid
from datetime import date, timedelta
from fractions import Fraction
from functools import cache
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clearing_world import GROUPS, accept, assert_sound, balances, call, open_world, push
from conftest import databases_folder, disposed
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from journal_world import close, dispute, mark, move, positions, proposal, propose
from sqlalchemy import Engine

from api.migrations import upgrade
from clearing import disputes, rounds
from clearing.accounts import AccountKind, union_account
from clearing.adjustments import AdjustmentView
from clearing.calls import Reverse
from clearing.levies import LevyChange
from commons import database
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError
from commons.money import CLEARING_SCALE, format_amount

LONG_AGO = date(2001, 1, 1)
OWN = ("levy", "commons")
two = st.sampled_from(sorted(permutations(GROUPS, 2)))
amount = st.integers(1, 10**6).map(lambda minor: f"{minor // 10**4}.{minor % 10**4:04}")


@cache
def template() -> bytes:
    """Return a database in which the three groups are admitted, made once."""
    with TemporaryDirectory(dir=databases_folder()) as folder:
        path = Path(folder) / "localpay.sqlite"
        upgrade(f"sqlite:///{path}")
        with disposed(make_engine(f"sqlite:///{path}")) as engine:
            open_world(engine)
            with transaction(engine) as session:
                for kind in (AccountKind.LEVY, AccountKind.COMMONS):
                    union_account(session, "main", kind)
        return path.read_bytes()


class Journals(RuleBasedStateMachine):
    """One union; the oracle is a dictionary of balances that knows nothing of positions."""

    adjustments = Bundle("adjustments")
    disputed = Bundle("disputed")
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(dir=databases_folder())
        path = Path(self.folder.name) / "localpay.sqlite"
        path.write_bytes(template())
        self.engine: Engine = make_engine(f"sqlite:///{path}")
        self.expected: dict[str, int] = {}
        self.answered: set[uuid.UUID] = set()
        self.taken_back: set[uuid.UUID] = set()
        self.days = 0
        self.share = Fraction(0)

    def teardown(self) -> None:
        assert_sound(self.engine)
        self.engine.dispose()
        self.folder.cleanup()

    def moved(self, debtor: str, creditor: str, minor: int) -> None:
        for name, change in ((debtor, -minor), (creditor, minor)):
            self.expected[name] = self.expected.get(name, 0) + change

    @rule(target=payments, groups=two, hours=amount)
    def pay(self, groups: tuple[str, str], hours: str) -> Any:  # noqa: ANN401
        payer, payee = groups
        create = push(payer, payee, hours)
        made = call(self.engine, create)
        if made.error is not None:  # so small that the payee would get nothing
            return None
        paid = call(self.engine, accept(create)).transfer
        assert paid is not None
        out, into = minor(paid.payer_clearing), minor(paid.payee_clearing)
        parts = {payee: into, f"residue/{payee}": out - into, "levy": int(out * self.share)}
        for name, part in parts.items():
            self.moved(payer, name, part)
        return create.id, payer, parts

    @rule(payment=payments)
    def take_back(self, payment: Any) -> None:  # noqa: ANN401
        """Reverse a payment wholly, as the operator; a second time is refused."""
        if payment is None:
            return
        transfer_id, payer, parts = payment
        done = call(self.engine, Reverse(uuid.uuid4(), None, transfer_id))
        assert (done.error is None) == (transfer_id not in self.taken_back)
        if done.error is None:
            self.taken_back.add(transfer_id)
            for name, part in parts.items():
                self.moved(name, payer, part)

    @rule(share=st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 100)]))
    def take_a_levy(self, share: Fraction) -> None:
        """Have another rule apply from now on, as if it had been known long enough."""
        with transaction(self.engine) as session:
            moment = database.now(session)
            text = None if not share else str(share)
            session.add(
                LevyChange(union_id="main", share=text, valid_from=moment, known_from=moment)
            )
        self.share = share

    @rule(groups=two, hours=amount)
    def open_position(self, groups: tuple[str, str], hours: str) -> None:
        debtor, creditor = groups
        call = proposal(debtor, "opening", debtor, creditor, hours)
        propose(self.engine, call)
        move(self.engine, call.id, creditor, "agree")
        self.moved(debtor, creditor, minor(hours))

    @rule(
        target=adjustments,
        kind=st.sampled_from(["settlement", "assignment"]),
        which=st.integers(0, 20),
        tenths=st.integers(1, 10),
        answer=st.sampled_from(["agree", "decline", None]),
    )
    def change_what_is_owed(
        self, kind: str, which: int, tenths: int, answer: str | None
    ) -> AdjustmentView | None:
        """Propose to settle or assign part of some debt, of which some may be disputed."""
        owed = sorted(
            (pair, total)
            for pair, total in positions(self.engine).items()
            if not any(name.startswith("residue/") for name in pair)
        )
        if not owed:
            return None
        (creditor, debtor), total = owed[which % len(owed)]
        caller = next(name for name in (debtor, creditor) if name not in OWN)
        if {debtor, creditor} & set(OWN):
            kind = "settlement"
        part = format_amount(-(-total * tenths // 10), CLEARING_SCALE)
        try:
            one = propose(self.engine, proposal(caller, kind, debtor, creditor, part))
        except ConflictError:  # it is disputed
            return None
        if answer:
            self.answer(one, answer)
        return one

    @rule(one=adjustments)
    def agree_late(self, one: AdjustmentView | None) -> None:
        if one is not None and one.id not in self.answered:
            self.answer(one, "agree")

    def answer(self, one: AdjustmentView, verb: str) -> None:
        other = one.creditor if one.proposed_by == one.debtor else one.debtor
        before = positions(self.engine)
        try:
            done = move(self.engine, one.id, None if other in OWN else other, verb)
        except ConflictError:  # so much is not owed any more
            assert positions(self.engine) == before
            return
        self.answered.add(one.id)
        if verb == "decline":
            assert positions(self.engine) == before
        elif done.kind == "settlement":
            self.moved(one.creditor, one.debtor, minor(one.amount))

    @rule(target=disputed, groups=two, hours=amount)
    def mark(self, groups: tuple[str, str], hours: str) -> Any:  # noqa: ANN401
        debtor, creditor = groups
        try:
            return mark(self.engine, dispute(debtor, debtor, creditor, hours))
        except ConflictError:
            return None

    @rule(one=disputed)
    def lift(self, one: Any) -> None:  # noqa: ANN401
        if one is not None:
            with transaction(self.engine) as session:
                disputes.lift(session, one.id, one.marked_by)

    @rule()
    def settle(self) -> None:
        with transaction(self.engine) as session:
            rounds.commit(session, rounds.propose(session).id)

    @rule()
    def close(self) -> None:
        self.days += 1
        close(self.engine, LONG_AGO + timedelta(days=self.days))
        for name in GROUPS:
            self.moved(f"residue/{name}", name, self.expected.get(f"residue/{name}", 0))
        owed = positions(self.engine)
        assert not [pair for pair in owed if any(name.startswith("residue/") for name in pair)]

    @invariant()
    def the_balances_are_those_of_the_dictionary(self) -> None:
        assert balances(self.engine) == {k: v for k, v in self.expected.items() if v}
        assert sum(self.expected.values()) == 0
        with reading(self.engine) as session:
            standing = disputes.standing(session, "main")
        assert all(total > 0 for total in standing.values())


def minor(text: str) -> int:
    return int(text.replace(".", ""))


TestJournals = Journals.TestCase
TestJournals.settings = settings(
    max_examples=15,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
