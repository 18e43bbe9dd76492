"""Who sees what of a round over HTTP: hubs their own part, tokens their union, others nothing."""

import json
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from hub_server import Json
from paying_world import World, open_doors, problem
from round_world import (
    act,
    get,
    operator_token,
    out,
    pay,
    pay_in_a_circle,
    proposed,
    unchanged,
    with_token,
)
from sqlalchemy import Engine

from api.round_page import POLICY
from clearing.accounts import open_account, set_limits
from commons.database import transaction
from commons.settings import Settings

A, B, C = "barcelona", "leeds", "ghent"


@pytest.fixture
def embedded(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, sqlite_engine)


def coast_round(world: World) -> tuple[Json, str]:
    """A round of a union in which ghent has no account, and a token for that union alone."""
    with transaction(world.engine) as session:
        for group in (A, B):
            open_account(session, group, "coast")
            set_limits(session, group, None, None, "coast")
    pay(world, world.barcelona, world.leeds, "8", union="coast")
    made = proposed(world, operator_token(world), union="coast", notice_seconds=3_600)
    return made, operator_token(world, union_id="coast")


def test_rounds_of_another_union_are_nobodys_business(embedded: World) -> None:
    world = embedded
    made, coast = coast_round(world)
    main = operator_token(world, union_id="main")
    path = f"/rounds/{made['id']}"
    assert get(world, world.leeds, "/rounds") == {"rounds": []}
    listed = get(world, world.leeds, "/rounds?union=coast")["rounds"]
    assert [one["id"] for one in listed] == [made["id"]]
    hub = world.service.call
    paths = ("/rounds?union=coast", "/obligations?union=coast", path, f"{path}/groups/ghent")
    asked = [
        *(partial(hub, world.ghent, "GET", one) for one in paths),
        *(partial(with_token, world, main, "GET", one) for one in paths),
        partial(hub, world.ghent, "GET", f"{path}/groups/leeds"),
        partial(hub, world.ghent, "GET", f"{path}/certificate?form=slice"),
        partial(out, world, world.ghent, made),
        partial(act, world, main, made, "commit"),
        partial(act, world, main, made, "abandon"),
        partial(with_token, world, main, "POST", "/rounds", {"union": "coast"}),
        partial(with_token, world, main, "GET", f"{path}/certificate?form=full"),
        partial(with_token, world, coast, "GET", "/rounds?union=main"),
        partial(with_token, world, coast, "GET", f"{path}/groups/ghent"),
    ]
    for answer in unchanged(world, *asked):
        problem(answer, 404, "not-found")
    unknown = problem(hub(world.ghent, "GET", f"/rounds/{uuid.uuid4()}"), 404, "not-found")
    told = problem(hub(world.ghent, "GET", path), 404, "not-found")
    assert told["detail"].split()[:-1] == unknown["detail"].split()[:-1]
    assert with_token(world, coast, "GET", "/rounds").json()["rounds"] == listed
    assert act(world, coast, made, "abandon").status_code == 200


def test_a_hub_with_no_part_in_a_round_sees_its_totals_and_an_empty_part(embedded: World) -> None:
    world = embedded
    pay(world, world.barcelona, world.leeds, "8")
    made = proposed(world, operator_token(world), notice_seconds=3_600)
    seen = get(world, world.ghent, f"/rounds/{made['id']}")
    assert (seen["obligations_total"], seen["parts"]) == ("8.0000", [])
    page = get(world, world.ghent, f"/rounds/{made['id']}/groups/ghent")
    assert (page["pairs"], page["payments"], page["owes_before"]) == ([], [], "0.0000")
    problem(out(world, world.ghent, made), 404, "not-found")
    other = world.service.call(world.ghent, "GET", f"/rounds/{made['id']}/groups/leeds")
    problem(other, 404, "not-found")


def test_of_a_round_nothing_is_told_to_strangers_but_what_is_published(embedded: World) -> None:
    world = embedded
    pay_in_a_circle(world)
    token = operator_token(world)
    made = proposed(world, token, notice_seconds=0)
    client, path = world.service.client, f"/rounds/{made['id']}"
    for one in (path, f"{path}/groups/leeds", f"{path}/certificate?form=slice", "/rounds"):
        problem(client.get(one), 401, "unauthenticated")
    problem(client.get(f"{path}/certificate"), 404, "not-found")  # there is none yet
    assert act(world, token, made, "commit").status_code == 200
    public = client.get(f"{path}/certificate")
    assert public.status_code == 200
    assert not {A, B, C} & set(json.dumps(public.json()).replace('"', " ").split())
    problem(client.get(f"{path}/certificate?form=full"), 401, "unauthenticated")
    full = with_token(world, token, "GET", f"{path}/certificate?form=full").json()
    assert (full["public"], len(full["rows"])) == (public.json(), 3)
    problem(
        world.service.call(world.leeds, "GET", f"{path}/certificate?form=full"), 403, "forbidden"
    )
    own = get(world, world.leeds, f"{path}/certificate?form=slice")
    assert (own["group"], len(own["rows"])) == (B, 2)
    by_token = with_token(world, token, "GET", f"{path}/certificate?form=slice&group=leeds")
    assert by_token.json() == own
    problem(
        world.service.call(world.leeds, "GET", f"{path}/certificate?form=slice&group=ghent"),
        404,
        "not-found",
    )
    needs = with_token(world, token, "GET", f"{path}/certificate?form=slice")
    assert problem(needs, 422, "invalid")["field"] == "group"
    for wrong in (f"{path}/certificate?form=all", "/rounds/last/certificate"):
        problem(client.get(wrong), 422, "invalid")
    problem(client.get(f"/rounds/{uuid.uuid4()}/certificate"), 404, "not-found")
    told = {"Authorization": "Bearer 0.wrong"}
    problem(client.get(f"{path}/certificate", headers=told), 401, "unauthenticated")


def test_a_page_comes_in_the_form_that_is_asked_for(embedded: World) -> None:
    world = embedded
    pay_in_a_circle(world)
    token = operator_token(world)
    made = proposed(world, token, notice_seconds=0)
    path = f"/rounds/{made['id']}/groups/leeds"
    for accept, media_type, name in (
        ("text/csv", "text/csv; charset=utf-8; header=present", ".csv"),
        ("text/html,*/*;q=0.1", "text/html; charset=utf-8", ".html"),
        ("application/json", "application/json", ".json"),
        ("*/*", "application/json", ".json"),
    ):
        answer = with_token(world, token, "GET", path, Accept=accept)
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-disposition"].endswith(f'-leeds{name}"')
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["vary"] == "Accept"
        policy = answer.headers["content-security-policy"]
        assert (policy == POLICY) is (name == ".html")
        assert "8.0000" in answer.text
    refused = with_token(world, token, "GET", path, Accept="application/xml")
    assert "text/html" in problem(refused, 406, "not-acceptable")["offered"]
