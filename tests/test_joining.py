"""Any hub joins by any address of it: it is found, its word is heeded, and it begins at once."""

from collections.abc import Iterator

import pytest
from hub_server import Crawling, HubServer
from other_software import Site, count, join, peer_of
from sqlalchemy import Engine, select, update

from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.groups import Group, Hub, HubKey, HubState
from commons.settings import Settings
from crawler import blocks, joining
from crawler.finding import FETCHES_MOST, Sought, read_address
from crawler.peers import Peer, PeerKind, PeerState, revoke


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().serving() as serving:
        yield serving


# An operator pastes whatever address there is


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://hub.example", Sought("https://hub.example")),
        (" https://hub.example/ \n", Sought("https://hub.example")),
        ("http://hub.example", Sought("https://hub.example")),
        ("hub.example", Sought("https://hub.example")),
        ("Hub.Example/", Sought("https://hub.example")),
        ("hub.example/group", Sought("https://hub.example", url="https://hub.example/group")),
        ("@group@hub.example", Sought("https://hub.example", account="group@hub.example")),
        ("group@hub.example", Sought("https://hub.example", account="group@hub.example")),
        ("acct:group@hub.example", Sought("https://hub.example", account="group@hub.example")),
        (
            "https://social.example/@group@hub.example",
            Sought("https://hub.example", account="group@hub.example"),
        ),
        (
            "https://hub.example/@group?tab=1#top",
            Sought("https://hub.example", url="https://hub.example/@group?tab=1"),
        ),
    ],
)
def test_an_address_is_read_in_every_form(written: str, read: Sought) -> None:
    assert read_address(written) == read


@pytest.mark.parametrize(
    "written",
    ["", "@", "group@", "@hub.example@", "https://", "https://user:pw@hub.example/", "ftp://a/b",
     "javascript:alert(1)", "https://[::1", "a" * 3000],
)  # fmt: skip
def test_what_is_no_address_is_refused_by_its_field(written: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_address(written)

    assert refused.value.field == "address"


FORMS = (
    "server", "host", "account", "acct", "actor", "profile", "page", "redirect", "outbox",
    "collection", "listing",
)  # fmt: skip


def forms(site: Site) -> dict[str, str]:
    """Make a group that says yes, with all that leads to it, and return its addresses by form."""
    actor = site.actor("/group", "Group", "barcelona", indexable=True)
    site.webfinger(f"acct:barcelona@{site.host}", actor)
    site.webfinger(f"{site.base}/", actor, "https://www.w3.org/ns/activitystreams#Service")
    site.webfinger(f"{site.base}/page", actor)
    site.put("/page", b"<!doctype html>", "text/html")
    site.put("/@barcelona", {"id": actor, "type": "Group"})
    site.redirect("/short", "/group")
    site.put("/items", {"id": f"{site.base}/items", "type": "Collection", "attributedTo": actor})
    listing = {"id": f"{site.base}/items/1", "type": "Proposal", "name": "Bread"}
    member = site.actor("/members/ines", "Person", "ines")
    site.put("/items/1", {**listing, "attributedTo": member, "audience": [actor]})
    return {
        "server": site.base,
        "host": site.host,
        "account": f"@barcelona@{site.host}",
        "acct": f"acct:barcelona@{site.host}",
        "actor": actor,
        "profile": f"{site.base}/@barcelona",
        "page": f"{site.base}/page",
        "redirect": f"{site.base}/short",
        "outbox": f"{site.base}/group/outbox",
        "collection": f"{site.base}/items",
        "listing": f"{site.base}/items/1",
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_address_leads_to_the_group(
    sqlite_engine: Engine, settings: Settings, site: Site, form: str
) -> None:
    address = forms(site)[form]
    if form == "outbox":
        outbox = {"type": "OrderedCollection", "attributedTo": f"{site.base}/group"}
        site.put("/group/outbox", {"id": f"{site.base}/group/outbox", **outbox})
    with Crawling(sqlite_engine, settings) as crawling:
        joined = join(crawling, address)

    assert joined.to_mend is None, joined.tried
    assert (joined.group_id, joined.kind) == ("barcelona", PeerKind.ACTIVITYPUB)
    assert joined.state is PeerState.CONSENTED
    assert len(site.asked) <= FETCHES_MOST


def test_joining_makes_a_group_without_currency_its_hub_keys_and_evidence(
    crawling: Crawling, site: Site
) -> None:
    place = {"type": "Place", "name": "Gràcia", "latitude": 41.4, "longitude": 2.15}
    uri = site.actor("/group", "Group", "barcelona", indexable=True, location=place)

    joined = join(crawling, uri)

    with reading(crawling.engine) as session:
        group = session.get_one(Group, "barcelona")
        hub = session.get_one(Hub, "barcelona")
        peer = session.scalars(select(Peer)).one()
        assert session.get(HubKey, f"{uri}#main-key") is not None
    assert (group.uri, group.currency_id, group.place_name, group.lat) == (
        uri,
        None,
        "Gràcia",
        41.403638,  # of its cell, as listings' places are
    )
    assert (hub.state, hub.rate_wanted, hub.inbox_uri) == (
        HubState.REGISTERED,
        None,
        f"{uri}/inbox",
    )
    assert (peer.id, peer.state, peer.due_at is None) == (
        joined.peer_id,
        PeerState.CONSENTED,
        False,
    )
    assert peer.consent_evidence is not None
    assert len(peer.consent_evidence["document_sha256"]) == 64
    told = {name: peer.consent_evidence[name] for name in ("kind", "value", "actor")}
    assert told == {"kind": "indexable", "value": True, "actor": uri}


def test_joining_again_changes_nothing_and_has_it_looked_at(crawling: Crawling, site: Site) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)
    join(crawling, uri)
    before = count(crawling.engine, Group, Hub, HubKey, Peer)
    with transaction(crawling.engine) as session:
        session.execute(update(Peer).values(due_at=None))

    again = join(crawling, f"@{uri.partition('://')[2]}".replace("/group", "")[1:] + "/group")

    assert (again.to_mend, again.group_id) == (None, "barcelona")
    assert count(crawling.engine, Group, Hub, HubKey, Peer) == before
    assert peer_of(crawling.engine, uri).due_at is not None


# Consent


def test_without_a_word_a_hub_is_only_noted_and_what_to_mend_is_named(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona")

    joined = join(crawling, uri)

    assert joined.to_mend is not None
    assert f"set `indexable` to true on {uri}" in joined.to_mend
    assert "invitation" in joined.to_mend
    assert (joined.state, joined.group_id) == (PeerState.DISCOVERED, None)
    assert count(crawling.engine, Group, Hub, HubKey) == 0
    assert peer_of(crawling.engine, uri).found_by == joining.BY_ADDRESS


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"indexable": False}, "indexable"),
        ({"indexable": True, "suspended": True}, "suspended"),
        ({"indexable": True, "xRobotsTag": "noindex"}, "xRobotsTag"),
        ({"indexable": True, "searchableBy": []}, "searchableBy"),
        ({"indexable": True, "inbox": "https://elsewhere.example/inbox"}, "inbox"),
        ({"indexable": True, "location": {"latitude": 91, "longitude": 2}}, "location"),
    ],
)
def test_any_no_wins_and_is_named(
    crawling: Crawling, site: Site, said: dict[str, object], named: str
) -> None:
    uri = site.actor("/group", "Group", "barcelona", **said)

    joined = join(crawling, uri)

    assert joined.to_mend is not None
    assert named in joined.to_mend
    assert count(crawling.engine, Group, Hub, HubKey) == 0
    crawling.work()
    assert site.taken == []


def test_a_no_that_comes_with_joining_again_takes_the_listings_away(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)
    join(crawling, uri)
    crawling.work()
    site.actor("/group", "Group", "barcelona", indexable=False)

    joined = join(crawling, uri)
    crawling.work()

    assert joined.to_mend is not None
    peer = peer_of(crawling.engine, uri)
    assert (peer.state, peer.consented_at) == (PeerState.DISCOVERED, None)


def test_a_hub_that_blocked_us_is_not_brought_back_by_its_standing_indexable(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)
    peer_id = join(crawling, uri).peer_id
    with transaction(crawling.engine) as session:
        revoke(session, session.get_one(Peer, peer_id), PeerState.BLOCKED)

    joined = join(crawling, uri)

    assert joined.to_mend is not None
    assert "unblock" in joined.to_mend
    assert peer_of(crawling.engine, uri).state is PeerState.BLOCKED


def test_what_the_operator_suspended_or_blocked_does_not_join(
    crawling: Crawling, site: Site
) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)
    join(crawling, uri)
    with transaction(crawling.engine) as session:
        session.execute(update(Hub).values(state=HubState.SUSPENDED))
    assert "suspended" in (join(crawling, uri).to_mend or "")

    blocks.add(crawling.engine, "127.0.0.1", "spam", by="operator")
    assert "blocked" in (join(crawling, uri).to_mend or "")
    with Site().serving() as other:
        join(crawling, other.actor("/group", "Group", "leeds"))
        assert count(crawling.engine, Peer) == 1


def test_a_persons_own_yes_speaks_for_that_person_alone(crawling: Crawling, site: Site) -> None:
    uri = site.actor("/ines", "Person", "ines", indexable=True, location={"latitude": 41.40338,
                     "longitude": 2.17403})  # fmt: skip

    assert join(crawling, uri).to_mend is None

    with reading(crawling.engine) as session:
        peer = session.scalars(select(Peer)).one()
        group = session.get_one(Group, "ines")
    assert peer.consent_evidence is not None
    assert peer.consent_evidence["covers"] == "its own"
    assert (group.lat, group.lon) == (None, None)  # where a person lives is nobody's business


def test_of_a_persons_server_only_its_own_listings_are_taken(crawling: Crawling) -> None:
    with HubServer("ines").serving() as hub:
        hub.publish_actor(type="Person", indexable=True)
        own = hub.proposal(1, audience=None, attributedTo=hub.actor_uri, name="My bread")
        others = hub.serve(hub.proposal(2, audience=None, member="pau"))
        hub.publish_outbox([hub.activity("Create", own), hub.activity("Announce", others["id"],
                            by=hub.actor_uri)])  # fmt: skip
        assert join(crawling, hub.actor_uri).to_mend is None
        crawling.work()

    assert crawling.titles() == ["My bread"]


# Ids of groups


def test_no_group_takes_anothers_id(crawling: Crawling) -> None:
    ids = []
    for _ in range(3):
        with Site().serving() as site:
            uri = site.actor("/group", "Group", "Barcelona", indexable=True)
            ids.append(join(crawling, uri).group_id)

    assert ids == ["barcelona", "barcelona-127-0-0-1", "barcelona-127-0-0-1-2"]


@pytest.mark.parametrize("name", ["", "日本", "-", "x" * 300, "../../etc", "relay"])
def test_an_odd_name_still_gives_a_good_id(crawling: Crawling, site: Site, name: str) -> None:
    joined = join(crawling, site.actor("/group", "Group", name, indexable=True))

    assert joined.to_mend is None
    assert joined.group_id in {"127-0-0-1", "x" * 40, "etc"}
