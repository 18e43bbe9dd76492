"""What clearing does by itself: pending transfers past their time are ended."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import Engine, exists, select

from clearing.calls import expire_due
from clearing.transfers import Transfer, TransferState
from commons import database
from commons.database import reading, transaction


def chores(engine: Engine) -> list[Callable[[], Awaitable[int]]]:
    """Return what a worker repeats; each returns how much there was to do."""

    async def expire() -> int:
        return await asyncio.to_thread(_expire, engine)

    return [expire]


def _expire(engine: Engine) -> int:
    pending = Transfer.state == TransferState.PENDING
    with reading(engine) as session:
        late = exists().where(pending, Transfer.expires_at <= database.now(session))
        if not session.scalar(select(late)):
            return 0
    with transaction(engine) as session:
        return expire_due(session)
