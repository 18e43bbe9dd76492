"""Who speaks for what is another's, by POST /inbox and by an outbox: nothing of it is believed.

Each spoof is judged by its effect: the listings, hubs and keys of the others are what they were.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hub_server import PUBLIC
from signed_by import RSA, pem_key
from spoofing_world import FAKE, World, opened
from spoofs import BELIEVED_BY_NOBODY, REFUSED
from sqlalchemy import update

from commons.database import transaction
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerState
from marketplace.listings import Listing


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Shared, since none of these tests may change what it looks at."""
    with ExitStack() as stack:
        world = opened(stack, sqlite_template, tmp_path_factory.mktemp("spoofs"))
        listings, *_ = world.held()
        assert [row.title for row in listings] == ["Bicycle repair 1", "Bicycle repair 2"]  # type: ignore[attr-defined] # rows
        yield world


@pytest.mark.parametrize("spoof", REFUSED)
def test_a_push_in_anothers_name_is_refused_and_stores_nothing(world: World, spoof: str) -> None:
    status, made = REFUSED[spoof]
    document, before = made(world), world.held()
    stored = [world.count(table) for table in (InboxMessage, PutAside, Listing)]
    answer = world.service.push(world.evil, document)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    world.work()
    assert [world.count(table) for table in (InboxMessage, PutAside, Listing)] == stored
    assert world.held() == before


@pytest.mark.parametrize("spoof", BELIEVED_BY_NOBODY)
def test_a_push_about_what_is_anothers_has_no_effect(world: World, spoof: str) -> None:
    document, before = BELIEVED_BY_NOBODY[spoof](world), world.held()
    answer = world.service.push(world.evil, document)
    assert answer.status_code == 202
    world.work()
    assert world.held() == before


# But for those of the hub's own listings: an outbox says nothing of who vouches for an activity.
OUTBOX: Final = {
    **BELIEVED_BY_NOBODY,
    **{name: made for name, (_, made) in REFUSED.items() if "own" not in made.__code__.co_names},
}


def test_an_outbox_in_others_names_has_no_effect(world: World) -> None:
    """All at once, since a crawl reads on whatever an item says."""
    items = [made(world) for made in OUTBOX.values()]
    assert len(items) > 70
    before = world.held()
    world.evil.publish_outbox(*[items[start : start + 10] for start in range(0, len(items), 10)])
    with transaction(world.service.services.engine) as session:
        session.execute(
            update(Peer)
            .where(Peer.group_id == world.evil.name)
            .values(due_at=datetime.now(UTC), state=PeerState.LIVE)
        )
    world.evil.asked.clear()
    world.work(3)
    pages = {path for path in world.evil.asked if path.startswith("/outbox?page=")}
    assert len(pages) == -(-len(items) // 10)
    assert world.held() == before


@pytest.mark.parametrize(
    ("path", "status"),
    [("key", 401), ("members/eve#main-key", 401), ("group#nobodys", 401), ("../group", 401)],
)
def test_a_key_id_that_is_anothers_or_nobodys_opens_nothing(
    world: World, path: str, status: int
) -> None:
    """What signs is the hostile hub's own key, under an id of another's path."""
    before, stored = world.held(), world.count(InboxMessage)
    for base in (world.honest.base, world.evil.base):
        if path == "members/eve#main-key" and base == world.evil.base:
            continue
        answer = world.service.push(
            world.evil, world.honest.activity("Create", world.fake), key_id=f"{base}/{path}"
        )
        assert answer.status_code == status
    answer = world.service.push(
        world.evil, world.honest.activity("Create", world.fake), key_id=world.honest.key_id
    )
    assert answer.status_code == 401
    world.work()
    assert (world.held(), world.count(InboxMessage)) == (before, stored)


@pytest.mark.parametrize(
    "owner",
    [
        lambda w: w.ines,
        lambda w: w.honest.actor_uri,
        lambda w: [w.ines],
        lambda w: {"id": w.ines},
        lambda w: w.evil.base.replace("//", "//ines@") + "/members/ivy",
        lambda _: None,
    ],
)
def test_a_key_that_says_it_is_anothers_is_nobodys(
    world: World, owner: Callable[[World], Any]
) -> None:
    number = next(world.numbers)
    key_id = f"{world.evil.base}/keys/{number}"
    described = {**pem_key(key_id, "", RSA), "owner": owner(world)}
    world.evil.put(f"/keys/{number}", described)
    world.evil.put(
        f"/members/{number}", {"id": world.eve, "type": "Person", "publicKey": described}
    )
    before, stored = world.held(), world.count(InboxMessage)
    for named in (key_id, f"{world.evil.base}/members/{number}#main-key"):
        activity = world.honest.activity("Create", world.fake)
        answer = world.service.push(world.evil, activity, key=RSA, key_id=named)
        assert answer.status_code in {401, 403}
    world.work()
    assert (world.held(), world.count(InboxMessage)) == (before, stored)


def test_what_the_hostile_hub_says_of_itself_is_taken(world: World) -> None:
    """These tests could fail: what is its own arrives, and what is another's own does too."""
    before, _, _, _ = world.held()
    own = world.own(to=[PUBLIC])
    assert world.service.push(world.evil, world.says("Create", own)).status_code == 202
    newer = world.honest.serve(world.honest.proposal(1, hours=1, name="Newer"))
    activity = world.says("Announce", json.loads(json.dumps({**newer, "name": FAKE})))
    assert world.service.push(world.evil, activity).status_code == 202
    world.work()
    after, _, _, _ = world.held()
    titles = sorted(row.title for row in after)  # type: ignore[attr-defined] # rows
    assert titles == ["Bicycle repair 2", FAKE, "Newer"]
    assert after != before
