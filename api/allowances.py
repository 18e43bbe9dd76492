"""How often something may be asked for: counted in this process, told by 429 with Retry-After.

Several processes each count for themselves, so the whole service allows that many times as much.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from fastapi import Request

from commons.errors import TooManyError

KEYS_MOST: Final = 10_000
_MINUTE_SECONDS: Final = 60.0


class Allowance:
    """At most `most` within `seconds` for each key; the keys used longest ago are forgotten."""

    def __init__(
        self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, what: str, key: str = "") -> None:
        """Take one; TooManyError, which names `what`, where nothing is left for now."""
        now = self._clock()
        times = self._taken.setdefault(key, deque(maxlen=self._most))
        self._taken.move_to_end(key)
        if len(self._taken) > KEYS_MOST:
            self._taken.popitem(last=False)
        if len(times) == self._most and now - times[0] < self._seconds:
            wait = math.ceil(self._seconds - (now - times[0]))
            raise TooManyError(f"{what}; come back in {wait} s", wait)
        times.append(now)


@dataclass
class Allowances:
    """What anybody may ask for that makes us ask others' servers, and what hubs may ask for."""

    joins_by_client: Allowance = field(default_factory=lambda: Allowance(10, _MINUTE_SECONDS))
    joins: Allowance = field(default_factory=lambda: Allowance(60, _MINUTE_SECONDS))
    homes_by_client: Allowance = field(default_factory=lambda: Allowance(30, _MINUTE_SECONDS))
    homes: Allowance = field(default_factory=lambda: Allowance(120, _MINUTE_SECONDS))
    checks_of_hub: Allowance = field(default_factory=lambda: Allowance(1, _MINUTE_SECONDS))
    checks: Allowance = field(default_factory=lambda: Allowance(30, _MINUTE_SECONDS))
    registrations_by_client: Allowance = field(
        default_factory=lambda: Allowance(30, _MINUTE_SECONDS)
    )
    registrations: Allowance = field(default_factory=lambda: Allowance(120, _MINUTE_SECONDS))
    # Of what proves nothing, counted by who is connected; what is right never counts.
    wrong_signatures: Allowance = field(default_factory=lambda: Allowance(120, _MINUTE_SECONDS))
    wrong_tokens: Allowance = field(default_factory=lambda: Allowance(20, _MINUTE_SECONDS))
    # Of hubs that are admitted to clearing: 100 calls a second, and batches besides.
    calls: Allowance = field(default_factory=lambda: Allowance(6_000, _MINUTE_SECONDS))
    batches: Allowance = field(default_factory=lambda: Allowance(300, _MINUTE_SECONDS))
    # Of hubs that are registered, and told apart by their keys.
    pushes: Allowance = field(default_factory=lambda: Allowance(600, _MINUTE_SECONDS))
    bulk_pushes: Allowance = field(default_factory=lambda: Allowance(30, _MINUTE_SECONDS))


def client_of(request: Request) -> str:
    """Return who is connected, an IPv6 network of 64 bits as one; no header is believed."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return host
