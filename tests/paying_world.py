"""A service and three admitted hubs that call it, signed, over HTTP."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx2
from between import Between
from hub_server import HubServer, Json
from served import Served, served
from sqlalchemy import Engine

from commons.settings import Settings


class World(NamedTuple):
    """A service and three admitted hubs, limits 100 each way."""

    service: Served
    engine: Engine
    barcelona: HubServer
    leeds: HubServer
    ghent: HubServer

    def put(
        self,
        hub: HubServer,
        body: object,
        transfer_id: object = None,
        **how: Any,  # noqa: ANN401 (what `call` takes)
    ) -> httpx2.Response:
        path = f"/transfers/{transfer_id or uuid.uuid4()}"
        return self.service.call(hub, "PUT", path, body, **how)

    def move(
        self, hub: HubServer, transfer_id: object, verb: str, body: object = None
    ) -> httpx2.Response:
        return self.service.call(hub, "POST", f"/transfers/{transfer_id}/{verb}", body)

    def made(self, amount: str = "12.50", **more: object) -> str:
        answer = self.put(self.barcelona, payment(amount, **more))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def see(self, hub: HubServer, transfer_id: object) -> Json:
        answer = self.service.call(hub, "GET", f"/transfers/{transfer_id}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


def open_doors(
    settings: Settings, engine: Engine, between: Between | None = None
) -> Iterator[World]:
    with ExitStack() as stack:
        service = stack.enter_context(served(settings, engine, between))
        names = ("barcelona", "leeds", "ghent")
        hubs = [stack.enter_context(HubServer(name).serving()) for name in names]
        for hub in hubs:
            assert service.register(hub).status_code == 201
            service.admit(hub.name)
        yield World(service, engine, *hubs)


def payment(amount: object = "12.50", **more: object) -> Json:
    return {"payer": "barcelona/ines", "payee": "leeds/moss", "amount": amount, **more}


def problem(answer: httpx2.Response, status: int, kind: str) -> Json:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: Json = answer.json()
    assert found["type"].endswith(f"/problems/{kind}"), answer.text
    return found
