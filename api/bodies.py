"""JSON bodies of requests: read with the shared strict reader, held against a strict model."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from commons.errors import UnsupportedMediaError
from commons.json_reading import VALUES_MAX, read_json

MEDIA_TYPE: Final = "application/json"


def _iso_8601(value: object) -> object:
    """Refuse a number of seconds in a string, which would be read as a moment in 1970."""
    if not isinstance(value, str) or "-" not in value[1:]:
        raise ValueError("must be a moment such as 2026-12-01T00:00:00Z")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Refuse what lies outside the calendar in UTC, as it would be kept and compared."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from error


Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_iso_8601), AfterValidator(_in_utc)
]
"""A moment with its zone, written by ISO 8601; it is given in UTC."""

BodyT = TypeVar("BodyT", bound="StrictBody")


class StrictBody(BaseModel):
    """A body of which every member is named and has exactly its own JSON type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def body_of(
    model: type[BodyT], values_max: int = VALUES_MAX
) -> Callable[[Request], Awaitable[BodyT]]:
    """Return a dependency that reads the request's body into the model.

    Refused are other media types (415), what the shared reader refuses (400: repeated keys,
    NaN, depth, more than `values_max` values), and what breaks a rule of the model (422).
    """

    async def read(request: Request) -> BodyT:
        return read_body(request, await request.body(), model, values_max)

    return read


def optional_body_of(model: type[BodyT]) -> Callable[[Request], Awaitable[BodyT]]:
    """Return such a dependency for a body that may be left out, of which nothing is required."""

    async def read(request: Request) -> BodyT:
        body = await request.body()
        return read_body(request, body, model) if body else model()

    return read


def read_body(
    request: Request, body: bytes, model: type[BodyT], values_max: int = VALUES_MAX
) -> BodyT:
    """Read a request's body into the model; raises what `body_of` says."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != MEDIA_TYPE:
        msg = f"this address reads {MEDIA_TYPE}"
        raise UnsupportedMediaError(msg)
    read_json(body, values_max)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        located = [{**one, "loc": ("body", *one["loc"])} for one in errors]
        raise RequestValidationError(located) from None


def json_answer(content: object, status: int = 200) -> Response:
    """Make an answer of what is described elsewhere: dataclasses, ids, moments and texts."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, media_type=MEDIA_TYPE)


def described(
    model: type[StrictBody], example: dict[str, Any], *, required: bool = True
) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads such a body."""
    content = {"schema": schema_of(model), "example": example}
    return {"requestBody": {"required": required, "content": {MEDIA_TYPE: content}}}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema, which stands for itself: it refers to nothing outside."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inlined(schema, definitions)
    return inlined


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 (any JSON)
    """Put definitions in place of what refers to them: they would point outside the document."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    kept = {key: value for key, value in node.items() if key != "discriminator"}
    return {key: _inlined(value, definitions) for key, value in kept.items()}
