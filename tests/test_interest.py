"""A member's interest reaches the author, and the answer the member; nobody else learns of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from hub_server import Crawling, HubServer
from interest_world import WORDS, Between
from sqlalchemy import Engine, select, update

from commons.database import now, reading, transaction
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, TooManyError
from commons.jobs import MAX_ATTEMPTS
from commons.settings import Settings
from crawler.authors import Author
from crawler.delivery import Delivery
from crawler.interest.asking import HUB_MOST, LISTING_MOST, ask
from crawler.interest.rows import KEPT, Interest, InterestState
from crawler.interest.saying import read_message
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerKind
from marketplace.listings import Listing


@pytest.fixture
def between(engine: Engine, settings: Settings) -> Iterator[Between]:
    with (
        Crawling(engine, settings) as crawling,
        HubServer("barcelona").serving() as authors,
        HubServer("leeds").serving() as members,
    ):
        yield Between(crawling, authors, members)


def kept_words(engine: Engine, words: str) -> list[str]:
    """Where words stand in the tables that an interest passes through."""
    found = []
    with reading(engine) as session:
        for table in (Interest, Delivery, InboxMessage, PutAside):
            for row in session.scalars(select(table)):
                told = {name: str(value) for name, value in vars(row).items()}
                found += [f"{table.__tablename__}.{name}" for name, v in told.items() if words in v]
    return found


def test_an_offer_reaches_the_author_in_our_actors_name(between: Between) -> None:
    told = between.tell()
    assert told.state is InterestState.WAITING
    between.crawling.work()

    (offer,) = between.authors.taken
    assert (offer["type"], offer["actor"]) == ("Offer", "http://testserver/actor")
    assert offer["id"] == f"http://testserver/interests/{told.id}/offer"
    assert (offer["to"], offer["origin"]) == ([between.author], between.member)
    assert offer["inReplyTo"] == between.proposal["id"]
    assert offer["object"] == between.offer()["object"]
    assert WORDS in offer["content"]
    assert between.member in offer["content"]
    assert between.stands(told).state is InterestState.DELIVERED


def test_nothing_of_what_was_said_is_kept_once_it_was_delivered(between: Between) -> None:
    between.tell()
    assert kept_words(between.crawling.engine, WORDS) == ["interests.said"]
    between.crawling.work()
    assert len(between.authors.taken) == 1
    assert kept_words(between.crawling.engine, WORDS) == []


def test_a_plain_message_is_a_note_to_the_author_alone(between: Between) -> None:
    between.tell(between.message("<script>alert(1)</script>\nTom & Ann"))
    between.crawling.work()

    (create,) = between.authors.taken
    note = create["object"]
    assert (create["type"], note["type"]) == ("Create", "Note")
    assert create["actor"] == note["attributedTo"] == "http://testserver/actor"
    assert create["to"] == note["to"] == [between.author]
    assert note["tag"][0]["href"] == between.author
    assert note["tag"][0]["name"] == f"@ines@{between.authors.base.partition('://')[2]}"
    assert "Write to them yourself" in note["content"]
    assert "offer" not in note["content"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;<br>Tom &amp; Ann" in note["content"]
    assert "<script" not in note["content"]


def test_an_accept_is_passed_back_to_the_members_inbox(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    agreement = {"type": "Agreement", "id": f"{between.authors.base}/agreements/1"}
    accept = between.answer("Accept", told, result=agreement)
    between.crawling.push_and_work(between.authors, accept)

    (passed,) = between.members.taken
    assert (passed["type"], passed["actor"]) == ("Accept", "http://testserver/actor")
    assert passed["object"] == between.offer()["id"]
    assert (passed["result"], passed["origin"]) == (agreement, between.author)
    assert passed["to"] == [between.member]
    assert between.stands(told).state is InterestState.ACCEPTED


def test_a_reject_tells_the_authors_words(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    reject = between.answer("Reject", told, content="<p>Not <b>now</b></p>")
    between.crawling.push_and_work(between.authors, reject)

    (passed,) = between.members.taken
    assert (passed["type"], passed["content"]) == ("Reject", "<p>Not now</p>")
    stands = between.stands(told)
    assert (stands.state, stands.reason) == (InterestState.REJECTED, "Not now")


def test_the_hub_of_the_author_may_answer_too(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    accept = between.answer("Accept", told, by=between.authors.actor_uri)
    between.crawling.push_and_work(between.authors, accept)
    assert between.stands(told).state is InterestState.ACCEPTED


def test_an_answer_may_come_before_the_delivery_is_noted(between: Between) -> None:
    told = between.tell()
    between.crawling.push_and_work(between.authors, between.answer("Accept", told))
    assert between.stands(told).state is InterestState.ACCEPTED
    assert [activity["type"] for activity in between.members.taken] == ["Accept"]
    assert between.authors.taken == []  # there is nothing left to ask


def test_nobody_else_answers_for_the_author(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    neighbour = between.authors.member("eve")
    forged = between.answer("Accept", told, by=neighbour)
    between.crawling.push_and_work(between.authors, forged)
    elsewhere = {**between.answer("Accept", told), "actor": between.member}
    elsewhere["id"] = f"{between.members.base}/activities/forged"
    between.crawling.push_and_work(between.members, elsewhere)

    assert between.stands(told).state is InterestState.DELIVERED
    assert between.members.taken == []


def test_of_several_answers_the_first_counts(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    for kind in ("Reject", "Accept"):
        between.crawling.push_and_work(between.authors, between.answer(kind, told))
    assert between.stands(told).state is InterestState.REJECTED
    assert [activity["type"] for activity in between.members.taken] == ["Reject"]


@pytest.mark.parametrize(
    "inbox", ["https://elsewhere.example/inbox", "", "javascript:alert(1)", None]
)
def test_an_inbox_that_is_not_the_authors_gets_nothing(between: Between, inbox: str | None) -> None:
    between.authors.member("ines", inbox=inbox)
    told = between.tell()
    between.crawling.work()

    assert between.authors.taken == []
    stands = between.stands(told)
    assert stands.state is InterestState.FAILED
    assert "inbox of its own origin" in (stands.reason or "")
    assert "members/ines" not in (stands.reason or "")
    (note,) = between.members.taken
    assert note["to"] == [between.member]
    assert "could not be delivered" in note["object"]["content"]


def test_an_inbox_that_is_gone_fails_at_once_and_the_member_is_told(between: Between) -> None:
    between.authors.missing.add("/members/ines/inbox")
    told = between.tell()
    between.crawling.work()
    assert between.stands(told).state is InterestState.FAILED
    assert len(between.members.taken) == 1
    assert kept_words(between.crawling.engine, WORDS) == []


def test_a_hub_that_is_down_gets_it_when_it_is_up_again(between: Between) -> None:
    between.authors.is_down = True
    told = between.tell()
    between.crawling.work()
    assert between.stands(told).state is InterestState.WAITING

    between.authors.is_down = False
    between.crawling.make_due(Interest)
    between.crawling.work()
    assert between.stands(told).state is InterestState.DELIVERED


def test_after_ten_attempts_it_has_failed(between: Between) -> None:
    between.authors.is_down = True
    told = between.tell()
    for attempt in range(MAX_ATTEMPTS):
        assert between.row(told).attempts == attempt
        between.crawling.make_due(Interest)
        # With what is remembered of a host it would be left alone after five failures.
        with Crawling(between.crawling.engine, between.crawling.settings) as fresh:
            fresh.work(rounds=3)
    stands = between.stands(told)
    assert stands.state is InterestState.FAILED
    assert "503" in (stands.reason or "")


def test_taking_consent_back_erases_every_interest(between: Between) -> None:
    delivered = between.tell(between.said(1))
    between.crawling.work()
    between.authors.is_down = True
    waiting = between.tell(between.said(2))
    assert {between.stands(one).state for one in (delivered, waiting)} == {
        InterestState.DELIVERED,
        InterestState.WAITING,
    }
    between.authors.is_down = False
    no = {**between.proposal, "searchableBy": [], "updated": "2026-10-01T10:00:00Z"}
    between.crawling.push_and_work(between.authors, between.authors.activity("Update", no))

    assert between.interests() == 0
    assert kept_words(between.crawling.engine, WORDS) == []
    with reading(between.crawling.engine) as session:
        assert (
            session.scalars(select(Delivery).where(Delivery.interest_id.is_not(None))).all() == []
        )
    with pytest.raises(NotFoundError):
        between.stands(delivered)


def test_what_waits_for_a_deleted_listing_fails_and_what_was_delivered_is_answered(
    between: Between,
) -> None:
    delivered = between.tell(between.said(1))
    between.crawling.work()
    waiting = between.tell(between.said(2))
    between.crawling.push_and_work(between.authors, between.authors.delete(between.proposal, 3))

    assert between.stands(waiting).state is InterestState.FAILED
    assert len(between.authors.taken) == 1
    assert "the listing is gone" in between.members.taken[0]["object"]["content"]
    between.crawling.push_and_work(between.authors, between.answer("Accept", delivered))
    assert between.stands(delivered).state is InterestState.ACCEPTED


def test_an_interest_is_forgotten_90_days_after_its_last_change(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    for age, left in ((KEPT - timedelta(hours=1), 1), (KEPT, 0)):
        with transaction(between.crawling.engine) as session:
            since = now(session) - age
            session.execute(update(Interest).values(state_since=since, due_at=now(session)))
        between.crawling.work()
        assert between.interests() == left
    assert told.state is InterestState.WAITING


def test_the_same_again_has_the_same_answer_and_no_further_effect(between: Between) -> None:
    told = between.tell()
    between.crawling.work()
    again = between.tell()
    between.crawling.work()
    assert (again.id, again.state) == (told.id, InterestState.DELIVERED)
    assert len(between.authors.taken) == 1


def test_another_body_under_the_same_id_is_a_conflict(between: Between) -> None:
    between.tell()
    with pytest.raises(ConflictError):
        between.tell(between.said(content="other words"))
    assert between.interests() == 1


def test_fifty_at_once_of_the_same_are_one(between: Between) -> None:
    said = between.said()
    with ThreadPoolExecutor(16) as pool:
        told = set(pool.map(lambda _: between.tell(said).id, range(50)))
    assert len(told) == 1
    assert between.interests() == 1


def test_a_hub_tells_of_five_a_day_in_one_listing(between: Between) -> None:
    for number in range(LISTING_MOST):
        between.tell(between.said(number))
    with pytest.raises(TooManyError) as refused:
        between.tell(between.said(99))
    assert 23 * 3600 < refused.value.retry_after_seconds <= 24 * 3600
    assert between.interests() == LISTING_MOST
    between.tell(between.said(0))  # told before, so it counts no more

    with transaction(between.crawling.engine) as session:
        session.execute(update(Interest).values(created_at=now(session) - timedelta(days=1)))
    between.tell(between.said(99))


def test_a_hub_tells_of_sixty_an_hour(between: Between) -> None:
    between.tell(between.said(0))
    with transaction(between.crawling.engine) as session:
        first = session.scalars(select(Interest)).one()
        told = {c.name: getattr(first, c.name) for c in Interest.__table__.columns}
    other = between.authors.serve(between.authors.proposal(2))
    between.crawling.push_and_work(between.authors, between.authors.activity("Create", other))
    with transaction(between.crawling.engine) as session:
        other_id = session.scalars(select(Listing.id).where(Listing.uri == other["id"])).one()
        for number in range(1, HUB_MOST):
            told |= {"id": None, "uuid": uuid4(), "offer_uri": f"urn:x:{number}"}
            session.add(Interest(**{**told, "listing_id": other_id}))
    with pytest.raises(TooManyError) as refused:
        between.tell(between.said(1))
    assert 3500 < refused.value.retry_after_seconds <= 3600
    # Another hub's limit is its own.
    with transaction(between.crawling.engine) as session:
        said = read_message(uuid4(), between.author, "Me too")
        ask(session, between.authors.name, between.listing_id, said)


def test_a_hidden_listing_is_not_answered(between: Between) -> None:
    with transaction(between.crawling.engine) as session:
        session.execute(update(Listing).values(expires_at=now(session) - timedelta(seconds=1)))
    with pytest.raises(NotFoundError):
        between.tell()
    with transaction(between.crawling.engine) as session:
        session.execute(update(Listing).values(expires_at=None))
        session.execute(update(Author).values(blocked=True))
    with pytest.raises(NotFoundError):
        between.tell()
    assert between.interests() == 0


def test_a_source_without_actors_takes_no_messages(between: Between) -> None:
    with transaction(between.crawling.engine) as session:
        of_author = Peer.group_id == between.authors.name
        session.execute(update(Peer).where(of_author).values(kind=PeerKind.KOMUNITIN))
    with pytest.raises(ConflictError):
        between.tell()
    assert between.interests() == 0


def test_a_hub_speaks_for_its_own_members_alone(between: Between) -> None:
    stranger = read_message(uuid4(), between.author, "Hello")
    with pytest.raises(ForbiddenError):
        between.tell(stranger)
    assert between.interests() == 0


def test_an_offer_for_another_listing_is_refused(between: Between) -> None:
    with pytest.raises(InvalidError, match="inReplyTo"):
        between.tell(between.said(inReplyTo=f"{between.authors.base}/proposals/2"))
    assert between.interests() == 0


def test_an_older_offer_of_a_commitment_is_read(between: Between) -> None:
    commitment = between.offer()["object"]["stipulates"]
    said = between.said(object=commitment, inReplyTo=between.proposal["id"])
    assert said.agreement == {"type": "Agreement", "stipulates": commitment}
