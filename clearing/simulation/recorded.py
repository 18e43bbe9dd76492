"""What was recorded of a union in a period: what was tried, and within which limits."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Row, case, func, or_, select
from sqlalchemy.orm import Session

from clearing.accounts import Account, AccountKind, LimitChange, LimitKind, Union
from clearing.ledger import Entry, Journal, JournalKind
from clearing.rounds import Round, RoundState
from clearing.transfers import HeldTransfer, Transfer, TransferState, reservation
from clearing.transfers.model import TABLE
from commons.errors import InvalidError, NotFoundError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_CHUNK: Final = 10_000
_OF_TRANSFERS: Final = (JournalKind.PAYMENT, JournalKind.REVERSAL, JournalKind.LEVY)
_BESIDE: Final = (*_OF_TRANSFERS, JournalKind.SET_OFF)

Moved = tuple[int, int, int]
"""By how much an account comes to owe another: who, whom, how much; accounts as their places."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transfer that somebody tried, as a replay needs it; amounts in smallest clearing units.

    `debtor`, `creditor`, `out`, `into` and `pair` are those of its reservation, with accounts as
    their places; `entries` is all that it moves once it is posted. Times are microseconds of the
    epoch. It is decided upon at `tried_at`: posted at once, or where `reserves`, given room until
    it is posted at `agreed_at`. Its hubs gave it up at `until`, or would have. `wait`: it may wait
    for room. `forced`: no limit holds it up. `reverses` is the place of the attempt it takes back,
    where that lies in the period too. `posted` is whether it was, before the period's end.
    """

    debtor: int
    creditor: int
    out: int
    into: int
    pair: int
    entries: tuple[Moved, ...]
    tried_at: int
    agreed_at: int | None
    until: int | None
    reserves: bool
    wait: bool
    forced: bool
    reverses: int | None
    posted: bool


@dataclass(frozen=True, slots=True)
class LimitSet:
    """A limit that was set in the period; `other` is the counterparty where it is a pair's."""

    at: int
    kind: LimitKind
    account: int
    other: int | None
    stop: int | None


@dataclass(frozen=True)
class Recorded:
    """A union at the start of a period, and all that happened to it until the end.

    Accounts are known by their places in `names`; `groups` tells whose each is, and `own` which is
    a group's own account. `positions` holds P(i, j) of each two accounts, i before j. `credit`,
    `surplus` and `pair` are the limits that stood at the start; `moves` is what was posted besides
    transfers and set-offs, `rounds` when rounds were committed. Those `barred` take no part in
    rounds today.
    """

    union_id: str
    start: datetime
    end: datetime
    names: Sequence[str]
    groups: Sequence[str | None]
    own: Sequence[bool]
    barred: frozenset[int]
    credit_lines: bool
    positions: Mapping[tuple[int, int], int]
    credit: Sequence[int | None]
    surplus: Sequence[int | None]
    pair: Mapping[tuple[int, int], int | None]
    limits: Sequence[LimitSet]
    moves: Sequence[tuple[int, Moved]]
    attempts: Sequence[Attempt]
    rounds: Sequence[datetime]


def micros(moment: datetime) -> int:
    """Return a moment as microseconds of the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(at: int) -> datetime:
    """Return the moment of microseconds of the epoch."""
    return _EPOCH + at * _MICROSECOND


def count(session: Session, union_id: str, start: datetime, end: datetime) -> int:
    """Return how many transfers a replay of a period would try at most."""
    return (
        session.scalar(select(func.count()).select_from(TABLE).where(_tried(union_id, start, end)))
        or 0
    )


def read(
    session: Session,
    union_id: str,
    start: datetime,
    end: datetime,
    tick: Callable[[int], object] = lambda _done: None,
) -> Recorded:
    """Read what was recorded of a union from `start` to before `end`.

    `tick` is told of every few transfers that were read. Raises NotFoundError where there is no
    such union, InvalidError for a period that does not end after it starts.
    """
    union = session.get(Union, union_id)
    if union is None:
        raise NotFoundError(f"there is no union {union_id!r}")
    if start >= end:
        raise InvalidError("to", "must be later than from")
    accounts = session.scalars(
        select(Account).where(Account.union_id == union_id).order_by(Account.id)
    ).all()
    places = {account.id: place for place, account in enumerate(accounts)}
    before, during = _limits(session, places, start, end)
    return Recorded(
        union_id=union_id,
        start=start,
        end=end,
        names=[account.name for account in accounts],
        groups=[account.group_id for account in accounts],
        own=[account.kind is AccountKind.GROUP for account in accounts],
        barred=frozenset(places[a.id] for a in accounts if not a.in_rounds),
        credit_lines=union.credit_lines,
        positions=_positions(session, union_id, places, start),
        credit=[before.get((LimitKind.CREDIT, place, None)) for place in range(len(accounts))],
        surplus=[before.get((LimitKind.SURPLUS, place, None)) for place in range(len(accounts))],
        pair={
            (place, other): stop
            for (kind, place, other), stop in before.items()
            if kind is LimitKind.PAIR and other is not None
        },
        limits=during,
        moves=list(_moves(session, union_id, places, start, end)),
        attempts=_attempts(
            session, union_id, {a.name: places[a.id] for a in accounts}, start, end, tick
        ),
        rounds=_rounds(session, union_id, start, end),
    )


def _positions(
    session: Session, union_id: str, places: Mapping[int, int], start: datetime
) -> dict[tuple[int, int], int]:
    """Return what stood between each two accounts at the start, from the entries before it."""
    rows = session.execute(
        select(Entry.account_id, Entry.counterparty_id, func.sum(Entry.amount))
        .join(Journal, Journal.id == Entry.journal_id)
        .where(
            Journal.union_id == union_id,
            Journal.posted_at < start,
            Entry.account_id < Entry.counterparty_id,
        )
        .group_by(Entry.account_id, Entry.counterparty_id)
    )
    return {(places[a], places[b]): int(amount) for a, b, amount in rows if amount}


def _limits(
    session: Session, places: Mapping[int, int], start: datetime, end: datetime
) -> tuple[dict[tuple[LimitKind, int, int | None], int | None], list[LimitSet]]:
    """Return the limits that stood at the start, and those that were set since."""
    before: dict[tuple[LimitKind, int, int | None], int | None] = {}
    during: list[LimitSet] = []
    changes = session.execute(
        select(
            LimitChange.account_id,
            LimitChange.counterparty_id,
            LimitChange.kind,
            LimitChange.stop,
            LimitChange.changed_at,
        )
        .where(LimitChange.changed_at < end)
        .order_by(LimitChange.id)
    )
    for account_id, counterparty_id, kind, stop, changed_at in changes:
        if account_id not in places:
            continue
        place = places[account_id]
        other = None if counterparty_id is None else places[counterparty_id]
        if changed_at < start:
            before[kind, place, other] = stop
        else:
            during.append(LimitSet(micros(changed_at), kind, place, other, stop))
    return before, during


def _moves(
    session: Session, union_id: str, places: Mapping[int, int], start: datetime, end: datetime
) -> Iterator[tuple[int, Moved]]:
    """Yield what was posted besides transfers and set-offs: when, and who owes whom more by it."""
    rows = session.execute(
        select(Journal.posted_at, Entry.account_id, Entry.counterparty_id, Entry.amount)
        .join(Journal, Journal.id == Entry.journal_id)
        .where(
            Journal.union_id == union_id,
            Journal.kind.not_in(_BESIDE),
            Journal.posted_at >= start,
            Journal.posted_at < end,
            Entry.account_id < Entry.counterparty_id,
        )
        .order_by(Journal.posted_at, Journal.id, Entry.account_id, Entry.counterparty_id)
    )
    for posted_at, account_id, counterparty_id, amount in rows:
        yield micros(posted_at), (places[account_id], places[counterparty_id], -amount)


def _rounds(session: Session, union_id: str, start: datetime, end: datetime) -> list[datetime]:
    """Return when rounds were committed in the period."""
    ended = session.scalars(
        select(Round.ended_at)
        .where(
            Round.union_id == union_id,
            Round.state == RoundState.COMMITTED,
            Round.ended_at >= start,
            Round.ended_at < end,
        )
        .order_by(Round.ended_at)
    )
    return [moment for moment in ended if moment is not None]


def _tried(union_id: str, start: datetime, end: datetime) -> ColumnElement[bool]:
    """Ask for what was made before the end and not done with before the start."""
    return (
        (Transfer.union_id == union_id)
        & (Transfer.created_at < end)
        & or_(Transfer.ended_at.is_(None), Transfer.ended_at >= start)
    )


_COLUMNS: Final = (
    "id", "state", "payer_group", "payee_group", "payer_clearing", "payee_clearing", "levy",
    "reverses", "wait", "reserved", "by_operator", "created_at", "expires_at", "queued_at",
    "ended_at",
)  # fmt: skip


def _attempts(  # noqa: PLR0913, PLR0917 (whose, when, and how to tell of it)
    session: Session,
    union_id: str,
    places: Mapping[str, int],
    start: datetime,
    end: datetime,
    tick: Callable[[int], object],
) -> list[Attempt]:
    """Return what was tried, in its order; of one moment what was posted comes first."""
    rows = session.execute(
        select(*(TABLE.c[name] for name in _COLUMNS))
        .where(_tried(union_id, start, end))
        .order_by(
            TABLE.c.created_at,
            case((TABLE.c.state == TransferState.POSTED, 0), else_=1),
            TABLE.c.id,
        )
        .execution_options(yield_per=_CHUNK)
    )
    found: list[Attempt] = []
    at: dict[UUID, int] = {}
    for number, row in enumerate(rows, 1):
        attempt = _attempt(row, places, at, micros(end))
        if attempt is not None:
            at[row.id] = len(found)
            found.append(attempt)
        if number % _CHUNK == 0:
            tick(_CHUNK)
    return found


def _attempt(
    row: Row[Any], places: Mapping[str, int], at: Mapping[UUID, int], end: int
) -> Attempt | None:
    """Return a transfer as an attempt; None where its hubs never agreed and it never had room.

    One that was refused is taken to have been agreed to at once, had there been room. When it was
    decided is when it was refused, or queued, or posted without having been pending.
    """
    wanted = reservation(cast("HeldTransfer", row))  # a row has what a reservation is made of
    debtor, creditor = places[wanted.debtor], places[wanted.creditor]
    ended_at = None if row.ended_at is None else micros(row.ended_at)
    was_posted = row.state is TransferState.POSTED
    tried_at = agreed_at = ended_at
    reserves = bool(row.reserved) and row.state is not TransferState.REFUSED
    if row.queued_at is not None:
        tried_at = agreed_at = micros(row.queued_at)
        reserves = False
    elif reserves:
        tried_at = micros(row.created_at)
        agreed_at = ended_at if was_posted else None
    elif not was_posted and row.state is not TransferState.REFUSED:
        return None
    if tried_at is None:
        raise ValueError(f"transfer {row.id} is {row.state} and has no end")
    gave_up = ended_at is not None and not was_posted and row.state is not TransferState.REFUSED
    return Attempt(
        debtor=debtor,
        creditor=creditor,
        out=wanted.out,
        into=wanted.into,
        pair=wanted.pair,
        entries=tuple(_entries(row, places)),
        tried_at=tried_at,
        agreed_at=agreed_at,
        until=ended_at if gave_up else micros(row.expires_at) if row.wait else None,
        reserves=reserves,
        wait=row.wait,
        forced=row.by_operator,
        reverses=at.get(row.reverses),
        posted=was_posted and ended_at is not None and ended_at < end,
    )


def _entries(row: Row[Any], places: Mapping[str, int]) -> Iterator[Moved]:
    """Yield what a transfer moves: what is paid, the residue of its rounding and its levy."""
    payer, payee = places[row.payer_group], places[row.payee_group]
    parts = [(payee, row.payee_clearing)]
    if row.payer_clearing > row.payee_clearing:
        parts.append(
            (places[f"residue/{row.payee_group}"], row.payer_clearing - row.payee_clearing)
        )
    if row.levy:
        parts.append((places[AccountKind.LEVY.value], row.levy))
    for account, amount in parts:
        yield (payer, account, amount) if row.reverses is None else (account, payer, amount)


def check_groups(recorded: Recorded, groups: Collection[str]) -> None:
    """Raise NotFoundError for a group that has no account in the union."""
    unknown = sorted(set(groups) - set(recorded.groups))
    if unknown:
        raise NotFoundError(f"group {unknown[0]!r} has no account in union {recorded.union_id!r}")
