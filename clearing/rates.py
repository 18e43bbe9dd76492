"""Rates: what one unit of a group's currency is worth in clearing units, and since when."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, String, Subquery, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing.accounts import Account, AccountKind
from commons import database
from commons.database import Base
from commons.money import format_rate

QUOTE_LIFE: Final = timedelta(minutes=15)
NOTICE: Final = QUOTE_LIFE + timedelta(minutes=1)
"""How long another rate is known before it applies: a quote's life, and the time a commit takes."""


class Rate(Base):
    """A rate agreed by group and operator; history is added to, never rewritten.

    `valid_from` is when it applies, `known_from` when it was recorded here (the database's
    clock), so that what was known at any moment can be told later.
    """

    __tablename__ = "rates"

    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), index=True)
    rate: Mapped[str] = mapped_column(String(32))
    valid_from: Mapped[datetime]
    known_from: Mapped[datetime]

    __table_args__ = (CheckConstraint("known_from <= valid_from", name="known_before_valid"),)


database.append_only(Rate)


def agree(
    session: Session, group_id: str, rate: Fraction, valid_from: datetime | None = None
) -> Rate:
    """Record a rate, in clearing units per unit of the group's currency, valid from now or later.

    Where both apply from one moment, the one that was known later does.
    """
    moment = database.now(session)
    row = Rate(
        group_id=group_id,
        rate=format_rate(rate),
        valid_from=valid_from or moment,
        known_from=moment,
    )
    session.add(row)
    session.flush()
    return row


def start(session: Session, group_id: str, rate: Fraction) -> Rate:
    """Record a group's first rate, valid from now; a group that has one keeps it.

    A rate that was once agreed changes by agreement only, with notice (`rate_proposals`).
    """
    known = session.scalar(
        select(Rate).where(Rate.group_id == group_id).order_by(Rate.id.desc()).limit(1)
    )
    return known or agree(session, group_id, rate)


def rates_at(moment: datetime) -> Subquery:
    """Return a table of `group_id` and `rate`: the rates that apply at `moment`, one a group."""
    newest = (
        func.row_number()
        .over(partition_by=Rate.group_id, order_by=(Rate.valid_from.desc(), Rate.id.desc()))
        .label("newest")
    )
    dated = select(Rate.group_id, Rate.rate, newest).where(Rate.valid_from <= moment).subquery()
    return select(dated.c.group_id, dated.c.rate).where(dated.c.newest == 1).subquery()


def coming(session: Session, group_ids: Iterable[str], moment: datetime) -> datetime | None:
    """Return when the next rate of one of the groups applies that does not apply at `moment`."""
    return session.scalar(
        select(func.min(Rate.valid_from)).where(
            Rate.group_id.in_(set(group_ids)), Rate.valid_from > moment
        )
    )


def history(session: Session, group_ids: Iterable[str]) -> list[Rate]:
    """Return all rates of groups, by group and then in the order in which they apply."""
    return list(
        session.scalars(
            select(Rate)
            .where(Rate.group_id.in_(set(group_ids)))
            .order_by(Rate.group_id, Rate.valid_from, Rate.id)
        )
    )


def shared_with(session: Session, group_id: str) -> list[str]:
    """Return the groups that have accounts in one of a group's unions, itself among them."""
    unions = select(Account.union_id).where(Account.group_id == group_id)
    found = session.scalars(
        select(Account.group_id)
        .where(Account.union_id.in_(unions), Account.kind == AccountKind.GROUP)
        .distinct()
        .order_by(Account.group_id)
    )
    return [one for one in found if one is not None]


def clearing_groups(session: Session, union_id: str | None = None) -> list[str]:
    """Return all groups that have accounts, in this union where one is named."""
    query = select(Account.group_id).where(Account.kind == AccountKind.GROUP)
    if union_id is not None:
        query = query.where(Account.union_id == union_id)
    found = session.scalars(query.distinct().order_by(Account.group_id))
    return [one for one in found if one is not None]
