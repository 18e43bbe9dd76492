"""An operator pastes a hub's address and sees its listings in the search, or what to mend."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx2
import pytest
from hub_server import PUBLIC, HubServer
from pages_world import HOSTILE, Outline, address, titles
from served import Served, served
from sqlalchemy import Engine, func, select

from api.allowances import Allowance
from commons.database import reading, transaction
from commons.groups import Group, Hub, HubState
from commons.settings import Settings
from crawler import blocks
from crawler.invitations import invite
from crawler.peers import Peer

NO_ADDRESS = "ftp://hub.example"
BROWSER = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        hub.publish_actor(indexable=True)
        publish(hub)
        yield hub


def publish(hub: HubServer, **more: Any) -> None:  # noqa: ANN401 (members of a proposal)
    hub.publish_outbox([hub.activity("Create", hub.proposal(n, **more)) for n in (1, 2, 3)])


def paste(
    service: Served, written: str, *, invitation: str = "", forwarded: str = ""
) -> httpx2.Response:
    form = {"address": written, "invitation": invitation}
    headers = {**BROWSER, **({"X-Forwarded-For": forwarded} if forwarded else {})}
    return service.client.post("/join", data=form, headers=headers)


def joined(service: Served, hub: HubServer) -> str:
    """Paste a hub's address, have the worker do its rounds, and return the page it leads to."""
    answer = paste(service, hub.actor_uri)
    assert answer.status_code == 303, answer.text
    for _ in range(3):
        service.work()
    return health_page(service, answer.headers["location"])


def health_page(service: Served, path: str) -> str:
    answer = service.client.get(path, headers=BROWSER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def words(page: str) -> str:
    """Return what a person reads on a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def to_mend(page: str) -> str:
    """Return what stands on a page under the one thing to mend."""
    found = re.search(r'id="mend">[^<]*</h2>(.*?)</section>', page, re.DOTALL)
    assert found, words(page)
    return words(found.group(1))


def count(service: Served, table: type) -> int:
    with reading(service.services.engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_pasted_address_of_a_hub_leads_to_its_listings(service: Served, hub: HubServer) -> None:
    page = joined(service, hub)
    hits = service.get("/listings", group="barcelona").json()["hits"]
    assert sorted(hit["title"] for hit in hits) == [f"Bicycle repair {n}" for n in (1, 2, 3)]
    assert "3 listings are in the search." in words(page)
    found = service.client.get(address(page, "See them"))
    assert len(titles(found.text)) == 3
    assert "The one thing to mend" not in page


def test_until_it_is_read_the_page_waits_and_looks_again(service: Served, hub: HubServer) -> None:
    where = paste(service, hub.actor_uri).headers["location"]
    page = health_page(service, where)
    assert "Under way." in words(page)
    refresh = next(one for one in Outline(page).all("meta") if one.get("http-equiv"))
    assert refresh["content"] == "5; url=/hubs/barcelona/health?round=1"
    last = health_page(service, f"{where}?round=36")
    assert "http-equiv" not in last
    assert "http-equiv" not in health_page(service, f"{where}?round=9999")


def test_an_account_is_taken_for_an_address(service: Served, hub: HubServer) -> None:
    host = hub.base.removeprefix("http://")
    link = {"rel": "self", "type": "application/activity+json", "href": hub.actor_uri}
    path = f"/.well-known/webfinger?resource=acct%3Agroup%40{host.replace(':', '%3A')}"
    hub.put(path, {"subject": f"acct:group@{host}", "links": [link]})
    hub.headers[path] = {"Content-Type": "application/jrd+json"}
    assert paste(service, f"@group@{host}").status_code == 303


def test_what_is_missing_where_nobody_agreed_is_named(service: Served, hub: HubServer) -> None:
    hub.publish_actor()
    answer = paste(service, hub.actor_uri)
    assert answer.status_code == 200
    assert f"Set indexable to true on {hub.actor_uri}" in to_mend(answer.text)
    assert (count(service, Hub), count(service, Group)) == (0, 0)
    service.work()
    assert not [path for path in hub.asked if path.startswith("/outbox")]


def test_an_actor_that_says_no_is_not_kept(service: Served, hub: HubServer) -> None:
    hub.publish_actor(indexable=False)
    answer = paste(service, hub.actor_uri)
    assert "says false now" in to_mend(answer.text)
    assert count(service, Peer) == 0


def test_an_invitation_stands_in_for_the_actors_word(service: Served, hub: HubServer) -> None:
    hub.publish_actor()
    with transaction(service.services.engine) as session:
        code = invite(session, hub.actor_uri, "Its operator agreed by letter")
    answer = paste(service, hub.actor_uri, invitation=code)
    assert answer.status_code == 303
    for _ in range(3):
        service.work()
    assert "3 listings are in the search." in words(
        health_page(service, answer.headers["location"])
    )


def test_a_wrong_invitation_is_refused_and_nothing_is_kept(service: Served, hub: HubServer) -> None:
    hub.publish_actor()
    answer = paste(service, hub.actor_uri, invitation="guessed")
    assert answer.status_code == 403
    assert "The invitation is not valid for this address" in to_mend(answer.text)
    assert count(service, Hub) == 0


def test_a_robots_txt_that_refuses_is_named_and_obeyed(service: Served, hub: HubServer) -> None:
    hub.put("/robots.txt", b"User-agent: LocalPay\nDisallow: /outbox\n")
    page = joined(service, hub)
    assert "Its robots.txt does not let LocalPay read it." in to_mend(page)
    assert "User-agent: LocalPay" in to_mend(page)
    assert "/outbox" not in hub.asked


def test_an_outbox_that_is_not_there_is_named(service: Served, hub: HubServer) -> None:
    hub.gone("/outbox", 404)
    page = joined(service, hub)
    assert "Where the listings are: It answers 404" in to_mend(page)


def test_listings_that_are_not_addressed_to_the_public_are_counted(
    service: Served, hub: HubServer
) -> None:
    publish(hub, to=[f"{hub.base}/followers"], cc=[PUBLIC])
    page = joined(service, hub)
    assert "into to of each listing" in to_mend(page)
    assert re.search(r"3 . it is not addressed to the public", words(page))
    assert service.get("/listings", group="barcelona").json()["hits"] == []


def test_listings_that_break_a_rule_are_counted_with_the_rule(
    service: Served, hub: HubServer
) -> None:
    publish(hub, name=None)
    page = joined(service, hub)
    assert "title must not be empty." in to_mend(page)
    assert f"{hub.base}/proposals/1" not in page


def test_a_hub_without_offers_is_told_so(service: Served, hub: HubServer) -> None:
    hub.publish_outbox([])
    assert "No offer and no want was found there." in to_mend(joined(service, hub))


def test_a_hub_without_a_key_is_read_all_the_same(service: Served, hub: HubServer) -> None:
    hub.publish_actor(indexable=True, assertionMethod=[])
    page = joined(service, hub)
    assert "3 listings are in the search." in words(page)
    assert "names no key that is taken" in words(page)
    assert "The one thing to mend" not in page


def test_a_host_that_does_not_answer_is_named(service: Served) -> None:
    with HubServer().serving() as hub:
        gone = hub.actor_uri
    answer = paste(service, gone)
    assert answer.status_code == 200
    assert to_mend(answer.text).startswith("DNS and connection: Nothing answers at its address.")
    assert count(service, Peer) == 0


def test_a_page_for_people_is_told_from_an_actor(service: Served, hub: HubServer) -> None:
    hub.put("/about", b"<h1>Welcome</h1>")
    hub.headers["/about"] = {"Content-Type": "text/html; charset=utf-8"}
    told = to_mend(paste(service, f"{hub.base}/about").text)
    assert told.startswith("It answers with a page for people")
    assert "Give the address of the group's own account" in told
    assert count(service, Peer) == 0


def test_something_that_is_no_actor_is_named(service: Served, hub: HubServer) -> None:
    hub.put("/thing", {"id": f"{hub.base}/thing", "type": "Place", "name": "Here"})
    answer = paste(service, f"{hub.base}/thing")
    assert answer.status_code == 200
    assert "group's own account" in to_mend(answer.text)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("https://10.1.2.3/group", "The name leads to an address that is not public."),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://[fd00::1]/group", "not public"),
        ("https://1.2.772/group", "no address that can be asked"),
    ],
)
def test_an_address_that_the_door_refuses_is_told(
    service: Served, written: str, sentence: str
) -> None:
    answer = paste(service, written)
    assert answer.status_code == 200
    assert sentence in to_mend(answer.text)
    assert count(service, Peer) == 0


@pytest.mark.parametrize(
    "written", ["", "   ", "ftp://hub.example", "https://me@hub.example/", "a/" * 1500]
)
def test_what_is_no_address_is_told_at_its_field(service: Served, written: str) -> None:
    answer = paste(service, written)
    assert answer.status_code == 422
    field = next(one for one in Outline(answer.text).all("input") if one["name"] == "address")
    assert field["aria-invalid"] == "true"
    assert field["aria-describedby"] == "trouble"
    assert count(service, Peer) == 0


def test_a_suspended_hub_is_told_whom_to_ask(service: Served, hub: HubServer) -> None:
    joined(service, hub)
    with transaction(service.services.engine) as session:
        session.get_one(Hub, "barcelona").state = HubState.SUSPENDED
    assert "operator of this service" in to_mend(paste(service, hub.actor_uri).text)
    page = health_page(service, "/hubs/barcelona/health")
    assert "has suspended the hub" in to_mend(page)


def test_a_blocked_domain_is_told_and_not_asked(service: Served, hub: HubServer) -> None:
    blocks.add(service.services.engine, "127.0.0.1", "spam", by="the operator")
    told = to_mend(paste(service, hub.actor_uri).text)
    assert "The operator of this service blocks its domain." in told
    assert hub.asked == []
    assert count(service, Peer) == 0


def test_what_hubs_and_visitors_write_is_escaped(service: Served, hub: HubServer) -> None:
    hub.publish_actor(indexable=True, name=HOSTILE)
    publish(hub, name=None, purpose=HOSTILE)
    pages = [
        joined(service, hub),
        paste(service, HOSTILE).text,
        paste(service, f'{hub.base}/"><script>alert(1)</script>').text,
        paste(service, f"{hub.base}/{HOSTILE}").text,
    ]
    hub.put("/odd", {"id": f"{hub.base}/odd", "type": HOSTILE})
    pages.append(paste(service, f"{hub.base}/odd").text)
    for page in pages:
        outline = Outline(page)
        assert outline.all("script") == []
        assert outline.all("img") == []
        assert not [one for _, one in outline.tags if "onerror" in one]


def test_a_client_may_try_ten_addresses_a_minute(service: Served) -> None:
    tried = [paste(service, NO_ADDRESS).status_code for _ in range(10)]
    assert tried == [422] * 10
    for forged in ("203.0.113.7", "203.0.113.8"):
        answer = paste(service, NO_ADDRESS, forwarded=forged)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["content-type"].startswith("text/html")


def test_no_more_hubs_may_join_in_a_minute_than_the_service_takes(
    service: Served, hub: HubServer
) -> None:
    service.services.allowances.joins = Allowance(1, 60.0)
    assert paste(service, NO_ADDRESS).status_code == 422
    assert paste(service, hub.actor_uri).status_code == 429
    assert hub.asked == []


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"address=" + b"x" * 9_000, "application/x-www-form-urlencoded", 413),
        (b'{"address": "%s"}', "application/json", 415),
        (b"address=%ff%fe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(50)), "application/x-www-form-urlencoded", 400),
    ],
)
def test_a_form_that_is_none_asks_nobody(
    service: Served, content: bytes, media_type: str, status: int
) -> None:
    headers = {"Content-Type": media_type}
    answer = service.client.post("/join", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert count(service, Peer) == 0


def test_the_form_has_labels_and_needs_no_script(service: Served) -> None:
    answer = service.client.get("/join", headers=BROWSER)
    outline = Outline(answer.text)
    labelled = {one["for"] for one in outline.all("label")}
    assert {one["id"] for one in outline.all("input")} == labelled == {"address", "invitation"}
    assert outline.all("script") == []
    assert len(outline.all("h1")) == 1
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]
    assert not [one for _, one in outline.tags if "style" in one]


def test_the_search_page_leads_here(service: Served) -> None:
    page = service.client.get("/").text
    assert address(page, "List your group's offers") == "/join"
