"""What servers announce: whose posts are taken, from where, and for how long."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fasp_server import FediServer
from fasp_world import World, sharing
from hub_server import PUBLIC, HubServer, Json, at
from paying_world import problem
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler import peers, relays
from crawler.fasp import looking
from crawler.fasp.rows import BACKLOG_MOST, AnnouncedObject, FaspServer
from crawler.fasp.sharing import URIS_MOST
from crawler.peers import GONE_AFTER, Peer, PeerKind
from crawler.relays import Relay, RelayStyle
from marketplace.listings import Listing


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from sharing(settings, engine)


@pytest.fixture
def active(world: World) -> World:
    world.activate()
    return world


def test_a_new_post_of_who_lets_it_be_found_is_taken(active: World) -> None:
    active.take(active.fedi.post(1))
    assert active.shown() == ["Bicycle repair 1"]
    with reading(active.engine) as session:
        listing = session.scalars(select(Listing)).one()
        peer = session.scalars(select(Peer)).one()
    assert (listing.consent_basis, listing.group_id) == ("actor-indexable", None)
    assert listing.consented_by == f"{active.fedi.base}/members/ines"
    assert (peer.kind, peer.consented_at) == (PeerKind.FASP, None)
    told = active.service.get(f"/listings/{listing.id}/why").json()
    assert (told["basis"], told["asked_by"]["by"]) == ("actor-indexable", active.fedi.base)


@pytest.mark.parametrize(
    "no",
    [
        {"indexable": False},
        {"indexable": None},
        {"searchableBy": ["https://fedi.example/followers"]},
    ],
)
def test_who_did_not_opt_in_never_gets_in(active: World, no: Json) -> None:
    said = {name: value for name, value in no.items() if value is not None}
    active.fedi.member("tom", **said)
    active.take(active.fedi.post(1, member="tom"))
    assert (active.listings(), active.waiting()) == (0, 0)


def test_what_is_only_quietly_public_is_not_taken(active: World) -> None:
    post = active.fedi.post(1, to=[f"{active.fedi.base}/followers"], cc=[PUBLIC])
    active.take(post)
    assert (active.listings(), active.waiting()) == (0, 0)


def test_what_is_no_listing_is_forgotten(active: World) -> None:
    note = {"id": f"{active.fedi.base}/notes/1", "type": "Note", "content": "Good morning"}
    author = active.fedi.member("ines", indexable=True)
    active.take(active.fedi.serve({**note, "attributedTo": author, "to": [PUBLIC]}))
    assert (active.listings(), active.waiting()) == (0, 0)


def test_an_update_is_fetched_and_a_delete_is_looked_at_where_it_lives(active: World) -> None:
    post = active.fedi.post(1)
    active.take(post)
    active.take(
        active.fedi.serve({**post, "name": "Bicycle care", "updated": at(5)}), eventType="update"
    )
    assert active.shown() == ["Bicycle care"]
    active.take(post, eventType="delete")  # it is still there
    assert active.shown() == ["Bicycle care"]
    active.fedi.gone("/proposals/1")
    active.take(post, eventType="delete")
    assert (active.shown(), active.waiting()) == ([], 0)


def test_a_delete_of_what_is_unknown_asks_nobody(active: World) -> None:
    active.take(active.fedi.post(1), eventType="delete")
    assert active.waiting() == 0
    assert "/proposals/1" not in active.fedi.asked


def test_another_servers_post_is_taken_from_its_own_server_alone(active: World) -> None:
    with FediServer("other").serving() as other:
        theirs = other.post(1)
        forged = {**theirs, "name": "Forged"}
        copy = active.fedi.put("/copies/1", forged)
        active.take(theirs, {"id": copy})
        assert active.shown() == ["Bicycle repair 1"]
        active.fedi.gone("/copies/1")
        active.take(theirs, eventType="delete")
        assert active.shown() == ["Bicycle repair 1"]
        other.gone("/proposals/1")
        active.take(theirs, eventType="delete")
        assert active.shown() == []


def test_a_registered_hubs_listing_is_its_own_hubs(active: World) -> None:
    with HubServer("barcelona").serving() as hub:
        active.service.register(hub)
        post = hub.serve(hub.proposal(1))
        active.take(post)
        with reading(active.engine) as session:
            listing = session.scalars(select(Listing)).one()
        assert (listing.group_id, listing.consent_basis) == ("barcelona", "hub")
        payments = listing.payments
        assert active.waiting() == 0  # from now on the hub's
        active.take(post, eventType="update")
        with reading(active.engine) as session:
            assert session.scalars(select(Listing)).one().payments == payments


def test_a_hub_beside_the_server_at_one_origin_keeps_its_own(active: World) -> None:
    assert active.service.register(active.fedi).status_code == 201
    active.fedi.member("tom")
    active.take(active.fedi.post(1, member="tom"))
    assert active.listings() == 0  # a server is no group's word for whoever does not name it
    active.take(active.fedi.serve(active.fedi.proposal(2, member="tom")))
    with reading(active.engine) as session:
        listing = session.scalars(select(Listing)).one()
    assert (listing.group_id, listing.consent_basis) == ("fedi", "hub")


def test_a_hub_that_did_not_agree_gets_nothing_in_by_a_server(active: World) -> None:
    with HubServer("barcelona").serving() as hub:
        body = hub.registration(listings=False)
        assert active.service.call(hub, "POST", "/hubs", body).status_code == 201
        active.take(hub.serve(hub.proposal(1)))
    assert active.listings() == 0


def test_what_came_by_a_server_is_looked_at_again_weekly(active: World) -> None:
    active.take(active.fedi.post(1))
    due_at = active.row().due_at
    assert due_at is not None
    assert timedelta(days=5) < due_at - datetime.now(UTC) < timedelta(days=7)
    active.fedi.member("ines", indexable=False)
    active.fedi.gone("/proposals/1", 404)
    active.hurry()
    assert (active.shown(), active.waiting()) == ([], 0)


def test_what_does_not_answer_is_asked_for_thirty_days(active: World) -> None:
    active.take(active.fedi.post(1))
    row = active.row()
    with transaction(active.engine) as session:
        looking.give_up(session, row.id, "silent")
    assert active.shown() == ["Bicycle repair 1"]
    with transaction(active.engine) as session:
        long_ago = now(session) - GONE_AFTER
        session.execute(update(AnnouncedObject).values(looked_at=long_ago))
        looking.give_up(session, row.id, "silent")
    assert (active.shown(), active.waiting()) == ([], 0)


def test_a_server_that_is_down_is_asked_again(active: World) -> None:
    post = active.fedi.post(1)
    active.fedi.is_down = True
    active.take(post)
    row = active.row()
    assert (active.shown(), row.attempts) == ([], 1)
    active.fedi.is_down = False
    active.hurry()
    assert active.shown() == ["Bicycle repair 1"]


def test_a_message_of_many_has_twenty_looked_at_a_minute(active: World) -> None:
    uris = [f"{active.fedi.base}/proposals/{number}" for number in range(URIS_MOST)]
    assert active.fedi.announce(active.service, *uris).status_code == 204
    with reading(active.engine) as session:
        soon = now(session) + timedelta(seconds=30)
        due = select(func.count()).where(AnnouncedObject.due_at <= soon)
        last = session.scalar(select(func.max(AnnouncedObject.due_at)))
        assert session.scalar(due) == 20
    assert last is not None
    assert last - soon > timedelta(minutes=48)


def test_too_much_that_waits_is_refused(active: World) -> None:
    with transaction(active.engine) as session:
        server_id = session.scalars(select(FaspServer.id)).one()
        for number in range(BACKLOG_MOST):
            uri = f"https://fedi.example/{number}"
            session.add(AnnouncedObject(server_id=server_id, uri=uri, listing_uris=[], attempts=0))
    answer = active.fedi.announce(active.service, active.fedi.post(1)["id"])
    problem(answer, 429, "too-many")
    assert int(answer.headers["retry-after"]) == 600
    assert active.waiting() == BACKLOG_MOST


def test_announcements_are_counted_by_server(active: World) -> None:
    for _ in range(600):
        active.service.services.allowances.pushes.take("", active.fedi.provider["serverId"])
    answer = active.fedi.announce(active.service, active.fedi.post(1)["id"])
    problem(answer, 429, "too-many")
    assert (active.fedi.is_ours(answer), active.waiting()) == (True, 0)


def test_the_last_relay_left_takes_nothing_of_a_servers_with_it(active: World) -> None:
    active.take(active.fedi.post(1))
    relay = "https://relay.example/actor"
    with transaction(active.engine) as session:
        peer = peers.discover(session, relay, found_by="", kind=PeerKind.RELAY)
        inbox = "https://relay.example/inbox"
        session.add(Relay(peer_id=peer.id, style=RelayStyle.MASTODON, inbox_uri=inbox))
    with transaction(active.engine) as session:
        relays.leave(session, active.service.services.settings, relay)
    assert active.shown() == ["Bicycle repair 1"]


def test_the_same_object_twice_is_one(active: World) -> None:
    post = active.fedi.post(1)
    active.take(post, post)
    active.take(post, eventType="update")
    assert (active.waiting(), active.listings()) == (1, 1)


def test_objects_that_lead_back_to_themselves_end(active: World) -> None:
    base = active.fedi.base
    one, other = f"{base}/loops/1", f"{base}/loops/2"
    active.fedi.serve({"id": one, "type": "Announce", "actor": f"{base}/group", "object": other})
    active.fedi.serve({"id": other, "type": "Announce", "actor": f"{base}/group", "object": one})
    active.fedi.documents["/around"] = (302, {})
    active.fedi.headers["/around"] = {"Location": "/around"}
    active.take({"id": one}, {"id": f"{base}/around"})
    assert active.listings() == 0
    assert len([path for path in active.fedi.asked if path.startswith("/loops")]) <= 8
    assert active.fedi.asked.count("/around") <= 4
