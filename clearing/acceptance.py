"""Automatic acceptance: up to which amount a hub agrees at once to what other hubs make."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import bulk
from clearing.transfers import Party
from commons.database import Base, enum_column
from commons.errors import InvalidError
from commons.groups import Group
from commons.money import MAX_MINOR

ANY_GROUP: Final = ""
"""The counterparty of a rule that holds for every group without a rule of its own."""


class AcceptanceRule(Base):
    """A group's hub accepts at once what `initiator`'s hub makes, up to an amount.

    `initiator` is the side that the maker is on: PAYER for a push, PAYEE for a request. `up_to`
    is in smallest units of the group's own currency.
    """

    __tablename__ = "acceptance_rules"

    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    initiator: Mapped[Party] = mapped_column(enum_column(Party), primary_key=True)
    counterparty: Mapped[str] = mapped_column(String(40), primary_key=True)
    up_to: Mapped[int]

    __table_args__ = (CheckConstraint("up_to > 0", name="up_to_positive"),)


_RULES: Final = Base.metadata.tables[AcceptanceRule.__tablename__].c
_OF: Final = bulk.Sought(
    lambda among: select(
        _RULES.group_id, _RULES.initiator, _RULES.counterparty, _RULES.up_to
    ).where(among(_RULES.group_id))
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a hub accepts at once: made by which side, by which group, up to what.

    `counterparty` is `ANY_GROUP` for all; `up_to` is in smallest units of the own currency.
    """

    initiator: Party
    counterparty: str
    up_to: int


def set_rules(session: Session, group_id: str, rules: Iterable[Rule]) -> None:
    """Replace a group's rules; none means that every transfer waits for its hub.

    Raises InvalidError for a rule given twice, one for a group that is not there or is the group
    itself, and one whose amount is not positive or larger than any amount can be.
    """
    rules = list(rules)
    others = {rule.counterparty for rule in rules} - {ANY_GROUP}
    known = set(session.scalars(select(Group.id).where(Group.id.in_(others))))
    for rule in rules:
        if rule.counterparty not in known - {group_id} | {ANY_GROUP}:
            raise InvalidError("counterparty", f"there is no other group {rule.counterparty!r}")
        if not 0 < rule.up_to <= MAX_MINOR:
            raise InvalidError("up_to", "must be more than zero, and an amount that can be paid")
    if len({(rule.initiator, rule.counterparty) for rule in rules}) < len(rules):
        raise InvalidError("counterparty", "has two rules for the same side")
    session.execute(delete(AcceptanceRule).where(AcceptanceRule.group_id == group_id))
    session.add_all(
        AcceptanceRule(
            group_id=group_id,
            initiator=rule.initiator,
            counterparty=rule.counterparty,
            up_to=rule.up_to,
        )
        for rule in rules
    )
    session.flush()


def rules_of(session: Session, group_id: str) -> list[Rule]:
    """Return a group's rules, in the order of side and counterparty."""
    query = (
        select(AcceptanceRule.initiator, AcceptanceRule.counterparty, AcceptanceRule.up_to)
        .where(AcceptanceRule.group_id == group_id)
        .order_by(AcceptanceRule.initiator, AcceptanceRule.counterparty)
    )
    return [Rule(*row) for row in session.execute(query)]


def find_limits(session: Session, group_ids: Iterable[str]) -> Mapping[tuple[str, Party, str], int]:
    """Return what each rule of the groups accepts up to, by group, initiator and counterparty."""
    return {
        (group, side, other): up_to for group, side, other, up_to in _OF.rows(session, group_ids)
    }


def accepts(
    limits: Mapping[tuple[str, Party, str], int],
    group_id: str,
    initiator: Party,
    maker: str,
    amount: int,
) -> bool:
    """Whether a group's rules accept at once what `maker` made, in the group's smallest units.

    A rule for that very group comes before the one for any.
    """
    own = limits.get((group_id, initiator, maker))
    up_to = limits.get((group_id, initiator, ANY_GROUP), 0) if own is None else own
    return amount <= up_to
