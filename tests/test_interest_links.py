"""The link by which a member answers a listing from its own hub, for programs and for people."""

import asyncio
from collections.abc import Iterator
from itertools import islice

import pytest
from hub_server import HubServer, Json
from internet import Internet
from served import Served, served
from sqlalchemy import Engine

from commons.errors import LocalPayError
from commons.fetch import Door
from commons.settings import Settings
from crawler.interest.home import AT_ONCE, Homes
from marketplace.drafts import listing_id


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


@pytest.fixture
def authors(service: Served) -> Iterator[HubServer]:
    with HubServer("barcelona").serving() as hub:
        service.register(hub)
        service.push(hub, hub.activity("Create", hub.serve(hub.proposal(1))))
        service.work()
        yield hub


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """The member's hub, which nobody here has heard of."""
    with HubServer("leeds").serving() as hub:
        yield hub


def path_of(authors: HubServer) -> str:
    return f"/listings/{listing_id(f'{authors.base}/proposals/1')}/interest"


def webfinger(hub: HubServer, *links: Json, name: str = "bob") -> str:
    host = hub.base.removeprefix("http://")
    account = f"acct%3A{name}%40{host.replace(':', '%3A')}"
    path = f"/.well-known/webfinger?resource={account}"
    hub.put(path, {"subject": f"acct:{name}@{host}", "links": list(links)})
    hub.headers[path] = {"Content-Type": "application/jrd+json"}
    return f"{name}@{host}"


SUBSCRIBE = "http://ostatus.org/schema/1.0/subscribe"
OBJECT = "https://w3id.org/fep/3b86/Object"


def test_the_link_leads_to_the_listing_at_its_origin(service: Served, authors: HubServer) -> None:
    answer = service.get(path_of(authors))
    uri = f"{authors.base}/proposals/1"
    short = listing_id(uri)
    assert answer.json() == {"listing": short, "url": uri, "object": uri, "home": None}
    assert answer.headers["cache-control"] == "private, no-store"
    assert service.get(f"/listings/{short}").json()["interest"].endswith(path_of(authors))
    assert service.get("/listings/aaaaaaaaaaaaa/interest").status_code == 404


def test_with_the_members_address_the_link_leads_to_its_own_hub(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    encoded = f"{authors.base}/proposals/1".replace(":", "%3A").replace("/", "%2F")
    older = {"rel": SUBSCRIBE, "template": f"{hub.base}/authorize?uri={{uri}}"}
    address = webfinger(hub, older)
    answer = service.get(path_of(authors), hub=f"@{address}")
    assert answer.json()["home"] == f"{hub.base}/authorize?uri={encoded}"
    assert answer.headers["cache-control"] == "private, no-store"

    newer = {"rel": OBJECT, "template": f"{hub.base}/open?id={{object}}&then={{on-success}}"}
    webfinger(hub, older, newer)
    answer = service.get(path_of(authors), hub=address)
    assert answer.json()["home"] == f"{hub.base}/open?id={encoded}&then="


def test_the_page_leads_a_person_to_the_own_hub(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    short = listing_id(f"{authors.base}/proposals/1")
    path = f"/l/{short}/interest"
    assert f'href="{path}"' in service.get(f"/l/{short}").text
    address = webfinger(hub, {"rel": OBJECT, "template": f"{hub.base}/open?id={{object}}"})
    shown = service.get(path, hub=address)
    assert f'href="{hub.base}/open?id=http%3A' in shown.text
    assert shown.headers["cache-control"] == "private, no-store"
    assert f'value="{address}"' not in service.get(path).text

    astray = service.get(path, hub='"><script>alert(1)</script>')
    assert astray.status_code == 422
    assert "<script" not in astray.text
    assert "must be an address" in astray.text
    assert service.get("/l/aaaaaaaaaaaaa/interest").status_code == 404


ASTRAY: list[object] = [
    "javascript:alert({uri})",
    "http://elsewhere.example/?uri={uri}",
    "https://user@elsewhere.example/?uri={uri}",
    "https://elsewhere.example/without",
    "https://{uri}/",
    "{uri}",
    "",
    7,
    None,
]


def test_a_template_that_leads_astray_is_not_passed_on(
    service: Served, authors: HubServer, hub: HubServer
) -> None:
    for template in ASTRAY:
        address = webfinger(hub, {"rel": SUBSCRIBE, "template": template})
        refused = service.get(path_of(authors), hub=address)
        assert (refused.status_code, refused.json()["field"]) == (422, "hub"), template


NO_ADDRESSES = [
    "bob",
    "bob@",
    "@hub.example",
    "bob@hub.example/path",
    "bob@hub.example@evil.example",
    "bob@10.0.0.1",
    "bob@localhost:99999",
    "bob@hub.example?x",
    "b ob@hub.example",
]


def test_what_is_no_address_of_a_member_is_refused(service: Served, authors: HubServer) -> None:
    for address in NO_ADDRESSES:
        refused = service.get(path_of(authors), hub=address)
        assert refused.status_code in {422, 503}, address


@pytest.mark.parametrize("path", ["/listings/{}/interest", "/l/{}/interest"])
def test_nobody_has_us_ask_hubs_without_end(
    service: Served, authors: HubServer, hub: HubServer, path: str
) -> None:
    address = webfinger(hub, {"rel": SUBSCRIBE, "template": f"{hub.base}/open?uri={{uri}}"})
    path = path.format(listing_id(f"{authors.base}/proposals/1"))
    answers = [service.get(path, hub=address).status_code for _ in range(31)]

    assert answers == [200] * 30 + [429]
    assert len(hub.asked) == 30
    assert service.get(path).status_code == 200  # which asks nobody


def test_one_hub_is_asked_once_at_a_time_and_eight_in_all() -> None:
    asyncio.run(_ask_many())


async def _ask_many() -> None:
    internet = Internet(hold=asyncio.Event())
    settings = Settings(base_url="https://localpay.example")
    door = Door(settings, network=internet, resolve=internet.resolve)
    homes = Homes()

    async def ask(host: str) -> str:
        try:
            return await homes.page(door, f"bob@{host}", "https://market.example/1")
        except LocalPayError as error:
            return error.detail

    hosts = [f"hub{number}.example" for number in range(AT_ONCE + 2)]
    asking = [asyncio.create_task(ask(host)) for host in [hosts[0], *hosts]]
    refused = [await told for told in islice(asyncio.as_completed(asking), 3)]
    assert refused == ["too many hubs are being asked"] * 3
    assert internet.hold is not None
    internet.hold.set()
    await asyncio.gather(*asking)
    assert len({request.target_uri for request in internet.requests}) == AT_ONCE
    assert len(internet.requests) == AT_ONCE

    assert "too many" not in await ask(hosts[-1])  # there is room again
    await door.aclose()
