"""Transfers are found by state, party, time and text, and by analysts without any name."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from clearing_world import accept, call, made, open_world, pay, push
from sqlalchemy import Engine, event

from clearing import transfers
from clearing.calls import Create, Move, Verb
from clearing.transfers import TransferState, Wanted
from commons import database
from commons.database import reading
from commons.errors import InvalidError, NotFoundError


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


def ids(engine: Engine, group_id: str | None, wanted: Wanted) -> list[UUID]:
    with reading(engine) as session:
        found, more = transfers.search(session, group_id, wanted)
    assert more is None
    return [view.id for view in found]


def newest(*creates: Create) -> Iterable[UUID]:
    return [create.id for create in reversed(creates)]


def test_transfers_are_found_by_state_party_and_time(engine: Engine) -> None:
    first = pay(engine, "barcelona", "leeds", "1")
    second = made(engine, push("ghent", "leeds", "1"))
    with reading(engine) as session:
        between = database.now(session)
    third = made(engine, push("leeds", "ghent", "1"))
    assert ids(engine, "leeds", Wanted()) == newest(first, second, third)
    pending = {TransferState.PENDING}
    assert ids(engine, "leeds", Wanted(pending)) == newest(second, third)
    assert ids(engine, "leeds", Wanted(counterparty="barcelona")) == [first.id]
    assert ids(engine, "leeds", Wanted(member="moss")) == newest(first, second)
    assert ids(engine, "leeds", Wanted(member="ines")) == [third.id]
    assert ids(engine, "leeds", Wanted(made_from=between)) == [third.id]
    assert ids(engine, "leeds", Wanted(made_to=between)) == newest(first, second)
    soon = between + timedelta(days=1)
    assert ids(engine, "leeds", Wanted(made_from=soon)) == []
    assert ids(engine, "barcelona", Wanted(pending)) == []
    assert ids(engine, "leeds", Wanted(union="elsewhere")) == []


def test_pages_take_both_sides_in_one_order(engine: Engine) -> None:
    creates = [made(engine, push(*pair, "1")) for pair in [("leeds", "ghent"), ("ghent", "leeds")]]
    creates += [made(engine, push("leeds", group, "1")) for group in ("barcelona", "ghent")]
    creates += [made(engine, push("barcelona", "leeds", "1")) for _ in range(3)]
    for group_id in ("leeds", None):
        found, cursor, told = [], None, 0
        with reading(engine) as session:
            while cursor is not None or not told:
                views, cursor = transfers.search(session, group_id, Wanted(), 3, cursor)
                told += 1
                found += [view.id for view in views]
        assert found == list(newest(*creates)), group_id
        assert told == 3


def test_a_page_is_read_in_the_order_of_an_index(sqlite_engine: Engine) -> None:
    """Not all of a group's transfers sorted for every page, nor all there are."""
    asked: list[tuple[str, Any]] = []

    def note(*told: Any) -> None:  # noqa: ANN401 (whatever SQLAlchemy tells)
        statement, values = told[2:4]
        if "FROM transfers" in statement:
            asked.append((statement, values))

    event.listen(sqlite_engine, "before_cursor_execute", note)
    for group_id in ("leeds", None):
        with reading(sqlite_engine) as session:
            transfers.search(session, group_id)
    event.remove(sqlite_engine, "before_cursor_execute", note)
    assert len(asked) == 3
    for statement, values in asked:
        with sqlite_engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        steps = " ".join(str(row[3]) for row in plan)
        assert "USING INDEX" in steps
        assert "TEMP B-TREE FOR ORDER BY" not in steps


def test_a_text_is_found_in_descriptions_and_names_whatever_its_case(engine: Engine) -> None:
    plain = made(engine, push("barcelona", "leeds", "1", description="Bicycle repair"))
    percent = made(engine, push("barcelona", "leeds", "1", description="100% wool_sock \\"))
    named = replace(push("barcelona", "leeds", "1"), payee="leeds/WoolShop")
    made(engine, named)
    for text, found in (
        ("BICYCLE", [plain]),
        ("wool", [percent, named]),
        ("100%", [percent]),
        ("%", [percent]),
        ("_", [percent]),
        ("l_s", [percent]),
        ("\\", [percent]),
        ("' OR 1=1 --", []),
        ("INES", [plain, percent, named]),
    ):
        assert ids(engine, "leeds", Wanted(text=text)) == list(newest(*found)), text
    assert ids(engine, "ghent", Wanted(text="wool")) == []


def test_who_is_no_hub_of_a_transfer_sees_no_name_and_no_text(engine: Engine) -> None:
    create = made(engine, push("barcelona", "leeds", "1", description="private"))
    call(engine, Move(create.id, "leeds", Verb.REJECT, "no moss here"))
    other = pay(engine, "ghent", "leeds", "1")
    with reading(engine) as session:
        found, _ = transfers.search(session, None)
        one = transfers.find(session, create.id, None)
        with pytest.raises(NotFoundError):
            transfers.find(session, create.id, "ghent")
        for wanted in (Wanted(text="private"), Wanted(member="ines")):
            with pytest.raises(InvalidError):
                transfers.search(session, None, wanted)
    assert [view.id for view in found] == newest(create, other)
    for view in (*found, one):
        assert not {"ines", "moss", "private", "no moss here"} & set(
            f"{view.payer}/{view.payee}/{view.description}/{view.reason}".split("/")
        )
    assert one.payer == "barcelona/"
    assert ids(engine, None, Wanted(counterparty="ghent")) == [other.id]
    assert call(engine, accept(other)).error is None
