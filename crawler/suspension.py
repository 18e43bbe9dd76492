"""A hub suspended by the operator, and resumed: nothing of it is shown, taken or sent meanwhile."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.groups import TRANSITIONS, Hub, HubState
from crawler import peers
from crawler.delivery import Delivery
from crawler.peers import Peer, PeerState
from marketplace.listings import WithdrawnReason

_FOLLOWED = frozenset({PeerState.FOLLOWING, PeerState.LIVE, PeerState.STALE})


def suspend(session: Session, group_id: str, reason: str) -> Hub:
    """Suspend a hub: its listings are withdrawn, its pushes refused, and nothing is sent to it.

    What it agreed to stays recorded. Raises InvalidError without a reason, NotFoundError, and
    ConflictError where it is suspended already.
    """
    if not reason.strip():
        raise InvalidError("reason", "must say why")
    hub, peer = _locked(session, group_id)
    _change(session, hub, HubState.SUSPENDED, reason.strip()[:1000])
    if peer is not None:
        peer.due_at = None
        session.flush()
        peers.cancel_deliveries(session, Delivery.peer_id == peer.id, "the hub is suspended")
        peers.withdraw_all(session, peer, WithdrawnReason.OPERATOR)
    return hub


def resume(session: Session, group_id: str) -> Hub:
    """Lift a suspension: the hub is what it was before, is followed anew, and read anew at once.

    What it publishes no more comes back where its origin still has it. Raises NotFoundError, and
    ConflictError where it is not suspended.
    """
    hub, peer = _locked(session, group_id)
    if hub.state is not HubState.SUSPENDED:
        raise ConflictError(f"the hub of {group_id!r} is not suspended")
    _change(session, hub, HubState.ADMITTED if hub.admitted_at else HubState.REGISTERED, None)
    if peer is not None:
        if peer.state in _FOLLOWED:  # it may have dropped us while it was refused
            peers.move(session, peer.id, peer.state, PeerState.CONSENTED)
        peers.start_over(session, peer.id)
    return hub


def _locked(session: Session, group_id: str) -> tuple[Hub, Peer | None]:
    """Lock a hub's peer, where it has one, and return the hub with it."""
    peer = session.scalar(select(Peer).where(Peer.group_id == group_id).with_for_update())
    hub = session.get(Hub, group_id)
    if hub is None:
        raise NotFoundError(f"there is no hub of a group {group_id!r}")
    return hub, peer


def _change(session: Session, hub: Hub, state: HubState, reason: str | None) -> None:
    sources = [source for source, targets in TRANSITIONS.items() if state in targets]
    changed = session.execute(
        update(Hub)
        .where(Hub.group_id == hub.group_id, Hub.state.in_(sources))
        .values(state=state, suspended_reason=reason)
        .returning(Hub.group_id)
    )
    if changed.scalar() is None:
        raise ConflictError(f"the hub of {hub.group_id!r} is {hub.state} already")
    session.refresh(hub)
