"""Roots are published once a day, chained and signed; an account is in them or it is told."""

import asyncio
import copy
import threading
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from clearing_world import HOUR, open_world
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from statement_world import KEY, SEAL, Json, changed, leaves, read, sealed, verified, write_history

from clearing import chain, merkle, roots, work
from clearing.accounts import account_of
from clearing.audit import audit
from clearing.ledger import Book, Draft, JournalKind, Line, post
from clearing.roots import PublishedHead, PublishedRoot
from commons import database, proofs
from commons.database import reading, transaction
from commons.errors import MalformedError, NotFoundError

MONDAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def pay_at(engine: Engine, moment: datetime, payer: str, payee: str) -> None:
    """Post an hour between two groups as if the database's clock said `moment`."""
    with transaction(engine) as session:
        a, b = account_of(session, payer), account_of(session, payee)
        book = Book.lock(session, [(a.id, b.id)])
        lines = [Line(a.id, payee, "00" * 32), Line(b.id, payer, "00" * 32)]
        entries = [(a.id, b.id, -HOUR), (b.id, a.id, HOUR)]
        post(book, Draft(uuid.uuid4(), JournalKind.PAYMENT, entries, lines), moment)
        book.write()


def done_by(chore: Callable[[], Awaitable[int]]) -> int:
    """What a chore says was done, run once."""

    async def run() -> int:
        return await chore()

    return asyncio.run(run())


def woken(_work: str) -> None:
    """What a chore wakes has no worker here."""


def publish(engine: Engine, day: date) -> PublishedRoot:
    with transaction(engine) as session:
        published = roots.publish(session, day, SEAL)
        session.expunge(published)
        return published


def inclusion(engine: Engine, group_id: str, day: date) -> Json:
    with reading(engine) as session:
        return roots.inclusion(session, account_of(session, group_id), day)


def broken(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(roots.broken(session))


@given(st.lists(st.binary(max_size=4), max_size=40), st.data())
def test_a_leaf_leads_to_the_root_from_its_own_place_alone(
    leaf_bytes: list[bytes], data: st.DataObject
) -> None:
    root = merkle.root(leaf_bytes)
    for index, leaf in enumerate(leaf_bytes):
        path = merkle.path(leaf_bytes, index)
        size = len(leaf_bytes)
        assert merkle.root_by(leaf, index, size, path) == root
        assert merkle.root_by(leaf + b"x", index, size, path) != root
        assert merkle.root_by(leaf, index, size, [*path, root]) != root
        if path:
            assert merkle.root_by(leaf, index, size, path[1:]) != root
            other = data.draw(st.integers(0, size - 1))
            if leaf_bytes[other] != leaf:
                assert merkle.root_by(leaf, other, size, path) != root
    assert merkle.root_by(b"", len(leaf_bytes), len(leaf_bytes), []) is None


def test_the_tree_is_that_of_rfc_6962() -> None:
    """The roots of its reference tests, of 0, 1, 2 and 8 leaves."""
    leaf_bytes = [
        bytes.fromhex(leaf)
        for leaf in (
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        )
    ]
    known = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for size, root in known.items():
        assert merkle.root(leaf_bytes[:size]).hex() == root


def test_days_are_published_in_their_order_each_as_it_ended(engine: Engine) -> None:
    open_world(engine)
    pay_at(engine, NOON, "barcelona", "leeds")
    pay_at(engine, NOON + DAY, "leeds", "ghent")
    with reading(engine) as session:
        assert roots.due_day(session) == MONDAY
    first, second = publish(engine, MONDAY), publish(engine, MONDAY + DAY)
    third = publish(engine, MONDAY + 2 * DAY)
    assert [one.accounts for one in (first, second, third)] == [2, 3, 3]
    assert first.previous == roots.FIRST_HASH
    assert (second.previous, third.previous) == (first.hash, second.hash)
    assert third.root == second.root != first.root
    assert third.hash != second.hash
    for one in (first, second, third):
        proof = proofs.read(one.document)
        assert proof is not None
        proofs.verify(proof, KEY.public_key(), now=datetime.now(UTC))
    with reading(engine) as session:
        assert [one.day for one in roots.latest(session)] == [
            MONDAY + 2 * DAY,
            MONDAY + DAY,
            MONDAY,
        ]
        assert [one.day for one in roots.latest(session, MONDAY + DAY)] == [MONDAY]
        assert roots.due_day(session) == MONDAY + 3 * DAY
        heads = session.execute(select(PublishedHead.day)).scalars().all()
    assert sorted(heads) == [MONDAY, MONDAY, MONDAY + DAY, MONDAY + DAY]  # what changed alone
    assert broken(engine) == []


def test_the_chore_publishes_what_was_missed_and_nothing_before_its_time(engine: Engine) -> None:
    open_world(engine)
    chore = work.chores(engine, SEAL, woken)["roots"]
    assert done_by(chore) == 0  # there is nothing to publish yet
    with reading(engine) as session:
        today = database.now(session)
    pay_at(engine, today - 3 * DAY, "barcelona", "leeds")
    pay_at(engine, today, "leeds", "barcelona")
    made = 0
    while done_by(chore):
        made += 1
    with reading(engine) as session:
        days = [one.day for one in roots.latest(session)]
        over = (database.now(session) - roots.GRACE).date() - DAY
    assert days[0] == over
    assert days == [over - n * DAY for n in range(made)]
    assert days[-1] == (today - 3 * DAY).date()
    assert broken(engine) == []


def test_two_processes_publish_a_day_once(postgresql_engine: Engine) -> None:
    open_world(postgresql_engine)
    pay_at(postgresql_engine, NOON, "barcelona", "leeds")
    done: list[int] = []
    barrier = threading.Barrier(2)

    def run() -> None:
        chore = work.chores(postgresql_engine, SEAL, woken)["roots"]
        barrier.wait()
        done.append(done_by(chore))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(postgresql_engine) as session:
        days = [one.day for one in roots.latest(session)]
    assert sum(done) == len(days) == len(set(days)) > 0
    assert broken(postgresql_engine) == []


def test_a_hub_proves_that_its_account_is_in_the_root(sqlite_engine: Engine) -> None:
    write_history(sqlite_engine)
    day = datetime.now(UTC).date()
    publish(sqlite_engine, day)
    groups = ("barcelona", "ghent", "leeds")
    statements = [sealed(read(sqlite_engine, group_id)) for group_id in groups]
    proven = [inclusion(sqlite_engine, group_id, day) for group_id in groups]
    report = verified(*statements, roots=tuple(proven))
    assert report.problems == []
    assert any(f"published for {day}" in said for said in report.checked)


def test_any_change_of_a_proof_of_inclusion_is_found(sqlite_engine: Engine) -> None:
    write_history(sqlite_engine)
    day = datetime.now(UTC).date()
    publish(sqlite_engine, day)
    statement, proven = sealed(read(sqlite_engine, "leeds")), inclusion(sqlite_engine, "leeds", day)
    for way in leaves(proven):
        try:
            problems = verified(statement, roots=(changed(proven, way),)).problems
        except MalformedError as error:
            problems = [error.detail]
        assert problems, way


def test_two_histories_are_found_by_the_root(sqlite_engine: Engine) -> None:
    """A service that shows a hub another history cannot show it the root that others were shown."""
    write_history(sqlite_engine)
    day = datetime.now(UTC).date()
    publish(sqlite_engine, day)
    statement, proven = read(sqlite_engine, "leeds"), inclusion(sqlite_engine, "leeds", day)
    *lines, last = statement.lines
    row = chain.Row(
        account="leeds",
        version=str(last.point.version),
        journal=last.journal,
        kind=last.kind,
        counterparty=last.counterparty,
        amount=str(last.amount - 5),
        balance=str(last.point.balance - 5),
        time=chain.time_text(last.time),
        digest=last.digest,
    )
    head = chain.next_hash(lines[-1].point.head, row)
    other = replace(
        last,
        amount=last.amount - 5,
        point=replace(last.point, balance=last.point.balance - 5, head=head),
    )
    forged = sealed(replace(statement, lines=[*lines, other], closing=other.point))
    problems = verified(forged, roots=(proven,)).problems
    version = last.point.version
    assert f"account leeds: version {version}: another head was published for {day}" in problems
    twin = copy.deepcopy(proven)
    twin["published"]["hash"] = "00" * 32
    problems = verified(sealed(statement), roots=(proven, twin), key=False).problems
    assert f"the root of {day}: two different ones were published" in problems


def test_an_account_without_entries_is_in_no_root(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    pay_at(sqlite_engine, NOON, "barcelona", "leeds")
    publish(sqlite_engine, MONDAY)
    with pytest.raises(NotFoundError):
        inclusion(sqlite_engine, "ghent", MONDAY)
    with pytest.raises(NotFoundError):
        inclusion(sqlite_engine, "leeds", MONDAY - DAY)


CHANGES = [
    ("UPDATE chain_rows SET hash = :zeros WHERE version = 2", "version 2"),
    ("UPDATE published_heads SET version = 1 WHERE version = 2", "version 1"),
    ("UPDATE published_heads SET head = :zeros", "version"),
    ("UPDATE published_roots SET root = :zeros WHERE day = '2026-03-03'", "2026-03-03"),
    ("UPDATE published_roots SET previous = :zeros WHERE day = '2026-03-03'", "2026-03-03"),
    ("UPDATE published_roots SET document = '{}' WHERE day = '2026-03-03'", "2026-03-03"),
    ("DELETE FROM published_roots WHERE day = '2026-03-06'", "2026-03-06"),
    ("DELETE FROM published_heads WHERE day = '2026-03-04'", "2026-03-04"),
]


@pytest.mark.parametrize(("change", "named"), CHANGES)
def test_a_root_and_the_chains_that_disagree_are_told(
    sqlite_engine: Engine, change: str, named: str
) -> None:
    open_world(sqlite_engine)
    for number, groups in enumerate([("barcelona", "leeds"), ("leeds", "ghent")] * 2):
        pay_at(sqlite_engine, NOON + number * DAY, *groups)
        publish(sqlite_engine, MONDAY + number * DAY)
    for number in (4, 5):  # nothing was posted on these
        publish(sqlite_engine, MONDAY + number * DAY)
    assert broken(sqlite_engine) == []
    with transaction(sqlite_engine) as session, pytest.raises(DBAPIError):
        session.execute(text(change), _zeros(change))  # the database itself refuses it
    with transaction(sqlite_engine) as session:
        _drop_triggers(session)
        session.execute(text(change), _zeros(change))
    problems = broken(sqlite_engine)
    assert problems
    assert named in problems[0]
    with reading(sqlite_engine) as session:
        told = [problem for finding in audit(session) for problem in finding.problems]
    assert set(problems) <= set(told)


def _zeros(statement: str) -> dict[str, Any]:
    return {"zeros": "00" * 32} if ":zeros" in statement else {}


def _drop_triggers(session: Session) -> None:
    names = session.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all()
    for name in names:
        session.execute(text(f'DROP TRIGGER "{name}"'))
