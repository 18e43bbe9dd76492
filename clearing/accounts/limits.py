"""Limits: set with a level that warns and one that stops, each setting kept in a hash chain."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain, events
from clearing.accounts.matrix import (
    DEFAULT_UNION,
    Account,
    Position,
    account_of,
    lock_accounts,
    new_position,
)
from clearing.events import EventKind, Notice
from commons import audit_log, database
from commons.database import Base, enum_column
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, format_amount


class LimitKind(StrEnum):
    """Which limit."""

    CREDIT = "credit"
    SURPLUS = "surplus"
    PAIR = "pair"


@dataclass(frozen=True)
class Limit:
    """The two levels of a limit, in smallest clearing units; None where there is no such level.

    Beyond `warn` a payment goes through and is flagged; nothing goes beyond `stop`.
    """

    warn: int | None = None
    stop: int | None = None


class LimitChange(Base):
    """A limit as it was set, with how much of it was used then; added to, never rewritten.

    A limit may be set below what is used. From there on the use may only fall, which is what
    this row lets an audit check. `hash` chains the account's rows in their order: the SHA-256 of
    the row and the previous hash as canonical JSON; the first follows the account's first hash.
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
    hash: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))


database.append_only(LimitChange)


def limit_of(of: Account | Position, kind: LimitKind) -> Limit:
    """Return the levels of an account's credit or surplus limit, or of a position's pair limit."""
    return Limit(getattr(of, f"{kind}_warn"), getattr(of, f"{kind}_limit"))


def used_of(of: Account | Position, kind: LimitKind) -> int:
    """Return how much of a limit is used, reservations counted."""
    if isinstance(of, Position):
        return of.used()
    return of.used_below() if kind is LimitKind.CREDIT else of.used_above()


def set_limits(
    session: Session,
    group_id: str,
    credit_limit: int | None,
    surplus_limit: int | None,
    union_id: str = DEFAULT_UNION,
) -> Account:
    """Set where a group's account stops, both ways, in smallest clearing units; None lifts a limit.

    The levels that warn stay. A limit may lie below the standing balance: nothing is undone, and
    what does not make it worse still passes.
    """
    account = account_of(session, group_id, union_id)
    lock_accounts(session, [account.id])
    for kind, stop in ((LimitKind.CREDIT, credit_limit), (LimitKind.SURPLUS, surplus_limit)):
        set_limit(session, account, kind, replace(limit_of(account, kind), stop=stop))
    return account


def set_limit(
    session: Session, account: Account, kind: LimitKind, limit: Limit
) -> LimitChange | None:
    """Set both levels of an account's credit or surplus limit; None where that changes nothing."""
    _check(kind, limit)
    lock_accounts(session, [account.id])
    return _set(session, account, account, kind, limit)


def set_pair_limit(
    session: Session,
    debtor: str,
    creditor: str,
    pair_limit: int | None,
    union_id: str = DEFAULT_UNION,
) -> LimitChange | None:
    """Set how much group `debtor` may owe group `creditor`, in smallest clearing units.

    The level that warns stays.
    """
    account = account_of(session, debtor, union_id)
    counterparty = account_of(session, creditor, union_id)
    lock_accounts(session, [account.id, counterparty.id])
    position = session.get(Position, (account.id, counterparty.id))
    limit = Limit(None if position is None else position.pair_warn, pair_limit)
    return set_pair(session, account, counterparty, limit)


def set_pair(
    session: Session, account: Account, counterparty: Account, limit: Limit
) -> LimitChange | None:
    """Set both levels of how much an account may owe another; None where that changes nothing."""
    _check(LimitKind.PAIR, limit)
    if account is counterparty:
        raise InvalidError("pair_limit", "is between two different groups")
    lock_accounts(session, [account.id, counterparty.id])
    key = account.id, counterparty.id
    position = session.get(Position, key, populate_existing=True)
    if position is None:
        position = new_position(*key)
        session.add(position)
    return _set(session, account, position, LimitKind.PAIR, limit)


def _check(kind: LimitKind, limit: Limit) -> None:
    for level, amount in (("limit", limit.stop), ("warn", limit.warn)):
        if amount is not None and amount < 0:
            raise InvalidError(f"{kind}_{level}", "must not be negative")
    if limit.warn is not None and limit.stop is not None and limit.warn > limit.stop:
        warn, stop = (format_amount(level, CLEARING_SCALE) for level in (limit.warn, limit.stop))
        raise InvalidError(f"{kind}_warn", f"is {warn}, beyond the {kind}_limit of {stop}")


def _set(
    session: Session, account: Account, of: Account | Position, kind: LimitKind, limit: Limit
) -> LimitChange | None:
    if limit_of(of, kind) == limit:
        return None
    setattr(of, f"{kind}_warn", limit.warn)
    setattr(of, f"{kind}_limit", limit.stop)
    change = LimitChange(
        account_id=account.id,
        counterparty_id=of.counterparty_id if isinstance(of, Position) else None,
        kind=kind,
        warn=limit.warn,
        stop=limit.stop,
        used=used_of(of, kind),
        changed_at=database.now(session),
    )
    last = select(LimitChange.hash).filter_by(account_id=account.id)
    previous = session.scalar(last.order_by(LimitChange.id.desc()).limit(1))
    change.hash = next_hash(previous or first_hash(account), change)
    session.add(change)
    session.flush()
    return change


def first_hash(account: Account) -> str:
    """Return the hash, in hex, that the chain of an account's limits starts from."""
    return chain.first_hash(account.union_id, account.name)


def next_hash(previous: str, change: LimitChange) -> str:
    """Return the hash, in hex, of a change after `previous`; a level that is not set is empty."""
    row = {
        "account": change.account_id,
        "counterparty": change.counterparty_id,
        "kind": change.kind,
        "warn": change.warn,
        "stop": change.stop,
        "used": change.used,
        "time": chain.time_text(change.changed_at),
    }
    texts = {name: "" if value is None else str(value) for name, value in row.items()}
    return chain.digest({"previous": previous, **texts})


def tell(session: Session, actor: str, changes: Iterable[LimitChange | None]) -> None:
    """Tell the hubs concerned of changed limits, and the audit log; call it last, after all locks.

    A pair's limit concerns both its groups.
    """
    notices, deeds = [], []
    made = [change for change in changes if change is not None]
    for change in made:
        account = session.get_one(Account, change.account_id)
        other = change.counterparty_id and session.get_one(Account, change.counterparty_id)
        data = {
            "union": account.union_id,
            "group": account.name,
            "kind": str(change.kind),
            "counterparty": other.name if other else "",
            "warn": _text(change.warn),
            "stop": _text(change.stop),
        }
        notices += [
            Notice(concerned.group_id, EventKind.LIMIT_CHANGED, account.name, data)
            for concerned in (account, other)
            if concerned and concerned.group_id
        ]
        deeds.append((f"{account.union_id}/{account.name}", data))
    if made:
        events.record(session, notices, made[-1].changed_at)
    for subject, data in deeds:
        audit_log.record(session, actor, "limit-changed", subject, data)


def _text(minor: int | None) -> str:
    return "none" if minor is None else format_amount(minor, CLEARING_SCALE)
