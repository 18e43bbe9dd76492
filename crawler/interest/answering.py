"""An author answers an interest: its Accept or Reject, told to our inbox, is passed back."""

import json
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from commons.database import now
from crawler.interest.rows import LONGEST_REASON, Interest, InterestState, move
from crawler.interest.wording import answered_id
from crawler.peers import Peer
from crawler.terms import Activity, Document, objects, text
from marketplace.drafts import plain_text
from marketplace.listings import Listing

MOST_RESULT_CHARS: Final = 16 * 1024
_ANSWERS: Final = {"Accept": InterestState.ACCEPTED, "Reject": InterestState.REJECTED}


def answered(
    session: Session, our_actor: str, peer_id: int, activity: Activity, document: Document
) -> bool:
    """Take an Accept or Reject that a peer pushed; False where it answers no known interest.

    Only the author may say it, or the actor of the hub of the listing's group; anybody else's has
    no effect. The inbox has made sure who speaks. Of several answers the first counts.
    """
    uuid = answered_id(our_actor, activity.object_id)
    row = uuid and session.scalar(select(Interest).where(Interest.uuid == uuid).with_for_update())
    if not row:
        return False
    hub = select(Peer.actor_uri).join(Listing, Listing.group_id == Peer.group_id)
    hub_uri = session.scalar(hub.where(Peer.id == peer_id, Listing.id == row.listing_id))
    if activity.actor not in {row.author_uri, hub_uri}:
        return True
    words = plain_text(text(document, "content")[: 8 * LONGEST_REASON])[:LONGEST_REASON]
    state = _ANSWERS[activity.type]
    if move(session, row.id, state, words):
        answer = {
            "type": activity.type,
            "author": row.author_uri,
            "content": words or f"The author has {state} your offer.",
            "result": _result(document),
        }
        values = {"answer": answer, "due_at": now(session), "attempts": 0}
        session.execute(update(Interest).where(Interest.id == row.id).values(values))
    return True


def _result(document: Document) -> dict[str, Any] | None:
    """Return the agreement that an Accept carries, unless it is larger than any is."""
    result = next(objects(document, "result"), None)
    if result is None or len(json.dumps(result)) > MOST_RESULT_CHARS:
        return None
    return result
