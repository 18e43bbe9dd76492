"""Double knock: which of two schemes signs a request, and what a host was found to take.

RFC 9421 goes first; a host that answers 401 or 403 is asked once more with draft-cavage. What it
takes is remembered by method, since many servers check the signatures of deliveries alone, and goes
first from then on.
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
"""How long an address that refused both schemes is asked by one alone."""
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

    An address that refuses both is not asked twice. That says nothing of its host, since a
    document that is nobody's to read looks the same.
    """

    def __init__(self) -> None:
        # By method and place: of hosts that take the older scheme, of addresses that take neither.
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def schemes(self, method: str, authority: str, url: str, now: float) -> tuple[Scheme, ...]:
        """Return the schemes to try at an address of a host, in their order: one or two."""
        order = (Scheme.RFC9421, Scheme.CAVAGE)
        if self._holds((method, authority), now):
            order = (Scheme.CAVAGE, Scheme.RFC9421)
        return order[:1] if self._holds((method, url), now) else order

    def took(self, method: str, authority: str, scheme: Scheme, now: float) -> None:
        """Remember what a host took at the second knock."""
        self._until.pop((method, authority), None)
        if scheme is Scheme.CAVAGE:
            self._keep((method, authority), now + TRIED_AGAIN_SECONDS)

    def refused(self, method: str, url: str, now: float) -> None:
        """Remember that an address refused both schemes."""
        self._keep((method, url), now + NEITHER_SECONDS)

    def _holds(self, place: tuple[str, str], now: float) -> bool:
        if now < self._until.get(place, now):
            return True
        self._until.pop(place, None)
        return False

    def _keep(self, place: tuple[str, str], until: float) -> None:
        self._until.pop(place, None)
        self._until[place] = until
        while len(self._until) > KNOCKS_MAX:
            self._until.popitem(last=False)
