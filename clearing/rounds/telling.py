"""What hubs are told of a round, those of the groups that have a part in it; and the audit log."""

from collections.abc import Mapping
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import chain
from clearing.events import EventKind, Notice
from clearing.held import HeldAccount
from clearing.rounds.model import Candidate, Round, RoundState
from clearing.rounds.table import Rows
from clearing.transfers import Transfer
from commons import audit_log
from commons.money import CLEARING_SCALE, format_amount


def groups_of_released(session: Session, round_id: UUID) -> set[str]:
    """Return the groups between which a round proposed to release payments."""
    query = (
        select(Transfer.payer_group, Transfer.payee_group)
        .join(Candidate, Candidate.transfer_id == Transfer.id)
        .where(Candidate.round_id == round_id, Candidate.proposed)
    )
    return {group_id for pair in session.execute(query.distinct()) for group_id in pair}


def notices(
    session: Session, of: Round, rows: Rows, accounts: Mapping[int, HeldAccount]
) -> list[Notice]:
    """Return what hubs are told of where a round stands, and of what it sets off of their group's.

    A group has a part where something is set off, or owed anew, between it and another, and where a
    payment between the two was to be released.
    """
    some = (rows.amount > 0) | (rows.drawn > 0)
    debtors, creditors = rows.debtor_id[some], rows.creditor_id[some]
    ids, places = np.unique(np.concatenate([debtors, creditors]), return_inverse=True)
    set_off, drawn = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64)
    np.add.at(set_off, places[: len(debtors)], rows.amount[some])
    np.add.at(drawn, places[: len(debtors)], rows.drawn[some])
    told = {"state": str(of.state), "union": of.union_id}
    if of.commit_at > of.proposed_at:
        told["commit_at"] = chain.time_text(of.commit_at)
    sums = dict.fromkeys(sorted(groups_of_released(session, of.id)), (0, 0))
    for account_id, off, new in zip(ids.tolist(), set_off.tolist(), drawn.tolist(), strict=True):
        group_id = accounts[account_id].group_id
        if group_id is not None:
            before = sums.get(group_id, (0, 0))
            sums[group_id] = (before[0] + off, before[1] + new)
    return [
        Notice(group_id, EventKind.ROUND_CHANGED, chain.uuid_text(of.id), told | _amounts(*parts))
        for group_id, parts in sums.items()
    ]


def _amounts(set_off: int, drawn: int) -> dict[str, str]:
    told = {"set_off": format_amount(set_off, CLEARING_SCALE)}
    return told | ({"drawn": format_amount(drawn, CLEARING_SCALE)} if drawn else {})


def log(session: Session, done: Round, actor: str) -> None:
    """Write into the audit log that `actor` brought a round where it stands now; call it last."""
    data = {"union": done.union_id}
    if done.state is RoundState.PROPOSED:
        data["commit_at"] = chain.time_text(done.commit_at)
    elif done.state is RoundState.COMMITTED:
        data["cleared"] = format_amount(done.cleared, CLEARING_SCALE)
    audit_log.record(session, actor, f"round-{done.state}", str(done.id), data)
