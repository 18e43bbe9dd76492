"""The worker: a thread that does what is due and keeps the index caught up."""

import asyncio
import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from clearing import work as clearing_work
from clearing.sealing import Seal
from commons.errors import UnavailableError
from commons.fetch import Door
from commons.jobs import Job, Runner
from commons.knocking import Signing
from commons.settings import Settings
from crawler import work as crawler_work
from marketplace.index import Index, catch_up

PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 1.0
"""How long work that another process left may lie: the pause doubles up to it while all is idle."""
REST_SECONDS: Final = 0.1
"""How long pushes and changes may gather: many at once cost little more than one."""
PAUSE_AFTER_ERROR_SECONDS: Final = 2.0
STOP_SECONDS: Final = 8.0
LOOK_SECONDS: Final = 0.25
END_SECONDS: Final = 9.5
"""Before whoever asked us to end loses patience: Docker's lasts ten seconds."""
SWITCH_SECONDS: Final = 0.0005
"""How long a thread goes on while another waits; Python's 5 ms are waited many times a request."""

_INDEX: Final = "index"

_log = structlog.get_logger(__name__)


def ending_signals() -> Sequence[int]:
    """Return what SIGINT and SIGTERM are put into from now on; for the main thread.

    The handler raises nothing: an exception would be lost where it falls into code that lets none
    out, such as a finaliser, and the process would go on for ever.
    """
    told: list[int] = []

    def note(number: int, _frame: object) -> None:
        told.append(number)
        signal.signal(number, signal.SIG_DFL)  # whoever asks twice does not want to wait

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return told


def end_soon(seconds: float = END_SECONDS) -> None:
    """Have this process end by then, also where a thread hangs; the log says where it did."""
    faulthandler.dump_traceback_later(seconds, exit=True)


class Worker:
    """Does the jobs of all contexts in a thread of its own, with an event loop of its own.

    Each kind of job and the index have their own loop, and rows are worked on side by side, so
    that a hub which answers slowly holds up nobody else. `make_door` is called within the thread,
    since a door belongs to one event loop; `seal` holds the service's key, for its webhooks
    and its published roots.
    """

    def __init__(
        self,
        engine: Engine,
        index: Index,
        settings: Settings,
        make_door: Callable[[], Door],
        seal: Seal,
    ) -> None:
        self._engine = engine
        self._index = index
        self._settings = settings
        self._make_door = make_door
        self._seal = seal
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells: dict[str, asyncio.Event] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread; threads then take turns more often, for whoever else is served here."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()

    def wake(self, work: str = "") -> None:
        """Have one kind of work looked at now, or everything, from whichever thread."""
        if self._loop is None or self._loop.is_closed():
            return
        for name, bell in list(self._bells.items()):
            if work in {"", name} and not bell.is_set():
                self._loop.call_soon_threadsafe(bell.set)

    def stop(self) -> None:
        """Let what is being done end, at most eight seconds long, then end the thread."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def run(self, told: Sequence[int]) -> None:
        """Work until something is in `told`, which is of `ending_signals`; end the process soon."""
        self.start()
        while self._thread.is_alive() and not told:
            time.sleep(LOOK_SECONDS)
        end_soon()
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        door = self._make_door()
        try:
            jobs = crawler_work.jobs(self._engine, door, self._settings)
            signing = Signing(self._seal.key_id, self._seal.private_key)
            jobs += clearing_work.jobs(self._engine, door, signing)
            chores = clearing_work.chores(self._engine, self._seal, self.wake)
            await asyncio.gather(
                self._repeat(_INDEX, self._index_changes, rest_seconds=REST_SECONDS),
                *(
                    self._repeat(name, chore, gather_seconds=REST_SECONDS)
                    for name, chore in chores.items()
                ),
                *map(self._repeat_job, jobs),
            )
        finally:
            await door.aclose()

    async def _repeat_job(self, job: Job) -> None:
        runner = Runner(self._engine, job)

        async def work() -> int:
            started = await runner.start_due()
            if started or runner.is_busy:
                self.wake(_INDEX)
            return started

        rest_seconds = 0.0 if job.batch is None else REST_SECONDS
        await self._repeat(job.name, work, runner=runner, rest_seconds=rest_seconds)
        await runner.finish()

    async def _index_changes(self) -> int:
        return await asyncio.to_thread(catch_up, self._engine, self._index)

    async def _repeat(
        self,
        name: str,
        work: Callable[[], Awaitable[int]],
        *,
        runner: Runner | None = None,
        rest_seconds: float = 0.0,
        gather_seconds: float = 0.0,
    ) -> None:
        """Do one kind of work again and again; sleep where there was none, until the bell.

        Rings may gather for a while, so that one look serves many postings. While its runner has
        rows in hand, it is looked after as often as when there is work.
        """
        bell = self._bells[name] = asyncio.Event()
        told: set[str] = set()  # reasons, each said once until work is done again
        pause = PAUSE_SECONDS
        while not self._stopping.is_set():
            bell.clear()
            try:
                done = await work()
                told.clear()
                if done:
                    pause = PAUSE_SECONDS
                    await asyncio.sleep(rest_seconds)
                    continue
                is_idle = runner is None or not runner.is_busy
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if is_idle else PAUSE_SECONDS
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
                await asyncio.sleep(gather_seconds)
            except TimeoutError:
                continue
