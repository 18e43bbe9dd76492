"""What is remembered of each remote host: how often it is asked, and when it is left alone.

Times are seconds of a monotonic clock that the caller passes in.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

REQUESTS_PER_SECOND: Final = 1.0
BURST: Final = 5
RETRY_AFTER_MAX_SECONDS: Final = 24 * 3600
FAILURES_TO_OPEN: Final = 5
FAILURE_WINDOW_SECONDS: Final = 600
OPEN_SECONDS: Final = 1800
HOSTS_MAX: Final = 10_000
# Longer than anything that a record can still say: the longest is a Retry-After.
LIFETIME_SECONDS: Final = RETRY_AFTER_MAX_SECONDS + OPEN_SECONDS


@dataclass
class Host:
    """One host's allowance, its wish to be left alone, and its circuit breaker."""

    seen_at: float
    tokens: float = BURST
    refilled_at: float = 0.0
    retry_at: float = 0.0
    open_until: float = 0.0
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES_TO_OPEN))
    in_flight: asyncio.Lock = field(default_factory=asyncio.Lock)

    def wait_seconds(self, now: float) -> float:
        """Return how long to wait before the next request may be sent."""
        return max(0.0, (1 - self._allowance(now)) / REQUESTS_PER_SECOND)

    def asked(self, now: float) -> None:
        """Take one request from the allowance."""
        self.tokens = self._allowance(now) - 1
        self.refilled_at = now

    def _allowance(self, now: float) -> float:
        return min(float(BURST), self.tokens + (now - self.refilled_at) * REQUESTS_PER_SECOND)

    def closed_seconds(self, now: float) -> float:
        """Return for how long yet the host is not to be asked, 0 where it may be now."""
        return max(0.0, self.retry_at - now, self.open_until - now)

    def asked_to_wait(self, seconds: float, now: float) -> None:
        """Obey a Retry-After, for a day at most."""
        self.retry_at = max(self.retry_at, now + min(seconds, RETRY_AFTER_MAX_SECONDS))

    def failed(self, now: float) -> None:
        """Count a failure: the fifth in 10 minutes, or a failed probe, opens the breaker."""
        self.failures.append(now)
        is_probe = self.open_until > 0
        is_fifth = (
            len(self.failures) == FAILURES_TO_OPEN
            and now - self.failures[0] <= FAILURE_WINDOW_SECONDS
        )
        if is_probe or is_fifth:
            self.open_until = now + OPEN_SECONDS

    def answered(self) -> None:
        """Close the breaker: the host is well."""
        self.failures.clear()
        self.open_until = 0.0


class Hosts:
    """The records of all hosts, capped in number and in age."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def get(self, authority: str, now: float) -> Host:
        """Return the host's record, new where there is none; others that are too old go."""
        host = self._hosts.setdefault(authority, Host(seen_at=now, refilled_at=now))
        host.seen_at = now
        self._hosts.move_to_end(authority)
        oldest = next(iter(self._hosts.values()))
        while len(self._hosts) > HOSTS_MAX or now - oldest.seen_at > LIFETIME_SECONDS:
            self._hosts.popitem(last=False)
            oldest = next(iter(self._hosts.values()))
        return host
