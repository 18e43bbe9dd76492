"""Kill -9 of the service and of PostgreSQL under load: what is missing that was acknowledged."""

import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from rich.progress import Progress
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from api.migrations import upgrade
from api.terminal import progress_console
from bench.crash_load import Load, Noted
from bench.paying_hubs import PayingHub, admit_hubs
from bench.postgres import Server, ensure, new_database, server_home
from bench.processes import Processes
from clearing.accounts import Account, Position, set_pair_limit
from clearing.audit import audit
from clearing.ledger import ChainRow
from clearing.transfers import Transfer
from commons.database import make_engine, reading, transaction
from commons.money import CLEARING_SCALE

HUBS: Final = 20
HOUR: Final = 10**CLEARING_SCALE
STOP: Final = 100 * HOUR
PAIR_STOP: Final = 40 * HOUR
SHORTEST_SECONDS, LONGEST_SECONDS = 0.3, 1.5
DURABLE: Final = ("fsync=on", "full_page_writes=on", "synchronous_commit=on")
FORGETFUL: Final = ("fsync=on", "full_page_writes=on", "synchronous_commit=off")
_SIZE: Final = ("max_connections=100", "wal_buffers=16MB", "wal_writer_delay=10s")


@dataclass(frozen=True)
class Crash:
    """What one crash came to, or all of them; `unsound` counts what an audit finds.

    `missing` are acknowledged transfers that are not there or stand before what was acknowledged,
    and heads of chains that were told and are not there; `unacknowledged_present` is no fault:
    hubs that are not answered ask again.
    """

    round: int
    database: str
    killed: str
    acknowledged: int = 0
    missing: int = 0
    unacknowledged_present: int = 0
    over_limit: int = 0
    sum: int = 0
    unsound: int = 0
    recovery_seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost and nothing is wrong."""
        return not (self.missing or self.over_limit or self.sum or self.unsound)

    def as_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


def measure(rounds: int, *, prove: bool = False) -> Iterator[Crash]:
    """Crash `rounds` times on each database, and at last yield the total.

    Ends the program with 1 where anything was lost or is wrong. With `prove` PostgreSQL commits
    without waiting for its disk, and it is finding no loss that ends the program with 1.
    """
    seen: list[Crash] = []
    with Progress(console=progress_console, transient=True) as progress:
        worlds = (on_postgresql(prove=prove),) if prove else (on_postgresql(), _on_sqlite())
        task = progress.add_task("crashes", total=rounds * len(worlds))
        for world in worlds:
            with world as service:
                for number in range(1, rounds + 1):
                    seen.append(service.crash(number))
                    yield seen[-1]
                    progress.advance(task)
    total = _total(seen)
    yield total
    judge(total, prove=prove)


def judge(total: Crash, *, prove: bool) -> None:
    """End the program with 1 where what was found is not what has to be."""
    if prove and not total.missing:
        sys.exit("nothing was lost, where it had to be: this harness proves nothing")
    if not prove and not total.is_sound:
        sys.exit("acknowledged payments were lost, or the books are wrong")


def _total(seen: Sequence[Crash]) -> Crash:
    def added(name: str) -> int:
        return sum(getattr(crash, name) for crash in seen)

    return Crash(
        len(seen),
        "all",
        "all",
        added("acknowledged"),
        added("missing"),
        added("unacknowledged_present"),
        max(crash.over_limit for crash in seen),
        max((crash.sum for crash in seen), key=abs),
        max(crash.unsound for crash in seen),
        max(crash.recovery_seconds for crash in seen),
    )


@dataclass
class World:
    """A service with its database and hubs, to be killed and started again."""

    service: Processes
    engine: Engine
    hubs: Sequence[PayingHub]
    server: Server | None

    def crash(self, number: int) -> Crash:
        """Pay, kill at a random moment, start again, and compare with what was acknowledged."""
        chance = random.Random()  # noqa: S311 (another moment each time)
        load = Load(self.service.url, self.service.ports, self.hubs)
        kinds = ("service",) if self.server is None else ("service", "postgresql")
        killed = kinds[number % len(kinds)]
        seconds = chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
        asyncio.run(self._pay_until(load, killed, seconds))
        self.engine.dispose()
        start = time.monotonic()
        if killed == "service":
            self.service.start()
        elif self.server is not None:
            self.server.start()
        asyncio.run(self.service.wait_until_they_answer(self.hubs[0]))
        recovery = round(time.monotonic() - start, 3)
        found = compared(self.engine, load.noted)
        kind = "sqlite" if self.server is None else "postgresql"
        return replace(found, round=number, database=kind, killed=killed, recovery_seconds=recovery)

    async def _pay_until(self, load: Load, killed: str, seconds: float) -> None:
        paying = asyncio.create_task(load.run())
        await asyncio.sleep(seconds)
        if killed == "service":
            self.service.kill()
        elif self.server is not None:
            await asyncio.to_thread(self.server.kill)
        load.stop()
        await paying


@contextmanager
def on_postgresql(*, prove: bool = False) -> Iterator[World]:
    """Serve by two processes on a PostgreSQL of our own that keeps what it commits, or does not."""
    with ExitStack() as stack:
        home = stack.enter_context(server_home(Path(tempfile.gettempdir())))
        server = Server(ensure(), home, (*_SIZE, *(FORGETFUL if prove else DURABLE)))
        server.start()
        stack.callback(server.stop)
        url = stack.enter_context(new_database(server.url))
        yield stack.enter_context(_serving(url, 2, server, prove=prove))


@contextmanager
def _on_sqlite() -> Iterator[World]:
    """Serve by one process on a file."""
    with tempfile.TemporaryDirectory(prefix="localpay-crash-") as folder:
        url = f"sqlite:///{folder}/localpay.sqlite"
        with _serving(url, 1, None, prove=False) as world:
            yield world


@contextmanager
def _serving(url: str, count: int, server: Server | None, *, prove: bool) -> Iterator[World]:
    upgrade(url)
    engine = make_engine(url)
    with tempfile.TemporaryDirectory(prefix="localpay-crash-") as folder:
        hubs = admit_hubs(engine, HUBS, credit=STOP, surplus=STOP)
        with transaction(engine) as session:
            for debtor, creditor in itertools.pairwise(hubs):
                set_pair_limit(session, debtor.group_id, creditor.group_id, PAIR_STOP)
        service = Processes(Path(folder), url, count, forgetful=prove)
        service.start()
        world = World(service, engine, hubs, server)
        try:
            asyncio.run(service.wait_until_they_answer(hubs[0]))
            yield world
        finally:
            service.kill()
            engine.dispose()


def compared(engine: Engine, noted: Noted) -> Crash:
    """Hold the database against what was acknowledged."""
    with reading(engine) as session:
        there = dict(session.execute(select(Transfer.id, Transfer.state)).all())
        heads = {
            (name, version): head
            for name, version, head in session.execute(
                select(Account.name, ChainRow.version, ChainRow.hash).join(
                    Account, Account.id == ChainRow.account_id
                )
            )
        }
        open_questions = noted.unanswered - set(noted.states)
        missing = sum(
            transfer_id not in there or (state != "pending" and there[transfer_id] != state)
            for transfer_id, state in noted.states.items()
        )
        missing += sum(
            version > 0 and heads.get((group, version)) != head
            for (group, version), head in noted.heads.items()
        )
        return Crash(
            0,
            "",
            "",
            acknowledged=noted.answers,
            missing=missing,
            unacknowledged_present=sum(one in there for one in open_questions),
            over_limit=_over_limit(session),
            sum=session.scalar(select(func.sum(Account.balance))) or 0,
            unsound=sum(len(finding.problems) for finding in audit(session)),
        )


def _over_limit(session: Session) -> int:
    """Count accounts and pairs beyond a stop, none of which was ever lowered here."""
    accounts = session.scalars(select(Account)).all()
    pairs = session.scalars(select(Position)).all()
    return sum(min(account.room_below(), account.room_above()) < 0 for account in accounts) + sum(
        position.room() < 0 for position in pairs
    )
