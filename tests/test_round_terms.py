"""A group's terms for rounds, over HTTP: whether it takes part, and what it keeps back."""

from collections.abc import Iterator
from threading import Thread

import pytest
from clearing_world import account, open_world
from every_table import everything
from hub_server import HubServer, Json
from paying_world import World, open_doors, problem
from round_world import operator_token, pay_in_a_circle, with_token
from sqlalchemy import Engine, select, text
from test_clearing_commands import wait_for_a_lock

from clearing.accounts import lock_accounts, open_account
from clearing.rounds import KeptBack, terms
from clearing.rounds.terms import Kept
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.settings import Settings
from commons.tokens import Role

PATH = "/accounts/leeds/rounds"
FREE = {"group": "leeds", "union": "main", "in_rounds": True, "kept_back": []}


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def put(world: World, hub: HubServer, body: object, path: str = PATH) -> Json:
    answer = world.service.call(hub, "PUT", path, body)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def kept(*rows: tuple[str, object]) -> Json:
    named = [{"counterparty": name, "amount": amount} for name, amount in rows]
    return {"in_rounds": True, "kept_back": named}


SENSELESS: list[tuple[Json, str]] = [
    (kept(("leeds", "1")), "kept_back.0.counterparty"),
    (kept(("ghent", "1"), ("nobody", "1")), "kept_back.1.counterparty"),
    (kept(("ghent", "1"), ("ghent", "2")), "kept_back.1.counterparty"),
    (kept(("x" * 61, "1")), "kept_back.0.counterparty"),
    (kept(("", "1")), "kept_back.0.counterparty"),
    (kept(("ghent", "NaN")), "kept_back.0.amount"),
    (kept(("ghent", "-1")), "kept_back.0.amount"),
    (kept(("ghent", "0")), "kept_back.0.amount"),
    (kept(("ghent", "1e3")), "kept_back.0.amount"),
    (kept(("ghent", "1.00001")), "kept_back.0.amount"),
    (kept(("ghent", "922337203685477.5808")), "kept_back.0.amount"),
    (kept(("ghent", "1" * 40)), "kept_back.0.amount"),
    (kept(("ghent", 1)), "kept_back.0.amount"),
    (kept(*[("ghent", "1")] * 1_001), "kept_back"),
    ({"in_rounds": "yes"}, "in_rounds"),
    ({"in_rounds": None}, "in_rounds"),
    ({"kept_back": []}, "in_rounds"),
    ({"in_rounds": True, "group": "ghent"}, "group"),
    ({"in_rounds": True, "kept_back": None}, "kept_back"),
    ({"in_rounds": True, "kept_back": [{"counterparty": "ghent", "all": True}]}, "kept_back.0.all"),
]


def test_what_is_kept_back_and_who_stays_out_is_left_alone_by_the_next_round(world: World) -> None:
    pay_in_a_circle(world)  # barcelona owes leeds 8, leeds ghent 9, ghent barcelona 7
    service, token = world.service, operator_token(world)
    assert service.call(world.leeds, "GET", PATH).json() == FREE

    def cleared() -> str:
        dry = with_token(world, token, "POST", "/rounds", {"dry_run": True})
        assert dry.status_code == 200, dry.text
        return str(dry.json()["cleared"])

    assert cleared() == "21.0000"
    told = put(world, world.leeds, kept(("ghent", "5"), ("barcelona", "0.5000")))
    assert told["kept_back"] == [
        {"counterparty": "barcelona", "amount": "0.5000"},
        {"counterparty": "ghent", "amount": "5.0000"},
    ]
    assert cleared() == "12.0000"  # 9 less 5 is 4
    # Of what both keep back the larger counts; all of it where no amount is named.
    put(world, world.ghent, kept(("leeds", "6.5")), "/accounts/ghent/rounds")
    assert cleared() == "7.5000"
    put(world, world.ghent, kept(("leeds", None)), "/accounts/ghent/rounds")
    assert cleared() == "0.0000"
    put(world, world.ghent, kept(), "/accounts/ghent/rounds")
    put(world, world.leeds, {"in_rounds": True})
    assert cleared() == "21.0000"
    put(world, world.leeds, {"in_rounds": False, "kept_back": []})
    assert cleared() == "0.0000"
    seen = with_token(world, token, "GET", PATH)
    assert seen.json() == FREE | {"in_rounds": False}


def test_terms_said_again_change_nothing_and_each_change_is_logged(embedded: World) -> None:
    for _ in range(2):
        put(embedded, embedded.leeds, kept(("ghent", "5")))
    put(embedded, embedded.leeds, {"in_rounds": False})
    with reading(embedded.engine) as session:
        rows = session.scalars(select(Deed).filter_by(action="round-terms-changed"))
        logged = [(row.actor, row.subject, row.data) for row in rows.all()]
    data = {"union": "main", "in_rounds": "true", "kept_back": "1"}
    assert logged == [
        ("hub:leeds", "leeds", data),
        ("hub:leeds", "leeds", data | {"in_rounds": "false", "kept_back": "0"}),
    ]


def test_terms_of_one_union_are_not_those_of_another(embedded: World) -> None:
    with transaction(embedded.engine) as session:
        for group in ("barcelona", "leeds"):
            open_account(session, group, "coast")
    coast = f"{PATH}?union=coast"
    put(embedded, embedded.leeds, kept(("barcelona", "5")), coast)
    assert embedded.service.call(embedded.leeds, "GET", PATH).json() == FREE
    assert len(embedded.service.call(embedded.leeds, "GET", coast).json()["kept_back"]) == 1
    # ghent is in main alone: of the union coast it is no counterparty
    told = problem(
        embedded.service.call(embedded.leeds, "PUT", coast, kept(("ghent", "5"))), 422, "invalid"
    )
    assert told["field"] == "kept_back.0.counterparty"


def test_terms_that_make_no_sense_are_refused_and_change_nothing(embedded: World) -> None:
    put(embedded, embedded.leeds, kept(("ghent", "5")))
    before = everything(embedded.engine)
    for body, field in SENSELESS:
        told = problem(embedded.service.call(embedded.leeds, "PUT", PATH, body), 422, "invalid")
        assert told["field"].removeprefix("body.") == field, told
    nul = embedded.service.call(embedded.leeds, "PUT", PATH, kept(("ghe\0nt", "1")))
    assert nul.status_code in {400, 422}, nul.text
    assert everything(embedded.engine) == before


def test_nobody_sets_or_sees_the_terms_of_another(embedded: World) -> None:
    put(embedded, embedded.leeds, kept(("ghent", "5")))
    service, body = embedded.service, {"in_rounds": False}
    analyst = operator_token(embedded, Role.ANALYST)
    before = everything(embedded.engine)
    for hub in (embedded.ghent, embedded.barcelona):
        problem(service.call(hub, "PUT", PATH, body), 404, "not-found")
        problem(service.call(hub, "GET", PATH), 404, "not-found")
    problem(service.call(embedded.leeds, "PUT", f"{PATH}?union=coast", body), 404, "not-found")
    forged = service.request(embedded.leeds, "PUT", PATH, body, key=embedded.ghent.key)
    problem(service.client.send(forged), 401, "unauthenticated")
    problem(service.client.put(PATH, json=body), 401, "unauthenticated")
    problem(with_token(embedded, analyst, "PUT", PATH, body), 403, "forbidden")
    after = everything(embedded.engine)
    assert {name: rows for name, rows in after.items() if name != "tokens"} == {
        name: rows for name, rows in before.items() if name != "tokens"
    }
    with reading(embedded.engine) as session:
        assert len(session.scalars(select(KeptBack)).all()) == 1


def test_terms_and_payments_take_their_locks_in_the_same_order(postgresql_engine: Engine) -> None:
    open_world(postgresql_engine)
    first, second = sorted(account(postgresql_engine, name).id for name in ("barcelona", "leeds"))
    names = {account(postgresql_engine, name).id: name for name in ("barcelona", "leeds")}
    raised: list[Exception] = []

    def keep_back() -> None:
        try:
            with transaction(postgresql_engine) as session:
                kept_back = [Kept(names[first], "1")]
                terms.set_terms(session, names[second], kept_back, in_rounds=True)
        except Exception as error:  # noqa: BLE001 (told by the assertion below)
            raised.append(error)

    with transaction(postgresql_engine) as session:
        lock_accounts(session, [first])
        thread = Thread(target=keep_back)
        thread.start()
        wait_for_a_lock(postgresql_engine)
        session.execute(text("SET LOCAL lock_timeout = '10s'"))
        lock_accounts(session, [second])  # fails, or has the other fail, where it is held
    thread.join()
    assert raised == []
    with reading(postgresql_engine) as session:
        assert len(session.scalars(select(KeptBack)).all()) == 1
