"""The service as it is served, for the tests of the interface: real HTTP on loopback."""

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import uvicorn
from between import Between
from hub_server import HubServer, own_keys
from sqlalchemy import Engine

from api.app import create_app
from api.services import Services
from clearing import accounts, rates
from commons import jobs
from commons.database import transaction
from commons.fetch import Door
from commons.money import parse_rate
from commons.settings import Settings
from commons.signatures import (
    RESPONSE,
    Message,
    PrivateKey,
    decode_multikey,
    private_pem,
    sign,
    verify,
)
from commons.wire import tls
from crawler import work
from crawler.actor import actor_key_id
from crawler.registration import admit
from marketplace.index import catch_up

JSON = "application/json"
ACTIVITY = "application/activity+json"


@dataclass
class Served:
    """A running service, without worker: `work` does what is due, once, when a test wants it."""

    services: Services
    client: httpx2.Client

    @property
    def url(self) -> str:
        return self.services.settings.base_url

    def get(self, path: str, **params: str | list[str]) -> httpx2.Response:
        return self.client.get(path, params=params or None)

    def request(  # noqa: PLR0913 (a forger may change each)
        self,
        hub: HubServer,
        method: str,
        path: str,
        document: object = None,
        *,
        media_type: str = JSON,
        key: PrivateKey | None = None,
        key_id: str | None = None,
        **said: Any,  # noqa: ANN401 (what `sign` takes)
    ) -> httpx2.Request:
        """Make a request that the hub signs, a nonce and the time with it unless `said` else.

        A document that is bytes is sent as it is.
        """
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        body = b"" if document is None else body
        headers = [] if document is None else [("Content-Type", media_type)]
        message = Message(method, self.url + path, headers, body)
        told = {"nonce": secrets.token_urlsafe(16), "created": datetime.now(UTC), **said}
        added = sign(message, key or hub.key, key_id or hub.key_id, **told)
        return self.client.build_request(
            method, path, content=body, headers=[*headers, *added.items()]
        )

    def call(
        self,
        hub: HubServer,
        method: str,
        path: str,
        document: object = None,
        **how: Any,  # noqa: ANN401 (what `request` takes)
    ) -> httpx2.Response:
        return self.client.send(self.request(hub, method, path, document, **how))

    def register(self, hub: HubServer) -> httpx2.Response:
        return self.call(hub, "POST", "/hubs", hub.registration())

    def push(
        self,
        hub: HubServer,
        activity: dict[str, Any],
        **how: Any,  # noqa: ANN401 (what `request` takes)
    ) -> httpx2.Response:
        return self.call(hub, "POST", "/inbox", activity, **{"media_type": ACTIVITY, **how})

    def admit(self, group_id: str) -> None:
        """Admit a hub as the operator does."""
        with transaction(self.services.engine) as session:
            rate = parse_rate(admit(session, group_id).rate_wanted or "")
            accounts.open_account(session, group_id, accounts.DEFAULT_UNION, 10**6, 10**6)
            rates.agree(session, group_id, rate)

    def work(self) -> None:
        """Do what is due and bring the index up to it."""
        asyncio.run(self._work())
        catch_up(self.services.engine, self.services.index)

    async def _work(self) -> None:
        services = self.services
        key_id = actor_key_id(services.settings)
        door = Door(services.settings, key_id, services.keys.actor, polite=False)
        try:
            todo = work.jobs(services.engine, door, services.settings)
            await jobs.run_once(services.engine, todo)
        finally:
            await door.aclose()


def verified_by_our_key(service: Served, answer: httpx2.Response) -> bool:
    described = service.get("/actor").json()["assertionMethod"][0]
    headers = list(answer.headers.multi_items())
    message = Message("", "", headers, answer.content, status=answer.status_code)
    key = decode_multikey(described["publicKeyMultibase"])
    found = verify(message, key, required=RESPONSE, now=datetime.now(UTC))
    return bool(found.key_id == described["id"])


def keep_keys(settings: Settings) -> None:
    """Put the tests' own keys where the service looks for its, since making RSA keys takes long."""
    folder = settings.data_dir / "keys"
    folder.mkdir(parents=True)
    keys = own_keys()
    (folder / "actor-rsa.pem").write_text(private_pem(keys.actor), encoding="ascii")
    (folder / "service-ed25519.pem").write_text(private_pem(keys.service), encoding="ascii")


@contextmanager
def served(settings: Settings, engine: Engine, between: Between | None = None) -> Iterator[Served]:
    """Serve on a free loopback port, on the engine's database, which is migrated already.

    With `between` everybody reaches it through there, under that address.
    """
    database_url = engine.url.render_as_string(hide_password=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if between is not None:
            between.upstream, url = url, between.url
        keep_keys(settings)
        told = settings.model_copy(update={"base_url": url, "database_url": database_url})
        app = create_app(told, work=False)
        config = uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False)
        config.timeout_keep_alive = 60  # else closed as a busy machine's next call is on its way
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            with httpx2.Client(base_url=url, verify=tls(), trust_env=False, timeout=30) as client:
                client.get("/health").raise_for_status()
                yield Served(app.state.services, client)
        finally:
            server.should_exit = True
            thread.join()
