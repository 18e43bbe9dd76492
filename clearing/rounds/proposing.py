"""A round is planned and proposed: its rows written, and what they may take reserved as `given`."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import bulk, columns, events, held
from clearing.accounts import DEFAULT_UNION, Account, Union
from clearing.held import HeldAccount
from clearing.rounds.model import Candidate, Round, RoundState, SetOff
from clearing.rounds.planning import Plan, plan
from clearing.rounds.reserving import reserve
from clearing.rounds.rows import proposed_now
from clearing.rounds.telling import notices
from commons import database
from commons.database import Base
from commons.errors import ConflictError, NotFoundError

NO_NOTICE: Final = timedelta(0)
KEY_BYTES: Final = 32

_SET_OFFS: Final = Base.metadata.tables[SetOff.__tablename__]
_CANDIDATES: Final = Base.metadata.tables[Candidate.__tablename__]


def preview(
    session: Session, union_id: str = DEFAULT_UNION, *, credit_lines: bool | None = None
) -> Plan:
    """Return what a round would do now; nothing is changed.

    `credit_lines` says whether it may use spare ones; where None, as the union's rounds do. Raises
    NotFoundError for a union that is not there.
    """
    union = session.get(Union, union_id)
    if union is None and union_id != DEFAULT_UNION:  # which the first admission makes
        raise _unknown(union_id)
    if credit_lines is None:
        credit_lines = union is not None and union.credit_lines
    accounts = held.read_accounts(session, union_id)
    return plan(session, union_id, accounts, credit_lines=credit_lines)


def propose(
    session: Session,
    union_id: str = DEFAULT_UNION,
    *,
    proposed_by: str = "operator",
    notice: timedelta | None = NO_NOTICE,
) -> Round:
    """Snapshot what is owed, solve, and reserve every set-off as `given`.

    Payments posted after this stand beside the round and cannot undercut it. Groups may opt out
    for as long as `notice` says, or the union where it is None; then it may be committed. Raises
    ConflictError where the union has a proposed round already, NotFoundError where it has no
    accounts yet, InvalidError where what is owed is beyond what can be added up.
    """
    union, accounts = lock(session, union_id)
    require_none(session, union_id)
    planned = plan(session, union_id, accounts, credit_lines=union.credit_lines)
    if notice is None:
        notice = timedelta(seconds=union.round_notice_seconds)
    proposed = write(session, planned, proposed_by, notice)
    reserve(session, proposed.id, planned.columns)
    told = notices(session, proposed, planned.columns, accounts)
    events.record(session, told, proposed.proposed_at)
    return proposed


def lock(session: Session, union_id: str) -> tuple[Union, Mapping[int, HeldAccount]]:
    """Lock all accounts of a union, in id order; NotFoundError where there is no such union."""
    union = session.get(Union, union_id)
    if union is None:
        raise _unknown(union_id)
    wanted = select(Account.id).filter_by(union_id=union_id)
    return union, held.lock_accounts(session, wanted)


def _unknown(union_id: str) -> NotFoundError:
    return NotFoundError(f"union {union_id!r} has no accounts: no group was admitted yet")


def require_none(session: Session, union_id: str) -> None:
    """Raise ConflictError where a union has a proposed round."""
    standing = proposed_now(session, union_id)
    if standing is not None:
        raise ConflictError(f"round {standing.id} of union {union_id!r} is still proposed")


def write(session: Session, planned: Plan, proposed_by: str, notice: timedelta) -> Round:
    """Write a proposed round with its rows and the payments that it chose from."""
    moment = database.now(session)
    proposed = Round(
        id=uuid4(),
        union_id=planned.union_id,
        state=RoundState.PROPOSED,
        obligations_total=planned.totals.obligations,
        net_internal_debt=planned.totals.net_internal_debt,
        cleared=planned.totals.cleared,
        drawn=planned.totals.drawn,
        credit_lines=planned.credit_lines,
        amended=False,
        waiting=len(planned.queued),
        released=len(planned.released),
        released_value=planned.value,
        released_bound=planned.bound,
        released_exact=planned.exact,
        proposed_by=proposed_by,
        proposed_at=moment,
        commit_at=moment + notice,
        key=secrets.token_bytes(KEY_BYTES),
    )
    session.add(proposed)
    session.flush()
    columns.insert(session, _SET_OFFS, planned.columns.columns(), {"round_id": proposed.id})
    chosen = [(proposed.id, o.transfer, o.place, o.first, o.proposed) for o in planned.queued]
    names = ("round_id", "transfer_id", "place", "first", "proposed")
    bulk.insert_rows(session, _CANDIDATES, names, chosen)
    return proposed
