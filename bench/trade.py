"""Made-up trade as benches want it: what groups owe each other, and ledgers filled with it.

What is realistic in it and what is not stands in `demo.trade`. A ledger is filled through its own
door, so chains verify and the audit holds; what is not so there: who pays has no limits, a payment
is posted the moment it is made, hubs are told nothing (there are no events), and a share of all
payments are made to have ended otherwise, whatever the balances are.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import bulk, transfers
from clearing.accounts import Account, AccountKind
from clearing.ledger import Book, Draft, JournalKind, Line, post
from clearing.transfers import HeldTransfer, Party, ReasonCode, TransferState, Unit
from clearing.transfers.model import TABLE
from commons import database
from commons.money import CLEARING_SCALE, format_amount
from demo.made_up import admit
from demo.trade import Network, Numbers, Payments, amounts, network, trade

__all__ = [
    "Network",
    "Payments",
    "admit",
    "fill_positions",
    "fill_transfers",
    "network",
    "obligations",
    "trade",
]

_LEFT_SHARE: Final = 0.97
_AT_ONCE: Final = 20_000
_LIFE: Final = timedelta(days=7)
_SECOND: Final = timedelta(seconds=1)
_MEMBERS: Final = 40
_FATES: Final = (
    (TransferState.POSTED, 0.955),
    (TransferState.REFUSED, 0.025),
    (TransferState.REJECTED, 0.008),
    (TransferState.CANCELLED, 0.004),
    (TransferState.EXPIRED, 0.008),
)
_LIMITS: Final = ("credit_limit", "pair_limit", "surplus_limit")
_POSTED: Final = 0

Tick = Callable[[int], object]


def obligations(seed: int, groups: int, arcs: int) -> tuple[Numbers, Numbers, Numbers]:
    """Return so many obligations between groups 0 …: debtors, creditors, amounts.

    Each is what is left of a few payments on a tie, in smallest clearing units; no pair is there
    twice. Netting clears 31 % of 94,000 obligations of 38,000 groups, 63 % of 30,000 of 5,000.
    """
    among = network(seed, groups, min(int(arcs / _LEFT_SHARE) + 10, groups * (groups - 1) // 2))
    chance = np.random.default_rng([seed, groups, arcs])
    ties = len(among.one)
    often = 1 + chance.poisson(2 * np.minimum(among.weight, 20))
    tie = np.repeat(np.arange(ties), often)
    sign = np.where(chance.random(len(tie)) < among.share[tie], 1, -1)
    moved = np.zeros(ties, dtype=np.int64)
    np.add.at(moved, tie, sign * amounts(chance, len(tie)))
    left = np.sort(chance.permutation(np.flatnonzero(moved))[:arcs])
    if len(left) < arcs:
        raise ValueError(f"no {arcs} obligations between {groups} groups")
    paid = moved[left] > 0
    one, other = among.one[left], among.other[left]
    return np.where(paid, one, other), np.where(paid, other, one), np.abs(moved[left])


def fill_positions(
    session: Session,
    union_id: str,
    groups: int,
    owed: tuple[Numbers, Numbers, Numbers],
    tick: Tick = lambda _done: None,
) -> None:
    """Admit made-up groups and have them owe each other what `obligations` returned.

    Each obligation is one payment of the moment. `tick` is told of every few that were posted.
    """
    names = admit(session, union_id, groups)
    debtor, creditor, amount = owed
    made = Payments(np.zeros(len(amount), dtype=np.int64), debtor, creditor, amount)
    fates = np.full(len(made), _POSTED)
    _fill(session, union_id, names, made, fates, database.now(session), tick)


def fill_transfers(  # noqa: PLR0913, PLR0917 (what a year's trade is made of)
    session: Session,
    union_id: str,
    among: Network,
    made: Payments,
    start: datetime,
    tick: Tick = lambda _done: None,
) -> None:
    """Admit the groups of a network and write their payments, the first day of which is `start`'s.

    All must lie in the past. Of them 95.5 % are posted; the others were refused, rejected,
    cancelled or expired. `tick` is told of every few that were written.
    """
    names = admit(session, union_id, among, start)
    chance = np.random.default_rng([len(made), among.groups])
    fates = chance.choice(len(_FATES), len(made), p=[share for _, share in _FATES])
    _fill(session, union_id, names, made, fates, start, tick)


def _fill(  # noqa: PLR0913, PLR0917 (as above)
    session: Session,
    union_id: str,
    names: Sequence[str],
    made: Payments,
    fates: Numbers,
    start: datetime,
    tick: Tick,
) -> None:
    own = select(Account.group_id, Account.id).where(
        Account.kind == AccountKind.GROUP, Account.union_id == union_id
    )
    accounts = {group: account for group, account in session.execute(own) if group is not None}
    drafted = _transfers(union_id, names, made, fates, start)
    collects = gc.isenabled()
    gc.disable()  # nothing here goes in circles, and to look for it takes half of the time
    try:
        for first in range(0, len(made), _AT_ONCE):
            size = min(_AT_ONCE, len(made) - first)
            _write(session, accounts, [next(drafted) for _ in range(size)])
            tick(size)
    finally:
        if collects:
            gc.enable()


def _write(session: Session, accounts: Mapping[str, int], made: Sequence[HeldTransfer]) -> None:
    """Write transfers, and post those that are posted."""
    posted = [one for one in made if one.state is TransferState.POSTED]
    book = Book.lock(session, {(accounts[t.payer_group], accounts[t.payee_group]) for t in posted})
    columns = HeldTransfer.__slots__
    bulk.insert_rows(session, TABLE, columns, [[getattr(t, c) for c in columns] for t in made])
    for one in posted:
        payer, payee = accounts[one.payer_group], accounts[one.payee_group]
        amount, digest = one.payee_clearing, transfers.content_digest(one)
        entries = [(payer, payee, -amount), (payee, payer, amount)]
        lines = [Line(payer, one.payee_group, digest), Line(payee, one.payer_group, digest)]
        post(book, Draft(one.id, JournalKind.PAYMENT, entries, lines), one.created_at)
    book.write()


def _transfers(
    union_id: str, names: Sequence[str], made: Payments, fates: Numbers, start: datetime
) -> Iterator[HeldTransfer]:
    """Yield the payments as transfers, of members of whom some pay far more often than others."""
    chance = np.random.default_rng([len(made), len(names), 2])
    member = (_MEMBERS * chance.random((2, len(made))) ** 2).astype(np.int64)
    reasons = chance.integers(0, len(_LIMITS), len(made))
    codes = list(ReasonCode)
    columns = (made.second, made.payer, made.payee, made.amount, fates, reasons, *member)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    key = chance.bytes(32)
    for number, (second, payer, payee, amount, fate, reason, paying, paid) in enumerate(rows):
        moment, state = start + second * _SECOND, _FATES[fate][0]
        one = HeldTransfer(
            id=_id(moment, number),
            union_id=union_id,
            state=state,
            reserved=state not in {TransferState.POSTED, TransferState.REFUSED},
            initiator=Party.PAYER,
            payer_group=names[payer],
            payee_group=names[payee],
            payer_member=f"member-{paying + 1}",
            payee_member=f"member-{paid + 1}",
            description="",
            amount=format_amount(amount, CLEARING_SCALE),
            unit=Unit.CLEARING,
            payer_amount=amount,
            payee_amount=amount,
            payer_clearing=amount,
            payee_clearing=amount,
            payer_rate="1/1",
            payee_rate="1/1",
            key=key,
            request_digest="0" * 64,
            created_at=moment,
            expires_at=moment + _LIFE,
            ended_at=moment,
        )
        if state is TransferState.REFUSED:
            one.reason, one.available = _LIMITS[reason], amount // 2
        elif state is TransferState.REJECTED:
            one.reason_code = codes[reason]
        elif state is TransferState.EXPIRED:
            one.ended_at = one.expires_at
        yield one


def _id(moment: datetime, number: int) -> UUID:
    """Return an id of the seventh version: ids that follow each other are written far faster."""
    milliseconds = int(moment.timestamp() * 1_000)
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number)
