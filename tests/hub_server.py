"""A hub on a loopback port for the crawler's tests: it serves, signs and checks for real."""

import asyncio
import json
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from sqlalchemy import Engine, func, select, update

from commons.database import Base, now, reading, transaction
from commons.errors import LocalPayError
from commons.fetch import Door
from commons.groups import Hub
from commons.jobs import run_once
from commons.keys import OwnKeys
from commons.settings import Settings
from commons.signatures import (
    Message,
    PrivateKey,
    PublicKey,
    encode_multikey,
    generate_ed25519,
    generate_rsa,
    required_parts,
    sign,
    verify,
)
from crawler import actor, inbox, registration, work
from crawler.kept import PutAside
from crawler.peers import Peer
from marketplace.listings import Listing, shown

ACTIVITY = "application/activity+json"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
START = datetime(2026, 10, 1, 8, 0, tzinfo=UTC)

Json = dict[str, Any]
Result = TypeVar("Result")


@cache
def rsa_key() -> RSAPrivateKey:
    return generate_rsa()


@cache
def own_keys() -> OwnKeys:
    return OwnKeys(rsa_key(), generate_ed25519())


def at(hours: int) -> str:
    return (START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


class HubServer:
    """A group's hub: its documents by path, what it was asked, and its keys."""

    def __init__(self, name: str = "barcelona") -> None:
        self.name = name
        self.key: Ed25519PrivateKey = generate_ed25519()
        self.documents: dict[str, tuple[int, Json | bytes]] = {}
        self.asked: list[str] = []
        self.taken: list[Json] = []
        self.unchanged: list[str] = []
        self.is_down = False
        self.tags = False
        self.missing: set[str] = set()
        self.headers: dict[str, dict[str, str]] = {}
        self.trusted: PublicKey = own_keys().actor.public_key()
        self._numbers = iter(range(1, 1_000_000))
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.publish_actor()
        self.publish_outbox([])

    @property
    def actor_uri(self) -> str:
        return f"{self.base}/group"

    @property
    def key_id(self) -> str:
        return f"{self.actor_uri}#ed25519-key"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def put(self, path: str, document: Json | bytes, status: int = 200) -> str:
        self.documents[path] = (status, document)
        return self.base + path

    def gone(self, path: str, status: int = 410) -> None:
        self.documents[path] = (status, {"type": "Tombstone", "id": self.base + path})

    def publish_actor(self, **more: object) -> None:
        public = self.key.public_key()
        keys: Json = {
            "assertionMethod": [
                {
                    "id": self.key_id,
                    "type": "Multikey",
                    "controller": self.actor_uri,
                    "publicKeyMultibase": encode_multikey(public),
                }
            ]
        }
        document = {
            "id": self.actor_uri,
            "type": "Group",
            "name": f"Group of {self.name}",
            "preferredUsername": self.name,
            "inbox": f"{self.base}/inbox",
            "outbox": f"{self.base}/outbox",
            "location": {"type": "Place", "name": "Gràcia", "latitude": 41.4, "longitude": 2.15},
        }
        self.put("/group", {**document, **keys, **more})

    def publish_outbox(self, *pages: list[Any]) -> None:
        outbox = f"{self.base}/outbox"
        for number, items in enumerate(pages, 1):
            page = {
                "id": f"{outbox}?page={number}",
                "type": "OrderedCollectionPage",
                "partOf": outbox,
                "orderedItems": items,
            }
            if number < len(pages):
                page["next"] = f"{outbox}?page={number + 1}"
            self.put(f"/outbox?page={number}", page)
        first = {"first": f"{outbox}?page=1", "totalItems": 999_999}
        self.put("/outbox", {"id": outbox, "type": "OrderedCollection", **first})

    def member(self, name: str = "ines", **more: object) -> str:
        document = {"id": f"{self.base}/members/{name}", "type": "Person", "name": name}
        return self.put(f"/members/{name}", {**document, **more})

    def proposal(
        self, number: int, *, hours: int = 0, member: str = "ines", **more: object
    ) -> Json:
        if f"/members/{member}" not in self.documents:
            self.member(member)
        document = {
            "id": f"{self.base}/proposals/{number}",
            "type": "Proposal",
            "purpose": "offer",
            "attributedTo": f"{self.base}/members/{member}",
            "name": f"Bicycle repair {number}",
            "content": "<p>Brakes and gears</p>",
            "published": at(0),
            "updated": at(hours),
            "audience": self.actor_uri,
            "to": [PUBLIC],
        }
        merged = {**document, **more}
        return {name: value for name, value in merged.items() if value is not None}

    def serve(self, proposal: Json) -> Json:
        self.put(proposal["id"].removeprefix(self.base), proposal)
        return proposal

    def activity(self, kind: str, thing: object, *, by: str | None = None, **more: object) -> Json:
        owner = thing.get("attributedTo") if isinstance(thing, dict) else None
        document = {
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": f"{self.base}/activities/{kind}/{next(self._numbers)}",
            "type": kind,
            "actor": by or owner or self.actor_uri,
            "to": [PUBLIC],
            "object": thing,
        }
        return {**document, **more}

    def delete(self, proposal: Json, hours: int) -> Json:
        tombstone = {"id": proposal["id"], "type": "Tombstone", "deleted": at(hours)}
        return self.activity("Delete", tombstone, by=proposal["attributedTo"])

    def signed(
        self,
        settings: Settings,
        document: Json,
        *,
        path: str = "/inbox",
        key: PrivateKey | None = None,
        key_id: str | None = None,
    ) -> Message:
        body = json.dumps(document).encode()
        message = Message("POST", settings.base_url + path, [("Content-Type", ACTIVITY)], body)
        added = sign(
            message,
            key or self.key,
            key_id or self.key_id,
            nonce=secrets.token_urlsafe(16),
            created=datetime.now(UTC),
        )
        return Message(message.method, message.target_uri, [*message.headers, *added.items()], body)

    def registration(self, **more: object) -> Json:
        currency = {
            "uri": f"{self.base}/currency",
            "code": "HORA",
            "name": "hora",
            "scale": 2,
            "kind": "time",
            "rate": "1/1",
        }
        wanted = {"actor": self.actor_uri, "group": self.name, "listings": True}
        return {**wanted, "currency": currency, **more}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        status, document = self.hub.documents.get(self.path, (404, {}))
        self._answer(503 if self.hub.is_down else status, document)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.hub.is_down:
            self._answer(503, {})
            return
        if self.path in self.hub.missing:
            self._answer(410, {})
            return
        message = Message("POST", self.hub.base + self.path, list(self.headers.items()), body)
        try:
            verify(
                message,
                self.hub.trusted,
                required=required_parts(message),
                now=datetime.now(UTC),
            )
        except LocalPayError:
            self._answer(401, {})
            return
        self.hub.taken.append(json.loads(body))
        self._answer(202, {})

    def _answer(self, status: int, document: Json | bytes) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        tag = f'"{hash(body)}"' if self.hub.tags else ""
        if tag and self.headers["If-None-Match"] == tag:
            self.hub.unchanged.append(self.path)
            status, body = 304, b""
        self.send_response(status)
        told = {"Content-Type": ACTIVITY, **self.hub.headers.get(self.path, {})}
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        with suppress(ConnectionError):  # who is sent too much hangs up
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""


class Crawling:
    """A crawler over one database, driven step by step on a loop and with a door of its own."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._runner = asyncio.Runner()
        key_id = actor.actor_key_id(settings)
        self._door = Door(settings, key_id, own_keys().actor, polite=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._door.aclose())
        self._runner.close()

    def run(self, work: Callable[[Door], Coroutine[object, object, Result]]) -> Result:
        return self._runner.run(work(self._door))

    def register(self, hub: HubServer, body: Json | None = None) -> tuple[Hub, bool]:
        body = body or hub.registration()
        message = hub.signed(self.settings, body, path="/hubs")
        return self.run(lambda door: registration.register(self.engine, door, message, body))

    def receive(self, message: Message) -> None:
        self.run(lambda door: inbox.receive(self.engine, door, message))

    def push(self, hub: HubServer, document: Json) -> None:
        self.receive(hub.signed(self.settings, document))

    def work(self, rounds: int = 20) -> None:
        """Do everything that is due, until nothing is."""

        async def until_done(door: Door) -> None:
            jobs = work.jobs(self.engine, door, self.settings)
            for _ in range(rounds):
                if not await run_once(self.engine, jobs):
                    return
            raise AssertionError("the work does not end")

        self.run(until_done)

    def make_due(self, table: type[Base]) -> None:
        with transaction(self.engine) as session:
            session.execute(update(table).values(due_at=now(session)))

    def follow(self, hub: HubServer) -> None:
        """Register and admit a hub and let it accept our Follow."""
        self.register(hub)
        with transaction(self.engine) as session:
            registration.admit(session, hub.name)
        self.work()
        self.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
        self.work()

    def titles(self) -> list[str]:
        with reading(self.engine) as session:
            return sorted(session.scalars(select(Listing.title).where(shown())))

    def peer(self, hub: HubServer) -> Peer:
        with reading(self.engine) as session:
            return session.scalars(select(Peer).where(Peer.group_id == hub.name)).one()

    def push_and_work(self, hub: HubServer, *documents: Json) -> None:
        for document in documents:
            self.push(hub, document)
        self.work()

    def count(self, table: type[Base]) -> int:
        with reading(self.engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def put_aside(self) -> dict[str, str]:
        """Return what was put aside, with its reasons."""
        with reading(self.engine) as session:
            return {row.uri: row.reason for row in session.scalars(select(PutAside))}

    def listing(self, uri: str) -> Listing:
        with reading(self.engine) as session:
            return session.scalars(select(Listing).where(Listing.uri == uri)).one()
