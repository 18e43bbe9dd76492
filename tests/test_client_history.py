"""A hub's client keeps the heads that it was told, and finds out when they were not the truth."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from between import Between, Pauses
from client_world import client_of, pay, posted
from paying_world import World, open_doors
from sqlalchemy import Engine, delete, select, text, update

from clearing import chain
from clearing.accounts import Account
from clearing.client import Client, FileStore, Head, HistoryError, MemoryStore, UntrustedAnswerError
from clearing.client.history import History
from clearing.ledger import ChainRow, hashed_row
from commons.database import transaction
from commons.settings import Settings


@pytest.fixture
def between() -> Iterator[Between]:
    with Between().serving() as running:
        yield running


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine, between: Between) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine, between)


@pytest.fixture
def leeds(world: World) -> Iterator[Client]:
    with client_of(world, world.leeds, Pauses()) as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "heads.jsonl"


@pytest.fixture
def barcelona(world: World, path: Path) -> Iterator[Client]:
    with client_of(world, world.barcelona, Pauses(), FileStore(path)) as client:
        yield client


def again(world: World, path: Path) -> Iterator[Client]:
    """The client of barcelona after its process was started anew."""
    with client_of(world, world.barcelona, Pauses(), FileStore(path)) as client:
        yield client


def rewritten(engine: Engine, version: int) -> None:
    """Rewrite barcelona's account from a version on, in itself consistently, past all guards."""
    with transaction(engine) as session:
        triggers = select(text("name")).select_from(text("sqlite_master"))
        for name in session.scalars(triggers.where(text("type = 'trigger'"))).all():
            session.execute(text(f'DROP TRIGGER "{name}"'))
        account = session.scalars(select(Account).filter_by(name="barcelona")).one()
        rows = session.scalars(
            select(ChainRow).filter_by(account_id=account.id).order_by(ChainRow.version)
        ).all()
        columns = ChainRow.__table__.columns
        head, balance = chain.first_hash(account.union_id, account.name), 0
        for row in rows:
            amount = row.amount - (row.version == version)
            balance += amount
            values = {column.name: getattr(row, column.name) for column in columns}
            told = values | {"amount": amount, "balance": balance}
            head = chain.next_hash(head, hashed_row(account.name, told))
            session.execute(
                update(ChainRow)
                .where(ChainRow.account_id == account.id, ChainRow.version == row.version)
                .values(amount=amount, balance=balance, hash=head)
            )
        account.head = head


def test_a_true_history_is_proven_from_its_start_and_from_the_last_check_on(
    world: World, barcelona: Client, leeds: Client, path: Path
) -> None:
    for _ in range(3):
        posted(barcelona, leeds, "1.00")
    proven = barcelona.check()
    assert (proven.version, proven.head) == (3, barcelona.account()["head"])
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2  # the service's key, one head
    for _ in range(2):
        posted(barcelona, leeds, "1.00")
    for client in again(world, path):
        assert client.check().version == 5
        assert client.check().version == 5
    assert leeds.check().version == 5


def test_a_history_rewritten_after_the_last_check_is_refused(
    world: World, barcelona: Client, leeds: Client
) -> None:
    posted(barcelona, leeds, "1.00")
    told = barcelona.check()
    rewritten(world.engine, 1)
    with pytest.raises(HistoryError) as found:
        barcelona.account()
    assert (found.value.account, found.value.version) == ("barcelona", 1)
    assert found.value.kept == told.head
    assert found.value.shown == leeds_sees(world)
    assert found.value.kept in str(found.value)
    assert found.value.shown in str(found.value)


def leeds_sees(world: World) -> str:
    with transaction(world.engine) as session:
        return session.scalars(select(Account.head).filter_by(name="barcelona")).one()


def test_a_rewriting_is_found_though_the_account_has_gone_on(
    world: World, barcelona: Client, leeds: Client, path: Path
) -> None:
    posted(barcelona, leeds, "1.00")
    told = barcelona.account()["head"]
    posted(barcelona, leeds, "2.00")
    rewritten(world.engine, 1)
    posted(barcelona, leeds, "3.00")
    for client in again(world, path):
        with pytest.raises(HistoryError) as found:
            client.check()
        assert (found.value.version, found.value.kept) == (1, told)


def test_a_statement_that_says_other_than_what_was_chained_is_not_believed(
    world: World, barcelona: Client, leeds: Client
) -> None:
    posted(barcelona, leeds, "1.00")
    with transaction(world.engine) as session:
        session.execute(text("UPDATE transfers SET payee_member = 'somebody'"))
    with pytest.raises(UntrustedAnswerError, match="digest"):
        barcelona.check()
    with transaction(world.engine) as session:
        session.execute(text("UPDATE transfers SET payee_member = 'moss'"))
    assert barcelona.check().version == 1


def test_a_history_cut_back_is_refused(
    world: World, barcelona: Client, leeds: Client, path: Path
) -> None:
    posted(barcelona, leeds, "1.00")
    posted(barcelona, leeds, "1.00")
    head = barcelona.check().head
    rewritten(world.engine, 99)
    with transaction(world.engine) as session:
        account = session.scalars(select(Account).filter_by(name="barcelona")).one()
        of_account = ChainRow.account_id == account.id
        session.execute(delete(ChainRow).where(of_account, ChainRow.version == 2))
        left = session.scalars(select(ChainRow).where(of_account)).one()
        account.version, account.head = 1, left.hash
    for client in again(world, path):
        with pytest.raises(HistoryError) as found:
            client.check()
        assert (found.value.version, found.value.kept) == (2, head)


def test_a_head_is_kept_before_the_answer_is_used(world: World, path: Path, leeds: Client) -> None:
    for client in again(world, path):
        posted(client, leeds, "1.00")
        client.account()
    kept = FileStore(path).read()
    assert [record["version"] for record in kept if "head" in record] == ["0", "1"]
    path.write_bytes(path.read_bytes() + b'{"union": "ma')  # cut off while it was written
    for client in again(world, path):
        pay(client, "1.00")
        assert client.check().version == 1


def head(version: int, name: str = "a") -> Head:
    return Head("main", "barcelona", version, name * 64)


def row(version: int, amount: int = 1) -> chain.Row:
    return chain.Row(
        account="barcelona",
        version=str(version),
        journal="6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11",
        kind="payment",
        counterparty="leeds",
        amount=str(amount),
        balance=str(version),
        time="2026-11-20T10:00:00.000000Z",
        digest="0" * 64,
    )


def test_a_late_answer_to_an_earlier_call_is_no_second_history() -> None:
    store = MemoryStore()
    history = History(store)
    history.prove("main", "barcelona", [row(1), row(2), row(3)])
    history.told(head(1))
    assert [record["version"] for record in store.read()] == ["3"]
    history.told(head(5))
    history.told(head(4))
    history.told(head(5))
    with pytest.raises(HistoryError):
        history.told(head(5, "b"))
    with pytest.raises(HistoryError):
        History(store).told(head(4, "b"))


def test_rows_that_are_missing_or_of_another_account_are_refused() -> None:
    for rows in ([row(2)], [row(1), row(3)], [row(1), row(1)]):
        with pytest.raises(HistoryError):
            History(MemoryStore()).prove("main", "barcelona", rows)
    with pytest.raises(HistoryError):
        History(MemoryStore()).prove("main", "leeds", [row(1)])
    with pytest.raises(HistoryError):
        History(MemoryStore()).prove("other", "barcelona", [row(1), row(1)])
