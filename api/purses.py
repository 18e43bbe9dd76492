"""What a group's members can pay: told to the marketplace, out of the clearing's accounts."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.headroom import headroom_of
from commons.errors import InvalidError
from commons.groups import Currency, Group
from commons.money import format_amount
from marketplace.payable import How, Payee
from marketplace.payment import read_pay


@dataclass(frozen=True)
class ClearingPurses:
    """`marketplace.payable.Purses` over the ledger, the rooms rounded as anybody may know them."""

    def payees(self, session: Session, payer_group: str) -> tuple[Payee, ...]:
        """Return the groups whose members a member of a group can pay now, its own first.

        Raises InvalidError for `payer_group` where there is no such group.
        """
        currency = session.scalar(
            select(Currency.code)
            .join(Group, Group.currency_id == Currency.id)
            .where(Group.id == payer_group)
        )
        if currency is None:
            raise InvalidError("payer_group", "must be the id of a group")
        payees = [Payee(payer_group, How.SAME_GROUP, currency, None)]
        for headroom in headroom_of(session, payer_group):
            most = headroom.rounded().most()
            if most == 0:
                continue
            available = None if most is None else format_amount(most, headroom.side.scale)
            payees.append(Payee(headroom.group_id, How.CLEARING, headroom.currency, available))
        return tuple(payees)

    def units(self, session: Session, payer_group: str) -> frozenset[str]:
        """Return the terms of `pay` that ask for a group's own currency."""
        currency = session.scalar(
            select(Currency)
            .join(Group, Group.currency_id == Currency.id)
            .where(Group.id == payer_group)
        )
        if currency is None:
            return frozenset()
        named = {read_pay(currency.uri), f"currency:{currency.code.upper()}"}
        return frozenset(named | {str(currency.kind)})
