"""Statements: what accounts' lines tell, by themselves and of each other."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from clearing.accounts import Account
from clearing.audit.finding import Finding, names_of
from clearing.ledger import ChainRow


def statements(session: Session) -> Finding:
    """Check that statements of any period add up, and that two accounts' lines are opposite."""
    found = Finding(9, "opening and lines make the closing, and what two accounts tell is opposite")
    found.checked = session.scalar(select(func.count()).select_from(ChainRow)) or 0
    names = names_of(session)
    before = func.lag(ChainRow.balance, 1, 0).over(
        partition_by=ChainRow.account_id, order_by=ChainRow.version
    )
    lines = select(
        ChainRow.account_id, ChainRow.version, ChainRow.balance, before + ChainRow.amount
    ).subquery()
    account_id, version, balance, made = lines.c
    for row in session.execute(select(account_id, version).where(balance != made)):
        line = f"account {names[row.account_id]}: version {row.version}"
        found.problems.append(f"{line}: the balance before and the amount do not make its balance")
    total = func.sum(ChainRow.amount)
    unequal = select(ChainRow.journal_id, total).group_by(ChainRow.journal_id).having(total != 0)
    for journal_id, rest in session.execute(unequal):
        found.problems.append(f"journal {journal_id}: its accounts' lines sum to {rest}")
    account, other, opposite = aliased(Account), aliased(Account), aliased(ChainRow)
    alone = (
        select(ChainRow.account_id, ChainRow.version)
        .join(account, account.id == ChainRow.account_id)
        .outerjoin(
            other,
            (other.union_id == account.union_id) & (other.name == ChainRow.counterparty),
        )
        .outerjoin(
            opposite,
            (opposite.journal_id == ChainRow.journal_id) & (opposite.account_id == other.id),
        )
        .where(ChainRow.counterparty != "", opposite.account_id.is_(None))
    )
    for row in session.execute(alone):
        line = f"account {names[row.account_id]}: version {row.version}"
        found.problems.append(f"{line}: its counterparty has no line of it")
    return found
