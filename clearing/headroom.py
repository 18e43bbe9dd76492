"""Headroom: whom a group's members could pay through clearing right now, and how much."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, select
from sqlalchemy.orm import Session

from clearing.accounts import DEFAULT_UNION, Account, AccountKind, AccountState, Position
from clearing.rates import rates_at
from commons import database
from commons.groups import Currency, Group, Hub, HubState
from commons.money import CLEARING_SCALE, Side, floor_minor, parse_rate


@dataclass(frozen=True)
class Headroom:
    """How much a payee's group can be paid, in smallest clearing units; None where no limit holds.

    `currency` is the code of the group's currency, `side` what it is worth.
    """

    group_id: str
    currency: str
    side: Side
    room: int | None

    def most(self) -> int | None:
        """Return the largest payment that fits, in smallest units of the group's currency.

        Rounded down, and 0 where what would fit is too small to be paid at all.
        """
        if self.room is None:
            return None
        room = Fraction(max(0, self.room), 10**CLEARING_SCALE)
        most = floor_minor(room / self.side.rate, self.side.scale)
        worth = Fraction(most, 10**self.side.scale) * self.side.rate
        return most if floor_minor(worth, CLEARING_SCALE) else 0

    def rounded(self) -> Self:
        """Return it as anybody may know it: the room's first digit, and nothing after it.

        In clearing units, whose steps are the same for all: the steps of many currencies together
        would tell the payer's room far more finely.
        """
        if self.room is None or self.room <= 0:
            return self
        step = 10 ** (len(str(self.room)) - 1)
        return replace(self, room=self.room - self.room % step)


def headroom_of(session: Session, payer_group: str) -> list[Headroom]:
    """Return the groups that a group's members can pay now, by their ids, pending counted.

    The room is the least of the three that a transfer is checked against (`clearing.calls`): the
    payer's below, the payee's above, and the pair's, in the union that a payment goes through
    which names none; where it would have to name one, in the one with the most room. Who may not
    make transfers, has no open account or no rate, and where nothing is left, is left out; so it
    is with the payer itself.
    """
    rates = rates_at(database.now(session))
    payers = session.scalars(
        select(Account)
        .join(Hub, Hub.group_id == Account.group_id)
        .join(rates, rates.c.group_id == Account.group_id)
        .where(Account.group_id == payer_group, *_clears())
    )
    found: dict[str, dict[str, Headroom]] = {}
    for payer in payers:
        own = [] if payer.credit_limit is None else [payer.room_below()]
        for payee, code, scale, rate, above, pair in session.execute(_payees(payer, rates)):
            room = min((*own, *(room for room in (above, pair) if room is not None)), default=None)
            in_union = Headroom(payee, code, Side(parse_rate(rate), scale), room)
            found.setdefault(payee, {})[payer.union_id] = in_union
    chosen = (_chosen(found[payee]) for payee in sorted(found))
    return [one for one in chosen if one.room is None or one.room > 0]


def _chosen(by_union: Mapping[str, Headroom]) -> Headroom:
    """Return the headroom in the union that is meant where none is named."""
    if DEFAULT_UNION in by_union:
        return by_union[DEFAULT_UNION]
    return max(by_union.values(), key=lambda one: (one.room is None, one.room or 0))


def _payees(payer: Account, rates: Subquery) -> Select[Any]:
    """Ask for every other group of a union, with the room above and the pair's, empty if unlimited.

    As columns, since objects of thousands of accounts would take twice as long as all the rest.
    """
    return (
        select(
            Account.group_id,
            Currency.code,
            Currency.scale,
            rates.c.rate,
            Account.surplus_limit - Account.balance - Account.pending_in,
            Position.pair_limit
            - case((Position.amount < 0, -Position.amount), else_=0)
            - Position.pending_out
            - Position.given,
        )
        .join(Hub, Hub.group_id == Account.group_id)
        .join(Group, Group.id == Account.group_id)
        .join(Currency, Currency.id == Group.currency_id)
        .join(rates, rates.c.group_id == Account.group_id)
        .outerjoin(
            Position, and_(Position.account_id == payer.id, Position.counterparty_id == Account.id)
        )
        .where(Account.id != payer.id, Account.union_id == payer.union_id, *_clears())
    )


def _clears() -> tuple[ColumnElement[bool], ...]:
    """Return what holds of a group's own account through which transfers can be made."""
    return (
        Account.kind == AccountKind.GROUP,
        Account.state == AccountState.OPEN,
        Hub.state == HubState.ADMITTED,
    )
