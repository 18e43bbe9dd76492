"""What is available: how much an account can pay and be paid, towards each it has dealt with."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from clearing.accounts.matrix import Account, AccountKind, AccountState, Position
from clearing.limits import AccountRoom, PositionRoom, Use, payment_uses
from commons.groups import Hub, HubState


@dataclass(slots=True)
class Side(AccountRoom):
    """What of an account the rule of limits asks for, as `Account`; `pays` where it may pay."""

    balance: int
    pending_out: int
    pending_in: int
    credit_limit: int | None
    surplus_limit: int | None
    credit_warn: int | None
    surplus_warn: int | None
    pays: bool


@dataclass(slots=True)
class Towards(PositionRoom):
    """An account's position, as `Position`, towards the account of this name.

    `available` is what can be paid to it: the least of the account's room, the counterparty's and
    the pair's; None where no limit holds.
    """

    counterparty: str
    amount: int
    pending_out: int
    given: int
    pair_limit: int | None
    pair_warn: int | None
    available: int | None = 0


@dataclass(frozen=True)
class Available:
    """What can still be paid and received, in smallest clearing units; None where no limit holds.

    `towards` are the account's positions by the names of their counterparties.
    """

    out: int | None
    into: int | None
    towards: list[Towards]


_HUB: Final = and_(Hub.group_id == Account.group_id, Hub.state == HubState.ADMITTED)
_FIGURES: Final = (
    Account.balance,
    Account.pending_out,
    Account.pending_in,
    Account.credit_limit,
    Account.surplus_limit,
    Account.credit_warn,
    Account.surplus_warn,
    and_(
        Account.kind == AccountKind.GROUP,
        Account.state == AccountState.OPEN,
        Hub.group_id.is_not(None),
    ),
)
_OWN: Final = select(*_FIGURES).outerjoin(Hub, _HUB).where(Account.id == bindparam("account_id"))
_TOWARDS: Final = (
    select(
        Account.name,
        Position.amount,
        Position.pending_out,
        Position.given,
        Position.pair_limit,
        Position.pair_warn,
        *_FIGURES,
    )
    .select_from(Position)
    .join(Account, Account.id == Position.counterparty_id)
    .outerjoin(Hub, _HUB)
    .where(Position.account_id == bindparam("account_id"))
    .order_by(Account.name)
)
_OF_POSITION: Final = 6  # so many columns come before those of the counterparty


def available(session: Session, account: Account) -> Available:
    """Return what is available to a group's account, pending counted.

    It is nothing where the account or the counterparty may make no payments: frozen, closed, or
    its hub not admitted; or where the counterparty is no group.
    """
    session.flush()
    connection, asked = session.connection(), {"account_id": account.id}
    own = Side(*connection.execute(_OWN, asked).one())
    rows = connection.execute(_TOWARDS, asked).all()
    towards = [_towards(own, row[:_OF_POSITION], row[_OF_POSITION:]) for row in rows]
    if not own.pays:
        return Available(0, 0, towards)
    credit = Use("credit_limit", own.used_below(), 0, None, own.credit_limit)
    surplus = Use("surplus_limit", own.used_above(), 0, None, own.surplus_limit)
    return Available(_least([credit]), _least([surplus]), towards)


def _towards(own: Side, position: Iterable[Any], figures: Iterable[Any]) -> Towards:
    found, other = Towards(*position), Side(*figures)
    if own.pays and other.pays:
        found.available = _least(payment_uses(own, other, found, 0, 0, 0))
    return found


def _least(uses: Iterable[Use]) -> int | None:
    rooms = [use.room for use in uses if use.stop is not None]
    return max(0, min(rooms)) if rooms else None
