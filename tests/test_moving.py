"""A hub moves where both addresses say so, and a Move that is not so changes nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, select, update

from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, UnauthenticatedError
from commons.groups import Group, Hub, HubKey
from commons.settings import Settings
from crawler import blocks, moving
from crawler.authors import Author
from crawler.kept import InboxMessage
from crawler.peers import Peer, PeerState
from crawler.registration import admit
from marketplace.listings import WithdrawnReason


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


@pytest.fixture
def new(hub: HubServer) -> Iterator[HubServer]:
    with HubServer("new").serving() as serving:
        serving.publish_actor(alsoKnownAs=[hub.actor_uri])
        yield serving


def move(hub: HubServer, target: str, **more: object) -> Json:
    return hub.activity("Move", hub.actor_uri, by=hub.actor_uri, target=target, **more)


def followed(crawling: Crawling, hub: HubServer) -> None:
    """Follow a hub with one listing in its outbox and one that was pushed."""
    hub.publish_outbox([hub.activity("Create", hub.serve(hub.proposal(1, name="Old one")))])
    crawling.register(hub)
    crawling.work()
    crawling.push_and_work(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    crawling.push_and_work(hub, hub.activity("Create", hub.serve(hub.proposal(2, name="Old two"))))


def state(crawling: Crawling, hub: HubServer) -> tuple[Any, ...]:
    """Everything that a Move could change."""
    with reading(crawling.engine) as session:
        peer = session.scalars(select(Peer).where(Peer.group_id == hub.name)).one()
        held = session.get_one(Hub, hub.name)
        keys = select(HubKey.key_id).where(HubKey.group_id == hub.name, HubKey.revoked_at.is_(None))
        return (
            (peer.actor_uri, peer.state, peer.consented_at, peer.consent_evidence),
            (held.inbox_uri, held.outbox_uri, peer.follow_uri),
            session.get_one(Group, hub.name).uri,
            sorted(session.scalars(keys)),
            crawling.titles(),
        )


def test_a_signed_move_takes_address_keys_consent_and_listings_along(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    consented_at = crawling.peer(hub).consented_at
    new.publish_outbox([new.activity("Create", new.proposal(1, name="New one"))])
    hub.gone("/proposals/1")
    crawling.push(hub, move(hub, new.actor_uri))
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.actor_uri, peer.state) == (new.actor_uri, PeerState.FOLLOWING)
    assert peer.consented_at == consented_at
    assert peer.consent_evidence is not None
    moved: Json = peer.consent_evidence["moved"]
    assert moved["from"] == hub.actor_uri
    assert moved["signed_by_old_key"] is True
    assert '"listings": true' in peer.consent_evidence["body"]
    assert [activity["object"] for activity in new.taken] == [new.actor_uri]
    assert state(crawling, hub)[1][:2] == (f"{new.base}/inbox", f"{new.base}/outbox")
    assert state(crawling, hub)[2:4] == (new.actor_uri, [new.key_id])
    assert crawling.titles() == ["New one"]
    reasons = {crawling.listing(f"{hub.base}/proposals/{n}").withdrawn_reason for n in (1, 2)}
    # The one that is still there is no longer of a hub that agreed, and its author says nothing.
    assert reasons == {WithdrawnReason.DELETED, WithdrawnReason.CONSENT}

    crawling.push_and_work(new, new.activity("Create", new.proposal(3, name="New three")))
    assert crawling.titles() == ["New one", "New three"]
    with pytest.raises((UnauthenticatedError, ForbiddenError)):
        crawling.push(hub, hub.activity("Create", hub.proposal(4)))


def test_listings_of_the_old_origin_stay_until_the_new_outbox_is_read(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    hub.member("ines", indexable=True)
    followed(crawling, hub)
    new.documents["/outbox"] = (503, {})
    hub.gone("/proposals/1", 404)
    crawling.push(hub, move(hub, new.actor_uri))
    crawling.work()
    assert crawling.peer(hub).actor_uri == new.actor_uri
    assert crawling.titles() == ["Old one", "Old two"]

    new.publish_outbox([])
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == ["Old two"]  # asked for one by one; its author agreed by itself


def test_a_move_that_the_old_actor_tells_unsigned_needs_the_new_ones_own_word(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    new.publish_outbox([new.activity("Create", new.proposal(1, name="New one"))])
    hub.publish_actor(movedTo=new.actor_uri)
    crawling.make_due(Peer)
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.actor_uri, peer.state) == (new.actor_uri, PeerState.DISCOVERED)
    assert (peer.consented_at, crawling.titles()) == (None, [])


def test_a_move_that_the_old_actor_tells_and_the_new_one_agrees_to_is_made(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    new.publish_actor(alsoKnownAs=hub.actor_uri, indexable=True)
    new.publish_outbox([new.activity("Create", new.proposal(1, name="New one"))])
    hub.publish_actor(movedTo=new.actor_uri)
    crawling.make_due(Peer)
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.actor_uri, peer.state) == (new.actor_uri, PeerState.FOLLOWING)
    assert "New one" in crawling.titles()
    assert len(new.taken) == 1


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_new_actors_no_wins(
    crawling: Crawling, hub: HubServer, new: HubServer, *, is_signed: bool
) -> None:
    followed(crawling, hub)
    new.publish_actor(alsoKnownAs=[hub.actor_uri], indexable=False)
    new.publish_outbox([new.activity("Create", new.proposal(1, name="New one"))])
    if is_signed:
        crawling.push(hub, move(hub, new.actor_uri))
    else:
        hub.publish_actor(movedTo=new.actor_uri)
        crawling.make_due(Peer)
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.consented_at) == (PeerState.DISCOVERED, None)
    assert (crawling.titles(), new.taken) == ([], [])


def _no_link_back(_: HubServer, new: HubServer) -> str:
    new.publish_actor()
    return new.actor_uri


def _link_to_another(hub: HubServer, new: HubServer) -> str:
    new.publish_actor(alsoKnownAs=[f"{hub.actor_uri}2", hub.base])
    return new.actor_uri


def _chain(hub: HubServer, new: HubServer) -> str:
    new.publish_actor(alsoKnownAs=[hub.actor_uri], movedTo=f"{new.base}/third")
    return new.actor_uri


def _anothers_inbox(hub: HubServer, new: HubServer) -> str:
    new.publish_actor(alsoKnownAs=[hub.actor_uri], inbox="http://127.0.0.2/inbox")
    return new.actor_uri


def _bad_place(hub: HubServer, new: HubServer) -> str:
    new.publish_actor(alsoKnownAs=[hub.actor_uri], location={"type": "Place", "latitude": 95})
    return new.actor_uri


def _no_actor(_: HubServer, new: HubServer) -> str:
    return new.put("/group", {"id": new.actor_uri, "type": "Note"})


def _another_id(_: HubServer, new: HubServer) -> str:
    status, document = new.documents["/group"]
    new.documents["/alias"] = (status, document)
    return f"{new.base}/alias"


def _silence(_: HubServer, new: HubServer) -> str:
    new.is_down = True
    return new.actor_uri


def _itself(hub: HubServer, _: HubServer) -> str:
    return hub.actor_uri


def _nowhere(_: HubServer, __: HubServer) -> str:
    return "acct:new@127.0.0.1"


FALSE = (
    _no_link_back,
    _link_to_another,
    _chain,
    _anothers_inbox,
    _bad_place,
    _no_actor,
    _another_id,
    _silence,
    _itself,
    _nowhere,
)


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("lie", FALSE)
def test_a_false_move_changes_nothing(
    crawling: Crawling,
    hub: HubServer,
    new: HubServer,
    lie: Callable[[HubServer, HubServer], str],
    *,
    is_signed: bool,
) -> None:
    followed(crawling, hub)
    before = state(crawling, hub)
    target = lie(hub, new)
    if is_signed:
        crawling.push(hub, move(hub, target))
    else:
        hub.publish_actor(movedTo=target)
        crawling.make_due(Peer)
    crawling.work()

    assert state(crawling, hub) == before
    assert new.taken == []


def test_a_move_to_another_hubs_address_changes_neither(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    crawling.register(new)
    crawling.work()
    before = state(crawling, hub), state(crawling, new)
    crawling.push(hub, move(hub, new.actor_uri))
    crawling.work()

    assert (state(crawling, hub), state(crawling, new)) == before
    with reading(crawling.engine) as session:
        assert set(session.scalars(select(InboxMessage.last_error))) == {None}


def test_a_move_to_a_blocked_domain_changes_nothing_and_asks_nobody(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    before = state(crawling, hub)
    blocks.add(crawling.engine, "localhost", "spam", by="tests", force=True)
    crawling.push(hub, move(hub, new.actor_uri.replace("127.0.0.1", "localhost")))
    crawling.work()

    assert state(crawling, hub) == before
    assert new.asked == []


def test_a_move_is_the_actors_own(crawling: Crawling, hub: HubServer, new: HubServer) -> None:
    followed(crawling, hub)
    with HubServer("third").serving() as third:
        crawling.follow(third)
        before, kept = state(crawling, hub), crawling.count(InboxMessage)
        for by in (third, new):
            with pytest.raises((ForbiddenError, UnauthenticatedError)):
                crawling.push(by, move(hub, new.actor_uri))
        assert crawling.count(InboxMessage) == kept
        crawling.push_and_work(third, move(third, new.actor_uri, object=hub.actor_uri))
        by_member = hub.activity("Move", hub.actor_uri, by=hub.member(), target=new.actor_uri)
        crawling.push_and_work(hub, by_member)

        assert state(crawling, hub) == before


def test_a_hub_that_is_not_followed_does_not_move(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state=PeerState.DISCOVERED))
    crawling.push(hub, move(hub, new.actor_uri))
    crawling.work()

    assert crawling.peer(hub).actor_uri == hub.actor_uri


def test_a_member_that_moves_is_asked_anew_and_its_listings_stay_where_they_are(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    followed(crawling, hub)
    ines = f"{hub.base}/members/ines"
    crawling.push_and_work(hub, hub.activity("Move", ines, by=ines, target=new.member()))
    assert crawling.titles() == ["Old one", "Old two"]

    hub.member("ines", indexable=False, movedTo=new.member())
    again = hub.activity("Move", ines, by=ines, target=new.member())
    crawling.push_and_work(hub, again)
    assert crawling.titles() == []
    with reading(crawling.engine) as session:
        assert set(session.scalars(select(Author.uri))) >= {ines}


def admitted(crawling: Crawling, hub: HubServer) -> tuple[object, ...]:
    """Follow a hub and admit it to clearing; return what a Move could change."""
    followed(crawling, hub)
    with transaction(crawling.engine) as session:
        admit(session, hub.name)
    crawling.work()
    return without_notes(state(crawling, hub))


def without_notes(told: tuple[object, ...]) -> tuple[object, ...]:
    peer, *rest = told
    assert isinstance(peer, tuple)
    return (*peer[:3], *rest)


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_move_of_a_hub_that_may_pay_waits_for_the_operator(
    crawling: Crawling, hub: HubServer, new: HubServer, *, is_signed: bool
) -> None:
    before = admitted(crawling, hub)
    assert moving.waiting(crawling.peer(hub)) == {}
    if is_signed:
        crawling.push(hub, move(hub, new.actor_uri))
    hub.publish_actor(movedTo=new.actor_uri)  # which does not hide what was signed
    crawling.make_due(Peer)
    crawling.work()

    assert without_notes(state(crawling, hub)) == before
    noted = moving.waiting(crawling.peer(hub))
    assert (noted["to"], noted["signed_by_old_key"]) == (new.actor_uri, is_signed)
    with pytest.raises((UnauthenticatedError, ForbiddenError)):
        crawling.push(new, new.activity("Create", new.proposal(3)))


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_operator_moves_a_hub_that_may_pay(
    crawling: Crawling, hub: HubServer, new: HubServer, *, is_signed: bool
) -> None:
    admitted(crawling, hub)
    if is_signed:
        crawling.push_and_work(hub, move(hub, new.actor_uri))
    moved = crawling.run(
        lambda door: moving.move_by_operator(crawling.engine, door, hub.name, new.actor_uri)
    )

    assert (moved.actor_uri, moving.waiting(moved)) == (new.actor_uri, {})
    assert state(crawling, hub)[2:4] == (new.actor_uri, [new.key_id])
    # Without the old key's word, or the new actor's own, the listings need a new consent.
    assert (crawling.peer(hub).consented_at is not None) is is_signed


def test_the_operator_moves_no_hub_whose_new_actor_does_not_name_the_old(
    crawling: Crawling, hub: HubServer, new: HubServer
) -> None:
    before = admitted(crawling, hub)
    new.publish_actor(alsoKnownAs=[])
    with pytest.raises(ConflictError, match="alsoKnownAs"):
        crawling.run(
            lambda door: moving.move_by_operator(crawling.engine, door, hub.name, new.actor_uri)
        )

    assert without_notes(state(crawling, hub)) == before
