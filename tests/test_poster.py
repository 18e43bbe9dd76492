"""Many calls at once: one posting for each id, no deadlock, nothing created or lost."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from clearing_world import (
    HOUR,
    accept,
    account,
    assert_sound,
    balances,
    counted,
    limit,
    made,
    open_world,
    push,
    set_expiry,
    state,
    transfer,
)
from conftest import disposed
from sqlalchemy import Engine

from clearing import acceptance
from clearing.acceptance import Rule
from clearing.calls import (
    Call,
    Create,
    Move,
    Outcome,
    Reverse,
    Verb,
    expire_due,
    release_queued,
)
from clearing.ledger import Journal
from clearing.poster import Poster
from clearing.transfers import Party, Transfer, TransferState
from commons import database
from commons.database import make_engine, reading, transaction
from commons.errors import ConflictError, RefusedError

SECONDS = 60


@pytest.fixture(autouse=True)
def _world(engine: Engine) -> None:
    open_world(engine)


@pytest.fixture
def poster(engine: Engine) -> Iterator[Poster]:
    poster = Poster(engine)
    poster.start()
    yield poster
    poster.stop()


@pytest.fixture
def posters(engine: Engine) -> Iterator[list[Poster]]:
    """Four posters with engines of their own, as four processes have."""
    url = engine.url.render_as_string(hide_password=False)
    engines = [make_engine(url) for _ in range(4)]
    posters = [Poster(one) for one in engines]
    for one in posters:
        one.start()
    yield posters
    for one, own in zip(posters, engines, strict=True):
        one.stop()
        with disposed(own):
            pass


def submit_all(posters: Sequence[Poster], calls: Sequence[Call]) -> list[Outcome]:
    """Submit the calls from as many threads, spread over the posters, and wait for all."""
    futures = []
    ready = threading.Barrier(len(posters))

    def submit(number: int) -> None:
        ready.wait()
        mine = calls[number :: len(posters)]
        futures.extend([posters[number].submit(call) for call in mine])

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(len(posters))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wait(futures, SECONDS).not_done
    return [future.result() for future in futures]


def test_fifty_parallel_posts_of_one_id_make_one_transfer(posters: list[Poster]) -> None:
    create = push("barcelona", "leeds", "1")
    outcomes = submit_all(posters, [create] * 50)
    assert Counter(outcome.created for outcome in outcomes) == {True: 1, False: 49}
    assert {outcome.transfer.id for outcome in outcomes if outcome.transfer} == {create.id}


def test_fifty_parallel_acceptances_make_one_posting(engine: Engine, posters: list[Poster]) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    outcomes = submit_all(posters, [accept(create), create] * 25)
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert (counted(engine, Journal), counted(engine, Transfer)) == (1, 1)
    assert balances(engine) == {"barcelona": -HOUR, "leeds": HOUR}
    assert_sound(engine)


def test_one_id_with_another_body_is_a_conflict(engine: Engine, poster: Poster) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    with reading(engine) as session:
        moment = database.now(session) + timedelta(days=3)
    others = [
        replace(create, caller="leeds"),
        replace(create, amount="1.00"),
        replace(create, amount="2"),
        replace(create, payee="leeds/somebody"),
        replace(create, payer="ghent/ines"),
        replace(create, description="for the bicycle"),
        replace(create, expires_at=moment),
        replace(create, caller="ghent", payer="ghent/x", payee="leeds/moss"),
    ]
    for other in others:
        error = poster.submit(other).result(SECONDS).error
        assert type(error) is ConflictError, other
        assert "barcelona" not in str(error)
    assert counted(engine, Transfer) == 1
    again = poster.submit(create).result(SECONDS)
    assert (again.created, again.error) == (False, None)


def test_a_repetition_tells_the_transfer_as_it_stands_now(engine: Engine, poster: Poster) -> None:
    create = made(engine, push("barcelona", "leeds", "1"))
    poster.submit(accept(create)).result(SECONDS)
    again = poster.submit(create).result(SECONDS)
    assert again.transfer is not None
    assert again.transfer.state is TransferState.POSTED
    assert counted(engine, Journal) == 1


def test_a_refused_id_stays_refused_when_there_is_room_again(
    engine: Engine, poster: Poster
) -> None:
    limit(engine, "barcelona", credit="1")
    create = push("barcelona", "leeds", "2")
    first = poster.submit(create).result(SECONDS).error
    assert isinstance(first, RefusedError)
    limit(engine, "barcelona", credit="10")
    again = poster.submit(create).result(SECONDS).error
    assert isinstance(again, RefusedError)
    assert again.extra == first.extra
    assert isinstance(poster.submit(accept(create)).result(SECONDS).error, ConflictError)
    fresh = replace(create, id=uuid.uuid4())
    assert poster.submit(fresh).result(SECONDS).error is None


def test_a_call_that_breaks_its_transaction_does_not_spoil_its_neighbours(engine: Engine) -> None:
    poster = Poster(engine)
    good = [push("barcelona", "leeds", "1") for _ in range(3)]
    broken = push("barcelona", "leeds", "1", description="\ud800")  # no database takes it
    futures = [poster.submit(call) for call in [good[0], broken, *good[1:]]]
    poster.start()  # all four wait by now and become one transaction
    assert isinstance(futures[1].exception(SECONDS), TypeError)
    assert all(futures[index].result(SECONDS).created for index in (0, 2, 3))
    poster.stop()
    assert counted(engine, Transfer) == 3


def test_what_waits_when_a_poster_stops_is_still_posted(engine: Engine) -> None:
    poster = Poster(engine)
    futures = [poster.submit(push("barcelona", "leeds", "1")) for _ in range(20)]
    poster.start()
    poster.stop()
    assert all(future.done() and future.result().created for future in futures)
    assert account(engine, "barcelona").pending_out == 20 * HOUR


def test_opposite_payments_at_once_never_wait_in_a_circle(
    engine: Engine, posters: list[Poster]
) -> None:
    names = ("barcelona", "leeds", "ghent")
    pairs = [(a, b) for a in names for b in names if a != b]
    creates = [push(a, b, "1") for a, b in pairs * 20]
    for outcome in submit_all(posters, creates):
        assert outcome.error is None
    for outcome in submit_all(posters, [accept(create) for create in creates]):
        assert outcome.error is None
    assert counted(engine, Journal) == len(creates)
    assert balances(engine) == {}
    assert account(engine, "leeds").version == 80
    assert_sound(engine)


def test_a_limit_holds_against_all_who_pay_at_once(engine: Engine, posters: list[Poster]) -> None:
    limit(engine, "barcelona", credit="10")
    creates = [push("barcelona", name, "1") for name in ("leeds", "ghent") * 15]
    outcomes = submit_all(posters, creates)
    refused = [outcome.error for outcome in outcomes if outcome.error]
    assert (len(outcomes) - len(refused), len(refused)) == (10, 20)
    assert {type(error) for error in refused} == {RefusedError}
    assert account(engine, "barcelona").pending_out == 10 * HOUR
    assert_sound(engine)


def test_one_id_used_by_two_hubs_at_once_belongs_to_one(
    engine: Engine, posters: list[Poster]
) -> None:
    for _ in range(10):
        one = push("barcelona", "ghent", "1")
        other = replace(push("leeds", "ghent", "1"), id=one.id)
        outcomes = submit_all(posters[:2], [one, other])
        assert Counter(type(o.error) for o in outcomes) == {type(None): 1, ConflictError: 1}
    assert_sound(engine)


def answer(poster: Poster, call: Call) -> None:
    """Submit a call and wait for its outcome, whatever it is."""
    poster.submit(call).result(SECONDS)


def race(*works: Callable[[], object]) -> None:
    """Run the works in threads that start together."""
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        ready.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_acceptance_and_the_expiry_at_once_end_a_transfer_once(
    engine: Engine, posters: list[Poster]
) -> None:
    creates: list[Create] = []
    for _ in range(100):
        create = made(engine, push("barcelona", "leeds", "1"))
        creates.append(create)
        with reading(engine) as session:
            moment = database.now(session)
        set_expiry(engine, create, moment + timedelta(milliseconds=12))

        def expiring() -> None:
            with transaction(engine) as session:
                expire_due(session)

        late = (accept(create), Move(create.id, "barcelona", Verb.CANCEL))
        race(expiring, *(partial(answer, *pair) for pair in zip(posters, late, strict=False)))
    posted = [create for create in creates if state(engine, create) is TransferState.POSTED]
    ended = [found for create in creates if (found := transfer(engine, create.id))]
    assert all(found.ended_at for found in ended)
    assert counted(engine, Journal) == len(posted)
    assert account(engine, "leeds").balance == len(posted) * HOUR
    assert account(engine, "leeds").pending_in == 0
    assert_sound(engine)


def test_reversals_of_one_payment_at_once_never_take_back_more_than_it(
    engine: Engine, posters: list[Poster]
) -> None:
    for group in ("barcelona", "leeds"):
        for initiator in Party:
            with transaction(engine) as session:
                rules = [*acceptance.rules_of(session, group), Rule(initiator, "", 10**9)]
                acceptance.set_rules(session, group, rules)
    create = push("barcelona", "leeds", "10")
    posters[0].submit(create).result(SECONDS)
    callers = ("barcelona", "leeds", None)
    calls = [Reverse(uuid.uuid4(), callers[n % 3], create.id, "1") for n in range(30)]
    outcomes = submit_all(posters, [*calls, *calls])
    taken = {o.transfer.id for o in outcomes if o.transfer}
    assert len(taken) == 10
    assert {type(o.error) for o in outcomes} == {type(None), ConflictError}
    found = transfer(engine, create.id)
    assert found is not None
    assert (found.reversed_amount, balances(engine)) == (found.payee_amount, {})
    assert counted(engine, Journal) == 11
    assert_sound(engine)


def test_what_waits_is_released_once_while_its_hubs_cancel_it(
    engine: Engine, posters: list[Poster]
) -> None:
    for group in ("leeds", "ghent"):
        with transaction(engine) as session:
            acceptance.set_rules(session, group, [Rule(Party.PAYER, "", 10**9)])
    limit(engine, "barcelona", credit="0")
    creates = [push("barcelona", name, "1", wait=True) for name in ("leeds", "ghent") * 20]
    for outcome in submit_all(posters, creates):
        assert outcome.transfer is not None
        assert outcome.transfer.state is TransferState.QUEUED
    limit(engine, "barcelona")

    def releasing() -> None:
        with transaction(engine) as session:
            release_queued(session)

    cancels = [Move(create.id, "barcelona", Verb.CANCEL) for create in creates[::2]]
    race(releasing, releasing, lambda: submit_all(posters[:2], cancels))
    releasing()
    states = Counter(state(engine, create) for create in creates)
    assert set(states) <= {TransferState.POSTED, TransferState.CANCELLED}
    assert states[TransferState.POSTED] == counted(engine, Journal) >= 20
    assert account(engine, "barcelona").balance == -HOUR * states[TransferState.POSTED]
    assert_sound(engine)
