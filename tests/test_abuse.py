"""What a hostile hub or stranger tries, and that it has no effect."""

import secrets
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json
from served import Served, served
from sqlalchemy import Engine, func, select

from clearing import rounds
from clearing.transfers import Transfer
from commons.database import reading, transaction
from commons.errors import NotFoundError
from commons.groups import HubKey
from commons.settings import Settings
from commons.signatures import encode_multikey, generate_ed25519
from crawler.intake import prepare
from crawler.peers import Peer
from crawler.registration import register
from marketplace.drafts import CheckedDraft

TRANSFER = {"payer": "evil/eve", "payee": "honest/ines", "amount": "1.00"}


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    with served(settings, engine) as service:
        yield service


@pytest.fixture
def honest() -> Iterator[HubServer]:
    with HubServer("honest").serving() as hub:
        yield hub


@pytest.fixture
def evil() -> Iterator[HubServer]:
    with HubServer("evil").serving() as hub:
        yield hub


def long_uri(hub: HubServer) -> str:
    """An address of few characters and many bytes, which do not compress."""
    letters = "".join(chr(0x4E00 + secrets.randbelow(0x5000)) for _ in range(1_900))
    return f"{hub.base}/{letters}"


def crawl_again(crawling: Crawling, hub: HubServer, *items: object) -> None:
    hub.publish_outbox(list(items))
    crawling.make_due(Peer)
    crawling.work()


def test_an_outbox_deletes_nothing_of_another_hub(
    crawling: Crawling, honest: HubServer, evil: HubServer
) -> None:
    listing = honest.proposal(1)
    honest.publish_outbox([honest.activity("Create", listing)])
    crawling.follow(honest)
    crawling.follow(evil)
    spoof: Json = {"type": "Delete", "actor": listing["attributedTo"], "object": listing["id"]}
    announced = evil.activity("Announce", spoof)

    crawl_again(crawling, evil, {**spoof, "id": f"{evil.base}/spoof"}, spoof, announced)

    assert crawling.titles() == [listing["name"]]
    assert set(crawling.put_aside()) == {listing["id"]}


def test_an_outbox_deletes_what_is_its_own(crawling: Crawling, honest: HubServer) -> None:
    listing = honest.proposal(1)
    honest.publish_outbox([honest.activity("Create", listing)])
    crawling.follow(honest)
    assert crawling.titles() == [listing["name"]]

    crawl_again(crawling, honest, honest.delete(listing, hours=1))

    assert crawling.titles() == []


def test_an_address_of_too_many_bytes_stops_nothing(crawling: Crawling, evil: HubServer) -> None:
    poison = {**evil.proposal(1), "id": long_uri(evil)}
    good = evil.proposal(2)
    evil.publish_outbox([evil.activity("Create", poison), evil.activity("Create", good)])

    crawling.follow(evil)

    assert crawling.titles() == [good["name"]]
    assert crawling.peer(evil).last_error is None


def test_what_a_hub_sends_is_sanitised_before_anything_is_locked(
    crawling: Crawling, evil: HubServer
) -> None:
    slow = evil.proposal(1, content="<p>word</p>" * 5_000)

    arrived = crawling.run(
        lambda door: prepare(crawling.engine, door, slow, evil.actor_uri, {slow["attributedTo"]})
    )

    assert [type(arrival.found.draft) for arrival in arrived if arrival.found] == [CheckedDraft]


@pytest.mark.parametrize("deep", ["<div>" * 13_000, "<ul><li>" * 8_000, "<div></b>" * 7_000])
def test_tags_nested_without_end_are_put_aside_and_the_rest_goes_on(
    crawling: Crawling, evil: HubServer, deep: str
) -> None:
    bad, good = evil.proposal(1, content=deep), evil.proposal(2)
    evil.publish_outbox([evil.activity("Create", bad), evil.activity("Create", good)])

    crawling.follow(evil)

    assert crawling.titles() == [good["name"]]
    assert "100 deep" in crawling.put_aside()[bad["id"]]


def test_nobody_registers_the_address_of_another_hubs_currency(
    service: Served, honest: HubServer, evil: HubServer
) -> None:
    wanted = evil.registration()
    wanted["currency"]["uri"] = honest.registration()["currency"]["uri"]
    wanted["currency"]["kind"] = "local"

    answer = service.call(evil, "POST", "/hubs", wanted)

    assert (answer.status_code, answer.json()["field"]) == (422, "currency.uri")
    assert service.register(honest).status_code == 201


def test_another_rate_is_taken_until_one_is_agreed(service: Served, honest: HubServer) -> None:
    service.register(honest)
    wanted = honest.registration()
    wanted["currency"]["rate"] = "2/7"
    assert service.call(honest, "POST", "/hubs", wanted).status_code == 200
    service.admit(honest.name)
    assert service.call(honest, "POST", "/hubs", wanted).status_code == 200

    wanted["currency"]["rate"] = "99/1"
    answer = service.call(honest, "POST", "/hubs", wanted)

    assert (answer.status_code, "2/7" in answer.json()["detail"]) == (409, True)


def test_addresses_of_too_many_bytes_are_refused(service: Served, evil: HubServer) -> None:
    wanted = evil.registration()
    wanted["currency"]["uri"] = long_uri(evil)
    assert service.call(evil, "POST", "/hubs", wanted).status_code == 422

    service.register(evil)
    service.admit(evil.name)
    activity = evil.activity("Create", evil.proposal(1), id=long_uri(evil))
    assert service.push(evil, activity).status_code == 400


def test_a_round_before_anybody_is_admitted_is_refused(engine: Engine) -> None:
    with transaction(engine) as session, pytest.raises(NotFoundError):
        rounds.propose(session)


@pytest.mark.parametrize("path", ["/listings/%00", "/l/%00", "/groups/a%00", "/hubs/%00"])
def test_nul_in_an_address_is_malformed(service: Served, path: str) -> None:
    assert service.get(path).status_code == 400


def test_a_repetition_with_a_time_outside_the_calendar_is_a_bad_request(
    service: Served, honest: HubServer, evil: HubServer
) -> None:
    for hub in (honest, evil):
        service.register(hub)
        service.admit(hub.name)
    path = f"/transfers/{uuid4()}"
    assert service.call(evil, "PUT", path, TRANSFER).status_code == 201

    for moment in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        repeated = service.call(evil, "PUT", path, {**TRANSFER, "expires_at": moment})
        assert repeated.status_code == 422
        assert repeated.json()["field"] == "expires_at"
    with reading(service.services.engine) as session:
        assert session.scalar(select(func.count()).select_from(Transfer)) == 1


def test_a_group_cannot_take_the_key_id_of_another_on_its_server(
    crawling: Crawling, honest: HubServer
) -> None:
    neighbour = f"{honest.base}/neighbour"
    key = generate_ed25519()
    described = [
        {
            "id": key_id,
            "type": "Multikey",
            "controller": neighbour,
            "publicKeyMultibase": encode_multikey(key.public_key()),
        }
        for key_id in (f"{neighbour}#key", honest.key_id)
    ]
    about = {"type": "Group", "name": "Neighbour", "inbox": f"{honest.base}/inbox"}
    honest.put("/neighbour", {"id": neighbour, **about, "assertionMethod": described})
    body = honest.registration(actor=neighbour, group="neighbour")
    message = honest.signed(
        crawling.settings, body, path="/hubs", key=key, key_id=f"{neighbour}#key"
    )

    crawling.run(lambda door: register(crawling.engine, door, message, body))
    crawling.register(honest)

    with reading(crawling.engine) as session:
        owners = dict(session.execute(select(HubKey.key_id, HubKey.group_id)).all())
    assert owners == {f"{neighbour}#key": "neighbour", honest.key_id: "honest"}


MARKUP = """"><script>alert(1)</script><img src=x onerror=alert(2)>"""


def test_what_a_hub_writes_is_never_markup_of_our_page(service: Served, evil: HubServer) -> None:
    evil.publish_actor(name=MARKUP, summary=MARKUP)
    service.register(evil)
    service.admit(evil.name)
    place = {"type": "Place", "name": MARKUP, "latitude": 41.4, "longitude": 2.1}
    document = evil.proposal(
        1,
        name=f"spanner {MARKUP}",
        content='<a href="javascript:alert(3)" onclick="alert(4)">x</a>&lt;script&gt; spanner',
        url=f"https://evil.example/{MARKUP}",
        location=place,
        to=[PUBLIC],
    )
    for _ in range(3):
        service.work()
    assert service.push(evil, evil.activity("Create", document)).status_code == 202
    for _ in range(3):
        service.work()

    hits = service.get("/listings", q="spanner").json()["hits"]
    pages = [
        service.get("/", q="spanner"),
        service.get("/", q=MARKUP),
        service.get(f"/l/{hits[0]['id']}"),
        service.get("/about/groups"),
    ]

    for page in pages:
        assert "<script" not in page.text
        assert "<img" not in page.text
        assert 'href="javascript:' not in page.text
        assert 'onclick="' not in page.text
        assert "script-src" not in page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in hits[0]["excerpt"]
