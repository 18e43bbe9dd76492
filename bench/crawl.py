"""The crawler: back-fill, pushes, freshness, idle peers, and memory over many activities."""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final

import httpx2

from bench import demo
from bench.crawl_hubs import BenchHub, hubs_apart
from bench.crawl_pushes import changes, creates, empty_route, push, signed
from bench.crawl_service import Crawler, crawling, wait_for
from bench.figures import Figure, figure
from bench.postgres import new_database
from demo.run import start_hubs
from demo.service import Service, free_port

RUNS: Final = 3
HUBS: Final = 50
LISTINGS_A_HUB: Final = 400
FETCHED_AT_ONCE: Final = 20
PUSHING_HUBS: Final = 10
PUSHES_A_RUN: Final = 4_000
IDLE_PEERS: Final = 5_000
IDLE_SECONDS: Final = 20.0
SETTLE_SECONDS: Final = 3.0
MEMORY_HUBS: Final = 10
MEMORY_LISTINGS: Final = 2_000
SENT_AT_ONCE: Final = 2_000
WARM_SHARE: Final = 10
"""Memory is counted from a tenth of the activities on: by then everything has been used once."""


def measure(activities: int, database: str | None) -> Iterator[Figure]:
    """Measure all, on a PostgreSQL server where `database` is one, else on SQLite."""
    yield from backfill(database)
    yield from inbox(database)
    yield from freshness()
    yield from idle(database)
    yield from memory(activities, database)


def backfill(database: str | None) -> Iterator[Figure]:
    """Measure from the moment that all hubs are due until a search finds their last listing."""
    expected = HUBS * LISTINGS_A_HUB
    ours, peers, peaks, growths = [], [], [], []
    with hubs_apart(HUBS, LISTINGS_A_HUB) as hubs:
        for _ in range(RUNS):
            peers.append(expected / asyncio.run(_fetch_all(hubs)))
            with _fresh(database) as crawler:
                crawler.add_peers(hubs)
                start = time.perf_counter()
                crawler.look()
                wait_for(lambda: crawler.revision() >= expected // 2)
                halfway = crawler.memory_mb()
                wait_for(lambda: crawler.revision() >= expected)
                wait_for(lambda: crawler.found() == expected)
                ours.append(expected / (time.perf_counter() - start))
                peaks.append(crawler.memory_mb("VmHWM"))
                growths.append(crawler.memory_mb() - halfway)
    peer_is = "bare httpx2 fetching the same pages, 20 hubs at once"
    yield figure("backfill_listings_per_s", "listings/s", peer_is, ours, peers)
    yield figure("backfill_peak_mb", "MB", "none", peaks, [])
    yield figure("backfill_second_half_mb", "MB", "none", growths, [])


def inbox(database: str | None) -> Iterator[Figure]:
    """Measure signed Creates from the first push until the last listing is held and shown."""
    accepted, processed, peers = [], [], []
    with (
        hubs_apart(PUSHING_HUBS, RUNS * PUSHES_A_RUN // PUSHING_HUBS) as hubs,
        empty_route() as empty,
        _fresh(database) as crawler,
    ):
        crawler.add_peers(hubs)
        for run in range(RUNS):
            made = list(creates(hubs, PUSHES_A_RUN, run * PUSHES_A_RUN // PUSHING_HUBS))
            pairs = [(hubs[at % len(hubs)], made[at]) for at in range(len(made))]
            peers.append(PUSHES_A_RUN / push(empty, [signed(empty, *pair) for pair in pairs]))
            requests = [signed(crawler.url, *pair) for pair in pairs]
            start = time.perf_counter()
            accepted.append(PUSHES_A_RUN / push(crawler.url, requests))
            wait_for(lambda: crawler.shown() == (run + 1) * PUSHES_A_RUN)  # noqa: B023 (within its turn)
            processed.append(PUSHES_A_RUN / (time.perf_counter() - start))
    peer_is = "the same route with an empty handler"
    yield figure("inbox_activities_per_s", "activities/s", peer_is, processed, peers)
    yield figure("inbox_accepted_per_s", "activities/s", peer_is, accepted, peers)


def freshness() -> Iterator[Figure]:
    """Measure from an edit at a hub until a search shows it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        service = stack.enter_context(Service(Path(folder), free_port()))
        hubs = start_hubs(stack, service)
        demo.backfill(service, hubs)
        yield demo.pushes(service, hubs[1])


def idle(database: str | None) -> Iterator[Figure]:
    """Measure the share of one core that a service takes while no peer is due."""
    ours, peers = [], []
    with _fresh(database) as crawler, _fresh(database) as empty:
        crawler.add_peers([BenchHub(n, f"http://127.0.0.1:1/{n}") for n in range(IDLE_PEERS)])
        crawler.look(after=timedelta(days=6))
        time.sleep(SETTLE_SECONDS)
        for _ in range(RUNS):
            peers.append(_core_share(empty))
            ours.append(_core_share(crawler))
    yield figure("idle_peers_core_share", "of one core", "a service without peers", ours, peers)


def memory(activities: int, database: str | None) -> Iterator[Figure]:
    """Measure what a service's memory grows by over Creates, Updates and Deletes.

    They are of the same listings again and again, so that no table explains it.
    """
    with (
        hubs_apart(MEMORY_HUBS, MEMORY_LISTINGS // MEMORY_HUBS) as hubs,
        _fresh(database) as crawler,
    ):
        crawler.add_peers(hubs)
        made = changes(hubs, MEMORY_LISTINGS)
        by_base = {hub.base: hub for hub in hubs}
        held, done = [], 0
        while done < activities:
            batch = list(islice(made, min(SENT_AT_ONCE, activities - done)))
            push(
                crawler.url,
                [signed(crawler.url, by_base[_base(one["actor"])], one) for one in batch],
            )
            wait_for(lambda: crawler.waiting() == 0)
            done += len(batch)
            if done >= activities // WARM_SHARE:
                held.append(crawler.memory_mb())
        yield figure("memory_growth_mb", "MB", "none", [max(held) - held[0]], [])
        yield figure("memory_end_mb", "MB", "none", [held[-1]], [])


def _base(uri: str) -> str:
    return uri.partition("/members/")[0]


def _core_share(crawler: Crawler) -> float:
    before, start = crawler.cpu_seconds(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    return (crawler.cpu_seconds() - before) / (time.perf_counter() - start)


async def _fetch_all(hubs: Sequence[BenchHub]) -> float:
    """Fetch every page of every hub and read its JSON; return the seconds it took."""
    turns = asyncio.Semaphore(FETCHED_AT_ONCE)
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def fetch(hub: BenchHub) -> None:
            async with turns:
                url = f"{hub.base}/outbox?page=1"
                while url:
                    url = (await client.get(url)).raise_for_status().json().get("next", "")

        start = time.perf_counter()
        await asyncio.gather(*map(fetch, hubs))
        return time.perf_counter() - start


@contextmanager
def _fresh(database: str | None) -> Iterator[Crawler]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        url = stack.enter_context(new_database(database)) if database else None
        yield stack.enter_context(crawling(Path(folder) / "data", url))
