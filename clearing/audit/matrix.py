"""The matrix: sums, positions and balances against the entries that they come from."""

from collections import defaultdict

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import Account, AccountKind, Position
from clearing.audit.finding import Finding, names_of
from clearing.ledger import ChainRow, Entry

_CHUNK = 10_000


def sums(session: Session) -> Finding:
    """Check that each union sums to nothing, and that pairs see the same."""
    found = Finding(1, "balances of a union sum to 0 and positions of a pair are opposite")
    totals = select(Account.union_id, func.sum(Account.balance), func.count())
    for union_id, total, count in session.execute(totals.group_by(Account.union_id)):
        found.checked += count
        if total != 0:
            found.problems.append(f"union {union_id}: the balances sum to {total}")
    names, opposite = names_of(session), aliased(Position)
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


def journals(session: Session) -> Finding:
    """Check that each journal balances, pair by pair."""
    found = Finding(2, "the entries of each pair sum to 0 in every journal")
    names, opposite = names_of(session), aliased(Entry)
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


def caches(session: Session) -> Finding:
    """Check balances and positions against the entries, and accounts' names."""
    found = Finding(3, "balance = sum of positions = sum of entries")
    names = names_of(session)
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
        name = account.group_id or account.kind.value
        if account.name != ("residue/" if account.kind is AccountKind.RESIDUE else "") + name:
            found.problems.append(f"account {account.name}: is not that of {account.group_id}")
    return found


def replayed(session: Session) -> Finding:
    """Post all entries again, in the order of the chains, to accounts and positions of zero."""
    found = Finding(11, "posting all entries again gives the same accounts and positions")
    names = names_of(session)
    positions: dict[tuple[int, int], int] = defaultdict(int)
    balances: dict[int, int] = defaultdict(int)
    last: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    own = (Entry.journal_id == ChainRow.journal_id) & (Entry.account_id == ChainRow.account_id)
    order = (
        select(
            ChainRow.account_id,
            ChainRow.version,
            ChainRow.balance,
            Entry.counterparty_id,
            Entry.amount,
        )
        .join(Entry, own)
        .order_by(ChainRow.account_id, ChainRow.version)
        .execution_options(yield_per=_CHUNK)
    )
    for account_id, version, said, counterparty_id, amount in session.execute(order):
        found.checked += 1
        before, told = last[account_id]
        if version != before and balances[account_id] != told:
            found.problems.append(
                f"account {names[account_id]}: version {before} says {told}, "
                f"its entries make {balances[account_id]}"
            )
        last[account_id] = (version, said)
        balances[account_id] += amount
        positions[account_id, counterparty_id] += amount
    for account in session.scalars(select(Account)):
        posted = (last[account.id][0], balances[account.id], last[account.id][1])
        if posted != (account.version, account.balance, account.balance):
            found.problems.append(f"account {account.name}: is not what its entries make of it")
    for position in session.scalars(select(Position)):
        key = (position.account_id, position.counterparty_id)
        if positions.pop(key, 0) != position.amount:
            pair = f"account {names[key[0]]}: position towards {names[key[1]]}"
            found.problems.append(f"{pair} is not what the entries make of it")
    found.problems += [
        f"account {names[a]}: has no position towards {names[b]}"
        for (a, b), amount in positions.items()
        if amount
    ]
    return found
