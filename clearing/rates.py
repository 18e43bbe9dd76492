"""Rates: what one unit of a group's currency is worth in clearing units, and since when."""

from datetime import datetime
from fractions import Fraction

from sqlalchemy import CheckConstraint, ForeignKey, String, Subquery, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons import database
from commons.database import Base
from commons.errors import ConflictError
from commons.money import format_rate, parse_rate


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


def agree(session: Session, group_id: str, rate: Fraction) -> Rate:
    """Record a rate, in clearing units per unit of the group's currency, valid from now."""
    moment = database.now(session)
    row = Rate(group_id=group_id, rate=format_rate(rate), valid_from=moment, known_from=moment)
    session.add(row)
    session.flush()
    return row


def rate_at(session: Session, group_id: str, moment: datetime) -> Fraction:
    """Return the rate that applies at `moment`, or raise ConflictError where none is agreed."""
    text = session.scalar(
        select(Rate.rate)
        .where(Rate.group_id == group_id, Rate.valid_from <= moment)
        .order_by(Rate.valid_from.desc(), Rate.id.desc())
        .limit(1)
    )
    if text is None:
        raise ConflictError(f"no rate is agreed for the currency of group {group_id!r}")
    return parse_rate(text)


def rates_at(moment: datetime) -> Subquery:
    """Return a table of `group_id` and `rate`: the rates that apply at `moment`, one a group."""
    newest = (
        func.row_number()
        .over(partition_by=Rate.group_id, order_by=(Rate.valid_from.desc(), Rate.id.desc()))
        .label("newest")
    )
    dated = select(Rate.group_id, Rate.rate, newest).where(Rate.valid_from <= moment).subquery()
    return select(dated.c.group_id, dated.c.rate).where(dated.c.newest == 1).subquery()
