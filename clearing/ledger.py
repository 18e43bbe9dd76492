"""The ledger: append-only journals of entries, and the one door through which they are posted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import numpy as np
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    bindparam,
    exists,
    func,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import bulk, chain, columns, held
from clearing.accounts import Account, Position
from clearing.columns import Numbers
from clearing.held import HeldAccount, HeldPosition, Pair
from commons import database
from commons.database import Base, enum_column


class JournalKind(StrEnum):
    """What happened."""

    PAYMENT = "payment"
    REVERSAL = "reversal"
    LEVY = "levy"
    SET_OFF = "set-off"
    SETTLEMENT = "settlement"
    ASSIGNMENT = "assignment"
    OPENING = "opening"
    RESIDUE = "residue"


class Journal(Base):
    """One thing that happened, as a whole. A payment has its transfer's id, a set-off its round's.

    That makes a second posting of one transfer impossible: the id is the primary key. `about` is
    the transfer or period that a journal with an id of its own belongs to. `value_date` is the day
    it counts for where that is not the day it was posted.
    """

    __tablename__ = "journals"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(String(40))
    kind: Mapped[JournalKind] = mapped_column(enum_column(JournalKind))
    about: Mapped[UUID | None] = mapped_column(index=True)
    value_date: Mapped[date | None]
    posted_at: Mapped[datetime] = mapped_column(index=True)


class Entry(Base):
    """One line of a journal: what it adds to an account's position towards a counterparty.

    Journal and accounts are what `post` found; the audit names what the database does not hold.
    """

    __tablename__ = "entries"

    journal_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True)
    counterparty_id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]

    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        CheckConstraint("account_id <> counterparty_id", name="not_towards_itself"),
        database.KEPT_BY_KEY,
    )


class ChainRow(Base):
    """One version of an account: what a journal did to it, chained to all before (`chain.Row`)."""

    __tablename__ = "chain_rows"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    journal_id: Mapped[UUID] = mapped_column(index=True)
    kind: Mapped[JournalKind] = mapped_column(enum_column(JournalKind))
    counterparty: Mapped[str] = mapped_column(String(60))
    amount: Mapped[int]
    balance: Mapped[int]
    posted_at: Mapped[datetime]
    digest: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    hash: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))

    __table_args__ = (Index(None, "account_id", "posted_at"),)


for _model in (Journal, Entry, ChainRow):
    database.append_only(_model)

_JOURNALS, _ENTRIES, _CHAIN_ROWS = (
    Base.metadata.tables[model.__tablename__] for model in (Journal, Entry, ChainRow)
)
_JOURNAL_COLUMNS: Final = ("id", "union_id", "kind", "about", "value_date", "posted_at")
_ENTRY_COLUMNS: Final = ("journal_id", "account_id", "counterparty_id", "amount")
_CHAIN_COLUMNS: Final = (
    "account_id", "version", "journal_id", "kind", "counterparty", "amount", "balance",
    "posted_at", "digest", "hash",
)  # fmt: skip

_MOMENT: Final = bindparam("moment", type_=_JOURNALS.c.posted_at.type)
_IS_LATER: Final = select(exists().where(_JOURNALS.c.posted_at > _MOMENT))
_LATER: Final = bulk.Sought(
    lambda among: (
        select(_CHAIN_ROWS.c.account_id, func.max(_CHAIN_ROWS.c.posted_at))
        .where(among(_CHAIN_ROWS.c.account_id), _CHAIN_ROWS.c.posted_at > _MOMENT)
        .group_by(_CHAIN_ROWS.c.account_id)
    ),
)


@dataclass(slots=True)
class Line:
    """What an account's chain says of a journal: with whom, and a digest of what it is about."""

    account_id: int
    counterparty: str
    digest: str


@dataclass(slots=True)
class Draft:
    """A journal to be posted: entries (account, counterparty, amount) and a line per account.

    Amounts are in smallest clearing units. The entries of each pair must sum to 0. `about` and
    `value_date` are those of the `Journal`.
    """

    id: UUID
    kind: JournalKind
    entries: Sequence[tuple[int, int, int]]
    lines: Sequence[Line]
    about: UUID | None = None
    value_date: date | None = None


@dataclass
class Book:
    """Accounts that this transaction holds the locks of, with the positions between them.

    Everything is changed in memory and written at once by `write`, so that a batch of journals
    costs few statements, and each sees what those before it left.
    """

    session: Session
    accounts: dict[int, HeldAccount]
    positions: dict[Pair, HeldPosition] = field(default_factory=dict)
    _known: set[Pair] = field(default_factory=set, init=False)  # those that were looked for
    _figures: dict[int, tuple[Any, ...]] = field(default_factory=dict, init=False)
    _taken: dict[Pair, tuple[int, int, int]] = field(default_factory=dict, init=False)
    _journals: list[bulk.Row] = field(default_factory=list, init=False)
    _entries: list[bulk.Row] = field(default_factory=list, init=False)
    _chain_rows: list[bulk.Row] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Remember what is written, to tell later what was changed."""
        self._figures = {account.id: held.figures(account) for account in self.accounts.values()}

    @classmethod
    def lock(cls, session: Session, pairs: Iterable[Pair]) -> "Book":
        """Lock both accounts of every pair, in id order, and read the pairs' positions."""
        wanted = {pair for a, b in pairs for pair in ((a, b), (b, a))}
        book = cls(session, held.lock_accounts(session, {account for account, _ in wanted}))
        book.read(wanted)
        return book

    @classmethod
    def lock_union(cls, session: Session, union_id: str) -> "Book":
        """Lock every account of a union and read all positions between them.

        An account that is opened meanwhile is not locked, so it is not in the book.
        """
        wanted = select(Account.id).filter_by(union_id=union_id)
        book = cls(session, held.lock_accounts(session, wanted))
        matrix = held.read_matrix(session, union_id)
        ours = book.accounts.keys()
        book._take(p for p in matrix if {p.account_id, p.counterparty_id} <= ours)
        return book

    @classmethod
    def read_union(cls, session: Session, union_id: str) -> "Book":
        """Read a union's accounts and positions without locks, to look at only."""
        book = cls(session, held.read_accounts(session, union_id))
        book._take(held.read_matrix(session, union_id))
        return book

    def read(self, pairs: Iterable[Pair]) -> None:
        """Read positions between accounts that are locked; those that are not there are known."""
        wanted = set(pairs) - self._known
        self._known |= wanted
        self._take(held.read_positions(self.session, sorted(wanted)))

    def _take(self, found: Iterable[HeldPosition]) -> None:
        for position in found:
            key = (position.account_id, position.counterparty_id)
            self.positions[key] = position
            self._taken[key] = held.taken(position)

    def position(self, account_id: int, counterparty_id: int) -> HeldPosition:
        """Return a position, making it where the two never met.

        Raises KeyError where one of the accounts is not locked, which only a defect can cause.
        """
        key = (account_id, counterparty_id)
        found = self.positions.get(key)
        if found is None:
            _ = self.accounts[account_id], self.accounts[counterparty_id]
            if key not in self._known:
                self.read([key])
            found = self.positions.setdefault(key, HeldPosition(*key))
        return found

    def keep(
        self, journal: bulk.Row, entries: Iterable[bulk.Row], rows: Iterable[bulk.Row]
    ) -> None:
        """Keep a journal's rows until they are written; `post` calls this and nobody else."""
        self._journals.append(journal)
        self._entries.extend(entries)
        self._chain_rows.extend(rows)

    def write(self) -> None:
        """Write what was changed and posted; the commit is the caller's."""
        self.session.flush()
        for table, names, rows in (
            (_JOURNALS, _JOURNAL_COLUMNS, self._journals),
            (_ENTRIES, _ENTRY_COLUMNS, self._entries),
            (_CHAIN_ROWS, _CHAIN_COLUMNS, self._chain_rows),
        ):
            bulk.insert_rows(self.session, table, names, rows)
            rows.clear()
        self._write_accounts()
        self._write_positions()
        for row in list(self.session.identity_map.values()):
            if isinstance(row, Account | Position):
                self.session.expire(row)  # read before, and changed here past it

    def _write_accounts(self) -> None:
        now = {account.id: held.figures(account) for account in self.accounts.values()}
        changed = [a for a in self.accounts.values() if now[a.id] != self._figures[a.id]]
        held.write_accounts(self.session, changed)
        self._figures = now

    def _write_positions(self) -> None:
        now = {key: held.taken(position) for key, position in self.positions.items()}
        changed, new = [], []
        for key, position in self.positions.items():
            if key not in self._taken:
                new.append(position)
            elif now[key] != self._taken[key]:
                changed.append(position)
        held.write_positions(self.session, changed, new)
        self._taken = now


def post(book: Book, draft: Draft, moment: datetime) -> None:
    """Post a journal to `book`: positions, balances, entries and chain rows, at once or not at all.

    The accounts' locks are held by `book`; `moment` is the database's clock. Limits are checked
    by whoever drafts, before anything is reserved. Raises ValueError for a draft whose pairs do
    not sum to 0 or that lacks an account's line, which only a defect here can cause.
    """
    sums = _account_sums(draft)
    for account_id, counterparty_id, amount in draft.entries:
        book.position(account_id, counterparty_id).amount += amount
    union_id = book.accounts[draft.lines[0].account_id].union_id
    told = (chain.uuid_text(draft.id), str(draft.kind), chain.time_text(moment))
    book.keep(
        (draft.id, union_id, draft.kind, draft.about, draft.value_date, moment),
        [(draft.id, *entry) for entry in draft.entries],
        [
            _extend(
                book.accounts[line.account_id], draft, line, sums[line.account_id], moment, told
            )
            for line in draft.lines
        ],
    )


def post_columns(book: Book, draft: Draft, entries: Sequence[Numbers], moment: datetime) -> None:
    """Post a journal of very many entries, given by the column: account, counterparty, amount.

    As `post`, but written at once, without an object for a position; the positions are all there.
    The draft has none itself; these come in order, and each pair once in either direction.
    """
    account, other, amount = entries
    opposite = np.lexsort((account, other))
    pairs = ((account, other), (other, account), (amount, -amount))
    mirrored = all(np.array_equal(here, there[opposite]) for here, there in pairs)
    ids, first = np.unique(account, return_index=True)
    lined = sorted(line.account_id for line in draft.lines) == ids.tolist()
    if not (mirrored and lined):
        raise ValueError(f"journal {draft.id} does not balance")
    if not len(ids):
        return
    sums = dict(zip(ids.tolist(), np.add.reduceat(amount, first).tolist(), strict=True))
    told = (chain.uuid_text(draft.id), str(draft.kind), chain.time_text(moment))
    union_id = book.accounts[draft.lines[0].account_id].union_id
    rows = [
        _extend(book.accounts[one.account_id], draft, one, sums[one.account_id], moment, told)
        for one in draft.lines
    ]
    book.keep((draft.id, union_id, draft.kind, draft.about, draft.value_date, moment), (), rows)
    book.write()
    values = dict(zip(_ENTRY_COLUMNS[1:], entries, strict=True))
    columns.insert(book.session, _ENTRIES, values, {"journal_id": draft.id})
    held.add_entries(book.session, _ENTRIES, draft.id)


def _account_sums(draft: Draft) -> dict[int, int]:
    pairs: dict[Pair, int] = defaultdict(int)
    sums: dict[int, int] = defaultdict(int)
    for account_id, other_id, amount in draft.entries:
        key = (account_id, other_id) if account_id < other_id else (other_id, account_id)
        pairs[key] += amount
        sums[account_id] += amount
    if any(pairs.values()) or sorted([line.account_id for line in draft.lines]) != sorted(sums):
        raise ValueError(f"journal {draft.id} does not balance")
    return sums


def _extend(  # noqa: PLR0913, PLR0917 (what a chain row is made of)
    account: HeldAccount,
    draft: Draft,
    line: Line,
    amount: int,
    moment: datetime,
    told: tuple[str, str, str],
) -> bulk.Row:
    """Change an account by what a journal does to it, and return the chain row.

    `told` are the journal's id, kind and time as they stand in a chain.
    """
    journal, kind, time = told
    account.balance += amount
    account.version += 1
    row = chain.Row(
        account=account.name,
        version=str(account.version),
        journal=journal,
        kind=kind,
        counterparty=line.counterparty,
        amount=str(amount),
        balance=str(account.balance),
        time=time,
        digest=line.digest,
    )
    account.head = chain.next_hash(account.head, row)
    return (
        account.id,
        account.version,
        draft.id,
        draft.kind,
        line.counterparty,
        amount,
        account.balance,
        moment,
        line.digest,
        account.head,
    )


def posted_after(
    session: Session, account_ids: Iterable[int], moment: datetime
) -> dict[int, datetime]:
    """Return when those of the accounts were posted to last that were so after `moment`.

    There are such only where the clock was set back since.
    """
    if not session.connection().scalar(_IS_LATER, {"moment": moment}):
        return {}
    return dict(_LATER.rows(session, account_ids, moment=moment))


def hashed_row(account: str, values: Mapping[str, Any]) -> chain.Row:
    """Return what is hashed of a chain row, given the account's name and the row's columns."""
    return chain.Row(
        account=account,
        version=str(values["version"]),
        journal=str(values["journal_id"]),
        kind=str(values["kind"]),
        counterparty=values["counterparty"],
        amount=str(values["amount"]),
        balance=str(values["balance"]),
        time=chain.time_text(values["posted_at"]),
        digest=values["digest"],
    )
