"""Changes to several listings in one transaction, locked in one order so that none waits in vain.

The order is: peer, authors, the counter of revisions, listings.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from commons.database import draw
from marketplace.listings import COUNTER, WithdrawnReason, withdraw


def begin(session: Session) -> None:
    """Lock the counter that every change of a listing draws from, before any listing is locked."""
    draw(session, COUNTER, 0)


def withdraw_each(
    session: Session,
    uris: Iterable[str],
    reason: WithdrawnReason,
    *,
    deleted_at: datetime | None = None,
) -> int:
    """Withdraw listings; return how many there were to withdraw."""
    begin(session)
    return sum(withdraw(session, uri, reason, deleted_at=deleted_at) for uri in uris)
