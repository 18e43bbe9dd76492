"""How many listings of a hub were refused, by reason: a number alone, not whose and not which.

Nobody consented to be kept here, so nothing is. What could be kept, since it only broke a rule, is
in `crawler.kept.PutAside`, and is counted there.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, String, bindparam, delete, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, UtcDateTime, now

BLOCKED: Final = "its domain is blocked here"
NO_HUB: Final = "its own hub has not agreed, or is suspended"

_ADD: Final = text(
    "INSERT INTO refusals (peer_id, reason, count, last_at)"
    " VALUES (:peer_id, :reason, :count, :at) ON CONFLICT (peer_id, reason) DO UPDATE"
    " SET count = refusals.count + excluded.count, last_at = excluded.last_at"
).bindparams(bindparam("at", type_=UtcDateTime()))


class Refusal(Base):
    """How often a hub's listings were refused for a reason since its last crawl began.

    The reasons are those of `marketplace.consent.decide` and the two above, a handful.
    """

    __tablename__ = "refusals"

    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(String(200), primary_key=True)
    count: Mapped[int]
    last_at: Mapped[datetime]


def count(session: Session, peer_id: int, reasons: Mapping[str, int]) -> None:
    """Add to what was refused of a hub, by reason."""
    moment = now(session)
    for reason, number in sorted(reasons.items()):
        session.execute(
            _ADD.bindparams(peer_id=peer_id, reason=reason[:200], count=number, at=moment)
        )


def reset(session: Session, peer_id: int) -> None:
    """Count anew, since a crawl begins that reads everything."""
    session.execute(delete(Refusal).where(Refusal.peer_id == peer_id))


def refusals_of(session: Session, peer_id: int) -> list[Refusal]:
    """Return what was refused of a hub, the most frequent reason first."""
    mine = select(Refusal).where(Refusal.peer_id == peer_id)
    return list(session.scalars(mine.order_by(Refusal.count.desc(), Refusal.reason)))
