"""What whoever runs a hub, or looks at a listing, is told; and that it is so."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx2
import pytest
from hub_server import Crawling, HubServer
from pages_world import Outline, address, titles
from pushing_world import Pushing, pushing_hub
from served import Served, served
from sqlalchemy import Engine
from test_diagnosis import failed, join, told
from test_hub_health import BROWSER, step, work

from commons.database import transaction
from commons.fetch import Door
from commons.settings import Settings
from crawler import joining, relays
from crawler.diagnosis import Diagnosis, StepName, StepState
from crawler.joining import BY_OPERATOR, Joined
from crawler.peers import Peer
from crawler.vocabulary import read
from marketplace.embedded import EmbeddedIndex

ROBOTS = "/robots.txt"


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        hub.publish_actor(indexable=True)
        hub.publish_outbox([hub.activity("Create", hub.proposal(n)) for n in (1, 2, 3)])
        yield hub


@pytest.fixture
def pushing(settings: Settings, sqlite_engine: Engine) -> Iterator[Pushing]:
    yield from pushing_hub(settings, sqlite_engine)


def paste(service: Served, written: str, invitation: str = "") -> httpx2.Response:
    form = {"address": written, "invitation": invitation}
    return service.client.post("/join", data=form, headers=BROWSER)


def listed(service: Served) -> list[str]:
    hits = service.get("/listings", group="barcelona").json()["hits"]
    return sorted(hit["title"] for hit in hits)


def joined_by_operator(service: Served, hub: HubServer) -> Joined:
    services = service.services

    async def join() -> Joined:
        door = Door(services.settings, polite=False)
        try:
            return await joining.join(
                services.engine, door, services.settings, hub.actor_uri, found_by=BY_OPERATOR
            )
        finally:
            await door.aclose()

    return asyncio.run(join())


def test_a_robots_txt_that_was_mended_is_believed_at_once(
    settings: Settings, sqlite_engine: Engine, hub: HubServer
) -> None:
    index = EmbeddedIndex(settings.data_dir / "index")
    with (
        Crawling(sqlite_engine, settings) as crawling,  # the worker, by a door of its own
        Crawling(sqlite_engine, settings) as site,
    ):
        hub.put(ROBOTS, b"User-agent: *\nDisallow: /\n")
        join(crawling, hub)
        before = told(site, index, ask=True)
        hub.put(ROBOTS, b"User-agent: LocalPay\nAllow: /\n")
        looked = told(site, index, ask=True)
        crawling.make_due(Peer)
        due = told(site, index, ask=True)
        crawling.work()
        after = told(crawling, index)
    index.close()
    assert "`Allow: /outbox`" in failed(before).mend
    assert listings_of(before) is StepState.NOT_NEEDED
    assert (looked.first_failed, listings_of(looked)) == (None, StepState.WAITING)
    assert (due.first_failed, due.listings) == (None, 0)
    assert (after.first_failed, after.listings) == (None, 3)


def listings_of(diagnosis: Diagnosis) -> StepState:
    return next(one.state for one in diagnosis.steps if one.name is StepName.LISTINGS)


def test_a_link_of_an_invitation_fills_in_the_form_and_asks_nobody(
    service: Served, hub: HubServer
) -> None:
    query = urlencode({"address": hub.actor_uri, "invitation": 'a"code'})
    outline = Outline(service.client.get(f"/join?{query}", headers=BROWSER).text)
    filled = {one["name"]: one.get("value") for one in outline.all("input")}
    assert filled == {"address": hub.actor_uri, "invitation": 'a"code'}
    assert hub.asked == []
    long = service.client.get("/join?" + urlencode({"address": "x" * 9000}), headers=BROWSER)
    assert "xxx" not in long.text


def test_an_invitation_that_cannot_stand_in_for_a_no_is_spoken_of(
    service: Served, hub: HubServer
) -> None:
    hub.publish_actor(indexable=False)
    page = paste(service, hub.actor_uri, "of-another-hub").text
    assert "says false now; the invitation was not used" in page


def test_a_hub_that_the_operator_left_comes_back_by_the_operator_alone(
    service: Served, hub: HubServer
) -> None:
    assert paste(service, hub.actor_uri).status_code == 303
    work(service)
    assert len(listed(service)) == 3
    with transaction(service.services.engine) as session:
        relays.leave(session, service.services.settings, hub.actor_uri)
    service.client.post("/hubs/barcelona/check")
    assert "who no longer reads this hub" in paste(service, hub.actor_uri).text
    registered = service.call(hub, "POST", "/hubs", hub.registration())
    assert registered.status_code in {200, 201}, registered.text
    work(service)
    assert listed(service) == []
    health = service.get("/hubs/barcelona/health").json()
    assert (
        step(health, "consent")["seen"] == "The operator of this service no longer reads this hub."
    )
    assert health["mend"].startswith("Write to the operator")

    assert joined_by_operator(service, hub).to_mend is None
    work(service)
    assert len(listed(service)) == 3


def test_the_link_to_a_groups_listings_shows_all_of_them(service: Served, hub: HubServer) -> None:
    own = [hub.proposal(n, attributedTo=hub.actor_uri) for n in range(1, 6)]
    hub.publish_outbox([hub.activity("Create", one) for one in own])
    assert paste(service, hub.actor_uri).status_code == 303
    work(service)
    page = service.client.get("/hubs/barcelona/health", headers=BROWSER).text
    assert len(titles(service.client.get(address(page, "See them")).text)) == 5


def test_steps_are_folded_until_something_fails(service: Served, hub: HubServer) -> None:
    paste(service, hub.actor_uri)
    work(service)
    page = service.client.get("/hubs/barcelona/health", headers=BROWSER).text
    assert Outline(page).all("details") == [{}]
    hub.is_down = True
    page = service.client.post("/hubs/barcelona/check", headers=BROWSER).text
    assert Outline(page).all("details") == [{"open": None}]
    assert address(page, "what to send them") == "/join#help"
    assert 'id="help"' in service.client.get("/join").text


def test_a_website_alone_is_led_to_the_other_ways(service: Served, hub: HubServer) -> None:
    for path in ("/", "/.well-known/nodeinfo"):
        hub.put(path, b"<h1>Welcome</h1>")
        hub.headers[path] = {"Content-Type": "text/html"}
    page = paste(service, hub.base).text
    assert "does not speak ActivityPub: a website alone never does" in page
    assert 'id="ways"' in page


def test_a_pushed_listing_says_how_its_hub_takes_it_away(pushing: Pushing) -> None:
    listing_id = pushing.service.get(_listing(pushing)).json()["id"]
    why = pushing.service.get(f"/listings/{listing_id}").json()["why"]
    assert why["take_away"].startswith("Delete it in its group, whose hub then deletes it here.")
    page = pushing.service.client.get(f"/l/{listing_id}").text
    assert "Delete it in its group" in page
    assert "searchableBy" not in page + why["take_away"]


def test_the_example_of_what_is_delivered_is_a_listing(service: Served) -> None:
    content = service.get("/openapi.json").json()["paths"]["/inbox"]["post"]["requestBody"]
    example = content["content"]["application/activity+json"]["example"]
    (found,) = read(example)
    assert (found.draft.title, found.draft.type) == ("Bicycle repair", "offer")
    assert found.to


def _listing(pushing: Pushing) -> str:
    assert pushing.put().status_code == 201
    return pushing.service.get(pushing.path("7")).headers["location"]


def test_a_listing_without_an_address_of_its_own_leads_to_its_page(pushing: Pushing) -> None:
    api = _listing(pushing)
    led = pushing.service.client.get(pushing.path("7"), headers=BROWSER)
    assert (led.status_code, led.headers["location"]) == (303, api.replace("/listings/", "/l/"))
    page = pushing.service.client.get(led.headers["location"]).text
    assert "Go to where it was published" not in page
    assert "Answer it from your own" not in page
    uri = f"{pushing.hub.base}/offers/8"
    pushing.put("8", uri=uri)
    where = pushing.service.client.get(pushing.path("8"), headers=BROWSER).headers["location"]
    assert address(pushing.service.client.get(where).text, "Go to where it was published") == uri


def test_a_hub_that_pushed_that_it_may_not_be_found_is_told_in_its_own_words(
    pushing: Pushing,
) -> None:
    pushing.put(searchable=False)
    health = pushing.service.get("/hubs/barcelona/health").json()
    counts = step(health, "authors")["counts"]
    assert [one["reason"] for one in counts] == ["their hub said `searchable: false`"]
    assert "`searchable` true" in counts[0]["mend"]
    assert "searchableBy" not in json.dumps(health)
