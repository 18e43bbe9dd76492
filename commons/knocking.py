"""Double knock: which of two schemes signs a request, and what a host was found to take.

RFC 9421 goes first; a host that answers 401 or 403 is asked once more with draft-cavage. What it
takes is remembered by method, since many servers check the signatures of deliveries alone.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from commons import cavage, signatures
from commons.errors import FetchError, MalformedError
from commons.signatures import Message, PrivateKey

REFUSALS: Final = frozenset({401, 403})
TRIED_AGAIN_SECONDS: Final = 30 * 24 * 3600
"""How long draft-cavage is used for a host without asking whether it takes RFC 9421 by now."""
NEITHER_SECONDS: Final = 24 * 3600
"""Shorter: a document that is nobody's to read looks the same as a host that takes neither."""
KNOCKS_MAX: Final = 10_000


class Scheme(StrEnum):
    """How a request is signed."""

    RFC9421 = "rfc9421"
    CAVAGE = "draft-cavage"


@dataclass(frozen=True)
class Signing:
    """The key that signs what a door sends."""

    key_id: str
    private_key: PrivateKey

    def headers(self, message: Message, scheme: Scheme) -> Iterable[tuple[str, str]]:
        """Return the headers that sign a request now; FetchError where it cannot be signed."""
        moment = datetime.now(UTC)
        try:
            if scheme is Scheme.CAVAGE:
                added = cavage.sign(message, self.private_key, self.key_id, created=moment)
            else:
                nonce = secrets.token_urlsafe(16)
                added = signatures.sign(
                    message, self.private_key, self.key_id, nonce=nonce, created=moment
                )
        except MalformedError as error:
            msg = f"{message.target_uri} cannot be asked for: {error.detail}"
            raise FetchError(msg, final=True) from error
        return added.items()


class Knocks:
    """What hosts were found to take, capped in number and in age; times are of a monotonic clock.

    None is a host that refuses both: it is not asked twice.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, str], tuple[Scheme | None, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def schemes(self, method: str, authority: str, now: float) -> tuple[Scheme, ...]:
        """Return the schemes to try with a host, in their order: one or two."""
        scheme, until = self._found.get((method, authority), (None, 0.0))
        if now >= until:
            self._found.pop((method, authority), None)
            return (Scheme.RFC9421, Scheme.CAVAGE)
        return (scheme or Scheme.RFC9421,)

    def note(self, method: str, authority: str, taken: Scheme | None, now: float) -> None:
        """Remember what a host took at the second knock, None where it refused both.

        What it takes at the first knock needs no remembering.
        """
        self._found.pop((method, authority), None)
        seconds = TRIED_AGAIN_SECONDS if taken else NEITHER_SECONDS
        self._found[method, authority] = taken, now + seconds
        while len(self._found) > KNOCKS_MAX:
            self._found.popitem(last=False)
