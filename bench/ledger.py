"""The ledger: transfers in batches and one by one, statements and balances, tampering found.

It takes about ten minutes on two processors. Statements and balances are read over 2,000,000
entries unless `--entries` says otherwise: to post 10,000,000 takes a quarter of an hour more.
"""

import asyncio
import json
import multiprocessing
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Final

from sqlalchemy import Engine, func, select

from api.migrations import upgrade
from api.terminal import progress_console
from bench.crash import DURABLE
from bench.figures import Figure, figure
from bench.ledger_history import HOT, YEAR, Payment, fill, payments
from bench.ledger_peers import PlainFunction, bare_routes, empty_routes, pgbench_per_second
from bench.paying_hubs import Json, PayingHub, admit_hubs, ask_all
from bench.postgres import Server, ensure, new_database, server_home
from bench.processes import Processes
from clearing.acceptance import ANY_GROUP, Rule, set_rules
from clearing.audit.chains import chains
from clearing.calls import Create, handle
from clearing.ledger import ChainRow
from clearing.transfers import Party, TransferState, Unit
from commons.database import make_engine, now, reading, transaction
from commons.money import CLEARING_SCALE, MAX_MINOR, format_amount

RUNS: Final = 3
HUBS: Final = 1_000
BATCH: Final = 1_000
BATCHES: Final = 4
SINGLES: Final = 2_000
CLIENTS: Final = 32
BATCH_CLIENTS: Final = 4
READS: Final = 1_000
MADE, OK = 201, 200
MILLION: Final = 1_000_000
STOP: Final = 10**12
FUNCTION_IS: Final = "a PL/pgSQL function with the same duties less the chain, by 8 threads"
EMPTY_IS: Final = (
    "the same application and route, calls verified and answers signed, its handler empty"
)
BARE_IS: Final = "a route of FastAPI that reads the body and does nothing, nothing signed"
_SEEDS: Final = count(100)


def measure(entries: int, database: str | None) -> Iterator[Figure]:
    """Measure all, on a durable PostgreSQL of our own where no server is given."""
    with ExitStack() as stack:
        server = database or stack.enter_context(_durable_server())
        yield from _paying(stack.enter_context(new_database(server)))
        yield from _with_a_past(stack.enter_context(new_database(server)), entries)
        floor = [pgbench_per_second(ensure(), stack.enter_context(new_database(server)))]
        yield figure("pgbench_simple_update_per_s", "transactions/s", "none", floor, [])
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        yield from _on_sqlite(Path(folder))


@contextmanager
def _durable_server() -> Iterator[str]:
    with server_home(Path(tempfile.gettempdir())) as home:
        server = Server(ensure(), home, (*DURABLE, "max_connections=200"))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


@contextmanager
def _world(url: str) -> Iterator[tuple[Engine, list[PayingHub]]]:
    """Migrate a database and admit hubs that accept at once whatever is pushed."""
    upgrade(url)
    engine = make_engine(url)
    try:
        hubs = admit_hubs(engine, HUBS, credit=STOP, surplus=STOP)
        with transaction(engine) as session:
            for hub in hubs:
                rule = Rule(Party.PAYER, ANY_GROUP, MAX_MINOR)
                set_rules(session, hub.group_id, [rule])
        yield engine, hubs
    finally:
        engine.dispose()


@contextmanager
def _served(url: str, processes: int, hubs: Sequence[PayingHub]) -> Iterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="localpay-bench-") as folder:
        service = Processes(Path(folder), url, processes, forgetful=True)
        service.start()
        try:
            asyncio.run(service.wait_until_they_answer(hubs[0]))
            yield service
        finally:
            service.kill()


def _paying(url: str) -> Iterator[Figure]:
    """Measure batches and single transfers, each beside the plain function in every run."""
    below, over, single, function, empty, bare = _rows(6)
    with _world(url) as (_, hubs), bare_routes(2) as bare_ports:
        plain = PlainFunction(url, HUBS)
        with _served(url, 2, hubs) as service, empty_routes(service.url, url, 2) as ports:
            for run in range(RUNS + 1):
                if run == 1:  # the first one was to warm up
                    for measured in (below, over, single, function, empty, bare):
                        measured.clear()
                _say(f"transfers, run {run} of {RUNS}")
                below.append(_batches(url, hubs))
                over.append(_batches_over_http(service, hubs))
                function.append(plain.per_second(list(_some(SINGLES))))
                single.append(_singles(service, service.ports, hubs))
                empty.append(_singles(service, ports, hubs))
                bare.append(_singles(service, bare_ports, hubs))
        plain.close()
    yield figure("batch_1000_per_s", "transfers/s by two processes", FUNCTION_IS, below, function)
    yield figure("batch_1000_http_per_s", "transfers/s", FUNCTION_IS, over, function)
    yield figure("single_http_per_s", "transfers/s", FUNCTION_IS, single, function)
    yield figure("single_http_per_s", "transfers/s", EMPTY_IS, single, empty)
    yield figure("single_http_per_s", "transfers/s", BARE_IS, single, bare)


def _rows(number: int) -> Iterator[list[float]]:
    return iter([[] for _ in range(number)])


def _on_sqlite(folder: Path) -> Iterator[Figure]:
    """Measure single transfers over HTTP on a file, by one process."""
    url = f"sqlite:///{folder}/localpay.sqlite"
    _say("transfers on SQLite")
    with _world(url) as (_, hubs), _served(url, 1, hubs) as service:
        _singles(service, service.ports, hubs)  # to warm up
        ours = [_singles(service, service.ports, hubs) for _ in range(RUNS)]
    yield figure("sqlite_single_http_per_s", "transfers/s", "none", ours, [])


def _some(number: int) -> Iterator[Payment]:
    return payments(HUBS, number, next(_SEEDS))


def _batches(url: str, hubs: Sequence[PayingHub]) -> float:
    """Post batches below HTTP by two processes, as the service has, each among half of the hubs."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        ends = []
        for part in range(2):
            end, other = context.Pipe()
            groups = [hub.group_id for hub in hubs[part::2]]
            process = context.Process(target=_post_batches, args=(url, groups, other))
            process.start()
            stack.callback(process.join)
            ends.append(stack.enter_context(end))
            other.close()
        _require(all(end.recv() for end in ends), "no connection")
        start = time.perf_counter()
        for end in ends:
            end.send(True)  # noqa: FBT003 (that it begins)
        _require(all(end.recv() for end in ends), "a transfer was not posted")
        return 2 * BATCH * BATCHES / (time.perf_counter() - start)


def _post_batches(url: str, groups: Sequence[str], end: Connection) -> None:
    """Post batches once told to, a small one first; every transfer of each has to be posted."""
    made = []
    for seed, size in enumerate((BATCH // 10, *[BATCH] * BATCHES)):
        calls = []
        for payer, payee, amount in payments(len(groups), size, seed):
            by, to = groups[payer], groups[payee]
            text = format_amount(amount, CLEARING_SCALE)
            calls.append(Create(uuid.uuid4(), by, f"{by}/ines", f"{to}/moss", text, Unit.CLEARING))
        made.append(calls)
    engine = make_engine(url)
    states = set()
    for number, calls in enumerate(made):
        with transaction(engine) as session:
            outcomes = handle(session, calls)
        states |= {one.transfer.state for one in outcomes if one.transfer and not one.error}
        if number == 0:
            end.send(True)  # noqa: FBT003 (that it is ready)
            end.recv()
    engine.dispose()
    end.send(states == {TransferState.POSTED} and all(one.error is None for one in outcomes))
    end.close()


def _body(hubs: Sequence[PayingHub], payer: int, payee: int, amount: int) -> Json:
    return {
        "payer": f"{hubs[payer].group_id}/ines",
        "payee": f"{hubs[payee].group_id}/moss",
        "amount": format_amount(amount, CLEARING_SCALE),
        "unit": "clearing",
    }


def _batches_over_http(service: Processes, hubs: Sequence[PayingHub]) -> float:
    """Post batches, each by one hub to many, over four connections at once."""
    requests = []
    for number in range(2 * BATCHES):
        calls = [
            {"do": "create", "id": str(uuid.uuid4()), **_body(hubs, number, payee, amount)}
            for _, payee, amount in _some(BATCH)
            if payee != number
        ]
        requests.append((hubs[number], calls))
    signed = [
        hub.call(service.url, "POST", "/transfers/batch", {"calls": calls})
        for hub, calls in requests
    ]
    start = time.perf_counter()
    answers = asyncio.run(ask_all(service.ports, signed, BATCH_CLIENTS))
    taken = time.perf_counter() - start
    for _, status, body in answers:
        _require(status == OK and json.loads(body)["failed"] == 0, f"{status}: {body[:300]!r}")
    return sum(len(calls) for _, calls in requests) / taken


def _singles(service: Processes, ports: Sequence[int], hubs: Sequence[PayingHub]) -> float:
    """Push single transfers, signed beforehand, over 32 connections."""
    requests = [
        hubs[payer].call(
            service.url, "PUT", f"/transfers/{uuid.uuid4()}", _body(hubs, payer, payee, amount)
        )
        for payer, payee, amount in _some(SINGLES)
    ]
    start = time.perf_counter()
    answers = asyncio.run(ask_all(ports, requests, CLIENTS))
    taken = time.perf_counter() - start
    statuses = {status for _, status, _ in answers}
    _require(statuses == {MADE}, f"transfers were answered {statuses}")
    return SINGLES / taken


def _with_a_past(url: str, entries: int) -> Iterator[Figure]:
    """Measure statements, balances and the audit of the chains at so many entries."""
    with _world(url) as (engine, hubs):
        fill(engine, hubs, entries)
        _say("statements and balances")
        with _served(url, 1, hubs) as service:
            statement = _at_any_day(engine, "statement?from")
            yield _reads("statement_p99_ms", service, hubs, statement, entries)
            balance = _at_any_day(engine, "balance?at")
            yield _reads("balance_p99_ms", service, hubs, balance, entries)
        _say("the audit of the chains")
        with reading(engine) as session:
            rows = session.scalar(select(func.count()).select_from(ChainRow)) or 0
            start = time.perf_counter()
            wrong = chains(session).problems
            taken = time.perf_counter() - start
        _require(not wrong, f"the audit says {wrong[:3]}")
    yield figure(
        "verify_1m_rows_s", "s a million rows of chains", "none", [taken * MILLION / rows], []
    )


def _at_any_day(engine: Engine, path: str) -> Callable[[PayingHub], str]:
    """Return how to ask for what begins, or is, at any day of the year."""
    chance = random.Random(2)  # noqa: S311 (the same days at each run)
    with reading(engine) as session:
        start = now(session) - YEAR

    def asked(hub: PayingHub) -> str:
        day = (start + timedelta(days=chance.randrange(300))).date()
        return f"/accounts/{hub.group_id}/{path}={day}"

    return asked


def _reads(
    name: str,
    service: Processes,
    hubs: Sequence[PayingHub],
    path: Callable[[PayingHub], str],
    entries: int,
) -> Figure:
    """Ask one after the other, every second time of a hot account; the first run warms up."""
    taken = []
    chance = random.Random(3)  # noqa: S311 (the same accounts at each run)
    for _ in range(RUNS + 1):
        asked = [hubs[chance.randrange(chance.choice((HOT, HUBS)))] for _ in range(READS // RUNS)]
        requests = [hub.call(service.url, "GET", path(hub)) for hub in asked]
        answers = asyncio.run(ask_all(service.ports, requests, 1))
        _require({status for _, status, _ in answers} == {OK}, f"{answers[0][1:]}")
        taken.append(quantiles([1_000 * seconds for seconds, _, _ in answers], n=100)[98])
    return figure(name, f"ms at {entries} entries", "none", taken[1:], [])


def _say(what: str) -> None:
    progress_console.print(f"{what} …", highlight=False)


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 (what has to hold)
    if not holds:
        raise RuntimeError(otherwise)
