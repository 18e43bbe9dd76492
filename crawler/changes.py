"""Changes to several listings in one transaction, locked in one order so that none waits in vain.

The order is: peer, authors, the counter of revisions, listings.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy.orm import Session

from commons.database import draw
from crawler.kept import forget_objects
from marketplace.listings import COUNTER, WithdrawnReason, withdraw_many

_AT_ONCE: Final = 500


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
    """Withdraw listings and forget what anybody pushed of them; return how many there were."""
    begin(session)
    left = iter(dict.fromkeys(uris, deleted_at).items())
    withdrawn = 0
    while some := dict(islice(left, _AT_ONCE)):
        withdrawn += withdraw_many(session, some, reason)
        forget_objects(session, some)
    return withdrawn
