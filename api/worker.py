"""The worker: a thread that does what is due and keeps the index caught up."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy import Engine

from clearing import work as clearing_work
from commons.errors import UnavailableError
from commons.fetch import Door
from commons.jobs import Job, Runner
from commons.settings import Settings
from crawler import work as crawler_work
from marketplace.index import Index, catch_up

PAUSE_SECONDS: Final = 0.25
PAUSE_AFTER_ERROR_SECONDS: Final = 2.0
STOP_SECONDS: Final = 8.0

_log = structlog.get_logger(__name__)


class Worker:
    """Does the jobs of all contexts in a thread of its own, with an event loop of its own.

    Each kind of job and the index have their own loop, and rows are worked on side by side, so
    that a hub which answers slowly holds up nobody else. `make_door` is called within the thread,
    since a door belongs to one event loop.
    """

    def __init__(
        self, engine: Engine, index: Index, settings: Settings, make_door: Callable[[], Door]
    ) -> None:
        self._engine = engine
        self._index = index
        self._settings = settings
        self._make_door = make_door
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells: list[asyncio.Event] = []
        self._stopping = threading.Event()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have everything looked at now, from whichever thread."""
        if self._loop is None or self._loop.is_closed():
            return
        for bell in self._bells:
            self._loop.call_soon_threadsafe(bell.set)

    def stop(self) -> None:
        """Let what is being done end, at most eight seconds long, then end the thread."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def run(self) -> None:
        """Work in this thread until it is interrupted."""
        self.start()
        try:
            self._ended.wait()  # an interrupted join() takes the thread for ended (CPython 3.11)
        except KeyboardInterrupt:
            self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        finally:
            self._ended.set()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        door = self._make_door()
        try:
            jobs = crawler_work.jobs(self._engine, door, self._settings)
            chores = clearing_work.chores(self._engine)
            await asyncio.gather(
                self._repeat(self._index_changes),
                *map(self._repeat, chores),
                *map(self._repeat_job, jobs),
            )
        finally:
            await door.aclose()

    async def _repeat_job(self, job: Job) -> None:
        runner = Runner(self._engine, job)
        await self._repeat(runner.start_due)
        await runner.finish()

    async def _index_changes(self) -> int:
        return await asyncio.to_thread(catch_up, self._engine, self._index)

    async def _repeat(self, work: Callable[[], Awaitable[int]]) -> None:
        """Do one kind of work again and again; sleep where there was none, until the bell."""
        bell = asyncio.Event()
        self._bells.append(bell)
        told: set[str] = set()  # reasons, each said once until work is done again
        while not self._stopping.is_set():
            pause = PAUSE_SECONDS
            bell.clear()
            try:
                done = await work()
                told.clear()
                if done:
                    continue
            except UnavailableError as error:
                if error.detail not in told:
                    _log.error("the worker waits", reason=error.detail)
                told.add(error.detail)
                pause = PAUSE_AFTER_ERROR_SECONDS
            except Exception:  # noqa: BLE001 (logged; a worker that ends would do nothing more)
                _log.exception("the worker could not work")
                pause = PAUSE_AFTER_ERROR_SECONDS
            try:
                await asyncio.wait_for(bell.wait(), pause)
            except TimeoutError:
                continue
