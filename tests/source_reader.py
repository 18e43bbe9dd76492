"""A crawler that reads sources step by step, for their tests."""

from typing import Any

import pytest
from hub_server import Crawling
from sqlalchemy import select

from commons.database import reading, transaction
from commons.errors import LocalPayError
from crawler.backfill import Budget
from crawler.peers import Peer, PeerKind, PeerState
from crawler.sources import reading as source_reading
from crawler.sources.adding import Wanted, add
from marketplace.listings import Listing, shown

GROUP = "girona"


class Reading(Crawling):
    """A crawler that reads one group's source, step by step."""

    def add(self, kind: PeerKind, address: str, **more: Any) -> int:  # noqa: ANN401 (of Wanted)
        told: dict[str, Any] = {
            "group_id": GROUP,
            "name": "Girona",
            "evidence": "Its operator wrote on 1 October that it agrees.",
            **more,
        }
        with transaction(self.engine) as session:
            return add(session, Wanted(kind, address, **told)).id

    def crawl(self, peer_id: int, **budget: int) -> bool:
        limit = Budget(**budget) if budget else None
        return self.run(lambda door: source_reading.crawl(self.engine, door, peer_id, limit))

    def crawl_fails(self, peer_id: int, **budget: int) -> LocalPayError:
        with pytest.raises(LocalPayError) as failed:
            self.crawl(peer_id, **budget)
        return failed.value

    def of(self, peer_id: int) -> Peer:
        with reading(self.engine) as session:
            return session.get_one(Peer, peer_id)

    def shown(self) -> dict[str, Listing]:
        with reading(self.engine) as session:
            return {one.title: one for one in session.scalars(select(Listing).where(shown()))}

    def discovered(self) -> dict[str, Peer]:
        with reading(self.engine) as session:
            found = session.scalars(select(Peer).where(Peer.state == PeerState.DISCOVERED))
            return {peer.actor_uri: peer for peer in found}
