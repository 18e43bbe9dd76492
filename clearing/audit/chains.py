"""The chains: versions, hashes, heads, and the digests of what they are about."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Uuid,
    case,
    cast,
    func,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from clearing import adjustments, chain, periods, roots
from clearing.accounts import Account
from clearing.adjustments import Adjustment
from clearing.audit.finding import Finding, Names, names_of
from clearing.audit.merging import side_by_side
from clearing.ledger import ChainRow, Entry, Journal, JournalKind
from clearing.pairs import pair_of
from clearing.periods import PeriodEnd
from clearing.rounds import part_digests
from clearing.transfers import HeldTransfer, content_digest, levy_digest
from clearing.transfers.model import TABLE

_CHUNK: Final = 10_000
_FIRST: Final = itemgetter(0)
_OF_JOURNAL: Final = itemgetter(0, 1)  # the journal and the account
_OF_TRANSFERS: Final = (JournalKind.PAYMENT, JournalKind.REVERSAL, JournalKind.LEVY)
_OF_ADJUSTMENTS: Final = (JournalKind.SETTLEMENT, JournalKind.ASSIGNMENT, JournalKind.OPENING)


def chains(session: Session) -> Finding:
    """Check every chain from its first row, and what its digests stand for."""
    found = Finding(8, "versions are gapless, chains verify, heads are the last hashes")
    accounts = {account.id: account for account in session.scalars(select(Account))}
    ends = {
        account.id: (0, 0, chain.first_hash(account.union_id, account.name))
        for account in accounts.values()
    }
    for row in _rows(session):
        found.checked += 1
        account_id, version, amount, balance, said = row[:5]
        account = accounts.get(account_id)
        if account is None:
            found.problems.append(f"account #{account_id}: version {version} is nobody's")
            continue
        before, balance_before, head = ends[account_id]
        ends[account_id] = (version, balance, said)
        if version != before + 1:
            found.problems.append(f"account {account.name}: version {before + 1} is missing")
        elif balance != balance_before + amount or said != _hash(head, account.name, row):
            found.problems.append(f"account {account.name}: version {version} does not verify")
    for account in accounts.values():
        if ends[account.id] != (account.version, account.balance, account.head):
            found.problems.append(f"account {account.name}: version {account.version} is no end")
    names = names_of(session)
    found.problems += [*_unchained(session, names), *_digests(session, names)]
    found.problems += roots.broken(session)
    return found


def _rows(session: Session) -> Iterator[Any]:
    """Yield the rows of all chains, read past SQLAlchemy's types where it need not know them."""
    c = ChainRow.__table__.c
    query = select(
        c.account_id,
        c.version,
        c.amount,
        c.balance,
        c.hash,
        _text(session, c.journal_id),
        type_coerce(c.kind, String),
        c.counterparty,
        c.posted_at,
        c.digest,
    )
    return iter(_in_chunks(session, query.order_by(c.account_id, c.version)))


def _hash(head: str, account: str, row: Any) -> str:  # noqa: ANN401 (of the columns above)
    _, version, amount, balance, _, journal, kind, counterparty, posted_at, digest = row
    return chain.next_hash(
        head,
        chain.Row(
            account=account,
            version=str(version),
            journal=journal,
            kind=kind,
            counterparty=counterparty,
            amount=str(amount),
            balance=str(balance),
            time=chain.time_text(posted_at),
            digest=digest,
        ),
    )


def _text(session: Session, column: ColumnElement[UUID]) -> ColumnElement[Any]:
    """Return ids as texts, which have the same order: to make objects of millions takes a while."""
    is_embedded = session.get_bind().dialect.name == "sqlite"
    return type_coerce(column, Uuid(as_uuid=False)) if is_embedded else cast(column, String)


def _in_chunks(session: Session, query: Select[*tuple[Any, ...]]) -> Any:  # noqa: ANN401 (rows)
    return session.connection().execute(query, execution_options={"yield_per": _CHUNK})


def _unchained(session: Session, names: Names) -> Iterator[str]:
    """Tell where a journal's entries and its chain rows disagree."""
    other = (ChainRow.kind != Journal.kind) | (ChainRow.posted_at != Journal.posted_at)
    other |= Journal.union_id != Account.union_id
    headed = (
        select(ChainRow.account_id, ChainRow.version)
        .outerjoin(Journal, Journal.id == ChainRow.journal_id)
        .join(Account, Account.id == ChainRow.account_id)
        .where(Journal.id.is_(None) | other)
    )
    for account_id, version in session.execute(headed):
        yield f"account {names[account_id]}: version {version} is not what its journal says"
    rows_of = ChainRow.journal_id == Journal.id
    empty = select(Journal.id).outerjoin(ChainRow, rows_of).where(ChainRow.journal_id.is_(None))
    yield from (f"journal {journal_id} is in no chain" for journal_id in session.scalars(empty))
    of_entry, of_row = (_text(session, m.__table__.c.journal_id) for m in (Entry, ChainRow))
    entries = select(of_entry, Entry.account_id, Entry.amount)
    rows = select(of_row, ChainRow.account_id, ChainRow.amount, ChainRow.version)
    both = side_by_side(
        _in_chunks(session, entries.order_by(Entry.journal_id, Entry.account_id)),
        _in_chunks(session, rows.order_by(ChainRow.journal_id, ChainRow.account_id)),
        _OF_JOURNAL,
        _OF_JOURNAL,
    )
    for (journal_id, account_id), entered, chained in both:
        total = sum(amount for _, _, amount in entered)
        for _, _, amount, version in chained:
            if not entered or amount != total:
                said = f"version {version} is not what its entries say"
                yield f"account {names[account_id]}: {said}"
        if not chained:
            yield f"account {names[account_id]}: journal {journal_id} has no version"


def _digests(session: Session, names: Names) -> Iterator[str]:
    """Tell where a chain row's digest is not that of what the journal is about."""
    yield from _transfer_digests(session, names)
    yield from _adjustment_digests(session, names)
    yield from _residue_digests(session, names)
    yield from _round_digests(session, names)


def _names_again(erased: HeldTransfer) -> bool:
    """Tell whether there is again what the first erasure took; one side's name may have stayed."""
    return bool(
        erased.description or erased.reason or (erased.payer_member and erased.payee_member)
    )


def _transfer_digests(session: Session, names: Names) -> Iterator[str]:
    """Hold transfers against the rows about them; each is digested once for all of its rows."""
    about = transfer_of(Journal)
    rows = (
        select(about, ChainRow.journal_id, ChainRow.account_id, ChainRow.version, ChainRow.digest)
        .join(Journal, Journal.id == ChainRow.journal_id)
        .where(ChainRow.kind.in_(_OF_TRANSFERS))
    )
    query = select(*(TABLE.c[name] for name in HeldTransfer.__slots__)).order_by(TABLE.c.id)
    both = side_by_side(
        _in_chunks(session, query), _in_chunks(session, rows.order_by(about)), _FIRST, _FIRST
    )
    for transfer_id, told, chained in both:
        if not told or not chained:
            continue  # what is about something else, or came to nothing
        transfer = HeldTransfer(*told[0])
        is_told = transfer.key is None and _names_again(transfer)
        journals = {journal_id for _, journal_id, *_ in chained}
        wanted = {journal_id: _wanted(transfer, journal_id) for journal_id in journals}
        for _, journal_id, account_id, version, digest in chained:
            if wanted[journal_id] != digest or is_told:
                changed = f"version {version}: transfer {transfer_id} changed"
                yield f"account {names[account_id]}: {changed}"


def transfer_of(journal: type[Journal]) -> ColumnElement[UUID]:
    """Return the transfer that a journal belongs to: a levy's is about it, a payment's has its id.

    A payment's journal may be about the round that released it.
    """
    return case((journal.kind == JournalKind.PAYMENT, journal.id), else_=_about(journal))


def _about(journal: type[Journal]) -> ColumnElement[UUID]:
    return func.coalesce(journal.about, journal.id)


def _wanted(transfer: HeldTransfer, journal_id: UUID) -> str:
    try:
        return content_digest(transfer) if journal_id == transfer.id else levy_digest(transfer)
    except ValueError:  # neither the key nor the digests that were kept in its place
        return ""


def _adjustment_digests(session: Session, names: Names) -> Iterator[str]:
    rows = session.execute(
        select(Adjustment, ChainRow.account_id, ChainRow.version, ChainRow.digest)
        .join(ChainRow, ChainRow.journal_id == Adjustment.id)
        .where(ChainRow.kind.in_(_OF_ADJUSTMENTS))
        .execution_options(yield_per=_CHUNK)
    )
    for adjustment, account_id, version, digest in rows:
        pair = pair_of(session, adjustment.debtor_id, adjustment.creditor_id, None)
        if adjustments.content_digest(adjustment, pair) != digest:
            about = f"adjustment {adjustment.id} changed"
            yield f"account {names[account_id]}: version {version}: {about}"


def _residue_digests(session: Session, names: Names) -> Iterator[str]:
    residue = select(Journal.id, PeriodEnd).join(PeriodEnd, PeriodEnd.id == Journal.about)
    for journal_id, end in session.execute(residue):
        rows = session.scalars(select(ChainRow).filter_by(journal_id=journal_id)).all()
        groups = [name for row in rows if "/" not in (name := names[row.account_id])]
        digests = {row.digest for row in rows}
        if not any(digests == {periods.content_digest(end, group)} for group in groups):
            account = names[rows[0].account_id] if rows else "of nobody"
            yield f"account {account}: its part of the period until {end.until} changed"


def _round_digests(session: Session, names: Names) -> Iterator[str]:
    for round_id in session.scalars(select(Journal.id).filter_by(kind=JournalKind.SET_OFF)):
        entries = session.execute(
            select(Entry.account_id, Entry.counterparty_id, Entry.amount).filter_by(
                journal_id=round_id
            )
        )
        wanted = part_digests(names, entries)
        for row in session.scalars(select(ChainRow).filter_by(journal_id=round_id)):
            if wanted.get(row.account_id) != row.digest:
                name = names[row.account_id]
                yield f"account {name}: version {row.version}: its part of {round_id} changed"
