"""Domain blocks: whose listings, pushes and addresses the operator keeps out, by domain.

A block is in force for whatever is stored from the commit on that adds it, and for what is asked
and delivered within half a minute, in every process.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, String, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from commons.database import Base, now, reading, transaction
from commons.errors import ForbiddenError, InvalidError, NotFoundError
from commons.politeness import is_public_suffix
from crawler import peers
from crawler.actor_keys import HeldKey
from crawler.authors import Author
from crawler.changes import begin, withdraw_each
from crawler.delivery import Delivery
from crawler.domains import canonical, covering, is_address
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerState
from marketplace.listings import Listing, WithdrawnReason

AGAIN_SECONDS: Final = 30.0
"""How old the blocks may be that a door goes by."""
_AT_ONCE: Final = 500
_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#\\]+)")


class DomainBlock(Base):
    """A domain that is kept out, with all below it, in its canonical spelling; why and by whom."""

    __tablename__ = "domain_blocks"

    domain: Mapped[str] = mapped_column(String(253), primary_key=True)
    reason: Mapped[str] = mapped_column(String(1000))
    added_at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(200))


@dataclass(frozen=True)
class Added:
    """What a block did: the domain as it is kept, how many peers it closed to, what it withdrew."""

    domain: str
    peers: int
    listings: int


class Blocked:
    """What a door asks before each request: whether a host is blocked.

    Keeps the blocks in memory and reads them again once they are half a minute old and asked for,
    so that an idle service does nothing.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._domains: frozenset[str] = frozenset()
        self._read_at: float | None = None

    async def __call__(self, host: str) -> bool:
        """Tell whether a host is of a blocked domain."""
        if self._read_at is None or self._clock() - self._read_at >= AGAIN_SECONDS:
            moment = self._clock()
            self._domains = await asyncio.to_thread(self._read)
            self._read_at = moment
        return not self._domains.isdisjoint(covering(host))

    def _read(self) -> frozenset[str]:
        with reading(self._engine) as session:
            return frozenset(session.scalars(select(DomainBlock.domain)))


def is_blocked(session: Session, uri: str) -> bool:
    """Tell whether an address is of a blocked domain."""
    return bool(blocked_among(session, [uri]))


def blocked_among(session: Session, uris: Iterable[str]) -> frozenset[str]:
    """Return those of some addresses that are of blocked domains."""
    covered = {uri: covering(_authority(uri)) for uri in uris}
    asked = {domain for domains in covered.values() for domain in domains}
    found = select(DomainBlock.domain).where(DomainBlock.domain.in_(asked))
    blocked = set(session.scalars(found)) if asked else set()
    return frozenset(uri for uri, domains in covered.items() if not blocked.isdisjoint(domains))


def refuse(session: Session, uri: str) -> None:
    """Raise ForbiddenError where an address is of a blocked domain."""
    if is_blocked(session, uri):
        raise ForbiddenError("this domain is blocked by the operator of this service")


def add(engine: Engine, written: str, reason: str, *, by: str, force: bool = False) -> Added:
    """Block a domain, however it is written, and all below it; withdraw what is held of it.

    Blocking it again renews the reason. A public suffix, under which strangers to each other
    register, is blocked with `force` only. Raises InvalidError.
    """
    domain = canonical(written)
    if not is_address(domain) and is_public_suffix(domain) and not force:
        raise InvalidError(
            "domain", f"{domain} is a public suffix, which belongs to many; --force blocks it whole"
        )
    if not reason.strip():
        raise InvalidError("reason", "must say why")
    with transaction(engine) as session:
        closed, withdrawn = _close_peers(session, domain)
        begin(session)  # whatever is stored from now on has seen the block
        session.merge(
            DomainBlock(
                domain=domain, reason=reason.strip()[:1000], added_at=now(session), by=by[:200]
            )
        )
        _cancel_deliveries(session, domain, closed)
    return Added(domain, len(closed), withdrawn + _sweep(engine, domain))


def remove(session: Session, written: str) -> str:
    """Take a block back, so that a hub there may join anew; return the domain.

    One that blocks us stays blocked until it takes that back itself.
    Raises NotFoundError where it is not blocked by a block of its own.
    """
    domain = canonical(written)
    block = session.get(DomainBlock, domain)
    if block is None:
        raise NotFoundError(f"{domain} is not blocked")
    session.delete(block)
    session.flush()
    for peer in _peers_of(session, domain):
        by_operator = peer.state is PeerState.BLOCKED and not peer.blocks_us
        if by_operator and not is_blocked(session, peer.actor_uri):
            peers.move(session, peer.id, PeerState.BLOCKED, PeerState.DISCOVERED)
    return domain


def listed(session: Session) -> Sequence[DomainBlock]:
    """Return all blocks in the order of their domains."""
    return session.scalars(select(DomainBlock).order_by(DomainBlock.domain)).all()


def _authority(uri: str) -> str:
    """Return the part of a URL that names its host, on which alone the answer hangs."""
    found = _AUTHORITY.match(uri)
    return found[1] if found else uri


def _is_of(uri: str, domain: str) -> bool:
    return domain in covering(_authority(uri))


def _peers_of(session: Session, domain: str) -> list[Peer]:
    """Lock the peers of a domain to the commit."""
    known = session.execute(select(Peer.id, Peer.actor_uri)).all()
    ids = [peer_id for peer_id, uri in known if _is_of(uri, domain)]
    query = select(Peer).where(Peer.id.in_(ids)).order_by(Peer.id)
    return list(session.scalars(query.with_for_update()))


def _close_peers(session: Session, domain: str) -> tuple[list[int], int]:
    """Block the peers of a domain; return which, and how many listings went with them."""
    closed = _peers_of(session, domain)
    groups = [peer.group_id for peer in closed if peer.group_id]
    shown = select(func.count()).where(Listing.group_id.in_(groups), Listing.withdrawn_at.is_(None))
    withdrawn = session.scalar(shown) or 0
    for peer in closed:
        waiting = (InboxMessage.peer_id == peer.id, InboxMessage.due_at.is_not(None))
        session.execute(update(InboxMessage).where(*waiting).values(due_at=None, body=None))
        peers.revoke(session, peer, PeerState.BLOCKED, WithdrawnReason.OPERATOR)
    return [peer.id for peer in closed], withdrawn


def _cancel_deliveries(session: Session, domain: str, peer_ids: Sequence[int]) -> None:
    waits = select(Delivery.id, Delivery.peer_id, Delivery.inbox_uri).where(
        Delivery.due_at.is_not(None)
    )
    ids = [
        delivery_id
        for delivery_id, peer_id, inbox_uri in session.execute(waits)
        if peer_id in peer_ids or _is_of(inbox_uri, domain)
    ]
    peers.cancel_deliveries(session, Delivery.id.in_(ids), "the domain is blocked")


def _sweep(engine: Engine, domain: str) -> int:
    """Withdraw and forget what is held of a domain, through whomever it came; return how much."""
    shown = Listing.withdrawn_at.is_(None)
    uris = _of_domain(engine, domain, Listing.uri, Listing.uri, Listing.author_uri, where=shown)
    withdrawn = 0
    for some in _parts(uris):
        with transaction(engine) as session:
            withdrawn += withdraw_each(session, some, WithdrawnReason.OPERATOR)
    kept = InboxMessage.body.is_not(None)
    named = (InboxMessage.object_uri, InboxMessage.author_uri)
    for some in _parts(_of_domain(engine, domain, InboxMessage.id, *named, where=kept)):
        with transaction(engine) as session:
            ended = update(InboxMessage).where(InboxMessage.id.in_(some))
            session.execute(ended.values(body=None, due_at=None))
    for kept_of, key, *told in (
        (None, PutAside.id, PutAside.uri, PutAside.author_uri),
        (~Author.blocked, Author.id, Author.uri),  # who blocks us does so when we end our block
        (None, HeldKey.key_id, HeldKey.key_id),
    ):
        for some in _parts(_of_domain(engine, domain, key, *told, where=kept_of)):
            with transaction(engine) as session:
                session.execute(delete(key.class_).where(key.in_(some)))
    return withdrawn


def _of_domain(
    engine: Engine,
    domain: str,
    key: InstrumentedAttribute[Any],
    *told: InstrumentedAttribute[str],
    where: ColumnElement[bool] | None = None,
) -> list[Any]:
    """Return the keys of the rows in which one of the addresses told is of a domain.

    Which spellings name a domain only `canonical` knows, so all rows are read.
    """
    query = select(key, *told).execution_options(yield_per=1_000)
    if where is not None:
        query = query.where(where)
    with reading(engine) as session:
        rows = session.execute(query)
        return [row[0] for row in rows if any(_is_of(uri, domain) for uri in row[1:])]


def _parts(keys: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
