"""Tombstones of what never was a listing here: Deletes that came before their Create, or alone."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from commons.database import now
from marketplace.listings import Listing

KEPT: Final = timedelta(days=30)
DROPPED_AT_ONCE: Final = 1_000


def drop_never_shown(session: Session) -> None:
    """Forget Deletes of 30 days ago that no Create followed, a part at a time.

    No index has ever held what they are of. The counter of revisions is to be locked before.
    """
    old = (
        select(Listing.id)
        .where(
            # A tombstone of what was a listing is emptied later than that was published.
            Listing.withdrawn_at.is_not(None),
            Listing.published == Listing.confirmed_at,
            Listing.confirmed_at < now(session) - KEPT,
        )
        .limit(DROPPED_AT_ONCE)
    )
    session.execute(delete(Listing).where(Listing.id.in_(old)))
