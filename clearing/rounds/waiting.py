"""The queue as a round sees it: agreed payments that wait for room, oldest first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Row, ScalarSelect, exists, func, select
from sqlalchemy.orm import Session

from clearing.accounts import AccountKind
from clearing.calls.ids import taken
from clearing.netting.matrix import Matrix, Waiting, addable
from clearing.periods import PeriodEnd
from clearing.rounds.model import Candidate, Round, RoundState
from clearing.rounds.rows import Queued
from clearing.rounds.snapshot import Numbering, barred
from clearing.transfers import Transfer, TransferState, levy_journal
from commons import database

PASSED_OVER: Final = 3
"""Who was passed over by so many committed rounds comes first in the next."""

MOST_CANDIDATES: Final = 5_000
"""How many payments a round chooses among at most, since the choice holds a union's locks."""

_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class Line:
    """The queue of a union: payments by name, and the same by their accounts' places."""

    queued: Sequence[Queued]
    waiting: Sequence[Waiting]

    @property
    def touched(self) -> list[tuple[int, int]]:
        """All pairs of places between which one of them makes something owed."""
        return [(debtor, creditor) for one in self.waiting for debtor, creditor, _ in one.owed]

    def addable(self, matrix: Matrix) -> "Line":
        """Return the line without those that cannot be added up with what is owed."""
        places = addable(matrix, self.waiting)
        queued = [self.queued[at]._replace(place=number) for number, at in enumerate(places)]
        return Line(queued, [self.waiting[at] for at in places])


def read_line(session: Session, union_id: str, numbering: Numbering) -> Line:
    """Return the queued payments of a union that could be posted if they had room, oldest first.

    What has expired, counts for a closed period, has an account that takes no part in rounds, or
    an id that something else has, is not among them. `MOST_CANDIDATES` at most: those that were
    passed over so often that they come first, then those that have waited longest.
    """
    desk = _Desk.open(session, union_id, numbering)
    found = list(islice(_free(session, union_id, desk), MOST_CANDIDATES))
    found.sort(key=lambda row: (row.queued_at, row.id))
    queued = [
        Queued(row.id, row.payer_group, row.payee_group, row.payee_clearing, place, row.first,
               False, False)  # noqa: FBT003 (a named tuple's)
        for place, row in enumerate(found)
    ]  # fmt: skip
    return Line(queued, [desk.waiting(row) for row in found])


def _free(session: Session, union_id: str, desk: "_Desk") -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield those that a round may choose among, in the order in which they are considered.

    What cannot be chosen stands in nobody's way, however much there is of it.
    """
    c = Transfer
    first = (_passed_over() >= PASSED_OVER).label("first")
    query = (
        select(
            c.id, c.queued_at, c.payer_group, c.payee_group, c.payer_clearing, c.payee_clearing,
            c.levy, first,
        )
        .where(
            c.union_id == union_id,
            c.state == TransferState.QUEUED,
            c.reverses.is_(None),
            c.expires_at > database.now(session),
            ~exists().where(PeriodEnd.union_id == union_id, PeriodEnd.until >= c.value_date),
        )
        .order_by(first.desc(), c.queued_at, c.id)
        .execution_options(yield_per=_AT_ONCE)
    )  # fmt: skip
    with session.execute(query) as result:
        for rows in result.partitions():
            able = [row for row in rows if desk.may_pay(row.payer_group, row.payee_group)]
            blocked = taken(session, [row.id for row in able], levied=True)
            for row in able:
                if blocked.isdisjoint((row.id, levy_journal(row.id))):
                    yield row


def _passed_over() -> ScalarSelect[int]:
    """Return how many committed rounds could have released a payment and did not propose to.

    One that was proposed and not released was spoilt by what its own groups did meanwhile, or by
    what was needed with it: that gives it no claim before others.
    """
    return (
        select(func.count())
        .select_from(Candidate)
        .join(Round, Round.id == Candidate.round_id)
        .where(
            Candidate.transfer_id == Transfer.id,
            Candidate.proposed.is_(False),
            Round.state == RoundState.COMMITTED,
        )
        .correlate(Transfer)
        .scalar_subquery()
    )


@dataclass(frozen=True)
class _Desk:
    """The accounts that payments of a union touch, by their places."""

    own: Mapping[str, int]
    residues: Mapping[str, int]
    levy: int | None
    barred: frozenset[int]

    @classmethod
    def open(cls, session: Session, union_id: str, numbering: Numbering) -> "_Desk":
        own: dict[str, int] = {}
        residues: dict[str, int] = {}
        for place, account in enumerate(numbering.accounts):
            if account.group_id is not None:
                of = own if account.kind is AccountKind.GROUP else residues
                of[account.group_id] = place
        kinds = {account.kind: place for place, account in enumerate(numbering.accounts)}
        out = barred(session, union_id, for_good=False)
        places = (place for place, one in enumerate(numbering.accounts) if one.id in out)
        return cls(own, residues, kinds.get(AccountKind.LEVY), frozenset(places))

    def may_pay(self, payer: str, payee: str) -> bool:
        """Tell whether both take part in rounds; one that joined just now does not yet."""
        sides = [self.own.get(payer), self.own.get(payee)]
        return all(side is not None and side not in self.barred for side in sides)

    def waiting(self, row: Row[*tuple[Any, ...]]) -> Waiting:
        """Return a queued payment as a choice sees it."""
        debtor, payee, entries = self.own[row.payer_group], row.payee_group, []
        out, into = row.payer_clearing, row.payee_clearing
        if out > into:
            entries.append((debtor, self.residues[payee], out - into))
        if row.levy:
            assert self.levy is not None  # noqa: S101 (a levy has an account)
            entries.append((debtor, self.levy, row.levy))
        whole = tuple(entries)
        return Waiting(debtor, self.own[payee], out + row.levy, into, into, whole, first=row.first)
