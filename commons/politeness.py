"""What is remembered of each remote host: how often it is asked, and when it is left alone.

Times are seconds of a monotonic clock that the caller passes in.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from commons.robots import Rules

REQUESTS_PER_SECOND: Final = 1.0
BURST: Final = 5
RETRY_AFTER_MAX_SECONDS: Final = 24 * 3600
FAILURES_TO_OPEN: Final = 5
FAILURE_WINDOW_SECONDS: Final = 600
OPEN_SECONDS: Final = 1800
DEAD_AFTER_SECONDS: Final = 7 * 24 * 3600
DEAD_OPEN_SECONDS: Final = 24 * 3600
NEWCOMERS_A_DAY: Final = 10
HOSTS_MAX: Final = 10_000
_DAY_SECONDS: Final = 24 * 3600
# Longer than anything that a record can still say: the longest is a day.
LIFETIME_SECONDS: Final = RETRY_AFTER_MAX_SECONDS + OPEN_SECONDS


@dataclass
class Host:
    """One host's allowance, its wish to be left alone, its rules, and its circuit breaker."""

    seen_at: float
    tokens: float = BURST
    refilled_at: float = 0.0
    retry_at: float = 0.0
    open_until: float = 0.0
    failing_since: float | None = None
    rules: Rules | None = None
    rules_at: float = 0.0
    crawl_at: float = 0.0
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

    def crawl_wait_seconds(self, delay_seconds: float, now: float) -> float:
        """Return how long a crawler waits for its turn, and give it that turn."""
        turn = max(now, self.crawl_at)
        self.crawl_at = turn + delay_seconds
        return turn - now

    def failed(self, now: float) -> None:
        """Count a failure: the fifth in 10 minutes, or a failed probe, opens the breaker.

        A host that has not answered for 7 days is probed once a day, no longer each half hour.
        """
        self.failures.append(now)
        if self.failing_since is None:
            self.failing_since = now
        is_probe = self.open_until > 0
        is_fifth = (
            len(self.failures) == FAILURES_TO_OPEN
            and now - self.failures[0] <= FAILURE_WINDOW_SECONDS
        )
        if is_probe or is_fifth:
            is_dead = now - self.failing_since >= DEAD_AFTER_SECONDS
            self.open_until = now + (DEAD_OPEN_SECONDS if is_dead else OPEN_SECONDS)

    def answered(self) -> None:
        """Close the breaker: the host is well."""
        self.failures.clear()
        self.open_until = 0.0
        self.failing_since = None


class Hosts:
    """The records of all hosts, capped in number and in age."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosts)

    def __contains__(self, authority: str) -> bool:
        return authority in self._hosts

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


class Newcomers:
    """The hosts asked for the first time, counted by registrable domain: 10 a day of each.

    Who owns a domain makes any number of names in it, and each would have an allowance of its own.
    """

    def __init__(self) -> None:
        self._domains: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._domains)

    def admit(self, host: str, now: float) -> bool:
        """Count a new host of its domain and return True, or False where it is one too many."""
        domain = registrable_domain(host)
        latest = self._domains.setdefault(domain, deque(maxlen=NEWCOMERS_A_DAY))
        self._domains.move_to_end(domain)
        if len(self._domains) > HOSTS_MAX:
            self._domains.popitem(last=False)
        if len(latest) == NEWCOMERS_A_DAY and now - latest[0] < _DAY_SECONDS:
            return False
        latest.append(now)
        return True


def registrable_domain(host: str) -> str:
    """Return the name under which a host was registered, by the public suffix list.

    All hosts that are written as addresses count as one domain: nobody registers those.
    """
    name = host.removesuffix(".")
    if ":" in name or name.rpartition(".")[2].isdigit():
        return ""
    return _suffixes().privatesuffix(name) or name


def is_public_suffix(name: str) -> bool:
    """Tell whether a domain is one under which strangers to each other register, as `co.uk`."""
    return bool(_suffixes().publicsuffix(name) == name)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
