"""Quotes: what both sides of a payment would come to now, until when, and whether it would fit."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from clearing import levies, limits, rates
from clearing.accounts import Account, AccountState, Position, new_position
from clearing.calls.desk import Desk
from clearing.calls.kinds import Create
from clearing.calls.making import draft
from clearing.calls.posting import broken
from clearing.limits import Use
from clearing.transfers import HeldTransfer, Unit, reservation
from commons.errors import InvalidError
from commons.groups import GROUP_ID_PATTERN
from commons.money import CLEARING_SCALE, Side, floor_minor

_NOBODY: Final = UUID(int=0)


@dataclass(frozen=True)
class Wanted:
    """What is asked: `caller` is the group of one of the two hubs."""

    caller: str
    payer: str
    payee: str
    amount: str
    unit: Unit = Unit.PAYEE
    union: str | None = None


@dataclass(frozen=True)
class Available:
    """The most that could be paid now: in smallest clearing units and in both currencies'."""

    clearing: int
    payer: int
    payee: int


@dataclass(frozen=True)
class Quote:
    """What a transfer would be, as the engine would make it, whose names stand for nobody.

    `refusal` is the limit or the state of an account that it would be refused for now. `available`
    is None where no limit holds. Amounts hold for a transfer made before `valid_until`; room is
    taken by whoever comes first.
    """

    transfer: HeldTransfer
    payer: Side
    payee: Side
    payer_currency: str
    payee_currency: str
    available: Available | None
    refusal: str | None
    warnings: list[str]
    valid_until: datetime


def quote(session: Session, wanted: Wanted) -> Quote:
    """Return what a payment would come to; nothing is changed and nothing is locked.

    Raises InvalidError, ForbiddenError and ConflictError as making the transfer would.
    """
    for field, group_id in (("payer", wanted.payer), ("payee", wanted.payee)):
        if re.fullmatch(GROUP_ID_PATTERN, group_id) is None:
            raise InvalidError(field, "must be the id of a group")
    desk = Desk.open(session, {wanted.payer, wanted.payee})
    one = draft(
        desk,
        Create(
            id=_NOBODY,
            caller=wanted.caller,
            payer=f"{wanted.payer}/-",
            payee=f"{wanted.payee}/-",
            amount=wanted.amount,
            unit=wanted.unit,
            union=wanted.union,
        ),
    )
    payer, payee = desk.participants[wanted.payer], desk.participants[wanted.payee]
    accounts = tuple(session.get_one(Account, seat.account_id) for seat in desk.seats(one))
    uses = _uses(session, accounts, one)
    return Quote(
        transfer=one,
        payer=payer.side(),
        payee=payee.side(),
        payer_currency=payer.code,
        payee_currency=payee.code,
        available=_available(desk, one, uses, (payer.side(), payee.side())),
        refusal=_refusal(accounts, one, uses),
        warnings=[use.name for use in uses if use.warns()],
        valid_until=_valid_until(session, desk, one),
    )


def _uses(
    session: Session, accounts: tuple[Account, ...], one: HeldTransfer
) -> tuple[Use, Use, Use]:
    (payer, payee), wanted = accounts, reservation(one)
    towards = session.get(Position, (payer.id, payee.id)) or new_position(payer.id, payee.id)
    return limits.payment_uses(payer, payee, towards, wanted.out, wanted.into, wanted.pair)


def _refusal(
    accounts: tuple[Account, ...], one: HeldTransfer, uses: tuple[Use, Use, Use]
) -> str | None:
    for account in accounts:
        if account.state is not AccountState.OPEN:
            return f"account_{account.state}"
    lacking = broken(one, uses)
    return None if lacking is None else lacking[0]


def _available(
    desk: Desk, one: HeldTransfer, uses: tuple[Use, Use, Use], sides: tuple[Side, Side]
) -> Available | None:
    """Return the largest payment that fits; the payer's limit has to hold the levy too."""
    if all(use.stop is None for use in uses):
        return None
    credit, surplus, pair = (max(0, use.room) for use in uses)
    rule = desk.levies.get(one.union_id)
    if rule is not None:
        credit = _most(credit, lambda paid: paid + rule.levy(paid))
    room = min(credit, surplus, pair)
    value = Fraction(room, 10**CLEARING_SCALE)
    return Available(room, *(floor_minor(value / side.rate, side.scale) for side in sides))


def _most(room: int, cost: Callable[[int], int]) -> int:
    """Return the largest amount whose cost, which grows with it, is within a room."""
    low, high = 0, room
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= room else (low, middle - 1)
    return low


def _valid_until(session: Session, desk: Desk, one: HeldTransfer) -> datetime:
    """Return when something may change: at the next change known, else after a quote's life."""
    ends = [desk.asked + rates.QUOTE_LIFE]
    rate = rates.coming(session, (one.payer_group, one.payee_group), desk.asked)
    levy = levies.coming(session, one.union_id, desk.asked)
    if rate is not None:
        ends.append(rate)
    if levy is not None:
        ends.append(levy.valid_from)
    return min(ends)
