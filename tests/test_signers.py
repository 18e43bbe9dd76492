"""Whose key signs a push: found where it is published, held, asked for again, and let go."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hub_server import Crawling, HubServer
from signed_by import RSA, by_cavage, by_rfc9421, create, pem_key, pushed, with_key
from sqlalchemy import Engine, select, update

from commons.database import reading, transaction
from commons.errors import (
    ForbiddenError,
    LocalPayError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.fetch import Door
from commons.groups import Hub, HubKey, HubState
from commons.key_formats import encode_multikey, generate_ed25519, generate_rsa, public_pem
from commons.settings import Settings
from commons.signatures import Message
from crawler import actor_keys, blocks, inbox
from crawler.actor_keys import FAILURES_MOST, KEYS_MOST, HeldKey
from crawler.kept import InboxMessage
from crawler.peers import Peer, PeerKind, PeerState, discover

Signer = Callable[..., Message]


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        serving.asked.clear()
        yield serving


@pytest.fixture(params=[by_rfc9421, by_cavage], ids=["rfc9421", "cavage"])
def sign(request: pytest.FixtureRequest) -> Signer:
    signer: Signer = request.param
    return signer


def refused(crawling: Crawling, message: Message, error: type[LocalPayError]) -> None:
    before = crawling.count(InboxMessage)
    with pytest.raises(error):
        crawling.receive(message)
    crawling.work()
    assert crawling.count(InboxMessage) == before


def age(crawling: Crawling, by: timedelta) -> None:
    """Let that much time pass for the keys held."""
    with transaction(crawling.engine) as session:
        for row in session.scalars(select(HeldKey)):
            row.asked_at -= by


def held(crawling: Crawling) -> dict[str, Any]:
    with reading(crawling.engine) as session:
        return {row.key_id: row.failure for row in session.scalars(select(HeldKey))}


def test_a_members_own_key_signs_its_own_activity(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    key_id = with_key(hub)
    for number in (1, 2):
        crawling.receive(sign(pushed(crawling, create(hub, number)), RSA, key_id))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1", "Bicycle repair 2"]
    # Once for the key, once for the author's word on being indexed.
    assert hub.asked.count("/members/ines") == 2


def test_the_hubs_own_key_signs_by_either_scheme(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    crawling.receive(sign(pushed(crawling, create(hub)), hub.key, hub.key_id))
    assert hub.asked == []
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_member_speaks_for_nobody_else(crawling: Crawling, hub: HubServer, sign: Signer) -> None:
    key_id = with_key(hub)
    for said in (create(hub, 1, "ada"), hub.activity("Announce", f"{hub.base}/proposals/1")):
        refused(crawling, sign(pushed(crawling, said), RSA, key_id), ForbiddenError)


def test_a_key_that_is_a_document_below_its_owner_is_found(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    """As GoToSocial has it: below the key's address an actor that says little more."""
    owner = f"{hub.base}/members/ines"
    key = pem_key(f"{owner}/main-key", owner)
    hub.member("ines", publicKey=key)
    hub.put("/members/ines/main-key", {"id": owner, "type": "Person", "publicKey": key})
    crawling.receive(sign(pushed(crawling, create(hub)), RSA, key["id"]))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_key_that_is_a_document_elsewhere_is_found(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    owner, key_id = f"{hub.base}/members/ines", f"{hub.base}/keys/1"
    hub.put("/keys/1", pem_key(key_id, owner))
    hub.member("ines", publicKey=key_id)
    crawling.receive(sign(pushed(crawling, create(hub)), RSA, key_id))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_groups_key_that_is_a_document_elsewhere_speaks_for_its_members(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    key_id = f"{hub.base}/keys/group"
    hub.put("/keys/group", pem_key(key_id, hub.actor_uri))
    hub.publish_actor(publicKey=key_id)
    crawling.receive(sign(pushed(crawling, create(hub)), RSA, key_id))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


@pytest.mark.parametrize("case", ["owner does not name it", "other origin", "names another owner"])
def test_a_key_and_its_owner_must_name_each_other(
    crawling: Crawling, hub: HubServer, sign: Signer, case: str
) -> None:
    owner, key_id = f"{hub.base}/members/ines", f"{hub.base}/keys/1"
    hub.member("ines", publicKey=f"{hub.base}/keys/2" if case.startswith("owner") else key_id)
    told = f"{hub.base}/members/ada" if case.startswith("names") else owner
    hub.member("ada", publicKey=pem_key(f"{hub.base}/members/ada#key", told))
    with HubServer("leeds").serving() as other:
        if case == "other origin":
            told = other.member("ines", publicKey=key_id)
        hub.put("/keys/1", pem_key(key_id, told))
        message = sign(pushed(crawling, create(hub)), RSA, key_id)
        refused(crawling, message, UnauthenticatedError)
        assert other.asked == []


def test_a_changed_key_is_fetched_anew_once(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    key_id, newer = with_key(hub), generate_rsa()
    crawling.receive(sign(pushed(crawling, create(hub)), RSA, key_id))
    age(crawling, actor_keys.ASK_AGAIN)
    with_key(hub, key=newer)
    hub.asked.clear()
    crawling.receive(sign(pushed(crawling, create(hub, 2)), newer, key_id))
    assert hub.asked == ["/members/ines"]
    for number in (3, 4, 5):
        message = sign(pushed(crawling, create(hub, number)), RSA, key_id)
        with pytest.raises(UnauthenticatedError):
            crawling.receive(message)
    assert hub.asked == ["/members/ines"]
    age(crawling, actor_keys.ASK_AGAIN)
    with pytest.raises(UnauthenticatedError):
        crawling.receive(sign(pushed(crawling, create(hub, 6)), RSA, key_id))
    assert hub.asked == ["/members/ines"] * 2
    assert crawling.count(InboxMessage) == 3  # the Accept, and two


def test_a_key_is_held_for_a_day(crawling: Crawling, hub: HubServer) -> None:
    key_id = with_key(hub)
    crawling.receive(by_cavage(pushed(crawling, create(hub)), RSA, key_id))
    hub.member("ines")  # the key is revoked
    crawling.receive(by_cavage(pushed(crawling, create(hub, 2)), RSA, key_id))
    age(crawling, actor_keys.LIFETIME)
    message = by_cavage(pushed(crawling, create(hub, 3)), RSA, key_id)
    refused(crawling, message, UnauthenticatedError)


def test_a_hubs_revoked_key_is_not_held_beside_it(crawling: Crawling, hub: HubServer) -> None:
    hub.key = generate_ed25519()
    hub.publish_actor()
    crawling.push(hub, create(hub))
    with transaction(crawling.engine) as session:
        session.execute(update(HubKey).values(revoked_at=HubKey.added_at))
        pem = public_pem(hub.key.public_key())  # as it is after a proof by the group itself
        session.execute(update(HeldKey).values(public_key_pem=pem, owner_uri=hub.actor_uri))
    refused(crawling, hub.signed(crawling.settings, create(hub, 2)), UnauthenticatedError)


def test_a_server_that_is_down_is_asked_once_in_ten_minutes(
    crawling: Crawling, hub: HubServer, sign: Signer
) -> None:
    key_id = with_key(hub)
    hub.is_down = True
    for number in (1, 2, 3):
        message = sign(pushed(crawling, create(hub, number)), RSA, key_id)
        refused(crawling, message, UnavailableError)
    assert hub.asked == ["/members/ines"]
    hub.is_down = False
    age(crawling, actor_keys.ASK_AGAIN)
    crawling.receive(sign(pushed(crawling, create(hub)), RSA, key_id))


def test_made_up_key_ids_neither_ask_on_nor_fill_the_table(
    crawling: Crawling, hub: HubServer
) -> None:
    for number in range(FAILURES_MOST + 5):
        message = by_cavage(pushed(crawling, create(hub)), RSA, f"{hub.base}/keys/{number}")
        error = UnauthenticatedError if number < FAILURES_MOST else UnavailableError
        with pytest.raises(error):
            crawling.receive(message)
    assert len(hub.asked) == FAILURES_MOST
    assert len(held(crawling)) == FAILURES_MOST
    # A key that is held is not hindered, nor is another server's.
    crawling.push(hub, create(hub, 2))
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        key_id = with_key(other)
        crawling.receive(by_cavage(pushed(crawling, create(other)), RSA, key_id))
    age(crawling, actor_keys.ASK_AGAIN)
    crawling.receive(by_cavage(pushed(crawling, create(hub, 3)), RSA, with_key(hub)))
    age(crawling, actor_keys.LIFETIME)
    crawling.receive(by_cavage(pushed(crawling, create(hub, 4)), RSA, with_key(hub)))
    assert len(held(crawling)) == 1


def test_the_keys_of_a_server_are_capped(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_keys, "KEYS_MOST", 10)
    assert KEYS_MOST > 10
    for number in range(12):
        key_id = with_key(hub, f"m{number}")
        said = create(hub, number, f"m{number}")
        crawling.receive(by_cavage(pushed(crawling, said), RSA, key_id))
    assert len(held(crawling)) == 10


def test_of_two_pushes_at_once_by_a_new_actor_neither_is_refused(
    crawling: Crawling, hub: HubServer
) -> None:
    key_id = with_key(hub)
    messages = [by_cavage(pushed(crawling, create(hub, n)), RSA, key_id) for n in (1, 2, 3)]

    async def both(door: Door) -> None:
        await asyncio.gather(*(inbox.receive(crawling.engine, door, one) for one in messages))

    crawling.run(both)
    assert hub.asked == ["/members/ines"]
    assert crawling.count(InboxMessage) == 4


def test_strangers_are_not_asked_for_their_keys(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as stranger:
        key_id = with_key(stranger)
        message = by_cavage(pushed(crawling, create(stranger)), RSA, key_id)
        refused(crawling, message, UnauthenticatedError)
        assert stranger.asked == []
    assert held(crawling) == {}
    assert hub.asked == []


@pytest.mark.parametrize("case", ["blocked", "suspended"])
def test_who_is_blocked_or_suspended_is_refused_and_not_asked(
    crawling: Crawling, hub: HubServer, sign: Signer, case: str
) -> None:
    key_id = with_key(hub)
    with transaction(crawling.engine) as session:
        if case == "suspended":
            session.execute(update(Hub).values(state=HubState.SUSPENDED))
    if case == "blocked":
        blocks.add(crawling.engine, "127.0.0.1", "spam", by="the operator")
    hub.asked.clear()
    for key, used in ((RSA, key_id), (hub.key, hub.key_id)):
        message = sign(pushed(crawling, create(hub)), key, used)
        refused(crawling, message, ForbiddenError)
    assert hub.asked == []


def test_a_members_hub_must_have_agreed(crawling: Crawling, hub: HubServer) -> None:
    key_id = with_key(hub)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(state=PeerState.DISCOVERED, consented_at=None))
    message = by_cavage(pushed(crawling, create(hub)), RSA, key_id)
    refused(crawling, message, ForbiddenError)


@pytest.mark.parametrize("kind", [PeerKind.RELAY, PeerKind.INSTANCE])
def test_a_followed_actor_without_a_group_signs(
    crawling: Crawling, sign: Signer, kind: PeerKind
) -> None:
    with HubServer("relay").serving() as relay:
        actor = f"{relay.base}/actor"
        key_id = f"{actor}#main-key"
        key = pem_key(key_id, actor)
        relay.put("/actor", {"id": actor, "type": "Application", "publicKey": key})
        with transaction(crawling.engine) as session:
            discover(session, actor, found_by="the operator", kind=kind)
        said = relay.activity("Announce", "https://hub.example/proposals/1", by=actor)
        crawling.receive(sign(pushed(crawling, said), RSA, key_id))
        assert crawling.count(InboxMessage) == 1


def test_a_multikey_of_a_member_signs_as_well(crawling: Crawling, hub: HubServer) -> None:
    owner, key = f"{hub.base}/members/ines", generate_ed25519()
    described = {
        "id": f"{owner}#ed25519-key",
        "type": "Multikey",
        "controller": owner,
        "publicKeyMultibase": encode_multikey(key.public_key()),
    }
    hub.member("ines", assertionMethod=[described])
    schemes: tuple[Signer, ...] = (by_rfc9421, by_cavage)
    for number, signer in enumerate(schemes):
        crawling.receive(signer(pushed(crawling, create(hub, number)), key, described["id"]))
    assert crawling.count(InboxMessage) == 3
