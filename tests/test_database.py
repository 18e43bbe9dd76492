"""What the rest relies on: counters, constraints' names, moments, append-only tables."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import (
    Engine,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from clearing.accounts import Union
from clearing.rounds import Round, RoundState
from commons import database
from commons.database import Counter, append_only_ddl, draw, reading, transaction, violated
from commons.groups import Currency, Group, Nonce
from commons.money import CurrencyKind

MOMENT = datetime(2026, 3, 2, 12, 30, 15, 123456, tzinfo=UTC)


def currency(uri: str = "https://a.example/money", scale: int = 2) -> dict[str, object]:
    return {"uri": uri, "code": "A", "name": "A", "scale": scale, "kind": CurrencyKind.LOCAL}


def test_numbers_are_drawn_one_after_the_other(engine: Engine) -> None:
    with transaction(engine) as session:
        assert [draw(session, "invoice"), draw(session, "invoice")] == [1, 2]
        assert draw(session, "invoice", 10) == 3
        assert draw(session, "another") == 1
    with transaction(engine) as session:
        assert draw(session, "invoice") == 13


class ChangedMindError(Exception):
    """What undoes a transaction here."""


def test_what_is_rolled_back_leaves_no_gap(engine: Engine) -> None:
    def draw_and_fail() -> None:
        with transaction(engine) as session:
            draw(session, "invoice", 5)
            raise ChangedMindError

    with pytest.raises(ChangedMindError):
        draw_and_fail()
    with transaction(engine) as session:
        assert draw(session, "invoice") == 1


def test_numbers_are_gapless_in_the_order_of_commits(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add(Currency(**currency()))
    drawn: list[int] = []
    gaps: list[list[int]] = []
    going = threading.Event()
    ready = threading.Barrier(4)

    def writer(name: str) -> None:
        ready.wait()
        for _ in range(15):
            with transaction(engine) as session:
                number = draw(session, "event")
                key = {"key_id": name, "nonce": str(number), "expires_at": MOMENT}
                session.execute(insert(Nonce).values(key))
            drawn.append(number)

    def reader() -> None:
        ready.wait()
        while not going.is_set():
            with reading(engine) as session:
                seen = sorted(int(nonce) for nonce in session.scalars(select(Nonce.nonce)))
            if seen != list(range(1, len(seen) + 1)):
                gaps.append(seen)

    writers = [threading.Thread(target=writer, args=(f"writer-{n}",)) for n in range(3)]
    looking = threading.Thread(target=reader)
    for thread in [*writers, looking]:
        thread.start()
    for thread in writers:
        thread.join()
    going.set()
    looking.join()
    assert sorted(drawn) == list(range(1, 46))
    assert gaps == []


def broken(engine: Engine, *statements: object) -> str:
    """The name of the constraint that the last statement violates."""
    with transaction(engine) as session:
        for statement in statements[:-1]:
            session.execute(statement)  # type: ignore[call-overload] # any statement
        with pytest.raises(IntegrityError) as refused:
            session.execute(statements[-1])  # type: ignore[call-overload] # any statement
        session.rollback()
    return violated(refused.value)


def test_a_violated_constraint_has_the_same_name_on_both_databases(engine: Engine) -> None:
    one = insert(Currency).values(currency())
    assert broken(engine, one, one) == "uq_currencies_uri"
    nine = insert(Currency).values(currency(scale=9))
    assert broken(engine, nine) == "ck_currencies_scale_in_range"
    nonce = insert(Nonce).values(key_id="k", nonce="n", expires_at=MOMENT)
    assert broken(engine, nonce, nonce) == "pk_nonces"
    below = insert(Counter).values(name="below", value=-1)
    assert broken(engine, below) == "ck_counters_value_not_negative"
    odd = text(
        "INSERT INTO currencies (uri, code, name, scale, kind) VALUES ('u', 'c', 'n', 2, 'gold')"
    )
    assert broken(engine, odd) == "ck_currencies_currency_kind"
    assert broken(engine, text("INSERT INTO counters (name) VALUES ('x')")) == "counters.value"


def test_a_violated_partial_index_has_its_name(engine: Engine) -> None:
    totals = {"obligations_total": 0, "net_internal_debt": 0, "cleared": 0}
    first, second = (
        insert(Round).values(
            id=UUID(int=number),
            union_id="main",
            state=RoundState.PROPOSED,
            proposed_by="operator",
            proposed_at=MOMENT,
            commit_at=MOMENT,
            **totals,
        )
        for number in range(2)
    )
    with transaction(engine) as session:
        session.execute(insert(Union).values(id="main", created_at=MOMENT))
        session.execute(first)
    assert broken(engine, second) == "uq_rounds_one_proposed"


def test_a_broken_reference_is_told_as_one(engine: Engine) -> None:
    orphan = insert(Group).values(
        id="a", uri="u", name="n", summary="", currency_id=7, created_at=MOMENT
    )
    assert broken(engine, orphan) in {"foreign key", "fk_groups_currency_id"}


def store_and_read(engine: Engine, moment: datetime) -> datetime:
    with transaction(engine) as session:
        session.execute(insert(Nonce).values(key_id="k", nonce="n", expires_at=moment))
        found = session.scalars(select(Nonce.expires_at)).one()
        session.rollback()
    return found


def test_what_was_to_be_stored_is_no_part_of_an_error(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as raised, transaction(engine) as session:
        session.execute(insert(Currency), [currency("https://a.example/secret-words", scale=-1)])
    assert "INSERT INTO currencies" in str(raised.value)
    assert "secret-words" not in str(raised.value).partition("DETAIL")[0]


def test_a_moment_comes_back_in_utc_to_the_microsecond(engine: Engine) -> None:
    east = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    for moment in (MOMENT, east):
        found = store_and_read(engine, moment)
        assert (found, found.tzinfo) == (MOMENT, UTC)


def test_a_moment_without_its_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="needs its time zone"):
        store_and_read(engine, MOMENT.replace(tzinfo=None))


def test_the_clock_is_the_databases_and_in_utc(engine: Engine) -> None:
    with reading(engine) as session:
        first, second = database.now(session), database.now(session)
    assert first.tzinfo is UTC
    assert first < second  # it runs on inside a transaction
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)


def test_a_transaction_keeps_all_or_nothing(engine: Engine) -> None:
    def add_and_fail() -> None:
        with transaction(engine) as session:
            session.execute(insert(Currency).values(currency()))
            raise ChangedMindError

    with pytest.raises(ChangedMindError):
        add_and_fail()
    assert currencies(engine) == []
    with transaction(engine) as session:
        session.execute(insert(Currency).values(currency()))
    assert len(currencies(engine)) == 1


def currencies(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(Currency.uri)))


def test_a_reader_sees_one_snapshot_and_keeps_nothing(engine: Engine) -> None:
    with reading(engine) as session:
        assert session.scalars(select(Currency)).all() == []
        with transaction(engine) as other:
            other.execute(insert(Currency).values(currency()))
        assert session.scalars(select(Currency)).all() == []
    with reading(engine) as session:
        session.execute(delete(Currency))
    assert len(currencies(engine)) == 1


def test_an_append_only_table_takes_rows_and_keeps_them(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("CREATE TABLE diary (line VARCHAR(10))"))
        for statement in append_only_ddl("diary", engine.dialect.name):
            session.execute(text(statement))
        session.execute(text("INSERT INTO diary VALUES ('first')"))
    for change in ("UPDATE diary SET line = 'other'", "DELETE FROM diary"):
        with pytest.raises(DBAPIError, match="diary is append-only"), engine.begin() as connection:
            connection.execute(text(change))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO diary VALUES ('second')"))
        assert connection.scalars(text("SELECT line FROM diary")).all() == ["first", "second"]


def test_a_server_does_not_let_an_append_only_table_be_emptied(postgresql_engine: Engine) -> None:
    with (
        pytest.raises(DBAPIError, match="entries is append-only"),
        postgresql_engine.begin() as connection,
    ):
        connection.execute(text("TRUNCATE entries"))
