"""Relays are followed in both styles and believed in nothing: what they bring is asked for."""

from collections.abc import Iterator

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json
from other_software import Site, join
from sqlalchemy import Engine, select
from test_commands import good, refused

from api.migrations import upgrade
from commons.database import reading, transaction
from commons.errors import ConflictError, ForbiddenError, NotFoundError
from commons.groups import Group
from commons.settings import Settings
from crawler import relays
from crawler.finding import Finding
from crawler.peers import Peer, PeerKind, PeerState
from crawler.relays import Relay, RelayStyle


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


class RelayServer(HubServer):
    """A relay as those in use are: an Application at `/actor` with one inbox, and no listings."""

    def __init__(self) -> None:
        super().__init__("relay")
        self.publish_actor(type="Application", indexable=None, location=None)

    @property
    def actor_uri(self) -> str:
        return f"{self.base}/actor"

    def put(self, path: str, document: Json | bytes, status: int = 200) -> str:
        return super().put("/actor" if path == "/group" else path, document, status)


@pytest.fixture
def relay() -> Iterator[RelayServer]:
    with RelayServer().serving() as serving:
        assert isinstance(serving, RelayServer)
        yield serving


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        yield serving


def follow(
    crawling: Crawling, relay: HubServer, style: RelayStyle, address: str = ""
) -> tuple[Finding, PeerState | None]:
    return crawling.run(
        lambda door: relays.join_relay(
            crawling.engine, door, crawling.settings, address or relay.actor_uri, style
        )
    )


def followed(crawling: Crawling, relay: HubServer, style: RelayStyle) -> Json:
    """Follow a relay, let it accept, and return the Follow that it took."""
    follow(crawling, relay, style)
    crawling.work()
    taken = relay.taken[-1]
    crawling.push(relay, relay.activity("Accept", {**taken}))
    crawling.work()
    return taken


def state_of(crawling: Crawling) -> PeerState:
    with reading(crawling.engine) as session:
        return session.scalars(select(Peer.state).where(Peer.kind == PeerKind.RELAY)).one()


@pytest.mark.parametrize("style", RelayStyle)
def test_a_relay_is_followed_in_its_style_and_live_once_it_accepts(
    crawling: Crawling, relay: RelayServer, style: RelayStyle
) -> None:
    taken = followed(crawling, relay, style)

    wanted = PUBLIC if style is RelayStyle.MASTODON else relay.actor_uri
    assert (taken["type"], taken["object"]) == ("Follow", wanted)
    assert state_of(crawling) is PeerState.LIVE
    with reading(crawling.engine) as session:
        peer = session.scalars(select(Peer)).one()
        assert session.scalars(select(Group)).all() == []
    assert (peer.group_id, peer.consented_at) == (None, None)


@pytest.mark.parametrize("form", ["actor", "inbox", "server"])
def test_a_relay_is_found_by_its_actor_its_inbox_or_its_server(
    crawling: Crawling, relay: RelayServer, form: str
) -> None:
    path = {"actor": "/actor", "inbox": "/inbox", "server": ""}[form]

    finding, state = follow(crawling, relay, RelayStyle.MASTODON, relay.base + path)

    assert finding.actor is not None
    assert state is PeerState.CONSENTED
    with reading(crawling.engine) as session:
        assert session.scalars(select(Relay)).one().inbox_uri == f"{relay.base}/inbox"


def test_what_is_no_relay_is_told(crawling: Crawling, relay: RelayServer) -> None:
    with Site().serving() as site:
        finding, state = follow(crawling, relay, RelayStyle.MASTODON, site.base)

    assert (finding.actor, state) == (None, None)
    assert finding.to_mend
    assert crawling.count(Peer) == 0


def test_a_followed_group_is_no_relay_and_a_relay_no_group(
    crawling: Crawling, relay: RelayServer, hub: HubServer
) -> None:
    crawling.register(hub)
    with pytest.raises(ConflictError):
        follow(crawling, relay, RelayStyle.LITEPUB, hub.actor_uri)
    assert crawling.peer(hub).kind is PeerKind.ACTIVITYPUB

    follow(crawling, relay, RelayStyle.LITEPUB)
    relay.publish_actor(type="Application", indexable=True)
    assert "relay" in (join(crawling, relay.actor_uri).to_mend or "")


def announce(crawling: Crawling, relay: RelayServer, thing: object) -> None:
    crawling.push(relay, relay.activity("Announce", thing, by=relay.actor_uri))
    crawling.work()


@pytest.mark.parametrize("style", RelayStyle)
def test_what_a_relay_announces_counts_by_its_authors_own_word_only(
    crawling: Crawling, relay: RelayServer, hub: HubServer, style: RelayStyle
) -> None:
    followed(crawling, relay, style)
    hub.member("ines", indexable=True)
    hub.member("pau")
    hub.member("nuria", indexable=False)
    for number, name in enumerate(("ines", "pau", "nuria"), 1):
        listing = hub.serve(hub.proposal(number, member=name, audience=None))
        announce(crawling, relay, listing["id"])

    assert crawling.titles() == ["Bicycle repair 1"]
    with reading(crawling.engine) as session:
        assert session.scalars(select(Group)).all() == []


def test_what_a_relay_embeds_is_not_believed(
    crawling: Crawling, relay: RelayServer, hub: HubServer
) -> None:
    followed(crawling, relay, RelayStyle.LITEPUB)
    hub.member("ines", indexable=True)
    listing = hub.serve(hub.proposal(1, audience=None))
    forged = {**listing, "name": "Buy my pills"}

    announce(crawling, relay, forged)
    announce(crawling, relay, hub.activity("Create", forged))

    assert crawling.titles() == ["Bicycle repair 1"]


def test_what_a_mastodon_relay_forwards_is_fetched_at_its_origin(
    crawling: Crawling, relay: RelayServer, hub: HubServer
) -> None:
    followed(crawling, relay, RelayStyle.MASTODON)
    hub.member("ines", indexable=True)
    listing = hub.serve(hub.proposal(1, audience=None))

    crawling.push(relay, hub.activity("Create", {**listing, "name": "Buy my pills"}))
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]

    hub.serve(hub.proposal(1, hours=1, audience=None, name="Tyres"))
    crawling.push(relay, hub.activity("Update", {**listing, "name": "Buy my pills"}))
    crawling.work()
    assert crawling.titles() == ["Tyres"]

    # A Delete that a relay passes on is a hint: only the origin's own answer removes.
    crawling.push(relay, hub.delete(listing, 2))
    crawling.work()
    assert crawling.titles() == ["Tyres"]
    hub.gone("/proposals/1")
    crawling.push(relay, hub.delete(listing, 3))
    crawling.work()
    assert crawling.titles() == []


def test_a_relay_cannot_speak_for_a_hub(
    crawling: Crawling, relay: RelayServer, hub: HubServer
) -> None:
    crawling.follow(hub)
    followed(crawling, relay, RelayStyle.MASTODON)
    before = crawling.peer(hub).state
    ours = f"{crawling.settings.base_url}/actor"
    member = hub.member("ines")

    for activity in (
        hub.activity("Block", ours),
        hub.activity("Reject", hub.taken[-1]),
        hub.activity("Move", hub.actor_uri, target=f"{relay.base}/stolen"),
        hub.activity("Undo", hub.activity("Accept", hub.taken[-1])),
    ):
        with pytest.raises(ForbiddenError):
            crawling.push(relay, activity)
    for activity in (
        hub.activity("Delete", hub.actor_uri),
        hub.activity("Delete", member, by=member),
    ):
        crawling.push(relay, activity)
    crawling.work()

    assert crawling.peer(hub).state is before
    assert state_of(crawling) is PeerState.LIVE


def test_what_a_hub_here_agreed_to_counts_for_what_a_relay_brings_of_it(
    crawling: Crawling, relay: RelayServer, hub: HubServer
) -> None:
    crawling.follow(hub)
    followed(crawling, relay, RelayStyle.LITEPUB)
    listing = hub.serve(hub.proposal(1))

    announce(crawling, relay, listing["id"])

    assert crawling.listing(listing["id"]).group_id == "barcelona"


def test_a_relays_own_follow_is_accepted(crawling: Crawling, relay: RelayServer) -> None:
    followed(crawling, relay, RelayStyle.LITEPUB)
    asked = relay.activity("Follow", f"{crawling.settings.base_url}/actor")

    crawling.push(relay, asked)
    crawling.work()

    told = relay.taken[-1]
    assert (told["type"], told["object"]["id"]) == ("Accept", asked["id"])


@pytest.mark.parametrize("style", RelayStyle)
def test_leaving_the_last_relay_undoes_the_follow_and_takes_its_listings_away(
    crawling: Crawling, relay: RelayServer, hub: HubServer, style: RelayStyle
) -> None:
    taken = followed(crawling, relay, style)
    hub.member("ines", indexable=True)
    announce(crawling, relay, hub.serve(hub.proposal(1, audience=None))["id"])
    assert crawling.titles() == ["Bicycle repair 1"]

    with transaction(crawling.engine) as session:
        relays.leave(session, crawling.settings, f"{relay.base}/inbox")
    crawling.work()

    undo = relay.taken[-1]
    assert (undo["type"], undo["object"]["id"]) == ("Undo", taken["id"])
    assert undo["object"]["object"] == taken["object"]
    assert state_of(crawling) is PeerState.DISCOVERED
    assert crawling.titles() == []


def test_leaving_a_hub_tells_it_and_takes_its_listings_away(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.follow(hub)
    assert crawling.titles() == ["Bicycle repair 1"]

    with transaction(crawling.engine) as session:
        relays.leave(session, crawling.settings, "barcelona")
        with pytest.raises(NotFoundError):
            relays.leave(session, crawling.settings, "leeds")
    crawling.work()

    assert hub.taken[-1]["type"] == "Undo"
    assert crawling.peer(hub).state is PeerState.DISCOVERED
    assert crawling.titles() == []


def test_the_operator_follows_and_leaves_a_relay(settings: Settings) -> None:
    upgrade(settings.effective_database_url)
    with RelayServer().serving() as relay:
        told = good(settings, "hub", "join", relay.base, "--relay", "mastodon")
        assert f"{relay.base}/actor is followed" in told
        left = good(settings, "hub", "leave", f"{relay.base}/inbox")
        assert '"discovered"' in left
    refused(settings, "hub", "leave", "nobody", code=1)
    refused(settings, "hub", "join", "a.example", "--relay", "litepub", "--invitation", "x", code=2)
