"""A service and a hub that pushes its listings to it, for the tests."""

from collections.abc import Iterator
from typing import Any

import httpx2
from hub_server import HubServer, Json
from served import Served, served
from sqlalchemy import Engine, func, select

from commons.database import reading
from commons.settings import Settings
from crawler.kept import PutAside
from crawler.peers import Peer
from crawler.sources.push import PushedListing
from marketplace.listings import Listing, shown


class StaticHub(HubServer):
    """A hub whose actor is a file on a web server: a key, and nothing to be followed or read."""

    def publish_actor(self, **more: object) -> None:
        super().publish_actor(**more)
        status, document = self.documents["/group"]
        assert isinstance(document, dict)
        kept = {name: value for name, value in document.items() if name not in {"inbox", "outbox"}}
        self.documents["/group"] = status, kept

    def registration(self, **more: object) -> Json:
        wanted = {"actor": self.actor_uri, "group": self.name, "listings": True, "pushes": True}
        return {**wanted, **more}


class Pushing:
    """A service and a hub that pushes to it."""

    def __init__(self, service: Served, engine: Engine, hub: HubServer) -> None:
        self.service, self.engine, self.hub = service, engine, hub

    def put(self, name: str = "7", *, hub: HubServer | None = None, **more: Any) -> httpx2.Response:  # noqa: ANN401 (any JSON)
        return self.service.call(hub or self.hub, "PUT", self.path(name), {**repair(), **more})

    def post(self, *listings: Json, **more: object) -> httpx2.Response:
        body = {"listings": listings, **more}
        return self.service.call(self.hub, "POST", "/hubs/barcelona/listings", body)

    def delete(self, name: str = "7") -> httpx2.Response:
        return self.service.call(self.hub, "DELETE", self.path(name))

    def stands(self, name: str = "7") -> Json:
        answer = self.service.call(self.hub, "GET", self.path(name))
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def path(self, name: str) -> str:
        return f"/hubs/barcelona/listings/{name}"

    def shown(self) -> list[str]:
        with reading(self.engine) as session:
            return sorted(session.scalars(select(Listing.title).where(shown())))

    def listing(self, uri: str) -> Listing:
        with reading(self.engine) as session:
            return session.scalars(select(Listing).where(Listing.uri == uri)).one()

    def kept(self) -> int:
        with reading(self.engine) as session:
            tables = (Listing, PushedListing, PutAside)
            return sum(
                session.scalar(select(func.count()).select_from(table)) or 0 for table in tables
            )

    def peer(self) -> Peer:
        with reading(self.engine) as session:
            return session.scalars(select(Peer).where(Peer.group_id == "barcelona")).one()


def repair(**more: object) -> Json:
    return {"type": "offer", "title": "Bicycle repair", "body": "Brakes\n\nand gears", **more}


def pushing_hub(settings: Settings, engine: Engine) -> Iterator[Pushing]:
    with served(settings, engine) as service, StaticHub("barcelona").serving() as hub:
        assert service.register(hub).status_code == 201
        yield Pushing(service, engine, hub)
