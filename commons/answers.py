"""What a server answered: its body read within limits, its document, and what is held of it."""

import zlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message as MimeHeaders
from email.utils import parsedate_to_datetime
from typing import Any, Final

from commons.errors import FetchError, MalformedError
from commons.json_reading import read_json
from commons.politeness import RETRY_AFTER_MAX_SECONDS

ACTIVITY_PROFILE: Final = "https://www.w3.org/ns/activitystreams"
ACTIVITY: Final = f'application/activity+json, application/ld+json; profile="{ACTIVITY_PROFILE}"'
BODY_MAX_BYTES: Final = 1024 * 1024
HELD_MOST: Final = 500
HELD_MAX_BYTES: Final = 32 * 1024 * 1024

_INFLATE_EITHER: Final = zlib.MAX_WBITS | 32  # gzip or zlib, told apart by their first bytes
_OK: Final = 200
# What an answer is known by, and how to ask whether it still is the same.
_CONDITIONS: Final = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))


@dataclass(frozen=True)
class Response:
    """What a server answered, its body with any content coding undone."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first line of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class Held:
    """Answers that can be asked after: the latest 500 and 32 MiB of them, in memory alone.

    The key is the URL and the media types that were asked for.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], Response] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, url: str, accept: str) -> Response | None:
        """Return the answer that is held, None where there is none."""
        if (url, accept) in self._answers:
            self._answers.move_to_end((url, accept))
        return self._answers.get((url, accept))

    def keep(self, url: str, accept: str, response: Response) -> None:
        """Hold an answer in the place of an older one, if it can be asked after."""
        self.drop(url, accept)
        if response.status != _OK or not conditions(response):
            return
        self._answers[url, accept] = response
        self._bytes += _size(response)
        while len(self._answers) > HELD_MOST or self._bytes > HELD_MAX_BYTES:
            self._bytes -= _size(self._answers.popitem(last=False)[1])

    def drop(self, url: str, accept: str) -> None:
        """Hold nothing of a URL any more."""
        older = self._answers.pop((url, accept), None)
        self._bytes -= _size(older) if older is not None else 0


def conditions(held: Response | None) -> list[tuple[str, str]]:
    """Return the headers that ask for an answer only if it has changed."""
    if held is None:
        return []
    found = ((condition, held.header(name)) for name, condition in _CONDITIONS)
    return [(condition, value) for condition, value in found if value]


def _size(response: Response) -> int:
    return len(response.body) + sum(len(name) + len(value) for name, value in response.headers)


def is_activity_media_type(value: str | None) -> bool:
    """Tell whether a Content-Type is ActivityPub's: activity+json, or ld+json with its profile."""
    headers = MimeHeaders()
    headers["Content-Type"] = value or ""
    if headers.get_content_type() == "application/activity+json":
        return True
    profile = headers.get_param("profile")
    return (
        headers.get_content_type() == "application/ld+json"
        and isinstance(profile, str)
        and ACTIVITY_PROFILE in profile.split()
    )


def retry_after_seconds(value: str | None) -> float:
    """Return how long a Retry-After header asks to wait, 0 where it says nothing."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdigit():
        return float(value[: len(str(RETRY_AFTER_MAX_SECONDS)) + 1])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def read_object(url: str, response: Response, accept: str) -> dict[str, Any]:
    """Return the body as a JSON object of an accepted media type, or raise FetchError."""
    body = read_accepted(url, response, accept)
    try:
        value = read_json(body)
    except MalformedError as error:
        msg = f"{url}: {error.detail}"
        raise FetchError(msg, status=response.status) from error
    if not isinstance(value, dict):
        msg = f"{url} is no JSON object"
        raise FetchError(msg, status=response.status)
    return value


def read_accepted(url: str, response: Response, accept: str) -> bytes:
    """Return the body, whatever it is, of an accepted media type, or raise FetchError."""
    media_type = response.header("content-type")
    if not _is_accepted(media_type, accept):
        msg = f"{url} is of the media type {media_type!r}"
        raise FetchError(msg, status=response.status)
    return response.body


def _is_accepted(media_type: str | None, accept: str) -> bool:
    if accept == ACTIVITY:
        return is_activity_media_type(media_type)
    essence = (media_type or "").partition(";")[0].strip().lower()
    return essence in {part.strip() for part in accept.split(",")}


async def read_body(url: str, response: Response, stream: AsyncGenerator[bytes]) -> bytes:
    """Read the content and undo its coding ourselves, never beyond 1 MiB of either."""
    coding = (response.header("content-encoding") or "identity").strip().lower()
    if coding not in {"identity", "gzip", "deflate"}:
        msg = f"{url} is encoded as {coding!r}"
        raise FetchError(msg, status=response.status)
    inflate = None if coding == "identity" else zlib.decompressobj(_INFLATE_EITHER)
    decoded, raw_bytes = bytearray(), 0
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            raw_bytes += len(chunk)
            room = BODY_MAX_BYTES + 1 - len(decoded)  # never 0, which zlib takes for "all"
            try:
                decoded += chunk[:room] if inflate is None else inflate.decompress(chunk, room)
            except zlib.error as error:
                msg = f"{url} is not what its encoding says: {error}"
                raise FetchError(msg, status=response.status) from error
            if max(len(decoded), raw_bytes) > BODY_MAX_BYTES:
                msg = f"{url} has more than {BODY_MAX_BYTES} bytes"
                raise FetchError(msg, status=response.status)
    if inflate is not None and raw_bytes and (not inflate.eof or inflate.unused_data):
        msg = f"{url} does not end where its encoding does"
        raise FetchError(msg, status=response.status)
    return bytes(decoded)
