"""Our own actor: found, readable by others, and telling who crawls and how to be left out."""

import asyncio
import json

import pytest
from hub_server import HubServer, own_keys

from commons.errors import InvalidError, NotFoundError
from commons.fetch import Door
from commons.settings import Settings
from commons.signatures import public_pem
from crawler import actor
from crawler.origins import fetch_actor, read_actor


def test_others_can_read_our_actor_and_both_keys(settings: Settings) -> None:
    document = actor.document(settings, own_keys())

    read = read_actor(json.loads(json.dumps(document)))

    assert (read.id, read.inbox) == ("http://testserver/actor", "http://testserver/inbox")
    assert {key.key_id: key.pem for key in read.keys} == {
        "http://testserver/actor#main-key": public_pem(own_keys().actor.public_key()),
        "http://testserver/actor#ed25519-key": public_pem(own_keys().service.public_key()),
    }
    assert document["type"] == "Application"
    assert read.indexable is False


def test_the_profile_says_who_crawls_why_how_often_and_how_to_be_left_out(
    settings: Settings,
) -> None:
    told = settings.model_copy(update={"contact": "ada@example.org <b>"})
    summary = actor.document(told, own_keys())["summary"]

    for word in ("local currency groups", "have agreed", "once a week", "indexable", "invitation",
                 "searchableBy", "blocks", "robots.txt", "http://testserver/join"):  # fmt: skip
        assert word in summary
    assert "ada@example.org &lt;b&gt;" in summary


def test_the_profile_tells_its_properties_as_an_automated_actor(settings: Settings) -> None:
    told = settings.model_copy(update={"contact": "ada@example.org"})
    attached = actor.document(told, own_keys())["attachment"]

    assert {one["type"] for one in attached} == {"PropertyValue"}
    assert [one["name"] for one in attached] == ["ServiceType", "Frequency", "Support"]
    without = actor.document(settings.model_copy(update={"contact": ""}), own_keys())["attachment"]
    assert [one["name"] for one in without] == ["ServiceType", "Frequency"]


def test_it_tells_what_it_implements(settings: Settings) -> None:
    implemented = {told["href"] for told in actor.document(settings, own_keys())["implements"]}

    assert "https://w3id.org/fep/0837" in implemented
    assert "https://datatracker.ietf.org/doc/html/rfc9421" in implemented
    for number in ("ae0c", "d556", "2677", "8b32", "844e", "19b3"):
        assert f"https://w3id.org/fep/{number}" in implemented


@pytest.mark.parametrize(
    "resource",
    [
        "acct:localpay@testserver",
        "http://testserver/actor",
        "http://testserver",
        "http://testserver/",
    ],
)
def test_webfinger_finds_the_actor(settings: Settings, resource: str) -> None:
    links = {link["rel"]: link["href"] for link in actor.webfinger(settings, resource)["links"]}

    assert links["self"] == "http://testserver/actor"
    is_server = resource.rstrip("/") == "http://testserver"
    assert ("https://www.w3.org/ns/activitystreams#Service" in links) is is_server


def test_webfinger_knows_nobody_else(settings: Settings) -> None:
    with pytest.raises(NotFoundError):
        actor.webfinger(settings, "acct:ada@testserver")
    with pytest.raises(InvalidError):
        actor.webfinger(settings, "localpay")


def test_nodeinfo_leads_to_the_actor(settings: Settings) -> None:
    links = {link["rel"]: link["href"] for link in actor.nodeinfo_links(settings)["links"]}

    assert links["https://www.w3.org/ns/activitystreams#Application"] == "http://testserver/actor"
    assert links[actor.NODEINFO_SCHEMA] == "http://testserver/nodeinfo/2.1"
    assert actor.nodeinfo()["version"] == "2.1"
    assert actor.nodeinfo()["protocols"] == ["activitypub"]


def test_a_key_that_names_another_owner_is_not_the_actors() -> None:
    with HubServer().serving() as hub:
        stray = {
            "id": f"{hub.actor_uri}#main-key",
            "owner": f"{hub.base}/somebody",
            "publicKeyPem": public_pem(own_keys().actor.public_key()),
        }
        foreign = {**stray, "id": "https://elsewhere.example/key", "owner": hub.actor_uri}
        broken = {**stray, "owner": hub.actor_uri, "publicKeyPem": "none"}
        hub.publish_actor(publicKey=[stray, foreign, broken])
        document = hub.documents["/group"][1]
        assert isinstance(document, dict)

        assert [key.key_id for key in read_actor(document).keys] == [hub.key_id]


def test_an_actor_is_taken_only_from_its_own_address(settings: Settings) -> None:
    async def fetch(uri: str) -> str:
        door = Door(settings, polite=False)
        try:
            return (await fetch_actor(door, uri)).id
        finally:
            await door.aclose()

    with HubServer().serving() as hub, HubServer("leeds").serving() as other:
        document = hub.documents["/group"][1]
        other.put("/group", document)
        hub.put("/twin", document)

        assert asyncio.run(fetch(hub.actor_uri)) == hub.actor_uri
        for uri in (other.actor_uri, f"{hub.base}/twin"):
            with pytest.raises(InvalidError):
                asyncio.run(fetch(uri))
