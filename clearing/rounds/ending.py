"""A round ends: committed whole, as it was proposed or solved again, or abandoned."""

from collections.abc import Mapping
from uuid import UUID

import numpy as np
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from clearing import chain, events
from clearing.accounts import DEFAULT_UNION, Account
from clearing.columns import Numbers
from clearing.held import HeldAccount
from clearing.rounds import proposing, reserving
from clearing.rounds.finishing import Proposal, finish
from clearing.rounds.model import OptOut, Round, RoundState, SetOff
from clearing.rounds.planning import plan
from clearing.rounds.rows import find, proposed_now
from clearing.rounds.snapshot import barred
from clearing.rounds.table import read_rows
from clearing.rounds.telling import groups_of_released, notices
from clearing.sealing import Seal
from commons import database
from commons.errors import ConflictError, NotFoundError

Accounts = Mapping[int, HeldAccount]


def commit(
    session: Session, round_id: UUID, seal: Seal | None = None, *, early: bool = False
) -> Round:
    """Write a proposed round, whole: what it releases of the queue, its set-offs, its certificate.

    As it was proposed; where somebody opted out, takes no part any more or a payment cannot be
    released, solved again within that. Raises ConflictError before `commit_at`, unless nobody was
    given notice and it is `early` (as where the clock was set back), and for one that has ended.
    """
    found = find(session, round_id)
    _, accounts = proposing.lock(session, found.union_id)
    done = _end(session, round_id, RoundState.COMMITTED)
    has_notice = done.commit_at > done.proposed_at
    if database.now(session) < done.commit_at and (has_notice or not early):
        until = chain.time_text(done.commit_at)
        raise ConflictError(
            f"groups may opt out of round {round_id} until {until}; it is committed then",
            commit_at=until,
        )
    reserving.release(session, round_id)
    rows = read_rows(session, SetOff, round_id)
    out = _out(session, done, accounts)
    return finish(session, done, Proposal(rows, None, out, accounts), seal)


def settle(
    session: Session,
    union_id: str = DEFAULT_UNION,
    seal: Seal | None = None,
    *,
    proposed_by: str = "operator",
) -> Round:
    """Propose a round and commit it in one transaction, without notice and without reserving.

    One that is proposed already is committed instead; raises ConflictError while its groups may
    still opt out. Else raises as `propose`.
    """
    union, accounts = proposing.lock(session, union_id)
    standing = proposed_now(session, union_id)
    if standing is not None:
        return commit(session, standing.id, seal, early=True)
    planned = plan(session, union_id, accounts, credit_lines=union.credit_lines)
    done = proposing.write(session, planned, proposed_by, proposing.NO_NOTICE)
    done.state, done.ended_at = RoundState.COMMITTED, done.proposed_at
    nobody = np.zeros(0, np.int64)
    proposal = Proposal(planned.columns, planned.prices, nobody, accounts)
    return finish(session, done, proposal, seal)


def abandon(session: Session, round_id: UUID) -> Round:
    """End a proposed round without effect; what it reserved is free again."""
    _, accounts = proposing.lock(session, find(session, round_id).union_id)
    done = _end(session, round_id, RoundState.ABANDONED)
    reserving.release(session, round_id)
    told = notices(session, done, read_rows(session, SetOff, round_id), accounts)
    events.record(session, told, database.now(session))
    return done


def due(session: Session) -> list[UUID]:
    """Return the proposed rounds whose time to be committed has come, the longest due first."""
    moment = database.now(session)
    query = select(Round.id).where(Round.state == RoundState.PROPOSED, Round.commit_at <= moment)
    return list(session.scalars(query.order_by(Round.commit_at, Round.id)))


def opt_out(session: Session, round_id: UUID, group_id: str) -> OptOut:
    """Have nothing of a group's own set off in a proposed round; said again it stays said.

    Raises NotFoundError where the group has no part in the round, ConflictError where it has ended
    or its deadline is past.
    """
    query = select(Round).where(Round.id == round_id).with_for_update()
    found = session.scalar(query.execution_options(populate_existing=True))
    if found is None or not _has_part(session, found, group_id):
        raise NotFoundError(f"group {group_id!r} has no part in a round {round_id}")
    said = session.get(OptOut, (round_id, group_id))
    if said is not None:
        return said
    if found.state is not RoundState.PROPOSED:
        raise ConflictError(f"round {round_id} is {found.state}", state=str(found.state))
    moment = database.now(session)
    if moment >= found.commit_at:
        until = chain.time_text(found.commit_at)
        raise ConflictError(f"groups could opt out until {until}", commit_at=until)
    said = OptOut(round_id=round_id, group_id=group_id, opted_out_at=moment)
    session.add(said)
    session.flush()
    return said


def _has_part(session: Session, of: Round, group_id: str) -> bool:
    own = select(Account.id).where(Account.union_id == of.union_id, Account.group_id == group_id)
    is_own = or_(SetOff.debtor_id.in_(own), SetOff.creditor_id.in_(own))
    query = select(SetOff.round_id).where(SetOff.round_id == of.id, is_own)
    if session.scalar(query.limit(1)) is not None:
        return True
    return group_id in groups_of_released(session, of.id)


def _end(session: Session, round_id: UUID, state: RoundState) -> Round:
    """Move a proposed round to `state`, once; its union's locks are held."""
    moved = session.scalar(
        update(Round)
        .where(Round.id == round_id, Round.state == RoundState.PROPOSED)
        .values(state=state, ended_at=database.now(session))
        .returning(Round)
        .execution_options(populate_existing=True)
    )
    if moved is None:
        raise ConflictError(f"round {round_id} is not proposed any more")
    return moved


def _out(session: Session, done: Round, accounts: Accounts) -> Numbers:
    """Return the accounts that take no part any more: opted out, frozen, closed or suspended."""
    said = select(OptOut.group_id).where(OptOut.round_id == done.id)
    groups = set(session.scalars(said))
    out = barred(session, done.union_id, for_good=True)
    out |= {one.id for one in accounts.values() if one.group_id in groups}
    return np.array(sorted(out), dtype=np.int64)
