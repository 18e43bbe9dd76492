"""The signed matrix: unions, accounts and positions, and how much room their limits leave."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, Select, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain
from clearing.limits import AccountRoom, PositionRoom
from commons.database import KEPT_BY_KEY, Base, enum_column
from commons.errors import InvalidError, NotFoundError
from commons.money import CLEARING_SCALE

DEFAULT_UNION: Final = "main"
DEFAULT_LINE: Final = 100 * 10**CLEARING_SCALE
"""How far a new group may go either way, in smallest clearing units, where its union says nothing.

Small, so that a group can be admitted before anybody knows how it trades.
"""

MAX_REASON: Final = 200


class AccountKind(StrEnum):
    """Whose account it is: a group's, the one that takes a group's rounding, or the union's own."""

    GROUP = "group"
    RESIDUE = "residue"
    LEVY = "levy"
    COMMONS = "commons"


class AccountState(StrEnum):
    """What may happen on an account: `frozen` makes nothing new, `closed` is for good."""

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


TRANSITIONS: Final[dict[AccountState, frozenset[AccountState]]] = {
    AccountState.OPEN: frozenset({AccountState.FROZEN, AccountState.CLOSED}),
    AccountState.FROZEN: frozenset({AccountState.OPEN, AccountState.CLOSED}),
}


class AccountStatus(StrEnum):
    """How near an account is to its limits: `alert` beyond half of a stop, or beyond a warn."""

    OK = "ok"
    ALERT = "alert"
    OVER = "over"


class Union(Base):
    """A set of groups that clear together, in one clearing unit of scale 4.

    `credit_default` and `surplus_default` are the limits that a new group starts with; where they
    are empty it is `DEFAULT_LINE`. `round_schedule` is a cron expression in UTC for its netting
    rounds, the next of which is due at `round_at`; groups may opt out of one for
    `round_notice_seconds`, and `credit_lines` has it use what pair limits leave.
    """

    __tablename__ = "unions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    credit_default: Mapped[int | None]
    surplus_default: Mapped[int | None]
    round_schedule: Mapped[str | None] = mapped_column(String(100))
    round_at: Mapped[datetime | None]
    round_notice_seconds: Mapped[int] = mapped_column(default=0)
    credit_lines: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("round_notice_seconds >= 0", name="round_notice_not_negative"),
        CheckConstraint(
            "(round_schedule IS NULL) = (round_at IS NULL)", name="round_due_where_scheduled"
        ),
    )

    def starting_limits(self) -> tuple[int, int]:
        """Return the credit and the surplus limit of a new group."""
        credit, surplus = self.credit_default, self.surplus_default
        return (
            DEFAULT_LINE if credit is None else credit,
            DEFAULT_LINE if surplus is None else surplus,
        )


class Account(AccountRoom, Base):
    """A row of the matrix; all amounts in smallest clearing units.

    `balance` is the sum of the row's positions, kept here beside what is reserved by pending
    transfers (`pending_out`, `pending_in`). A limit that is empty does not limit; beyond a `warn`
    payments go through and are flagged. The accounts of a union itself have no group.
    `state_reason` is the operator's, for the account's own hub. `in_rounds` is its hub's word
    whether rounds set off anything of it. `version` and `head` are the
    account's last chain row. Whatever changes an account, its positions or its
    pending transfers holds the lock of this row; locks are taken in the order of ids.
    """

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    group_id: Mapped[str | None] = mapped_column(ForeignKey("groups.id"))
    kind: Mapped[AccountKind] = mapped_column(enum_column(AccountKind))
    state: Mapped[AccountState] = mapped_column(
        enum_column(AccountState), default=AccountState.OPEN
    )
    state_reason: Mapped[str | None] = mapped_column(String(MAX_REASON))
    in_rounds: Mapped[bool] = mapped_column(default=True)
    name: Mapped[str] = mapped_column(String(60))
    balance: Mapped[int] = mapped_column(default=0)
    pending_out: Mapped[int] = mapped_column(default=0)
    pending_in: Mapped[int] = mapped_column(default=0)
    credit_limit: Mapped[int | None]
    surplus_limit: Mapped[int | None]
    credit_warn: Mapped[int | None]
    surplus_warn: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=0)
    head: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))

    __table_args__ = (
        UniqueConstraint("union_id", "name"),
        UniqueConstraint("union_id", "group_id", "kind"),
        CheckConstraint("pending_out >= 0", name="pending_out_not_negative"),
        CheckConstraint("pending_in >= 0", name="pending_in_not_negative"),
        CheckConstraint("credit_limit >= 0", name="credit_limit_not_negative"),
        CheckConstraint("surplus_limit >= 0", name="surplus_limit_not_negative"),
        CheckConstraint("credit_warn >= 0", name="credit_warn_not_negative"),
        CheckConstraint("surplus_warn >= 0", name="surplus_warn_not_negative"),
        CheckConstraint("version >= 0", name="version_not_negative"),
        CheckConstraint(
            "(kind IN ('levy', 'commons')) = (group_id IS NULL)", name="a_groups_or_the_unions"
        ),
    )

    def status(self) -> AccountStatus:
        """Return the traffic light of this account, pending counted."""
        uses = (
            (self.credit_limit, self.credit_warn, self.used_below()),
            (self.surplus_limit, self.surplus_warn, self.used_above()),
        )
        if any(is_beyond(stop, used) for stop, _, used in uses):
            return AccountStatus.OVER
        if any(is_beyond(stop, 2 * used) or is_beyond(warn, used) for stop, warn, used in uses):
            return AccountStatus.ALERT
        return AccountStatus.OK


class Position(PositionRoom, Base):
    """P(account, counterparty): what the counterparty owes the account; the opposite is negative.

    `pending_out` and `given` are what pending transfers and proposed rounds may yet take from
    this position; `pair_limit` is how much the counterparty lets the account owe it.
    """

    __tablename__ = "positions"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    counterparty_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    pending_out: Mapped[int] = mapped_column(default=0)
    given: Mapped[int] = mapped_column(default=0)
    pair_limit: Mapped[int | None]
    pair_warn: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("account_id <> counterparty_id", name="not_towards_itself"),
        CheckConstraint("pending_out >= 0", name="pending_out_not_negative"),
        CheckConstraint("given >= 0", name="given_not_negative"),
        CheckConstraint("pair_limit >= 0", name="pair_limit_not_negative"),
        CheckConstraint("pair_warn >= 0", name="pair_warn_not_negative"),
        Index(None, "counterparty_id"),
        KEPT_BY_KEY,
    )


def is_beyond(level: int | None, used: int) -> bool:
    """Tell whether a use lies beyond a level of a limit; none is beyond a level that is not set."""
    return level is not None and used > level


def find_account(session: Session, group_id: str, union_id: str = DEFAULT_UNION) -> Account | None:
    """Return a group's own account, if it has one."""
    return session.scalar(
        select(Account).where(
            Account.union_id == union_id,
            Account.group_id == group_id,
            Account.kind == AccountKind.GROUP,
        )
    )


def account_of(session: Session, group_id: str, union_id: str = DEFAULT_UNION) -> Account:
    """Return a group's own account, or raise NotFoundError."""
    account = find_account(session, group_id, union_id)
    if account is None:
        raise NotFoundError(f"group {group_id!r} has no account in union {union_id!r}")
    return account


def account_in(session: Session, group_id: str, union_id: str | None) -> Account:
    """Return a group's own account in a union; without one, in its only union or the main one.

    Raises NotFoundError where it has none, InvalidError where several could be meant.
    """
    if union_id is not None:
        return account_of(session, group_id, union_id)
    own = select(Account).filter_by(group_id=group_id, kind=AccountKind.GROUP)
    found = {one.union_id: one for one in session.scalars(own.order_by(Account.union_id))}
    if len(found) > 1 and DEFAULT_UNION not in found:
        raise InvalidError("union", f"must be one of {', '.join(found)}")
    return next(iter(found.values())) if len(found) == 1 else account_of(session, group_id)


def lock_accounts(session: Session, ids: Iterable[int] | Select[int]) -> dict[int, Account]:
    """Lock accounts in the order of their ids and return them as they are now."""
    found = session.scalars(
        select(Account)
        .where(Account.id.in_(ids))
        .order_by(Account.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {account.id: account for account in found}


def new_position(account_id: int, counterparty_id: int) -> Position:
    """Make the empty position of an account towards a counterparty."""
    return Position(
        account_id=account_id, counterparty_id=counterparty_id, amount=0, pending_out=0, given=0
    )


def positions_of(session: Session, account_id: int) -> list[tuple[Position, str]]:
    """Return an account's positions with their counterparties' names, in the names' order."""
    rows = session.execute(
        select(Position, Account.name)
        .join(Account, Account.id == Position.counterparty_id)
        .where(Position.account_id == account_id)
        .order_by(Account.name)
    )
    return [(position, name) for position, name in rows]
