"""Why a listing is here: whose word, what shows it, how it came, and how it goes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json
from served import Served, served
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.settings import Settings
from crawler.peers import Peer, PeerKind
from crawler.why import Why, why
from marketplace.consent import ConsentBasis
from marketplace.drafts import listing_id
from marketplace.listings import Listing

CONTACT = "operator@market.example"


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    told = settings.model_copy(update={"contact": CONTACT})
    with Crawling(engine, told) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


def why_of(crawling: Crawling, uri: str) -> Why:
    with reading(crawling.engine) as session:
        listing = session.scalars(select(Listing).where(Listing.uri == uri)).one()
        return why(session, crawling.settings, listing)


def test_the_hubs_word_is_shown_with_its_date(crawling: Crawling, hub: HubServer) -> None:
    proposal = hub.serve(hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    told = why_of(crawling, proposal["id"])

    assert told.basis is ConsentBasis.HUB
    assert "hub agreed" in told.because
    evidence = told.evidence
    assert (evidence.said_by, evidence.document) == (hub.actor_uri, hub.actor_uri)
    assert (evidence.member, evidence.seen) == ("listings", crawling.peer(hub).consented_at)
    assert told.sources == [proposal["id"]]


@pytest.mark.parametrize(
    ("basis", "of_author", "of_object", "member"),
    [
        (ConsentBasis.OBJECT_SEARCHABLE, {}, {"searchableBy": [PUBLIC]}, "searchableBy"),
        (ConsentBasis.ACTOR_SEARCHABLE, {"searchableBy": [PUBLIC]}, {}, "searchableBy"),
        (ConsentBasis.ACTOR_INDEXABLE, {"indexable": True}, {}, "indexable"),
    ],
)
def test_a_persons_word_is_shown_where_it_stands(  # noqa: PLR0913, PLR0917 (two are fixtures)
    crawling: Crawling,
    hub: HubServer,
    basis: ConsentBasis,
    of_author: Json,
    of_object: Json,
    member: str,
) -> None:
    author = hub.member("ines", **of_author)
    proposal = hub.serve(hub.proposal(1, **of_object))
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    told = why_of(crawling, proposal["id"])

    assert told.basis is basis
    assert (told.evidence.said_by, told.evidence.member) == (author, member)
    assert told.evidence.document == (proposal["id"] if of_object else author)
    with reading(crawling.engine) as session:
        assert timedelta(0) <= now(session) - told.evidence.seen < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("evidence", "member"),
    [
        ({"kind": "registration"}, "listings"),
        ({"kind": "indexable"}, "indexable"),
        ({"kind": "invitation"}, "invitation"),
        ({"kind": "operator", "evidence": "Ada wrote on paper"}, "agreement"),
        ({"kind": "another"}, "consent"),
        (None, "consent"),
    ],
)
def test_no_hub_is_said_to_have_signed_what_it_said_otherwise(
    crawling: Crawling, hub: HubServer, evidence: Json | None, member: str
) -> None:
    proposal = hub.serve(hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(consent_evidence=evidence))
    told = why_of(crawling, proposal["id"]).evidence

    assert told.member == member
    assert ("signed" in told.says) is (member == "listings")
    assert "Ada" not in told.says  # who agreed is between them and the operator


def test_it_is_told_how_a_listing_came(crawling: Crawling, hub: HubServer) -> None:
    pushed, announced, crawled = (hub.serve(hub.proposal(number)) for number in (1, 2, 3))
    crawling.push_and_work(hub, hub.activity("Create", pushed))
    announce = hub.activity("Announce", announced["id"], by=hub.actor_uri)
    crawling.push_and_work(hub, announce)
    hub.publish_outbox([hub.activity("Create", crawled)])
    crawling.make_due(Peer)
    crawling.work()

    by_pushing = why_of(crawling, pushed["id"]).asked_by
    assert (by_pushing.how, by_pushing.by) == ("pushed", f"{hub.base}/members/ines")
    assert by_pushing.at is not None
    by_announcing = why_of(crawling, announced["id"]).asked_by
    assert (by_announcing.how, by_announcing.by) == ("announced", hub.actor_uri)
    by_crawling = why_of(crawling, crawled["id"]).asked_by
    assert (by_crawling.how, by_crawling.by) == ("crawled", f"{hub.base}/outbox")


@pytest.mark.parametrize(
    ("kind", "how", "words"),
    [
        (PeerKind.ACTIVITYPUB, "pushed", ("searchableBy", "X-Robots-Tag", "indexable", "Block")),
        (PeerKind.KOMUNITIN, "read", ("other than public",)),
        (PeerKind.MURMURATIONS, "read", ("profile",)),
        (PeerKind.CES, "read", ("scope",)),
        (PeerKind.TIMEOVERFLOW, "read", ("bank",)),
        (PeerKind.FASP, "read", ("announces",)),
        (PeerKind.PUSH, "sent", ("deletes it here",)),
    ],
)
def test_each_kind_of_source_has_its_ways_to_take_a_listing_away(
    crawling: Crawling, hub: HubServer, kind: PeerKind, how: str, words: tuple[str, ...]
) -> None:
    proposal = hub.serve(hub.proposal(1))
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(kind=kind))

    told = why_of(crawling, proposal["id"])
    assert told.asked_by.how == how
    ways = " ".join(way.do for way in told.take_away)
    assert [word for word in (*words, CONTACT) if word not in ways] == []
    assert ("Register" in ways) is (kind is PeerKind.ACTIVITYPUB)


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    with served(settings, sqlite_engine) as service:
        yield service


def test_anybody_may_ask_why_and_of_what_is_gone_nothing_is_told(service: Served) -> None:
    with HubServer().serving() as hub:
        service.register(hub)
        proposal = hub.serve(hub.proposal(1))
        path = f"/listings/{listing_id(proposal['id'])}/why"
        never = service.get(path)
        service.push(hub, hub.activity("Create", proposal))
        service.work()
        told = service.get(path)
        assert told.status_code == 200, told.text
        assert told.json()["evidence"]["said_by"] == hub.actor_uri
        assert told.json()["since"] == told.json()["confirmed"]
        assert (
            service.client.get(path, headers={"If-None-Match": told.headers["etag"]}).status_code
            == 304
        )

        service.push(hub, hub.delete(proposal, 3))
        service.work()
        gone = service.get(path)
    assert (gone.status_code, gone.json()["detail"]) == (404, never.json()["detail"])
    assert never.status_code == 404
