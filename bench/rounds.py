"""Rounds: the optimum beside other solvers, and whole rounds written, certified and verified.

Of 94,000 obligations of 38,000 groups, and of 1,000,000 of 20,000, on SQLite. It takes about a
quarter of an hour on two processors, most of which is to post the debts and networkx's solving.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.progress import Progress

from api.migrations import upgrade
from api.terminal import progress_console
from bench.building import KIB_A_MB
from bench.figures import Figure, figure
from bench.round_peers import bare_seconds, greedy, simplex
from bench.trade import fill_positions, obligations
from clearing import certificates, rounds
from clearing.netting import Arcs, circulate
from clearing.netting.arcs import Numbers
from clearing.sealing import Seal
from commons.database import make_engine, reading, transaction

SEED: Final = 6
RUNS: Final = 3
MANY: Final = (38_000, 94_000)
MOST: Final = (20_000, 1_000_000)
"""Groups and obligations."""

Owed = tuple[Numbers, Numbers, Numbers]
UNION: Final = "bench"
ADDRESS: Final = "https://clearing.example"
BARE_IS: Final = "OR-tools' min-cost flow alone, in the same process"
SIMPLEX_IS: Final = "networkx's network simplex"
GREEDY_IS: Final = "greedy: any cycle that is met is cleared, until there is none"


@dataclass(frozen=True)
class Done:
    """What a round took in a process of its own; nothing was verified where that is None."""

    seconds: float
    peak_mb: float
    cleared: int
    verify_seconds: float | None


def measure() -> Iterator[Figure]:
    """Measure the solving, then rounds of both sizes."""
    with tempfile.TemporaryDirectory(prefix="localpay-bench-") as folder:
        yield from _of_many(Path(folder))
        yield from _of_most(Path(folder))


def arcs_of(owed: Owed, groups: int) -> Arcs:
    """Return obligations as arcs of which all may be set off."""
    debtor, creditor, amount = owed
    return Arcs(groups, debtor, creditor, np.zeros_like(amount), amount, np.ones_like(amount))


def _of_many(folder: Path) -> Iterator[Figure]:
    """Measure solving and rounds in turn; the slow peers solve once."""
    owed = obligations(SEED, *MANY)
    arcs = arcs_of(owed, MANY[0])
    filled = _filled(folder, owed, MANY[0])
    ours, bare, done = [], [], []
    best = 0
    for run in range(RUNS + 1):
        start = time.perf_counter()
        best = circulate(arcs).bound
        ours.append(time.perf_counter() - start)
        bare.append(bare_seconds(arcs))
        if run:  # the first one of the solvers was to warm up
            progress_console.print(f"rounds of {MANY[1]} obligations, run {run} of {RUNS}")
            done.append(_round_apart(filled, verified=True))
    ours, bare = ours[1:], bare[1:]
    filled.unlink()
    if any(one.cleared != best for one in done):
        raise RuntimeError("a round cleared another sum than solving alone")
    yield figure("solve_94k_s", "s", BARE_IS, ours, bare)
    progress_console.print("the slow peers")
    seconds, cleared = simplex(arcs)
    if cleared != best:
        raise RuntimeError(f"networkx clears {cleared}, and we clear {best}")
    yield figure("solve_94k_s", "s", SIMPLEX_IS, ours, [seconds])
    seconds, cleared = greedy(arcs)
    yield figure("solve_94k_s", "s", GREEDY_IS, ours, [seconds])
    total = int(arcs.cap.sum())
    yield figure(
        "cleared_94k_share", "of what is owed", GREEDY_IS, [best / total], [cleared / total]
    )
    yield figure("round_94k_s", "s", BARE_IS, [one.seconds for one in done], bare)
    verified = [one.verify_seconds for one in done if one.verify_seconds is not None]
    yield figure("verify_94k_s", "s", "none", verified, [])


def _of_most(folder: Path) -> Iterator[Figure]:
    """Measure one large round: what it takes and how much memory."""
    owed = obligations(SEED, *MOST)
    filled = _filled(folder, owed, MOST[0])
    bare = bare_seconds(arcs_of(owed, MOST[0]))
    progress_console.print(f"a round of {MOST[1]} obligations")
    done = _round_apart(filled, verified=False)
    yield figure("round_1m_s", "s", BARE_IS, [done.seconds], [bare])
    yield figure("round_1m_peak_mb", "MB", "none", [done.peak_mb], [])


def _filled(folder: Path, owed: Owed, groups: int) -> Path:
    """Return the file of a database in which the groups of a union owe each other that much."""
    path = folder / "filled.sqlite"
    url = f"sqlite:///{path}"
    upgrade(url)
    engine = make_engine(url)
    try:
        with Progress(console=progress_console, transient=True) as progress:
            task = progress.add_task("posting what is owed", total=len(owed[2]))
            with transaction(engine) as session:
                fill_positions(session, UNION, groups, owed, lambda n: progress.advance(task, n))
    finally:
        engine.dispose()
    return path


def _round_apart(filled: Path, *, verified: bool) -> Done:
    """Run a round on a copy of a database, in a process of its own to tell its memory."""
    copy = filled.with_name("run.sqlite")
    shutil.copyfile(filled, copy)
    command = [sys.executable, "-m", "bench.rounds", str(copy), *(["verified"] * verified)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 (our own)
    copy.unlink()
    return Done(**json.loads(done.stdout))


def run_round(path: Path, *, verified: bool) -> Done:
    """Run a round on a database, and verify it from the file of its full certificate."""
    private_key = Ed25519PrivateKey.generate()
    seal = Seal(ADDRESS, f"{ADDRESS}/actor#ed25519-key", private_key)
    engine = make_engine(f"sqlite:///{path}")
    try:
        start = time.perf_counter()
        with transaction(engine) as session:
            settled = rounds.settle(session, UNION, seal)
            found, cleared = settled.id, settled.cleared
        seconds, peak_mb = time.perf_counter() - start, _peak_mb()
        if not verified:
            return Done(seconds, peak_mb, cleared, None)
        with reading(engine) as session:
            full = certificates.full(session, rounds.find(session, found))
    finally:
        engine.dispose()
    text = orjson.dumps(full)
    start = time.perf_counter()
    file = certificates.read("full.json", text)
    report = certificates.verify([file], private_key.public_key(), datetime.now(UTC))
    verify_seconds = time.perf_counter() - start
    if report.problems:
        raise RuntimeError(report.problems[0])
    return Done(seconds, peak_mb, cleared, verify_seconds)


def _peak_mb() -> float:
    """Return the most that this process held, and its largest child: at most so much at once."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own = int(status.split("VmHWM:")[1].split()[0])
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + children) / KIB_A_MB


if __name__ == "__main__":
    told = run_round(Path(sys.argv[1]), verified="verified" in sys.argv[2:])
    sys.stdout.write(json.dumps(asdict(told)))
