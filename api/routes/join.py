"""The registration page: an operator gives a hub's address, and sees what becomes of it."""

import asyncio
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api import problems
from api.allowances import client_of
from api.routes.health_of_hubs import TITLES
from api.routes.pages import render
from api.services import Services, Shared
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    MalformedError,
    TooLargeError,
    TooManyError,
    UnsupportedMediaError,
)
from crawler import joining
from crawler.finding import ADDRESS_MOST_CHARS
from crawler.joining import Joined
from crawler.plain_words import Trouble, known

router = APIRouter(include_in_schema=False)

MOST_BODY_BYTES: Final = 8 * 1024
SECONDS_MOST: Final = 30.0
_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS_MOST: Final = 10
_LONGEST_CODE: Final = 200
_SLOW: Final = Trouble(
    None, "The hub takes too long to answer.", "See why it is slow, then try again."
)

_OTHER_WAYS: Final = (
    "Where there is no such account, its software does not speak ActivityPub: a website alone "
    "never does. Take one of the other ways below."
)


@router.get("/join")
async def join_page(services: Shared, address: str = "", invitation: str = "") -> Response:
    """Show the form, filled in with what a link to it holds; nothing is done before it is sent."""
    if len(address) > ADDRESS_MOST_CHARS or len(invitation) > _LONGEST_CODE:
        address = invitation = ""
    return _page(services, address, invitation)


@router.post("/join")
async def join(request: Request, services: Shared) -> Response:
    """Have a hub join, and lead to its health; else show what is to be mended.

    Ten times a minute for each client and 60 in all. Nothing here depends on who asks, and there
    is no session, so that a form on another's page can do no more than anybody may.
    """
    address = code = ""
    try:
        services.allowances.joins_by_client.take(
            "you have tried many addresses", client_of(request)
        )
        services.allowances.joins.take("many hubs join right now")
        address, code = await _filled_in(request)
        async with asyncio.timeout(SECONDS_MOST):
            joined = await joining.join(
                services.engine,
                services.door,
                services.settings,
                address,
                invitation=code or None,
            )
    except TimeoutError:
        return _page(services, address, code, _SLOW)
    except (InvalidError, ForbiddenError, ConflictError, TooManyError) as error:
        return _refusal(services, address, code, error)
    services.worker.wake()
    if joined.group_id is not None and joined.to_mend is None:
        return RedirectResponse(f"/hubs/{joined.group_id}/health", 303)
    return _page(services, address, code, _to_mend(joined), joined)


async def _filled_in(request: Request) -> tuple[str, str]:
    """Return the address and the code of the form, read by hand: two short fields, no files."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise UnsupportedMediaError(f"this form is sent as {_FORM}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise TooLargeError(f"this form has at most {MOST_BODY_BYTES} bytes")
    try:
        fields = parse_qs(body.decode(), max_num_fields=_FIELDS_MOST, errors="strict")
    except ValueError as error:
        raise MalformedError("the form cannot be read") from error
    address = fields.get("address", [""])[0].strip()
    code = fields.get("invitation", [""])[0].strip()
    if not address:
        raise InvalidError("address", "must be given")
    if len(code) > _LONGEST_CODE:
        raise InvalidError("invitation", f"must have at most {_LONGEST_CODE} characters")
    return address, code


def _to_mend(joined: Joined) -> Trouble:
    """Return the one thing to mend, without what an error of the network may tell of an inside."""
    told = joined.to_mend or "ask the operator of this service"
    if joined.actor_uri is not None:
        return Trouble(None, "The hub was found.", _sentence(told))
    trouble = known(told)
    if trouble is not None and trouble.step is not None:
        return trouble
    outcomes = [known(step.outcome) for step in joined.tried]
    first = outcomes[0] if outcomes else None
    said = first.said if first else "No group's actor was found there."
    ways = "" if joined.software or None in outcomes else f" {_OTHER_WAYS}"
    return Trouble(None, said, f"{_sentence(told.partition(' (')[0])}{ways}")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."


def _refusal(services: Services, address: str, code: str, error: LocalPayError) -> Response:
    response = _page(
        services,
        address,
        code,
        Trouble(None, _sentence(error.detail), ""),
        status=problems.kind_of(error).status,
        field=error.field if isinstance(error, InvalidError) else "",
    )
    if isinstance(error, TooManyError):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _page(  # noqa: PLR0913 (what was filled in, and what came of it)
    services: Services,
    address: str = "",
    invitation: str = "",
    trouble: Trouble | None = None,
    joined: Joined | None = None,
    *,
    status: int = 200,
    field: str = "",
) -> Response:
    steps = joined.tried if joined else ()
    context = {
        "address": address,
        "invitation": invitation,
        "actor_uri": joined.actor_uri if joined else None,
        "host": services.settings.base_url,
        "contact": services.settings.contact,
        "trouble": trouble,
        "step": TITLES[trouble.step] if trouble and trouble.step else "",
        "field": field,
        "joined": joined,
        "tried": [(step.address, step.asked, _outcome(step.outcome)) for step in steps],
    }
    response = render("join.html", context, status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _outcome(outcome: str) -> str:
    """Return what came of asking, in plain words where it is an error of the network."""
    trouble = known(outcome)
    return trouble.said if trouble else outcome
