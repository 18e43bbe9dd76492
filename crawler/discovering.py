"""Hubs heard of elsewhere: noted within bounds, so that nobody fills our table with names."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.database import now
from commons.politeness import registrable_domain
from crawler.blocks import is_blocked
from crawler.peers import FOLLOWS, Peer, PeerKind, PeerState, discover, schedule
from crawler.terms import origin

IN_ALL_MOST: Final = 10_000
IN_DOMAIN_MOST: Final = 50
A_DAY_MOST: Final = 10
_LINKS_MOST: Final = 10


def note(
    session: Session, uri: str, *, found_by: str, kind: PeerKind = PeerKind.ACTIVITYPUB
) -> Peer | None:
    """Note an actor or other source that has not agreed, to be asked now and then weekly.

    Returns its peer, None where there are too many already: 10 new a day and 50 at once of one
    registrable domain, 10,000 in all.
    """
    known = session.scalar(select(Peer).where(Peer.actor_uri == uri))
    if known is not None:
        return known
    if origin(uri) is None or is_blocked(session, uri) or not _has_room(session, uri):
        return None
    peer = discover(session, uri, found_by=found_by, kind=kind)
    schedule(session, peer.id)
    session.refresh(peer)
    return peer


def note_links(session: Session, sender: Peer, uris: Iterable[str | None]) -> None:
    """Note the group actors that a hub's listings name and that are not known here."""
    named = {uri for uri in uris if uri is not None and uri != sender.actor_uri}
    if sender.kind not in FOLLOWS:
        return  # what it names is no actor
    for uri in sorted(named)[:_LINKS_MOST]:
        try:
            with session.begin_nested():
                note(session, uri, found_by=f"a link of {sender.actor_uri}")
        except IntegrityError:
            continue  # another hub named it in the same moment


def _has_room(session: Session, uri: str) -> bool:
    discovered = Peer.state == PeerState.DISCOVERED
    in_all = session.scalar(select(func.count()).select_from(Peer).where(discovered)) or 0
    if in_all >= IN_ALL_MOST:
        return False
    domain = _domain(uri)
    # A host stands behind "://" or a dot; what the pattern finds too much is left out below.
    same = or_(
        *(Peer.actor_uri.contains(f"{before}{domain}", autoescape=True) for before in ("://", "."))
    )
    rows = session.execute(select(Peer.actor_uri, Peer.state_since).where(discovered, same))
    since = [moment for known, moment in rows if _domain(known) == domain]
    day_ago = now(session) - timedelta(days=1)
    return len(since) < IN_DOMAIN_MOST and sum(one > day_ago for one in since) < A_DAY_MOST


def _domain(uri: str) -> str:
    return registrable_domain(urlsplit(uri).hostname or "")
