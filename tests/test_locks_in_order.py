"""Transactions that meet: each locks in the same order, so that none waits for the other in vain.

Staged: one holds what the other is about to ask for when the first asks for more.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from hub_server import Crawling, HubServer
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler import authors, changes, suspension
from crawler.authors import Author
from crawler.changes import withdraw_each
from crawler.interest import passing
from crawler.interest.rows import Interest, InterestState
from crawler.peers import Peer
from marketplace.listings import WithdrawnReason, withdraw_many

SECONDS_MOST = 20
_NEVER = "no statement holds this"


@pytest.fixture
def crawling(postgresql_engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(postgresql_engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        crawling.follow(hub)
        yield hub


@contextmanager
def announced(
    engine: Engine, *before: tuple[str, ...], after: tuple[str, ...] = (_NEVER,)
) -> Iterator[threading.Event]:
    """Yield what is set when another thread is about to send a statement, or has sent one."""
    told, here = threading.Event(), threading.get_ident()

    def noting(*patterns: tuple[str, ...]) -> Callable[..., None]:
        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:  # noqa: ANN401 (SQLAlchemy's)
            text = f"{statement} {parameters}"
            is_one = any(all(part in text for part in pattern) for pattern in patterns)
            if threading.get_ident() != here and is_one:
                told.set()

        return note

    listeners = {"before_cursor_execute": noting(*before), "after_cursor_execute": noting(after)}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield told
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


def test_authors_that_are_gone_are_all_locked_before_a_listing_is(
    crawling: Crawling, hub: HubServer
) -> None:
    uris = [f"{hub.base}/members/{name}" for name in ("ana", "ben")]
    for number, name in enumerate(("ana", "ben")):
        crawling.push_and_work(hub, hub.activity("Create", hub.proposal(number, member=name)))
        hub.gone(f"/members/{name}")
    with transaction(crawling.engine) as session:
        for row in session.query(Author):
            row.gone = True  # so that both are asked anew

    def find_both_gone() -> None:
        crawling.run(lambda door: authors.ensure_each(crawling.engine, door, uris, set()))

    locks_the_second = ("FROM authors", "FOR UPDATE", uris[1])
    with (
        ThreadPoolExecutor(1) as other,
        announced(crawling.engine, locks_the_second) as is_there,
    ):
        with transaction(crawling.engine) as session:
            authors.lock(session, [uris[1]])
            found = other.submit(find_both_gone)
            assert is_there.wait(SECONDS_MOST)
            changes.begin(session)
        found.result(SECONDS_MOST)
    assert crawling.titles() == []


def interest_in(session: Session, hub: HubServer, listing_id: str) -> int:
    """Store an interest that waits to be passed on."""
    moment = now(session)
    row = Interest(
        uuid=uuid4(),
        group_id=hub.name,
        listing_id=listing_id,
        author_uri=hub.member("ines", inbox=f"{hub.base}/members/ines/inbox"),
        member_uri=hub.member("bob"),
        offer_uri="urn:x",
        said={"message": "Please", "agreement": None},
        state=InterestState.WAITING,
        state_since=moment,
        key=b"1" * 32,
        request_digest="x",
        created_at=moment,
        attempts=0,
    )
    session.add(row)
    session.flush()
    return row.id


@pytest.fixture
def interest(crawling: Crawling, hub: HubServer) -> tuple[str, Callable[[], object]]:
    """The address of a listing, and what passes an interest in it on."""
    proposal = hub.serve(hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    with transaction(crawling.engine) as session:
        row_id = interest_in(session, hub, crawling.listing(proposal["id"]).id)
    engine, settings = crawling.engine, crawling.settings
    return proposal["id"], lambda: crawling.run(
        lambda door: passing.attend(engine, door, settings, row_id)
    )


def test_an_interest_is_passed_on_while_its_listing_is_withdrawn(
    crawling: Crawling, interest: tuple[str, Callable[[], object]]
) -> None:
    uri, pass_on = interest
    locks = (("FROM listings", "FOR SHARE"), ("FROM peers", "FOR KEY SHARE"))
    with (
        ThreadPoolExecutor(1) as other,
        announced(crawling.engine, *locks) as is_there,
    ):
        with transaction(crawling.engine) as session:
            changes.begin(session)
            withdraw_many(session, {uri: None}, WithdrawnReason.CONSENT)
            passed = other.submit(pass_on)
            assert is_there.wait(SECONDS_MOST)
            withdraw_each(session, [uri], WithdrawnReason.CONSENT)
        assert passed.result(SECONDS_MOST) is None
    with reading(crawling.engine) as session:
        assert session.query(Interest).all() == []


def test_an_interest_is_passed_on_while_its_hub_is_suspended(
    crawling: Crawling, hub: HubServer, interest: tuple[str, Callable[[], object]]
) -> None:
    _, pass_on = interest
    peers_lock, listings_lock = ("FROM peers", "FOR KEY SHARE"), ("FROM listings", "FOR SHARE")
    with (
        ThreadPoolExecutor(1) as other,
        announced(crawling.engine, peers_lock, after=listings_lock) as is_there,
    ):
        with transaction(crawling.engine) as session:
            session.get_one(Peer, crawling.peer(hub).id, with_for_update=True)
            passed = other.submit(pass_on)
            assert is_there.wait(SECONDS_MOST)
            suspension.suspend(session, hub.name, "spam")
        passed.result(SECONDS_MOST)
    assert crawling.titles() == []
