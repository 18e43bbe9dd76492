"""Several unions in one service, as the operator sets them up and hubs see them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from clearing_world import GROUPS, admit, balances, call, open_world, push
from conftest import disposed
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine, select, update
from test_commands import good, refused

from api.migrations import upgrade
from clearing import participation
from clearing.accounts import Account, account_in, open_account
from commons import tokens
from commons.audit_log import Deed
from commons.database import make_engine, reading, transaction
from commons.errors import InvalidError, NotFoundError
from commons.groups import Hub, HubState
from commons.settings import Settings
from commons.tokens import Role


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Engine]:
    """The database of the commands, with three groups in the union main."""
    upgrade(settings.effective_database_url)
    with disposed(make_engine(settings.effective_database_url)) as engine:
        open_world(engine)
        yield engine


def printed(settings: Settings, *arguments: str) -> Any:  # noqa: ANN401 (any JSON)
    return json.loads(good(settings, *arguments))


def test_a_union_is_made_joined_and_gives_its_new_groups_their_limits(
    settings: Settings, ledger: Engine
) -> None:
    made = printed(settings, "union", "create", "north", "--credit-limit", "20")
    assert made == {
        "id": "north",
        "credit_default": "20.0000",
        "surplus_default": "100.0000",
        "groups": [],
        "own_accounts": {},
        "rounds": {
            "schedule": None,
            "next": None,
            "notice_seconds": 0,
            "credit_lines": False,
        },
    }
    told = printed(settings, "union", "defaults", "north", "--surplus-limit", "0")
    assert (told["credit_default"], told["surplus_default"]) == ("20.0000", "0.0000")
    joined = printed(settings, "union", "join", "north", "leeds")
    limits = [joined[name] for name in ("union", "credit_limit", "surplus_limit")]
    assert limits == ["north", "20.0000", "0.0000"]
    joined = printed(settings, "union", "join", "north", "ghent", "--surplus-limit", "50")
    assert (joined["credit_limit"], joined["surplus_limit"]) == ("20.0000", "50.0000")
    assert printed(settings, "union", "show", "north")["groups"] == ["ghent", "leeds"]
    listed = printed(settings, "union", "list", "--json")["unions"]
    assert [(one["id"], len(one["groups"])) for one in listed] == [("main", 3), ("north", 2)]
    assert "north\t2\t20.0000\t0.0000" in good(settings, "union", "list")
    shown = printed(settings, "account", "show", "leeds", "--union", "north")
    assert (shown["union"], shown["credit_limit"]) == ("north", "20.0000")
    assert printed(settings, "account", "show", "leeds")["union"] == "main"
    with reading(ledger) as session:
        deeds = session.scalars(select(Deed).order_by(Deed.number)).all()
    assert [(deed.actor, deed.action, deed.subject) for deed in deeds] == [
        ("operator", "union-created", "north"),
        ("operator", "union-defaults-changed", "north"),
        ("operator", "account-changed", "north/leeds"),
        ("operator", "account-changed", "north/ghent"),
    ]
    good(settings, "audit")


def test_what_happens_in_one_union_leaves_the_other_alone(
    settings: Settings, ledger: Engine
) -> None:
    good(settings, "union", "create", "north")
    for group in ("leeds", "ghent"):
        good(settings, "union", "join", "north", group)
    good(settings, "account", "freeze", "leeds", "--reason", "moving")
    payment = push("leeds", "ghent", "3")
    inside = replace(payment, union="north")
    assert call(ledger, replace(inside, union="main")).error is not None
    assert call(ledger, inside).error is None
    good(settings, "account", "thaw", "leeds")
    shown = printed(settings, "account", "show", "leeds", "--union", "north")
    assert (shown["state"], shown["pending_out"]) == ("open", "3.0000")
    assert printed(settings, "account", "show", "leeds")["pending_out"] == "0.0000"
    assert "1 pending transfers" in refused(
        settings, "account", "close", "leeds", "--union", "north", code=1
    )
    assert printed(settings, "account", "close", "leeds")["state"] == "closed"
    assert balances(ledger) == {}
    good(settings, "audit")


def test_joining_is_refused_where_it_cannot_be(settings: Settings, ledger: Engine) -> None:
    good(settings, "union", "create", "north")
    with transaction(ledger) as session:
        session.execute(update(Hub).where(Hub.group_id == "ghent").values(state=HubState.SUSPENDED))
    for command, code, said in (
        (["create", "north"], 1, "already"),
        (["create", "North Sea"], 2, "small letters"),
        (["create", "south", "--credit-limit", "-1"], 2, "credit_limit"),
        (["show", "south"], 1, "no union 'south'"),
        (["join", "south", "leeds"], 1, "no union 'south'"),
        (["join", "north", "nobody"], 1, "nobody"),
        (["join", "north", "ghent"], 1, "suspended"),
        (["join", "main", "leeds"], 1, "has an account"),
    ):
        assert said in refused(settings, "union", *command, code=code)
    with reading(ledger) as session:
        assert set(session.scalars(select(Account.union_id))) == {"main"}


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def test_a_hub_asks_for_its_account_in_a_union_and_bearers_for_any(world: World) -> None:
    with transaction(world.engine) as session:
        participation.join(session, "leeds", "north", 5, 6)
        participation.join(session, "ghent", "north")
        bearers = {
            union: tokens.create(session, Role.ANALYST, "figures", timedelta(days=1), union)[1]
            for union in ("north", None)
        }
    assert world.put(world.barcelona, payment("2")).status_code == 201
    for query, union in (("", "main"), ("?union=main", "main"), ("?union=north", "north")):
        answer = world.service.call(world.leeds, "GET", f"/accounts/leeds{query}")
        assert (answer.status_code, answer.json()["union"]) == (200, union)
    problem(world.service.call(world.leeds, "GET", "/accounts/ghent?union=north"), 404, "not-found")
    problem(world.service.call(world.leeds, "GET", "/accounts/leeds?union=x"), 404, "not-found")

    def seen(bearer: str | None, path: str) -> Any:  # noqa: ANN401 (any JSON)
        headers = {"Authorization": f"Bearer {bearers[bearer]}"}
        answer = world.service.client.get(path, headers=headers)
        return answer.json() if answer.status_code == 200 else answer.status_code

    assert seen(None, "/accounts/barcelona")["pending_out"] == "2.0000"
    assert seen("north", "/accounts/leeds")["union"] == "north"
    assert seen("north", "/accounts/leeds?union=main") == 404
    assert seen("north", "/accounts/barcelona") == 404
    assert seen("north", "/obligations") == {"obligations": []}
    assert seen("north", "/obligations?union=main") == 404


def test_the_account_of_a_group_in_no_main_union_is_its_only_one(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        admit(session, "leeds", GROUPS["leeds"])
        assert account_in(session, "leeds", None).union_id == "main"
        with pytest.raises(NotFoundError):
            account_in(session, "nobody", None)
        open_account(session, "leeds", "north")
        open_account(session, "leeds", "south")
        assert account_in(session, "leeds", None).union_id == "main"
        assert account_in(session, "leeds", "south").union_id == "south"
        for account in session.scalars(select(Account).filter_by(union_id="main")):
            session.delete(account)
        with pytest.raises(InvalidError, match="north, south"):
            account_in(session, "leeds", None)
