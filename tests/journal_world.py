"""Short ways to what is posted beside payments, and to everything that may not have changed."""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, inspect, select, update

from clearing import adjustments, disputes, periods
from clearing.accounts import Account, AccountState, Position, account_of
from clearing.adjustments import (
    Adjustment,
    AdjustmentKind,
    AdjustmentView,
    Move,
    Proposal,
    Verb,
)
from clearing.disputes import Dispute, Mark
from clearing.events import Event
from clearing.ledger import ChainRow, Entry, Journal
from clearing.periods import PeriodEnd, Return
from clearing.transfers import Transfer
from commons.audit_log import Deed
from commons.database import Base, reading, transaction

A, B, C = "barcelona", "leeds", "ghent"
KEPT: tuple[type[Base], ...] = (
    Account, Position, Journal, Entry, ChainRow, Transfer, Adjustment, Dispute, PeriodEnd, Event,
    Deed,
)  # fmt: skip


def proposal(caller: str | None, kind: str, debtor: str, creditor: str, amount: str) -> Proposal:
    return Proposal(uuid.uuid4(), caller, AdjustmentKind(kind), debtor, creditor, amount)


def propose(engine: Engine, call: Proposal) -> AdjustmentView:
    with transaction(engine) as session:
        return adjustments.propose(session, call)[0]


def move(engine: Engine, adjustment_id: uuid.UUID, caller: str | None, verb: str) -> AdjustmentView:
    with transaction(engine) as session:
        return adjustments.move(session, Move(adjustment_id, caller, Verb(verb)))


def agreed(engine: Engine, call: Proposal) -> AdjustmentView:
    """Propose and have the other side agree."""
    propose(engine, call)
    other = call.creditor if call.caller == call.debtor else call.debtor
    return move(engine, call.id, other, "agree")


def owe(engine: Engine, debtor: str, creditor: str, amount: str) -> AdjustmentView:
    """Have one group owe another, by an opening position that both agree to."""
    return agreed(engine, proposal(debtor, "opening", debtor, creditor, amount))


def dispute(caller: str, debtor: str, creditor: str, amount: str) -> Mark:
    return Mark(uuid.uuid4(), caller, debtor, creditor, amount, "Posted twice")


def mark(engine: Engine, call: Mark) -> disputes.DisputeView:
    with transaction(engine) as session:
        return disputes.mark(session, call)[0]


def close(engine: Engine, until: date, union: str = "main") -> list[Return]:
    with transaction(engine) as session:
        return periods.close(session, union, until, "operator")


def yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def positions(engine: Engine) -> dict[tuple[str, str], int]:
    """Return what is owed: creditor's and debtor's account to the amount, those of 0 left out."""
    with reading(engine) as session:
        names = dict(session.execute(select(Account.id, Account.name)).all())
        rows = session.scalars(select(Position).where(Position.amount > 0))
        return {(names[p.account_id], names[p.counterparty_id]): p.amount for p in rows}


def set_state(engine: Engine, group_id: str, state: AccountState) -> None:
    with transaction(engine) as session:
        account = account_of(session, group_id)
        session.execute(update(Account).where(Account.id == account.id).values(state=state))


def everything(engine: Engine) -> dict[str, Sequence[Any]]:
    """Return every row of every table that a call could have an effect on."""
    with reading(engine) as session:
        return {
            model.__tablename__: sorted(
                map(repr, session.execute(select(*inspect(model).columns)).all())
            )
            for model in KEPT
        }


def told(engine: Engine, group_id: str, kind: str) -> list[dict[str, Any]]:
    """Return the data of a hub's events of one kind, in their order."""
    with reading(engine) as session:
        found = select(Event).filter_by(group_id=group_id, kind=kind).order_by(Event.number)
        return [event.data for event in session.scalars(found)]
