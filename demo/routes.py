"""The addresses of a demo hub, and what stands at each."""

from typing import TYPE_CHECKING, Annotated, Final

import orjson
from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from commons.errors import (
    ConflictError,
    ForbiddenError,
    LocalPayError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnauthenticatedError,
)
from commons.signatures import Message
from demo import documents
from demo.documents import ACTIVITY_TYPE, Json

if TYPE_CHECKING:
    from demo.hub import Hub

BODY_MAX_BYTES: Final = 256 * 1024
_NODEINFO_SCHEMA: Final = "http://nodeinfo.diaspora.software/ns/schema/2.1"
_STATUS: Final[dict[type[LocalPayError], int]] = {
    MalformedError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    RefusedError: 409,
    TooLargeError: 413,
}


class Order(BaseModel):
    """A member's order to pay `payee` (`group/member`) an amount in the payee's currency."""

    payee: str
    amount: str
    description: str = ""


def make_app(hub: "Hub") -> FastAPI:
    """Return the web application of a hub."""
    app = FastAPI(openapi_url=None)
    _add_actors(app, hub)
    _add_publications(app, hub)
    _add_discovery(app, hub)
    _add_inbox(app, hub)
    _add_payments(app, hub)

    @app.exception_handler(LocalPayError)
    async def refuse(_: Request, error: LocalPayError) -> Response:
        status = _STATUS.get(type(error), 502)
        return _json({"detail": error.detail, **error.extra}, "application/problem+json", status)

    return app


def _add_actors(app: FastAPI, hub: "Hub") -> None:
    @app.get("/actor")
    def actor() -> Response:
        return _json(hub.actor())

    @app.get("/members/{name}")
    def member(name: str) -> Response:
        return _json(hub.member(name))

    @app.get("/members/{name}/outbox")
    def member_outbox(name: str) -> Response:
        hub.member(name)
        return _json(hub.member_outbox(name))

    @app.get("/followers")
    def followers() -> Response:
        inside = list(hub.followers)
        return _json(documents.collection(hub.at.followers, len(inside), inside))

    @app.get("/currency")
    def currency() -> Response:
        own = hub.group.currency
        described = {"id": hub.at.currency, "name": own.name, "code": own.code, "scale": own.scale}
        return _json(described, "application/json")


def _add_publications(app: FastAPI, hub: "Hub") -> None:
    @app.get("/outbox")
    def outbox(page: Annotated[int | None, Query()] = None) -> Response:
        return _json(hub.outbox() if page is None else hub.outbox_page(page))

    @app.get("/proposals/{number}")
    def proposal(number: int) -> Response:
        publication = hub.publication(number)
        if publication.deleted is not None:
            return _json(documents.tombstone(hub.at, publication), status=410)
        return _json(documents.proposal(hub.at, publication))

    @app.get("/proposals/{number}/create")
    def create(number: int) -> Response:
        publication = hub.publication(number)
        if publication.deleted is not None:
            return _json(documents.tombstone(hub.at, publication), status=410)
        return _json(documents.create(hub.at, publication))


def _add_discovery(app: FastAPI, hub: "Hub") -> None:
    @app.get("/.well-known/webfinger")
    def webfinger(resource: str) -> Response:
        actors = {hub.group.id: hub.at.actor} | {n: hub.at.member(n) for n in hub.group.members}
        authority = hub.at.base.partition("//")[2]
        name, _, host = resource.removeprefix("acct:").partition("@")
        if name not in actors or host != authority:
            msg = f"there is no {resource} here"
            raise NotFoundError(msg)
        link = {"rel": "self", "type": ACTIVITY_TYPE, "href": actors[name]}
        return _json({"subject": resource, "links": [link]}, "application/jrd+json")

    @app.get("/.well-known/nodeinfo")
    def nodeinfo_links() -> Response:
        link = {"rel": _NODEINFO_SCHEMA, "href": f"{hub.at.base}/nodeinfo/2.1"}
        return _json({"links": [link]}, "application/json")

    @app.get("/nodeinfo/2.1")
    def nodeinfo() -> Response:
        return _json(
            {
                "version": "2.1",
                "software": {"name": "localpay-demo-hub", "version": "0.1.0"},
                "protocols": ["activitypub"],
                "services": {"inbound": [], "outbound": []},
                "openRegistrations": False,
                "usage": {
                    "users": {"total": len(hub.group.members)},
                    "localPosts": len(hub.published()),
                },
                "metadata": {"nodeName": hub.group.name},
            },
            "application/json",
        )


def _add_inbox(app: FastAPI, hub: "Hub") -> None:
    @app.post("/inbox")
    async def inbox(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        # The address is ours, whatever the Host header says: the signature must be meant for us.
        target = f"{hub.at.base}{path}" + (f"?{query}" if query else "")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
        ]
        message = Message("POST", target, headers, await _body(request))
        await run_in_threadpool(hub.receive, message)
        return Response(status_code=202)


def _add_payments(app: FastAPI, hub: "Hub") -> None:
    @app.post("/members/{name}/payments", status_code=201)
    def pay(name: str, order: Order) -> Response:
        """Do what a member orders: the hub signs, LocalPay hears of hubs only.

        Whoever reaches this loopback port may order here. A hub in earnest knows its members by
        their login, and looks into its own books whether they have the money.
        """
        hub.member(name)
        made = hub.payments.pay(name, order.payee, order.amount, order.description)
        return _json(made, "application/json", 201)


async def _body(request: Request) -> bytes:
    """Read the body, and not on beyond the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            msg = f"more than {BODY_MAX_BYTES} bytes"
            raise TooLargeError(msg)
    return bytes(body)


def _json(document: Json, media_type: str = ACTIVITY_TYPE, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status, media_type=media_type)
