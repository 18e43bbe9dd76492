"""What the service answered, and what may go wrong: its refusals, answers not to be believed."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TooLargeError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)

Json = dict[str, Any]

FIRST_ERROR: Final = 400
_OF_KIND: Final[dict[str, type[LocalPayError]]] = {
    "malformed": MalformedError,
    "unauthenticated": UnauthenticatedError,
    "forbidden": ForbiddenError,
    "not-found": NotFoundError,
    "conflict": ConflictError,
    "refused": RefusedError,
    "too-large": TooLargeError,
    "unsupported-media": UnsupportedMediaError,
}
_STANDARD_MEMBERS: Final = frozenset({"type", "title", "status", "detail"})
_RETRY_MAX_DIGITS: Final = 6


class UntrustedAnswerError(Exception):
    """An answer that the service cannot be shown to have given to this call; it was not used.

    No part of the tree of refusals, so that nobody takes it for one: something stands between
    the hub and the service, or the service has another key than it had.
    """


class HistoryError(Exception):
    """The service shows a history that does not go on from what it told before.

    `kept` and `shown` are the two heads of `account` at `version`; with both, and the answers
    that they came in, anybody can see that two histories were told.
    """

    def __init__(self, account: str, version: int, kept: str, shown: str) -> None:
        super().__init__(
            f"two histories of {account}: at version {version} the head was told as {kept}, and is "
            f"shown as {shown}"
        )
        self.account = account
        self.version = version
        self.kept = kept
        self.shown = shown


class RootError(Exception):
    """A published root that is no link of the chain of those that were kept.

    `kept` and `shown` are the two hashes that the root of `day` was told to have.
    """

    def __init__(self, day: date, kept: str, shown: str) -> None:
        super().__init__(
            f"two histories: the root of {day} was told as {kept}, and is shown as {shown}"
        )
        self.day = day
        self.kept = kept
        self.shown = shown


@dataclass(frozen=True)
class Answer:
    """A verified answer. `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def retry_after_seconds(self) -> int:
        """When to come back, 0 where the answer does not say."""
        text = self.headers.get("retry-after", "")[:_RETRY_MAX_DIGITS]
        return int(text) if text.isdecimal() else 0

    def json(self) -> Json:
        """Return the JSON object that was answered, or raise the refusal that it is.

        Refusals are those of `commons.errors`, by the problem's type: NotFoundError, InvalidError
        with `field` and `rule`, RefusedError with `reason` and `available` in `extra`, and so on.
        """
        return _object(self.checked().body)

    def checked(self) -> "Answer":
        """Return the answer itself, or raise the refusal that it is."""
        if self.status >= FIRST_ERROR:
            raise refusal_of(self)
        return self


def refusal_of(answer: Answer) -> LocalPayError:
    """Return the error that a problem document (RFC 9457) stands for."""
    document = _object(answer.body)
    kind = str(document.get("type", "")).rpartition("/")[2]
    detail = str(document.get("detail", f"the service answered {answer.status}"))
    error = _error(kind, answer, detail, document)
    error.extra = {k: v for k, v in document.items() if k not in _STANDARD_MEMBERS}
    return error


def _error(kind: str, answer: Answer, detail: str, document: Json) -> LocalPayError:
    if kind == "invalid":
        return InvalidError(str(document.get("field")), str(document.get("rule")))
    if kind == "too-many":
        return TooManyError(detail, answer.retry_after_seconds)
    if kind in {"unavailable", "unreachable"}:
        return UnavailableError(detail, answer.retry_after_seconds)
    return _OF_KIND.get(kind, LocalPayError)(detail)


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise UntrustedAnswerError("the answer is no JSON, though it is signed") from error
    if not isinstance(value, dict):
        raise UntrustedAnswerError("the answer is no JSON object, though it is signed")
    return value
