"""What is kept of an interest: who, in which listing, how far it has come; never for long."""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ForeignKey,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    delete,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.jobs import Scheduled
from crawler.delivery import Delivery
from marketplace.drafts import listing_id
from marketplace.listings import Listing, WithdrawnReason

KEPT: Final = timedelta(days=90)
"""How long after its last change an interest is forgotten."""
GONE: Final = "the listing is gone"
LONGEST_REASON: Final = 500
_AT_ONCE: Final = 500
_DIGEST_LETTERS: Final = 64


class InterestState(StrEnum):
    """How far an interest has come."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


_ANSWERED: Final = frozenset({InterestState.ACCEPTED, InterestState.REJECTED})
TRANSITIONS: Final[dict[InterestState, frozenset[InterestState]]] = {
    InterestState.WAITING: _ANSWERED | {InterestState.DELIVERED, InterestState.FAILED},
    InterestState.DELIVERED: _ANSWERED,
    InterestState.ACCEPTED: frozenset(),
    InterestState.REJECTED: frozenset(),
    InterestState.FAILED: frozenset(),
}
"""An author's hub may answer before it has said that it took what it answers."""


class Interest(Scheduled, Base):
    """A member's interest in a listing, as its hub, that of the group `group_id`, told it.

    `offer_uri` is the id that the member's side gave it. `said` is what is to be passed on to the
    author and `answer` what to the member; each is emptied when it was, or cannot be. `key` keys
    the digest of the request, so that what was said cannot be guessed from it.
    """

    __tablename__ = "interests"

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[UUID]
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"))
    listing_id: Mapped[str] = mapped_column(ForeignKey("listings.id"), index=True)
    author_uri: Mapped[str] = mapped_column(String(2048))
    member_uri: Mapped[str] = mapped_column(String(2048))
    offer_uri: Mapped[str] = mapped_column(String(2048))
    said: Mapped[dict[str, Any] | None]
    answer: Mapped[dict[str, Any] | None]
    state: Mapped[InterestState] = mapped_column(enum_column(InterestState))
    state_since: Mapped[datetime]
    reason: Mapped[str | None] = mapped_column(String(LONGEST_REASON))
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    request_digest: Mapped[str] = mapped_column(String(_DIGEST_LETTERS))
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("uuid"),
        UniqueConstraint("group_id", "offer_uri"),
        Index(None, "group_id", "created_at"),
    )


def move(
    session: Session, interest_id: int, target: InterestState, reason: str | None = None
) -> bool:
    """Move an interest on, from wherever that may be done; False where it may not.

    Nothing is passed on to the author any more, and from now on 90 days count.
    """
    sources = [state for state, targets in TRANSITIONS.items() if target in targets]
    moment = now(session)
    moved = session.execute(
        update(Interest)
        .where(Interest.id == interest_id, Interest.state.in_(sources))
        .values(
            state=target,
            state_since=moment,
            reason=reason[:LONGEST_REASON] if reason else None,
            said=None,
            due_at=moment + KEPT,
        )
        .returning(Interest.id)
    )
    return moved.scalar() is not None


def fail(session: Session, interest_id: int, reason: str) -> bool:
    """Give up an interest that waits, and have the member told; False where it does not wait."""
    if not move(session, interest_id, InterestState.FAILED, reason):
        return False
    answer = {"type": "Note", "content": f"Your message could not be delivered: {reason}"}
    session.execute(
        update(Interest)
        .where(Interest.id == interest_id)
        .values(answer=answer, due_at=now(session), attempts=0)
    )
    return True


def withdrawn(session: Session, uris: Collection[str]) -> None:
    """Do what the withdrawal of listings asks for; those that are still shown change nothing.

    Where consent was taken back nothing stays of any interest in them; where a listing is only
    gone, what was not delivered yet fails, and what was may still be answered.
    """
    ids = sorted(listing_id(uri) for uri in uris)
    for start in range(0, len(ids), _AT_ONCE):
        rows = session.execute(
            select(Interest.id, Listing.withdrawn_reason)
            .join(Listing, Listing.id == Interest.listing_id)
            .where(
                Interest.listing_id.in_(ids[start : start + _AT_ONCE]),
                Listing.withdrawn_at.is_not(None),
            )
            .order_by(Interest.id)
        ).all()
        for interest_id, reason in rows:
            if reason is WithdrawnReason.CONSENT:
                erase(session, interest_id)
                continue
            on_its_way = select(Delivery.id).where(Delivery.interest_id == interest_id)
            session.execute(on_its_way.with_for_update())  # deliveries first, as they lock it
            if fail(session, interest_id, GONE):
                session.execute(delete(Delivery).where(Delivery.interest_id == interest_id))


def erase(session: Session, interest_id: int) -> None:
    """Delete an interest with all that is on its way of it; deliveries first, as they lock it."""
    session.execute(delete(Delivery).where(Delivery.interest_id == interest_id))
    session.execute(delete(Interest).where(Interest.id == interest_id))
