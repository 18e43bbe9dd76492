"""A hub tells of a member's interest: whether it is taken, and what it is told of it later."""

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, TooManyError
from commons.groups import Group, Hub
from crawler.authors import Author
from crawler.interest.rows import Interest, InterestState
from crawler.interest.saying import Said
from crawler.peers import FOLLOWS, Peer, may_index
from crawler.terms import same_origin
from marketplace.listings import Listing, visible

HUB_MOST: Final = 60
HUB_PERIOD: Final = timedelta(hours=1)
LISTING_MOST: Final = 5
LISTING_PERIOD: Final = timedelta(days=1)
_NONE: Final = "there is no such listing, or none any more"


@dataclass(frozen=True)
class View:
    """An interest as the hub that told of it sees it."""

    id: UUID
    listing: str
    member: str
    offer: str
    state: InterestState
    since: datetime
    reason: str | None


def listing_to_answer(session: Session, listing_id: str) -> Listing:
    """Return a listing that may be answered, locked against withdrawal; else NotFoundError.

    Why there is none to answer is nobody's to know.
    """
    query = select(Listing).where(Listing.id == listing_id, visible(now(session)))
    listing = session.scalar(query.with_for_update(read=True))
    if listing is not None:
        blocked = select(Author.blocked).where(Author.uri == listing.author_uri)
        if not session.scalar(blocked):
            return listing
    raise NotFoundError(_NONE)


def ask(session: Session, group_id: str, listing_id: str, said: Said) -> tuple[View, bool]:
    """Take a member's interest in a listing from its hub; tell whether it is new.

    The same again changes nothing and is no further call on the limits. Raises NotFoundError
    where there is no such listing, ForbiddenError for a member of another origin, InvalidError
    where something else is answered, ConflictError where the id was used for something else or
    the author takes no messages, and TooManyError.
    """
    # One at a time of each hub, so that its limits hold.
    session.scalars(select(Hub).where(Hub.group_id == group_id).with_for_update()).one()
    group = session.get_one(Group, group_id)
    if not same_origin(said.member_uri, group.uri):
        raise ForbiddenError("a hub speaks for members of its own origin alone")
    query = select(Interest).where(
        Interest.group_id == group_id, Interest.offer_uri == said.offer_uri
    )
    held = session.scalar(query)
    if held is not None:
        if held.request_digest != _digest(held.key, listing_id, said):
            raise ConflictError("an interest with this id was told otherwise")
        return _view(held), False
    listing = listing_to_answer(session, listing_id)
    if said.answers and not said.answers & {listing.uri, *listing.same_as}:
        raise InvalidError("inReplyTo", "must name the listing, or satisfy an intent of it")
    _check_reachable(session, listing)
    _check_limits(session, group_id, listing_id)
    return _view(_store(session, group_id, listing, said)), True


def view(session: Session, group_id: str, interest_id: UUID) -> View:
    """Return an interest to the hub that told of it; NotFoundError for all others."""
    row = session.scalar(
        select(Interest).where(Interest.uuid == interest_id, Interest.group_id == group_id)
    )
    if row is None:
        raise NotFoundError("there is no such interest")
    return _view(row)


def _check_reachable(session: Session, listing: Listing) -> None:
    """Refuse what could never be delivered: a listing of a source that has no actors."""
    of_group = Peer.group_id == listing.group_id
    peer = session.scalar(select(Peer).where(Peer.group_id.is_not(None), of_group))
    if peer is not None and not may_index(session, peer):
        raise NotFoundError(_NONE)
    if peer is not None and peer.kind not in FOLLOWS:
        raise ConflictError("its author takes no messages; answer it at its own address")


def _check_limits(session: Session, group_id: str, listing_id: str) -> None:
    of_hub = Interest.group_id == group_id
    of_listing = Interest.listing_id == listing_id
    moment = now(session)
    for most, period, conditions in (
        (HUB_MOST, HUB_PERIOD, (of_hub,)),
        (LISTING_MOST, LISTING_PERIOD, (of_hub, of_listing)),
    ):
        recent = (
            select(Interest.created_at)
            .where(*conditions, Interest.created_at > moment - period)
            .order_by(Interest.created_at.desc())
            .limit(most)
            .subquery()
        )
        told, oldest = session.execute(
            select(func.count(), func.min(recent.c.created_at)).select_from(recent)
        ).one()
        if told >= most:
            wait = oldest + period - moment
            hours = period // timedelta(hours=1)
            raise TooManyError(
                f"a hub tells of {most} interests in {hours} h"
                + (" in one listing" if of_listing in conditions else ""),
                max(1, ceil(wait.total_seconds())),
            )


def _store(session: Session, group_id: str, listing: Listing, said: Said) -> Interest:
    moment, key = now(session), secrets.token_bytes(32)
    row = Interest(
        uuid=uuid4(),
        group_id=group_id,
        listing_id=listing.id,
        author_uri=listing.author_uri,
        member_uri=said.member_uri,
        offer_uri=said.offer_uri,
        said={"message": said.message, "agreement": said.agreement},
        state=InterestState.WAITING,
        state_since=moment,
        key=key,
        request_digest=_digest(key, listing.id, said),
        created_at=moment,
        due_at=moment,
        attempts=0,
    )
    session.add(row)
    session.flush()
    return row


def _digest(key: bytes, listing_id: str, said: Said) -> str:
    told: dict[str, Any] = {**asdict(said), "answers": sorted(said.answers), "listing": listing_id}
    written = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, written.encode(), hashlib.sha256).hexdigest()


def _view(row: Interest) -> View:
    return View(
        id=row.uuid,
        listing=row.listing_id,
        member=row.member_uri,
        offer=row.offer_uri,
        state=row.state,
        since=row.state_since,
        reason=row.reason,
    )
