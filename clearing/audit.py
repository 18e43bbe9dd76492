"""The audit: every invariant of the ledger, checked from the rows alone.

The numbers are those under which the invariants are documented in `docs/clearing.md`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session, aliased

from clearing import chain, netting
from clearing.accounts import Account, AccountKind, LimitChange, LimitKind, Position
from clearing.ledger import ChainRow, Entry, Journal, JournalKind, hashed_row
from clearing.netting import Obligation
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
    names, opposite = _names(session), aliased(Position)
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
        pair = f"account {names[position.account_id]}: position towards "
        found.problems.append(f"{pair}{names[position.counterparty_id]} has no opposite")
    return found


def _journals(session: Session) -> Finding:
    found = Finding(2, "the entries of each pair sum to 0 in every journal")
    names, opposite = _names(session), aliased(Entry)
    unpaired = (
        select(Entry.journal_id, Entry.account_id, Entry.counterparty_id, ChainRow.version)
        .outerjoin(
            opposite,
            (opposite.journal_id == Entry.journal_id)
            & (opposite.account_id == Entry.counterparty_id)
            & (opposite.counterparty_id == Entry.account_id),
        )
        .outerjoin(
            ChainRow,
            (ChainRow.journal_id == Entry.journal_id) & (ChainRow.account_id == Entry.account_id),
        )
        .where(func.coalesce(opposite.amount, 0) != -Entry.amount)
    )
    found.checked = session.scalar(select(func.count()).select_from(Entry)) or 0
    for journal_id, account_id, counterparty_id, version in session.execute(unpaired):
        found.problems.append(
            f"account {names[account_id]}: version {version}: journal {journal_id} has no opposite "
            f"entry of {names[counterparty_id]}"
        )
    return found


class _Names(dict[int, str]):
    """Accounts' names by id; what points at no account has a name here too, so it can be told."""

    def __missing__(self, account_id: int) -> str:
        return f"#{account_id}"


def _names(session: Session) -> _Names:
    return _Names(session.execute(select(Account.id, Account.name)).all())


def _caches(session: Session) -> Finding:
    found = Finding(3, "balance = sum of positions = sum of entries")
    names = _names(session)
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
                f"account {names[position.account_id]}: position towards "
                f"{names[position.counterparty_id]} is {position.amount}, entries sum to {total}"
            )
    found.problems += [
        f"account {names[a]}: entries towards {names[b]} have no position" for a, b in entered
    ]
    for account in session.scalars(select(Account)):
        found.checked += 1
        if account.balance != rows[account.id]:
            found.problems.append(
                f"account {account.name}: balance {account.balance}, "
                f"positions sum to {rows[account.id]}"
            )
        prefix = "residue/" if account.kind is AccountKind.RESIDUE else ""
        if account.name != f"{prefix}{account.group_id}":
            found.problems.append(f"account {account.name}: is not that of {account.group_id}")
    return found


def _limits(session: Session) -> Finding:
    """Check limits and reservations.

    A limit may be set below what is used; from then on the use may only have fallen.
    """
    found = Finding(4, "limits hold, reservations counted, and reservations = sum of open ones")
    set_last: dict[tuple[LimitKind, int, int | None], tuple[int | None, int]] = {}
    for change in session.scalars(select(LimitChange).order_by(LimitChange.id)):
        key = (change.kind, change.account_id, change.counterparty_id)
        set_last[key] = (change.stop, change.used)
    accounts = {account.id: account for account in session.scalars(select(Account))}
    for key, limit, used in _uses(session, accounts):
        found.checked += 1
        stop, used_then = set_last.pop(key, (None, 0))
        if limit != stop:
            found.problems.append(f"{_limit_name(session, key)} is {limit}, {stop} was set")
        if limit is not None and used > max(limit, used_then):
            found.problems.append(f"{_limit_name(session, key)} is {limit}, used {used}")
    for key, (stop, _) in set_last.items():
        if stop is not None:
            found.problems.append(f"{_limit_name(session, key)} is gone, {stop} was set")
    found.problems += _reservations(session, accounts)
    return found


def _limit_name(session: Session, key: tuple[LimitKind, int, int | None]) -> str:
    kind, account_id, counterparty_id = key
    names = _names(session)
    towards = "" if counterparty_id is None else f" towards {names[counterparty_id]}"
    return f"account {names[account_id]}: {kind} limit{towards}"


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
    names = _names(session)
    pending = select(Transfer).where(Transfer.state == TransferState.PENDING)
    for transfer in session.scalars(pending):
        payer = ids.get((transfer.union_id, transfer.payer_group), 0)
        payee = ids.get((transfer.union_id, transfer.payee_group), 0)
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
            account_id, towards = key if isinstance(key, tuple) else (key, None)
            to = "" if towards is None else f" towards {names[towards]}"
            yield f"account {names[account_id]}: {kind}{to} is {said}, open ones sum to {open_ones}"


def _once(session: Session) -> Finding:
    found = Finding(5, "a transfer is posted once, under its own id, and only when it is posted")
    payments = select(Journal.id, Journal.posted_at).where(Journal.kind == JournalKind.PAYMENT)
    journals = dict(session.execute(payments).all())
    rows = select(Transfer.id, Transfer.state, Transfer.ended_at)
    for transfer_id, state, ended_at in session.execute(rows):
        found.checked += 1
        posted_at = journals.pop(transfer_id, None)
        if posted_at != (ended_at if state is TransferState.POSTED else None):
            found.problems.append(f"transfer {transfer_id} is {state}, journal disagrees")
    found.problems += [f"journal {journal_id} has no transfer" for journal_id in journals]
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
        snapshot = [Obligation(str(p.debtor_id), str(p.creditor_id), p.obligation) for p in parts]
        net = netting.net_positions(snapshot).values()
        totals = (done.obligations_total, done.net_internal_debt)
        if totals != (sum(o.amount for o in snapshot), sum(n for n in net if n > 0)):
            found.problems.append(f"round {done.id}: its totals are not those of its snapshot")
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
        if account_id not in accounts:
            found.problems.append(f"account #{account_id}: version {row['version']} is nobody's")
            continue
        version, balance, head = ends[account_id]
        name = accounts[account_id].name
        ends[account_id] = (row["version"], row["balance"], row["hash"])
        if row["version"] != version + 1:
            found.problems.append(f"account {name}: version {version + 1} is missing")
        elif (row["balance"], row["hash"]) != (
            balance + row["amount"],
            chain.next_hash(head, hashed_row(name, row)),
        ):
            found.problems.append(f"account {name}: version {row['version']} does not verify")
    for account in accounts.values():
        if ends[account.id] != (account.version, account.balance, account.head):
            found.problems.append(f"account {account.name}: version {account.version} is no end")
    names = _names(session)
    found.problems += [*_unchained(session, names), *_digests(session, names)]
    return found


def _rows(session: Session) -> Iterator[Any]:
    table = ChainRow.__table__
    query = select(table).order_by(ChainRow.account_id, ChainRow.version)
    return iter(session.execute(query.execution_options(yield_per=_CHUNK)).mappings())


def _unchained(session: Session, names: _Names) -> Iterator[str]:
    """Tell where a journal's entries and its chain rows disagree."""
    entered = (
        select(Entry.journal_id, Entry.account_id, func.sum(Entry.amount).label("amount"))
        .group_by(Entry.journal_id, Entry.account_id)
        .subquery()
    )
    other = (ChainRow.kind != Journal.kind) | (ChainRow.posted_at != Journal.posted_at)
    other |= Journal.union_id != Account.union_id
    headed = select(ChainRow.account_id, ChainRow.version).join(Journal).join(Account).where(other)
    for account_id, version in session.execute(headed):
        yield f"account {names[account_id]}: version {version} is not what its journal says"
    empty = select(Journal.id).outerjoin(ChainRow).where(ChainRow.journal_id.is_(None))
    yield from (f"journal {journal_id} is in no chain" for journal_id in session.scalars(empty))
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


def _digests(session: Session, names: _Names) -> Iterator[str]:
    """Tell where a chain row's digest is not that of the transfer or of the round's part."""
    payments = select(Transfer, ChainRow.account_id, ChainRow.version, ChainRow.digest).join(
        ChainRow, ChainRow.journal_id == Transfer.id
    )
    for transfer, account_id, version, digest in session.execute(
        payments.execution_options(yield_per=_CHUNK)
    ):
        erased = transfer.key is None and not (
            transfer.payer_member or transfer.payee_member or transfer.description
        )
        if not erased and (transfer.key is None or content_digest(transfer) != digest):
            yield f"account {names[account_id]}: version {version}: transfer {transfer.id} changed"
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
