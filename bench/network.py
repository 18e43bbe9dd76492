"""Figures of the network over a year's payments between 5,000 groups, on both databases."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.progress import Progress
from sqlalchemy import Engine, text

from api import network_asking
from api.migrations import upgrade
from api.network_asking import Wanted
from api.terminal import progress_console
from bench.figures import Figure, figure
from bench.postgres import ensure, new_database, running_server
from bench.trade import fill_transfers, network, trade
from clearing.accounts import DEFAULT_UNION
from clearing.network.figures import FIGURES
from commons.database import make_engine, now, reading, transaction

GROUPS: Final = 5_000
SEED: Final = 1
RUNS: Final = 3
_AGO: Final = timedelta(days=400)
_DAYS: Final = 399
_TOTAL_IS: Final = "one SELECT that counts and sums all transfers by state"
_TOTAL: Final = text(
    "SELECT state, count(*), sum(payee_clearing) FROM transfers WHERE union_id = :union"
    " GROUP BY state"
)


def measure(transfers: int, database: str | None) -> Iterator[Figure]:
    """Measure each figure of the last twelve whole months, as its first rows are."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-")))
        yield from measure_on(f"sqlite:///{folder / 'network.sqlite'}", "s on SQLite", transfers)
        server = database or stack.enter_context(running_server(ensure()))
        with new_database(server) as url:
            yield from measure_on(url, "s on PostgreSQL", transfers)


def measure_on(url: str, unit: str, transfers: int) -> Iterator[Figure]:
    """Fill an empty database with so many transfers, and measure each figure over them."""
    with _filled(url, transfers) as engine:
        for name, one in FIGURES.items():
            ours, peers = [], []
            wanted = Wanted(union=DEFAULT_UNION)
            for _ in range(RUNS + 1):  # the first one is to warm up
                start = time.perf_counter()
                network_asking.answer(engine, one, wanted)
                ours.append(time.perf_counter() - start)
                peers.append(_plainly(engine))
            yield figure(f"network_{name}_s", unit, _TOTAL_IS, ours[1:], peers[1:])


@contextmanager
def _filled(url: str, transfers: int) -> Iterator[Engine]:
    """Yield a migrated database with so many transfers, as its planner knows them."""
    upgrade(url)
    engine = make_engine(url)
    among = network(SEED, GROUPS)
    made = trade(SEED, among, transfers, _DAYS)
    try:
        with Progress(console=progress_console, transient=True) as progress:
            task = progress.add_task("a year's payments", total=transfers)
            with transaction(engine) as session:
                start = now(session) - _AGO
                fill_transfers(
                    session,
                    DEFAULT_UNION,
                    among,
                    made,
                    start,
                    lambda done: progress.advance(task, done),
                )
        with transaction(engine) as session:
            session.execute(text("ANALYZE"))
        yield engine
    finally:
        engine.dispose()


def _plainly(engine: Engine) -> float:
    start = time.perf_counter()
    with reading(engine) as session:
        session.execute(_TOTAL, {"union": DEFAULT_UNION}).all()
    return time.perf_counter() - start
