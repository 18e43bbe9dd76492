"""What a round uses of limits once it is posted: what it releases and sets off, together."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from clearing.calls.desk import Desk
from clearing.held import Pair
from clearing.limits import Use
from clearing.rounds.table import Rows
from clearing.transfers import HeldTransfer, reservation

Owner = str | None
"""The group whose limit it is; none has a limit of an account that is the union's own."""
Moves = Mapping[Pair, int]
"""What set-offs add to the position of an account towards another, both directions told."""

_CREDIT: Final = "credit_limit"
SURPLUS: Final = "surplus_limit"
_PAIR: Final = "pair_limit"


def owed_of(desk: Desk, one: HeldTransfer) -> list[tuple[int, int, int]]:
    """Return all that a payment makes owed: debtor's account, creditor's account, amount."""
    payer, payee = desk.seats(one)
    owed = [(payer.account_id, payee.account_id, one.payee_clearing)]
    if one.payer_clearing > one.payee_clearing:
        residue = one.payer_clearing - one.payee_clearing
        owed.append((payer.account_id, payee.residue_id, residue))
    if one.levy:
        owed.append((payer.account_id, desk.levy_account(one.union_id), one.levy))
    return owed


def account_uses(desk: Desk, released: Sequence[HeldTransfer]) -> Iterator[tuple[Owner, Use]]:
    """Yield what payments together use of the limits of accounts, each with whose it is."""
    moved: dict[int, int] = defaultdict(int)
    for one in released:
        wanted = reservation(one)
        moved[desk.account(wanted.debtor, one.union_id).id] -= wanted.out
        moved[desk.account(wanted.creditor, one.union_id).id] += wanted.into
    for account_id, amount in sorted(moved.items()):
        of = desk.book.accounts[account_id]
        yield of.group_id, Use(_CREDIT, of.used_below(), -amount, of.credit_warn, of.credit_limit)
        yield of.group_id, Use(SURPLUS, of.used_above(), amount, of.surplus_warn, of.surplus_limit)


def pair_uses(
    desk: Desk, released: Sequence[HeldTransfer], set_off: Moves
) -> Iterator[tuple[Owner, Use]]:
    """Yield what payments and set-offs together use of pair limits, each with the debtor.

    For the pairs that payments touch; of others no set-off uses more than was free, or reserved for
    it. What the round itself has reserved is released before.
    """
    for pair, amount in sorted(net_of(desk, released).items()):
        position = desk.book.position(*pair)
        then = position.amount - amount + set_off.get(pair, 0)
        change = max(0, -then) - position.obligation
        warn, stop = position.pair_warn, position.pair_limit
        owner = desk.book.accounts[pair[0]].group_id
        yield owner, Use(_PAIR, position.used(), change, warn, stop)


def touched(desk: Desk, released: Iterable[HeldTransfer]) -> set[Pair]:
    """Return all pairs between which payments make something owed, either way round."""
    owed = (pair[:2] for one in released for pair in owed_of(desk, one))
    return {either for a, b in owed for either in ((a, b), (b, a))}


def net_of(desk: Desk, released: Iterable[HeldTransfer]) -> Moves:
    """Return what payments add to what the first of two owes the second, either way round."""
    owed: dict[Pair, int] = defaultdict(int)
    for one in released:
        for debtor, creditor, amount in owed_of(desk, one):
            owed[debtor, creditor] += amount
            owed[creditor, debtor] -= amount
    return owed


def moved_between(rows: Rows, pairs: Collection[Pair]) -> Moves:
    """Return what rows add to the positions of pairs, both directions told."""
    if not pairs:
        return {}
    account, other, amount = rows.moved()
    ids = list({account_id for pair in pairs for account_id in pair})
    near = np.isin(account, ids) & np.isin(other, ids)
    columns = (account[near].tolist(), other[near].tolist(), amount[near].tolist())
    return {(a, b): moved for a, b, moved in zip(*columns, strict=True) if (a, b) in pairs}


def uses_of(desk: Desk, released: Sequence[HeldTransfer], rows: Rows) -> list[tuple[Owner, Use]]:
    """Return what a round uses of all limits that payments touch, each with whose limit it is."""
    moves = moved_between(rows, touched(desk, released))
    return [*account_uses(desk, released), *pair_uses(desk, released, moves)]
