"""Many hubs at 20 hot accounts at once, and acceptances that race expiry: sums, limits, errors."""

import asyncio
import json
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from rich.progress import Progress
from sqlalchemy import Engine, select, update

from api.terminal import progress_console
from bench.crash import World, compared, on_postgresql
from bench.crash_load import Load
from bench.paying_hubs import PayingHub
from clearing.calls import Create, Move, Verb, expire_due, handle
from clearing.ledger import Journal
from clearing.transfers import Transfer, TransferState, Unit
from commons.database import now, reading, transaction

RACES: Final = 1_000
RACED_AT_ONCE: Final = 50
POLL_SECONDS: Final = 0.2
_ENDS: Final = {TransferState.POSTED, TransferState.EXPIRED}


@dataclass(frozen=True)
class Soaked:
    """What came of it; `failed` are answers that told of a failure, and calls without an answer."""

    answers: int
    failed: int
    missing: int
    over_limit: int
    sum: int
    unsound: int
    races: int
    ended_twice_or_never: int

    def as_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


def measure(answers: int, races: int = RACES) -> Iterator[Soaked]:
    """Have 16 clients call two processes until so many answers came, then race acceptances.

    Ends the program with 1 where anything failed or is wrong.
    """
    with on_postgresql() as world:
        load = Load(world.service.url, world.service.ports, world.hubs)
        asyncio.run(_pay(load, answers))
        wrong = _race(world, races)
        found = compared(world.engine, load.noted)
    soaked = Soaked(
        load.noted.answers,
        load.failed,
        found.missing,
        found.over_limit,
        found.sum,
        found.unsound,
        races,
        wrong,
    )
    yield soaked
    if any((soaked.failed, found.missing, found.over_limit, found.sum, found.unsound, wrong)):
        sys.exit("calls failed, or the books are wrong")


async def _pay(load: Load, answers: int) -> None:
    paying = asyncio.create_task(load.run(give_up_seconds=None))
    with Progress(console=progress_console, transient=True) as progress:
        task = progress.add_task("answers", total=answers)
        while load.noted.answers < answers and not paying.done():
            await asyncio.sleep(POLL_SECONDS)
            progress.update(task, completed=load.noted.answers)
    load.stop()
    await paying


def _race(world: World, races: int) -> int:
    """Accept and expire the same transfers at once; return how many did not end exactly once."""
    wrong = 0
    with ThreadPoolExecutor(3) as threads:
        for first in range(0, races, RACED_AT_ONCE):
            payer, payee = world.hubs[first % 7], world.hubs[10 + first % 7]
            ids = _pending(world.engine, payer, payee, min(RACED_AT_ONCE, races - first))
            accepting = [Move(one, payee.group_id, Verb.ACCEPT) for one in ids]
            ready = threading.Barrier(3)
            done = [
                threads.submit(_accept, world.engine, accepting[::2], ready),
                threads.submit(_accept, world.engine, accepting[1::2], ready),
                threads.submit(_expire, world.engine, len(ids), ready),
            ]
            for one in done:
                one.result()
            wrong += _wrongly_ended(world.engine, ids)
    return wrong


def _pending(engine: Engine, payer: PayingHub, payee: PayingHub, count: int) -> Sequence[uuid.UUID]:
    """Make transfers of next to nothing whose time is over in a moment, one after the other."""
    by, to = payer.group_id, payee.group_id
    calls = [
        Create(uuid.uuid4(), by, f"{by}/ines", f"{to}/moss", "0.0001", Unit.CLEARING)
        for _ in range(count)
    ]
    with transaction(engine) as session:
        outcomes = handle(session, calls)
        made = [one.transfer.id for one in outcomes if one.transfer and one.error is None]
        moment = now(session)
        for number, one in enumerate(made):
            expires_at = moment + timedelta(milliseconds=5 + 3 * number)
            session.execute(
                update(Transfer).where(Transfer.id == one).values(expires_at=expires_at)
            )
    return made


def _accept(engine: Engine, calls: Sequence[Move], ready: threading.Barrier) -> None:
    ready.wait()
    for call in calls:
        with transaction(engine) as session:
            handle(session, [call])


def _expire(engine: Engine, count: int, ready: threading.Barrier) -> None:
    ready.wait()
    for _ in range(count):
        with transaction(engine) as session:
            expire_due(session)


def _wrongly_ended(engine: Engine, ids: Sequence[uuid.UUID]) -> int:
    with transaction(engine) as session:  # what nobody was in time for
        session.execute(
            update(Transfer)
            .where(Transfer.id.in_(ids), Transfer.ended_at.is_(None))
            .values(expires_at=now(session))
        )
        expire_due(session)
    with reading(engine) as session:
        states = dict(
            session.execute(select(Transfer.id, Transfer.state).where(Transfer.id.in_(ids))).all()
        )
        posted = set(session.scalars(select(Journal.id).where(Journal.id.in_(ids))))
    return sum(
        states[one] not in _ENDS or (one in posted) != (states[one] is TransferState.POSTED)
        for one in ids
    )
