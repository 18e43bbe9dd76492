"""Our own activities on their way: one row per inbox, tried until it is taken or given up."""

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, ForeignKey, String, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now, reading, transaction
from commons.fetch import Door
from commons.jobs import Scheduled

MEDIA_TYPE: Final = "application/activity+json"


class Delivery(Scheduled, Base):
    """One activity for one inbox; `delivered_at` is when that inbox took it."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    peer_id: Mapped[int] = mapped_column(ForeignKey("peers.id"), index=True)
    inbox_uri: Mapped[str] = mapped_column(String(2048))
    activity: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]


def enqueue(session: Session, peer_id: int, inbox_uri: str, activity: dict[str, Any]) -> Delivery:
    """Put an activity on its way to an inbox; it leaves after the commit."""
    moment = now(session)
    row = Delivery(
        peer_id=peer_id,
        inbox_uri=inbox_uri,
        activity=activity,
        created_at=moment,
        due_at=moment,
    )
    session.add(row)
    session.flush()
    return row


def hurry(session: Session, peer_id: int) -> None:
    """Have what waits for a hub's inbox tried now; nothing that was given up comes back."""
    waits = (Delivery.peer_id == peer_id, Delivery.due_at.is_not(None))
    session.execute(update(Delivery).where(*waits).values(due_at=now(session)))


async def deliver(engine: Engine, door: Door, delivery_id: int) -> datetime | None:
    """Deliver one activity; FetchError where the inbox does not take it now."""
    with reading(engine) as session:
        row = session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()
        inbox_uri, activity = row.inbox_uri, row.activity
        if row.delivered_at is not None:
            return None
    body = json.dumps(activity, ensure_ascii=False).encode()
    await door.post(inbox_uri, body, MEDIA_TYPE)
    with transaction(engine) as session:
        session.execute(
            update(Delivery).where(Delivery.id == delivery_id).values(delivered_at=now(session))
        )
    return None
