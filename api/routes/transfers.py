"""Transfers over HTTP: a hub makes, accepts, rejects, cancels and reverses payments."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api import problems
from api.bodies import Moment, body_of, described, json_answer, optional_body_of
from api.callers import Acting, Caller, Posting, Reader, forgetting, posting_hub
from api.services import Reading, Services, Shared
from api.transfer_bodies import (
    ANSWERED_EXAMPLE,
    CREATE_EXAMPLE,
    ENDED_EXAMPLE,
    EXAMPLE,
    REFUSED_EXAMPLE,
    REJECT_EXAMPLE,
    REVERSAL_EXAMPLE,
    REVERSE_EXAMPLE,
    SEEN_EXAMPLE,
    AcceptBody,
    CreateBody,
    RejectBody,
    ReverseBody,
    TransferPage,
    TransferView,
    transfer_of,
)
from clearing import transfers
from clearing.calls import Call, Move, Outcome, Verb, handle
from clearing.transfers import TransferState, Wanted
from commons.database import transaction
from commons.errors import ForbiddenError, NotFoundError
from commons.groups import GROUP_ID_PATTERN
from commons.tokens import Bearer, Role

_BODIES: Final[dict[str, Callable[[Request], Awaitable[CreateBody | AcceptBody]]]] = {
    "put_transfer": body_of(CreateBody),
    "accept_transfer": optional_body_of(AcceptBody),
}
_PLAIN_ID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Straight(APIRoute):
    """A route that reads the parts of the calls that come most in the order of its signature.

    What FastAPI does to find out which parts there are takes longer than to read them. Anything
    unusual about the address goes its usual way.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        usual, endpoint = super().get_route_handler(), self.endpoint
        read = _BODIES.get(self.name)
        if read is None:
            return usual

        async def handle(request: Request) -> Response:
            transfer_id = request.path_params["transfer_id"]
            if _PLAIN_ID.fullmatch(transfer_id) is None:
                return await usual(request)
            services: Services = request.app.state.services
            caller = await posting_hub(request, services)
            body = await read(request)
            answer: Response = await endpoint(UUID(transfer_id), caller, body, services)
            return answer

        return handle


router = APIRouter(tags=["Clearing"], route_class=Straight)

MOST_ON_A_PAGE: Final = 500
_REFUSED: Final = {
    "description": "Refused at a limit, or the id is known with another body.",
    "content": {problems.MEDIA_TYPE: {"example": REFUSED_EXAMPLE}},
}

TransferId = Annotated[UUID, Path(description="The UUID that the initiating hub gave it.")]


def _answer(example: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


async def _call(services: Services, caller: Caller, call: Call) -> Outcome:
    """Wait for the poster; it answers once the outcome is committed, the nonce with it."""
    outcome = await asyncio.wrap_future(services.poster.submit(call, caller.used))
    if outcome.error is not None:
        with forgetting(services, caller.key_id):
            raise outcome.error
    return outcome


def _told(outcome: Outcome, status: int = 200) -> Response:
    return json_answer(transfer_of(outcome), status)


@router.put(
    "/transfers/{transfer_id}",
    summary="Make a transfer",
    status_code=201,
    response_model=TransferView,
    responses={
        200: _answer(EXAMPLE, "Made before: the transfer as it stands now.")
        | {"model": TransferView},
        201: _answer(EXAMPLE, "Made; it waits for the other hub, or its policy has accepted it."),
        409: _REFUSED,
    },
    openapi_extra=described(CreateBody, CREATE_EXAMPLE),
)
async def put_transfer(
    transfer_id: TransferId,
    caller: Posting,
    body: Annotated[CreateBody, Depends(body_of(CreateBody))],
    services: Shared,
) -> Response:
    """Make a transfer as the payer's hub (a push) or as the payee's (a request).

    The same id with the same body is answered again and never posted twice; with another body
    it is a conflict. A payment over a limit is refused for good under its id, and the answer
    names the limit and what is available. `warnings` names limits that were come close to.
    """
    outcome = await _call(services, caller, body.call(transfer_id, caller.group_id))
    return _told(outcome, 201 if outcome.created else 200)


@router.post(
    "/transfers/{transfer_id}/accept",
    summary="Accept a transfer",
    response_model=TransferView,
    responses={200: _answer(ANSWERED_EXAMPLE | {"state": "posted"}, "Posted, or queued.")},
    openapi_extra=described(AcceptBody, {"wait": True}, required=False),
)
async def accept_transfer(
    transfer_id: TransferId,
    caller: Posting,
    body: Annotated[AcceptBody, Depends(optional_body_of(AcceptBody))],
    services: Shared,
) -> Response:
    """Accept as the hub that did not make the transfer; it is posted at once.

    Where room is missing and the payer's hub said that it may wait, it is queued instead.
    """
    return _told(await _call(services, caller, body.call(transfer_id, caller.group_id)))


@router.post(
    "/transfers/{transfer_id}/reject",
    summary="Reject a transfer",
    response_model=TransferView,
    responses={
        200: _answer(
            ANSWERED_EXAMPLE
            | {
                "state": "rejected",
                "reason_code": REJECT_EXAMPLE["code"],
                "reason": REJECT_EXAMPLE["reason"],
            },
            "Rejected.",
        )
    },
    openapi_extra=described(RejectBody, REJECT_EXAMPLE),
)
async def reject_transfer(
    transfer_id: TransferId,
    caller: Posting,
    body: Annotated[RejectBody, Depends(body_of(RejectBody))],
    services: Shared,
) -> Response:
    """Reject as the hub that did not make the transfer; what it reserved is free again."""
    return _told(await _call(services, caller, body.call(transfer_id, caller.group_id)))


@router.post(
    "/transfers/{transfer_id}/cancel",
    summary="Cancel a transfer",
    response_model=TransferView,
    responses={200: _answer(ENDED_EXAMPLE | {"state": "cancelled"}, "Cancelled.")},
)
async def cancel_transfer(transfer_id: TransferId, caller: Posting, services: Shared) -> Response:
    """Cancel a pending transfer as the hub that made it, a queued one as either."""
    move = Move(transfer_id, caller.group_id, Verb.CANCEL)
    return _told(await _call(services, caller, move))


@router.post(
    "/transfers/{transfer_id}/reverse",
    summary="Reverse a transfer",
    status_code=201,
    response_model=TransferView,
    responses={
        200: _answer(REVERSAL_EXAMPLE, "Asked for before: the reversal as it stands now.")
        | {"model": TransferView},
        201: _answer(REVERSAL_EXAMPLE, "The reversal; it waits for the other hub."),
        409: _REFUSED,
    },
    openapi_extra=described(ReverseBody, REVERSE_EXAMPLE),
)
async def reverse_transfer(
    transfer_id: TransferId,
    caller: Acting,
    body: Annotated[ReverseBody, Depends(body_of(ReverseBody))],
    services: Shared,
) -> Response:
    """Take back a posted transfer, wholly or in part, by a transfer of its own.

    Either hub asks and the other accepts; the operator posts it at once, and both hubs are told
    with the reason as notice. Never more than what is left is taken back.
    """
    if isinstance(caller, Caller):
        call = body.reversal(transfer_id, caller.group_id)
        outcome = await _call(services, caller, call)
    else:
        outcome = await run_in_threadpool(_reverse, services, caller, transfer_id, body)
    return _told(outcome, 201 if outcome.created else 200)


def _reverse(services: Services, operator: Bearer, transfer_id: UUID, body: ReverseBody) -> Outcome:
    """Reverse as the operator; the audit log tells who it was."""
    with transaction(services.engine) as session:
        _visible(transfers.find(session, transfer_id, None), operator)
        outcome = handle(session, [body.by_operator(transfer_id, operator.actor)])[0]
        if outcome.error is not None:
            raise outcome.error
    return outcome


def wanted_of(  # noqa: PLR0913, PLR0917 (each is a question that may be asked)
    state: Annotated[TransferState | None, Query(description="Only those in this state.")] = None,
    party: Annotated[
        str | None, Query(max_length=40, description="Only those with this group.")
    ] = None,
    member: Annotated[
        str | None, Query(max_length=100, description="Only those of this own member.")
    ] = None,
    made_from: Annotated[
        Moment | None, Query(alias="from", description="Only those made at or after this moment.")
    ] = None,
    made_to: Annotated[
        Moment | None, Query(alias="to", description="Only those made before this moment.")
    ] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=100,
            pattern=r"^[^\x00]*$",
            description="Part of a description or a name.",
        ),
    ] = None,
    union: Annotated[
        str | None,
        Query(pattern=GROUP_ID_PATTERN, description="Only those through this union."),
    ] = None,
    reverses: Annotated[
        UUID | None, Query(description="Only what takes back this transfer.")
    ] = None,
) -> Wanted:
    """Return which transfers are asked for."""
    states = () if state is None else (state,)
    return Wanted(states, party, member, made_from, made_to, text, union, reverses)


@router.get(
    "/transfers",
    summary="A hub's transfers",
    response_model=TransferPage,
    responses={
        200: _answer({"transfers": [SEEN_EXAMPLE], "cursor": None}, "A page, newest first."),
    },
)
def list_transfers(
    reader: Reader,
    session: Reading,
    wanted: Annotated[Wanted, Depends(wanted_of)],
    limit: Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List the calling hub's transfers, as payer or payee.

    The operator is shown everybody's, without what members are called and say.
    """
    wanted = _scoped(wanted, reader.bearer)
    found, more = transfers.search(session, reader.group_id, wanted, limit, cursor)
    return json_answer({"transfers": [_seen(one) for one in found], "cursor": more})


@router.get(
    "/transfers/{transfer_id}",
    summary="One transfer",
    response_model=TransferView,
    responses={200: _answer(SEEN_EXAMPLE, "The transfer.")},
)
def get_transfer(transfer_id: TransferId, reader: Reader, session: Reading) -> Response:
    """Give one of the calling hub's transfers; the operator sees each, without names."""
    found = transfers.find(session, transfer_id, reader.group_id)
    _visible(found, reader.bearer)
    return json_answer(_seen(found))


def _seen(view: transfers.View) -> dict[str, Any]:
    return {**vars(view), "account": None, "warnings": ()}


def _operators(bearer: Bearer) -> None:
    if bearer.role is not Role.OPERATOR:
        raise ForbiddenError("transfers are shown to their two hubs and to the operator")


def _scoped(wanted: Wanted, bearer: Bearer | None) -> Wanted:
    """Keep a bearer to the union that the token opens."""
    if bearer is None:
        return wanted
    _operators(bearer)
    if bearer.union_id is None:
        return wanted
    if wanted.union not in {None, bearer.union_id}:
        raise ForbiddenError(f"this token opens the union {bearer.union_id!r} alone")
    return replace(wanted, union=bearer.union_id)


def _visible(view: transfers.View, bearer: Bearer | None) -> None:
    if bearer is not None:
        _operators(bearer)
        if bearer.union_id not in {None, view.union}:
            raise NotFoundError(f"there is no transfer {view.id}")
