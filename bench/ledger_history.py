"""A ledger with a past: payments of a year, posted by the ledger's own door, many at a time."""

import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.progress import Progress
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.terminal import progress_console
from bench.paying_hubs import PayingHub
from clearing import bulk, transfers
from clearing.accounts import DEFAULT_UNION, Account, AccountKind
from clearing.ledger import Book, Draft, JournalKind, Line, post
from clearing.transfers import HeldTransfer, Party, TransferState, Unit
from clearing.transfers.model import TABLE
from commons.database import now, transaction
from commons.money import CLEARING_SCALE, format_amount

HOT: Final = 20
LARGEST: Final = 20 * 10**CLEARING_SCALE
YEAR: Final = timedelta(days=365)
_AT_ONCE: Final = 10_000
_KEY: Final = bytes(32)

Payment = tuple[int, int, int]
"""Payer and payee as their places among the hubs, and how much."""


def payments(hubs: int, count: int, seed: int) -> Iterator[Payment]:
    """Yield payments of which each side is every second time one of the 20 hot accounts."""
    chance = random.Random(seed)  # noqa: S311 (the same payments at each run)
    for _ in range(count):
        payer = payee = 0
        while payer == payee:
            payer, payee = (chance.randrange(chance.choice((HOT, hubs))) for _ in range(2))
        yield payer, payee, chance.randint(1, LARGEST)


def fill(engine: Engine, hubs: Sequence[PayingHub], entries: int) -> None:
    """Post so many entries, two a payment, evenly over the past year."""
    count = entries // 2
    with transaction(engine) as session:
        accounts = dict(
            session.execute(
                select(Account.group_id, Account.id).where(Account.kind == AccountKind.GROUP)
            ).all()
        )
        start = now(session) - YEAR
    wanted = payments(len(hubs), count, seed=1)
    with Progress(console=progress_console, transient=True) as progress:
        task = progress.add_task("a year's payments", total=count)
        for first in range(0, count, _AT_ONCE):
            size = min(_AT_ONCE, count - first)
            taken = [next(wanted) for _ in range(size)]
            moments = [start + YEAR * ((first + number) / count) for number in range(size)]
            with transaction(engine) as session:
                _post(session, hubs, accounts, list(zip(taken, moments, strict=True)))
            progress.advance(task, size)


def _post(
    session: Session,
    hubs: Sequence[PayingHub],
    accounts: dict[str | None, int],
    taken: Sequence[tuple[Payment, datetime]],
) -> None:
    made = [_transfer(hubs, payment, moment) for payment, moment in taken]
    pairs = {(accounts[one.payer_group], accounts[one.payee_group]) for one in made}
    book = Book.lock(session, pairs)
    bulk.insert_rows(
        session,
        TABLE,
        HeldTransfer.__slots__,
        [[getattr(one, name) for name in HeldTransfer.__slots__] for one in made],
    )
    for one, (_, moment) in zip(made, taken, strict=True):
        payer, payee = accounts[one.payer_group], accounts[one.payee_group]
        amount, digest = one.payee_clearing, transfers.content_digest(one)
        draft = Draft(
            one.id,
            JournalKind.PAYMENT,
            [(payer, payee, -amount), (payee, payer, amount)],
            [Line(payer, one.payee_group, digest), Line(payee, one.payer_group, digest)],
        )
        post(book, draft, moment)
    book.write()


def _transfer(hubs: Sequence[PayingHub], payment: Payment, moment: datetime) -> HeldTransfer:
    payer, payee, amount = payment
    return HeldTransfer(
        id=uuid.uuid4(),
        union_id=DEFAULT_UNION,
        state=TransferState.POSTED,
        reserved=False,
        initiator=Party.PAYER,
        payer_group=hubs[payer].group_id,
        payee_group=hubs[payee].group_id,
        payer_member="ines",
        payee_member="moss",
        description="Bicycle repair",
        amount=format_amount(amount, CLEARING_SCALE),
        unit=Unit.CLEARING,
        payer_amount=amount,
        payee_amount=amount,
        payer_clearing=amount,
        payee_clearing=amount,
        payer_rate="1/1",
        payee_rate="1/1",
        key=_KEY,
        request_digest="0" * 64,
        created_at=moment,
        expires_at=moment + timedelta(days=7),
        ended_at=moment,
    )
