"""Statements chain over any period, and whatever is changed in one is found."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from shutil import copyfile
from xml.etree import ElementTree as ET

import pytest
from clearing_world import accept, assert_sound, call, levied, limit, made, open_world, push
from conftest import disposed
from hypothesis import given
from hypothesis import strategies as st
from journal_world import agreed, close, owe, proposal, yesterday
from sqlalchemy import Engine
from statement_world import (
    BEGINNING,
    changed,
    leaves,
    moments,
    now,
    pages,
    read,
    sealed,
    verified,
    write_history,
)
from test_camt import check

from clearing import chain, statements
from clearing.accounts import account_of
from clearing.calls import Move, Reverse, Verb
from clearing.statements import Period, Place, camt, read_moment
from clearing.transfers import Unit
from clearing.verifying import read_statement
from commons.database import make_engine, reading
from commons.errors import InvalidError, MalformedError

GROUPS = ("barcelona", "ghent", "leeds")


@pytest.fixture(scope="module")
def written(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database with the short history, which no test changes."""
    path = tmp_path_factory.mktemp("history") / "localpay.sqlite"
    copyfile(sqlite_template, path)
    with disposed(make_engine(f"sqlite:///{path}")) as engine:
        write_history(engine)
        yield engine


def test_a_statement_tells_what_the_account_says(engine: Engine) -> None:
    write_history(engine)
    for group_id in GROUPS:
        statement = read(engine, group_id)
        with reading(engine) as session:
            account = account_of(session, group_id)
        assert statement.opening.version == 0
        closing = statement.closing
        assert (closing.version, closing.balance, closing.head) == (
            account.version,
            account.balance,
            account.head,
        )
        kinds = [line.kind for line in statement.lines]
        assert kinds.count("set-off") == 1
        report = verified(sealed(statement))
        assert report.problems == []
    assert_sound(engine)


def test_every_kind_of_journal_is_told_and_verifies(engine: Engine) -> None:
    open_world(engine)
    for group_id in GROUPS:
        limit(engine, group_id)
    levied(engine, Fraction(1, 100))
    owe(engine, "leeds", "barcelona", "20.0000")
    paid = made(engine, push("barcelona", "ghent", "17.77", Unit.PAYER, description="rice"))
    call(engine, accept(paid))
    back = Reverse(uuid.uuid4(), "barcelona", paid.id, amount="1", reason="one too many")
    assert call(engine, back).error is None
    assert call(engine, Move(back.id, "ghent", Verb.ACCEPT)).error is None
    agreed(engine, proposal("leeds", "settlement", "leeds", "barcelona", "3.0000"))
    agreed(engine, proposal("leeds", "assignment", "leeds", "barcelona", "2.0000"))
    close(engine, yesterday())
    documents = [sealed(read(engine, group_id)) for group_id in GROUPS]
    told = {line["kind"] for document in documents for line in document["lines"]}
    kinds = {"payment", "reversal", "levy", "opening", "settlement", "assignment", "residue"}
    assert told == kinds
    assert verified(*documents).problems == []
    for document in documents:
        for number, line in enumerate(document["lines"]):
            for name in line["content"]:
                other = changed(document, ("lines", number, "content", name))
                assert verified(other, key=False).problems, (line["kind"], name)
    for group_id in GROUPS:
        message = camt.message(read(engine, group_id), datetime.now(UTC))
        assert list(check(ET.fromstring(message))) == []  # noqa: S314 (our own)
    assert_sound(engine)


@given(data=st.data())
def test_statements_of_any_split_of_a_period_chain(written: Engine, data: st.DataObject) -> None:
    group_id = data.draw(st.sampled_from(GROUPS))
    known = moments(written, group_id)
    nudge = st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1)])
    cut = st.builds(lambda moment, by: moment + by, st.sampled_from(known), nudge)
    cuts = sorted(data.draw(st.lists(cut, max_size=4)))
    limit = data.draw(st.integers(1, 5))
    bounds = [BEGINNING, *cuts, now(written)]
    found = [
        page
        for start, end in pairwise(bounds)
        for page in pages(written, group_id, start, end, limit)
    ]
    for page in found:
        total = sum(line.amount for line in page.lines)
        assert page.opening.balance + total == page.closing.balance
        assert page.opening.version + len(page.lines) == page.closing.version
        assert all(page.period.start <= line.time < page.period.end for line in page.lines)
    assert all(later.opening == earlier.closing for earlier, later in pairwise(found))
    assert sum(len(page.lines) for page in found) == len(known)
    assert verified(*(sealed(page) for page in reversed(found))).problems == []


def test_a_missing_page_is_found(written: Engine) -> None:
    found = [sealed(page) for page in pages(written, "leeds", BEGINNING, now(written), 1)]
    problems = verified(found[0], *found[2:]).problems
    assert problems == [
        "account leeds: version 2: a statement begins here, and the one before ends with version 1"
    ]


@pytest.mark.parametrize("key", [True, False])
def test_any_change_of_a_statement_is_found_and_named(written: Engine, *, key: bool) -> None:
    """Without the service's key, what no hash vouches for cannot be found."""
    document = sealed(read(written, "barcelona"))
    unfound = set()
    for way in leaves(document):
        other = changed(document, way)
        try:
            problems = verified(other, key=key).problems
        except MalformedError as error:
            problems = [error.detail]
        if not problems:
            unfound.add(str(way[0]) if way[0] != "lines" else f"lines.{way[-1]}")
        elif way[0] == "lines" and "proof" not in problems[0]:
            line = document["lines"][way[1]]
            assert "account barcelona: version" in problems[0], way
            assert str(line["version"]) in problems[0] or way[-1] == "version", (way, problems)
    vouched_by_seal = {"service", "from", "to", "page", "next", "proof"}
    vouched_by_seal |= {"lines.payer_currency", "lines.payee_currency"}
    assert unfound == (set() if key else vouched_by_seal)


def test_a_line_left_out_or_put_in_is_found(written: Engine) -> None:
    document = sealed(read(written, "ghent"))
    for number, line in enumerate(document["lines"]):
        rest = [*document["lines"][:number], *document["lines"][number + 1 :]]
        left_out = verified({**document, "lines": rest}, key=False).problems
        assert left_out
        twice = [*document["lines"][: number + 1], *document["lines"][number:]]
        problems = verified({**document, "lines": twice}, key=False).problems
        assert f"account ghent: version {line['version']}: comes after" in problems[0]


def test_another_services_statement_is_found(written: Engine) -> None:
    document = sealed(read(written, "leeds"))
    unsigned = {name: value for name, value in document.items() if name != "proof"}
    assert verified(unsigned).problems == ["0.json: there is no signature of the service"]
    assert verified(unsigned, key=False).problems == []
    assert "--key" in verified(document, key=False).checked[-1]


def test_two_hubs_statements_are_opposite(written: Engine) -> None:
    documents = [sealed(read(written, group_id)) for group_id in GROUPS]
    report = verified(*documents)
    assert report.problems == []
    assert any("journals that stand in two statements" in said for said in report.checked)


def test_a_payment_that_one_hub_was_not_shown_is_found(written: Engine) -> None:
    """The service shows leeds a whole and signed history, but another one than barcelona's."""
    ours = sealed(read(written, "leeds"))
    last = read(written, "barcelona").lines[-1]
    theirs = sealed(read(written, "barcelona", BEGINNING, last.time))
    assert verified(ours, theirs).problems == []  # it ends before that payment
    longer = {**theirs, "to": ours["to"]}
    problems = verified(ours, longer, key=False).problems
    assert problems == [
        f"account leeds: version {len(ours['lines'])}: is missing in the statement of barcelona"
    ]


def test_a_balance_is_that_of_all_before_the_moment(engine: Engine) -> None:
    write_history(engine)
    lines = read(engine, "barcelona").lines
    with reading(engine) as session:
        account = account_of(session, "barcelona")
        beginning = statements.point_before(session, account, lines[0].time)
        assert (beginning.version, beginning.balance) == (0, 0)
        assert beginning.head == chain.first_hash("main", "barcelona")
        for line in lines:
            after = line.time + timedelta(microseconds=1)
            assert statements.point_before(session, account, after) == line.point


def test_without_names_a_statement_still_verifies(written: Engine) -> None:
    document = sealed(read(written, "leeds", with_names=False))
    report = verified(document)
    assert report.problems == []
    assert any("come without a key" in said for said in report.checked)
    told = str(document)
    assert "/ines" not in told
    assert "/moss" not in told
    assert all(line["key"] is None for line in document["lines"])


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-01T00:00:00", "2026-13-01", "2026-W44", "0001-01-01T00:00:00+14:00"],
)
def test_a_moment_needs_its_zone_and_a_calendar(text: str) -> None:
    with pytest.raises(InvalidError):
        read_moment(text, "from")


def test_a_date_begins_in_utc() -> None:
    assert read_moment("2026-11-01", "from") == datetime(2026, 11, 1, tzinfo=UTC)
    assert read_moment("2026-11-01T01:00:00+01:00", "from") == datetime(2026, 11, 1, tzinfo=UTC)


def test_a_period_ends_after_it_starts_and_not_in_the_future() -> None:
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    later = moment + timedelta(seconds=1)
    for start, end in ((later, None), (moment, later), (moment, moment - timedelta(days=1))):
        with pytest.raises(InvalidError):
            Period.asked(start, end, moment)
    assert Period.asked(moment, moment, moment).end == moment


@pytest.mark.parametrize("cursor", ["", "x", "MSAy", "éé", "LTEgMiAx"])
def test_a_cursor_that_was_not_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidError):
        Place.read(cursor)


def test_a_cursor_beyond_the_account_is_refused(written: Engine) -> None:
    period = Period(BEGINNING, now(written))
    place = Place.read(Place(period, 1_000, 2_000, 2).text())
    with reading(written) as session, pytest.raises(InvalidError):
        statements.read(session, account_of(session, "leeds"), place)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"account": "leeds", "account": "ghent"}', b"\xff"]
)
def test_a_file_that_is_no_statement_is_told(text: bytes) -> None:
    with pytest.raises(MalformedError, match=r"a\.json"):
        read_statement("a.json", text)
