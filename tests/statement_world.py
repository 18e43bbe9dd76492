"""A short history of three groups: payments with rounding, a set-off, and its statements."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from clearing_world import accept, call, limit, made, open_world, pay, push
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, select

from clearing import rounds, statements, verifying
from clearing.accounts import account_of
from clearing.ledger import ChainRow
from clearing.sealing import Seal
from clearing.statements import Period, Place, Statement
from clearing.transfers import Unit
from clearing.verifying import Report
from commons import database
from commons.database import reading, transaction

KEY = Ed25519PrivateKey.generate()
SEAL = Seal("https://clearing.example", "https://clearing.example/actor#ed25519-key", KEY)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


def write_history(engine: Engine) -> None:
    """Pay in circles, in several currencies, and set off: every account gets some versions."""
    open_world(engine)
    for group_id in ("barcelona", "leeds", "ghent"):
        limit(engine, group_id)
    pay(engine, "barcelona", "leeds", "8.0000")
    pay(engine, "leeds", "ghent", "9.0000")
    odd = made(engine, push("ghent", "barcelona", "7", Unit.PAYER, description="=bread & <wine>"))
    call(engine, accept(odd))
    odd = made(engine, push("barcelona", "ghent", "17.77", Unit.PAYER, description="café"))
    call(engine, accept(odd))
    with transaction(engine) as session:
        round_id = rounds.propose(session).id
    with transaction(engine) as session:
        rounds.commit(session, round_id)
    pay(engine, "leeds", "barcelona", "1.0000")


def moments(engine: Engine, group_id: str) -> list[datetime]:
    """Return when a group's account was posted to, in the order of its versions."""
    with reading(engine) as session:
        account = account_of(session, group_id)
        rows = select(ChainRow.posted_at).where(ChainRow.account_id == account.id)
        return list(session.scalars(rows.order_by(ChainRow.version)))


def now(engine: Engine) -> datetime:
    """Return the database's clock, a moment after all that was posted."""
    with reading(engine) as session:
        return database.now(session)


def read(
    engine: Engine,
    group_id: str,
    start: datetime = BEGINNING,
    end: datetime | None = None,
    **how: Any,  # noqa: ANN401 (what `read` takes)
) -> Statement:
    """Return a statement's first page, by default of everything until now."""
    with reading(engine) as session:
        account = account_of(session, group_id)
        moment = database.now(session)
        return statements.read(session, account, Period.asked(start, end, moment), **how)


def pages(
    engine: Engine, group_id: str, start: datetime, end: datetime, limit_lines: int
) -> Iterator[Statement]:
    """Return all pages of a statement, each read by the cursor of the one before."""
    page = read(engine, group_id, start, end, limit=limit_lines)
    yield page
    while page.next_cursor is not None:
        with reading(engine) as session:
            account = account_of(session, group_id)
            place = Place.read(page.next_cursor)
            page = statements.read(session, account, place, limit=limit_lines)
        yield page


def sealed(statement: Statement) -> Json:
    """Return a statement as the service gives it."""
    return SEAL.put(statements.document(statement), datetime.now(UTC))


def verified(*documents: Json, roots: tuple[Json, ...] = (), key: bool = True) -> Report:
    """Verify statements and proofs of inclusion as they would lie in files."""
    read_documents = [
        verifying.read_statement(f"{number}.json", json.dumps(one).encode())
        for number, one in enumerate(documents)
    ]
    inclusions = [verifying.read_inclusion("root.json", json.dumps(one).encode()) for one in roots]
    public_key = KEY.public_key() if key else None
    moment = datetime.now(UTC) + timedelta(seconds=1)
    return verifying.verify(read_documents, inclusions, public_key, moment)


def leaves(value: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return the ways to all values in a document that hold no others."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*way, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*way, number))
    else:
        yield way


def changed(document: Json, way: tuple[str | int, ...]) -> Json:
    """Return a copy of a document in which the value at `way` is another one of its kind."""
    found = copy.deepcopy(document)
    holder: Any = found
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = _other(holder[way[-1]])
    return found


def _other(value: object) -> object:
    if value is None:
        return "something"
    if isinstance(value, int):
        return value + 1
    text = str(value)
    if not text:
        return "x"
    first = "1" if text[0] != "1" else "2"
    return first + text[1:]
