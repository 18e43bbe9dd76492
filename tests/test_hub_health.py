"""The health of a hub, for anybody, for the hub itself, and looked at now."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2
import pytest
from fastapi import Request
from hub_server import HubServer, rsa_key
from pages_world import HOSTILE, Outline
from served import Served, served
from sqlalchemy import Engine, select, update

from api.allowances import Allowance, client_of
from api.routes.health_of_hubs import REFRESH_SECONDS, ROUNDS_MOST
from commons.database import reading, transaction
from commons.errors import TooManyError
from commons.groups import Hub
from commons.settings import Settings
from commons.signatures import generate_ed25519, public_pem
from crawler.diagnosis import StepName
from crawler.kept import put_aside
from crawler.peers import Peer
from crawler.refusals import Refusal, count, refusals_of, reset

BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
INSIDE = "10.1.2.3"
Json = dict[str, Any]


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


@pytest.fixture
def hub(service: Served) -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        hub.publish_actor(indexable=True)
        hub.publish_outbox([hub.activity("Create", hub.proposal(n)) for n in (1, 2, 3)])
        assert service.client.post("/join", data={"address": hub.actor_uri}).status_code == 303
        yield hub


def work(service: Served) -> None:
    for _ in range(3):
        service.work()


def health(service: Served) -> Json:
    answer = service.get("/hubs/barcelona/health")
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def step(told: Json, name: str) -> Json:
    found: Json = next(one for one in told["steps"] if one["name"] == name)
    return found


def look(service: Served, **headers: str) -> httpx2.Response:
    return service.client.post("/hubs/barcelona/check", headers=headers)


def change(service: Served, **values: object) -> None:
    with transaction(service.services.engine) as session:
        session.execute(update(Peer).values(**values))


def peer(service: Served) -> Peer:
    with reading(service.services.engine) as session:
        return session.scalars(select(Peer)).one()


def test_every_step_from_the_address_to_the_search_is_told(service: Served, hub: HubServer) -> None:
    work(service)
    told = health(service)
    assert [one["name"] for one in told["steps"]] == [str(name) for name in StepName]
    assert (told["listings"], told["mend"], told["failed"]) == (3, None, None)
    assert step(told, "consent")["seen"] == "The hub agreed: its actor says `indexable: true`."
    assert step(told, "index")["seen"] == "3 listings are in the search."
    assert step(told, "source")["state"] == "ok"
    assert step(told, "visit")["seen"].startswith("The next visit is at ")
    assert hub.taken[-1]["type"] == "Follow"
    assert (step(told, "follow")["state"], told["waiting"]) == ("waiting", False)


def test_what_is_on_its_way_into_the_index_is_told(service: Served, hub: HubServer) -> None:
    work(service)
    hub.publish_outbox([hub.activity("Create", hub.proposal(n)) for n in (1, 2, 3, 4)])
    with transaction(service.services.engine) as session:
        session.execute(update(Hub).values(outbox_uri=f"{hub.base}/outbox"))
    revision = service.services.index.revision()
    service.services.index.apply([], since=revision, revision=0)
    told = health(service)
    assert step(told, "index")["state"] == "waiting"
    assert told["waiting"]


def test_nobody_but_the_hub_sees_which_listings_could_not_be_read(
    service: Served, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(n, name=None)) for n in range(1, 8)])
    work(service)
    told = step(health(service), "listings")
    assert told["counts"][0]["reason"] == "`title` must not be empty."
    assert (told["counts"][0]["count"], told["counts"][0]["examples"]) == (7, [])
    own = service.call(hub, "GET", "/hubs/barcelona/health")
    examples = step(own.json(), "listings")["counts"][0]["examples"]
    assert len(examples) == 5
    assert all(uri.startswith(f"{hub.base}/proposals/") for uri in examples)


def test_a_hub_of_software_with_an_rsa_key_alone_sees_its_own(
    service: Served, hub: HubServer
) -> None:
    key_id = f"{hub.actor_uri}#main-key"
    pem = public_pem(rsa_key().public_key())
    described = {"id": key_id, "owner": hub.actor_uri, "publicKeyPem": pem}
    hub.publish_actor(indexable=True, publicKey=described, assertionMethod=[])
    hub.publish_outbox([hub.activity("Create", hub.proposal(1, name=None))])
    work(service)
    path = "/hubs/barcelona/health"
    own = service.call(hub, "GET", path, key=rsa_key(), key_id=key_id)
    assert own.status_code == 200, own.text
    assert step(own.json(), "listings")["counts"][0]["examples"] == [f"{hub.base}/proposals/1"]


def test_another_hub_sees_no_more_than_anybody(service: Served, hub: HubServer) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1, name=None))])
    work(service)
    with HubServer("leeds").serving() as other:
        other.publish_actor(indexable=True)
        service.client.post("/join", data={"address": other.actor_uri})
        told = service.call(other, "GET", "/hubs/barcelona/health").json()
    assert step(told, "listings")["counts"][0]["examples"] == []


def test_a_signature_that_does_not_hold_is_refused(service: Served, hub: HubServer) -> None:
    forged = service.call(hub, "GET", "/hubs/barcelona/health", key=generate_ed25519())
    assert forged.status_code == 401
    assert "steps" not in forged.text


def test_an_error_as_it_was_noted_is_told_to_nobody(service: Served, hub: HubServer) -> None:
    work(service)
    detail = f"hub.example could not be asked: Connect call failed ('{INSIDE}', 443)"
    change(service, last_error=detail, attempts=2)
    for answer in (
        service.get("/hubs/barcelona/health"),
        service.call(hub, "GET", "/hubs/barcelona/health"),
        service.client.get("/hubs/barcelona/health", headers=BROWSER),
        service.get("/hubs/barcelona"),
    ):
        assert "Nothing answers at its address." in answer.text
        assert INSIDE not in answer.text
    change(service, last_error="(sqlite3.OperationalError) [SQL: SELECT secret]")
    for path in ("/hubs/barcelona/health", "/hubs/barcelona"):
        assert "SELECT" not in service.get(path).text


def test_a_hub_that_is_not_known_is_not_found(service: Served) -> None:
    assert service.get("/hubs/nowhere/health").status_code == 404
    assert service.client.post("/hubs/nowhere/check").status_code == 404


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html", True),
        ("text/html;q=0.9, */*", True),
        ("application/json", False),
        ("*/*", False),
        ("application/json, text/html", False),
    ],
)
def test_a_browser_gets_a_page_and_a_program_json(
    service: Served,
    hub: HubServer,
    accept: str,
    is_page: bool,  # noqa: FBT001 (pytest gives it by its name)
) -> None:
    answer = service.client.get("/hubs/barcelona/health", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/html") is is_page
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["cache-control"] == "no-store"
    assert hub.name in answer.text


def test_a_page_that_waits_loads_itself_anew_for_three_minutes(
    service: Served, hub: HubServer
) -> None:
    assert REFRESH_SECONDS * ROUNDS_MOST <= 180
    path, rounds = "/hubs/barcelona/health", 0
    while rounds <= ROUNDS_MOST:
        page = service.client.get(path, headers=BROWSER).text
        refresh = [one for one in Outline(page).all("meta") if "http-equiv" in one]
        if not refresh:
            break
        path = str(refresh[0]["content"]).partition("url=")[2]
        rounds += 1
    assert rounds == ROUNDS_MOST
    assert hub.asked.count("/outbox") == 0


def test_look_now_sees_what_was_mended_and_begins_a_visit(service: Served, hub: HubServer) -> None:
    hub.gone("/outbox", 404)
    work(service)
    assert health(service)["failed"] == "source"
    hub.publish_outbox([hub.activity("Create", hub.proposal(n)) for n in (1, 2, 3)])
    hub.asked.clear()
    answer = look(service)
    assert answer.status_code == 200, answer.text
    assert answer.json()["asked"] is True
    assert step(answer.json(), "source")["state"] == "ok"
    assert step(answer.json(), "keys")["seen"] == "1 of 1 keys that it names are taken."
    assert 3 <= len(hub.asked) <= 6
    work(service)
    assert health(service)["listings"] == 3


def test_look_now_sees_what_went_wrong_since(service: Served, hub: HubServer) -> None:
    work(service)
    hub.is_down = True
    told = look(service).json()
    assert (told["failed"], told["listings"]) == ("actor", 3)
    assert "It answers 503" in step(told, "actor")["seen"]


def test_look_now_learns_the_software(service: Served, hub: HubServer) -> None:
    schema = "http://nodeinfo.diaspora.software/ns/schema/2.1"
    link = {"rel": schema, "href": f"{hub.base}/nodeinfo/2.1"}
    hub.put("/.well-known/nodeinfo", {"links": [link]})
    hub.put("/nodeinfo/2.1", {"software": {"name": HOSTILE, "version": "4"}})
    for path in ("/.well-known/nodeinfo", "/nodeinfo/2.1"):
        hub.headers[path] = {"Content-Type": "application/json"}
    page = look(service, **BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert "It runs &lt;script&gt;" in page.text
    assert Outline(page.text).all("script") == []


def test_a_hub_is_looked_at_once_a_minute(service: Served, hub: HubServer) -> None:
    assert look(service).status_code == 200
    asked = len(hub.asked)
    again = look(service)
    assert again.status_code == 429
    assert 1 <= int(again.headers["retry-after"]) <= 60
    assert again.headers["content-type"] == "application/problem+json"
    page = look(service, **BROWSER)
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) >= 1
    assert page.headers["content-type"].startswith("text/html")
    assert len(hub.asked) == asked


def test_only_so_many_hubs_are_looked_at_in_a_minute(service: Served, hub: HubServer) -> None:
    service.services.allowances.checks = Allowance(1, 60.0)
    service.services.allowances.checks.take("")
    asked = len(hub.asked)
    assert look(service).status_code == 429
    assert len(hub.asked) == asked


def test_look_now_asks_a_hub_that_said_no_whether_it_agrees_now(
    service: Served, hub: HubServer
) -> None:
    work(service)
    hub.publish_actor(indexable=False)
    change(service, due_at=peer(service).state_since)
    work(service)
    told = health(service)
    assert (told["failed"], told["listings"]) == ("consent", 0)
    hub.publish_actor(indexable=True)
    assert look(service).json()["failed"] is None
    work(service)
    assert health(service)["listings"] == 3


def test_an_allowance_is_given_anew_when_its_time_is_over() -> None:
    moment = [0.0]
    allowance = Allowance(2, 60.0, lambda: moment[0])
    allowance.take("one", "leeds")
    moment[0] = 30.0
    allowance.take("one", "leeds")
    allowance.take("one", "bath")
    with pytest.raises(TooManyError) as refused:
        allowance.take("one", "leeds")
    assert refused.value.retry_after_seconds == 30
    moment[0] = 60.0
    allowance.take("one", "leeds")


def test_an_allowance_remembers_a_bounded_number_of_keys() -> None:
    allowance = Allowance(1, 60.0, lambda: 0.0)
    for number in range(10_010):
        allowance.take("one", str(number))
    assert len(allowance) == 10_000


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_who_is_connected(host: str, key: str) -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"forwarded", b"for=198.51.100.1")]
    assert client_of(Request({"type": "http", "client": (host, 1), "headers": headers})) == key


def test_refusals_are_counted_by_reason_and_begin_anew(engine: Engine) -> None:
    with transaction(engine) as session:
        row = Peer(
            actor_uri="https://hub.example/group",
            kind="activitypub",
            found_by="a test",
            state="live",
            state_since=datetime.fromisoformat("2026-10-01T08:00:00Z"),
            attempts=0,
            crawl_offset=0,
        )
        session.add(row)
        session.flush()
        count(session, row.id, {"nobody consented": 2, "its author is suspended": 1})
        count(session, row.id, {"nobody consented": 3})
        told = [(one.reason, one.count) for one in refusals_of(session, row.id)]
        assert told == [("nobody consented", 5), ("its author is suspended", 1)]
        reset(session, row.id)
        assert refusals_of(session, row.id) == []


def test_of_what_nobody_allowed_only_a_number_is_kept(service: Served, hub: HubServer) -> None:
    hub.member("ines", indexable=False)
    work(service)
    told = health(service)
    assert told["failed"] == "authors"
    assert told["mend"] == "An author who wants to be found sets `indexable` to true."
    assert step(told, "authors")["counts"][0]["count"] == 3
    assert step(told, "authors")["counts"][0]["examples"] == []
    assert {column.name for column in Refusal.__table__.columns} == {
        "peer_id",
        "reason",
        "count",
        "last_at",
    }


def test_a_reason_that_a_stranger_wrote_is_escaped(service: Served, hub: HubServer) -> None:
    work(service)
    with transaction(service.services.engine) as session:
        peer_id = session.scalars(select(Peer.id)).one()
        put_aside(session, peer_id, f"{hub.base}/x", f"name: {HOSTILE}", is_vouched=True)
        put_aside(session, peer_id, f"{hub.base}/y", f"{HOSTILE}", is_vouched=True)
    page = service.client.get("/hubs/barcelona/health", headers=BROWSER).text
    assert Outline(page).all("script") == []
    assert Outline(page).all("img") == []
