"""The demo hub alone, against a fake LocalPay on loopback that follows it."""

import queue
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import orjson
import pytest

from clearing.client import UntrustedAnswerError
from commons.signatures import (
    REQUEST_WITH_BODY,
    Message,
    PrivateKey,
    generate_ed25519,
    generate_rsa,
    load_public_pem,
    public_pem,
    sign,
    verify,
)
from crawler import vocabulary
from demo import documents
from demo.hub import Hub
from demo.listings import GroupProfile, groups
from demo.wire import key_of
from marketplace import drafts
from marketplace.payment import PaymentMeans

WAIT_SECONDS = 10.0


@dataclass
class Follower:
    """A server with one actor: serves it, and keeps what is posted to its inbox."""

    server: ThreadingHTTPServer
    key: PrivateKey = field(default_factory=generate_rsa)
    received: queue.Queue[Message] = field(default_factory=queue.Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def key_id(self) -> str:
        return f"{self.url}/actor#main-key"

    def actor(self) -> dict[str, Any]:
        return {
            "id": f"{self.url}/actor",
            "type": "Application",
            "inbox": f"{self.url}/inbox",
            "publicKey": {
                "id": self.key_id,
                "owner": f"{self.url}/actor",
                "publicKeyPem": public_pem(self.key.public_key()),
            },
        }

    def activity(self, kind: str, hub: Hub, **members: object) -> dict[str, Any]:
        follow = {
            "id": f"{self.url}/activities/1",
            "type": kind,
            "actor": f"{self.url}/actor",
            "object": hub.at.actor,
        }
        return follow | members

    def next(self) -> tuple[Message, dict[str, Any]]:
        message = self.received.get(timeout=WAIT_SECONDS)
        return message, orjson.loads(message.body)


@pytest.fixture
def follower() -> Iterator[Follower]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, orjson.dumps(peer.actor()))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = peer.url + self.path
            peer.received.put(Message("POST", target, self.headers.items(), body))
            self._answer(202, b"")

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer = Follower(server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield peer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(follower: Follower) -> Iterator[Hub]:
    with Hub(groups()[0], follower.url) as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=WAIT_SECONDS) as running:
        yield running


def post(
    client: httpx2.Client,
    follower: Follower,
    hub: Hub,
    activity: dict[str, Any],
    key: PrivateKey | None = None,
) -> httpx2.Response:
    """Post to the hub's inbox, signed in the follower's name with `key`, by default its own."""
    body = orjson.dumps(activity)
    message = Message("POST", hub.at.inbox, [], body)
    headers = sign(
        message,
        key or follower.key,
        follower.key_id,
        nonce=secrets.token_urlsafe(),
        created=datetime.now(UTC),
    )
    return client.post(hub.at.inbox, content=body, headers=headers)


def follow(client: httpx2.Client, follower: Follower, hub: Hub) -> dict[str, Any]:
    """Follow the hub and return the Accept that it answers with."""
    assert post(client, follower, hub, follower.activity("Follow", hub)).status_code == 202
    return follower.next()[1]


def get(client: httpx2.Client, url: str, status: int = 200) -> dict[str, Any]:
    response = client.get(url)
    assert response.status_code == status
    document: dict[str, Any] = orjson.loads(response.content)
    return document


def test_the_actor_is_a_group_whose_keys_name_it(hub: Hub, client: httpx2.Client) -> None:
    actor = get(client, hub.at.actor)
    assert (actor["type"], actor["indexable"]) == ("Group", True)
    assert load_public_pem(actor["publicKey"]["publicKeyPem"]) == key_of(actor, hub.at.rsa_key)
    assert key_of(actor, hub.at.ed25519_key) is not None


def test_webfinger_leads_to_the_group_and_to_members(hub: Hub, client: httpx2.Client) -> None:
    authority = hub.at.base.removeprefix("http://")
    for name, expected in (("gracia", hub.at.actor), ("ines", hub.at.member("ines"))):
        url = f"{hub.at.base}/.well-known/webfinger?resource=acct:{name}@{authority}"
        found = get(client, url)
        assert found["links"][0]["href"] == expected
        assert get(client, expected)["preferredUsername"] == name


def test_nodeinfo_is_where_its_link_says(hub: Hub, client: httpx2.Client) -> None:
    links = get(client, f"{hub.at.base}/.well-known/nodeinfo")["links"]
    assert get(client, links[0]["href"])["usage"]["localPosts"] == len(hub.group.listings)


def test_the_pages_of_the_outbox_hold_every_listing_once(hub: Hub, client: httpx2.Client) -> None:
    outbox = get(client, hub.at.outbox)
    pages = [get(client, outbox["first"])]
    while "next" in pages[-1]:
        pages.append(get(client, pages[-1]["next"]))
    titles = [item["object"]["name"] for page in pages for item in page["orderedItems"]]
    assert len(pages) == 5
    assert all(len(page["orderedItems"]) == documents.PAGE_SIZE for page in pages[:-1])
    assert sorted(titles) == sorted(listing.title for listing in hub.group.listings)
    assert outbox["totalItems"] == len(titles)
    assert client.get(f"{hub.at.outbox}?page=6").status_code == 404


def test_only_the_member_who_said_no_says_so(hub: Hub, client: httpx2.Client) -> None:
    said = {name: get(client, hub.at.member(name)).get("indexable") for name in hub.group.members}
    assert said.pop("quim") is False
    assert set(said.values()) == {None}


@pytest.mark.parametrize("group", groups(), ids=lambda group: group.id)
def test_every_listing_is_read_as_it_was_meant(group: GroupProfile) -> None:
    at = documents.Addresses("http://127.0.0.1:1")
    means = {
        "local": PaymentMeans.LOCAL,
        "group": PaymentMeans.GROUP_DEFAULT,
        "time": PaymentMeans.TIME,
        "gift": PaymentMeans.GIFT,
        "barter": PaymentMeans.BARTER,
    }
    for listing in group.listings:
        publication = documents.Publication(1, listing, datetime.now(UTC))
        (found,) = vocabulary.read(documents.create(at, publication))
        draft = drafts.check(found.draft)
        crypto = listing.pay.means.startswith("crypto:")
        expected = means.get(
            listing.pay.means, PaymentMeans.CRYPTO if crypto else PaymentMeans.NATIONAL
        )
        assert (draft.title, draft.language) == (listing.title, listing.language)
        assert (draft.lat, draft.lon) == (listing.place.latitude, listing.place.longitude)
        assert draft.categories == listing.tags
        assert [payment.means for payment in draft.payments] == [expected]
        if expected is PaymentMeans.BARTER:
            assert draft.payments[0].text == listing.pay.what


def test_the_groups_are_as_various_as_they_are_said_to_be() -> None:
    listings = [listing for group in groups() for listing in group.listings]
    kinds = {listing.pay.means.partition(":")[0] for listing in listings}
    assert {len(group.listings) for group in groups()} == {45, 46, 48}
    assert {"local", "group", "time", "gift", "barter", "crypto", "EUR", "GBP"} <= kinds
    assert {listing.language for listing in listings} >= {"ca", "es", "fr", "de", "tr", "ar", "en"}
    assert {listing.purpose for listing in listings} == {"offer", "request"}


def test_a_signed_follow_is_accepted(follower: Follower, hub: Hub, client: httpx2.Client) -> None:
    accept = follow(client, follower, hub)
    assert (accept["type"], accept["actor"]) == ("Accept", hub.at.actor)
    assert accept["object"] == follower.activity("Follow", hub)
    assert get(client, hub.at.followers)["orderedItems"] == [f"{follower.url}/actor"]


def test_undo_ends_following(follower: Follower, hub: Hub, client: httpx2.Client) -> None:
    follow(client, follower, hub)
    undo = follower.activity("Undo", hub, object=follower.activity("Follow", hub))
    assert post(client, follower, hub, undo).status_code == 202
    assert get(client, hub.at.followers)["orderedItems"] == []


def test_a_forged_follow_is_refused(follower: Follower, hub: Hub, client: httpx2.Client) -> None:
    activity = follower.activity("Follow", hub)
    assert client.post(hub.at.inbox, content=orjson.dumps(activity)).status_code == 401
    forged = post(client, follower, hub, activity, key=generate_rsa())
    assert forged.status_code == 401
    other_type = post(client, follower, hub, activity, key=generate_ed25519())
    assert other_type.status_code == 401
    assert hub.followers == {}


def test_a_follow_in_another_name_is_refused(
    follower: Follower, hub: Hub, client: httpx2.Client
) -> None:
    activity = follower.activity("Follow", hub, actor=f"{follower.url}/somebody")
    assert post(client, follower, hub, activity).status_code == 403
    assert hub.followers == {}


def test_what_is_no_activity_is_refused(
    follower: Follower, hub: Hub, client: httpx2.Client
) -> None:
    response = client.post(hub.at.inbox, content=b"x" * 300_000)
    assert response.status_code == 413
    assert post(client, follower, hub, [1]).status_code == 400  # type: ignore[arg-type] # a list is no document


def test_an_answer_that_localpay_did_not_sign_is_not_believed(hub: Hub) -> None:
    with pytest.raises(UntrustedAnswerError, match="no signature"):
        hub.payments.account()


def test_pushes_are_signed_by_the_group_and_say_what_changed(
    follower: Follower, hub: Hub, client: httpx2.Client
) -> None:
    follow(client, follower, hub)
    key = key_of(get(client, hub.at.actor), hub.at.rsa_key)
    new = replace(hub.group.listings[0], title="Una altra cosa")
    number = hub.publish(new).number
    hub.edit(number, replace(new, title="Encara una altra"))
    hub.withdraw(number)
    pushed = []
    for _ in range(3):
        message, activity = follower.next()
        verified = verify(message, key, required=REQUEST_WITH_BODY, now=datetime.now(UTC))
        assert verified.key_id == hub.at.rsa_key
        assert activity["actor"] == hub.at.member("ines")
        pushed.append((activity["type"], activity["object"].get("name")))
    assert pushed == [
        ("Create", "Una altra cosa"),
        ("Update", "Encara una altra"),
        ("Delete", None),
    ]
    assert activity["object"]["id"] == hub.at.proposal(number)


def test_an_announcing_group_sends_the_announce_too(
    follower: Follower, client: httpx2.Client
) -> None:
    with Hub(groups()[1], follower.url) as hub:
        follow(client, follower, hub)
        hub.publish(hub.group.listings[0])
        create, announce = follower.next()[1], follower.next()[1]
        assert (announce["type"], announce["actor"]) == ("Announce", hub.at.actor)
        assert announce["object"] == create
        assert get(client, create["id"]) == create


def test_a_withdrawn_proposal_leaves_a_tombstone(hub: Hub, client: httpx2.Client) -> None:
    url = hub.at.proposal(1)
    assert get(client, url)["type"] == "Proposal"
    hub.withdraw(1)
    assert get(client, url, 410)["type"] == "Tombstone"
    assert get(client, f"{url}/create", 410)["type"] == "Tombstone"
    assert get(client, hub.at.outbox)["totalItems"] == len(hub.group.listings) - 1
    assert client.get(hub.at.proposal(999)).status_code == 404
