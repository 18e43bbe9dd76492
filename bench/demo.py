"""The main job on the demo's data: reading hubs, pushes, payments and searches, over HTTP."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Final

import httpx2

from bench.figures import Figure, figure
from demo.finding import count, searchable
from demo.hub import Hub
from demo.run import start_hubs
from demo.service import Service, free_port

PUSHES: Final = 10
BATCHES: Final = 5
TRANSFERS_A_BATCH: Final = 20
SEARCH_RUNS: Final = 5
SEARCHES_A_RUN: Final = 100
LIMIT: Final = "1000"
WAIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.005

SEARCHES: Final[tuple[dict[str, str | int], ...]] = (
    {"q": "bike repair"},
    {"q": "fahrrad", "near": "52.5,13.4", "radius_km": 10},
    {"q": "guitara"},
    {"near": "53.8,-1.55", "radius_km": 30, "pay": "local"},
    {"near": "41.4,2.16", "radius_km": 200, "type": "want"},
    {"q": "jardin", "pay": "national:EUR", "near": "42.6,2.8"},
    {"group": "kreuzberg", "language": "tr"},
    {"q": "music", "pay": "gift"},
)


def measure() -> Iterator[Figure]:
    """Run LocalPay and the demo's hubs, and yield each figure when it is measured."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        service = stack.enter_context(Service(Path(folder), free_port()))
        client = stack.enter_context(httpx2.Client(base_url=service.url, trust_env=False))
        hubs = start_hubs(stack, service)
        yield backfill(service, hubs)
        yield pushes(service, hubs[1])
        yield transfers(hubs[0], hubs[2])
        yield from searches(client)


def backfill(service: Service, hubs: Sequence[Hub]) -> Figure:
    """Measure from a hub's receiving our Follow until its last listing is searchable."""
    ours, peers = [], []
    for hub in hubs:
        expected = len(searchable(hub))
        peers.append(expected / _seconds_to_fetch(hub))
        hub.register()
        limits = ("--credit-limit", LIMIT, "--surplus-limit", LIMIT)
        service.command("hub", "admit", hub.group.id, *limits)
        ours.append(expected / _seconds_to_read(service, hub, expected))
    peer_is = "bare GETs of the same outbox pages"
    return figure("backfill_listings_per_s", "listings/s", peer_is, ours, peers)


def pushes(service: Service, hub: Hub) -> Figure:
    """Measure from an edit at the hub until search shows it; the push itself is the peer."""
    ours, peers = [], []
    edited = searchable(hub)[0]
    for run in range(PUSHES):
        listing = replace(edited.listing, title=f"{edited.listing.title}, Fassung {run + 1}")
        start = time.perf_counter()
        hub.edit(edited.number, listing)
        peers.append(time.perf_counter() - start)
        _wait_for_title(service, hub, listing.title)
        ours.append(time.perf_counter() - start)
    peer_is = "the same push until its 202"
    return figure("seconds_to_searchable", "s", peer_is, ours, peers)


def transfers(payers: Hub, payees: Hub) -> Figure:
    """Measure transfers asked for by one hub and accepted by the other, one after the other.

    They are requests, since what is pushed the payee's hub accepts on its own, when it looks.
    """
    ours, peers = [], []

    def transfer() -> None:
        payer = f"{payers.group.id}/{payers.group.members[0]}"
        asked = payees.payments.request(payer, payees.group.members[0], "0.10")
        payers.payments.accept(asked["id"])

    def nothing() -> None:
        payees.client.call("GET", "/health")
        payers.client.call("GET", "/health")

    for _ in range(BATCHES):
        ours.append(TRANSFERS_A_BATCH / _seconds(transfer, TRANSFERS_A_BATCH))
        peers.append(TRANSFERS_A_BATCH / _seconds(nothing, TRANSFERS_A_BATCH))
    peer_is = "two signed GET /health, their answers signed and verified too"
    return figure("transfers_per_s", "transfers/s", peer_is, ours, peers)


def searches(client: httpx2.Client) -> Iterator[Figure]:
    """Measure the latency of searches of several kinds, each followed by one GET /health."""
    ours, peers = [], []
    for _ in range(SEARCH_RUNS):
        own, peer = [], []
        for index in range(SEARCHES_A_RUN):
            params = SEARCHES[index % len(SEARCHES)]
            own.append(_milliseconds_to_get(client, "/listings", params))
            peer.append(_milliseconds_to_get(client, "/health"))
        ours.append(quantiles(own, n=100))
        peers.append(quantiles(peer, n=100))
    for percent in (50, 99):
        own, peer = ([run[percent - 1] for run in runs] for runs in (ours, peers))
        yield figure(f"search_p{percent}_ms", "ms", f"p{percent} of GET /health", own, peer)


def _milliseconds_to_get(
    client: httpx2.Client, path: str, params: dict[str, str | int] | None = None
) -> float:
    return 1000 * _seconds(lambda: client.get(path, params=params).raise_for_status())


def _seconds_to_fetch(hub: Hub) -> float:
    start = time.perf_counter()
    with httpx2.Client(trust_env=False) as client:
        url = client.get(hub.at.outbox).raise_for_status().json()["first"]
        while url is not None:
            url = client.get(url).raise_for_status().json().get("next")
    return time.perf_counter() - start


def _seconds_to_read(service: Service, hub: Hub, expected: int) -> float:
    _wait(lambda: bool(hub.followers))
    return _seconds(lambda: _wait(lambda: count(service, hub) == expected))


def _wait_for_title(service: Service, hub: Hub, title: str) -> None:
    _wait(lambda: title in service.titles(title, hub.group.id))


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            msg = f"nothing came of it within {WAIT_SECONDS:g} s"
            raise TimeoutError(msg)
        time.sleep(POLL_SECONDS)


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - start
