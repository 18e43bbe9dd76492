"""JSON bodies of requests: read with the shared strict reader, held against a strict model."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from commons.errors import UnsupportedMediaError
from commons.json_reading import read_json

MEDIA_TYPE: Final = "application/json"

BodyT = TypeVar("BodyT", bound="StrictBody")


class StrictBody(BaseModel):
    """A body of which every member is named and has exactly its own JSON type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def body_of(model: type[BodyT]) -> Callable[[Request], Awaitable[BodyT]]:
    """Return a dependency that reads the request's body into the model.

    Refused are other media types (415), what the shared reader refuses (400: repeated keys,
    NaN, depth), and what breaks a rule of the model (422).
    """

    async def read(request: Request) -> BodyT:
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent != MEDIA_TYPE:
            msg = f"this address reads {MEDIA_TYPE}"
            raise UnsupportedMediaError(msg)
        body = await request.body()
        read_json(body)
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            located = [{**one, "loc": ("body", *one["loc"])} for one in errors]
            raise RequestValidationError(located) from None

    return read


def described(model: type[StrictBody], example: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads such a body."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    content = {"schema": _inlined(schema, definitions), "example": example}
    return {"requestBody": {"required": True, "content": {MEDIA_TYPE: content}}}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 (any JSON)
    """Put definitions in place of what refers to them: they would point outside the document."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}
