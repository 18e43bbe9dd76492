"""A comparison in a process of its own, which holds up nobody and is ended when it takes long.

The process is this module: it reads what was recorded from its standard input and writes the
outcomes to its standard output, both as this program's own objects.
"""

import pickle
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime

from clearing.simulation.outcome import Changes, Comparison
from clearing.simulation.recorded import Recorded
from clearing.simulation.replay import replay
from commons.errors import InvalidError, LocalPayError


def compare(recorded: Recorded, changes: Changes, steps: Sequence[datetime]) -> Comparison:
    """Replay what was recorded as it was, and with changes."""
    return Comparison(
        recorded.union_id,
        recorded.start,
        recorded.end,
        changes,
        replay(recorded, steps=steps),
        replay(recorded, changes, steps=steps),
    )


def compare_apart(
    recorded: Recorded, changes: Changes, steps: Sequence[datetime], seconds: int
) -> Comparison:
    """Compare in a process of its own; InvalidError where that takes longer than `seconds`.

    Raises LocalPayError with what it said last where it broke.
    """
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter and our own module)
            [sys.executable, "-m", __name__],
            input=pickle.dumps((recorded, changes, steps)),
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidError(
            "from", f"the replay took longer than {seconds} s: ask for less time or fewer rounds"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LocalPayError(f"the replay ended with {done.returncode}: {''.join(said)}")
    found: Comparison = pickle.loads(done.stdout)  # noqa: S301 (of our own process)
    return found


def main() -> None:
    """Compare what comes in."""
    asked = pickle.load(sys.stdin.buffer)  # noqa: S301 (of our own process)
    sys.stdout.buffer.write(pickle.dumps(compare(*asked)))


if __name__ == "__main__":
    main()
