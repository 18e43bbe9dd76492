"""The moment up to which all that there will ever be of a union is there to be read."""

from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from clearing.accounts import Account
from commons import database


def certain_until(session: Session, union_id: str | None) -> datetime:
    """Return a moment before which nothing more can be written of any account of a union, or all.

    As `statements.certain_until`, of many accounts: what is posted, reserved or limited takes its
    time under the account's lock, so whoever held one is waited for, and whoever comes later takes
    a later time. It wants a transaction of its own, before the one that reads.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL synchronous_commit TO off"))
        locked = select(Account.id).order_by(Account.id).with_for_update(read=True)
        if union_id is not None:
            locked = locked.where(Account.union_id == union_id)
        session.execute(select(func.count()).select_from(locked.subquery()))
    return database.now(session)
