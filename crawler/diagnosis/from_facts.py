"""The steps as they can be told from what is stored, without asking anybody."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.groups import Hub, HubKey, HubState
from crawler import moving
from crawler.delivery import Delivery
from crawler.diagnosis.steps import (
    Step,
    failed,
    moment,
    not_needed,
    ok,
    troubled,
    waiting,
)
from crawler.kept import PutAside
from crawler.peers import BY_REGISTRATION, FOLLOWS, INDEXED, LEFT, Peer, PeerKind, PeerState
from crawler.plain_words import StepName, allowing, explain
from crawler.sources.reading import is_by_hand

_REJECTED: Final = "rejected our Follow"
_WORDS: Final = {
    "indexable": "The hub agreed: its actor says `indexable: true`.",
    "registration": "The hub agreed in its signed registration.",
    "invitation": "The hub agreed by redeeming an invitation of this service's operator.",
    "operator": "The hub agreed towards the operator of this service, who recorded it.",
}
_PUSHED: Final = frozenset({PeerKind.PUSH, PeerKind.FASP})
_NOT_TAKEN: Final = "Its inbox does not take our Follow."
_READ_ANYHOW: Final = "What it publishes is read once a week all the same."
_SEE_INBOX: Final = "See what the hub's own log says of our signed Follow at its inbox."
_JOIN_AGAIN: Final = "Have it answer again, then give its address on the registration page."


@dataclass(frozen=True)
class Facts:
    """What is stored of a hub, read once."""

    peer: Peer
    hub: Hub | None
    keys: int
    follow: Delivery | None
    source_aside: PutAside | None
    contact: str
    at: datetime

    @property
    def source_uri(self) -> str:
        """Where the hub's listings are read."""
        return (self.hub.outbox_uri if self.hub else None) or self.peer.actor_uri

    @property
    def read_at(self) -> datetime | None:
        """When all that it publishes was read last."""
        told = (self.peer.crawled_at, self.peer.last_looked_at)
        return max((at for at in told if at is not None), default=None)

    @property
    def answered_at(self) -> datetime | None:
        """When it last answered, or spoke to us."""
        registered = self.hub.registered_at if self.hub else None
        told = (self.peer.last_heard_at, self.read_at, registered)
        return max((at for at in told if at is not None), default=None)


def facts_of(session: Session, peer: Peer, contact: str) -> Facts:
    """Read the facts of a hub; `contact` is how the operator of this service is reached."""
    hub = session.get(Hub, peer.group_id) if peer.group_id else None
    source = (hub.outbox_uri if hub else None) or peer.actor_uri
    keys = select(func.count()).where(HubKey.group_id == peer.group_id, HubKey.revoked_at.is_(None))
    follows = (
        select(Delivery)
        .where(Delivery.peer_id == peer.id, Delivery.about.is_not(None))
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    aside = select(PutAside).where(PutAside.peer_id == peer.id, PutAside.uri == source)
    return Facts(
        peer=peer,
        hub=hub,
        keys=session.scalar(keys) or 0,
        follow=session.scalar(follows),
        source_aside=session.scalar(aside),
        contact=contact,
        at=now(session),
    )


def steps_of(facts: Facts) -> list[Step]:
    """Return the steps up to the reading of listings, and the next visit."""
    steps = [
        _address(facts),
        _connection(facts),
        _robots(facts),
        not_needed(StepName.SOFTWARE, "Which one it is does not matter; a look now asks for it."),
        _actor(facts),
        _keys(facts),
        _consent(facts),
        _hub(facts),
        _follow(facts),
        _source(facts),
        _visit(facts),
    ]
    trouble = noted(facts)
    return [step for step in steps if trouble is None or step.name is not trouble.name] + (
        [trouble] if trouble else []
    )


def noted(facts: Facts) -> Step | None:
    """Return the step at which the last look at the hub failed."""
    error = facts.peer.last_error
    if not error or _REJECTED in error:
        return None
    told_of_actor = error.startswith((f"{facts.peer.actor_uri} ", f"{facts.peer.actor_uri}:"))
    is_actor = told_of_actor and facts.source_uri != facts.peer.actor_uri
    step = StepName.ACTOR if is_actor else StepName.SOURCE
    return troubled(step, allowing(explain(error), facts.source_uri), error=error)


def _address(facts: Facts) -> Step:
    return ok(StepName.ADDRESS, "It is one that is asked.", facts.answered_at)


def _connection(facts: Facts) -> Step:
    if facts.answered_at is None:
        return waiting(StepName.CONNECTION, "It has not been asked yet.")
    return ok(StepName.CONNECTION, "It answered.", facts.answered_at)


def _robots(facts: Facts) -> Step:
    name, aside = StepName.ROBOTS, facts.source_aside
    if facts.peer.kind in _PUSHED or is_by_hand(facts.peer):
        return not_needed(name, "Nothing is crawled here.")
    trouble = allowing(explain(aside.reason), aside.uri) if aside else None
    if aside and trouble and trouble.step is name:
        return troubled(name, trouble, at=aside.at, error=aside.reason)
    if facts.read_at is None:
        return waiting(name, "It is read before the first page is.")
    return ok(name, "It lets LocalPay read the listings.", facts.read_at)


def _actor(facts: Facts) -> Step:
    if facts.peer.kind not in FOLLOWS:
        return not_needed(StepName.ACTOR, "This kind of source has none.")
    if facts.hub is None and facts.peer.kind is not PeerKind.RELAY:
        return waiting(StepName.ACTOR, "It has not been read yet.")
    if moving.waiting(facts.peer):
        said = "It says that it has moved. As it takes part in clearing, that waits for our word."
        mend = "Write to the operator of this service, who moves it by `localpay hub move`."
        return failed(StepName.ACTOR, said, mend)
    return ok(StepName.ACTOR, "It is an actor with this very id.", facts.answered_at)


def _keys(facts: Facts) -> Step:
    if facts.peer.kind not in FOLLOWS | _PUSHED:
        return not_needed(StepName.KEYS, "Nothing is signed here.")
    if facts.keys == 0:
        seen = "It names no key that is taken, so what it pushes cannot be checked; it is read."
        return not_needed(StepName.KEYS, seen)
    word = "key" if facts.keys == 1 else "keys"
    return ok(StepName.KEYS, f"It names {facts.keys} {word} that can check what it pushes.")


def _consent(facts: Facts) -> Step:
    peer = facts.peer
    if peer.consented_at is None and peer.found_by == LEFT:
        said = "The operator of this service no longer reads this hub."
        at_contact = f" at {facts.contact}" if facts.contact else ""
        return failed(StepName.CONSENT, said, f"Write to the operator{at_contact}.")
    if peer.consented_at is None:
        said = "The hub has not agreed that its members' public listings may be indexed."
        return failed(StepName.CONSENT, said, _how_to_agree(peer))
    evidence = peer.consent_evidence or {}
    return ok(StepName.CONSENT, _word_of(evidence), peer.consented_at)


def _how_to_agree(peer: Peer) -> str:
    if peer.kind not in FOLLOWS:
        return "Ask the operator of this service for an invitation, and redeem it."
    if peer.found_by == BY_REGISTRATION:
        return "Register the hub again, with `listings` true."
    return (
        "Have whoever runs the hub's software see that the group's actor says "
        "`indexable: true`; then press Look now, by which the hub agrees."
    )


def _word_of(evidence: dict[str, object]) -> str:
    """Say in which way a hub agreed."""
    return _WORDS.get(str(evidence.get("kind", "")), "The hub agreed.")


def _hub(facts: Facts) -> Step:
    peer, name = facts.peer, StepName.HUB
    at_contact = f" at {facts.contact}" if facts.contact else ""
    if facts.hub is not None and facts.hub.state is HubState.SUSPENDED:
        said = "The operator of this service has suspended the hub."
        return failed(name, said, f"Write to the operator{at_contact}.")
    if peer.state is PeerState.BLOCKED:
        said = "The hub blocks this service, or this service the hub."
        mend = f"End the block and agree anew, or write to the operator{at_contact}."
        return failed(name, said, mend, at=peer.state_since)
    if peer.state is PeerState.GONE:
        said = "It said that it is gone, or has not answered for 30 days."
        return failed(name, said, _JOIN_AGAIN, at=peer.state_since)
    if peer.state is PeerState.STALE:
        return ok(name, "It did not answer lately; its listings stay for now.", peer.state_since)
    if peer.state not in INDEXED:
        return waiting(name, "It is known, and not indexed yet.", peer.state_since)
    return ok(name, "Nothing is held against it.", peer.state_since)


def _follow(facts: Facts) -> Step:
    peer, name = facts.peer, StepName.FOLLOW
    if peer.kind not in FOLLOWS:
        return not_needed(name, "This kind of source is not followed.")
    if peer.state in {PeerState.LIVE, PeerState.STALE}:
        return ok(name, "The hub accepted our Follow.", peer.last_heard_at)
    if peer.state is PeerState.CONSENTED and peer.follow_uri is not None:
        rejected = explain("the hub rejected our Follow")
        return failed(name, f"{rejected.said} {_READ_ANYHOW}", rejected.mend)
    return _sent(facts.follow)


def _sent(sent: Delivery | None) -> Step:
    """Return how far our Follow has come."""
    name = StepName.FOLLOW
    if sent is None:
        return waiting(name, "Our Follow is not sent yet.")
    if sent.delivered_at is not None:
        seen = "Its inbox took our Follow; whether it accepts is awaited."
        return waiting(name, seen, sent.delivered_at)
    if sent.last_error is None:
        return waiting(name, "Our Follow is on its way.", sent.created_at)
    trouble = explain(sent.last_error)
    again = f" It is tried again at {moment(sent.due_at)}." if sent.due_at else ""
    said = f"{_NOT_TAKEN} {trouble.said}{again} {_READ_ANYHOW}"
    mend = trouble.mend if trouble.step else _SEE_INBOX
    return failed(name, said, mend, at=sent.created_at, error=sent.last_error)


def _source(facts: Facts) -> Step:
    name, aside = StepName.SOURCE, facts.source_aside
    if facts.peer.kind in _PUSHED:
        return not_needed(name, "It pushes its listings by itself.")
    if is_by_hand(facts.peer):
        return not_needed(name, "Its files are given to the operator of this service.")
    if aside is None:
        return _reading(facts)
    trouble = explain(aside.reason)
    if trouble.step is StepName.ROBOTS:
        return not_needed(name, "It may not be read.")
    return troubled(name, trouble, at=aside.at, error=aside.reason)


def _reading(facts: Facts) -> Step:
    """Return how far the reading of all that is published has come."""
    name, began_at, ended_at = StepName.SOURCE, facts.peer.crawl_began_at, facts.read_at
    if began_at is not None and (ended_at is None or began_at > ended_at):
        return waiting(name, "Its listings are being read.", began_at)
    if ended_at is None:
        return waiting(name, "Its listings have not been read yet.")
    return ok(name, "Its listings were read to the end.", ended_at)


def _visit(facts: Facts) -> Step:
    peer, name = facts.peer, StepName.VISIT
    if peer.lease_until is not None and peer.lease_until > facts.at:
        return waiting(name, "It is being visited right now.", facts.at)
    if peer.due_at is None:
        return not_needed(name, "No visit is planned.")
    if peer.due_at <= facts.at:
        return waiting(name, "It is visited as soon as there is a free hand.", peer.due_at)
    failures = f", after {peer.attempts} failures in a row" if peer.attempts > 1 else ""
    return ok(name, f"The next visit is at {moment(peer.due_at)}{failures}.")
