"""An Offer that is pushed to our inbox is a member's interest; any other leaves no words behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from hub_server import PUBLIC, Crawling, HubServer
from interest_world import WORDS, Between
from sqlalchemy import Engine, select, update

from commons.database import reading, transaction
from commons.settings import Settings
from commons.signatures import encode_multikey, generate_ed25519
from crawler.delivery import Delivery
from crawler.interest import arriving
from crawler.interest.rows import Interest, InterestState
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerState
from crawler.work import MESSAGE_ATTEMPTS

OUR_ACTOR = "http://testserver/actor"


@pytest.fixture
def between(engine: Engine, settings: Settings) -> Iterator[Between]:
    with (
        Crawling(engine, settings) as crawling,
        HubServer("barcelona").serving() as authors,
        HubServer("leeds").serving() as members,
    ):
        between = Between(crawling, authors, members)
        crawling.work()
        yield between


def kept_words(engine: Engine) -> list[str]:
    """The tables in which the words of the offer stand."""
    found = []
    with reading(engine) as session:
        for table in (Interest, Delivery, InboxMessage, PutAside):
            rows = session.scalars(select(table)).all()
            found += [table.__tablename__ for row in rows if WORDS in str(vars(row))]
    return found


def test_an_offer_that_is_pushed_reaches_the_author_and_its_answer_the_member(
    between: Between,
) -> None:
    offer = between.offer(to=[between.author, OUR_ACTOR])
    between.crawling.push_and_work(between.members, offer)

    (passed_on,) = between.authors.taken
    assert (passed_on["type"], passed_on["origin"]) == ("Offer", between.member)
    assert passed_on["to"] == [between.author]
    assert WORDS in passed_on["content"]
    assert kept_words(between.crawling.engine) == []
    with reading(between.crawling.engine) as session:
        row = session.scalars(select(Interest)).one()
        assert (row.offer_uri, row.member_uri) == (offer["id"], between.member)
        assert row.state is InterestState.DELIVERED

    between.members.taken.clear()
    accept = between.authors.activity("Accept", passed_on["id"], by=between.author)
    between.crawling.push_and_work(between.authors, accept)
    (answer,) = between.members.taken
    assert (answer["type"], answer["object"]) == ("Accept", offer["id"])


def test_a_member_may_push_its_offer_with_its_own_key(between: Between) -> None:
    key, key_id = generate_ed25519(), f"{between.member}#key"
    multikey = {"id": key_id, "type": "Multikey", "controller": between.member}
    public = encode_multikey(key.public_key())
    inbox = f"{between.member}/inbox"
    between.members.member(
        "bob", inbox=inbox, assertionMethod=[{**multikey, "publicKeyMultibase": public}]
    )
    settings = between.crawling.settings
    message = between.members.signed(settings, between.offer(), key=key, key_id=key_id)
    between.crawling.receive(message)
    between.crawling.work()

    assert len(between.authors.taken) == 1


def test_an_offer_that_satisfies_an_intent_with_an_address_of_its_own_is_taken(
    between: Between,
) -> None:
    intent = {"id": f"{between.authors.base}/intents/1", "type": "Intent"}
    proposal = between.authors.proposal(1, hours=1, publishes=intent)
    between.crawling.push_and_work(between.authors, between.authors.activity("Update", proposal))
    assert between.crawling.listing(proposal["id"]).same_as == [intent["id"]]
    commitment = {"type": "Commitment", "satisfies": intent["id"]}
    agreement = {"type": "Agreement", "stipulates": commitment}
    between.crawling.push_and_work(between.members, between.offer(object=agreement))

    assert between.interests() == 1


@pytest.mark.parametrize(
    "more",
    [
        {"object": {"type": "Agreement", "stipulates": {"satisfies": "https://x.example/1#p"}}},
        {"object": {"type": "Note", "content": WORDS}},
        {"object": "https://x.example/agreements/1"},
        {"to": PUBLIC},
        {"cc": "https://elsewhere.example/eve"},
        {"inReplyTo": "https://x.example/1"},
        {"inReplyTo": [f"https://x.example/{number}" for number in range(1000)]},
    ],
)
def test_any_other_offer_is_forgotten_at_once(between: Between, more: dict[str, Any]) -> None:
    between.crawling.push_and_work(between.members, between.offer(**more))

    assert kept_words(between.crawling.engine) == []
    assert (between.interests(), between.authors.taken) == (0, [])
    assert between.crawling.put_aside() == {}


def test_the_same_offer_pushed_and_called_is_one_interest(between: Between) -> None:
    told = between.tell()
    between.crawling.push_and_work(between.members, between.offer())

    assert between.interests() == 1
    assert between.stands(told).state is InterestState.DELIVERED
    assert len(between.authors.taken) == 1


def test_a_hub_that_blocks_us_has_no_interest_passed_on(between: Between) -> None:
    with transaction(between.crawling.engine) as session:
        blocks = update(Peer).where(Peer.group_id == between.members.name)
        session.execute(blocks.values(state=PeerState.BLOCKED))
    between.crawling.push_and_work(between.members, between.offer())

    assert (between.interests(), kept_words(between.crawling.engine)) == (0, [])


def test_an_offer_whose_handling_keeps_failing_is_not_put_aside(
    between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(arriving, "ask", broken)
    between.crawling.push(between.members, between.offer())
    for _ in range(MESSAGE_ATTEMPTS):
        with transaction(between.crawling.engine) as session:
            waiting = InboxMessage.due_at.is_not(None)
            session.execute(
                update(InboxMessage).where(waiting).values(due_at=InboxMessage.received_at)
            )
        between.crawling.work(rounds=3)

    assert between.crawling.put_aside() == {}
    with reading(between.crawling.engine) as session:
        offers = select(InboxMessage).where(InboxMessage.activity_type == "Offer")
        row = session.scalars(offers).one()
        assert (row.body, row.due_at) == (None, None)
    assert kept_words(between.crawling.engine) == []
