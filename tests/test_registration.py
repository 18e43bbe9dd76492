"""Hubs register, signed, with or without a currency; what is wrong is refused by effect."""

from collections.abc import Iterator

import pytest
from hub_server import Crawling, HubServer, Json
from sqlalchemy import Engine, func, select

from commons.database import reading, transaction
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
from crawler.peers import (
    Peer,
    PeerState,
)
from marketplace.places import Precision, blur


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
        assert (group.name, group.place_name) == ("Group of barcelona", "Gràcia")
        assert (group.lat, group.lon) == blur(41.4, 2.15, Precision.CELL)  # no finer is kept
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


def refusal(crawling: Crawling, message: Message, body: Json) -> LocalPayError:
    with pytest.raises(LocalPayError) as refused:
        crawling.run(lambda door: registration.register(crawling.engine, door, message, body))
    assert stored(crawling.engine) == 0
    return refused.value


def test_a_hub_without_a_currency_takes_part_in_the_marketplace_only(
    crawling: Crawling, hub: HubServer
) -> None:
    body = hub.registration()
    del body["currency"]
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    made, is_new = crawling.register(hub, body)
    crawling.work()

    assert (is_new, made.rate_wanted, crawling.count(Currency)) == (True, None, 0)
    assert crawling.titles() == ["Bicycle repair 1"]
    with pytest.raises(ConflictError, match="no currency"):
        admit(crawling, hub)
    with reading(crawling.engine) as session:
        assert session.get_one(Hub, hub.name).state is HubState.REGISTERED

    crawling.register(hub)  # it names one later, and leaves it out again: it keeps it
    again, is_new = crawling.register(hub, body)
    assert (is_new, again.rate_wanted) == (False, "1/1")
    admit(crawling, hub)
    other_rate = {**hub.registration()["currency"], "rate": "1/2"}
    with pytest.raises(ConflictError, match="agreed"):
        crawling.register(hub, hub.registration(currency=other_rate))


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
        ("currency", {"currency": []}),
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
