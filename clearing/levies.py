"""Levies: what a payer's group pays its union on each payment, by the union's dated rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, String, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import accounts, bulk, events, rates
from clearing.accounts import Account, AccountKind
from clearing.events import EventKind, Notice
from commons import audit_log, database
from commons.database import Base
from commons.errors import InvalidError
from commons.money import format_rate, parse_rate

NOTICE: Final = rates.NOTICE
"""A rule applies this long after it is known, so that a quote holds for its life."""

NONE: Final = "none"


class LevyChange(Base):
    """A union's rule from a moment on; history is added to, never rewritten.

    `share` is the fraction of the payer's clearing amount, empty for none.
    """

    __tablename__ = "levy_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"), index=True)
    share: Mapped[str | None] = mapped_column(String(32))
    valid_from: Mapped[datetime]
    known_from: Mapped[datetime]

    __table_args__ = (CheckConstraint("known_from <= valid_from", name="known_before_valid"),)


database.append_only(LevyChange)

_SHARES: Final = bulk.Sought(
    lambda among: (
        select(LevyChange.union_id, LevyChange.share)
        .where(
            among(LevyChange.union_id),
            LevyChange.valid_from <= bindparam("moment", type_=LevyChange.valid_from.type),
        )
        .order_by(LevyChange.valid_from, LevyChange.id)
    )
)


@dataclass(frozen=True)
class LevyRule:
    """A levy that is a share of what the payer's group pays."""

    share: Fraction

    def __str__(self) -> str:
        """Write the share as a fraction such as "1/100"."""
        return format_rate(self.share)

    def levy(self, payer_clearing: int) -> int:
        """Return the levy on a payment, both in smallest clearing units; rounded down."""
        return payer_clearing * self.share.numerator // self.share.denominator


def levy_of(session: Session, union_ids: Iterable[str], moment: datetime) -> Mapping[str, LevyRule]:
    """Return the rules that apply at `moment`, by union; those without a levy are left out."""
    last: dict[str, str | None] = dict(_SHARES.rows(session, set(union_ids), moment=moment))
    return {union: LevyRule(parse_rate(share)) for union, share in last.items() if share}


def coming(session: Session, union_id: str, moment: datetime) -> LevyChange | None:
    """Return the next change of a union's rule that is known and does not apply yet."""
    return session.scalar(
        select(LevyChange)
        .where(LevyChange.union_id == union_id, LevyChange.valid_from > moment)
        .order_by(LevyChange.valid_from, LevyChange.id.desc())
        .limit(1)
    )


def levy_account(session: Session, union_id: str) -> int:
    """Return the id of the account that a union's levies are owed to."""
    return accounts.union_account(session, union_id, AccountKind.LEVY).id


def set_rule(session: Session, union_id: str, share: Fraction | None, actor: str) -> LevyChange:
    """Record what share of each payment a union takes from now on, None for no levy.

    It applies after NOTICE, the first one too: transfers are made meanwhile that do not know it.
    The hubs of the union's groups are told, and the audit log names `actor`. Raises NotFoundError
    where there is no such union.
    """
    if share is not None and not 0 < share < 1:
        raise InvalidError("levy", 'must be a fraction between 0 and 1 such as "1/100"')
    levy_account(session, union_id)  # opened here, so that no payment has to
    moment = database.now(session)
    change = LevyChange(
        union_id=union_id,
        share=None if share is None else format_rate(share),
        valid_from=moment + NOTICE,
        known_from=moment,
    )
    session.add(change)
    session.flush()
    data = {"levy": change.share, "valid_from": change.valid_from.isoformat()}
    groups = session.scalars(
        select(Account.group_id).filter_by(union_id=union_id, kind=AccountKind.GROUP)
    )
    told = [Notice(group, EventKind.UNION_CHANGED, union_id, data) for group in groups if group]
    events.record(session, told, moment)
    texts = {name: text or NONE for name, text in data.items()}
    audit_log.record(session, actor, "levy-changed", union_id, texts)
    return change
