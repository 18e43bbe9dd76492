"""The groups that clear: their accounts, their currency and the rate that applies now."""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import DEFAULT_UNION, Account, AccountKind
from clearing.rates import rate_at
from commons.groups import Currency, Group, Hub, HubState
from commons.money import Side


@dataclass(frozen=True)
class Participant:
    """A group with accounts; while its hub is not admitted, nothing new is made with it."""

    group_id: str
    account_id: int
    residue_id: int
    currency: Currency
    rate: Fraction
    admitted: bool

    @property
    def side(self) -> Side:
        """What a unit of its currency is worth, and how far it divides."""
        return Side(self.rate, self.currency.scale)


def find_participants(
    session: Session, group_ids: set[str], moment: datetime
) -> dict[str, Participant]:
    """Return those of the groups that have accounts, with the rates that apply at `moment`."""
    own, residue = aliased(Account), aliased(Account)
    rows = session.execute(
        select(Group.id, own.id, residue.id, Currency, Hub.state)
        .join(Currency, Currency.id == Group.currency_id)
        .join(Hub, Hub.group_id == Group.id)
        .join(own, own.group_id == Group.id)
        .join(residue, residue.group_id == Group.id)
        .where(
            Group.id.in_(group_ids),
            own.union_id == DEFAULT_UNION,
            residue.union_id == DEFAULT_UNION,
            own.kind == AccountKind.GROUP,
            residue.kind == AccountKind.RESIDUE,
        )
    )
    return {
        group_id: Participant(
            group_id,
            account_id,
            residue_id,
            currency,
            rate_at(session, group_id, moment),
            state is HubState.ADMITTED,
        )
        for group_id, account_id, residue_id, currency, state in rows
    }
