"""What a hub's actor says against being indexed, and for whom its consent speaks."""

from typing import Final
from urllib.parse import urljoin

from sqlalchemy import select
from sqlalchemy.orm import Session

from commons.database import now
from crawler.origins import Actor
from crawler.peers import INDEXED, Covers, Peer, PeerKind, cover, read_anew
from crawler.terms import PUBLIC
from marketplace.consent import Signals, decide

_GROUPS: Final = frozenset({"Group", "Organization"})


def refusal_of(actor: Actor) -> str | None:
    """Return how an actor takes back that its own document says no; None where it does not."""
    if actor.indexable is False:
        return f"set `indexable` to true on {actor.id}, which says false now"
    if actor.noindex or actor.suspended:
        said = "`suspended`" if actor.suspended else "`xRobotsTag`"
        return f"take {said} off {actor.id}, which asks not to be indexed"
    said_of_its_own = Signals(actor.searchable_by, to=(PUBLIC,), hub_consented=True)
    if not decide(said_of_its_own).allowed:
        return f"let `searchableBy` of {actor.id} hold as:Public, or leave it out"
    return None


def covered_by(actor: Actor, kind: PeerKind) -> Covers:
    """Return for whom an actor can agree: a group for its members, an instance for its server.

    A person, a bot, or what calls itself a person and a group at once, only for its own listings.
    """
    is_group = bool(actor.types & _GROUPS) and "Person" not in actor.types
    return Covers.MEMBERS if is_group or kind is PeerKind.INSTANCE else Covers.ITS_OWN


def renew_cover(session: Session, peer: Peer, actor: Actor) -> None:
    """Have a locked peer's consent speak for no more than its actor can by what it is now.

    A person's becomes a group's only where the group's own document says yes as well.
    """
    if peer.consented_at is None:
        return
    covers = covered_by(actor, peer.kind)
    was_its_own = (peer.consent_evidence or {}).get("covers") == Covers.ITS_OWN
    if was_its_own and actor.indexable is not True:
        covers = Covers.ITS_OWN
    cover(session, peer, covers)


def note_refusal(session: Session, peer: Peer, *, refuses: bool) -> None:
    """Note whether an actor that was asked says no, whatever the server says that it is on.

    What that server's own consent has brought of it is looked at again, and goes.
    """
    if refuses is (peer.refused_at is not None):
        return
    peer.refused_at = now(session) if refuses else None
    session.flush()
    if not refuses or peer.group_id is not None:
        return
    start = urljoin(peer.actor_uri, "/")
    housing = select(Peer.id).where(
        Peer.actor_uri.startswith(start, autoescape=True), Peer.state.in_(INDEXED)
    )
    for peer_id in session.scalars(housing.order_by(Peer.id)).all():
        read_anew(session, peer_id)
