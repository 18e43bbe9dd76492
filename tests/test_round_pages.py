"""A group's page of a round: all that is its own, nothing of others, in each form."""

import base64
import csv
import hashlib
import re
import uuid
from html.parser import HTMLParser
from io import StringIO
from random import Random
from typing import Any

import pytest
from clearing_world import (
    HOUR,
    accept,
    account,
    assert_sound,
    call,
    open_world,
    pay,
    push,
)
from sqlalchemy import Engine, null, update
from statement_world import SEAL

from api.round_page import CSV, POLICY, STYLE, page_csv, page_html
from api.round_views import PageView, page_view
from clearing import disputes, rounds
from clearing.accounts import Account, set_pair_limit
from clearing.calls import Create
from clearing.disputes import Mark
from clearing.rounds import pages, terms
from clearing.rounds.terms import Kept
from commons.database import reading, transaction

A, B, C = "barcelona", "leeds", "ghent"


@pytest.fixture
def ledger(sqlite_engine: Engine) -> Engine:
    """A owes B 80, B owes C 90, C owes A 70; A may owe B 100, and B owe A 300."""
    open_world(sqlite_engine)
    for payer, payee, hours in ((A, B, "80"), (B, C, "90"), (C, A, "70")):
        pay(sqlite_engine, payer, payee, hours)
    with transaction(sqlite_engine) as session:
        set_pair_limit(session, A, B, 100 * HOUR)
        set_pair_limit(session, B, A, 300 * HOUR)
    return sqlite_engine


def page(engine: Engine, round_id: uuid.UUID, group: str) -> PageView:
    with reading(engine) as session:
        own = rounds.find(session, round_id)
        return page_view(pages.page_of(session, own, account_of(session, group)))


def account_of(session: Any, group: str) -> Account:  # noqa: ANN401 (a session)
    found: Account = session.query(Account).filter_by(name=group).one()
    return found


def propose(engine: Engine) -> uuid.UUID:
    with transaction(engine) as session:
        return rounds.propose(session).id


def settle(engine: Engine) -> uuid.UUID:
    with transaction(engine) as session:
        return rounds.settle(session, "main", SEAL).id


def queued(engine: Engine, payer: str, payee: str, hours: str) -> Create:
    create = push(payer, payee, hours, description="Bicycle repair", wait=True)
    for one in (create, accept(create)):
        assert call(engine, one).error is None
    return create


def towards(told: PageView, counterparty: str) -> dict[str, Any]:
    return {one.counterparty: one.model_dump() for one in told.pairs}[counterparty]


def test_a_page_tells_what_was_owed_by_whom_and_what_became_of_it(ledger: Engine) -> None:
    waits = queued(ledger, A, B, "60")
    other = queued(ledger, A, B, "500")  # fits in no round
    done = settle(ledger)
    told = page(ledger, done, A)
    assert (told.owes_before, told.is_owed_before) == ("80.0000", "70.0000")
    assert (told.set_off, told.owes_after, told.is_owed_after) == ("70.0000", "70.0000", "0.0000")
    assert told.balance_now == "-70.0000"
    assert towards(told, B) == {
        "counterparty": B,
        "before": "-80.0000",
        "released": "-60.0000",
        "set_off": "70.0000",
        "drawn": "0.0000",
        "after": "-70.0000",
        "least": "40.0000",
        "at_most": "140.0000",
        "room_before": "20.0000",
        "room_after": "30.0000",
        "their_room_before": "300.0000",
        "their_room_after": "300.0000",
        "now": "-70.0000",
        "disputed": "0.0000",
        "kept_back": None,
        "price": towards(told, B)["price"],
    }
    assert towards(told, B)["price"] is not None
    payments = {one.transfer: (one.proposed, one.released) for one in told.payments}
    assert payments == {waits.id: (True, True), other.id: (False, False)}
    assert told.round.certificate_hash
    assert told.price is not None
    assert page(ledger, done, C).payments == []


def test_a_page_keeps_what_was_and_tells_what_is_now_beside_it(ledger: Engine) -> None:
    done = settle(ledger)
    before = page(ledger, done, A)
    pay(ledger, A, B, "5")
    with transaction(ledger) as session:
        set_pair_limit(session, A, B, 200 * HOUR)
    after = page(ledger, done, A)
    assert towards(before, B)["now"] == "-10.0000"
    assert towards(after, B) == towards(before, B) | {"now": "-15.0000"}
    assert (before.balance_now, after.balance_now) == ("-10.0000", "-15.0000")


def test_what_was_disputed_and_what_the_group_keeps_back_is_its_own_to_see(ledger: Engine) -> None:
    with transaction(ledger) as session:
        mark = Mark(uuid.uuid4(), A, A, B, "12.5", "Posted twice")
        disputes.mark(session, mark)
        terms.set_terms(session, B, [Kept(A, "20"), Kept(C)], in_rounds=True)
    proposed = propose(ledger)
    mine, theirs, third = (page(ledger, proposed, name) for name in (A, B, C))
    assert (towards(mine, B)["disputed"], towards(theirs, A)["disputed"]) == ("12.5000",) * 2
    assert towards(third, A)["disputed"] == "0.0000"
    assert (towards(mine, B)["kept_back"], towards(third, B)["kept_back"]) == (None, None)
    assert (towards(theirs, A)["kept_back"], towards(theirs, C)["kept_back"]) == ("20.0000", "all")
    with transaction(ledger) as session:
        disputes.lift(session, mark.id, A)
    assert towards(page(ledger, proposed, A), B)["disputed"] == "12.5000"  # as it was then


def test_the_two_pages_of_a_pair_are_opposite_and_say_what_the_ledger_does(
    sqlite_engine: Engine,
) -> None:
    open_world(sqlite_engine)
    chance, groups = Random(7), (A, B, C)  # noqa: S311 (the same each time)
    for _ in range(3):
        for _ in range(4):
            payer, payee = chance.sample(groups, 2)
            pay(sqlite_engine, payer, payee, str(chance.randint(1, 90)))
        done = settle(sqlite_engine)
        told = {name: page(sqlite_engine, done, name) for name in groups}
        for name in groups:
            for one in told[name].pairs:
                other = towards(told[one.counterparty], name)
                for field in ("before", "released", "after", "now"):
                    assert minor(getattr(one, field)) == -minor(other[field])
                assert one.set_off == other["set_off"]
                assert one.after == one.now
            changed = sum(minor(one.after) - minor(one.before) for one in told[name].pairs)
            assert changed == 0
            balance = sum(minor(one.after) for one in told[name].pairs)
            assert balance == account(sqlite_engine, name).balance
    assert_sound(sqlite_engine)


def minor(text: str) -> int:
    return int(text.replace(".", ""))


class Seen(HTMLParser):
    """What tags and addresses a page has, and that each is closed."""

    VOID = frozenset({"meta", "rect", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.rects: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "rect":
            self.rects.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_for_people_stands_for_itself_and_runs_nothing(ledger: Engine) -> None:
    queued(ledger, A, B, "60")
    told = page(ledger, settle(ledger), A)
    html = page_html(told)
    seen = Seen()
    seen.feed(html)
    assert seen.open == []
    assert not {"script", "link", "img", "iframe", "form", "object"} & set(seen.tags)
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert not {"style", "src", "href", "xlink:href"} & seen.attributes
    assert not re.search(r"https?:|//|@import|url\(", html)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style == STYLE
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert "default-src 'none'" in POLICY
    for number in ("80.0000", "70.0000", "-70.0000", told.round.certificate_hash or "", B, C):
        assert number in html
    # To the left of the axis what A owes, 140 and then 70; to the right what it was owed.
    lengths = [(int(one["x"] or 0), int(one["width"] or 0)) for one in seen.rects]
    axis = 500
    assert lengths == [(axis, 150), (axis, 0), (axis - 300, 300), (axis - 150, 150)]


def test_no_member_and_no_text_stands_on_any_page(ledger: Engine) -> None:
    queued(ledger, A, B, "60")
    for round_id in (settle(ledger), propose(ledger)):
        for name in (A, B, C):
            told = page(ledger, round_id, name)
            for form in (told.model_dump_json(), page_html(told), page_csv(told)):
                assert not re.search(r"\b(ines|moss)\b|Bicycle", form)


def test_what_a_page_is_made_of_steers_no_browser_and_no_spreadsheet(ledger: Engine) -> None:
    told = page(ledger, settle(ledger), A)
    odd = '=HYPERLINK("http://x")<script>alert(1)</script>'
    pair = told.pairs[0].model_copy(update={"counterparty": odd})
    told = told.model_copy(update={"pairs": [pair], "group": "<b>&amp;"})
    html = page_html(told)
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    (row,) = csv.DictReader(StringIO(page_csv(told), newline=""))
    assert row["counterparty"] == f"'{odd}"
    assert CSV == "text/csv"
    for steering in ("+1", "-1", "@x", "\tx", "\rx"):
        pair = pair.model_copy(update={"counterparty": steering})
        (row,) = csv.DictReader(
            StringIO(page_csv(told.model_copy(update={"pairs": [pair]})), newline="")
        )
        assert row["counterparty"] == f"'{steering}"


def test_of_what_was_proposed_or_abandoned_a_page_says_that_it_is_not_done(ledger: Engine) -> None:
    round_id = propose(ledger)
    proposed = page(ledger, round_id, A)
    assert (towards(proposed, B)["after"], towards(proposed, B)["now"]) == ("-10.0000", "-80.0000")
    assert "may opt out" in page_html(proposed)
    assert proposed.price is None
    with transaction(ledger) as session:
        rounds.abandon(session, round_id)
    abandoned = page(ledger, round_id, A)
    assert towards(abandoned, B)["now"] == "-80.0000"
    assert "nothing of what was proposed here was done" in page_html(abandoned)


def test_an_old_round_without_certificate_has_its_page(ledger: Engine) -> None:
    round_id = settle(ledger)
    with transaction(ledger) as session:
        old = {"certificate": null(), "certificate_hash": None, "key": None}
        session.execute(update(rounds.Round).values(**old))
    told = page(ledger, round_id, A)
    assert told.round.certificate_hash is None
    assert "Certificate" not in page_html(told)
