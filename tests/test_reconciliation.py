"""A hub's own book held against ours: every difference is found, and none besides."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clearing_world import call, limit, made, open_world, pay, push, set_expiry
from conftest import disposed
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from clearing.calls import Create, Move, Reverse, Verb, expire_due
from clearing.reconciliation import Bounds, Difference, Kind, Period, Report, reconcile
from clearing.reconciliation.books import BookRow, read_rows
from clearing.transfers import Transfer, TransferState, Unit
from commons.database import make_engine, reading, transaction
from commons.errors import InvalidError, NotFoundError

GROUP = "barcelona"
ALWAYS = Period()
BOOKED = {"pending", "queued", "posted"}
CODES = {"barcelona": "BAR", "leeds": "LEE", "ghent": "GHE"}
Record = dict[str, str]


def fill(engine: Engine) -> None:
    """Make transfers of barcelona in several states, and one that is none of its business."""
    open_world(engine)
    for amount in ("1", "2.5", "3"):
        pay(engine, "barcelona", "leeds", amount)
        pay(engine, "leeds", "barcelona", amount)
    pay(engine, "barcelona", "ghent", "0.77")
    pay(engine, "ghent", "leeds", "4")
    made(engine, push("barcelona", "leeds", "7"))
    made(engine, push("leeds", "barcelona", "8"))
    asked = Create(uuid.uuid4(), "barcelona", "leeds/moss", "barcelona/ines", "9", Unit.CLEARING)
    made(engine, asked)
    rejected = made(engine, push("barcelona", "ghent", "5"))
    call(engine, Move(rejected.id, "ghent", Verb.REJECT, "no"))
    cancelled = made(engine, push("barcelona", "ghent", "6"))
    call(engine, Move(cancelled.id, "barcelona", Verb.CANCEL))
    late = made(engine, push("leeds", "barcelona", "5.5"))
    set_expiry(engine, late, datetime.now(UTC) - timedelta(days=1))
    with transaction(engine) as session:
        expire_due(session)
    limit(engine, "barcelona", credit="20", surplus="20")
    call(engine, push("barcelona", "leeds", "400"))
    limit(engine, "barcelona")


@dataclass
class Filled:
    """A filled database and the true book of barcelona, one record a transfer."""

    engine: Engine
    book: list[Record]

    def reconcile(
        self, rows: Sequence[BookRow], period: Period = ALWAYS, bounds: Bounds | None = None
    ) -> Report:
        with reading(self.engine) as session:
            return reconcile(session, GROUP, rows, period, bounds or Bounds())

    def state(self, record: Record) -> str:
        return next(one["state"] for one in self.book if one["id"] == record["id"])


def true_book(engine: Engine) -> list[Record]:
    with reading(engine) as session:
        asked = select(Transfer).where(
            (Transfer.payer_group == GROUP) | (Transfer.payee_group == GROUP)
        )
        return [record_of(transfer) for transfer in session.scalars(asked.order_by(Transfer.id))]


def record_of(t: Transfer) -> Record:
    is_payer = t.payer_group == GROUP
    scales = {"barcelona": 2, "leeds": 2, "ghent": 0}
    amounts = {
        "payer_amount": written(t.payer_amount, scales[t.payer_group]),
        "payee_amount": written(t.payee_amount, scales[t.payee_group]),
    }
    return {
        "id": str(t.id),
        "direction": "out" if is_payer else "in",
        "payer": f"{t.payer_group}/{t.payer_member}",
        "payee": f"{t.payee_group}/{t.payee_member}",
        "amount": amounts["payer_amount" if is_payer else "payee_amount"],
        **amounts,
        "currency": CODES[GROUP],
        "state": str(t.state),
        "rate": t.payer_rate if is_payer else t.payee_rate,
        "payer_rate": t.payer_rate,
        "payee_rate": t.payee_rate,
        "date": t.created_at.date().isoformat(),
    }


def written(minor: int, scale: int) -> str:
    return f"{minor / 10**scale:.{scale}f}"


@pytest.fixture
def filled(sqlite_engine: Engine) -> Filled:
    fill(sqlite_engine)
    return Filled(sqlite_engine, true_book(sqlite_engine))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Filled]:
    """The same for all examples of a property, which only read it."""
    path = tmp_path_factory.mktemp("books") / "localpay.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    with disposed(make_engine(f"sqlite:///{path}")) as engine:
        fill(engine)
        yield Filled(engine, true_book(engine))


Found = tuple[str, str, str | None]
"""Kind, id and field of a difference."""


def told(differences: Sequence[Difference]) -> list[Found]:
    return [(str(one.kind), str(one.id), one.field) for one in differences]


# What a careless hub does to its own record, and what must be found then.
CHANGES: dict[str, tuple[str, str]] = {
    "direction": ("counterparty", "direction"),
    "payer": ("counterparty", "payer"),
    "payee": ("counterparty", "payee"),
    "amount": ("amount", "amount"),
    "payer_amount": ("amount", "payer_amount"),
    "payee_amount": ("amount", "payee_amount"),
    "state": ("state", "state"),
    "rate": ("rate", "rate"),
    "payer_rate": ("rate", "payer_rate"),
    "payee_rate": ("rate", "payee_rate"),
}


def changed(record: Record, column: str) -> Record:
    value = record[column]
    other = {
        "direction": {"out": "in", "in": "out"}.get(value, ""),
        "payer": f"{value}x",
        "payee": f"{value}x",
        "state": "posted" if value != "posted" else "pending",
    }
    if column.endswith("amount"):
        return {**record, column: str(int(value.partition(".")[0]) + 1)}
    if column.endswith("rate"):
        return {**record, column: "7/11"}
    return {**record, column: other[column]}


@given(data=st.data())
def test_exactly_what_was_changed_in_a_book_is_found(kept: Filled, data: st.DataObject) -> None:
    book = data.draw(st.permutations(kept.book))
    dropped = data.draw(st.sets(st.sampled_from([one["id"] for one in book])))
    expected: list[Found] = []
    rows: list[Record] = []
    matching = 0
    for record in book:
        if record["id"] in dropped:
            continue
        columns = data.draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True))
        for column in columns:
            kind, where = CHANGES[column]
            expected.append((kind, record["id"], where))
            record = changed(record, column)  # noqa: PLW2901 (one change after the other)
        left_out = data.draw(st.sets(st.sampled_from(["date", "currency"])))
        rows.append({name: value for name, value in record.items() if name not in left_out})
        matching += not columns
    for number in range(data.draw(st.integers(0, 3))):
        foreign = str(uuid.UUID(int=number + 1))
        rows.insert(data.draw(st.integers(0, len(rows))), {"id": foreign, "amount": "1.00"})
        expected.append(("missing-here", foreign, None))
    expected += [
        ("missing-there", one["id"], None)
        for one in kept.book
        if one["id"] in dropped and one["state"] in BOOKED
    ]
    report = kept.reconcile(read_rows(rows))
    assert sorted(told(report.differences), key=str) == sorted(expected, key=str)
    assert report.matching == matching
    assert sum(report.counts.values()) == len(expected)
    assert all(one.do for one in report.differences)


def test_the_true_book_has_no_differences_and_the_totals(engine: Engine) -> None:
    fill(engine)
    filled = Filled(engine, true_book(engine))
    report = filled.reconcile(read_rows(filled.book))
    assert (report.differences, report.rest, report.outside) == ([], 0, 0)
    assert report.matching == report.rows == len(filled.book) == 14
    totals = {total.state: (total.count, total.paid, total.received) for total in report.totals}
    assert totals[TransferState.POSTED] == (7, "72.70", "65.00")
    assert totals[TransferState.PENDING] == (3, "70.00", "170.00")
    assert totals[TransferState.REFUSED] == (1, "4000.00", "0.00")
    assert sum(count for count, _, _ in totals.values()) == len(filled.book)


def test_a_transfer_of_others_is_missing_as_one_that_does_not_exist(filled: Filled) -> None:
    with reading(filled.engine) as session:
        others = session.scalars(
            select(Transfer).where(Transfer.payer_group == "ghent", Transfer.payee_group == "leeds")
        ).one()
    rows = [{"id": str(one), "amount": "40.00"} for one in (others.id, uuid.uuid4())]
    theirs, nobodys = filled.reconcile(read_rows(rows)).differences[:2]
    assert theirs.kind is nobodys.kind is Kind.MISSING_HERE
    assert theirs.do.replace(str(theirs.id), "") == nobodys.do.replace(str(nobodys.id), "")
    assert (theirs.ours, theirs.field) == (nobodys.ours, nobodys.field) == (None, None)


def test_what_to_do_fits_whose_turn_it_is(filled: Filled) -> None:
    report = filled.reconcile([])
    said = {str(one.id): one.do for one in report.differences}
    for record in filled.book:
        if record["state"] == "pending" and record["direction"] == "in":
            own = record["amount"] == "90.00"  # we asked for it
            at = f"/transfers/{record['id']}"
            assert f"POST {at}/{'cancel' if own else 'accept'}" in said[record["id"]]
        if record["state"] not in BOOKED:
            assert record["id"] not in said
    assert report.counts[Kind.MISSING_THERE] == len(said) == 10
    wrong = [record | {"state": "posted"} for record in filled.book if record["state"] == "expired"]
    (given_back,) = filled.reconcile(read_rows(wrong)).differences[:1]
    assert given_back.kind is Kind.STATE
    assert "give your member back" in given_back.do


def test_an_amount_may_be_in_any_money_of_the_transfer(filled: Filled) -> None:
    record = next(one for one in filled.book if one["amount"] == "7.70")
    bare = {"id": record["id"]}
    ghents = {"amount": record["payee_amount"]}
    for fine in (
        {"amount": record["amount"]},
        {"amount": "7.7"},
        {**ghents, "currency": "GHE"},
        {**ghents, "unit": "payee"},
        {"amount": "0.77", "unit": "clearing"},
    ):
        report = filled.reconcile(read_rows([bare | fine]))
        assert report.matching == 1, fine
    for wrong, field in (
        ({**ghents}, "amount"),
        ({"amount": "0.78", "unit": "clearing"}, "amount"),
        ({"amount": record["amount"], "currency": "EUR"}, "currency"),
    ):
        report = filled.reconcile(read_rows([bare | wrong]))
        assert told(report.differences)[0] == ("amount", record["id"], field)


def test_the_period_bounds_what_is_missing_there_and_not_what_is_known(filled: Filled) -> None:
    begins = datetime.now(UTC) + timedelta(days=1)
    assert filled.reconcile([], Period(begins, None)).differences == []
    assert filled.reconcile([], Period(None, begins)).counts[Kind.MISSING_THERE] == 10
    posted = [record for record in filled.book if record["state"] == "posted"]
    assert filled.reconcile(read_rows(posted), Period(begins)).outside == len(posted)
    undated = [{k: v for k, v in record.items() if k != "date"} for record in posted]
    report = filled.reconcile(read_rows(undated), Period(begins))
    assert (report.outside, report.matching) == (0, len(posted))
    far = [record | {"date": "2020-01-01"} for record in filled.book]
    report = filled.reconcile(read_rows(far), Period(datetime(2025, 1, 1, tzinfo=UTC)))
    assert (report.outside, report.differences) == (len(far), [])


def test_a_long_list_is_cut_and_the_rest_counted(filled: Filled) -> None:
    report = filled.reconcile([], bounds=Bounds(differences=3))
    assert (len(report.differences), report.rest) == (3, 7)
    assert report.counts[Kind.MISSING_THERE] == 10
    with pytest.raises(InvalidError) as told:
        filled.reconcile([], bounds=Bounds(transfers=13))
    assert told.value.field == "from"
    assert filled.reconcile([], bounds=Bounds(transfers=14)).rows == 0


def test_names_that_were_erased_do_not_differ(filled: Filled) -> None:
    with transaction(filled.engine) as session:
        session.execute(text("UPDATE transfers SET payer_member = NULL, payee_member = NULL"))
    assert filled.reconcile(read_rows(filled.book)).differences == []
    wrong = [filled.book[0] | {"payer": "ghent/ines", "payee": "barcelona/ines"}]
    counts = filled.reconcile(read_rows(wrong)).counts
    assert counts[Kind.COUNTERPARTY] >= 1


def test_a_reversal_goes_where_its_money_goes(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    paid, back = pay(sqlite_engine, "barcelona", "leeds", "2"), uuid.uuid4()
    call(sqlite_engine, Reverse(back, "leeds", paid.id))
    call(sqlite_engine, Move(back, "barcelona", Verb.ACCEPT))
    rows = [
        {"id": str(paid.id), "amount": "20.00", "direction": "out", "state": "posted"},
        {"id": str(back), "amount": "20.00", "direction": "in", "state": "posted"},
    ]
    report = Filled(sqlite_engine, []).reconcile(read_rows(rows))
    assert (report.differences, report.matching) == ([], 2)
    (total,) = report.totals
    assert (total.count, total.paid, total.received) == (2, "20.00", "20.00")
    wrong = read_rows([rows[0], rows[1] | {"direction": "out"}])
    (found,) = Filled(sqlite_engine, []).reconcile(wrong).differences
    assert (found.kind, found.field, found.ours) == (Kind.COUNTERPARTY, "direction", "in")


def test_a_group_without_a_currency_has_no_book(filled: Filled) -> None:
    with reading(filled.engine) as session, pytest.raises(NotFoundError):
        reconcile(session, "nowhere", [], ALWAYS, Bounds())


def test_a_book_of_the_wrong_group_or_scale_is_told_by_its_row(filled: Filled) -> None:
    for wrong, field in (
        ({"payer": "ghent/a", "payee": "leeds/b"}, "payer"),
        ({"payer": "barcelona/a", "payee": "barcelona/b"}, "payer"),
        ({"amount": "1.001"}, "amount"),
    ):
        record: dict[str, Any] = {"id": str(uuid.uuid4()), "amount": "1.00", **wrong}
        with pytest.raises(InvalidError) as told:
            filled.reconcile(read_rows([{"id": str(uuid.uuid4()), "amount": "1"}, record]))
        assert told.value.field == f"transfers.2.{field}"
