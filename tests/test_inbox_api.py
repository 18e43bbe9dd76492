"""The inbox over HTTP: 202 once it is kept; what is forged, too large or no activity is not."""

from collections.abc import Iterator

import pytest
from hub_server import HubServer
from served import ACTIVITY, Served, served
from sqlalchemy import Engine, func, select

from api.middleware import MOST_BODY_BYTES
from commons.database import reading
from commons.settings import Settings
from commons.signatures import generate_ed25519
from crawler.kept import InboxMessage


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    with served(settings, engine) as service:
        yield service


@pytest.fixture
def hub(service: Served) -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        service.register(hub)
        service.admit(hub.name)
        yield hub


def kept(service: Served) -> int:
    with reading(service.services.engine) as session:
        return session.scalar(select(func.count()).select_from(InboxMessage)) or 0


def titles(service: Served, **question: str) -> list[str]:
    return [hit["title"] for hit in service.get("/listings", **question).json()["hits"]]


def test_a_pushed_listing_is_accepted_then_searchable(service: Served, hub: HubServer) -> None:
    proposal = hub.serve(hub.proposal(1, name="Bicycle repair"))
    answer = service.push(hub, hub.activity("Create", proposal))
    assert (answer.status_code, answer.content) == (202, b"")
    assert titles(service, q="bicycle") == []
    service.work()
    assert titles(service, q="bicycle") == ["Bicycle repair"]


def test_an_edited_listing_is_found_by_its_new_words(service: Served, hub: HubServer) -> None:
    service.push(hub, hub.activity("Create", hub.serve(hub.proposal(1, name="Bicycle repair"))))
    service.work()
    edited = hub.serve(hub.proposal(1, hours=2, name="Piano tuning", content="By ear"))
    assert service.push(hub, hub.activity("Update", edited)).status_code == 202
    service.work()
    assert titles(service, q="piano") == ["Piano tuning"]
    assert titles(service, q="bicycle") == []


def test_a_withdrawn_listing_is_gone(service: Served, hub: HubServer) -> None:
    proposal = hub.serve(hub.proposal(1))
    service.push(hub, hub.activity("Create", proposal))
    service.work()
    found = service.get("/listings").json()["hits"][0]["id"]
    assert service.get(f"/listings/{found}").status_code == 200
    assert service.push(hub, hub.delete(proposal, 3)).status_code == 202
    service.work()
    assert titles(service) == []
    assert service.get(f"/listings/{found}").status_code == 404
    assert service.get(f"/l/{found}").status_code == 404


def test_an_unsigned_push_stores_nothing(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1))
    headers = {"Content-Type": ACTIVITY}
    assert service.client.post("/inbox", json=activity, headers=headers).status_code == 401
    assert kept(service) == 0


def test_a_forged_push_stores_nothing(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1))
    assert service.push(hub, activity, key=generate_ed25519()).status_code == 401
    assert kept(service) == 0


def test_a_changed_body_stores_nothing(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1))
    request = service.request(hub, "POST", "/inbox", activity, media_type=ACTIVITY)
    changed = request.content.replace(b"Brakes", b"Spikes")
    answer = service.client.post("/inbox", content=changed, headers=request.headers)
    assert answer.status_code == 401
    assert kept(service) == 0


def test_a_push_for_somebody_else_stores_nothing(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1), by="https://elsewhere.example/members/eve")
    assert service.push(hub, activity).status_code == 403
    assert kept(service) == 0


def test_another_media_type_is_not_read(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1))
    assert service.push(hub, activity, media_type="application/json").status_code == 415
    assert kept(service) == 0


def test_too_large_an_activity_is_refused(service: Served, hub: HubServer) -> None:
    activity = hub.activity("Create", hub.proposal(1, content="x" * MOST_BODY_BYTES))
    assert service.push(hub, activity).status_code == 413
    assert kept(service) == 0


def test_what_is_no_activity_is_malformed(service: Served, hub: HubServer) -> None:
    assert service.push(hub, ["Create"]).status_code == 400  # type: ignore[arg-type] # a list is no document
    assert kept(service) == 0


def test_our_actor_is_found_by_webfinger(service: Served) -> None:
    actor = service.get("/actor")
    assert actor.headers["content-type"] == "application/activity+json"
    host = service.url.removeprefix("http://")
    found = service.get("/.well-known/webfinger", resource=f"acct:localpay@{host}")
    assert found.headers["content-type"] == "application/jrd+json"
    assert found.json()["links"][0]["href"] == actor.json()["id"]
    assert service.get("/.well-known/webfinger", resource="acct:eve@x.example").status_code == 404
    assert service.get("/.well-known/webfinger").status_code == 422


def test_nodeinfo_tells_what_runs_here(service: Served) -> None:
    links = service.get("/.well-known/nodeinfo").json()["links"]
    assert service.client.get(links[0]["href"]).json()["software"]["name"] == "localpay"


def test_our_outbox_is_empty(service: Served) -> None:
    assert service.get("/outbox").json()["totalItems"] == 0
