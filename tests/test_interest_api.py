"""Interest over HTTP: signed by the member's hub, limited, private; the link to its own page."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hub_server import HubServer, Json, rsa_key
from interest_world import WORDS
from served import ACTIVITY, JSON, Served, served, verified_by_our_key
from sqlalchemy import Engine, func, select, update

from commons.database import now, reading, transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from commons.signatures import generate_ed25519, public_pem
from crawler.interest.asking import LISTING_MOST
from crawler.interest.rows import Interest
from crawler.peers import Peer, PeerState
from marketplace.drafts import listing_id
from marketplace.listings import Listing


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


@pytest.fixture
def authors(service: Served) -> Iterator[HubServer]:
    with HubServer("barcelona").serving() as hub:
        hub.member("ines", inbox=f"{hub.base}/members/ines/inbox")
        service.register(hub)
        work(service)
        service.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
        service.push(hub, hub.activity("Create", hub.serve(hub.proposal(1))))
        work(service)
        hub.taken.clear()
        yield hub


@pytest.fixture
def hub(service: Served, authors: HubServer) -> Iterator[HubServer]:
    """The member's hub: registered, not admitted, without listings of its own."""
    assert authors
    with HubServer("leeds").serving() as hub:
        hub.publish_actor(
            publicKey={
                "id": f"{hub.actor_uri}#rsa-key",
                "owner": hub.actor_uri,
                "publicKeyPem": public_pem(rsa_key().public_key()),
            }
        )
        hub.member("bob", inbox=f"{hub.base}/members/bob/inbox")
        wanted = {**hub.registration(), "listings": False}
        assert service.call(hub, "POST", "/hubs", wanted).status_code == 201
        yield hub


def work(service: Served) -> None:
    """Work in rounds: what is asked for in one is delivered in the next."""
    for _ in range(3):
        service.work()


def path_of(authors: HubServer) -> str:
    return f"/listings/{listing_id(f'{authors.base}/proposals/1')}/interest"


def message(hub: HubServer, **more: object) -> Json:
    told = {"id": str(uuid4()), "member": f"{hub.base}/members/bob", "message": WORDS}
    return {**told, **more}


def offer(hub: HubServer, authors: HubServer, number: int = 1, **more: object) -> Json:
    return {
        "id": f"{hub.base}/offers/{number}",
        "type": "Offer",
        "actor": f"{hub.base}/members/bob",
        "object": {
            "type": "Agreement",
            "stipulates": {"satisfies": f"{authors.base}/proposals/1#primary"},
        },
        **more,
    }


def kept(service: Served) -> int:
    with reading(service.services.engine) as session:
        return session.scalar(select(func.count()).select_from(Interest)) or 0


def test_a_hub_tells_of_an_interest_and_sees_how_it_stands(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    told = service.call(hub, "POST", path_of(authors), offer(hub, authors), media_type=ACTIVITY)
    assert told.status_code == 201, told.text
    assert told.headers["cache-control"] == "private, no-store"
    assert verified_by_our_key(service, told)
    seen = told.json()
    assert (seen["state"], seen["offer"]) == ("waiting", f"{hub.base}/offers/1")

    work(service)
    assert [activity["type"] for activity in authors.taken] == ["Offer"]
    stands = service.call(hub, "GET", f"/interests/{seen['id']}")
    assert stands.headers["cache-control"] == "private, no-store"
    assert stands.json() == {**seen, "state": "delivered", "since": stands.json()["since"]}

    again = service.call(hub, "POST", path_of(authors), offer(hub, authors), media_type=ACTIVITY)
    assert (again.status_code, again.json()) == (200, stands.json())
    other = offer(hub, authors, content="other words")
    conflict = service.call(hub, "POST", path_of(authors), other, media_type=ACTIVITY)
    assert conflict.status_code == 409
    assert kept(service) == 1


def test_any_key_of_the_hub_will_do(service: Served, authors: HubServer, hub: HubServer) -> None:
    rsa = {"key": rsa_key(), "key_id": f"{hub.actor_uri}#rsa-key"}
    told = service.call(hub, "POST", path_of(authors), message(hub), **rsa)
    assert told.status_code == 201, told.text
    # Calls to clearing still take its Ed25519 key alone.
    assert service.call(hub, "GET", "/transfers", **rsa).status_code == 401


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("another key", {"key": generate_ed25519()}),
    ("an unknown key", {"key_id": "https://elsewhere.example/group#key"}),
    ("no nonce", {"nonce": None}),
    ("long ago", {"created": datetime.now(UTC) - timedelta(minutes=10)}),
]


def test_a_forged_interest_stores_nothing(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    for fault, how in FORGED:
        refused = service.call(hub, "POST", path_of(authors), message(hub), **how)
        assert refused.status_code in {400, 401}, fault
    assert kept(service) == 0


def test_an_unsigned_a_changed_and_a_repeated_request_store_nothing(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    path = path_of(authors)
    assert service.client.post(path, json=message(hub)).status_code == 401
    request = service.request(hub, "POST", path, message(hub))
    changed = request.content.replace(b"dusk", b"dawn")
    answer = service.client.post(path, content=changed, headers=request.headers)
    assert answer.status_code == 401
    assert kept(service) == 0

    assert service.client.send(request).status_code == 201
    assert service.client.send(request).status_code == 401
    assert kept(service) == 1


@pytest.mark.parametrize("fault", ["suspended", "blocked"])
def test_a_hub_that_is_kept_out_tells_of_nothing(
    service: Served, authors: HubServer, hub: HubServer, fault: str
) -> None:
    with transaction(service.services.engine) as session:
        if fault == "suspended":
            of_hub = Hub.group_id == hub.name
            session.execute(update(Hub).where(of_hub).values(state=HubState.SUSPENDED))
        else:
            of_peer = Peer.group_id == hub.name
            session.execute(update(Peer).where(of_peer).values(state=PeerState.BLOCKED))
    assert service.call(hub, "POST", path_of(authors), message(hub)).status_code == 403
    assert kept(service) == 0


def test_a_member_of_another_origin_is_not_the_hubs_to_speak_for(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    stranger = message(hub, member=f"{authors.base}/members/ines")
    assert service.call(hub, "POST", path_of(authors), stranger).status_code == 403
    forged = offer(hub, authors, actor=f"{authors.base}/members/ines", id=f"{authors.base}/o/1")
    answer = service.call(hub, "POST", path_of(authors), forged, media_type=ACTIVITY)
    assert answer.status_code == 403
    assert kept(service) == 0


BREAKING: list[tuple[str, dict[str, object]]] = [
    ("message", {"message": ""}),
    ("message", {"message": " \n "}),
    ("message", {"message": "x" * 2001}),
    ("message", {"message": 7}),
    ("member", {"member": "javascript:alert(1)"}),
    ("member", {"member": None}),
    ("id", {"id": "7"}),
    ("amount", {"amount": "3"}),
]


def test_a_body_that_breaks_a_rule_is_refused(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    for field, more in BREAKING:
        refused = service.call(hub, "POST", path_of(authors), message(hub, **more))
        assert (refused.status_code, refused.json()["field"]) == (422, field), more
    assert kept(service) == 0


UNREADABLE: list[tuple[bytes, str, int]] = [
    (b"{}", "text/plain", 415),
    (b"[]", ACTIVITY, 400),
    (b'{"a":1,"a":2}', ACTIVITY, 400),
    (b'{"a":1,"a":2}', JSON, 400),
    (b'{"message":"\\u0000"}', JSON, 400),
    (b'{"message":"\\ud800"}', JSON, 400),
    (b"{", JSON, 400),
    (b"[" * 200 + b"]" * 200, ACTIVITY, 400),
]


def test_what_cannot_be_read_stores_nothing(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    for body, media_type, status in UNREADABLE:
        refused = service.call(hub, "POST", path_of(authors), body, media_type=media_type)
        assert refused.status_code == status, body
    assert kept(service) == 0


def test_nobody_else_learns_of_an_interest(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    told = service.call(hub, "POST", path_of(authors), message(hub)).json()
    service.work()
    path = f"/interests/{told['id']}"
    assert service.call(authors, "GET", path).status_code == 404
    assert service.get(path).status_code == 401
    assert service.call(hub, "GET", f"/interests/{uuid4()}").status_code == 404

    short = told["listing"]
    pages = ["/listings", f"/listings/{short}", f"/listings/{short}/why", "/listings.rss"]
    pages += ["/listings.geojson", f"/l/{short}", "/", "/hubs/leeds", "/hubs/barcelona"]
    for page in pages:
        shown = service.get(page)
        assert shown.status_code == 200, page
        assert WORDS not in shown.text
        assert "members/bob" not in shown.text
        assert told["id"] not in shown.text
    assert service.get("/listings", q="bell").json()["hits"] == []


def test_what_cannot_be_answered_is_not_found_whatever_the_reason(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    unknown = service.call(hub, "POST", "/listings/aaaaaaaaaaaaa/interest", message(hub))
    with transaction(service.services.engine) as session:
        session.execute(update(Listing).values(expires_at=now(session)))
    expired = service.call(hub, "POST", path_of(authors), message(hub))
    with transaction(service.services.engine) as session:
        session.execute(update(Listing).values(expires_at=None))
    service.push(authors, authors.activity("Block", f"{service.url}/actor"))
    service.work()
    blocked = service.call(hub, "POST", path_of(authors), message(hub))
    answers = [unknown, expired, blocked]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.json()["detail"] for answer in answers}) == 1
    assert kept(service) == 0


def test_the_limit_of_a_hub_holds_whatever_address_it_claims(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    path = path_of(authors)
    for _ in range(LISTING_MOST):
        assert service.call(hub, "POST", path, message(hub)).status_code == 201
    request = service.request(hub, "POST", path, message(hub))
    request.headers["X-Forwarded-For"] = "203.0.113.7"
    refused = service.client.send(request)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    assert kept(service) == LISTING_MOST
    # Another hub is not held up by it.
    own = message(authors, member=f"{authors.base}/members/ines")
    assert service.call(authors, "POST", path, own).status_code == 201
