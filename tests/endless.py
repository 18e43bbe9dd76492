"""A bound on work that must end, in this process's own processor time.

What others take of the machine does not count, and each bound stands ten times and more above what
the work takes, so that only work that grew out of bounds meets it. How long things take is told by
`bench/`.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def must_end(seconds: float) -> Iterator[None]:
    """Break off what is done within the block once it took `seconds` of the processor."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"no end after {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
