"""The slowest answer to each kind of awkward question, in any number of made-up listings."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.progress import track

from bench.awkward import Awkward, AwkwardQuestions
from bench.building import build_apart, progress_console
from bench.corpus import Corpus
from bench.figures import Figure, figure
from bench.plain import BATCH, batches
from bench.postgres import find_programs, new_database, running_server
from bench.questions import Questions
from bench.vocabulary import towns
from commons.errors import UnavailableError
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index
from marketplace.postgresql import PostgresqlIndex

SEED: Final = 1
RUNS: Final = 3
PEER: Final = "LocalPay's own PostgreSQL index, the same question; 2 s where it gives up"


def measure(listings: int, database: str | None) -> Iterator[Figure]:
    """Ask each question of each index; yield the slowest of a kind, in ms.

    The PostgreSQL index is asked where `database` is given or PostgreSQL is installed.
    """
    corpus = Corpus(listings, SEED, datetime.now(UTC), towns())
    asked = list(AwkwardQuestions(SEED, Questions(SEED, corpus)).all())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-")))
        build_apart(folder, corpus)
        indexes: list[Index] = [EmbeddedIndex(folder)]
        programs = find_programs()
        server = database
        if server is None and programs is not None:
            server = stack.enter_context(running_server(programs))
        if server is not None:
            indexes.append(_filled(stack.enter_context(new_database(server)), corpus))
        for index in indexes:
            stack.callback(index.close)
        by_kind = groupby(asked, key=lambda one: one.kind)
        for kind, some in by_kind:
            yield _slowest(kind, list(some), indexes)


def _slowest(kind: str, asked: list[Awkward], indexes: list[Index]) -> Figure:
    """Ask a kind of question in runs, of all indexes in turn, once more before to warm up."""
    slowest: list[list[float]] = [[] for _ in indexes]
    for run in track(range(RUNS + 1), kind, console=progress_console):
        taken = [[(_ms(one, index), one.text) for index in indexes] for one in asked]
        for at, times in enumerate(zip(*taken, strict=True)):
            if run:
                slowest[at].append(max(times)[0])
            if run == RUNS:
                ms, text = max(times)
                progress_console.print(
                    f"{type(indexes[at]).__name__}: {ms:.0f} ms for {text[:100]}", markup=False
                )
    ours, *others = slowest
    name = f"slowest_{kind.replace(':', '').replace(' ', '_')}_ms"
    return figure(name, "ms", PEER if others else "none", ours, others[0] if others else [])


def _ms(asked: Awkward, index: Index) -> float:
    start = time.perf_counter()
    try:
        asked.ask(index)
    except UnavailableError as gave_up:  # which counts by the time until then
        progress_console.print(f"gave up: {gave_up.detail}", markup=False)
    return 1000 * (time.perf_counter() - start)


def _filled(url: str, corpus: Corpus) -> PostgresqlIndex:
    index = PostgresqlIndex(url)
    since = 0
    steps = -(-corpus.size // BATCH)
    filling = batches(corpus.changes())
    for batch in track(filling, "filling PostgreSQL", steps, console=progress_console):
        index.apply(batch, since=since, revision=batch[-1].revision)
        since = batch[-1].revision
    return index
