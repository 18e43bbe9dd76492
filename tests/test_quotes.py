"""Quotes: what a payment made before the time said is, to the smallest unit."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from clearing_world import open_world
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from clearing import levies, rate_proposals, rates
from clearing.accounts import DEFAULT_UNION, Account, set_limits, set_pair_limit
from clearing.calls import Create, handle
from clearing.levies import LevyChange
from clearing.quotes import Quote, Wanted, quote
from clearing.rate_proposals import Answer, RateSide, Reply, Wish
from clearing.transfers import Transfer, Unit
from commons import database
from commons.database import transaction
from commons.errors import InvalidError, RefusedError
from commons.groups import Currency, Group
from commons.money import CLEARING_SCALE, format_amount, format_rate
from commons.settings import Settings

A, B = "barcelona", "leeds"
FROZEN = (
    "union_id", "payer_amount", "payee_amount", "payer_clearing", "payee_clearing", "payer_rate",
    "payee_rate", "levy",
)  # fmt: skip


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


@dataclass(frozen=True)
class Terms:
    """All that an amount depends on: of payer and payee, and the three limits of clearing.md."""

    rates: tuple[Fraction, Fraction]
    scales: tuple[int, int]
    share: Fraction | None
    limits: tuple[int | None, int | None, int | None]
    minor: int
    unit: Unit


fractions = st.builds(Fraction, st.integers(1, 10**6), st.integers(1, 10**6))
rooms = st.none() | st.integers(0, 10**8)
terms = st.builds(
    Terms,
    rates=st.tuples(fractions, fractions),
    scales=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    share=st.none() | st.builds(Fraction, st.integers(1, 50), st.integers(51, 400)),
    limits=st.tuples(rooms, rooms, rooms),
    minor=st.integers(1, 10**7),
    unit=st.sampled_from(Unit),
)


@given(given_terms=terms)
@examples(max_examples=80)
def check(engine: Engine, kinds: set[str], given_terms: Terms) -> None:
    """Quote, then pay in the same transaction, compare, and roll all of it back."""
    said = dict(zip(Unit, (*given_terms.scales, CLEARING_SCALE), strict=True))
    with transaction(engine) as session, session.begin_nested() as undone:
        _set_terms(session, given_terms)
        amount = format_amount(given_terms.minor, said[given_terms.unit])
        kinds.add(_compare(session, amount, given_terms.unit, said))
        undone.rollback()


def _set_terms(session: Session, given_terms: Terms) -> None:
    for group_id, rate, scale in zip((A, B), given_terms.rates, given_terms.scales, strict=True):
        of_group = select(Group.currency_id).where(Group.id == group_id).scalar_subquery()
        rates.agree(session, group_id, rate)
        session.execute(update(Currency).where(Currency.id == of_group).values(scale=scale))
    levies.levy_account(session, DEFAULT_UNION)
    moment, share = database.now(session), given_terms.share
    text = None if share is None else format_rate(share)
    session.add(
        LevyChange(union_id=DEFAULT_UNION, share=text, valid_from=moment, known_from=moment)
    )
    credit, surplus, pair = given_terms.limits
    set_limits(session, A, credit, None)
    set_limits(session, B, None, surplus)
    set_pair_limit(session, A, B, pair)
    session.flush()
    session.expire_all()


def _compare(session: Session, amount: str, unit: Unit, scales: dict[Unit, int]) -> str:
    """Return what the payment came to: "made", the limit it was refused for, or "invalid"."""
    made = pay(session, amount, unit)
    if isinstance(made, InvalidError):
        with pytest.raises(InvalidError) as error:
            quote(session, Wanted(A, A, B, amount, unit))
        assert (made.field, made.rule) == (error.value.field, error.value.rule)
        return "invalid"
    told = quote(session, Wanted(A, A, B, amount, unit))
    transfer, refusal = made
    assert [getattr(told.transfer, name) for name in FROZEN] == [
        getattr(transfer, name) for name in FROZEN
    ]
    assert told.refusal == refusal
    if told.available is not None:
        _check_available(session, told, scales)
    return refusal or "made"


def pay(session: Session, amount: str, unit: Unit) -> tuple[Transfer, str | None] | InvalidError:
    """Push a payment and take it back; return the transfer and why it was refused, if it was."""
    made = Create(uuid.uuid4(), A, f"{A}/ines", f"{B}/moss", amount, unit)
    with session.begin_nested() as undone:
        [outcome] = handle(session, [made])
        if isinstance(outcome.error, InvalidError):
            return outcome.error
        transfer = session.get_one(Transfer, made.id)
        session.refresh(transfer)
        session.expunge(transfer)
        undone.rollback()
    session.expire_all()
    refused = isinstance(outcome.error, RefusedError)
    assert refused == (outcome.error is not None)
    return transfer, transfer.reason if refused else None


def _check_available(session: Session, told: Quote, scales: dict[Unit, int]) -> None:
    """What is available goes through in each money; the smallest clearing unit more does not."""
    available = told.available
    assert available is not None
    said = {
        Unit.CLEARING: available.clearing,
        Unit.PAYER: available.payer,
        Unit.PAYEE: available.payee,
    }
    for unit, most in said.items():
        if most:
            made = pay(session, format_amount(most, scales[unit]), unit)
            assert isinstance(made, InvalidError) or made[1] is None, unit  # too small to pay
    more = pay(session, format_amount(available.clearing + 1, CLEARING_SCALE), Unit.CLEARING)
    if not isinstance(more, InvalidError) and more[1] is None:  # it fits by being rounded down
        assert more[0].payee_clearing <= available.clearing


def test_a_quote_is_what_the_engine_freezes(sqlite_engine: Engine) -> None:
    open_world(sqlite_engine)
    kinds: set[str] = set()
    check(sqlite_engine, kinds)
    assert kinds == {"made", "credit_limit", "surplus_limit", "pair_limit", "invalid"}


def test_the_example_of_the_papers_over_http(world: World) -> None:
    with transaction(world.engine) as session:
        for group_id, rate in ((A, Fraction(2, 13)), (B, Fraction(1, 2))):
            rates.agree(session, group_id, rate)
            set_limits(session, group_id, 200 * 10**4, 200 * 10**4)
        session.execute(update(Currency).values(scale=0))
    wanted = {"payer": A, "payee": B, "amount": "1000", "unit": "payer"}
    told = world.service.call(world.leeds, "POST", "/quotes", wanted).json()
    assert (
        told.items()
        >= {
            "payer_amount": "1000",
            "payee_amount": "307",
            "payer_clearing": "153.8462",
            "payee_clearing": "153.5000",
            "residue": "0.3462",
            "levy": "0.0000",
            "payer_rate": "2/13",
            "payee_rate": "1/2",
            "available": {"clearing": "200.0000", "payer": "1300", "payee": "400"},
            "refusal": None,
            "warnings": [],
        }.items()
    )
    made = world.put(world.barcelona, payment("1000", unit="payer")).json()
    assert {name: made[name] for name in made.keys() & told.keys() - {"payer", "payee"}} == {
        name: told[name] for name in made.keys() & told.keys() - {"payer", "payee"}
    }
    after = world.service.call(world.barcelona, "POST", "/quotes", wanted).json()
    assert after["refusal"] == "credit_limit"
    assert after["available"]["clearing"] == "46.1538"
    assert after["available"]["payer"] == "299"  # 46.1538 is 299.9997 of them


def test_a_quote_ends_where_another_rate_is_known_to_begin(world: World) -> None:
    wanted = {"payer": A, "payee": B, "amount": "5"}
    with transaction(world.engine) as session:
        moment = database.now(session)
        wish = Wish(uuid.uuid4(), B, RateSide.HUB, "hub:leeds", Fraction(1, 3))
        rate_proposals.propose(session, wish)
        agreed = rate_proposals.answer(
            session, wish.id, Reply(Answer.AGREE, RateSide.OPERATOR, "operator")
        )
        applies = agreed.valid_from
        assert applies is not None
        assert applies > moment + rates.QUOTE_LIFE
        # And one that has been known for long begins in a minute.
        soon = moment + timedelta(minutes=1)
        rates.agree(session, "ghent", Fraction(1, 3), soon)
    answer = world.service.call(world.barcelona, "POST", "/quotes", wanted).json()
    until = datetime.fromisoformat(answer["valid_until"])
    assert moment + rates.QUOTE_LIFE <= until < applies
    answer = world.service.call(
        world.barcelona, "POST", "/quotes", wanted | {"payee": "ghent"}
    ).json()
    assert datetime.fromisoformat(answer["valid_until"]) == soon


def test_a_quote_says_why_a_payment_would_be_refused_and_changes_nothing(world: World) -> None:
    wanted = {"payer": A, "payee": B, "amount": "5", "unit": "clearing"}
    with transaction(world.engine) as session:
        set_pair_limit(session, A, B, 4 * 10**4)
        before = [(a.balance, a.pending_out, a.version) for a in session.scalars(select(Account))]
    told = world.service.call(world.leeds, "POST", "/quotes", wanted).json()
    assert (told["refusal"], told["available"]["clearing"]) == ("pair_limit", "4.0000")
    with transaction(world.engine) as session:
        session.execute(update(Account).where(Account.name == B).values(state="frozen"))
        after = [(a.balance, a.pending_out, a.version) for a in session.scalars(select(Account))]
        assert session.scalars(select(Transfer)).all() == []
    told = world.service.call(world.leeds, "POST", "/quotes", wanted).json()
    assert told["refusal"] == "account_frozen"
    assert after == before


def test_a_bad_question_names_its_field(world: World) -> None:
    good = {"payer": A, "payee": B, "amount": "5"}
    bad: list[tuple[dict[str, object], str]] = [
        ({"payer": "nobody"}, "payer"),
        ({"payee": "Leeds/x"}, "payee"),
        ({"payer": "leeds"}, "payee"),
        ({"amount": "5.001"}, "amount"),
        ({"amount": 5}, "amount"),
        ({"amount": "0"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"unit": "hours"}, "unit"),
        ({"union": "elsewhere"}, "union"),
        ({"more": 1}, "more"),
    ]
    for change, field in bad:
        answer = world.service.call(world.leeds, "POST", "/quotes", good | change)
        told = problem(answer, 422, "invalid")
        assert told["field"].removeprefix("body.") == field, (change, told)
    problem(world.service.call(world.ghent, "POST", "/quotes", good), 403, "forbidden")
    problem(world.service.client.post("/quotes", json=good), 401, "unauthenticated")
