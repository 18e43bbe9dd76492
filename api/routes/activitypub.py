"""ActivityPub: our actor, how it is found, and the inbox that stores and answers 202."""

from typing import Any, Final

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from api.callers import SignedMessage
from api.services import Shared
from crawler import actor
from crawler.work import INBOX

ACTIVITY: Final = "application/activity+json"
DESCRIPTOR: Final = "application/jrd+json"
NODEINFO: Final = f'application/json; profile="{actor.NODEINFO_SCHEMA}#"'

router = APIRouter(tags=["ActivityPub"])

_ACTIVITY_EXAMPLE: Final[dict[str, Any]] = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "id": "https://hub.example/activities/7",
    "type": "Create",
    "actor": "https://hub.example/members/ines",
    "to": ["https://www.w3.org/ns/activitystreams#Public"],
    "object": {
        "@context": [
            "https://www.w3.org/ns/activitystreams",
            {"vf": "https://w3id.org/valueflows/ont/vf#", "Proposal": "vf:Proposal"},
        ],
        "id": "https://hub.example/listings/7",
        "type": "Proposal",
        "purpose": "offer",
        "attributedTo": "https://hub.example/members/ines",
        "audience": "https://hub.example/group",
        "to": ["https://www.w3.org/ns/activitystreams#Public"],
        "name": "Bicycle repair",
        "content": "<p>I mend your bicycle in my workshop or at your door.</p>",
        "published": "2026-05-01T09:00:00Z",
        "updated": "2026-05-02T10:00:00Z",
    },
}


def _documented(media_type: str, example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "object"}, "example": example}}
    return {200: {"description": "The document.", "content": content}}


def _answer(document: dict[str, Any], media_type: str) -> Response:
    return JSONResponse(document, media_type=media_type)


@router.get(
    "/actor",
    summary="Our actor",
    response_class=Response,
    responses=_documented(
        ACTIVITY,
        {"id": "https://localpay.example/actor", "type": "Application", "indexable": False},
    ),
)
async def get_actor(services: Shared) -> Response:
    """Give the document of the actor that follows hubs; it tells who crawls, and both our keys."""
    return _answer(actor.document(services.settings, services.keys), ACTIVITY)


@router.get(
    "/outbox",
    summary="Our empty outbox",
    response_class=Response,
    responses=_documented(ACTIVITY, {"type": "OrderedCollection", "totalItems": 0}),
)
async def get_outbox(services: Shared) -> Response:
    """Give the outbox of our actor, which publishes nothing."""
    return _answer(actor.outbox(services.settings), ACTIVITY)


@router.get(
    "/.well-known/webfinger",
    summary="WebFinger",
    response_class=Response,
    responses=_documented(
        DESCRIPTOR,
        {
            "subject": "acct:localpay@localpay.example",
            "links": [{"rel": "self", "type": ACTIVITY, "href": "https://localpay.example/actor"}],
        },
    ),
)
async def get_webfinger(services: Shared, resource: str) -> Response:
    """Find our actor by its account, its id, or the address of this server (FEP-d556)."""
    descriptor = actor.webfinger(services.settings, resource)
    response = _answer(descriptor, DESCRIPTOR)
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


@router.get(
    "/.well-known/nodeinfo",
    summary="Where the NodeInfo is",
    response_class=Response,
    responses=_documented(
        "application/json",
        {
            "links": [
                {"rel": actor.NODEINFO_SCHEMA, "href": "https://localpay.example/nodeinfo/2.1"}
            ]
        },
    ),
)
async def get_nodeinfo_links(services: Shared) -> Response:
    """Link to our NodeInfo document and to our actor (FEP-2677)."""
    return _answer(actor.nodeinfo_links(services.settings), "application/json")


@router.get(
    "/nodeinfo/2.1",
    summary="NodeInfo 2.1",
    response_class=Response,
    responses=_documented(
        "application/json", {"version": "2.1", "software": {"name": "localpay", "version": "0.1.0"}}
    ),
)
async def get_nodeinfo() -> Response:
    """Tell which software this is and what it speaks."""
    return _answer(actor.nodeinfo(), NODEINFO)


@router.post(
    "/inbox",
    status_code=202,
    summary="Deliver an activity",
    response_class=Response,
    responses={202: {"description": "Stored; it is handled soon.", "content": {}}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {ACTIVITY: {"schema": {"type": "object"}, "example": _ACTIVITY_EXAMPLE}},
        }
    },
)
async def post_inbox(services: Shared, message: SignedMessage) -> Response:
    """Store an activity that a followed actor or one of its server signed; it is handled later.

    Signed by RFC 9421 over @method, @target-uri and content-digest, or by draft-cavage over
    (request-target), host, digest and date or (created). What is unsigned or forged is answered by
    401 and not kept; 403 is for who is blocked or suspended, 503 where the key cannot be fetched.
    """
    await services.inbox.receive(services.door, message)
    services.worker.wake(INBOX)
    return Response(status_code=202)
