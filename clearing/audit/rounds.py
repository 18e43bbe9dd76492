"""Rounds: whole, and without effect on any balance."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clearing import netting
from clearing.audit.finding import Finding
from clearing.ledger import ChainRow, Entry
from clearing.netting import Obligation
from clearing.rounds import Round, RoundState, SetOff


def rounds(session: Session) -> Finding:
    """Check that what was posted of each round is what was proposed."""
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
