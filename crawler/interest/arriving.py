"""An Offer that a hub pushes to our inbox, instead of calling: taken as its call would be."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import ForbiddenError, NotFoundError
from crawler.interest.asking import View, ask
from crawler.interest.saying import answered_in, read_offer
from crawler.peers import Peer, PeerState, is_suspended
from crawler.terms import Document, same_origin
from marketplace.duplicates import Claim
from marketplace.listings import Listing, visible

_LOOKED_AT: Final = 20


def offered(session: Session, our_actor: str, peer_id: int, document: Document) -> View:
    """Take a member's Offer to the author of a listing that we show; the inbox knows who speaks.

    Raises NotFoundError where it answers none, ForbiddenError for a hub that may not call, and as
    `read_offer` and `ask` do.
    """
    peer = session.get_one(Peer, peer_id)
    may_call = peer.state is not PeerState.BLOCKED and not is_suspended(session, peer)
    if peer.group_id is None or not may_call:
        raise ForbiddenError("no hub that is registered here, or a blocked or suspended one")
    listing = _listing(session, answered_in(document))
    said = read_offer(document, listing.author_uri, through=our_actor)
    return ask(session, peer.group_id, listing.id, said)[0]


def _listing(session: Session, answers: Collection[str]) -> Listing:
    """Return the listing that is answered, be it by another address that its own origin names."""
    claiming = select(Claim.listing_uri).where(Claim.claimed_uri.in_(answers))
    named = or_(Listing.uri.in_(answers), Listing.uri.in_(claiming))
    for listing in session.scalars(
        select(Listing)
        .where(named, visible(now(session)))
        .order_by(Listing.uri.in_(answers).desc(), Listing.uri)
        .limit(_LOOKED_AT)
    ):
        if any(same_origin(listing.uri, uri) for uri in answers):
            return listing
    raise NotFoundError("it answers no listing that is shown here")
