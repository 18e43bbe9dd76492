"""The audit: every invariant of the ledger, checked from the rows alone.

The numbers are those under which the invariants are documented in `docs/clearing.md`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session, aliased

from clearing import chain
from clearing.accounts import Account, LimitChange, LimitKind, Position
from clearing.ledger import ChainRow, Entry, Journal, JournalKind, hashed_row
from clearing.rounds import Round, RoundState, SetOff, part_digests
from clearing.transfers import Transfer, TransferState, content_digest

_CHUNK: Final = 10_000
_APPEND_ONLY: Final = ("journals", "entries", "chain_rows", "set_offs", "rates", "limit_changes")


@dataclass
class Finding:
    """What the check of one invariant found; it holds where `problems` is empty."""

    number: int
    rule: str
    checked: int = 0
    problems: list[str] = field(default_factory=list)


def audit(session: Session, tick: Callable[[str], None] = lambda _rule: None) -> list[Finding]:
    """Check every invariant over one snapshot; `tick` is told the rule of each check as it ends.

    Call it with a reading session, so that all checks see the same moment.
    """
    findings = []
    for check in (_sums, _journals, _caches, _limits, _once, _ended, _rounds, _chains, _kept):
        finding = check(session)
        tick(finding.rule)
        findings.append(finding)
    return findings


def _sums(session: Session) -> Finding:
    found = Finding(1, "balances of a union sum to 0 and positions of a pair are opposite")
    totals = select(Account.union_id, func.sum(Account.balance), func.count())
    for union_id, total, count in session.execute(totals.group_by(Account.union_id)):
        found.checked += count
        if total != 0:
            found.problems.append(f"union {union_id}: the balances sum to {total}")
    opposite = aliased(Position)
    pairs = (
        select(Position)
        .outerjoin(
            opposite,
            (opposite.account_id == Position.counterparty_id)
            & (opposite.counterparty_id == Position.account_id),
        )
        .where(func.coalesce(opposite.amount, 0) != -Position.amount)
    )
    found.checked += session.scalar(select(func.count()).select_from(Position)) or 0
    for position in session.scalars(pairs):
        pair = f"{position.account_id} and {position.counterparty_id}"
        found.problems.append(f"positions of accounts {pair} are not opposite")
    return found


def _journals(session: Session) -> Finding:
    found = Finding(2, "the entries of each pair sum to 0 in every journal")
    opposite = aliased(Entry)
    unpaired = (
        select(Entry.journal_id, Entry.account_id, Entry.counterparty_id)
        .outerjoin(
            opposite,
            (opposite.journal_id == Entry.journal_id)
            & (opposite.account_id == Entry.counterparty_id)
            & (opposite.counterparty_id == Entry.account_id),
        )
        .where(func.coalesce(opposite.amount, 0) != -Entry.amount)
    )
    found.checked = session.scalar(select(func.count()).select_from(Entry)) or 0
    for journal_id, account_id, counterparty_id in session.execute(unpaired):
        found.problems.append(f"journal {journal_id}: accounts {account_id}, {counterparty_id}")
    return found


def _caches(session: Session) -> Finding:
    found = Finding(3, "balance = sum of positions = sum of entries")
    entered: dict[tuple[int, int], int] = {}
    sums = select(Entry.account_id, Entry.counterparty_id, func.sum(Entry.amount))
    for account_id, counterparty_id, total in session.execute(
        sums.group_by(Entry.account_id, Entry.counterparty_id)
    ):
        entered[account_id, counterparty_id] = int(total)
    rows: dict[int, int] = defaultdict(int)
    for position in session.scalars(select(Position)):
        found.checked += 1
        rows[position.account_id] += position.amount
        total = entered.pop((position.account_id, position.counterparty_id), 0)
        if position.amount != total:
            found.problems.append(
                f"position of account {position.account_id} towards {position.counterparty_id} "
                f"is {position.amount}, its entries sum to {total}"
            )
    found.problems += [f"entries of {a} towards {b} have no position" for a, b in entered]
    for account in session.scalars(select(Account)):
        found.checked += 1
        if account.balance != rows[account.id]:
            found.problems.append(
                f"account {account.name}: balance {account.balance}, "
                f"positions sum to {rows[account.id]}"
            )
    return found


def _limits(session: Session) -> Finding:
    """Check limits and reservations.

    A limit may be set below what is used; from then on the use may only have fallen.
    """
    found = Finding(4, "limits hold, reservations counted, and reservations = sum of open ones")
    used_then: dict[tuple[LimitKind, int, int | None], int] = {}
    for change in session.scalars(select(LimitChange).order_by(LimitChange.id)):
        used_then[change.kind, change.account_id, change.counterparty_id] = change.used
    accounts = {account.id: account for account in session.scalars(select(Account))}
    for key, limit, used in _uses(session, accounts):
        found.checked += 1
        if limit is not None and used > max(limit, used_then.get(key, limit)):
            kind, account_id, _ = key
            name = accounts[account_id].name
            found.problems.append(f"account {name}: {kind} limit {limit}, used {used}")
    found.problems += _reservations(session, accounts)
    return found


def _uses(
    session: Session, accounts: dict[int, Account]
) -> Iterator[tuple[tuple[LimitKind, int, int | None], int | None, int]]:
    for account in accounts.values():
        key = (account.id, None)
        yield (LimitKind.CREDIT, *key), account.credit_limit, account.used_below()
        yield (LimitKind.SURPLUS, *key), account.surplus_limit, account.used_above()
    for row in session.scalars(select(Position)):
        yield (LimitKind.PAIR, row.account_id, row.counterparty_id), row.pair_limit, row.used()


def _reservations(session: Session, accounts: dict[int, Account]) -> Iterator[str]:
    reserved: dict[tuple[str, Any], int] = defaultdict(int)
    ids = {(account.union_id, account.name): account.id for account in accounts.values()}
    pending = select(Transfer).where(Transfer.state == TransferState.PENDING)
    for transfer in session.scalars(pending):
        payer = ids[transfer.union_id, transfer.payer_group]
        payee = ids[transfer.union_id, transfer.payee_group]
        reserved["out", payer] += transfer.payer_clearing
        reserved["in", payee] += transfer.payee_clearing
        reserved["pair", (payer, payee)] += transfer.payee_clearing
    proposed = select(SetOff).join(Round).where(Round.state == RoundState.PROPOSED)
    for part in session.scalars(proposed):
        reserved["given", (part.creditor_id, part.debtor_id)] += part.amount
    kept: dict[tuple[str, Any], int] = {}
    for account in accounts.values():
        kept["out", account.id], kept["in", account.id] = account.pending_out, account.pending_in
    for row in session.scalars(select(Position)):
        pair = (row.account_id, row.counterparty_id)
        kept["pair", pair], kept["given", pair] = row.pending_out, row.given
    for kind, key in kept.keys() | reserved.keys():
        said, open_ones = kept.get((kind, key), 0), reserved.get((kind, key), 0)
        if said != open_ones:
            yield f"reserved ({kind}) for {key}: {said}, open ones sum to {open_ones}"


def _once(session: Session) -> Finding:
    found = Finding(5, "a transfer is posted once, under its own id, and only when it is posted")
    posted = dict(session.execute(select(Transfer.id, Transfer.state)).tuples().all())
    payments = select(Journal.id).where(Journal.kind == JournalKind.PAYMENT)
    journals = set(session.scalars(payments))
    found.checked = len(posted)
    for transfer_id, state in posted.items():
        if (state is TransferState.POSTED) != (transfer_id in journals):
            found.problems.append(f"transfer {transfer_id} is {state}, journal disagrees")
    found.problems += [f"journal {j} has no transfer" for j in journals - posted.keys()]
    return found


def _ended(session: Session) -> Finding:
    found = Finding(6, "a transfer ends once, not before it was made")
    for transfer in session.scalars(select(Transfer).execution_options(yield_per=_CHUNK)):
        found.checked += 1
        ended = transfer.ended_at is not None
        if ended == (transfer.state is TransferState.PENDING) or (
            transfer.ended_at is not None and transfer.ended_at < transfer.created_at
        ):
            found.problems.append(f"transfer {transfer.id} is {transfer.state}")
    return found


def _rounds(session: Session) -> Finding:
    found = Finding(7, "a round is whole, moves no balance and grows no obligation")
    for done in session.scalars(select(Round)):
        found.checked += 1
        parts = list(session.scalars(select(SetOff).where(SetOff.round_id == done.id)))
        wanted = {}
        for part in parts if done.state is RoundState.COMMITTED else []:
            if part.amount:
                wanted[part.debtor_id, part.creditor_id] = part.amount
                wanted[part.creditor_id, part.debtor_id] = -part.amount
        entries = select(Entry).where(Entry.journal_id == done.id)
        posted = {(e.account_id, e.counterparty_id): e.amount for e in session.scalars(entries)}
        moved = session.scalar(
            select(func.count()).where(ChainRow.journal_id == done.id, ChainRow.amount != 0)
        )
        if wanted != posted or moved:
            found.problems.append(f"round {done.id}: what was posted is not what was proposed")
        if sum(part.amount for part in parts) != done.cleared:
            found.problems.append(f"round {done.id}: its set-offs do not sum to {done.cleared}")
    return found


def _chains(session: Session) -> Finding:
    found = Finding(8, "versions are gapless, chains verify, heads are the last hashes")
    accounts = {account.id: account for account in session.scalars(select(Account))}
    ends = {
        account.id: (0, 0, chain.first_hash(account.union_id, account.name))
        for account in accounts.values()
    }
    for row in _rows(session):
        found.checked += 1
        account_id = row["account_id"]
        version, balance, head = ends[account_id]
        name = accounts[account_id].name
        ends[account_id] = (version + 1, balance + row["amount"], row["hash"])
        sound = (
            row["version"] == version + 1
            and row["balance"] == balance + row["amount"]
            and row["hash"] == chain.next_hash(head, hashed_row(name, row))
        )
        if not sound:
            found.problems.append(f"account {name}: version {row['version']} does not verify")
    for account in accounts.values():
        if ends[account.id] != (account.version, account.balance, account.head):
            found.problems.append(f"account {account.name}: version or head is not the chain's")
    names = {account_id: account.name for account_id, account in accounts.items()}
    found.problems += [*_unchained(session, names), *_digests(session, names)]
    return found


def _rows(session: Session) -> Iterator[Any]:
    table = ChainRow.__table__
    query = select(table).order_by(ChainRow.account_id, ChainRow.version)
    return iter(session.execute(query.execution_options(yield_per=_CHUNK)).mappings())


def _unchained(session: Session, names: dict[int, str]) -> Iterator[str]:
    """Tell where a journal's entries and its chain rows disagree."""
    entered = (
        select(Entry.journal_id, Entry.account_id, func.sum(Entry.amount).label("amount"))
        .group_by(Entry.journal_id, Entry.account_id)
        .subquery()
    )
    same = (ChainRow.journal_id == entered.c.journal_id) & (
        ChainRow.account_id == entered.c.account_id
    )
    disagreeing = (
        select(ChainRow.account_id, ChainRow.version)
        .outerjoin(entered, same)
        .where(or_(entered.c.amount.is_(None), entered.c.amount != ChainRow.amount))
    )
    for account_id, version in session.execute(disagreeing):
        yield f"account {names[account_id]}: version {version} is not what its entries say"
    missing = (
        select(entered.c.journal_id, entered.c.account_id)
        .outerjoin(ChainRow, same)
        .where(ChainRow.account_id.is_(None))
    )
    for journal_id, account_id in session.execute(missing):
        yield f"account {names[account_id]}: journal {journal_id} has no version"


def _digests(session: Session, names: dict[int, str]) -> Iterator[str]:
    """Tell where a chain row's digest is not that of the transfer or of the round's part."""
    payments = select(Transfer, ChainRow.account_id, ChainRow.version, ChainRow.digest).join(
        ChainRow, ChainRow.journal_id == Transfer.id
    )
    for transfer, account_id, version, digest in session.execute(
        payments.execution_options(yield_per=_CHUNK)
    ):
        if transfer.key is not None and content_digest(transfer) != digest:
            yield f"account {names[account_id]}: version {version}: transfer {transfer.id} changed"
    for round_id in session.scalars(select(Journal.id).filter_by(kind=JournalKind.SET_OFF)):
        entries = session.execute(
            select(Entry.account_id, Entry.counterparty_id, Entry.amount).filter_by(
                journal_id=round_id
            )
        )
        wanted = part_digests(names, entries.tuples())
        for row in session.scalars(select(ChainRow).filter_by(journal_id=round_id)):
            if wanted.get(row.account_id) != row.digest:
                name = names[row.account_id]
                yield f"account {name}: version {row.version}: its part of {round_id} changed"


def _kept(session: Session) -> Finding:
    found = Finding(10, "the database refuses to change or delete what is append-only")
    sqlite = session.get_bind().dialect.name == "sqlite"
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if sqlite
        else "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
    )
    there = set(session.scalars(text(query)))
    for table in _APPEND_ONLY:
        found.checked += 1
        guards = (
            {f"{table}_no_update", f"{table}_no_delete"} if sqlite else {f"{table}_append_only"}
        )
        if not guards <= there:
            found.problems.append(f"table {table}: its guarding trigger is missing or off")
    return found
