"""The keys of hubs as this process remembers them for a moment, parsed, with the time of day."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, select
from starlette.concurrency import run_in_threadpool

from commons import database
from commons.errors import UnauthenticatedError
from commons.groups import Hub, HubKey, HubState, KeyAlgorithm
from commons.signatures import PublicKey, load_public_pem

LIFE_SECONDS: Final = 5.0
"""How long a key is remembered. What is revoked meanwhile is found when its nonce is used."""

KEYS_MOST: Final = 10_000

STRANGER: Final = "the key that signed this belongs to no registered hub"
REVOKED: Final = "the key that signed this was revoked, or its hub names it no longer"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A hub's key that is not revoked, as it was read at `clock` by the database's own."""

    key_id: str
    group_id: str
    algorithm: KeyAlgorithm
    public_key: PublicKey
    pem: str
    is_confirmed: bool
    hub_state: HubState
    clock: datetime
    read_at_seconds: float

    @property
    def age_seconds(self) -> float:
        """How long ago it was read."""
        return time.monotonic() - self.read_at_seconds

    @property
    def now(self) -> datetime:
        """The database's time: when the key was read, and what has passed since."""
        return self.clock + timedelta(seconds=self.age_seconds)


class Keyring:
    """Keys by their ids; those read longest ago are forgotten first. For one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, KnownKey] = OrderedDict()

    async def find(self, engine: Engine, key_id: str) -> KnownKey:
        """Return a hub's key; UnauthenticatedError where no hub has it, or it is revoked."""
        known = self._known.get(key_id)
        if known is not None and known.age_seconds < LIFE_SECONDS:
            return known
        self._known.pop(key_id, None)
        read = await run_in_threadpool(_read, engine, key_id)
        self._known[key_id] = read
        if len(self._known) > KEYS_MOST:
            self._known.popitem(last=False)
        return read

    def forget(self, key_id: str) -> None:
        """Read a key anew when it is next asked for."""
        self._known.pop(key_id, None)


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
            database.now(session),
            time.monotonic(),
        )
