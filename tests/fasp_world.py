"""A service and a fediverse server that shares content with it, for the tests of both."""

import asyncio
from collections.abc import Iterator
from typing import Any

from fasp_server import FediServer
from hub_server import Json
from served import Served, served
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.fetch import Door
from commons.settings import Settings
from crawler.actor import actor_key_id
from crawler.fasp import registering
from crawler.fasp.registering import Told
from crawler.fasp.rows import AnnouncedObject, FaspServer
from marketplace.listings import Listing, shown

ACTIVATION = "/capabilities/data_sharing/0/activation"


class World:
    """A service and a server that shares content with it."""

    def __init__(self, service: Served, engine: Engine, fedi: FediServer) -> None:
        self.service, self.engine, self.fedi = service, engine, fedi

    def ask(self, address: str | None = None) -> Any:  # noqa: ANN401 (an answer)
        asked = {"server": address or self.fedi.base}
        return self.service.client.post("/fasp/registration", json=asked)

    def accept(self) -> Told:
        async def accepted() -> Told:
            services = self.service.services
            key_id = actor_key_id(services.settings)
            door = Door(services.settings, key_id, services.keys.actor, polite=False)
            try:
                return await registering.accept(
                    self.engine, door, services.settings, services.keys.service, self.fedi.base
                )
            finally:
                await door.aclose()

        return asyncio.run(accepted())

    def activate(self) -> None:
        self.accept()
        assert self.fedi.call(self.service, "POST", ACTIVATION).status_code == 204
        self.service.work()

    def hurry(self) -> None:
        """Look at all that waits, now."""
        with transaction(self.engine) as session:
            session.execute(update(AnnouncedObject).values(due_at=now(session)))
        for _ in range(self.waiting()):
            self.service.work()

    def waiting(self) -> int:
        with reading(self.engine) as session:
            return session.scalar(select(func.count()).select_from(AnnouncedObject)) or 0

    def take(self, *posts: Json, **more: object) -> None:
        answer = self.fedi.announce(self.service, *(post["id"] for post in posts), **more)
        assert answer.status_code == 204, answer.text
        self.hurry()

    def shown(self) -> list[str]:
        with reading(self.engine) as session:
            return sorted(session.scalars(select(Listing.title).where(shown())))

    def server(self) -> FaspServer:
        with reading(self.engine) as session:
            return session.scalars(select(FaspServer)).one()

    def row(self) -> AnnouncedObject:
        with reading(self.engine) as session:
            return session.scalars(select(AnnouncedObject)).one()

    def listings(self) -> int:
        with reading(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Listing)) or 0


def sharing(settings: Settings, engine: Engine) -> Iterator[World]:
    with served(settings, engine) as service, FediServer().serving() as fedi:
        yield World(service, engine, fedi)
