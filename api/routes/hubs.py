"""Hubs: they register, signed with their actor's key, and see how they stand."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.bodies import StrictBody, body_of, described
from api.callers import SignedMessage
from api.services import Reading, Shared
from commons.database import reading
from commons.errors import NotFoundError
from commons.groups import Group, Hub, HubState
from commons.money import CurrencyKind
from crawler import registration
from crawler.peer_reports import PeerReport, peer_report
from crawler.plain_words import explain

router = APIRouter(tags=["Hubs"])

REGISTRATION_EXAMPLE: Final[dict[str, Any]] = {
    "actor": "https://hub.example/group",
    "group": "barcelona",
    "listings": True,
    "currency": {
        "uri": "https://hub.example/currency",
        "code": "HORA",
        "name": "hora",
        "scale": 2,
        "kind": "time",
        "rate": "1/1",
    },
}
HUB_EXAMPLE: Final[dict[str, Any]] = {
    "id": "barcelona",
    "name": "Banc de Temps de Barcelona",
    "actor": "https://hub.example/group",
    "state": "registered",
    "rate_wanted": "1/1",
    "registered_at": "2026-04-01T08:00:00Z",
    "admitted_at": None,
    "peer": {
        "group_id": "barcelona",
        "actor_uri": "https://hub.example/group",
        "state": "consented",
        "state_since": "2026-04-01T08:00:00Z",
        "consented_at": "2026-04-01T08:00:00Z",
        "last_heard_at": None,
        "last_looked_at": None,
        "next_look_at": None,
        "failures": 0,
        "last_error": None,
        "listings": 0,
        "put_aside": 0,
    },
}


class CurrencyBody(StrictBody):
    """The currency that a group keeps its books in; `rate` is clearing units per unit."""

    uri: str
    code: str
    name: str
    scale: int
    kind: CurrencyKind
    rate: str


class RegistrationBody(StrictBody):
    """A hub's wish to take part; `listings` is its word that its public ones may be indexed.

    Without `currency` it takes part in the marketplace alone. With `pushes` its listings come as
    JSON (`PUT /hubs/{id}/listings/{listing}`), and nothing is followed or read.
    """

    actor: str
    group: str | None = None
    listings: bool = False
    pushes: bool = False
    currency: CurrencyBody | None = None


class HubView(BaseModel):
    """A hub: whether it may pay, and under `peer` how the crawler stands with it."""

    id: str
    name: str
    actor: str
    state: HubState
    rate_wanted: str | None
    registered_at: datetime
    admitted_at: datetime | None
    peer: PeerReport


def _answer(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": HUB_EXAMPLE}}}


@router.post(
    "/hubs",
    status_code=201,
    summary="Register a hub",
    responses={
        200: {"model": HubView, **_answer("Registered before; keys and addresses are renewed.")},
        201: _answer("Registered; it is read at once if it agreed."),
    },
    openapi_extra=described(RegistrationBody, REGISTRATION_EXAMPLE),
)
async def register_hub(
    message: SignedMessage,
    body: Annotated[RegistrationBody, Depends(body_of(RegistrationBody))],
    services: Shared,
    response: Response,
) -> HubView:
    """Register the hub of a group, signed with a key that its actor's document names.

    The actor is fetched, its keys are taken from there, and the signature is verified with the
    one that it names; nothing is stored where that fails. Registering again renews everything.
    """
    hub, is_new = await registration.register(
        services.engine, services.door, message, body.model_dump()
    )
    response.status_code = 201 if is_new else 200
    services.worker.wake()
    return await run_in_threadpool(_told, services.engine, hub.group_id)


@router.get("/hubs/{group_id}", summary="One hub", responses={200: _answer("The hub.")})
def get_hub(
    session: Reading,
    group_id: Annotated[str, Path(description="The group's short id.", examples=["barcelona"])],
) -> HubView:
    """Tell where a hub stands with this service, and how the crawler sees it.

    `GET /hubs/{group_id}/health` tells why its listings are, or are not, in the search.
    """
    return _for_anybody(view(session, group_id))


def view(session: Session, group_id: str) -> HubView:
    """Return what the operator is told of a hub; NotFoundError where none has registered so."""
    found = session.execute(
        select(Hub, Group).join(Group, Group.id == Hub.group_id).where(Hub.group_id == group_id)
    ).first()
    if found is None:
        msg = f"no hub has registered as {group_id!r}"
        raise NotFoundError(msg)
    hub, group = found
    return HubView(
        id=group_id,
        name=group.name,
        actor=group.uri,
        state=hub.state,
        rate_wanted=hub.rate_wanted,
        registered_at=hub.registered_at,
        admitted_at=hub.admitted_at,
        peer=peer_report(session, group_id),
    )


def _for_anybody(told: HubView) -> HubView:
    """Tell an error in plain words: as it was noted it may hold addresses of somebody's inside."""
    error = told.peer.last_error
    said = explain(error).said if error else None
    return told.model_copy(update={"peer": replace(told.peer, last_error=said)})


def _told(engine: Engine, group_id: str) -> HubView:
    with reading(engine) as session:
        return _for_anybody(view(session, group_id))
