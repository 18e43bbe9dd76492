"""Fetch addresses one after the other in a process of its own; print what it took in memory.

Lines of standard input are addresses; for each one line is printed: the peak of memory beyond what
there was before, in KiB, and the outcome.
"""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from commons.errors import FetchError
from commons.fetch import Door
from commons.settings import Settings


def peak_kib() -> int:
    """Return the most memory that was resident since it was last forgotten."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def forget_peak() -> None:
    """Have the peak begin anew at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


async def fetched(door: Door, url: str) -> str:
    """Return `taken`, or why not."""
    try:
        await door.get_json(url)
    except FetchError as error:
        return error.detail[:200]
    return "taken"


async def main() -> None:
    """Fetch what standard input says."""
    with TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), base_url="http://testserver", allow_loopback=True
        )
        for url in sys.stdin.read().split():
            # A door of its own each, since one leaves a host alone that has failed five times.
            door = Door(settings, polite=False, deadline_seconds=1.0)
            forget_peak()
            before = peak_kib()
            outcome = await fetched(door, url)
            sys.stdout.write(json.dumps([url, peak_kib() - before, outcome]) + "\n")
            await door.aclose()


asyncio.run(main())
