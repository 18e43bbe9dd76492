"""A service, an honest hub with listings, one that has not answered, and a hostile one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from conftest import disposed
from hub_server import HubServer, Json
from served import Served, served
from signed_by import pem_key
from sqlalchemy import func, or_, select, update

from commons.database import Base, make_engine, reading, transaction
from commons.groups import HubKey
from commons.settings import Settings
from crawler.authors import Author
from crawler.peers import Peer
from marketplace.listings import Listing

FAKE: Final = "Fake"


@dataclass
class World:
    """A service, an honest hub with listings, one that has not answered yet, and a hostile one."""

    service: Served
    honest: HubServer
    waiting: HubServer
    evil: HubServer
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(100, 1_000_000)))

    @property
    def listing(self) -> Json:
        """What the honest hub publishes and what is known of it."""
        return self.honest.proposal(1)

    @property
    def fake(self) -> Json:
        """The same as somebody else would like it to be, and newer."""
        return self.honest.proposal(1, hours=50, name=FAKE)

    @property
    def eve(self) -> str:
        return f"{self.evil.base}/members/eve"

    @property
    def ines(self) -> str:
        return f"{self.honest.base}/members/ines"

    def own(self, **more: object) -> Json:
        """A new listing of the hostile hub's own, but for what is said."""
        number = next(self.numbers)
        return self.evil.proposal(number, member="eve", name=FAKE, hours=50, **more)

    def says(self, kind: str, thing: object, **more: object) -> Json:
        """An activity of the hostile hub's member."""
        told = {"by": self.eve, **more}
        return self.evil.activity(kind, thing, **told)  # type: ignore[arg-type] # `by` is a text

    def held(self) -> tuple[object, ...]:
        """Everything of others that a spoof might change."""
        mine = f"{self.evil.base}/%"
        with reading(self.service.services.engine) as session:
            listings = session.execute(
                select(
                    *(Listing.uri, Listing.title, Listing.updated, Listing.withdrawn_at),
                    *(Listing.group_id, Listing.author_uri, Listing.consent_basis),
                )
                # What it withdraws of its own is its own affair.
                .where(or_(Listing.withdrawn_at.is_(None), Listing.uri.not_like(mine)))
                .order_by(Listing.uri)
            ).all()
            peers = session.execute(
                select(Peer.actor_uri, Peer.state, Peer.consented_at, Peer.follow_uri)
                .where(Peer.group_id != self.evil.name)
                .order_by(Peer.id)
            ).all()
            keys = session.execute(
                select(HubKey.key_id, HubKey.group_id, HubKey.public_key_pem, HubKey.revoked_at)
                .where(HubKey.group_id != self.evil.name)
                .order_by(HubKey.key_id)
            ).all()
            authors = session.execute(
                select(Author.uri, Author.indexable, Author.blocked)
                .where(Author.uri.not_like(mine))
                .order_by(Author.uri)
            ).all()
        return listings, peers, keys, authors

    def count(self, table: type[Base]) -> int:
        with reading(self.service.services.engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def work(self, times: int = 1) -> None:
        for _ in range(times):
            self.service.work()


def opened(stack: ExitStack, template: Path, folder: Path) -> World:
    path = folder / "localpay.sqlite"
    path.write_bytes(template.read_bytes())
    settings = Settings(data_dir=folder / "data", base_url="http://testserver", allow_loopback=True)
    settings.data_dir.mkdir()
    engine = stack.enter_context(disposed(make_engine(f"sqlite:///{path}")))
    service = stack.enter_context(served(settings, engine))
    hubs = [
        stack.enter_context(HubServer(name).serving()) for name in ("honest", "waiting", "evil")
    ]
    honest, waiting, evil = hubs
    world = World(service, honest, waiting, evil)
    honest.serve(honest.proposal(1))
    honest.serve(honest.proposal(2, member="moss"))
    honest.publish_outbox([honest.activity("Create", honest.proposal(n)) for n in (1,)])
    evil.member("eve", indexable=True, publicKey=pem_key(f"{world.eve}#main-key", world.eve))
    evil.member("ivy")
    for hub in hubs:
        assert service.register(hub).status_code == 201
        service.admit(hub.name)
    world.work(3)
    for hub in (honest, evil):
        service.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    service.push(honest, honest.activity("Create", honest.proposal(2, member="moss")))
    with transaction(engine) as session:
        session.execute(update(Author).values(due_at=None))
    world.work(3)
    return world
