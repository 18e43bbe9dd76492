"""Whose listings a hub's consent brings, and whose word takes it back, whoever else agreed."""

from collections.abc import Iterator

import pytest
from fasp_world import World, sharing
from hub_server import Crawling, HubServer, Json
from other_software import join
from pushing_world import Pushing, pushing_hub
from sqlalchemy import Engine, select

from commons.database import reading, transaction
from commons.key_formats import encode_multikey, generate_ed25519
from commons.settings import Settings
from crawler import moving, peers, suspension
from crawler.discovering import note
from crawler.kept import InboxMessage
from crawler.origins import read_actor
from crawler.peers import Covers, Peer, PeerKind, PeerState
from crawler.registration import open_hub
from marketplace.listings import Listing, WithdrawnReason

_INES = generate_ed25519()


@pytest.fixture
def crawling(sqlite_engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(sqlite_engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


@pytest.fixture
def active(sqlite_engine: Engine, settings: Settings) -> Iterator[World]:
    for world in sharing(settings, sqlite_engine):
        world.activate()
        yield world


@pytest.fixture
def pushing(sqlite_engine: Engine, settings: Settings) -> Iterator[Pushing]:
    yield from pushing_hub(settings, sqlite_engine)


def announces_a_stranger(crawling: Crawling, hub: HubServer) -> list[str]:
    """Let a hub's actor boost somebody of its server who says nothing, and look what is shown."""
    told = hub.serve(hub.proposal(1, member="stranger", audience=None))
    crawling.push_and_work(hub, hub.activity("Announce", told["id"], by=hub.actor_uri))
    return crawling.titles()


def look_again(crawling: Crawling) -> None:
    crawling.make_due(Peer)
    crawling.work()


@pytest.mark.parametrize("how", ["it says so", "it registers"])
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("Group", ["Bicycle repair 1"]),
        ("Organization", ["Bicycle repair 1"]),
        ("Service", []),
        ("Person", []),
        (["Person", "Group"], []),
        (["Person", "Application"], []),
    ],
)
def test_only_a_group_speaks_for_others(
    crawling: Crawling, hub: HubServer, how: str, kind: object, shown: list[str]
) -> None:
    hub.publish_actor(type=kind, indexable=True)
    if how == "it registers":
        crawling.register(hub)
    else:
        assert join(crawling, hub.actor_uri).to_mend is None
    crawling.work()
    own = hub.proposal(2, attributedTo=hub.actor_uri, audience=None, name="Its own")
    crawling.push_and_work(hub, hub.activity("Create", own))
    assert announces_a_stranger(crawling, hub) == sorted([*shown, "Its own"])


def test_a_group_that_moves_to_a_person_speaks_for_that_person_alone(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()
    crawling.push_and_work(hub, hub.activity("Create", hub.serve(hub.proposal(7))))
    assert crawling.titles() == ["Bicycle repair 7"]
    with HubServer("other").serving() as other:
        other.publish_actor(type="Person", alsoKnownAs=[hub.actor_uri])
        peer_id, target = crawling.peer(hub).id, other.actor_uri
        assert crawling.run(
            lambda door: moving.move_to(crawling.engine, door, peer_id, target, is_signed=True)
        )
        assert crawling.titles() == []  # at once, and not when it is looked at
        crawling.work()
        assert announces_a_stranger(crawling, other) == []


def test_an_instance_that_moves_to_a_person_speaks_for_that_person_alone(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_actor(type="Application", indexable=True)
    assert join(crawling, hub.actor_uri).kind is PeerKind.INSTANCE
    crawling.work()
    with HubServer("other").serving() as other:
        other.publish_actor(type="Person", indexable=True, alsoKnownAs=[hub.actor_uri])
        hub.publish_actor(type="Application", indexable=True, movedTo=other.actor_uri)
        look_again(crawling)
        assert announces_a_stranger(crawling, other) == []


def test_what_becomes_a_person_no_longer_speaks_for_its_members(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()
    crawling.push_and_work(hub, hub.activity("Create", hub.serve(hub.proposal(1))))
    assert crawling.titles() == ["Bicycle repair 1"]
    hub.publish_actor(type="Person")
    look_again(crawling)
    assert crawling.titles() == []

    hub.publish_actor(type="Group")  # without a yes of its own it does not get more than it had
    look_again(crawling)
    assert announces_a_stranger(crawling, hub) == []


def test_a_server_that_announces_posts_is_not_the_group_that_agreed(active: World) -> None:
    fedi = active.fedi
    fedi.member("tom")
    group = {"id": f"{fedi.base}/g", "type": "Group", "inbox": f"{fedi.base}/g/inbox"}
    with transaction(active.engine) as session:
        open_hub(session, read_actor(group), "g")
        peer = peers.discover(session, group["id"], found_by="a test", group_id="g")
        peers.consent(session, peer, {"kind": "registration"}, Covers.MEMBERS)
    active.take(fedi.post(1, member="tom"))
    assert (active.shown(), active.listings()) == ([], 0)

    fedi.member("ada", indexable=True)
    active.take(fedi.post(2, member="ada"))
    assert active.shown() == ["Bicycle repair 2"]


def by_the_member_itself(crawling: Crawling, hub: HubServer, activity: Json) -> None:
    """Push an activity of the member Ines, signed with her own key."""
    uri = f"{hub.base}/members/ines"
    told = {
        "id": f"{uri}#key",
        "type": "Multikey",
        "controller": uri,
        "publicKeyMultibase": encode_multikey(_INES.public_key()),
    }
    hub.member("ines", assertionMethod=[told])
    crawling.receive(hub.signed(crawling.settings, activity, key=_INES, key_id=f"{uri}#key"))
    crawling.work()


def test_a_members_update_of_what_its_hub_told_is_taken(crawling: Crawling, hub: HubServer) -> None:
    told = hub.proposal(1, audience=None)
    hub.publish_outbox([hub.activity("Create", told)])
    crawling.register(hub)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]

    better = hub.proposal(1, hours=3, audience=None, name="Better repair")
    by_the_member_itself(crawling, hub, hub.activity("Update", better))
    assert crawling.titles() == ["Better repair"]

    unheard = hub.proposal(2, audience=None)
    by_the_member_itself(crawling, hub, hub.activity("Create", unheard))
    assert crawling.titles() == ["Better repair"]


def test_what_its_hub_told_stays_when_another_hub_announces_it(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()
    told = hub.serve(hub.proposal(1, audience=None))
    crawling.push_and_work(hub, hub.activity("Create", told))
    with HubServer("other").serving() as other:
        crawling.register(other)
        crawling.work()
        newer = hub.serve(hub.proposal(1, hours=2, audience=None, name="Told anew"))
        crawling.push_and_work(other, other.activity("Announce", newer["id"], by=other.actor_uri))
    assert crawling.titles() == ["Told anew"]


def test_what_was_pushed_comes_back_when_its_hub_is_resumed(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()
    told = hub.serve(hub.proposal(1, audience=None))
    crawling.push_and_work(hub, hub.activity("Create", told))
    with transaction(crawling.engine) as session:
        suspension.suspend(session, hub.name, "spam")
    assert crawling.titles() == []
    with transaction(crawling.engine) as session:
        suspension.resume(session, hub.name)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_deleted_listing_keeps_nobodys_word(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    crawling.work()
    told = hub.serve(hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", told))
    with transaction(crawling.engine) as session:
        suspension.suspend(session, hub.name, "spam")
        suspension.resume(session, hub.name)
    hub.gone("/proposals/1")
    crawling.work()
    listing = crawling.listing(told["id"])
    assert (listing.withdrawn_reason, listing.consent_basis) == (WithdrawnReason.DELETED, None)


def test_a_signed_no_stands_however_the_hub_was_found(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_actor(indexable=True)
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    with transaction(crawling.engine) as session:
        note(session, hub.actor_uri, found_by="a link of a hub")
    crawling.register(hub, hub.registration(listings=False))
    crawling.work()
    look_again(crawling)
    assert "register the hub again" in (join(crawling, hub.actor_uri).to_mend or "")
    assert (crawling.peer(hub).state, crawling.titles()) == (PeerState.DISCOVERED, [])

    crawling.register(hub)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


NOES: list[Json] = [
    {"indexable": False},
    {"suspended": True},
    {"xRobotsTag": ["noindex"]},
    {"searchableBy": ["https://hub.example/followers"]},
]


@pytest.mark.parametrize("no", NOES)
@pytest.mark.parametrize("pushes", [True, False])
def test_an_actor_that_says_no_does_not_register_its_listings(
    crawling: Crawling, hub: HubServer, no: Json, *, pushes: bool
) -> None:
    hub.publish_actor(**no)
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.register(hub, hub.registration(pushes=pushes))
    assert crawling.peer(hub).consented_at is None  # at once, and not when it is looked at
    crawling.work()
    assert (crawling.peer(hub).consented_at, crawling.titles()) == (None, [])


@pytest.mark.parametrize("no", NOES)
def test_an_actor_that_says_no_later_takes_its_listings_away(
    crawling: Crawling, hub: HubServer, no: Json
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.register(hub)
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]
    hub.publish_actor(**no)
    look_again(crawling)
    assert (crawling.peer(hub).consented_at, crawling.titles()) == (None, [])


@pytest.mark.parametrize("no", NOES)
def test_an_actor_that_says_no_takes_nothing_along_when_it_moves(
    crawling: Crawling, hub: HubServer, no: Json
) -> None:
    crawling.register(hub)
    crawling.work()
    with HubServer("other").serving() as other:
        other.publish_actor(alsoKnownAs=[hub.actor_uri], **no)
        other.publish_outbox([other.activity("Create", other.proposal(1))])
        peer_id, target = crawling.peer(hub).id, other.actor_uri
        assert crawling.run(
            lambda door: moving.move_to(crawling.engine, door, peer_id, target, is_signed=True)
        )
        assert crawling.peer(hub).consented_at is None
        crawling.work()
        assert (crawling.peer(hub).consented_at, crawling.titles()) == (None, [])


@pytest.mark.parametrize("no", NOES)
def test_the_actor_of_a_hub_that_pushes_is_looked_at_too(pushing: Pushing, no: Json) -> None:
    pushing.put()
    pushing.service.work()
    due_at = pushing.peer().due_at
    assert due_at is not None
    assert due_at - pushing.peer().state_since <= peers.LOOK_AGAIN + peers.PULL_AGAIN
    pushing.hub.publish_actor(**no)
    with transaction(pushing.engine) as session:
        peers.schedule(session, pushing.peer().id)
    pushing.service.work()
    assert (pushing.shown(), pushing.peer().consented_at) == ([], None)
    assert pushing.put().status_code == 403


def second_group(hub: HubServer, **more: object) -> str:
    """Serve a second group beside the instance's own actor."""
    uri = f"{hub.base}/second"
    boxes = {"inbox": f"{uri}/inbox", "outbox": f"{uri}/outbox"}
    told = {"id": uri, "type": "Group", "name": "B", "preferredUsername": "b", **boxes}
    return hub.put("/second", {**told, **more})


@pytest.mark.parametrize("no", NOES)
def test_a_group_that_says_no_is_not_shown_on_its_instances_yes(
    crawling: Crawling, hub: HubServer, no: Json
) -> None:
    hub.publish_actor(type="Application", indexable=True)
    assert join(crawling, hub.actor_uri).kind is PeerKind.INSTANCE
    crawling.work()
    group = second_group(hub, **no)
    first = hub.serve(hub.proposal(1, audience=group))
    crawling.push_and_work(hub, hub.activity("Announce", first["id"], by=hub.actor_uri))
    assert crawling.titles() == []  # it was asked, and what came before is gone
    hub.serve(hub.proposal(2, audience=group))
    others = hub.serve(hub.proposal(3, audience=None))
    for uri in (f"{hub.base}/proposals/2", others["id"]):
        crawling.push_and_work(hub, hub.activity("Announce", uri, by=hub.actor_uri))
    assert crawling.titles() == ["Bicycle repair 3"]
    with reading(crawling.engine) as session:
        kept = select(InboxMessage.body).where(InboxMessage.object_uri == first["id"])
        assert set(session.scalars(kept)) <= {None}
        assert session.scalars(select(Listing.body).where(Listing.uri == first["id"])).one() == ""


def test_a_group_that_takes_its_no_back_is_shown_on_its_instances_yes(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_actor(type="Application", indexable=True)
    join(crawling, hub.actor_uri)
    group = second_group(hub, indexable=False)
    told = hub.serve(hub.proposal(1, audience=group))
    hub.publish_outbox([hub.activity("Create", told)])
    crawling.work()
    assert crawling.titles() == []
    second_group(hub)
    look_again(crawling)
    look_again(crawling)
    assert crawling.titles() == ["Bicycle repair 1"]
