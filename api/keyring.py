"""The keys of hubs as this process remembers them for a moment, parsed, with the time of day."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from commons import database
from commons.errors import UnauthenticatedError
from commons.groups import Hub, HubKey, HubState, KeyAlgorithm
from commons.signatures import PublicKey, load_public_pem

LIFE_SECONDS: Final = 600.0
"""How long a key is remembered. What is revoked meanwhile is found when its nonce is used."""

FRESH_SECONDS: Final = 5.0
"""How old the database's time may be that we reckon from, and a key that a signature fails by."""

KEYS_MOST: Final = 10_000

STRANGER: Final = "the key that signed this belongs to no registered hub"
REVOKED: Final = "the key that signed this was revoked, or its hub names it no longer"


@dataclass(frozen=True, slots=True)
class Clock:
    """The database's time at a moment of ours."""

    moment: datetime
    read_at_seconds: float

    @property
    def age_seconds(self) -> float:
        """How long ago it was read."""
        return time.monotonic() - self.read_at_seconds

    @property
    def now(self) -> datetime:
        """The database's time now: when it was read, and what has passed since."""
        return self.moment + timedelta(seconds=self.age_seconds)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A hub's key that is not revoked, as it was when it was read."""

    key_id: str
    group_id: str
    algorithm: KeyAlgorithm
    public_key: PublicKey
    pem: str
    is_confirmed: bool
    hub_state: HubState
    read: Clock

    @property
    def clears(self) -> bool:
        """Whether calls to the clearing may be signed with it."""
        return self.is_confirmed and self.hub_state is HubState.ADMITTED


class Keyring:
    """Keys by their ids; those read longest ago are forgotten first. For one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, KnownKey] = OrderedDict()
        self._clock: Clock | None = None
        self._is_reading = False

    async def find(
        self, engine: Engine, key_id: str, oldest_seconds: float = LIFE_SECONDS
    ) -> KnownKey:
        """Return a hub's key; UnauthenticatedError where no hub has it, or it is revoked."""
        known = self._known.get(key_id)
        if known is not None and known.read.age_seconds < oldest_seconds:
            return known
        self._known.pop(key_id, None)
        read = await run_in_threadpool(_read, engine, key_id)
        self._known[key_id], self._clock = read, read.read
        if len(self._known) > KEYS_MOST:
            self._known.popitem(last=False)
        return read

    async def now(self, engine: Engine) -> datetime:
        """Return the database's time, reckoned from when it was last read.

        One call reads it anew; those that come meanwhile reckon from what was read before.
        """
        clock = self._clock
        if clock is None or (clock.age_seconds >= FRESH_SECONDS and not self._is_reading):
            self._is_reading = True
            try:
                clock = self._clock = await run_in_threadpool(_read_clock, engine)
            finally:
                self._is_reading = False
        return clock.now

    def forget(self, key_id: str) -> None:
        """Read a key anew when it is next asked for."""
        self._known.pop(key_id, None)


def _read_clock(engine: Engine) -> Clock:
    with database.reading(engine) as session:
        return _clock(session)


def _clock(session: Session) -> Clock:
    asked_at_seconds = time.monotonic()
    return Clock(database.now(session), asked_at_seconds)


def _read(engine: Engine, key_id: str) -> KnownKey:
    with database.reading(engine) as session:
        found = session.execute(
            select(HubKey, Hub.state)
            .join(Hub, Hub.group_id == HubKey.group_id)
            .where(HubKey.key_id == key_id)
        ).first()
        if found is None:
            raise UnauthenticatedError(STRANGER)
        key, state = found
        if key.revoked_at is not None:
            raise UnauthenticatedError(REVOKED)
        return KnownKey(
            key_id,
            key.group_id,
            key.algorithm,
            load_public_pem(key.public_key_pem),
            key.public_key_pem,
            key.confirmed_at is not None,
            state,
            _clock(session),
        )
