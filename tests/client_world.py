"""Clients of hubs that call a service with somebody between them, and the short ways to pay."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from between import Pauses
from hub_server import HubServer
from paying_world import World

from clearing.client import Client, Patience, Signer, Store

TRIES = 4


@contextmanager
def client_of(
    world: World, hub: HubServer, pauses: Pauses, store: Store | None = None
) -> Iterator[Client]:
    patience = Patience(tries=TRIES, timeout_ms=10_000, pause=pauses)
    signer = Signer(hub.key_id, hub.key)
    with Client(world.service.url, hub.name, signer, store=store, patience=patience) as client:
        yield client


def pay(client: Client, amount: str = "12.50", transfer_id: uuid.UUID | None = None) -> uuid.UUID:
    made = transfer_id or uuid.uuid4()
    client.create(made, "barcelona/ines", "leeds/moss", amount)
    return made


def posted(barcelona: Client, leeds: Client, amount: str = "12.50") -> uuid.UUID:
    made = pay(barcelona, amount)
    assert leeds.accept(made)["state"] == "posted"
    return made
