"""Accounts and positions as a transaction holds them: locked, in memory, at little cost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Select, Table, select, text, update
from sqlalchemy.orm import Session

from clearing import bulk
from clearing.accounts import Account, AccountKind, AccountState, Position
from clearing.limits import AccountRoom, PositionRoom
from commons.database import Base

ACCOUNTS: Final[Table] = Base.metadata.tables[Account.__tablename__]
POSITIONS: Final[Table] = Base.metadata.tables[Position.__tablename__]

_FIGURES: Final = ("balance", "pending_out", "pending_in", "version", "head")
_TAKEN: Final = ("amount", "pending_out", "given")

Pair = tuple[int, int]


@dataclass(slots=True)
class HeldAccount(AccountRoom):
    """An account in memory; its figures, chain and reservations are written back, nothing else."""

    id: int
    union_id: str
    group_id: str | None
    kind: AccountKind
    state: AccountState
    name: str
    balance: int
    pending_out: int
    pending_in: int
    credit_limit: int | None
    surplus_limit: int | None
    credit_warn: int | None
    surplus_warn: int | None
    version: int
    head: str


@dataclass(slots=True)
class HeldPosition(PositionRoom):
    """A position in memory; its amount and reservations are written back, nothing else."""

    account_id: int
    counterparty_id: int
    amount: int = 0
    pending_out: int = 0
    given: int = 0
    pair_limit: int | None = None
    pair_warn: int | None = None


_ACCOUNT: Final = select(*(ACCOUNTS.c[name] for name in HeldAccount.__slots__))
_LOCKING: Final = _ACCOUNT.order_by(ACCOUNTS.c.id).with_for_update()
_BY_ID: Final = bulk.Sought(lambda among: _LOCKING.where(among(ACCOUNTS.c.id)))
_POSITION: Final = select(*(POSITIONS.c[name] for name in HeldPosition.__slots__))
_OF_PAIRS: Final = ", ".join(f"found.{name}" for name in HeldPosition.__slots__)
_PAIRS: Final = {
    "postgresql": text(
        f"SELECT {_OF_PAIRS} FROM positions AS found"  # noqa: S608 (names of our own columns)
        " JOIN unnest(CAST(:accounts AS bigint[]), CAST(:others AS bigint[])) AS wanted(a, b)"
        " ON found.account_id = wanted.a AND found.counterparty_id = wanted.b"
    ),
    "sqlite": text(
        f"SELECT {_OF_PAIRS} FROM json_each(:wanted) AS wanted"  # noqa: S608 (as above)
        " CROSS JOIN positions AS found ON found.account_id = json_extract(wanted.value, '$[0]')"
        " AND found.counterparty_id = json_extract(wanted.value, '$[1]')"
    ),
}


def lock_accounts(session: Session, ids: Iterable[int] | Select[int]) -> dict[int, HeldAccount]:
    """Lock accounts in the order of their ids and return them as they are now."""
    if not isinstance(ids, Select):
        return {row[0]: HeldAccount(*row) for row in _BY_ID.rows(session, ids)}
    session.flush()
    return _accounts(session, _LOCKING.where(ACCOUNTS.c.id.in_(ids)))


def read_accounts(session: Session, union_id: str) -> dict[int, HeldAccount]:
    """Return the accounts of a union as they are now, without locks."""
    session.flush()
    return _accounts(session, _ACCOUNT.where(ACCOUNTS.c.union_id == union_id))


def _accounts(session: Session, query: Select[Any]) -> dict[int, HeldAccount]:
    return {row[0]: HeldAccount(*row) for row in session.connection().execute(query)}


def read_positions(session: Session, pairs: Iterable[Pair]) -> Iterator[HeldPosition]:
    """Yield those of the positions that there are, each from an account to a counterparty."""
    wanted = list(pairs)
    if not wanted:
        return
    connection = session.connection()
    statement = _PAIRS[connection.dialect.name]
    told: dict[str, Any] = {"wanted": orjson.dumps(wanted).decode()}
    if connection.dialect.name == "postgresql":
        told = {"accounts": [a for a, _ in wanted], "others": [b for _, b in wanted]}
    yield from (HeldPosition(*row) for row in connection.execute(statement, told))


def read_matrix(session: Session, union_id: str) -> Iterator[HeldPosition]:
    """Yield all positions of a union."""
    own = select(ACCOUNTS.c.id).where(ACCOUNTS.c.union_id == union_id)
    query = _POSITION.where(POSITIONS.c.account_id.in_(own))
    return (HeldPosition(*row) for row in session.connection().execute(query))


def figures(account: HeldAccount) -> tuple[Any, ...]:
    """Return what of an account is written back."""
    return (
        account.balance, account.pending_out, account.pending_in, account.version, account.head
    )  # fmt: skip


def taken(position: HeldPosition) -> tuple[int, int, int]:
    """Return what of a position is written back."""
    return position.amount, position.pending_out, position.given


def write_accounts(session: Session, changed: Iterable[HeldAccount]) -> None:
    """Write back accounts that were changed in memory."""
    rows = [(account.id, *figures(account)) for account in changed]
    bulk.update_rows(session, ACCOUNTS, ("id",), _FIGURES, rows)


def write_positions(
    session: Session, changed: Iterable[HeldPosition], new: Iterable[HeldPosition]
) -> None:
    """Write back positions that were changed in memory, and those that had no row yet."""
    keys = ("account_id", "counterparty_id")
    rows = [(p.account_id, p.counterparty_id, *taken(p)) for p in changed]
    bulk.update_rows(session, POSITIONS, keys, _TAKEN, rows)
    rows = [(p.account_id, p.counterparty_id, *taken(p)) for p in new]
    bulk.insert_rows(session, POSITIONS, (*keys, *_TAKEN), rows)


def add_entries(session: Session, entries: Table, journal_id: UUID) -> None:
    """Add the entries of a journal to the positions, all of which are there."""
    e, p = entries.c, POSITIONS.c
    same = (p.account_id == e.account_id) & (p.counterparty_id == e.counterparty_id)
    change = update(POSITIONS).where(e.journal_id == journal_id, same)
    session.connection().execute(change.values(amount=p.amount + e.amount))
