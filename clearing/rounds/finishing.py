"""What ends a round well: decided on as things are now, and written in one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import calls, columns, events, held
from clearing.calls.desk import Desk
from clearing.columns import Numbers
from clearing.events import Notice
from clearing.held import HeldAccount
from clearing.limits import Use
from clearing.netting import circulate
from clearing.rounds import reserving
from clearing.rounds.amending import Case, Ending
from clearing.rounds.model import Amendment, Candidate, Round
from clearing.rounds.posting import post_set_offs, prove
from clearing.rounds.room import uses_of
from clearing.rounds.table import Prices, Rows, as_arcs, totals
from clearing.rounds.telling import notices
from clearing.sealing import Seal
from clearing.transfers import HeldTransfer
from commons import database
from commons.database import Base

_AMENDMENTS: Final = Base.metadata.tables[Amendment.__tablename__]


@dataclass(frozen=True)
class Proposal:
    """A round as it was proposed, to be ended now under the locks of its union's `accounts`.

    `prices` prove it, where they are known; `out` are the accounts that take no part any more.
    What it reserved is free again.
    """

    rows: Rows
    prices: Prices | None
    out: Numbers
    accounts: Mapping[int, HeldAccount]


def finish(session: Session, done: Round, proposal: Proposal, seal: Seal | None) -> Round:
    """Write all that a round does: what it releases, its set-offs, its certificate, its events."""
    proposed = _proposed(session, done.id)
    desk, agreed = calls.agreed(session, proposed)
    ending = _as_proposed(proposal, desk, proposed, agreed)
    if ending is None:
        known = [desk.transfers[transfer_id] for transfer_id in proposed]
        first = _first(session, done.id)
        ending = Case(proposal.rows, proposal.out, desk, known, agreed, first).solved()
        _amend(session, done, ending)
    accounts = proposal.accounts
    if ending.released:
        told = _warnings(done, uses_of(desk, ending.released, ending.rows))
        calls.post_agreed(desk, ending.released, done.id)
        desk.write_rows()
        accounts = held.lock_accounts(session, accounts)
    else:
        told = []
    reserving.make_positions(session, done.id, ending.rows)
    done.ended_at = max(database.now(session), done.proposed_at)
    post_set_offs(session, done, ending.rows, accounts)
    prove(session, done, ending.rows, ending.prices, seal)
    told += [*desk.notices, *notices(session, done, ending.rows, accounts)]
    events.record(session, told, done.ended_at)
    return done


def _proposed(session: Session, round_id: UUID) -> Sequence[UUID]:
    """Return the payments that a round proposed to release, oldest first."""
    query = select(Candidate.transfer_id).where(Candidate.round_id == round_id, Candidate.proposed)
    return session.scalars(query.order_by(Candidate.place)).all()


def _first(session: Session, round_id: UUID) -> Collection[UUID]:
    """Return the payments that came first in a round, since they were passed over so often."""
    query = select(Candidate.transfer_id).where(Candidate.round_id == round_id, Candidate.first)
    return frozenset(session.scalars(query))


def _as_proposed(
    proposal: Proposal, desk: Desk, proposed: Sequence[UUID], agreed: Sequence[HeldTransfer]
) -> Ending | None:
    """Return how a round is ended as it was proposed, or None where it cannot be."""
    rows = proposal.rows
    some = (rows.amount > 0) | (rows.drawn > 0)
    ids = np.concatenate([rows.debtor_id[some], rows.creditor_id[some]])
    if len(agreed) < len(proposed) or np.isin(ids, proposal.out).any():
        return None
    if not all(use.passes() for _, use in uses_of(desk, agreed, rows)):
        return None
    return Ending(rows, proposal.prices or _prices(rows), agreed)


def _prices(rows: Rows) -> Prices:
    """Return prices that prove rows: those of one best circulation prove every other."""
    ids, arcs, _ = as_arcs(rows)
    return Prices(ids, circulate(arcs).price)


def _amend(session: Session, done: Round, ending: Ending) -> None:
    """Write what a round came to where it had to be solved again."""
    columns.insert(session, _AMENDMENTS, ending.rows.columns(), {"round_id": done.id})
    found = totals(ending.rows)
    done.amended = True
    done.obligations_total, done.net_internal_debt = found.obligations, found.net_internal_debt
    done.cleared, done.drawn = found.cleared, found.drawn
    if len(ending.released) < done.released:
        done.released, done.released_exact = len(ending.released), False
        done.released_value = sum(one.payee_clearing for one in ending.released)
    session.flush()


def _warnings(done: Round, uses: Iterable[tuple[str | None, Use]]) -> list[Notice]:
    """Return what hubs are told whose group's limit the round brings beyond its warning."""
    near = [(owner, use) for owner, use in uses if owner is not None and use.crosses()]
    return [events.approached(owner, done.union_id, use) for owner, use in near]
