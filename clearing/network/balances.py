"""Balances as of a moment: how much of their lines groups use, and how they stand."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session

from clearing.accounts import Account, AccountKind, AccountStatus
from clearing.network.answers import Answer, Asked, Cell, Column, Grain
from clearing.network.nodes import NAMED, UNION, Node, labels, nodes, rows_of
from clearing.network.numbers import money, share
from clearing.network.then import before

_BALANCES: Final = (
    Column("balance", "clearing units", "What is owed to it less what it owes."),
    Column("residue", "clearing units", "The same of the accounts that take its rounding."),
)
_PENDING: Final = (
    Column("pending_out", "clearing units", "What pending payments may yet take."),
    Column("pending_in", "clearing units", "What pending payments may yet bring."),
)
_LIMITS: Final = (
    Column("credit_limit", "clearing units", "How far below zero it may go; none: no limit."),
    Column("credit_in_use", "share", "How much of that is used, pending counted."),
    Column("surplus_limit", "clearing units", "How far above zero it may go; none: no limit."),
    Column("surplus_in_use", "share", "How much of that is used, pending counted."),
)
_OF_GROUP: Final = (
    *_BALANCES,
    *_PENDING,
    *_LIMITS,
    Column("status", "word", "ok, alert (beyond half of a limit or a warning) or over."),
)
_OF_MANY: Final = (
    Column("accounts", "number", "Groups that had a limit or an entry by then."),
    *_BALANCES,
    Column("owed", "clearing units", "The balances above zero."),
    Column("owing", "clearing units", "The balances below zero, as a positive number."),
    *_PENDING,
    Column("credit_limit", "clearing units", "The credit limits that are set."),
    Column("credit_in_use", "share", "How much of these is used, pending counted."),
    Column("surplus_limit", "clearing units", "The surplus limits that are set."),
    Column("surplus_in_use", "share", "How much of these is used, pending counted."),
    Column("ok", "number", "Groups that are well within their limits."),
    Column("alert", "number", "Groups beyond half of a limit, or beyond a warning."),
    Column("over", "number", "Groups beyond a limit."),
)


@dataclass
class _Sum:
    """Accounts summed up, in smallest clearing units."""

    balance: int = 0
    residue: int = 0
    owed: int = 0
    owing: int = 0
    pending_out: int = 0
    pending_in: int = 0
    limits: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    statuses: Counter[AccountStatus] = field(default_factory=Counter)

    def add(self, node: Node, account: Account) -> None:
        if not node.is_main:
            self.residue += account.balance
            return
        self.balance += account.balance
        self.owed += max(0, account.balance)
        self.owing += max(0, -account.balance)
        self.pending_out += account.pending_out
        self.pending_in += account.pending_in
        if node.kind is AccountKind.GROUP:
            self.statuses[account.status()] += 1
        for name, stop, used in _uses(account):
            if stop is not None:
                self.limits[name] += stop
                self.used[name] += used

    def in_use(self, name: str) -> tuple[Cell, Cell]:
        """Return the limits of a kind that are set, and how much of them is used; None of none."""
        if name not in self.limits:
            return None, None
        return money(self.limits[name]), share(self.used[name], self.limits[name])

    def cells(self) -> Sequence[Cell]:
        """Return the cells of a region or union."""
        return (
            self.statuses.total(),
            *map(money, (self.balance, self.residue, self.owed, self.owing)),
            *map(money, (self.pending_out, self.pending_in)),
            *self.in_use("credit"),
            *self.in_use("surplus"),
            *(self.statuses[status] for status in AccountStatus),
        )

    def of_one(self) -> Sequence[Cell]:
        """Return the cells of one group, or of one of the union's own accounts."""
        return (
            *map(money, (self.balance, self.residue, self.pending_out, self.pending_in)),
            *self.in_use("credit"),
            *self.in_use("surplus"),
            next((str(status) for status in self.statuses), None),
        )


def _uses(account: Account) -> Iterator[tuple[str, int | None, int]]:
    yield "credit", account.credit_limit, max(0, account.used_below())
    yield "surplus", account.surplus_limit, max(0, account.used_above())


def balances(session: Session, asked: Asked) -> Answer:
    """Balances, the limits then and how much of them was in use, as of a moment.

    Formula: balance b(i) = Σ of all entries of i; credit in use = max(0, pending out - b) ÷ credit
    limit, surplus in use = max(0, b + pending in) ÷ surplus limit; of regions and unions Σ ÷ Σ over
    the limits that are set. All balances of a union, residues counted, add up to 0.
    Unit: clearing units; what is in use is a share of 1.
    Source: chain rows, changes of limits, and the times of transfers, all before the moment.
    """
    found = nodes(session, asked)
    then = before(session, asked.union_id, found, asked.end).accounts
    there = [node for node in found if node.id in then]
    keys, place = labels(there, asked)
    sums = [_Sum() for _ in keys]
    for node, at in zip(there, place, strict=True):
        sums[at].add(node, then[node.id])
    is_single = asked.by is Grain.GROUP
    cells = (one.of_one() if is_single else one.cells() for one in sums)
    return Answer(
        "balances",
        asked,
        (UNION, *NAMED[asked.by], *(_OF_GROUP if is_single else _OF_MANY)),
        list(rows_of(keys, asked, cells)),
        _totals(there, then),
    )


def _totals(there: Iterable[Node], then: Mapping[int, Account]) -> dict[str, Cell]:
    whole = _Sum()
    for node in there:
        whole.add(node, then[node.id])
    told = dict(zip((column.name for column in _OF_MANY), whole.cells(), strict=True))
    debt = sum(abs(account.balance) for account in then.values()) // 2
    return {**told, "sum": money(whole.balance + whole.residue), "net_internal_debt": money(debt)}
