"""Problem documents (RFC 9457): the one table from the error tree to what a client is told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api import database_faults
from commons.errors import (
    AddressRefusedError,
    ConflictError,
    FetchError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    MalformedError,
    NotAcceptableError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)

MEDIA_TYPE: Final = "application/problem+json"
LONGEST_FIELD: Final = 100
MOST_ERRORS: Final = 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Kind:
    """One kind of problem: the end of its type URI, its status, and what it means."""

    name: str
    status: int
    title: str
    meaning: str


INTERNAL: Final = Kind(
    "internal",
    500,
    "Something is wrong on our side",
    "An error that we did not foresee. It is in our log under the request's id; nothing that the "
    "request asked for was done by half.",
)
NOT_ALLOWED: Final = Kind(
    "method-not-allowed",
    405,
    "This cannot be done here",
    "The address exists, but not for this method; the Allow header names those that it takes.",
)
UNFETCHABLE: Final = Kind(
    "unfetchable",
    422,
    "A document that you named is not there",
    "We tried to fetch a document that the request named, and were told that it does not exist "
    "or may not be had. Trying again is useless.",
)

KINDS: Final[dict[type[LocalPayError], Kind]] = {
    LocalPayError: INTERNAL,
    MalformedError: Kind(
        "malformed",
        400,
        "This cannot be read",
        "The request is broken: no JSON, a repeated key, a header that does not parse.",
    ),
    InvalidError: Kind(
        "invalid",
        422,
        "A rule is broken",
        "The request can be read and breaks a rule. `field` names the first field that does and "
        "`rule` says how; `errors` lists all of them.",
    ),
    UnauthenticatedError: Kind(
        "unauthenticated",
        401,
        "We do not know who calls",
        "Hubs sign each call by RFC 9421 with a key of their group actor, calls to clearing with "
        "an Ed25519 key, over @method, @target-uri and, with a body, content-digest, with created "
        "and, but for pushes to the inbox, a nonce; analysts and operators send a token. What was "
        "sent is missing or does not hold.",
    ),
    ForbiddenError: Kind(
        "forbidden",
        403,
        "You may not do this",
        "We know who calls, and this is not theirs to do, or not yet.",
    ),
    NotFoundError: Kind(
        "not-found",
        404,
        "There is no such thing",
        "Nothing is known under this address or id, or nothing that the caller may know of.",
    ),
    ConflictError: Kind(
        "conflict",
        409,
        "The state of things forbids it",
        "The request is sound, but something else has happened first.",
    ),
    RefusedError: Kind(
        "refused",
        409,
        "The payment is refused",
        "A limit stands against it: `reason` says which, `available` how much could still be "
        "paid, in clearing units. It stays refused under this id; a new try needs a new id.",
    ),
    TooLargeError: Kind(
        "too-large",
        413,
        "This is too large",
        "More was sent than is read here.",
    ),
    UnsupportedMediaError: Kind(
        "unsupported-media",
        415,
        "This kind of content is not read here",
        "The Content-Type is not one that this address takes.",
    ),
    NotAcceptableError: Kind(
        "not-acceptable",
        406,
        "This is not given in that form",
        "The Accept header names no media type in which this address answers; `offered` lists "
        "them.",
    ),
    TooManyError: Kind(
        "too-many",
        429,
        "Too much in a short time",
        "Come back after the seconds that Retry-After tells.",
    ),
    UnavailableError: Kind(
        "unavailable",
        503,
        "Something that this needs does not answer",
        "Come back after the seconds that Retry-After tells; everything else goes on.",
    ),
    FetchError: Kind(
        "unreachable",
        503,
        "A server that you named does not answer",
        "We tried to fetch a document that the request named and could not. Try again later.",
    ),
    AddressRefusedError: Kind(
        "address-refused",
        422,
        "We do not fetch from such an address",
        "The request named an address that is not public, or not https.",
    ),
}

_SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem document (RFC 9457); its `type` leads to what it means.",
        "content": {
            MEDIA_TYPE: {
                "schema": _SCHEMA,
                "example": {
                    "field": "limit",
                    "rule": "must be between 1 and 100",
                    "type": "https://localpay.example/problems/invalid",
                    "title": "A rule is broken",
                    "status": 422,
                    "detail": "limit: must be between 1 and 100",
                },
            }
        },
    }
}
"""What the interface's description says of every answer that is none of a route's own."""

ALL_KINDS: Final = {kind.name: kind for kind in (*KINDS.values(), NOT_ALLOWED, UNFETCHABLE)}
RETRY_UNREACHABLE_SECONDS: Final = 60
RETRY_DATABASE_SECONDS: Final = 5

_RULES: Final = {
    "Value error, ": "",
    "Field required": "must be there",
    "Extra inputs are not permitted": "is not known here, so it must not be there",
    "Input should ": "must ",
    "UUID input should ": "must ",
    "String should ": "must ",
    "List should ": "must ",
}
"""How pydantic begins a sentence, and how our rules do."""

_BY_STATUS: Final = {
    400: KINDS[MalformedError],
    404: KINDS[NotFoundError],
    405: NOT_ALLOWED,
    413: KINDS[TooLargeError],
    415: KINDS[UnsupportedMediaError],
}


def answers(*errors: type[LocalPayError]) -> dict[int | str, dict[str, Any]]:
    """Return how the interface's description tells of a route's own problems, by status."""
    return {kind.status: _told(kind) for kind in (KINDS[error] for error in errors)}


def _told(kind: Kind) -> dict[str, Any]:
    example = {
        "type": f"https://localpay.example/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
    }
    content = {MEDIA_TYPE: {"schema": _SCHEMA, "example": example}}
    return {"description": f"{kind.title}. {kind.meaning}", "content": content}


def kind_of(error: LocalPayError) -> Kind:
    """Return what kind of problem an error of the tree is."""
    if type(error) is FetchError and error.final:
        return UNFETCHABLE
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def document(
    base_url: str, kind: Kind, detail: str, extra: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Make a problem document; `extra` members never replace the standard's own."""
    return {
        **(extra or {}),
        "type": f"{base_url}/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }


def problem(
    base_url: str,
    kind: Kind,
    detail: str,
    extra: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer that is a problem document."""
    # Escaped to ASCII, so that half of a surrogate pair in a message cannot break the answer.
    body = json.dumps(document(base_url, kind, detail, extra), default=str)
    return Response(body, kind.status, headers, MEDIA_TYPE)


def told(base_url: str, error: LocalPayError) -> dict[str, object]:
    """Return the problem document of an error of the tree, as one of many outcomes."""
    return document(base_url, kind_of(error), error.detail, error.extra)


def answer(base_url: str, error: LocalPayError) -> Response:
    """Make the answer to an error of the tree, with the headers that its kind asks for."""
    kind = kind_of(error)
    if kind is INTERNAL:
        return internal(base_url)
    headers = {}
    if isinstance(error, TooManyError | UnavailableError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif kind is KINDS[FetchError]:
        headers["Retry-After"] = str(RETRY_UNREACHABLE_SECONDS)
    elif kind is KINDS[UnauthenticatedError]:
        headers["WWW-Authenticate"] = "Signature, Bearer"
    return problem(base_url, kind, error.detail, error.extra, headers)


def internal(base_url: str) -> Response:
    """Make the answer to an error that nobody foresaw; it tells nothing of the inside."""
    return problem(base_url, INTERNAL, "The request was not carried out.")


def broken_rules(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return field and rule of each of pydantic's errors, without what was sent."""
    found = []
    for error in errors[:MOST_ERRORS]:
        where = [str(part) for part in error["loc"]]
        field = ".".join(where[1:]) or ".".join(where)
        found.append({"field": field[:LONGEST_FIELD], "rule": _rule(str(error["msg"]))})
    return found


def _rule(said: str) -> str:
    """Return what pydantic says in the words of our own rules, which go on from a field's name."""
    for beginning, ours in _RULES.items():
        if said.startswith(beginning):
            return ours + said.removeprefix(beginning)
    return said


async def _unavailable(request: Request, error: Exception) -> Response:
    reason = database_faults.reason(error)
    if reason is None:
        raise error
    _log.error("the database failed", path=request.url.path, reason=reason)
    base_url = request.app.state.services.settings.base_url
    return answer(base_url, UnavailableError(database_faults.SAID, RETRY_DATABASE_SECONDS))


def install(app: FastAPI, base_url: str) -> None:
    """Have the application answer every error with a problem document."""

    async def domain(request: Request, error: Exception) -> Response:
        if not isinstance(error, LocalPayError):
            raise error
        kind = kind_of(error)
        _log.info("refused", problem=kind.name, path=request.url.path, detail=error.detail)
        return answer(base_url, error)

    async def invalid(_request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        rules = broken_rules(error.errors())
        first = rules[0]
        extra = {**first, "errors": rules}
        detail = f"{first['field']}: {first['rule']}"
        return problem(base_url, KINDS[InvalidError], detail, extra)

    async def http(_request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        kind = _BY_STATUS.get(error.status_code)
        if kind is None:
            kind = Kind("internal", error.status_code, INTERNAL.title, INTERNAL.meaning)
        return problem(base_url, kind, f"{kind.title}.", None, error.headers)

    app.add_exception_handler(LocalPayError, domain)
    for fault in database_faults.FAULTS:
        app.add_exception_handler(fault, _unavailable)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
