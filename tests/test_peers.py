"""Hubs register, agree, are followed and looked at again; what is wrong is refused by effect."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, func, select, update

from commons.database import Base, now, reading, transaction
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    UnauthenticatedError,
)
from commons.groups import Currency, Group, Hub, HubKey, HubState
from commons.settings import Settings
from commons.signatures import Message, generate_ed25519
from crawler import registration
from crawler.following import attend
from crawler.peers import (
    GONE_AFTER,
    LOOK_AGAIN,
    TRANSITIONS,
    Peer,
    PeerState,
    move,
    peer_report,
)


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def stored(engine: Engine) -> int:
    with reading(engine) as session:
        tables = (Group, Hub, HubKey, Currency, Peer)
        return sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def admit(crawling: Crawling, hub: HubServer) -> None:
    with transaction(crawling.engine) as session:
        registration.admit(session, hub.name)


def test_a_hub_registers_and_what_it_agreed_to_is_kept(crawling: Crawling, hub: HubServer) -> None:
    made, is_new = crawling.register(hub)

    assert (made.group_id, made.state, is_new) == ("barcelona", HubState.REGISTERED, True)
    peer = crawling.peer(hub)
    assert peer.state is PeerState.CONSENTED
    assert peer.consented_at is not None
    assert peer.consent_evidence is not None
    assert '"listings": true' in peer.consent_evidence["body"]
    assert {name for name, _ in peer.consent_evidence["headers"]} == {
        "Content-Digest",
        "Signature",
        "Signature-Input",
    }
    with reading(crawling.engine) as session:
        group = session.get(Group, "barcelona")
        assert group is not None
        assert (group.name, group.place_name, group.lat) == ("Group of barcelona", "Gràcia", 41.4)
        assert session.get(HubKey, hub.key_id) is not None


def test_the_same_registration_again_is_the_same_hub(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    before = stored(crawling.engine)

    again, is_new = crawling.register(hub)

    assert (again.group_id, is_new, stored(crawling.engine)) == ("barcelona", False, before)


def test_a_groups_words_are_kept_as_plain_text(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_actor(summary="<p>Neighbours</p><script>alert(1)</script><b>who</b> trade")
    crawling.register(hub)

    with reading(crawling.engine) as session:
        group = session.get(Group, "barcelona")
        assert group is not None
        assert group.summary == "Neighbours who trade"


def test_the_id_defaults_to_the_actors_name(crawling: Crawling, hub: HubServer) -> None:
    made, _ = crawling.register(hub, hub.registration(group=None))

    assert made.group_id == "barcelona"


def test_without_consent_nothing_is_followed(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub, hub.registration(listings=False))
    admit(crawling, hub)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.DISCOVERED
    assert hub.taken == []


def refusal(crawling: Crawling, message: Message, body: Json) -> LocalPayError:
    with pytest.raises(LocalPayError) as refused:
        crawling.run(lambda door: registration.register(crawling.engine, door, message, body))
    assert stored(crawling.engine) == 0
    return refused.value


def test_a_forged_registration_stores_nothing(crawling: Crawling, hub: HubServer) -> None:
    body = hub.registration()
    forged = hub.signed(crawling.settings, body, path="/hubs", key=generate_ed25519())
    unsigned = Message(forged.method, forged.target_uri, forged.headers[:1], forged.body)
    changed = hub.signed(crawling.settings, body, path="/hubs")
    changed = Message(changed.method, changed.target_uri, changed.headers, changed.body + b" ")

    for message in (forged, unsigned, changed):
        assert isinstance(refusal(crawling, message, body), UnauthenticatedError)


def test_a_registration_is_good_once(crawling: Crawling, hub: HubServer) -> None:
    body = hub.registration()
    message = hub.signed(crawling.settings, body, path="/hubs")

    def register() -> None:
        crawling.run(lambda door: registration.register(crawling.engine, door, message, body))

    register()
    with pytest.raises(UnauthenticatedError):
        register()


def test_nobody_registers_another_actor(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        body = hub.registration(actor=other.actor_uri)
        signed = hub.signed(crawling.settings, body, path="/hubs")
        assert isinstance(refusal(crawling, signed, body), ForbiddenError)

        # A key that claims to be of the other's origin is not one that the other names.
        claimed = hub.signed(
            crawling.settings, body, path="/hubs", key_id=f"{other.actor_uri}#mine"
        )
        assert isinstance(refusal(crawling, claimed, body), UnauthenticatedError)


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("actor", {"actor": "hub"}),
        ("group", {"group": "Not An Id"}),
        ("group", {"group": "abc\n"}),
        ("listings", {"listings": "yes"}),
        ("currency", {"currency": None}),
        ("currency.scale", {"scale": 9}),
        ("currency.scale", {"scale": True}),
        ("currency.kind", {"kind": "gold"}),
        ("currency.rate", {"rate": "0.1"}),
        ("currency.uri", {"uri": "hora"}),
        ("currency.code", {"code": ""}),
    ],
)
def test_a_wrong_field_is_named(crawling: Crawling, hub: HubServer, field: str, more: Json) -> None:
    body = hub.registration()
    known = {name: value for name, value in more.items() if name in body}
    rest = {name: value for name, value in more.items() if name not in body}
    if rest:
        known["currency"] = {**body["currency"], **rest}
    body |= known

    error = refusal(crawling, hub.signed(crawling.settings, body, path="/hubs"), body)

    assert isinstance(error, InvalidError)
    assert error.field == field


def test_a_taken_id_and_a_different_currency_are_conflicts(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    before = stored(crawling.engine)
    with HubServer("leeds").serving() as other:
        with pytest.raises(ConflictError, match="taken"):
            crawling.register(other, other.registration(group="barcelona"))
        currency = {**hub.registration()["currency"], "scale": 3}
        with pytest.raises(ConflictError, match="scale"):
            crawling.register(other, other.registration(currency=currency))
        assert stored(crawling.engine) == before
        crawling.register(other, other.registration(currency=hub.registration()["currency"]))


def test_an_admitted_hub_is_followed_and_live_once_it_accepts(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    crawling.work()
    assert hub.taken == []
    admit(crawling, hub)
    crawling.work()

    (follow,) = hub.taken
    assert (follow["type"], follow["object"]) == ("Follow", hub.actor_uri)
    assert crawling.peer(hub).state is PeerState.FOLLOWING
    crawling.push(hub, hub.activity("Accept", follow))
    crawling.work()

    peer = crawling.peer(hub)
    assert peer.state is PeerState.LIVE
    assert peer.due_at is not None
    assert peer.last_looked_at is not None
    assert peer.due_at - peer.last_looked_at == LOOK_AGAIN


def test_an_accept_of_another_follow_or_by_a_member_changes_nothing(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    crawling.work()
    member = hub.member()

    crawling.push(hub, hub.activity("Accept", "http://testserver/actor/follows/999"))
    crawling.push(hub, hub.activity("Accept", hub.taken[0]["id"], by=member))
    crawling.work()

    assert crawling.peer(hub).state is PeerState.FOLLOWING


def test_a_rejected_follow_is_not_sent_again(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    crawling.work()
    crawling.push(hub, hub.activity("Reject", hub.taken[0]["id"]))
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.due_at) == (PeerState.CONSENTED, None)
    assert len(hub.taken) == 1


def test_a_hub_is_admitted_once_and_only_if_it_registered(
    crawling: Crawling, hub: HubServer
) -> None:
    with pytest.raises(LocalPayError, match="registered"):
        admit(crawling, hub)
    crawling.register(hub)
    admit(crawling, hub)
    with pytest.raises(ConflictError):
        admit(crawling, hub)


def test_a_hub_that_is_down_is_tried_again_and_shown_as_such(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.follow(hub)
    hub.is_down = True
    waits = []
    for _ in range(3):
        crawling.make_due(Peer)
        crawling.work(rounds=3)
        with reading(crawling.engine) as session:
            report = peer_report(session, hub.name)
            assert report.next_look_at is not None
            waits.append(report.next_look_at - now(session))

    assert (report.state, report.failures) == (PeerState.STALE, 3)
    assert report.last_error is not None
    assert "503" in report.last_error
    assert all(timedelta(0) < wait < timedelta(minutes=4) for wait in waits)

    hub.is_down = False
    crawling.register(hub)  # it says itself that it is up again
    crawling.work()
    with reading(crawling.engine) as session:
        healed = peer_report(session, hub.name)
    assert (healed.state, healed.failures, healed.last_error) == (PeerState.LIVE, 0, None)


def test_a_follow_that_is_not_taken_shows_in_the_report(crawling: Crawling, hub: HubServer) -> None:
    crawling.register(hub)
    admit(crawling, hub)
    hub.is_down = True
    crawling.work()

    with reading(crawling.engine) as session:
        report = peer_report(session, hub.name)
    assert (report.state, report.failures) == (PeerState.FOLLOWING, 1)
    assert report.last_error is not None
    assert "503" in report.last_error

    hub.is_down = False
    crawling.register(hub)
    crawling.work()
    with reading(crawling.engine) as session:
        assert peer_report(session, hub.name).last_error is None
    assert "Follow" in {activity["type"] for activity in hub.taken}


def test_thirty_days_of_silence_withdraw_a_hubs_listings(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    assert crawling.titles() == ["Bicycle repair 1"]
    hub.is_down = True
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(last_heard_at=now(session) - GONE_AFTER))
    crawling.make_due(Peer)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.GONE
    assert crawling.titles() == []

    hub.is_down = False
    crawling.push(hub, hub.activity("Update", hub.member()))
    crawling.work()
    crawling.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_hub_whose_actor_is_gone_is_gone(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    hub.gone("/group")
    crawling.make_due(Peer)
    crawling.work()

    assert crawling.peer(hub).state is PeerState.GONE
    assert crawling.titles() == []


def test_a_hub_that_turns_indexable_off_is_left_out(crawling: Crawling, hub: HubServer) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    hub.publish_actor(indexable=False)
    crawling.push(hub, hub.activity("Update", {"id": hub.actor_uri, "type": "Group"}))
    crawling.work()

    peer = crawling.peer(hub)
    assert (peer.state, peer.consented_at) == (PeerState.DISCOVERED, None)
    assert crawling.titles() == []


def test_a_suspended_hub_is_not_looked_at(crawling: Crawling, hub: HubServer) -> None:
    crawling.follow(hub)
    with transaction(crawling.engine) as session:
        session.execute(update(Hub).values(state=HubState.SUSPENDED))
    hub.asked.clear()
    peer_id = crawling.peer(hub).id

    due_at = crawling.run(lambda door: attend(crawling.engine, door, crawling.settings, peer_id))

    assert (due_at, hub.asked) == (None, [])


def test_every_state_has_its_transitions_and_no_other_move_is_made(
    crawling: Crawling, hub: HubServer
) -> None:
    assert set(TRANSITIONS) == set(PeerState)
    assert all(
        PeerState.BLOCKED in targets for state, targets in TRANSITIONS.items() if state != "blocked"
    )
    crawling.register(hub)
    peer_id = crawling.peer(hub).id
    with transaction(crawling.engine) as session:
        assert not move(session, peer_id, PeerState.LIVE, PeerState.STALE)
        with pytest.raises(ValueError, match="does not go"):
            move(session, peer_id, PeerState.CONSENTED, PeerState.LIVE)
    assert crawling.peer(hub).state is PeerState.CONSENTED


def test_the_tables_of_the_crawler_are_there(engine: Engine) -> None:
    with reading(engine) as session:
        for name in (
            "peers",
            "crawled_pages",
            "put_aside",
            "inbox_messages",
            "deliveries",
            "authors",
        ):
            assert session.scalar(select(func.count()).select_from(Base.metadata.tables[name])) == 0
