"""The matrix of a union as a round sees it: read by the column, numbered by the order of ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from clearing import columns, disputes
from clearing.accounts import NO_LIMIT, Account, AccountKind, AccountState
from clearing.columns import Numbers
from clearing.held import POSITIONS, HeldAccount
from clearing.netting.matrix import NONE, Matrix
from clearing.rounds.model import KeptBack
from commons.groups import Hub, HubState

Pair = tuple[int, int]

_LEFT: Final = func.coalesce(
    POSITIONS.c.pair_limit - POSITIONS.c.pending_out - POSITIONS.c.given, NONE
)


@dataclass(frozen=True)
class Numbering:
    """The accounts of a union, whose places in the order of their ids are a matrix's nodes."""

    accounts: Sequence[HeldAccount]

    @cached_property
    def ids(self) -> Numbers:
        """The accounts' ids."""
        return np.array([account.id for account in self.accounts], dtype=np.int64)

    def places(self, ids: Numbers) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """Return the places of ids, and whether they have one."""
        if not len(self.ids):
            return np.zeros_like(ids), np.zeros(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return at.astype(np.int64), self.ids[at] == ids


def numbered(accounts: Mapping[int, HeldAccount]) -> Numbering:
    """Return accounts numbered by the order of their ids."""
    return Numbering([accounts[account_id] for account_id in sorted(accounts)])


def barred(session: Session, union_id: str, *, for_good: bool) -> set[int]:
    """Return the accounts of a union that take no part in rounds now.

    Frozen and closed ones, those whose group's hub is not admitted, and where not `for_good` those
    of groups that have said so: who said so after a round was proposed is in it unless it opts out.
    """
    stopped: list[ColumnElement[bool]] = [
        Account.state != AccountState.OPEN,
        and_(Account.group_id.is_not(None), func.coalesce(Hub.state, "") != HubState.ADMITTED),
    ]
    if not for_good:
        out = select(Account.group_id).where(
            Account.union_id == union_id,
            Account.kind == AccountKind.GROUP,
            Account.in_rounds.is_(False),
        )
        stopped.append(Account.group_id.in_(out))
    query = (
        select(Account.id)
        .outerjoin(Hub, Hub.group_id == Account.group_id)
        .where(Account.union_id == union_id, or_(*stopped))
    )
    return set(session.scalars(query))


def read_matrix(
    session: Session,
    union_id: str,
    numbering: Numbering,
    touched: Iterable[Pair],
    *,
    lines: bool,
) -> Matrix:
    """Read what a union's accounts owe each other, and which limits hold.

    `touched` are pairs of nodes that are to have a place though nothing is owed between them; with
    `lines` all that have a pair limit have one.
    """
    debtor, creditor, owed, ceiling = _owed(session, union_id, numbering)
    holder, other, left = _limited(session, union_id, numbering)
    places = _Places(len(numbering.accounts), debtor, creditor)
    further = list(touched)
    if lines:
        further += zip(holder.tolist(), other.tolist(), strict=True)
    added = places.add(further)
    blank = np.zeros(added, np.int64)
    owed, back = np.concatenate([owed, blank]), np.full(len(owed) + added, NONE, np.int64)
    ceiling = np.concatenate([ceiling, blank + NONE])
    at, is_there, same = places.find(holder, other)
    ceiling[at[is_there & same]] = left[is_there & same]
    back[at[is_there & ~same]] = left[is_there & ~same]
    accounts = numbering.accounts
    out = barred(session, union_id, for_good=False)
    return Matrix(
        nodes=len(accounts),
        debtor=places.debtor,
        creditor=places.creditor,
        owed=owed,
        held=_held(session, union_id, numbering, places, owed),
        ceiling=ceiling,
        back=back,
        room_below=_rooms((one.credit_limit, one.room_below()) for one in accounts),
        room_above=_rooms((one.surplus_limit, one.room_above()) for one in accounts),
        barred=np.array([one.id in out for one in accounts], dtype=np.bool_),
        lines=lines,
    )


class _Places:
    """Where each two nodes stand in a matrix, whichever of them is named first."""

    def __init__(self, nodes: int, debtor: Numbers, creditor: Numbers) -> None:
        self.nodes, self.debtor, self.creditor = nodes, debtor, creditor
        self._sort()

    def _sort(self) -> None:
        keys = self._keys(self.debtor, self.creditor)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def _keys(self, one: Numbers, other: Numbers) -> Numbers:
        return np.minimum(one, other) * np.int64(self.nodes) + np.maximum(one, other)

    def add(self, pairs: Sequence[Pair]) -> int:
        """Give those of the pairs a place that have none, and return how many these were."""
        wanted = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        _, first = np.unique(self._keys(wanted[:, 0], wanted[:, 1]), return_index=True)
        wanted = wanted[first]
        new = wanted[~self.find(wanted[:, 0], wanted[:, 1])[1]]
        self.debtor = np.concatenate([self.debtor, new[:, 0]])
        self.creditor = np.concatenate([self.creditor, new[:, 1]])
        self._sort()
        return len(new)

    def find(
        self, one: Numbers, other: Numbers
    ) -> tuple[Numbers, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return the places of pairs, whether they have one, and whether `one` is debtor there."""
        if not len(self._sorted):
            nothing = np.zeros(len(one), np.bool_)
            return np.zeros(len(one), np.int64), nothing, nothing
        keys = self._keys(one, other)
        found = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        at = self._order[found].astype(np.int64)
        return at, self._sorted[found] == keys, self.debtor[at] == one


def _owed(session: Session, union_id: str, numbering: Numbering) -> list[Numbers]:
    """Return who owes whom, how much, and how much it may."""
    c = POSITIONS.c
    query = select(c.account_id, c.counterparty_id, -c.amount, _LEFT)
    return _between(session, numbering, query.where(c.amount < 0, _is_in(union_id)))


def _limited(session: Session, union_id: str, numbering: Numbering) -> list[Numbers]:
    """Return who may owe whom how much, where there is a limit and nothing is owed."""
    c = POSITIONS.c
    query = select(c.account_id, c.counterparty_id, _LEFT)
    limited = c.pair_limit.is_not(None)
    return _between(session, numbering, query.where(c.amount >= 0, limited, _is_in(union_id)))


def _is_in(union_id: str) -> ColumnElement[bool]:
    own = select(Account.id).where(Account.union_id == union_id)
    return POSITIONS.c.account_id.in_(own)


def _between(
    session: Session, numbering: Numbering, query: Select[*tuple[int, ...]]
) -> list[Numbers]:
    """Read columns that begin with two accounts' ids, which become places.

    One of an account that was opened just now, and so is not locked, is left out.
    """
    one, other, *figures = columns.read(session, query)
    (first, is_first), (second, is_second) = numbering.places(one), numbering.places(other)
    here = is_first & is_second
    if here.all():
        return [first, second, *figures]
    return [column[here] for column in (first, second, *figures)]


def _held(
    session: Session, union_id: str, numbering: Numbering, places: _Places, owed: Numbers
) -> Numbers:
    """Return how much of what lies between each two is kept back or disputed.

    Of what both keep back the larger counts; what is disputed is so in one direction, and in the
    other only where nothing is owed.
    """
    kept = np.zeros(len(owed), np.int64)
    kept_by = select(KeptBack.account_id, KeptBack.counterparty_id, KeptBack.amount)
    rows = session.execute(
        kept_by.join(Account, Account.id == KeptBack.account_id).where(Account.union_id == union_id)
    )
    for at, amount, _ in _found(numbering, places, rows):
        kept[at] = max(kept[at], NO_LIMIT if amount is None else amount)
    disputed = np.zeros(len(owed), np.int64)
    marked = [(*pair, amount) for pair, amount in disputes.standing(session, union_id).items()]
    for at, amount, same in _found(numbering, places, marked):
        if amount is not None and (same or owed[at] == 0):
            disputed[at] = max(disputed[at], amount)
    return np.minimum(kept, NO_LIMIT) + np.minimum(disputed, NO_LIMIT - 1)


def _found(
    numbering: Numbering, places: _Places, rows: Iterable[Sequence[int | None]]
) -> Iterable[tuple[int, int | None, bool]]:
    """Yield the place, the amount and whether the first account is debtor there."""
    known = list(rows)
    pairs = np.array([row[:2] for row in known], dtype=np.int64).reshape(-1, 2)
    (one, is_one), (other, is_other) = (numbering.places(pairs[:, n]) for n in range(2))
    at, is_there, same = places.find(one, other)
    here = is_one & is_other & is_there
    for number in np.flatnonzero(here).tolist():
        yield int(at[number]), known[number][2], bool(same[number])


def _rooms(rooms: Iterable[tuple[int | None, int]]) -> Numbers:
    """Return rooms as an array, each given after its limit, which may be none."""
    return np.array([NONE if limit is None else room for limit, room in rooms], dtype=np.int64)
