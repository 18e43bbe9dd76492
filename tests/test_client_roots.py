"""A hub's client keeps the published roots, and finds out those that are of another history."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from between import Between, Pauses
from client_world import client_of, posted
from paying_world import World, open_doors
from sqlalchemy import Engine, text
from tampering import guards

from api.seals import seal_of
from clearing import roots
from clearing.client import Client, FileStore, HistoryError, RootError, UntrustedAnswerError
from clearing.client.records import Record
from clearing.roots import PublishedRoot
from commons.database import Base, transaction
from commons.errors import NotFoundError
from commons.settings import Settings

TODAY = datetime.now(UTC).date()
"""Days are published before they are over here: what was posted so far is in their roots."""

DAY = timedelta(days=1)
TABLE = Base.metadata.tables[PublishedRoot.__tablename__]


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    with Between().serving() as between:
        yield from open_doors(settings, sqlite_engine, between)


@pytest.fixture
def leeds(world: World) -> Iterator[Client]:
    with client_of(world, world.leeds, Pauses()) as client:
        yield client


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept.jsonl"


def barcelona(world: World, path: Path) -> AbstractContextManager[Client]:
    """The client of barcelona, anew each time: what it knows is in the file."""
    return client_of(world, world.barcelona, Pauses(), FileStore(path))


def publish(world: World, day: date) -> None:
    with transaction(world.engine) as session:
        roots.publish(
            session, day, seal_of(world.service.services.settings, world.service.services.keys)
        )


def other_root(world: World, day: date, previous: str) -> None:
    """Publish another root for a day, signed by the service, in the place of the true one."""
    with transaction(world.engine) as session:
        guards(session, TABLE, on=False)
        kept = session.get_one(PublishedRoot, day)
        told = kept.document | {"previous": previous}
        told["hash"] = roots.hash_of(previous, told["day"], told["accounts"], told["root"])
        unsigned = {name: told[name] for name in ("day", "accounts", "root", "previous", "hash")}
        seal = seal_of(world.service.services.settings, world.service.services.keys)
        kept.document = seal.put(unsigned, datetime.now(UTC))
        session.flush()
        guards(session, TABLE, on=True)


def kept_roots(path: Path) -> list[Record]:
    return [record for record in FileStore(path).read() if "root" in record]


def test_two_hubs_keep_the_same_root_of_each_day(world: World, leeds: Client, path: Path) -> None:
    with barcelona(world, path) as client:
        posted(client, leeds, "1.00")
        publish(world, TODAY)
        posted(client, leeds, "2.00")
        client.check()  # what lies before is forgotten, and the root of before is proven yet
        assert client.root(TODAY) == leeds.root(TODAY)
    publish(world, TODAY + DAY)
    publish(world, TODAY + 2 * DAY)
    with barcelona(world, path) as client:
        last = client.root(TODAY + 2 * DAY)
        assert last == leeds.root(TODAY + 2 * DAY)
        assert client.root(TODAY)["day"] == TODAY.isoformat()
        assert client.check().version == 2
        with pytest.raises(NotFoundError):
            client.root(TODAY - DAY)
    assert [(one["day"], one["root"], one["version"]) for one in kept_roots(path)] == [
        (TODAY.isoformat(), leeds.root(TODAY)["hash"], "1"),
        ((TODAY + 2 * DAY).isoformat(), last["hash"], "2"),
    ]


def test_a_root_of_another_chain_is_refused_and_not_kept(
    world: World, leeds: Client, path: Path
) -> None:
    with barcelona(world, path) as client:
        posted(client, leeds, "1.00")
        for day in (TODAY, TODAY + DAY, TODAY + 2 * DAY):
            publish(world, day)
        told = client.root(TODAY)
    before = path.read_bytes()
    other_root(world, TODAY + DAY, "ab" * 32)
    with barcelona(world, path) as client:
        for day in (TODAY + DAY, TODAY + 2 * DAY):
            with pytest.raises(RootError) as found:
                client.root(day)
            assert (found.value.day, found.value.kept) == (TODAY, told["hash"])
    other_root(world, TODAY, "ab" * 32)
    with barcelona(world, path) as client, pytest.raises(RootError) as found:
        client.root(TODAY)
    assert (found.value.day, found.value.kept) == (TODAY, told["hash"])
    assert path.read_bytes() == before


def test_a_root_over_another_history_than_the_one_told_is_refused(
    world: World, leeds: Client, path: Path
) -> None:
    with barcelona(world, path) as client:
        posted(client, leeds, "1.00")
        posted(client, leeds, "1.00")
        head = client.check().head
        rewrite = text("UPDATE chain_rows SET hash = :other WHERE hash = :hash")
        with transaction(world.engine) as session:
            guards(session, Base.metadata.tables["chain_rows"], on=False)
            session.execute(rewrite, {"other": "ab" * 32, "hash": head})
        publish(world, TODAY)
        with transaction(world.engine) as session:
            session.execute(rewrite, {"other": head, "hash": "ab" * 32})
        with pytest.raises(HistoryError) as found:
            client.root(TODAY)
    assert (found.value.kept, found.value.shown) == (head, "ab" * 32)
    assert kept_roots(path) == []


PROOF = ("type", "cryptosuite", "verificationMethod", "proofPurpose", "created", "proofValue")
Wrong = Callable[[dict[str, object]], None]


def another_signature(document: dict[str, object]) -> None:
    document["accounts"] = 7


def no_signature(document: dict[str, object]) -> None:
    document["proof"] = dict.fromkeys(PROOF, "x")


def another_day(document: dict[str, object]) -> None:
    document["day"] = (TODAY + DAY).isoformat()


@pytest.mark.parametrize("wrong", [another_signature, no_signature, another_day])
def test_a_root_that_the_service_did_not_sign_is_not_believed(
    world: World, leeds: Client, path: Path, wrong: Wrong
) -> None:
    with barcelona(world, path) as client:
        posted(client, leeds, "1.00")
        publish(world, TODAY)
        with transaction(world.engine) as session:
            guards(session, TABLE, on=False)
            kept = session.get_one(PublishedRoot, TODAY)
            document = dict(kept.document)
            wrong(document)
            kept.document = document
        with pytest.raises(UntrustedAnswerError):
            client.root(TODAY)
    assert kept_roots(path) == []


def test_what_is_kept_is_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "kept.jsonl", set[tuple[int, int]]()
    true_fsync = os.fsync

    def fsync(number: int) -> None:
        true_fsync(number)
        file = os.fstat(number)
        synced.add((file.st_ino, file.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    store = FileStore(path)
    record: Record = {"union": "main", "account": "leeds", "version": "1", "head": "a", "time": ""}
    for number in range(3):
        store.add({**record, "version": str(number)})
        kept = path.stat()
        assert (kept.st_ino, kept.st_size) in synced
    assert tmp_path.stat().st_ino in {inode for inode, _ in synced}
    store.replace([record])
    assert (path.stat().st_ino, path.stat().st_size) in synced
