"""Hubs: they register, signed with their actor's key, and see how they stand."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.allowances import client_of
from api.bodies import StrictBody, body_of, described
from api.callers import Calling, SignedMessage, SigningGroup
from api.services import Reading, Shared
from clearing import acceptance, webhooks
from clearing.acceptance import ANY_GROUP, Rule
from clearing.transfers import Party
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import ForbiddenError, NotFoundError
from commons.groups import Currency, Group, Hub, HubState
from commons.money import CurrencyKind, format_amount, parse_amount
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
    "policy": None,
}
POLICY_EXAMPLE: Final[dict[str, Any]] = {
    "webhook": "https://hub.example/localpay-events",
    "accepts": [
        {"initiator": "payer", "counterparty": None, "up_to": "500.00"},
        {"initiator": "payee", "counterparty": "leeds", "up_to": "20.00"},
    ],
}
DELIVERY_EXAMPLE: Final[dict[str, Any]] = {
    "delivered": 41,
    "last": 43,
    "delivered_at": "2026-11-24T08:00:00Z",
    "next_try_at": "2026-11-24T08:05:00Z",
    "attempts": 2,
    "error": "https://hub.example/localpay-events answered 503",
    "stopped_at": None,
}
PATCHED_EXAMPLE: Final[dict[str, Any]] = HUB_EXAMPLE | {
    "policy": POLICY_EXAMPLE | {"delivery": DELIVERY_EXAMPLE}
}
MOST_RULES: Final = 1_000


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


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


class RuleBody(StrictBody):
    """What the hub accepts at once: made by which side's hub, from which group, up to how much.

    `initiator` is `payer` for what others push, `payee` for what they request. Without
    `counterparty` it holds for all groups that have no rule of their own. `up_to` is in the
    group's own currency.
    """

    initiator: Party = Field(strict=False)
    counterparty: str | None = Field(default=None, max_length=40)
    up_to: str = Field(max_length=40)


class PolicyBody(StrictBody):
    """What a hub sets for itself; what is left out stays as it is.

    `webhook` is where its events are posted, null for nowhere; `accepts` are all its rules, so that
    an empty list ends them all. Both come back under `policy`.
    """

    # No default is shown, since none is set: what is not said is not touched.
    webhook: str | None = Field(
        default=None, min_length=1, max_length=2048, json_schema_extra=_without_default
    )
    accepts: list[RuleBody] = Field(
        default=[], max_length=MOST_RULES, json_schema_extra=_without_default
    )


class DeliveryView(BaseModel):
    """How far a hub's webhook is: up to event `delivered` of `last`.

    `error` is why the newest attempt failed; with `stopped_at` nothing is sent until the hub names
    its address again.
    """

    delivered: int
    last: int
    delivered_at: datetime | None
    next_try_at: datetime | None
    attempts: int
    error: str | None
    stopped_at: datetime | None


class PolicyView(BaseModel):
    """What a hub has set for itself, and under `delivery` how its webhook stands."""

    webhook: str | None
    delivery: DeliveryView | None
    accepts: list[RuleBody]


class HubView(BaseModel):
    """A hub: whether it may pay, and under `peer` how the crawler stands with it.

    `policy` is shown to the hub itself alone.
    """

    id: str
    name: str
    actor: str
    state: HubState
    rate_wanted: str | None
    registered_at: datetime
    admitted_at: datetime | None
    peer: PeerReport
    policy: PolicyView | None = None


def _answer(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": HUB_EXAMPLE}}}


async def may_register(request: Request, services: Shared) -> None:
    """Raise TooManyError for who registers too often: each makes us fetch an actor."""
    allowances, told = services.allowances, "too many registrations right now"
    allowances.registrations_by_client.take(told, client_of(request))
    allowances.registrations.take(told)


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
    _allowed: Annotated[None, Depends(may_register)],
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


GroupId = Annotated[str, Path(description="The group's short id.", examples=["barcelona"])]


@router.get("/hubs/{group_id}", summary="One hub", responses={200: _answer("The hub.")})
def get_hub(signer: SigningGroup, session: Reading, group_id: GroupId) -> HubView:
    """Tell where a hub stands with this service, and how the crawler sees it.

    To the hub itself, when it signs, what it has set is told too. `GET /hubs/{group_id}/health`
    tells why its listings are, or are not, in the search.
    """
    told = _for_anybody(view(session, group_id))
    if signer != group_id:
        return told
    return told.model_copy(update={"policy": _policy(session, group_id)})


@router.patch(
    "/hubs/{group_id}",
    summary="Set what a hub sets for itself",
    responses={
        200: {
            "description": "The hub, as it stands now.",
            "content": {"application/json": {"example": PATCHED_EXAMPLE}},
        }
    },
    openapi_extra=described(PolicyBody, POLICY_EXAMPLE),
)
def patch_hub(
    caller: Calling,
    group_id: GroupId,
    body: Annotated[PolicyBody, Depends(body_of(PolicyBody))],
    services: Shared,
) -> HubView:
    """Set where the hub's events go and what it accepts at once; the rules replace the old ones."""
    if caller.group_id != group_id:
        raise ForbiddenError("a hub sets this for itself alone")
    said = body.model_fields_set
    with transaction(services.engine) as session:
        # Of two calls at once the second waits, and replaces what the first has set.
        session.scalar(select(Hub).where(Hub.group_id == group_id).with_for_update())
        if "webhook" in said:
            loopback = services.settings.allow_loopback
            webhooks.set_address(session, group_id, body.webhook, allow_loopback=loopback)
        if "accepts" in said:
            scale = _scale(session, group_id)
            rules = [
                Rule(
                    rule.initiator,
                    rule.counterparty or ANY_GROUP,
                    parse_amount(rule.up_to, scale, f"accepts.{place}.up_to"),
                )
                for place, rule in enumerate(body.accepts)
            ]
            acceptance.set_rules(session, group_id, rules)
        data = {"set": ", ".join(sorted(said))}
        audit_log.record(session, caller.actor, "policy-changed", group_id, data)
        told = _for_anybody(view(session, group_id))
        return told.model_copy(update={"policy": _policy(session, group_id)})


def _policy(session: Session, group_id: str) -> PolicyView:
    status, scale = webhooks.status(session, group_id), _scale(session, group_id)
    return PolicyView(
        webhook=None if status is None else status.url,
        delivery=None if status is None else _delivery(status),
        accepts=[
            RuleBody(
                initiator=rule.initiator,
                counterparty=rule.counterparty or None,
                up_to=format_amount(rule.up_to, scale),
            )
            for rule in acceptance.rules_of(session, group_id)
        ],
    )


def _delivery(status: webhooks.Status) -> DeliveryView:
    return DeliveryView(
        delivered=status.delivered,
        last=status.last,
        delivered_at=status.delivered_at,
        next_try_at=status.next_try_at,
        attempts=status.attempts,
        error=status.error,
        stopped_at=status.stopped_at,
    )


def _scale(session: Session, group_id: str) -> int:
    """Return the decimal places of a group's currency; 0 where it has none, and so no rules."""
    query = select(Currency.scale).join(Group, Group.currency_id == Currency.id)
    return session.scalar(query.where(Group.id == group_id)) or 0


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
