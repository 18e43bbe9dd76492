"""What a hub is not told: unions that its group is not in, and what two others share."""

import uuid
from collections.abc import Iterator

import pytest
from clearing_world import ledger
from hub_server import HubServer
from paying_world import World, open_doors, problem
from sqlalchemy import Engine

from clearing import accounts
from commons.database import transaction
from commons.settings import Settings


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    """Three hubs in the union main; two of them share another one besides."""
    for world in open_doors(settings, sqlite_engine):
        with transaction(sqlite_engine) as session:
            for group_id in ("barcelona", "leeds"):
                accounts.open_account(session, group_id, "harbour")
        yield world


def test_a_union_is_shown_to_hubs_of_its_groups_alone(world: World) -> None:
    for path in ("/unions/harbour", "/unions/harbour/periods"):
        assert world.service.call(world.leeds, "GET", path).status_code == 200
        refused = problem(world.service.call(world.ghent, "GET", path), 404, "not-found")
        missing = path.replace("harbour", "nowhere")
        other = problem(world.service.call(world.ghent, "GET", missing), 404, "not-found")
        assert refused["detail"].replace("harbour", "nowhere") == other["detail"]


def test_who_is_no_side_learns_nothing_of_the_unions_of_two_others(world: World) -> None:
    before = ledger(world.engine)
    answers = {call(world, world.ghent, path, asked) for path in CALLS for asked in ASKED}
    assert answers == {(403, "only the debtor's or the creditor's hub may do this")}
    status, detail = call(world, world.leeds, "/adjustments", ASKED[2])
    assert status == 422
    assert "harbour, main" in detail
    assert ledger(world.engine) == before


CALLS = ("/adjustments", "/disputes")
ASKED = (
    ("barcelona", "leeds", None),
    ("barcelona", "leeds", "harbour"),
    ("barcelona", "leeds", "nowhere"),
    ("barcelona", "nobody", None),
    ("levy", "commons", "harbour"),
)


def call(
    world: World, hub: HubServer, path: str, asked: tuple[str, str, str | None]
) -> tuple[int, str]:
    debtor, creditor, union = asked
    said = {"kind": "settlement"} if path == "/adjustments" else {"reason": "Posted twice"}
    body = {"debtor": debtor, "creditor": creditor, "amount": "1.0000", "union": union, **said}
    answer = world.service.call(hub, "PUT", f"{path}/{uuid.uuid4()}", body)
    return answer.status_code, answer.json()["detail"]
