"""The poster: one thread a process that puts calls arriving together into one transaction."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from sqlalchemy import Engine

from clearing.calls import Call, Outcome, handle
from commons.database import transaction

MOST_AT_ONCE: Final = 500

_Waiting = tuple[Call, "Future[Outcome]"]


class Poster:
    """Owns the transactions of all calls of this process; start it, submit, stop it.

    A call is answered after its transaction is committed, never before. Should a transaction
    fail, its calls are handled once more, one by one, so that one of them cannot spoil the others
    and none fails for having met another process; that is safe, since every call may be repeated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="poster", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Handle what is waiting, then end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, call: Call) -> "Future[Outcome]":
        """Hand a call over; the future ends with its outcome once that is committed."""
        future: Future[Outcome] = Future()
        self._waiting.put((call, future))
        return future

    def _run(self) -> None:
        going = True
        while going:
            taken, going = self._take()
            if taken:
                self._post(taken)

    def _take(self) -> tuple[list[_Waiting], bool]:
        taken: list[_Waiting] = []
        item = self._waiting.get()
        while item is not None:
            if item[1].set_running_or_notify_cancel():
                taken.append(item)
            if len(taken) == MOST_AT_ONCE:
                return taken, True
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return taken, True
        return taken, False

    def _post(self, taken: Sequence[_Waiting], *, again: bool = False) -> None:
        try:
            with transaction(self._engine) as session:
                outcomes = handle(session, [call for call, _ in taken])
        except Exception as error:  # noqa: BLE001 (whoever waits is told, and the thread lives)
            for one in taken:
                if again:
                    one[1].set_exception(error)
                else:
                    self._post([one], again=True)
            return
        for (_, future), outcome in zip(taken, outcomes, strict=True):
            future.set_result(outcome)
