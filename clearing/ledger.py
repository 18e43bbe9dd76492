"""The ledger: append-only journals of entries, and the one door through which they are posted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, insert, select, tuple_
from sqlalchemy.orm import Mapped, Session, mapped_column

from clearing import chain
from clearing.accounts import Account, Position, lock_accounts, new_position
from commons import database
from commons.database import Base, enum_column

_PAIRS_PER_QUERY: Final = 5_000


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
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"))
    kind: Mapped[JournalKind] = mapped_column(enum_column(JournalKind))
    about: Mapped[UUID | None] = mapped_column(index=True)
    value_date: Mapped[date | None]
    posted_at: Mapped[datetime] = mapped_column(index=True)


class Entry(Base):
    """One line of a journal: what it adds to an account's position towards a counterparty."""

    __tablename__ = "entries"

    journal_id: Mapped[UUID] = mapped_column(ForeignKey("journals.id"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    counterparty_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    amount: Mapped[int]

    __table_args__ = (
        CheckConstraint("amount <> 0", name="amount_not_zero"),
        CheckConstraint("account_id <> counterparty_id", name="not_towards_itself"),
    )


class ChainRow(Base):
    """One version of an account: what a journal did to it, chained to all before (`chain.Row`)."""

    __tablename__ = "chain_rows"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    journal_id: Mapped[UUID] = mapped_column(ForeignKey("journals.id"), index=True)
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


@dataclass(frozen=True)
class Line:
    """What an account's chain says of a journal: with whom, and a digest of what it is about."""

    account_id: int
    counterparty: str
    digest: str


@dataclass(frozen=True)
class Draft:
    """A journal to be posted: entries (account, counterparty, amount) and a line per account.

    Amounts are in smallest clearing units. The entries of each pair must sum to 0.
    """

    id: UUID
    kind: JournalKind
    entries: Sequence[tuple[int, int, int]]
    lines: Sequence[Line]


@dataclass
class Book:
    """Accounts that this transaction holds the locks of, with the positions between them.

    Everything is changed in memory and written at once by `write`, so that a batch of journals
    costs few statements, and each sees what those before it left.
    """

    session: Session
    accounts: dict[int, Account]
    positions: dict[tuple[int, int], Position] = field(default_factory=dict)
    rows: dict[type[Base], list[dict[str, Any]]] = field(
        default_factory=lambda: {Journal: [], Entry: [], ChainRow: []}
    )

    @classmethod
    def lock(cls, session: Session, pairs: Iterable[tuple[int, int]]) -> "Book":
        """Lock both accounts of every pair, in id order, and read the pairs' positions."""
        wanted = sorted({pair for a, b in pairs for pair in ((a, b), (b, a))})
        book = cls(session, lock_accounts(session, {account for account, _ in wanted}))
        key = tuple_(Position.account_id, Position.counterparty_id)
        for start in range(0, len(wanted), _PAIRS_PER_QUERY):
            book._read(key.in_(wanted[start : start + _PAIRS_PER_QUERY]))
        return book

    @classmethod
    def lock_union(cls, session: Session, union_id: str) -> "Book":
        """Lock every account of a union and read all positions between them."""
        lock_accounts(session, select(Account.id).filter_by(union_id=union_id))
        return cls.read_union(session, union_id)

    @classmethod
    def read_union(cls, session: Session, union_id: str) -> "Book":
        """Read a union's accounts and positions without locks, to look at only."""
        accounts = session.scalars(select(Account).filter_by(union_id=union_id))
        book = cls(session, {account.id: account for account in accounts})
        book._read(Position.account_id.in_(select(Account.id).filter_by(union_id=union_id)))
        return book

    def _read(self, condition: Any) -> None:  # noqa: ANN401 (any SQL condition)
        found = self.session.scalars(
            select(Position).where(condition).execution_options(populate_existing=True)
        )
        self.positions.update({(row.account_id, row.counterparty_id): row for row in found})

    def write(self) -> None:
        """Write what was changed and posted; the commit is the caller's."""
        self.session.flush()
        for table, values in self.rows.items():
            if values:
                self.session.execute(insert(table), values)
                values.clear()

    def position(self, account_id: int, counterparty_id: int) -> Position:
        """Return a position, making the row where the two never met."""
        key = (account_id, counterparty_id)
        if key not in self.positions:
            self.positions[key] = new_position(*key)
            self.session.add(self.positions[key])
        return self.positions[key]


def post(book: Book, draft: Draft, moment: datetime) -> None:
    """Post a journal to `book`: positions, balances, entries and chain rows, at once or not at all.

    The accounts' locks are held by `book`; `moment` is the database's clock. Limits are checked
    by whoever drafts, before anything is reserved. Raises ValueError for a draft whose pairs do
    not sum to 0 or that lacks an account's line, which only a defect here can cause.
    """
    sums = _account_sums(draft)
    union_id = book.accounts[draft.lines[0].account_id].union_id
    book.rows[Journal].append(
        {"id": draft.id, "union_id": union_id, "kind": draft.kind, "posted_at": moment}
    )
    for account_id, counterparty_id, amount in draft.entries:
        book.position(account_id, counterparty_id).amount += amount
        book.rows[Entry].append(
            {
                "journal_id": draft.id,
                "account_id": account_id,
                "counterparty_id": counterparty_id,
                "amount": amount,
            }
        )
    book.rows[ChainRow].extend(
        _extend(book.accounts[line.account_id], draft, line, sums[line.account_id], moment)
        for line in draft.lines
    )


def _account_sums(draft: Draft) -> dict[int, int]:
    pairs: dict[tuple[int, int], int] = defaultdict(int)
    sums: dict[int, int] = defaultdict(int)
    for account_id, counterparty_id, amount in draft.entries:
        pairs[min(account_id, counterparty_id), max(account_id, counterparty_id)] += amount
        sums[account_id] += amount
    if any(pairs.values()) or sorted(line.account_id for line in draft.lines) != sorted(sums):
        raise ValueError(f"journal {draft.id} does not balance")
    return sums


def _extend(
    account: Account, draft: Draft, line: Line, amount: int, moment: datetime
) -> dict[str, Any]:
    account.balance += amount
    account.version += 1
    values = {
        "account_id": account.id,
        "version": account.version,
        "journal_id": draft.id,
        "kind": draft.kind,
        "counterparty": line.counterparty,
        "amount": amount,
        "balance": account.balance,
        "posted_at": moment,
        "digest": line.digest,
    }
    account.head = chain.next_hash(account.head, hashed_row(account.name, values))
    return values | {"hash": account.head}


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
