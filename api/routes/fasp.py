"""What fediverse servers call at their auxiliary service provider (FASP 0.1, data sharing)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.allowances import client_of
from api.bodies import MEDIA_TYPE, StrictBody, body_of, described
from api.callers import WINDOW_SECONDS, message_of
from api.services import Shared
from commons.database import now, reading, transaction
from commons.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from commons.signatures import REQUEST_WITH_BODY, Message, key_id_of, verify
from crawler.fasp import sharing
from crawler.fasp.registering import known_server, name_of, request
from crawler.fasp.rows import FaspServer, accepted_peer
from crawler.fasp.sharing import CATEGORY, Announcement, EventType
from crawler.fasp.signing import own_key, read_key

CAPABILITY: Final = "data_sharing"
VERSION: Final = "0.1"
_VERSIONS: Final = frozenset({VERSION, VERSION.partition(".")[0]})  # servers name the major alone
_LONGEST_ID: Final = 255

router = APIRouter(prefix="/fasp", tags=["FASP"])

REQUEST_EXAMPLE: Final[dict[str, Any]] = {"server": "https://fedi.example"}
REQUESTED_EXAMPLE: Final[dict[str, Any]] = {"server": "https://fedi.example", "state": "requested"}
INFO_EXAMPLE: Final[dict[str, Any]] = {
    "name": "LocalPay marketplace at localpay.example",
    "privacyPolicy": [{"url": "https://localpay.example/join", "language": "en"}],
    "capabilities": [{"id": CAPABILITY, "version": VERSION}],
}
ANNOUNCEMENT_EXAMPLE: Final[dict[str, Any]] = {
    "source": {"subscription": {"id": "58152"}},
    "category": CATEGORY,
    "eventType": "new",
    "objectUris": ["https://fedi.example/users/ines/statuses/2342"],
}


class RequestBody(StrictBody):
    """The address of a server whose administrator wants it to share content with us."""

    server: str = Field(max_length=2048)


class RequestedView(BaseModel):
    """What became of the wish: `requested` until our operator has looked at it."""

    server: str
    state: str


class InfoView(BaseModel):
    """Who we are and what we can be used for."""

    name: str
    privacyPolicy: list[dict[str, str]]  # noqa: N815 (the specification's name)
    capabilities: list[dict[str, str]]


class _Open(StrictBody):
    """What others specify may hold more than we read."""

    model_config = ConfigDict(extra="ignore")


class SourceId(_Open):
    """The id of what an announcement answers."""

    id: str | int


class Source(_Open):
    """What an announcement answers: one of the two."""

    subscription: SourceId | None = None
    backfillRequest: SourceId | None = None  # noqa: N815 (the specification's name)


class AnnouncementBody(_Open):
    """Objects by their addresses alone, and what happened to them."""

    source: Source
    category: str
    objectUris: list[str] = Field(min_length=1)  # noqa: N815 (the specification's name)
    eventType: EventType | None = Field(default=None, strict=False)  # noqa: N815 (likewise)
    moreObjectsAvailable: bool = False  # noqa: N815 (likewise)


async def calling_server(request: Request, services: Shared) -> FaspServer:
    """Return the server that signed this request; our answer is signed as it knows us.

    Method, address and Content-Digest must be covered, be there a body or not. Raises
    UnauthenticatedError, and ForbiddenError for a server that is not accepted any more.
    """
    message = await message_of(request, services)
    key_id = key_id_of(message)
    server = await run_in_threadpool(_verified, services.engine, message, key_id)
    key = own_key(services.keys.service, server.server_id)
    request.state.answers_by = (str(server.fasp_id), key)
    return server


def _verified(engine: Engine, message: Message, key_id: str) -> FaspServer:
    try:
        server = known_server(engine, key_id)
    except NotFoundError as error:
        raise UnauthenticatedError("no server is registered under this keyid") from error
    with reading(engine) as session:
        moment = now(session)
        is_accepted = accepted_peer(session, server) is not None
    verify(
        message,
        read_key(str(server.public_key)),
        required=REQUEST_WITH_BODY,
        now=moment,
        window_seconds=WINDOW_SECONDS,
    )
    if not is_accepted:
        raise ForbiddenError("the operator of this service has blocked this server")
    return server


CallingServer = Annotated[FaspServer, Depends(calling_server)]
_NOTHING: Final[dict[int | str, dict[str, Any]]] = {204: {"description": "Noted.", "content": {}}}


@router.post(
    "/registration",
    status_code=202,
    summary="Ask to share a server's content",
    responses={
        202: {
            "description": "It waits for the operator.",
            "content": {MEDIA_TYPE: {"example": REQUESTED_EXAMPLE}},
        }
    },
    openapi_extra=described(RequestBody, REQUEST_EXAMPLE),
)
async def ask(
    asked: Request,
    body: Annotated[RequestBody, Depends(body_of(RequestBody))],
    services: Shared,
) -> RequestedView:
    """Note that a fediverse server's administrator wants it to share public content with us.

    Nothing is asked of the server until our operator accepts; we then call its `/registration`
    with our key, whose fingerprint its administrator compares with the one that the operator tells.
    """
    services.allowances.joins_by_client.take("10 requests a minute are taken", client_of(asked))
    services.allowances.joins.take("too many ask at the moment")
    return await run_in_threadpool(_request, services.engine, body.server)


@router.get(
    "/provider_info",
    summary="What we are used for",
    responses={
        200: {
            "description": "To a registered server, signed both ways.",
            "content": {MEDIA_TYPE: {"example": INFO_EXAMPLE}},
        }
    },
)
async def get_provider_info(_server: CallingServer, services: Shared) -> InfoView:
    """Tell a registered server our name and our one capability, `data_sharing`."""
    settings = services.settings
    return InfoView(
        name=name_of(settings),
        privacyPolicy=[{"url": f"{settings.base_url}/join", "language": "en"}],
        capabilities=[{"id": CAPABILITY, "version": VERSION}],
    )


Capability = Annotated[str, Path(description="The capability.", examples=[CAPABILITY])]
Version = Annotated[str, Path(description="Its version, or the major one.", examples=["0"])]


@router.post(
    "/capabilities/{capability}/{version}/activation",
    status_code=204,
    summary="Activate a capability",
    response_class=Response,
    responses=_NOTHING,
)
async def activate(
    server: CallingServer, capability: Capability, version: Version, services: Shared
) -> Response:
    """Begin to take what the server shares: we subscribe, and ask for what was before."""
    return await _activation(services, server, capability, version, active=True)


@router.delete(
    "/capabilities/{capability}/{version}/activation",
    status_code=204,
    summary="Deactivate a capability",
    response_class=Response,
    responses=_NOTHING,
)
async def deactivate(
    server: CallingServer, capability: Capability, version: Version, services: Shared
) -> Response:
    """Take nothing that the server shares any more, and call nothing there."""
    return await _activation(services, server, capability, version, active=False)


async def _activation(
    services: Shared, server: FaspServer, capability: str, version: str, *, active: bool
) -> Response:
    if capability != CAPABILITY or version not in _VERSIONS:
        raise NotFoundError(f"we know {CAPABILITY} {VERSION} alone")
    await run_in_threadpool(_activate, services.engine, server.id, active=active)
    services.worker.wake()
    return Response(status_code=204)


@router.post(
    "/data_sharing/v0/announcements",
    status_code=204,
    summary="Announce objects",
    response_class=Response,
    responses=_NOTHING,
    openapi_extra=described(AnnouncementBody, ANNOUNCEMENT_EXAMPLE),
)
async def announce(
    server: CallingServer,
    body: Annotated[AnnouncementBody, Depends(body_of(AnnouncementBody))],
    services: Shared,
) -> Response:
    """Take the addresses of objects that are new, changed or gone.

    Each is looked at where it lives: of the at most 1,000 in one message, twenty a minute.
    """
    services.allowances.pushes.take("600 announcements a minute are taken", server.server_id)
    said = _said(body)
    await run_in_threadpool(sharing.announced, services.engine, server.server_id, said)
    services.worker.wake()
    return Response(status_code=204)


def _said(body: AnnouncementBody) -> Announcement:
    """Return an announcement; InvalidError for what we never asked for."""
    if body.category != CATEGORY:
        raise InvalidError("category", f"must be {CATEGORY}, as we asked for")
    subscription, backfill = body.source.subscription, body.source.backfillRequest
    if (subscription is None) == (backfill is None):
        raise InvalidError("source", "must hold either subscription or backfillRequest")
    if (subscription is None) != (body.eventType is None):
        raise InvalidError("eventType", "must be there for a subscription, and only there")
    return Announcement(
        subscription_id=str(subscription.id)[:_LONGEST_ID] if subscription else None,
        backfill_id=str(backfill.id)[:_LONGEST_ID] if backfill else None,
        uris=body.objectUris,
        event=body.eventType,
        more=body.moreObjectsAvailable,
    )


def _request(engine: Engine, address: str) -> RequestedView:
    with transaction(engine) as session:
        server = request(session, address)
        return RequestedView(server=server.address, state=server.state)


def _activate(engine: Engine, server_id: int, *, active: bool) -> None:
    with transaction(engine) as session:
        sharing.activate(session, server_id, active=active)
