"""Search in any number of made-up listings, beside two ways to do it in PostgreSQL."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from rich.progress import track

from bench.building import build_apart, progress_console
from bench.corpus import Corpus
from bench.figures import Figure, figure
from bench.over_http import ask_all, served
from bench.plain import BATCH, PlainTable, batches, plain_table
from bench.postgres import ensure, new_database, running_server
from bench.questions import Questions
from bench.vocabulary import towns
from commons.errors import UnavailableError
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Change
from marketplace.postgresql import PostgresqlIndex
from marketplace.query import Query

LISTINGS_SEED: Final = 1
QUESTIONS_SEED: Final = 2
RUNS: Final = 3
QUESTIONS: Final = 200
WARMING: Final = 20
CONNECTIONS: Final = 32
TIMES_OVER_HTTP: Final = 5
PLAIN: Final = "one PostgreSQL table, tsvector and PostGIS: 20 hits, no total, no facets"
POSTGRESQL: Final = "LocalPay's own PostgreSQL index, the same questions and answers"
TENFOLD_FROM: Final = 10_000_000
TENTH: Final = "the same index with a tenth of the listings"
DIRECT: Final = "the index called directly, one after the other"

Answer = Callable[[Query], object]


def measure(listings: int, database: str | None) -> Iterator[Figure]:
    """Build all and ask all, taking turns; `database` is on a PostgreSQL in place of our own.

    From 10,000,000 listings on the peer is the index itself with a tenth of them.
    """
    if listings >= TENFOLD_FROM:
        yield from tenfold(listings)
        return
    corpus = Corpus(listings, LISTINGS_SEED, datetime.now(UTC), towns())
    with ExitStack() as stack:
        server = database or stack.enter_context(running_server(ensure()))
        url = stack.enter_context(new_database(server))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        data_dir = Path(folder)
        plain = stack.enter_context(plain_table(url))
        in_postgresql = PostgresqlIndex(url)
        stack.callback(in_postgresql.close)
        yield from building(data_dir / "index", plain, in_postgresql, corpus)
        index = EmbeddedIndex(data_dir / "index")
        stack.callback(index.close)
        peers = {PLAIN: plain.search, POSTGRESQL: _or_gives_up(in_postgresql.search)}
        questions = Questions(QUESTIONS_SEED, corpus)
        yield from searching(index, peers, questions, elsewhere={})
        yield from over_http(data_dir, index, questions)


def tenfold(listings: int) -> Iterator[Figure]:
    """Measure the index beside one of the first tenth of the same listings, asked the same."""
    now = datetime.now(UTC)
    corpora = [Corpus(size, LISTINGS_SEED, now, towns()) for size in (listings, listings // 10)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-")))
        folders = [folder / str(corpus.size) for corpus in corpora]
        whole, tenth = map(build_apart, folders, corpora)
        yield figure("index_build_s_10m", "s", TENTH, [whole.seconds], [tenth.seconds])
        indexes = [EmbeddedIndex(each) for each in folders]
        for index in indexes:
            stack.callback(index.close)
        peers: dict[str, Answer] = {TENTH: indexes[1].search}
        questions = Questions(QUESTIONS_SEED, corpora[1])
        for measured in searching(indexes[0], peers, questions, elsewhere=peers):
            yield replace(measured, figure=f"{measured.figure}_10m")


def building(
    folder: Path, plain: PlainTable, in_postgresql: PostgresqlIndex, corpus: Corpus
) -> Iterator[Figure]:
    """Measure building once each, since it takes long; making the listings up is not counted."""

    def apply(batch: list[Change]) -> None:
        first, last = batch[0].revision, batch[-1].revision
        in_postgresql.apply(batch, since=first - 1, revision=last)

    built = build_apart(folder, corpus)
    plain_seconds = _fill("filling the plain table", plain.add, corpus) + _seconds(plain.finish)
    index_seconds = _fill("filling the PostgreSQL index", apply, corpus)
    for peer_is, seconds in ((PLAIN, plain_seconds), (POSTGRESQL, index_seconds)):
        rates = corpus.size / built.seconds, corpus.size / seconds
        yield figure("index_listings_per_s", "listings/s", peer_is, rates[:1], rates[1:])
    sizes = built.bytes_on_disk / corpus.size, plain.bytes_on_disk() / corpus.size
    yield figure("index_bytes_per_listing", "bytes", PLAIN, sizes[:1], sizes[1:])
    yield figure("index_peak_mb", "MB", "none", [built.peak_mb], [])


def searching(
    index: EmbeddedIndex,
    peers: dict[str, Answer],
    questions: Questions,
    elsewhere: dict[str, Answer],
) -> Iterator[Figure]:
    """Measure latencies of several kinds of questions, each put to all in turn.

    `elsewhere` are the peers in what only LocalPay's own indexes answer.
    """
    words_place_payment = _drawn(questions.words_place_payment)
    yield from _latencies("words_place_payment", (50, 99), words_place_payment, index.search, peers)
    words = _drawn(questions.words)
    yield from _latencies("words", (95,), words, index.search, peers)
    nearest = _drawn(questions.place_payment)
    yield from _latencies("place_payment", (99,), nearest, index.search, peers)
    yield from _latencies(
        "typo_prefix", (99,), _drawn(questions.typo_prefix), index.search, elsewhere
    )
    # Every page comes with its facets and total; words alone leave the most to be counted.
    yield from _latencies("facets", (99,), words, index.search, elsewhere)
    yield from _latencies(
        "facets_of_everything", (50,), [Query()] * WARMING, index.search, elsewhere
    )


def over_http(data_dir: Path, index: EmbeddedIndex, questions: Questions) -> Iterator[Figure]:
    """Measure searches over HTTP: how many by 32 connections, how much later by one."""
    queries = _drawn(questions.words_place_payment)
    many = queries * TIMES_OVER_HTTP
    rates, direct_rates, overheads, direct = [], [], [], []
    with served(data_dir) as port:
        ask_all(port, queries, CONNECTIONS)
        for _ in track(range(RUNS), "over HTTP", console=progress_console):
            rates.append(len(many) / _seconds(lambda: ask_all(port, many, CONNECTIONS)))
            direct_rates.append(len(many) / _seconds(lambda: _ask_each(index.search, many)))
            alone = median(ask_all(port, queries, 1))
            direct.append(1000 * median(_ask_each(index.search, queries)))
            overheads.append(1000 * alone - direct[-1])
    yield figure("http_searches_per_s", "searches/s", DIRECT, rates, direct_rates)
    yield figure("http_overhead_p50_ms", "ms", f"p50 of {DIRECT}", overheads, direct)


def _fill(what: str, add: Callable[[list[Change]], object], corpus: Corpus) -> float:
    """Put a corpus in and return the seconds that the taker took."""
    seconds = 0.0
    steps = -(-corpus.size // BATCH)
    for batch in track(batches(corpus.changes()), what, steps, console=progress_console):
        start = time.perf_counter()
        add(batch)
        seconds += time.perf_counter() - start
    return seconds


def _latencies(
    name: str,
    percents: Sequence[int],
    queries: Sequence[Query],
    ours: Answer,
    peers: dict[str, Answer],
) -> Iterator[Figure]:
    """Ask each question of ours, then of each peer, in as many runs.

    Yields a figure for each percentile and peer; where there is no peer, one for each percentile.
    """
    answers = [ours, *peers.values()]
    for answer in answers:
        _ask_each(answer, queries[:WARMING])
    runs: list[list[list[float]]] = []
    for _ in track(range(RUNS), name, console=progress_console):
        taken = [[1000 * _seconds(lambda: a(q)) for a in answers] for q in queries]  # noqa: B023 (called within its turn)
        by_answer = zip(*taken, strict=True)
        runs.append([quantiles(each, n=100, method="inclusive") for each in by_answer])
    for percent in percents:
        own, *others = ([run[at][percent - 1] for run in runs] for at in range(len(answers)))
        named = f"{name}_p{percent}_ms"
        for peer_is, other in zip(peers or ["none"], others or [[]], strict=True):
            yield figure(named, "ms", peer_is, own, other)


def _or_gives_up(answer: Answer) -> Answer:
    """Let an index that gives up count by the time until then."""

    def asked(query: Query) -> object:
        try:
            return answer(query)
        except UnavailableError as gave_up:
            return gave_up

    return asked


def _drawn(draw: Callable[[], Query]) -> list[Query]:
    return [draw() for _ in range(QUESTIONS)]


def _ask_each(answer: Answer, queries: Sequence[Query]) -> list[float]:
    return [_seconds(lambda: answer(query)) for query in queries]  # noqa: B023 (called at once)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
