"""Batches of calls over HTTP: up to 8,000 at once, each with an outcome of its own."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from api import problems
from api.bodies import described, json_answer, read_body
from api.callers import Posting, forgetting
from api.services import Shared
from api.transfer_bodies import (
    BATCH_ANSWER_EXAMPLE,
    BATCH_EXAMPLE,
    ITEM,
    BatchBody,
    DescribedBatchBody,
    OutcomesView,
    call_of,
    transfer_of,
)
from clearing.calls import Call, Outcome, Verb
from commons.errors import ConflictError, InvalidError, LocalPayError, UnauthenticatedError

router = APIRouter(tags=["Clearing"])

VALUES_MAX: Final = 160_000
"""Values in the JSON of a batch: 8,000 calls of up to twelve members, and air."""

NOT_DONE: Final = "another call of this batch failed, and it was sent to be done wholly or not"

_DOINGS: Final = ("create", *Verb, "reverse")

_Line = Call | LocalPayError


@router.post(
    "/transfers/batch",
    summary="Many calls at once",
    response_model=OutcomesView,
    responses={
        200: {
            "description": "What each came to, in their order.",
            "content": {"application/json": {"example": BATCH_ANSWER_EXAMPLE}},
        }
    },
    openapi_extra=described(DescribedBatchBody, BATCH_EXAMPLE),
)
async def post_batch(request: Request, caller: Posting, services: Shared) -> Response:
    """Make, accept, reject, cancel and reverse up to 8,000 transfers, in the order given.

    Each call has the status and the transfer or problem that it would have had alone, and one
    that fails leaves the others alone. With `atomic` all are done, or none where one fails.
    """
    services.allowances.batches.take("this hub sends batches too often", caller.group_id)
    content = await request.body()
    body, read = await run_in_threadpool(_read, request, content, caller.group_id)
    calls = [one for one in read if not isinstance(one, LocalPayError)]
    if body.atomic and len(calls) < len(read):
        outcomes = [Outcome(error=ConflictError(NOT_DONE)) for _ in calls]
    else:
        submitted = services.poster.submit_batch(calls, atomic=body.atomic, used=caller.used)
        outcomes = await asyncio.wrap_future(submitted)
    for error in {one.error for one in outcomes if isinstance(one.error, UnauthenticatedError)}:
        with forgetting(services, caller.key_id):
            raise error  # the nonce is that of all of them
    base_url = services.settings.base_url
    return await run_in_threadpool(_answer, base_url, body.calls, read, outcomes)


def _read(request: Request, content: bytes, group_id: str) -> tuple[BatchBody, list[_Line]]:
    body = read_body(request, content, BatchBody, VALUES_MAX)
    return body, [_call(item, group_id) for item in body.calls]


def _call(item: object, group_id: str) -> _Line:
    """Read one call by the rules of a single one; what breaks one is its outcome."""
    if not isinstance(item, dict):
        return InvalidError("call", "must be an object")
    if item.get("do") not in _DOINGS:
        return InvalidError("do", f"must be one of {', '.join(_DOINGS)}")
    try:
        return call_of(ITEM.validate_json(orjson.dumps(item)), group_id)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        # The kind of call stands before the field, and in a single call nowhere.
        rules = problems.broken_rules([{**one, "loc": ("body", *one["loc"][1:])} for one in errors])
        return InvalidError(rules[0]["field"], rules[0]["rule"], errors=rules)


def _answer(
    base_url: str, items: Sequence[object], read: Sequence[_Line], outcomes: Sequence[Outcome]
) -> Response:
    following = iter(outcomes)
    told = [
        _told(
            base_url,
            item,
            Outcome(error=one) if isinstance(one, LocalPayError) else next(following),
        )
        for item, one in zip(items, read, strict=True)
    ]
    failed = sum(one["problem"] is not None for one in told)
    return json_answer({"failed": failed, "outcomes": told})


def _told(base_url: str, item: object, outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    if error is None:
        status = 201 if outcome.created else 200
        return {
            "id": _id(item),
            "status": status,
            "transfer": transfer_of(outcome),
            "problem": None,
        }
    problem = problems.told(base_url, error)
    return {
        "id": _id(item),
        "status": problem["status"],
        "transfer": transfer_of(outcome),
        "problem": problem,
    }


def _id(item: object) -> UUID | None:
    """Return the id that a call names, where it is one."""
    found = item.get("id") if isinstance(item, dict) else None
    try:
        return UUID(found) if isinstance(found, str) else None
    except ValueError:
        return None
