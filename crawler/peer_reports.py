"""How the crawler stands with a hub, for its operator and ours."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crawler.delivery import Delivery
from crawler.kept import PutAside
from crawler.peers import PeerState, by_group
from marketplace.listings import Listing, shown


@dataclass(frozen=True)
class PeerReport:
    """A peer's health, for its operator; `failures` are those since it last answered."""

    group_id: str
    actor_uri: str
    state: PeerState
    state_since: datetime
    consented_at: datetime | None
    last_heard_at: datetime | None
    last_looked_at: datetime | None
    next_look_at: datetime | None
    failures: int
    last_error: str | None
    listings: int
    put_aside: int


def peer_report(session: Session, group_id: str) -> PeerReport:
    """Return how the crawler stands with a group's hub; NotFoundError where it knows none.

    Deliveries that the hub does not take count as its failures too.
    """
    peer = by_group(session, group_id)
    waiting = session.scalar(
        select(Delivery)
        .where(
            Delivery.peer_id == peer.id,
            Delivery.delivered_at.is_(None),
            Delivery.last_error.is_not(None),
        )
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    return PeerReport(
        group_id=group_id,
        actor_uri=peer.actor_uri,
        state=peer.state,
        state_since=peer.state_since,
        consented_at=peer.consented_at,
        last_heard_at=peer.last_heard_at,
        last_looked_at=peer.last_looked_at,
        next_look_at=waiting.due_at if waiting else peer.due_at,
        failures=peer.attempts + (waiting.attempts if waiting else 0),
        last_error=peer.last_error or (waiting.last_error if waiting else None),
        listings=session.scalar(select(func.count()).where(Listing.group_id == group_id, shown()))
        or 0,
        put_aside=session.scalar(select(func.count()).where(PutAside.peer_id == peer.id)) or 0,
    )
