"""The watch over events: who waits for those of a hub is woken when there are some."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Final

import structlog
import uvicorn
from sqlalchemy import Engine, select
from starlette.concurrency import run_in_threadpool

from clearing.events import EventStream
from commons.database import reading
from commons.errors import TooManyError

LOOK_SECONDS: Final = 1.0
"""How late events may be seen that another process recorded: nobody rings for those here."""
GATHER_SECONDS: Final = 0.02
"""How long rings may gather: under load one look serves many commits."""
MOST_OF_A_HUB: Final = 4
MOST_WAITING: Final = 1_000
_RETRY_SECONDS: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Waiter:
    group_id: str
    after: int
    woken: asyncio.Future[None]


class EventWatch:
    """Wakes those who wait for events, in one event loop; holds no thread or session meanwhile.

    One look at the database serves all who wait, whatever their number: as soon as somebody in
    this process rings, and at the latest each second, since other processes record events too.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places: Counter[str] = Counter()
        self._waiters: set[_Waiter] = set()
        self._bell = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def is_ended(self) -> bool:
        """Whether the service ends: nobody may wait any more."""
        return self._ended

    @property
    def waiting(self) -> int:
        """How many places are taken."""
        return self._places.total()

    def ring(self) -> None:
        """Tell that events may have been recorded, from whichever thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed() and not self._bell.is_set():
            loop.call_soon_threadsafe(self._bell.set)

    def end(self) -> None:
        """Let nobody wait any longer, since the service ends; from whichever thread."""
        self._ended = True
        self.ring()

    @contextmanager
    def place(self, group_id: str) -> Iterator[None]:
        """Hold one of a hub's places to wait in; TooManyError where it, or all, has no more."""
        if self._places[group_id] >= MOST_OF_A_HUB:
            msg = f"a hub may wait for events {MOST_OF_A_HUB} times at once"
            raise TooManyError(msg, _RETRY_SECONDS)
        if self._places.total() >= MOST_WAITING:
            msg = f"{MOST_WAITING} requests wait for events already"
            raise TooManyError(msg, _RETRY_SECONDS)
        self._places[group_id] += 1
        try:
            yield
        finally:
            self._places[group_id] -= 1
            self._places += Counter()  # forgets who has no place any more

    async def wait(self, group_id: str, after: int, seconds: float) -> None:
        """Return once a hub has events after a number, or after so long, or when all ends."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(group_id, after, loop.create_future())
        self._waiters.add(waiter)
        if self._looking is None or self._looking.done():
            self._loop, self._bell = loop, asyncio.Event()
            self._looking = loop.create_task(self._look())
        self._bell.set()  # what was recorded since the caller read must not wait for a second
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(waiter.woken, seconds)
        finally:
            self._waiters.discard(waiter)

    async def _look(self) -> None:
        """Look again and again, while anybody waits, and wake whom there are events for."""
        while self._waiters:
            self._bell.clear()
            try:
                groups = {waiter.group_id for waiter in self._waiters}
                self._wake(await run_in_threadpool(_last_numbers, self._engine, groups))
            except Exception:  # noqa: BLE001 (logged; who waits is answered when its time is up)
                _log.exception("could not look for events")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), LOOK_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    def _wake(self, last: Mapping[str, int]) -> None:
        for waiter in self._waiters:
            is_due = self._ended or last.get(waiter.group_id, 0) > waiter.after
            if is_due and not waiter.woken.done():
                waiter.woken.set_result(None)


class EndingServer(uvicorn.Server):
    """A server that, told to end, has nobody wait for events any longer.

    It lets all requests end first, and a stream of events would not by itself.
    """

    def __init__(self, config: uvicorn.Config, events: EventWatch) -> None:
        super().__init__(config)
        self._events = events

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to end."""
        self._events.end()
        super().handle_exit(sig, frame)


def _last_numbers(engine: Engine, groups: Collection[str]) -> dict[str, int]:
    numbers = select(EventStream.group_id, EventStream.last)
    with reading(engine) as session:
        rows = session.execute(numbers.where(EventStream.group_id.in_(groups)))
        return dict(rows.all())
