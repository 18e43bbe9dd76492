"""A bound on work that must end, in this process's own processor time.

It stands a thousand times above what the work takes, so that no load of the machine comes near it,
while what grows with the square of a long text does. How long things take is told by `bench/`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

PROCESSOR_SECONDS: Final = 20.0


@contextmanager
def must_end(seconds: float = PROCESSOR_SECONDS) -> Iterator[None]:
    """Break off what is done within the block once it has taken so much of the processor."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"no end after {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
