"""Unions, the groups' accounts in them, and the signed matrix of positions between accounts."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, Select, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain
from commons import database
from commons.database import Base, enum_column
from commons.errors import InvalidError, NotFoundError

DEFAULT_UNION: Final = "main"
NO_LIMIT: Final = 2**62
"""Where nobody set a limit, the width of a BIGINT does."""


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


class AccountStatus(StrEnum):
    """How near an account is to its limits: `alert` from half of one on."""

    OK = "ok"
    ALERT = "alert"
    OVER = "over"


class Union(Base):
    """A set of groups that clear together, in one clearing unit of scale 4.

    `credit_default` and `surplus_default` are the limits that a new group starts with.
    """

    __tablename__ = "unions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    credit_default: Mapped[int | None]
    surplus_default: Mapped[int | None]
    created_at: Mapped[datetime]


class Account(Base):
    """A row of the matrix; all amounts in smallest clearing units.

    `balance` is the sum of the row's positions, kept here beside what is reserved by pending
    transfers (`pending_out`, `pending_in`). A limit that is empty does not limit; beyond a `warn`
    payments go through and are flagged. The accounts of a union itself have no group. `version`
    and `head` are the account's last chain row. Whatever changes an account, its positions or its
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

    def used_below(self) -> int:
        """Return how far below zero pending payments may yet bring the balance."""
        return self.pending_out - self.balance

    def used_above(self) -> int:
        """Return how far above zero pending payments may yet bring the balance."""
        return self.balance + self.pending_in

    def room_below(self) -> int:
        """Return how much more this account can pay, pending counted."""
        return _stop(self.credit_limit) - self.used_below()

    def room_above(self) -> int:
        """Return how much more this account can receive, pending counted."""
        return _stop(self.surplus_limit) - self.used_above()

    def status(self) -> AccountStatus:
        """Return the traffic light of this account, pending counted."""
        pairs = (
            (self.credit_limit, self.used_below()),
            (self.surplus_limit, self.used_above()),
        )
        limited = [(limit, used) for limit, used in pairs if limit is not None]
        if any(used > limit for limit, used in limited):
            return AccountStatus.OVER
        if any(2 * used > limit for limit, used in limited):
            return AccountStatus.ALERT
        return AccountStatus.OK


class Position(Base):
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
    )

    @property
    def obligation(self) -> int:
        """What the account owes the counterparty: the positive side of the opposite position."""
        return max(0, -self.amount)

    def used(self) -> int:
        """Return how much of the pair limit is taken, reservations counted."""
        return self.obligation + self.pending_out + self.given

    def room(self) -> int:
        """Return how much more the account may owe the counterparty, reservations counted."""
        return _stop(self.pair_limit) - self.used()


def _stop(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit


class LimitKind(StrEnum):
    """Which limit."""

    CREDIT = "credit"
    SURPLUS = "surplus"
    PAIR = "pair"


class LimitChange(Base):
    """A limit as it was set, with how much of it was used then; added to, never rewritten.

    A limit may be set below what is used. From there on the use may only fall, which is what
    this row lets an audit check. `stop` empty means no limit.
    """

    __tablename__ = "limit_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    counterparty_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[LimitKind] = mapped_column(enum_column(LimitKind))
    warn: Mapped[int | None]
    stop: Mapped[int | None]
    used: Mapped[int]
    changed_at: Mapped[datetime]


database.append_only(LimitChange)


def open_account(
    session: Session,
    group_id: str,
    union_id: str = DEFAULT_UNION,
    credit_limit: int | None = None,
    surplus_limit: int | None = None,
) -> Account:
    """Open the accounts of a group in a union (its own and its residue's) and return its own.

    Limits are in smallest clearing units; None means no limit. Opening again changes nothing.
    """
    if session.get(Union, union_id) is None:
        session.add(Union(id=union_id, created_at=database.now(session)))
        session.flush()
    existing = find_account(session, group_id, union_id)
    if existing is not None:
        return existing
    account = _new_account(union_id, group_id, AccountKind.GROUP, group_id)
    residue = _new_account(union_id, group_id, AccountKind.RESIDUE, f"residue/{group_id}")
    session.add_all([account, residue])
    session.flush()
    return set_limits(session, group_id, credit_limit, surplus_limit, union_id)


def _new_account(union_id: str, group_id: str, kind: AccountKind, name: str) -> Account:
    head = chain.first_hash(union_id, name)
    return Account(
        union_id=union_id,
        group_id=group_id,
        kind=kind,
        name=name,
        balance=0,
        pending_out=0,
        pending_in=0,
        version=0,
        head=head,
    )


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


def set_limits(
    session: Session,
    group_id: str,
    credit_limit: int | None,
    surplus_limit: int | None,
    union_id: str = DEFAULT_UNION,
) -> Account:
    """Set both limits of a group's account, in smallest clearing units; None lifts a limit.

    A limit may lie below the standing balance: nothing is undone, and what does not make it
    worse still passes.
    """
    for field, limit in (("credit_limit", credit_limit), ("surplus_limit", surplus_limit)):
        if limit is not None and limit < 0:
            raise InvalidError(field, "must not be negative")
    account = account_of(session, group_id, union_id)
    lock_accounts(session, [account.id])
    account.credit_limit, account.surplus_limit = credit_limit, surplus_limit
    changes = (
        (LimitKind.CREDIT, credit_limit, account.used_below()),
        (LimitKind.SURPLUS, surplus_limit, account.used_above()),
    )
    moment = database.now(session)
    for kind, stop, used in changes:
        session.add(
            LimitChange(account_id=account.id, kind=kind, stop=stop, used=used, changed_at=moment)
        )
    session.flush()
    return account


def set_pair_limit(session: Session, debtor: str, creditor: str, pair_limit: int | None) -> None:
    """Set how much group `debtor` may owe group `creditor`, in smallest clearing units."""
    if pair_limit is not None and pair_limit < 0:
        raise InvalidError("pair_limit", "must not be negative")
    if debtor == creditor:
        raise InvalidError("pair_limit", "is between two different groups")
    pair = account_of(session, debtor), account_of(session, creditor)
    lock_accounts(session, [account.id for account in pair])
    position = session.get(Position, (pair[0].id, pair[1].id), populate_existing=True)
    if position is None:
        position = new_position(pair[0].id, pair[1].id)
        session.add(position)
    position.pair_limit = pair_limit
    session.add(
        LimitChange(
            account_id=pair[0].id,
            counterparty_id=pair[1].id,
            kind=LimitKind.PAIR,
            stop=pair_limit,
            used=position.used(),
            changed_at=database.now(session),
        )
    )
    session.flush()


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
