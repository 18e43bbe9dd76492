"""How far a hub's listings get, step by step, for each way in which they may not get on."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hub_server import PUBLIC, Crawling, HubServer
from sqlalchemy import Engine, update

from commons.database import now, transaction
from commons.errors import UnavailableError
from commons.groups import Hub, HubState
from commons.settings import Settings
from crawler import joining
from crawler.authors import Author
from crawler.delivery import Delivery
from crawler.diagnosis import Diagnosis, Step, StepName, StepState, diagnose
from crawler.kept import InboxMessage
from crawler.peers import Covers, Peer, PeerKind, PeerState, consent, discover, schedule
from crawler.plain_words import known
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index, catch_up
from marketplace.listings import Listing

REL = ["payment", "https://w3id.org/valueflows/ont/vf#Proposal"]


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def search(settings: Settings) -> Iterator[Index]:
    index = EmbeddedIndex(settings.data_dir / "index")
    yield index
    index.close()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().serving() as hub:
        hub.publish_actor(indexable=True)
        offer(hub)
        yield hub


def offer(hub: HubServer, **more: Any) -> None:  # noqa: ANN401 (members of a proposal)
    hub.publish_outbox([hub.activity("Create", hub.proposal(n, **more)) for n in (1, 2, 3)])


def join(crawling: Crawling, hub: HubServer) -> None:
    crawling.run(lambda door: joining.join(crawling.engine, door, crawling.settings, hub.actor_uri))
    crawling.work()


def told(
    crawling: Crawling, search: Index, peer_id: int | None = None, *, ask: bool = False
) -> Diagnosis:
    catch_up(crawling.engine, search)
    return untaken(crawling, search, peer_id, ask=ask)


def untaken(
    crawling: Crawling, search: Index, peer_id: int | None = None, *, ask: bool = False
) -> Diagnosis:
    """Return the diagnosis while the index stays where it is."""
    engine, settings = crawling.engine, crawling.settings
    return crawling.run(
        lambda door: diagnose(engine, door, settings, peer_id or 1, index=search, ask=ask)
    )


def step(diagnosis: Diagnosis, name: StepName) -> Step:
    return next(one for one in diagnosis.steps if one.name is name)


def states(diagnosis: Diagnosis, *names: StepName) -> list[StepState]:
    return [step(diagnosis, name).state for name in names]


def failed(diagnosis: Diagnosis) -> Step:
    assert diagnosis.first_failed is not None
    return diagnosis.first_failed


def change(crawling: Crawling, table: type, **values: object) -> None:
    with transaction(crawling.engine) as session:
        session.execute(update(table).values(**values))


def test_a_hub_whose_listings_are_found_has_nothing_to_mend(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    crawling.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    crawling.work()
    diagnosis = told(crawling, search)
    assert (diagnosis.first_failed, diagnosis.is_waiting, diagnosis.listings) == (None, False, 3)
    assert tuple(one.name for one in diagnosis.steps) == tuple(StepName)
    assert step(diagnosis, StepName.FOLLOW).seen == "The hub accepted our Follow."
    assert step(diagnosis, StepName.LISTINGS).seen == "3 taken, 0 could not be read."


def test_nothing_is_asked_unless_it_is_wanted(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    hub.asked.clear()
    assert not told(crawling, search).asked
    assert hub.asked == []
    assert told(crawling, search, ask=True).asked
    assert 1 <= len(hub.asked) <= 6


def test_a_look_stores_nothing(crawling: Crawling, search: Index, hub: HubServer) -> None:
    join(crawling, hub)
    before = crawling.peer(hub)
    hub.publish_actor(indexable=False)
    assert failed(told(crawling, search, ask=True)).name is StepName.CONSENT
    after = crawling.peer(hub)
    assert (after.state, after.consented_at) == (before.state, before.consented_at)
    assert len(crawling.titles()) == 3


def test_a_look_does_not_read_what_robots_txt_refuses(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    hub.put("/robots.txt", b"User-agent: *\nDisallow: /\n")
    join(crawling, hub)
    diagnosis = told(crawling, search, ask=True)
    assert failed(diagnosis).name is StepName.ROBOTS
    assert "/outbox" not in hub.asked
    assert step(diagnosis, StepName.SOURCE).state is StepState.NOT_NEEDED
    assert step(diagnosis, StepName.LISTINGS).counts == ()  # an outbox is no listing


def test_before_a_hub_is_read_its_steps_wait(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    crawling.run(lambda door: joining.join(crawling.engine, door, crawling.settings, hub.actor_uri))
    diagnosis = told(crawling, search)
    waits = (StepName.ROBOTS, StepName.FOLLOW, StepName.SOURCE, StepName.LISTINGS, StepName.VISIT)
    assert set(states(diagnosis, *waits)) == {StepState.WAITING}
    assert diagnosis.first_failed is None
    assert diagnosis.is_waiting


def test_a_hub_that_rejects_the_follow_is_read_and_told(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    crawling.push(hub, hub.activity("Reject", hub.taken[-1]["id"]))
    crawling.work()
    diagnosis = told(crawling, search)
    assert failed(diagnosis).name is StepName.FOLLOW
    assert diagnosis.listings == 3


def test_an_inbox_that_does_not_take_the_follow_is_told_after_what_is_worse(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    hub.missing.add("/inbox")
    join(crawling, hub)
    first = failed(told(crawling, search))
    assert first.name is StepName.FOLLOW
    assert "Its inbox does not take our Follow. It answers 410" in first.seen
    offer(hub, to=[f"{hub.base}/members/ines"], cc=[PUBLIC])
    crawling.make_due(Peer)
    crawling.work()
    assert failed(told(crawling, search)).name is StepName.AUTHORS


def test_a_hub_that_is_down_keeps_what_was_read_of_it(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    hub.is_down = True
    crawling.make_due(Peer)
    crawling.work()
    diagnosis = told(crawling, search)
    assert failed(diagnosis).name is StepName.ACTOR
    assert "It answers 503" in failed(diagnosis).seen
    assert failed(diagnosis).error == f"{hub.actor_uri} answered 503"
    assert diagnosis.listings == 3


@pytest.mark.parametrize(
    ("state", "words"),
    [(PeerState.BLOCKED, "blocks this service"), (PeerState.GONE, "has not answered for 30 days")],
)
def test_a_hub_that_is_blocked_or_gone_is_told(
    crawling: Crawling, search: Index, hub: HubServer, state: PeerState, words: str
) -> None:
    join(crawling, hub)
    change(crawling, Peer, state=state)
    first = failed(told(crawling, search))
    assert first.name is StepName.HUB
    assert words in first.seen


def test_a_suspended_hub_is_told_whom_to_write_to(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    change(crawling, Hub, state=HubState.SUSPENDED)
    crawling.settings = crawling.settings.model_copy(update={"contact": "hello@localpay.example"})
    first = failed(told(crawling, search))
    assert first.name is StepName.HUB
    assert first.mend == "Write to the operator at hello@localpay.example."


def test_authors_who_said_no_are_counted_and_the_others_are_found(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    hub.member("joan", indexable=False)
    items = [hub.proposal(1), hub.proposal(2, member="joan"), hub.proposal(3, member="joan")]
    hub.publish_outbox([hub.activity("Create", item) for item in items])
    join(crawling, hub)
    diagnosis = told(crawling, search)
    authors = step(diagnosis, StepName.AUTHORS)
    assert (authors.state, authors.counts[0].count) == (StepState.OK, 2)
    assert authors.counts[0].examples == ()
    assert diagnosis.first_failed is None
    assert diagnosis.listings == 1


def test_of_two_kinds_of_trouble_the_more_frequent_is_to_be_mended(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    hidden = [hub.proposal(n, to=[f"{hub.base}/followers"]) for n in (1, 2)]
    broken = [hub.proposal(n, name=None) for n in (3, 4, 5)]
    hub.publish_outbox([hub.activity("Create", item) for item in (*hidden, *broken[:1])])
    join(crawling, hub)
    assert failed(told(crawling, search)).name is StepName.AUTHORS
    hub.publish_outbox([hub.activity("Create", item) for item in (*hidden, *broken)])
    crawling.make_due(Peer)
    crawling.work()
    assert failed(told(crawling, search)).name is StepName.LISTINGS


def test_the_counts_are_those_of_the_last_crawl(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    hub.member("ines", indexable=False)
    join(crawling, hub)
    assert step(told(crawling, search), StepName.AUTHORS).counts[0].count == 3
    hub.publish_outbox([hub.activity("Create", hub.proposal(1))])
    crawling.make_due(Peer)
    crawling.work()
    assert step(told(crawling, search), StepName.AUTHORS).counts[0].count == 1
    hub.member("ines", indexable=True)
    crawling.make_due(Author)
    crawling.make_due(Peer)
    crawling.work()
    crawling.make_due(Peer)
    crawling.work()
    assert step(told(crawling, search), StepName.AUTHORS).state is StepState.NOT_NEEDED
    assert told(crawling, search).listings == 1


def test_what_was_pushed_and_refused_is_counted_too(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    crawling.push(hub, hub.activity("Create", hub.proposal(8, to=[f"{hub.base}/followers"])))
    crawling.work()
    counts = step(told(crawling, search), StepName.AUTHORS).counts
    assert [(one.reason, one.count) for one in counts] == [("it is not addressed to the public", 1)]
    assert crawling.count(InboxMessage) == 1


def test_listings_that_have_expired_are_told(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    with transaction(crawling.engine) as session:
        past = now(session) - timedelta(days=1)
        session.execute(update(Listing).values(expires_at=past))
    first = failed(told(crawling, search))
    assert (first.name, first.seen) == (StepName.INDEX, "All 3 listings have expired.")


def test_what_the_index_has_not_taken_yet_waits(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    join(crawling, hub)
    index = step(untaken(crawling, search), StepName.INDEX)
    assert index.state is StepState.WAITING
    assert index.seen == "3 of 3 listings are on their way into the search."


class Silent(EmbeddedIndex):
    """An index that does not answer."""

    def revision(self) -> int:
        raise UnavailableError("the index does not answer")


def test_an_index_that_does_not_answer_is_told(
    crawling: Crawling, settings: Settings, hub: HubServer
) -> None:
    join(crawling, hub)
    silent = Silent(settings.data_dir / "silent")
    assert "does not answer now" in step(untaken(crawling, silent), StepName.INDEX).seen
    silent.close()


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"kind": "indexable"}, "its actor says `indexable: true`"),
        ({"kind": "invitation"}, "redeeming an invitation"),
        ({"kind": "registration", "headers": []}, "signed registration"),
    ],
)
def test_whose_word_it_is_is_told(
    crawling: Crawling, search: Index, hub: HubServer, evidence: dict[str, Any], words: str
) -> None:
    join(crawling, hub)
    change(crawling, Peer, consent_evidence=evidence)
    assert words in step(told(crawling, search), StepName.CONSENT).seen


@pytest.mark.parametrize("kind", [PeerKind.KOMUNITIN, PeerKind.CES, PeerKind.PUSH])
def test_a_source_of_another_kind_has_the_steps_that_fit(
    crawling: Crawling, search: Index, kind: PeerKind
) -> None:
    with transaction(crawling.engine) as session:
        peer = discover(session, "https://hub.example/api", found_by="a test", kind=kind)
        consent(session, peer, {"kind": "invitation"}, Covers.MEMBERS)
        schedule(session, peer.id)
        peer_id = peer.id
    diagnosis = told(crawling, search, peer_id)
    fits = states(diagnosis, StepName.ACTOR, StepName.FOLLOW)
    assert fits == [StepState.NOT_NEEDED, StepState.NOT_NEEDED]
    reads = step(diagnosis, StepName.SOURCE).state
    assert reads is (StepState.NOT_NEEDED if kind is PeerKind.PUSH else StepState.WAITING)


def test_a_source_of_another_kind_is_looked_at_by_its_reader(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    with transaction(crawling.engine) as session:
        peer = discover(
            session, f"{hub.base}/offers.csv", found_by="a test", kind=PeerKind.TIMEOVERFLOW
        )
        consent(session, peer, {"kind": "invitation"}, Covers.MEMBERS)
        peer_id = peer.id
    first = failed(told(crawling, search, peer_id, ask=True))
    assert first.name is StepName.SOURCE
    assert "It answers 404" in first.seen


def test_a_hub_that_registered_without_its_listings_is_told_how_to_agree(
    crawling: Crawling, search: Index, hub: HubServer
) -> None:
    crawling.register(hub, hub.registration(listings=False))
    first = failed(told(crawling, search))
    assert first.name is StepName.CONSENT
    assert first.mend == "Register the hub again, with `listings` true."


@pytest.mark.parametrize("beside", [True, False])
def test_an_actor_without_an_outbox_is_told_unless_it_names_other_places(
    crawling: Crawling,
    search: Index,
    hub: HubServer,
    beside: bool,  # noqa: FBT001 (pytest gives it by its name)
) -> None:
    join(crawling, hub)
    link = {"type": "Link", "href": f"{hub.base}/proposals/1", "rel": REL}
    hub.publish_actor(indexable=True, outbox=None, attachment=[link] if beside else [])
    first = told(crawling, search, ask=True).first_failed
    assert (first.seen if first else None) == (None if beside else "The actor names no outbox.")


def test_our_own_sentences_are_all_known(crawling: Crawling, search: Index, hub: HubServer) -> None:
    hub.publish_actor(indexable=True, outbox=f"{hub.base}/members/ines")
    join(crawling, hub)
    first = failed(told(crawling, search, ask=True))
    assert (first.name, first.seen) == (StepName.SOURCE, "Its outbox is no collection.")
    assert known("an outbox is a collection") is not None
    assert crawling.count(Delivery) == 1
