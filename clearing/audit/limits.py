"""Limits and reservations: what holds now, and what was passed since each limit was set."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import (
    Account,
    Limit,
    LimitChange,
    LimitKind,
    Position,
    first_hash,
    limit_of,
    next_hash,
    used_of,
)
from clearing.audit.chains import transfer_of
from clearing.audit.finding import Finding, names_of
from clearing.ledger import ChainRow, Entry, Journal, JournalKind
from clearing.rounds import Round, RoundState, SetOff
from clearing.transfers import Transfer, TransferState, reservation

Key = tuple[LimitKind, int, int | None]
"""Which limit of which account, and towards whom."""

_Move = tuple[int, int, JournalKind, datetime, datetime | None, bool]
"""Version, amount, kind, when it was posted and made, and whether the operator did it."""

_CHUNK: Final = 10_000
_WHOLE: Final = itemgetter(-1)
_RELEASED: Final = (JournalKind.PAYMENT, JournalKind.LEVY)
_PAYMENTS: Final = frozenset({JournalKind.PAYMENT, JournalKind.REVERSAL, JournalKind.LEVY})


@dataclass
class _Setting:
    """A limit as it was set at some time, and how much of it was used then."""

    limit: Limit
    used: int
    since: datetime


def limits(session: Session) -> Finding:
    """Check limits and reservations.

    A limit may be set below what is used. What was agreed before that still passes, so the use may
    stay, but nothing that was made afterwards may be beyond it.
    """
    found = Finding(4, "limits hold, reservations counted, and reservations = sum of open ones")
    settings, broken = _settings(session)
    found.problems += broken
    accounts = {account.id: account for account in session.scalars(select(Account))}
    waiting = _reserving(session, accounts)
    standing = {key: history[-1] for key, history in settings.items()}
    for key, limit, used in _uses(session, accounts):
        found.checked += 1
        last = standing.pop(key, None)
        if limit != (last.limit if last else Limit()):
            found.problems.append(f"{_limit_name(session, key)} is not what was set last")
        stop = limit.stop
        if stop is None or used <= stop:
            continue
        later = last is not None and any(made > last.since for made in waiting.get(key, ()))
        most = stop if last is None or later else max(stop, last.used)
        if last is None or used > most + _forced_since(session, key, last.since):
            found.problems.append(f"{_limit_name(session, key)} is {stop}, used {used}")
    for key, last in standing.items():
        if last.limit != Limit():
            found.problems.append(f"{_limit_name(session, key)} is gone, {last.limit.stop} was set")
    for key, history in settings.items():
        found.problems += _passed(session, key, history)
    found.problems += _reservations(session, accounts)
    return found


def _settings(session: Session) -> tuple[dict[Key, list[_Setting]], list[str]]:
    """Return each limit's settings in their order, and where their chains are broken."""
    accounts = {account.id: account for account in session.scalars(select(Account))}
    heads = {account.id: first_hash(account) for account in accounts.values()}
    settings: dict[Key, list[_Setting]] = defaultdict(list)
    broken = []
    for change in session.scalars(select(LimitChange).order_by(LimitChange.id)):
        limit = Limit(change.warn, change.stop)
        key = (change.kind, change.account_id, change.counterparty_id)
        settings[key].append(_Setting(limit, change.used, change.changed_at))
        if change.account_id not in heads:
            broken.append(f"account #{change.account_id}: limit change {change.id} is nobody's")
            continue
        wanted = next_hash(heads[change.account_id], change)
        heads[change.account_id] = change.hash
        if change.hash != wanted:
            name = accounts[change.account_id].name
            broken.append(f"account {name}: limit change {change.id} does not verify")
    return settings, broken


def _limit_name(session: Session, key: Key) -> str:
    kind, account_id, counterparty_id = key
    names = names_of(session)
    towards = "" if counterparty_id is None else f" towards {names[counterparty_id]}"
    return f"account {names[account_id]}: {kind} limit{towards}"


def _uses(session: Session, accounts: dict[int, Account]) -> Iterator[tuple[Key, Limit, int]]:
    for account in accounts.values():
        for kind in (LimitKind.CREDIT, LimitKind.SURPLUS):
            yield (kind, account.id, None), limit_of(account, kind), used_of(account, kind)
    for row in session.scalars(select(Position)):
        key = (LimitKind.PAIR, row.account_id, row.counterparty_id)
        yield key, limit_of(row, LimitKind.PAIR), row.used()


def _ids(accounts: dict[int, Account]) -> dict[tuple[str, str], int]:
    return {(account.union_id, account.name): account.id for account in accounts.values()}


def _open(session: Session) -> Iterable[Transfer]:
    return session.scalars(
        select(Transfer).where(Transfer.state == TransferState.PENDING, Transfer.reserved)
    )


def _reserving(session: Session, accounts: dict[int, Account]) -> dict[Key, list[datetime]]:
    """Return when the transfers were made that reserve some of each limit now."""
    made: dict[Key, list[datetime]] = defaultdict(list)
    ids = _ids(accounts)
    for transfer in _open(session):
        wanted = reservation(transfer)
        debtor = ids.get((transfer.union_id, wanted.debtor), 0)
        creditor = ids.get((transfer.union_id, wanted.creditor), 0)
        for key in (
            (LimitKind.CREDIT, debtor, None),
            (LimitKind.SURPLUS, creditor, None),
            (LimitKind.PAIR, debtor, creditor),
        ):
            made[key].append(transfer.created_at)
    return made


def _forced_since(session: Session, key: Key, since: datetime) -> int:
    """Return how much the operator used of a limit since, which no limit holds up.

    So much of it may be used beyond what else would be.
    """
    sign = _sign(key)
    return sum(
        max(0, amount * sign)
        for _, amount, _, posted_at, _, forced in _together(session, key)
        if forced and posted_at >= since
    )


def _sign(key: Key) -> int:
    """Return the sign of what uses up a limit."""
    return 1 if key[0] is LimitKind.SURPLUS else -1


def _passed(session: Session, key: Key, history: list[_Setting]) -> Iterator[str]:
    """Tell of payments beyond the highest stop that stood from when they were made until posted.

    Room is made sure of in between, reservations counted, and the balance alone never uses more
    than that, but for what was used meanwhile by the operator or beside payments. In the order of
    the account's chain, since a clock may have been set back.
    """
    if all(setting.limit.stop is None for setting in history):
        return
    name, sign = _limit_name(session, key), _sign(key)
    balance, other_uses = 0, []
    for version, amount, kind, posted_at, made_at, forced in _together(session, key):
        balance += amount
        if amount * sign <= 0:
            continue
        if forced or kind not in _PAYMENTS:
            other_uses.append((posted_at, amount * sign))
            continue
        if made_at is None:
            continue
        stop = _highest(history, made_at, posted_at)
        if stop is None or balance * sign <= stop:
            continue
        if balance * sign > stop + sum(use for when, use in other_uses if when >= made_at):
            yield f"{name} was {stop} when version {version} brought the use to {balance * sign}"


def _together(session: Session, key: Key) -> Iterator[_Move]:
    """Yield all that moved an account, or its position towards another, in the chain's order.

    What a round releases and what it sets off is one move, after which limits hold; in between
    they need not. The payments of it that was made first tells when it was made.
    """
    for _, group in groupby(session.execute(_moves(key)), _WHOLE):
        moves: list[_Move] = [cast("_Move", tuple(row)[:-1]) for row in group]
        version, _, kind, posted_at, _, forced = moves[-1]
        made = [made_at for _, _, _, _, made_at, _ in moves if made_at is not None]
        if made and kind is JournalKind.SET_OFF:
            kind = JournalKind.PAYMENT
        amount = sum(move[1] for move in moves)
        yield version, amount, kind, posted_at, min(made) if made else None, forced


def _moves(key: Key) -> Select[int, int, JournalKind, datetime, datetime, bool, str]:
    """Ask for all that moved an account, or its position towards another, in the chain's order.

    Last comes what moves of one round have in common and no others.
    """
    _, account_id, counterparty_id = key
    about, paid = transfer_of(Journal), aliased(Journal)  # a levy is its payment's
    whole = func.coalesce(paid.about, Journal.id)
    amount = ChainRow.amount if counterparty_id is None else Entry.amount
    query = (
        select(
            ChainRow.version,
            amount,
            Journal.kind,
            Journal.posted_at,
            Transfer.created_at,
            func.coalesce(Transfer.by_operator, False),
            case((Journal.kind.in_(_RELEASED), whole), else_=Journal.id),
        )
        .select_from(ChainRow)
        .join(Journal, Journal.id == ChainRow.journal_id)
        .outerjoin(Transfer, Transfer.id == about)
        .outerjoin(paid, paid.id == about)
        .where(ChainRow.account_id == account_id)
        .order_by(ChainRow.version)
    )
    if counterparty_id is not None:
        query = query.join(
            Entry,
            (Entry.journal_id == ChainRow.journal_id) & (Entry.account_id == ChainRow.account_id),
        ).where(Entry.counterparty_id == counterparty_id)
    return query.execution_options(yield_per=_CHUNK)


def _highest(history: list[_Setting], since: datetime, until: datetime) -> int | None:
    """Return the highest stop that stood at some time of a span; None where there was none."""
    before = [setting for setting in history if setting.since <= since]
    stood = [before[-1].limit.stop] if before else [None]
    stood += [one.limit.stop for one in history if since < one.since <= until]
    return None if None in stood else max(stop for stop in stood if stop is not None)


def _reservations(session: Session, accounts: dict[int, Account]) -> Iterator[str]:
    reserved: dict[tuple[str, Any], int] = defaultdict(int)
    ids, names = _ids(accounts), names_of(session)
    for transfer in _open(session):
        wanted = reservation(transfer)
        debtor = ids.get((transfer.union_id, wanted.debtor), 0)
        creditor = ids.get((transfer.union_id, wanted.creditor), 0)
        reserved["out", debtor] += wanted.out
        reserved["in", creditor] += wanted.into
        reserved["pair", (debtor, creditor)] += wanted.pair
    of_round = (Round.id == SetOff.round_id) & (Round.state == RoundState.PROPOSED)
    proposed = select(SetOff).join(Round, of_round)
    for part in session.scalars(proposed):
        off = max(0, part.amount - max(0, part.released))
        reserved["given", (part.creditor_id, part.debtor_id)] += off
        reserved["given", (part.debtor_id, part.creditor_id)] += part.drawn
    kept: dict[tuple[str, Any], int] = {}
    for account in accounts.values():
        kept["out", account.id], kept["in", account.id] = account.pending_out, account.pending_in
    for row in session.scalars(select(Position)):
        pair = (row.account_id, row.counterparty_id)
        kept["pair", pair], kept["given", pair] = row.pending_out, row.given
    for kind, key in kept.keys() | reserved.keys():
        said, open_ones = kept.get((kind, key), 0), reserved.get((kind, key), 0)
        if said != open_ones:
            account_id, towards = key if isinstance(key, tuple) else (key, None)
            to = "" if towards is None else f" towards {names[towards]}"
            yield f"account {names[account_id]}: {kind}{to} is {said}, open ones sum to {open_ones}"
