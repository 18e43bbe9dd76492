"""Events over HTTP: what happened, told to each hub in its order, waited for or as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.callers import Caller, Calling
from api.seals import seal_of
from api.services import Services, Shared
from clearing import events
from clearing.events import EventKind
from commons import database
from commons.database import reading
from commons.errors import ForbiddenError, InvalidError
from commons.groups import Hub, HubKey, HubState

router = APIRouter(tags=["Events"])

STREAM: Final = "text/event-stream"
MOST_EVENTS: Final = 1_000
LONGEST_WAIT_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 15
STREAM_SECONDS: Final = 300
MOST_OF_A_STREAM: Final = 10_000
RETRY_MILLISECONDS: Final = 3_000
_READ_AT_ONCE: Final = 100

EVENT_EXAMPLE: Final[dict[str, Any]] = {
    "number": 7,
    "kind": "transfer-pending",
    "subject": "0c8e3f1e-7a52-4b1e-9f9c-2f6a5d1f7c10",
    "data": {"role": "payee", "expires_at": "2026-12-01T00:00:00.000000Z"},
    "happened_at": "2026-11-24T00:00:00.000000Z",
}
STREAM_EXAMPLE: Final = 'id: 7\nevent: transfer-pending\ndata: {"group":"leeds","number":7,…}\n\n'


class EventView(BaseModel):
    """One event: `subject` is the id of what it is about; `data` holds strings."""

    number: int
    kind: EventKind
    subject: str
    data: dict[str, str | None]
    happened_at: str


class EventPage(BaseModel):
    """A hub's events in their order; `last` is the number of its newest one."""

    events: list[EventView]
    last: int


@router.get(
    "/events",
    summary="A hub's events",
    response_model=EventPage,
    responses={
        200: {
            "description": "What happened after the number, in order.",
            "content": {
                "application/json": {"example": {"events": [EVENT_EXAMPLE], "last": 7}},
                STREAM: {"example": STREAM_EXAMPLE, "schema": {"type": "string"}},
            },
        }
    },
)
async def get_events(  # noqa: PLR0913 (what a hub may say of what it wants)
    request: Request,
    caller: Calling,
    services: Shared,
    *,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="The last number seen.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
    wait_seconds: Annotated[
        int,
        Query(ge=0, le=LONGEST_WAIT_SECONDS, description="How long to wait where there are none."),
    ] = 0,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response | EventPage:
    """Tell the calling hub what happened after a number, each event once, in order, without gaps.

    With `wait_seconds` an answer without events comes only after so long. With
    `Accept: text/event-stream` they come as server-sent events, each with a proof by the
    service's key since a stream has no signature as a whole, for five minutes at most; then
    `Last-Event-ID` goes on. A number beyond the last event is refused.
    """
    if STREAM in request.headers.get("accept", ""):
        if last_event_id is not None:
            after = _number(last_event_id)
        frames = _frames(services, caller, after)
        await anext(frames)
        request.state.is_stream = True  # it cannot be signed as a whole
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(frames, media_type=STREAM, headers=headers)
    page = await run_in_threadpool(_page, services.engine, caller, after, limit)
    if not page.events and wait_seconds:
        with services.events.place(caller.group_id):
            await services.events.wait(caller.group_id, after, wait_seconds)
        page = await run_in_threadpool(_page, services.engine, caller, after, limit)
    return page


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise InvalidError("Last-Event-ID", "must be the number of an event")
    return int(text)


def _page(engine: Engine, caller: Caller, after: int, limit: int) -> EventPage:
    with reading(engine) as session:
        return _read_page(session, caller, after, limit)


def _read_page(session: Session, caller: Caller, after: int, limit: int) -> EventPage:
    _check_still(session, caller)
    found = events.after(session, caller.group_id, after, limit)
    views = [EventView(**events.view(event)) for event in found]
    return EventPage(events=views, last=events.last_number(session, caller.group_id))


def _check_still(session: Session, caller: Caller) -> None:
    """Raise ForbiddenError where the caller, who may have waited long, may not call any more."""
    stands = select(HubKey.key_id).join(Hub, Hub.group_id == HubKey.group_id)
    stands = stands.where(
        HubKey.key_id == caller.key_id,
        HubKey.revoked_at.is_(None),
        Hub.state == HubState.ADMITTED,
    )
    if session.scalar(stands) is None:
        raise ForbiddenError("the key was revoked, or the hub suspended")


async def _frames(services: Services, caller: Caller, after: int) -> AsyncIterator[bytes]:
    """Yield a hub's events after a number as they come, and comments where none come.

    The first piece is empty: until it is there, what is wrong can still be told by a problem.
    """
    loop = asyncio.get_running_loop()
    ends_at, told = loop.time() + STREAM_SECONDS, 0
    with services.events.place(caller.group_id):
        frames, last = await run_in_threadpool(_read_frames, services, caller, after)
        yield b""
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        while told < MOST_OF_A_STREAM and loop.time() < ends_at and not services.events.is_ended:
            for frame in frames:
                yield frame
            after, told, is_quiet = last, told + len(frames), not frames
            if is_quiet:
                await services.events.wait(caller.group_id, after, HEARTBEAT_SECONDS)
            try:
                frames, last = await run_in_threadpool(_read_frames, services, caller, after)
            except ForbiddenError as error:
                yield f": {error.detail}\n\n".encode()
                return
            if is_quiet and not frames:
                yield b": nothing new\n\n"


def _read_frames(services: Services, caller: Caller, after: int) -> tuple[list[bytes], int]:
    """Return the next events as they stand in a stream, and the number to go on from."""
    with reading(services.engine) as session:
        page = _read_page(session, caller, after, _READ_AT_ONCE)
        moment = database.now(session)
    seal = seal_of(services.settings, services.keys)
    frames = []
    for event in page.events:
        told = {"group": caller.group_id, **event.model_dump(mode="json")}
        data = seal.put(told, moment)
        lines = (f"id: {event.number}", f"event: {event.kind}", "data: ")
        frames.append("\n".join(lines).encode() + orjson.dumps(data) + b"\n\n")
    return frames, page.events[-1].number if page.events else after
