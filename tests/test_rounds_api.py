"""Rounds over HTTP: hubs see their own part alone, analysts the whole, operators act."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from clearing_world import assert_sound, position
from hub_server import Json
from paying_world import World, open_doors, payment, problem
from pydantic import BaseModel
from round_world import (
    act,
    deeds,
    get,
    notice_over,
    operator_token,
    opted_out,
    out,
    pay_in_a_circle,
    proposed,
    unchanged,
    with_token,
)
from sqlalchemy import Engine

from api import round_examples
from api.round_views import PageView, PlanView, RoundView
from clearing.accounts import set_pair_limit
from commons.database import transaction
from commons.settings import Settings
from commons.tokens import Role

A, B, C = "barcelona", "leeds", "ghent"


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def part(debtor: str, creditor: str, obligation: str, set_off: str, remaining: str) -> Json:
    told = {"debtor": debtor, "creditor": creditor, "obligation": obligation}
    return told | {
        "released": "0.0000",
        "set_off": set_off,
        "drawn": "0.0000",
        "remaining": remaining,
    }


def test_a_round_is_proposed_seen_by_its_hubs_and_committed(world: World) -> None:
    pay_in_a_circle(world)
    token = operator_token(world)
    assert get(world, world.leeds, "/rounds") == {"rounds": []}
    made = proposed(world, token, notice_seconds=0)
    assert (made["state"], made["union"], made["proposed_by"]) == ("proposed", "main", "operator")
    assert made["commit_at"] == made["proposed_at"]
    assert get(world, world.leeds, f"/rounds/{made['id']}")["state"] == "proposed"
    given = get(world, world.leeds, "/accounts/leeds")["positions"][0]
    assert (given["counterparty"], given["given"]) == (A, "7.0000")
    again = with_token(world, token, "POST", "/rounds", {})
    assert made["id"] in problem(again, 409, "conflict")["detail"]
    done = act(world, token, made, "commit")
    assert done.status_code == 200, done.text
    listed = get(world, world.leeds, "/rounds")["rounds"]
    seen = get(world, world.leeds, f"/rounds/{made['id']}")
    assert seen.pop("parts") == [
        part(A, B, "8.0000", "7.0000", "1.0000"),
        part(B, C, "9.0000", "7.0000", "2.0000"),
    ]
    assert listed == [seen] == [done.json()]
    told = [seen[name] for name in ("state", "obligations_total", "net_internal_debt", "cleared")]
    assert told == ["committed", "24.0000", "2.0000", "21.0000"]
    whole = with_token(world, operator_token(world, Role.ANALYST), "GET", f"/rounds/{made['id']}")
    assert len(whole.json()["parts"]) == 3
    left = get(world, world.barcelona, "/obligations")["obligations"]
    assert left == [{"debtor": A, "creditor": B, "amount": "1.0000"}]
    told_again = problem(act(world, token, made, "commit"), 409, "conflict")
    assert "not proposed" in told_again["detail"]
    actor = f"token:{token.partition('.')[0]}"
    assert deeds(world) == [(actor, "round-proposed"), (actor, "round-committed")]
    assert_sound(world.engine)


def test_a_dry_run_tells_each_group_its_part_and_changes_nothing(world: World) -> None:
    pay_in_a_circle(world)
    with transaction(world.engine) as session:
        set_pair_limit(session, A, B, 9_0000)
    waits = world.put(world.barcelona, payment("3", wait=True))
    assert world.move(world.leeds, waits.json()["id"], "accept").json()["state"] == "queued"
    token = operator_token(world)
    (answer,) = unchanged(
        world, lambda: with_token(world, token, "POST", "/rounds", {"dry_run": True})
    )
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert plan["queue"] == {
        "waiting": 1,
        "released": 1,
        "value": "3.0000",
        "bound": "3.0000",
        "exact": True,
    }
    assert (plan["cleared"], len(plan["parts"])) == ("21.0000", 3)
    groups = {one["group"]: one for one in plan["groups"]}
    assert set(groups) == {A, B, C}
    mine = groups[A]
    assert [mine[name] for name in ("owes_before", "is_owed_before", "set_off")] == [
        "8.0000",
        "7.0000",
        "7.0000",
    ]
    assert (mine["owes_after"], mine["is_owed_after"]) == ("4.0000", "0.0000")
    towards = {one["counterparty"]: one for one in mine["pairs"]}[B]
    moved = [towards[name] for name in ("before", "released", "set_off", "after")]
    assert moved == ["-8.0000", "-3.0000", "7.0000", "-4.0000"]
    assert (towards["room_before"], towards["room_after"]) == ("1.0000", "5.0000")
    assert [one["transfer"] for one in mine["payments"]] == [waits.json()["id"]]
    assert groups[C]["payments"] == []


def test_opting_out_leaves_the_group_alone_and_is_said_until_the_deadline(world: World) -> None:
    pay_in_a_circle(world)
    token = operator_token(world)
    made = proposed(world, token, notice_seconds=3_600)
    early = problem(act(world, token, made, "commit"), 409, "conflict")
    assert early["commit_at"][:19] == made["commit_at"][:19]
    said = out(world, world.leeds, made)
    assert said.status_code == 200, said.text
    assert (said.json()["group"], said.json()["round"]) == (B, made["id"])
    assert out(world, world.leeds, made, {}).json() == said.json()
    assert opted_out(world) == [B]
    page = get(world, world.leeds, f"/rounds/{made['id']}/groups/leeds")
    assert page["opted_out_at"] == said.json()["opted_out_at"]
    other = get(world, world.ghent, f"/rounds/{made['id']}/groups/ghent")
    assert other["opted_out_at"] is None
    notice_over(world)
    late = out(world, world.ghent, made)
    assert "until" in problem(late, 409, "conflict")["detail"]
    assert opted_out(world) == [B]
    done = act(world, token, made, "commit").json()
    assert (done["state"], done["cleared"], done["amended"]) == ("committed", "0.0000", True)
    assert out(world, world.leeds, made).json() == said.json()  # said before, and still said
    problem(out(world, world.ghent, made), 409, "conflict")
    assert_sound(world.engine)


def test_no_forged_opt_out_has_an_effect(embedded: World) -> None:
    world = embedded
    pay_in_a_circle(world)
    made = proposed(world, operator_token(world), notice_seconds=3_600)
    path = f"/rounds/{made['id']}/opt-out"
    service, token = world.service, operator_token(world)
    used = service.request(world.ghent, "POST", f"/rounds/{uuid.uuid4()}/opt-out")
    problem(service.client.send(used), 404, "not-found")
    replayed = service.request(world.leeds, "GET", "/rounds", nonce="once")
    assert service.client.send(replayed).status_code == 200
    answers = unchanged(
        world,
        lambda: service.client.post(path),
        lambda: service.client.send(service.request(world.leeds, "POST", path, nonce="once")),
        lambda: service.client.send(
            service.request(world.leeds, "POST", path, key=world.ghent.key)
        ),
        lambda: service.client.send(
            service.request(
                world.leeds, "POST", path, created=datetime.now(UTC) - timedelta(hours=1)
            )
        ),
        lambda: with_token(world, token, "POST", path),
        lambda: out(world, world.ghent, made, {"group": "leeds"}),
        lambda: out(world, world.ghent, made, {"group_id": "leeds"}),
        lambda: out(world, world.ghent, made, []),
    )
    assert [one.status_code for one in answers] == [401, 401, 401, 401, 403, 422, 422, 422]
    # A word about another in the address is no word: it is the signer's own group that opts out.
    assert service.call(world.ghent, "POST", f"{path}?group=leeds").json()["group"] == C
    assert opted_out(world) == [C]


def test_a_round_is_abandoned_by_the_operator_and_gives_back_what_it_reserved(
    world: World,
) -> None:
    pay_in_a_circle(world)
    token = operator_token(world)
    made = proposed(world, token, notice_seconds=86_400)
    assert position(world.engine, B, A).given == 7_0000
    done = act(world, token, made, "abandon").json()
    assert (done["state"], done["certificate_hash"]) == ("abandoned", None)
    assert position(world.engine, B, A).given == 0
    for verb in ("abandon", "commit"):
        (again,) = unchanged(world, partial(act, world, token, made, verb))
        problem(again, 409, "conflict")
    (late,) = unchanged(world, lambda: out(world, world.leeds, made))
    problem(late, 409, "conflict")
    assert [action for _, action in deeds(world)] == ["round-proposed", "round-abandoned"]
    assert_sound(world.engine)


def test_what_is_no_proposal_is_refused_and_changes_nothing(embedded: World) -> None:
    world = embedded
    pay_in_a_circle(world)
    token = operator_token(world)
    bodies: list[tuple[object, str]] = [
        ({"notice_seconds": -1}, "notice_seconds"),
        ({"notice_seconds": 90 * 86_400 + 1}, "notice_seconds"),
        ({"notice_seconds": 2**63}, "notice_seconds"),
        ({"notice_seconds": 10**400}, "notice_seconds"),
        ({"notice_seconds": "60"}, "notice_seconds"),
        ({"notice_seconds": 1.5}, "notice_seconds"),
        ({"dry_run": 1}, "dry_run"),
        ({"union": "x" * 41}, "union"),
        ({"commit_at": "2027-01-01T00:00:00Z"}, "commit_at"),
        ({"commit": True}, "commit"),
    ]
    for body, field in bodies:
        (answer,) = unchanged(world, partial(with_token, world, token, "POST", "/rounds", body))
        if answer.status_code != 400:  # a number that no reader of JSON takes
            assert problem(answer, 422, "invalid")["field"].removeprefix("body.") == field
    path = f"/rounds/{uuid.uuid4()}"
    answers = unchanged(
        world,
        lambda: with_token(world, token, "POST", "/rounds", {"union": "nosuch"}),
        lambda: with_token(world, token, "POST", "/rounds", {"union": "no\0such"}),
        lambda: with_token(world, token, "POST", "/rounds", {"union": "nosuch", "dry_run": True}),
        lambda: with_token(world, token, "POST", f"{path}/commit"),
        lambda: with_token(world, token, "POST", f"{path}/abandon"),
        lambda: world.service.call(world.leeds, "POST", f"{path}/opt-out"),
        lambda: with_token(world, token, "POST", "/rounds/last/commit"),
        lambda: with_token(world, token, "POST", "/rounds/%00/abandon"),
        lambda: world.service.client.post("/rounds", json={}),
        lambda: world.service.call(world.leeds, "POST", "/rounds", {}),
        lambda: with_token(
            world, operator_token(world, Role.ANALYST), "POST", "/rounds", {"dry_run": True}
        ),
    )
    statuses = [one.status_code for one in answers]
    assert statuses[0] == 404
    assert statuses[1] in {400, 404, 422}
    assert statuses[2:] == [404, 404, 404, 404, 422, 400, 401, 401, 403]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (PlanView, round_examples.PLAN),
        (RoundView, round_examples.PROPOSED),
        (PageView, round_examples.PAGE),
    ],
)
def test_what_is_shown_as_an_example_is_what_is_told(model: type[BaseModel], example: Json) -> None:
    assert model.model_validate(example).model_dump(mode="json") == example
