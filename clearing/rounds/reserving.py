"""What a proposed round may yet take from positions, reserved there as `given`."""

from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Subquery,
    Table,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from clearing.held import POSITIONS
from clearing.rounds.model import SetOff
from clearing.rounds.table import Rows
from commons.database import Base

_SET_OFFS: Final[Table] = Base.metadata.tables[SetOff.__tablename__]


def reserve(session: Session, round_id: UUID, rows: Rows) -> None:
    """Reserve what a round's rows, as they were proposed, may take from positions."""
    make_positions(session, round_id, rows)
    _change(session, round_id, 1)


def release(session: Session, round_id: UUID) -> None:
    """Free again what a round reserved."""
    _change(session, round_id, -1)


def make_positions(session: Session, round_id: UUID, rows: Rows) -> None:
    """Make the positions of pairs that never met, between which a round moves something."""
    if not (rows.released.any() or rows.drawn.any()):
        return  # what is owed has positions
    c = _SET_OFFS.c
    of_round = (c.round_id == round_id) & ((c.amount > 0) | (c.drawn > 0))
    pairs = union_all(
        select(c.debtor_id.label("ours"), c.creditor_id.label("theirs")).where(of_round),
        select(c.creditor_id, c.debtor_id).where(of_round),
    ).subquery()
    same = (POSITIONS.c.account_id == pairs.c.ours) & (
        POSITIONS.c.counterparty_id == pairs.c.theirs
    )
    zeros = [literal(0)] * 3
    new = select(pairs.c.ours, pairs.c.theirs, *zeros).where(~exists().where(same)).distinct()
    names = ["account_id", "counterparty_id", "amount", "pending_out", "given"]
    session.connection().execute(insert(POSITIONS).from_select(names, new))


def _change(session: Session, round_id: UUID, sign: int) -> None:
    taken = _reserved(round_id)
    p = POSITIONS.c
    same = (p.account_id == taken.c.ours) & (p.counterparty_id == taken.c.theirs)
    change = update(POSITIONS).where(same).values(given=p.given + sign * taken.c.amount)
    session.connection().execute(change)


def _reserved(round_id: UUID) -> Subquery:
    """Return what a round may take from the position of an account towards another.

    A set-off takes it from the creditor's position towards the debtor; less by what payments add to
    the obligation that are released with it. What is drawn is taken from the debtor's position.
    """
    c = _SET_OFFS.c
    added = case((c.released > 0, c.released), else_=0)
    beyond = c.amount - added
    off = select(c.creditor_id.label("ours"), c.debtor_id.label("theirs"), beyond.label("amount"))
    drawn = select(c.debtor_id, c.creditor_id, c.drawn)
    of_round = c.round_id == round_id
    both = union_all(off.where(of_round, beyond > 0), drawn.where(of_round, c.drawn > 0)).subquery()
    total = cast(func.sum(both.c.amount), BigInteger).label("amount")
    return select(both.c.ours, both.c.theirs, total).group_by(both.c.ours, both.c.theirs).subquery()
