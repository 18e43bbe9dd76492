"""The poster: one thread a process that puts calls arriving together into one transaction."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, TimeoutError  # noqa: A004 (the pool's)
from sqlalchemy.orm import Session

from clearing.calls import Call, Outcome, handle
from commons import nonces
from commons.database import transaction
from commons.errors import UnauthenticatedError, UnavailableError
from commons.nonces import Used

MOST_AT_ONCE: Final = 500
MOST_WAITING: Final = 2_000
"""Calls and batches that may wait; who comes then is sent away at once, not kept waiting."""

MOST_IN_BATCHES: Final = 80_000
RETRY_SECONDS: Final = 1
GATHER_SECONDS: Final = 3 / 1_000
"""How long no call may have come before those that wait are posted, where several come at once."""

GATHER_MOST_SECONDS: Final = 20 / 1_000
_TRIES: Final = 3
_READ_ONLY: Final = "25006"
_NOTHING_LEFT: Final = "53"
"""PostgreSQL's class of errors for what is used up: disk, memory, connections."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A batch that waits, or a call as a batch of one that others may join."""

    calls: Sequence[Call]
    used: Used | None
    atomic: bool = False
    is_single: bool = False
    is_fresh: bool = False
    """Whether its nonce was found unused; a commit that was lost on its way may have kept it."""

    future: "Future[list[Outcome]]" = field(default_factory=Future)


class Poster:
    """Owns the transactions of all calls of this process; start it, submit, stop it.

    A call is answered after its transaction is committed, never before. Should a transaction
    fail, its calls are handled once more, one by one, so that one of them cannot spoil the others
    and none fails for having met another process; that is safe, since every call may be repeated.
    A batch has a transaction of its own. The nonces that calls were signed with are used up in the
    same transaction: a call whose nonce was used before is not run. `committed` is called after
    each commit, so that whoever waits for events is woken.
    """

    def __init__(self, engine: Engine, committed: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._committed = committed
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(MOST_WAITING)
        self._held: _Waiting | None = None
        self._thread = threading.Thread(target=self._run, name="poster", daemon=True)
        self._in_batches = 0
        self._is_busy = False
        self._counting = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Handle what is waiting, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, call: Call, used: Used | None = None) -> "Future[Outcome]":
        """Hand a call over; the future ends with its outcome once that is committed.

        Where too many wait already, it ends at once with UnavailableError, and nothing is done.
        """
        told: Future[Outcome] = Future()
        told.set_running_or_notify_cancel()
        waiting = _Waiting([call], used, is_single=True)

        def tell(ended: "Future[list[Outcome]]") -> None:
            error = ended.exception()
            if error is None:
                told.set_result(ended.result()[0])
            else:
                told.set_exception(error)

        waiting.future.add_done_callback(tell)
        self._hand_over(waiting)
        return told

    def submit_batch(
        self, calls: Sequence[Call], *, atomic: bool = False, used: Used | None = None
    ) -> "Future[list[Outcome]]":
        """Hand a batch over, handled in its order in one transaction; as `submit` otherwise."""
        waiting = _Waiting(calls, used, atomic=atomic)
        waiting.future.set_running_or_notify_cancel()  # none is taken back once it is handed over
        with self._counting:
            is_full = self._in_batches + len(calls) > MOST_IN_BATCHES
            self._in_batches += 0 if is_full else len(calls)
        if is_full:
            waiting.future.set_exception(_busy())
            return waiting.future
        waiting.future.add_done_callback(lambda _: self._count_out(len(calls)))
        self._hand_over(waiting)
        return waiting.future

    def _count_out(self, count: int) -> None:
        with self._counting:
            self._in_batches -= count

    def _hand_over(self, waiting: _Waiting) -> None:
        try:
            self._waiting.put_nowait(waiting)
        except queue.Full:
            waiting.future.set_exception(_busy())

    def _run(self) -> None:
        going = True
        while going:
            taken, going = self._take()
            self._is_busy = len(taken) > 1
            if taken:
                self._answer(taken)

    def _answer(self, taken: Sequence[_Waiting]) -> None:
        """Post what was taken; whatever fails, all are answered and the thread lives."""
        try:
            self._post(taken)
        except Exception as error:  # noqa: BLE001 (as below)
            _log.exception("calls could not be posted")
            for one in taken:
                if not one.future.done():
                    one.future.set_exception(error)

    def _take(self) -> tuple[list[_Waiting], bool]:
        """Return single calls that wait together, or one batch, and whether to go on."""
        taken: list[_Waiting] = []
        item = self._held or self._waiting.get()
        self._held = None
        self._gather()
        while item is not None:
            if taken and not item.is_single:
                self._held = item  # comes next, in a transaction of its own
                return taken, True
            taken.append(item)
            if len(taken) == MOST_AT_ONCE or not item.is_single:
                return taken, True
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return taken, True
        return taken, False

    def _gather(self) -> None:
        """Let calls that just arrive come together, where the last ones did."""
        if not self._is_busy:
            return
        ends, seen = time.monotonic() + GATHER_MOST_SECONDS, -1
        while seen != self._waiting.qsize() and time.monotonic() < ends:
            seen = self._waiting.qsize()
            time.sleep(GATHER_SECONDS)

    def _post(self, taken: Sequence[_Waiting], tries: int = _TRIES) -> None:
        try:
            with transaction(self._engine) as session:
                refused = _use(session, taken)
                fresh = [one for one in taken if id(one) not in refused]
                atomic = any(one.atomic for one in fresh)
                calls = [call for one in fresh for call in one.calls]
                outcomes = iter(handle(session, calls, atomic=atomic) if calls else [])
        except Exception as error:  # noqa: BLE001 (whoever waits is told, and the thread lives)
            self._post_again(taken, error, tries - 1)
            return
        self._tell_committed()
        for one in taken:
            if id(one) in refused:
                one.future.set_result(_refused(one, refused[id(one)]))
            else:
                one.future.set_result([next(outcomes) for _ in one.calls])

    def _tell_committed(self) -> None:
        """Wake who waits for what was committed; that fails no call, which is done by now."""
        try:
            self._committed()
        except Exception:  # noqa: BLE001 (of whoever listens)
            _log.exception("who waits for a commit could not be told")

    def _post_again(self, taken: Sequence[_Waiting], error: Exception, tries: int) -> None:
        """Handle what failed together one by one; what fails alone each time is given up.

        Where the database itself is out of reach, all are told so after one more try together.
        """
        if is_out_of_reach(error):
            if tries == _TRIES - 1:
                self._post(taken, tries)
                return
            for one in taken:
                one.future.set_exception(error)
        elif len(taken) > 1:
            for one in taken:
                self._post([one], tries)
        elif tries > 0:
            self._post(taken, tries)
        elif len(taken[0].calls) > 1 and not taken[0].atomic:
            self._post_apart(taken[0])
        else:
            taken[0].future.set_exception(error)

    def _post_apart(self, batch: _Waiting) -> None:
        """Handle the calls of a batch that one of them breaks, each in a transaction of its own.

        The nonce comes first: one that was used before bars them all.
        """
        if batch.used is not None:
            with transaction(self._engine) as session:
                refused = _use(session, [batch])
            if refused:
                batch.future.set_result(_refused(batch, refused[id(batch)]))
                return
        parts = [_Waiting([call], None) for call in batch.calls]
        for part in parts:
            self._post([part])
        batch.future.set_result([_outcome(part) for part in parts])


def _use(session: Session, taken: Sequence[_Waiting]) -> dict[int, str]:
    """Use up the nonces of what waits; return, by id in memory, what is not handled, and why."""
    signed = [(one, one.used) for one in taken if one.used is not None]
    own = [index for index, (one, _) in enumerate(signed) if one.is_fresh]
    refused = nonces.use(session, [used for _, used in signed], own=own)
    for index, (one, _) in enumerate(signed):
        one.is_fresh = index not in refused
    return {id(signed[index][0]): why for index, why in refused.items()}


def _refused(waiting: _Waiting, why: str) -> list[Outcome]:
    return [Outcome(error=UnauthenticatedError(why)) for _ in waiting.calls]


def _outcome(part: _Waiting) -> Outcome:
    error = part.future.exception()
    if error is None:
        return part.future.result()[0]
    _log.error("a call of a batch could not be handled", exc_info=error)
    return Outcome(error=UnavailableError("this call could not be handled", RETRY_SECONDS))


def is_out_of_reach(error: Exception) -> bool:
    """Whether it is no call's fault: no connection, a full disk, a database locked by others."""
    if isinstance(error, TimeoutError):
        return True
    code: str | None = getattr(getattr(error, "orig", None), "pgcode", None)
    if code is None:
        return isinstance(error, OperationalError)
    return code == _READ_ONLY or code.startswith(_NOTHING_LEFT)


def _busy() -> UnavailableError:
    return UnavailableError("too many payments wait already; try again soon", RETRY_SECONDS)
