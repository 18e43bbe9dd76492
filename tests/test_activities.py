"""What each activity does, whatever the order in which they arrive."""

import random
from collections.abc import Iterator

import pytest
from hub_server import PUBLIC, Crawling, HubServer, Json, at
from sqlalchemy import Engine, select

from commons.database import reading
from commons.settings import Settings
from crawler import activities
from crawler.kept import InboxMessage, PutAside
from crawler.peers import PeerState
from marketplace.listings import Listing, WithdrawnReason


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def hub(crawling: Crawling) -> Iterator[HubServer]:
    with HubServer().serving() as serving:
        crawling.follow(serving)
        yield serving


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("title", {"name": None}),
        ("lat", {"location": {"type": "Place", "latitude": 91, "longitude": 2}}),
        ("title", {"name": "long " * 100}),
    ],
)
def test_a_bad_listing_is_put_aside_with_its_reason_until_it_is_good(
    crawling: Crawling, hub: HubServer, field: str, more: Json
) -> None:
    bad = hub.proposal(1, **more)
    crawling.push_and_work(
        hub, hub.activity("Create", bad), hub.activity("Create", hub.proposal(2))
    )

    assert crawling.titles() == ["Bicycle repair 2"]
    assert crawling.put_aside()[bad["id"]].startswith(f"{field}:")

    crawling.push_and_work(hub, hub.activity("Update", hub.proposal(1, hours=1)))
    assert len(crawling.titles()) == 2
    assert crawling.put_aside() == {}


def test_an_older_update_changes_nothing(crawling: Crawling, hub: HubServer) -> None:
    new = hub.activity("Update", hub.proposal(1, hours=2, name="New"))
    old = hub.activity("Update", hub.proposal(1, hours=1, name="Old"))
    crawling.push_and_work(hub, new)
    crawling.push_and_work(hub, old)

    assert crawling.titles() == ["New"]


def test_a_delete_before_its_create_is_remembered(crawling: Crawling, hub: HubServer) -> None:
    proposal = hub.proposal(1)
    crawling.push_and_work(hub, hub.delete(proposal, hours=3))
    crawling.push_and_work(hub, hub.activity("Create", proposal))

    assert crawling.titles() == []
    assert crawling.listing(proposal["id"]).withdrawn_reason is WithdrawnReason.DELETED


def test_nobody_deletes_what_is_of_another_origin(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("leeds").serving() as other:
        crawling.follow(other)
        theirs = other.proposal(1)
        crawling.push_and_work(other, other.activity("Create", theirs))
        crawling.push_and_work(hub, hub.activity("Delete", theirs["id"], by=hub.member()))

        assert crawling.titles() == ["Bicycle repair 1"]


def test_a_deleted_listing_leaves_no_words_behind(crawling: Crawling, hub: HubServer) -> None:
    proposal = hub.proposal(1, name="Secret trumpet")
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    crawling.push_and_work(hub, hub.delete(proposal, hours=1))

    with reading(crawling.engine) as session:
        bodies = "".join(body or "" for body in session.scalars(select(InboxMessage.body)))
        assert "trumpet" not in bodies


def kept_words(crawling: Crawling) -> str:
    """Return all that is kept as it came, in one text."""
    with reading(crawling.engine) as session:
        pushed = session.scalars(select(InboxMessage.body)).all()
        aside = session.scalars(select(PutAside.document)).all()
        return "\n".join(words or "" for words in [*pushed, *aside])


def test_a_deleted_listing_that_was_put_aside_leaves_no_words_behind(
    crawling: Crawling, hub: HubServer
) -> None:
    proposal = hub.proposal(1, name=None, content="Secret trumpet")
    crawling.push_and_work(hub, hub.activity("Create", proposal))
    assert kept_words(crawling).count("trumpet") == 1
    crawling.push_and_work(hub, hub.delete(proposal, hours=1))

    assert "trumpet" not in kept_words(crawling)
    assert crawling.put_aside() == {}


def test_a_create_that_comes_after_its_delete_leaves_no_words_behind(
    crawling: Crawling, hub: HubServer
) -> None:
    proposal = hub.proposal(1, name="Secret trumpet")
    crawling.push_and_work(hub, hub.delete(proposal, hours=1))
    crawling.push_and_work(hub, hub.activity("Create", proposal))

    assert "trumpet" not in kept_words(crawling)


def test_a_newer_yes_that_waits_outlives_an_older_no(crawling: Crawling, hub: HubServer) -> None:
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
    private = hub.proposal(1, hours=1, searchableBy=[f"{hub.base}/followers"])
    again = hub.proposal(1, hours=2, searchableBy=[PUBLIC])
    updates = [hub.activity("Update", private), hub.activity("Update", again)]

    crawling.push_and_work(hub, *reversed(updates))
    assert crawling.titles() == ["Bicycle repair 1"]

    for number, document in enumerate(updates):
        crawling.push(hub, {**document, "id": f"{hub.base}/activities/again-{number}"})
    crawling.work()
    assert crawling.titles() == ["Bicycle repair 1"]


def test_a_change_of_an_actor_has_nothing_read_anew_that_was_allowed(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
    hub.asked.clear()
    member = hub.member("ines", summary="Brakes, gears, tyres")
    crawling.push_and_work(hub, hub.activity("Update", {"id": member, "type": "Person"}, by=member))

    assert hub.asked == ["/members/ines"]


def test_nothing_is_kept_of_what_a_hub_pushes_that_has_not_agreed(
    crawling: Crawling, hub: HubServer
) -> None:
    crawling.push_and_work(
        hub,
        hub.activity("Create", hub.proposal(1, name="Secret trumpet")),
        hub.activity("Create", hub.proposal(2, name=None, content="Secret trumpet")),
    )
    crawling.push_and_work(hub, hub.activity("Block", "http://testserver/actor"))
    assert "trumpet" not in kept_words(crawling)

    crawling.push_and_work(
        hub,
        hub.activity("Create", hub.proposal(3, name="Secret trumpet")),
        hub.activity("Create", hub.proposal(4, purpose="trumpet")),
    )
    assert "trumpet" not in kept_words(crawling)
    assert crawling.put_aside() == {}


def test_a_member_who_leaves_takes_its_listings_along(crawling: Crawling, hub: HubServer) -> None:
    ines, moss = hub.proposal(1), hub.proposal(2, member="moss")
    crawling.push_and_work(hub, hub.activity("Create", ines), hub.activity("Create", moss))
    author = ines["attributedTo"]
    crawling.push_and_work(hub, hub.activity("Delete", author, by=author))

    assert crawling.titles() == ["Bicycle repair 2"]


@pytest.mark.parametrize("no", [{"indexable": False}, {"searchableBy": []}, {"suspended": True}])
def test_a_members_no_keeps_its_listings_out(crawling: Crawling, hub: HubServer, no: Json) -> None:
    hub.member("ines", **no)
    if "searchableBy" in no:
        hub.member("ines", searchableBy=[f"{hub.base}/followers"])
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))

    assert crawling.titles() == []
    assert crawling.count(Listing) == 0


def test_a_listing_that_is_not_public_stays_out(crawling: Crawling, hub: HubServer) -> None:
    quiet = hub.proposal(1, to=[f"{hub.base}/followers"], cc=[PUBLIC])
    crawling.push_and_work(hub, hub.activity("Create", quiet))

    assert crawling.titles() == []


def test_a_member_who_turns_indexable_off_is_removed_and_may_come_back(
    crawling: Crawling, hub: HubServer
) -> None:
    create = hub.activity("Create", hub.proposal(1))
    hub.publish_outbox([create])
    crawling.push_and_work(hub, create)
    member = hub.member("ines", indexable=False)
    person = {"id": member, "type": "Person"}
    crawling.push_and_work(hub, hub.activity("Update", person, by=member))

    assert crawling.titles() == []
    with reading(crawling.engine) as session:
        held = session.scalars(
            select(InboxMessage.body).where(InboxMessage.activity_type == "Create")
        )
        assert set(held) == {None}

    hub.member("ines", indexable=True)
    crawling.push_and_work(hub, hub.activity("Update", person, by=member))
    assert crawling.titles() == ["Bicycle repair 1"]


def test_an_announced_listing_is_taken_from_its_origin_only(
    crawling: Crawling, hub: HubServer
) -> None:
    real = hub.serve(hub.proposal(1, name="Real"))
    create = hub.activity("Create", {**real, "name": "Fake"})
    crawling.push_and_work(hub, hub.activity("Announce", create))

    assert crawling.titles() == ["Real"]


def test_a_strangers_announced_listing_needs_its_authors_own_yes(
    crawling: Crawling, hub: HubServer
) -> None:
    with HubServer("unregistered").serving() as stranger:
        silent = stranger.serve(stranger.proposal(1))
        stranger.member("open", indexable=True)
        willing = stranger.serve(stranger.proposal(2, member="open"))
        announced = hub.activity("Announce", willing["id"])
        crawling.push_and_work(hub, hub.activity("Announce", silent["id"]), announced)
        assert crawling.titles() == ["Bicycle repair 2"]

        # Announced no more, it is asked for at its origin, whose word and its author's count.
        crawling.push_and_work(hub, hub.activity("Undo", announced))
        assert crawling.titles() == ["Bicycle repair 2"]
        stranger.gone("/proposals/2")
        crawling.push_and_work(hub, hub.activity("Undo", announced))
        assert crawling.titles() == []


def test_nobody_withdraws_a_listing_by_undoing_what_it_never_announced(
    crawling: Crawling, hub: HubServer
) -> None:
    with (
        HubServer("unregistered").serving() as stranger,
        HubServer("leeds").serving() as other,
    ):
        crawling.follow(other)
        stranger.member("ines", indexable=True)
        theirs = stranger.serve(stranger.proposal(1))
        crawling.push_and_work(hub, hub.activity("Create", theirs["id"], by=hub.actor_uri))
        assert crawling.titles() == ["Bicycle repair 1"]

        never = other.activity("Announce", theirs["id"])
        crawling.push_and_work(other, other.activity("Undo", never))
        assert crawling.titles() == ["Bicycle repair 1"]


def test_an_undone_announce_asks_the_origin(crawling: Crawling, hub: HubServer) -> None:
    kept, dropped = hub.serve(hub.proposal(1)), hub.serve(hub.proposal(2))
    first, second = hub.activity("Announce", kept["id"]), hub.activity("Announce", dropped["id"])
    crawling.push_and_work(hub, first, second)
    hub.gone("/proposals/2")
    crawling.push_and_work(hub, hub.activity("Undo", first["id"]), hub.activity("Undo", second))

    assert crawling.titles() == ["Bicycle repair 1"]


def test_an_undo_before_its_announce_is_remembered(crawling: Crawling, hub: HubServer) -> None:
    with HubServer("unregistered").serving() as stranger:
        stranger.member("ines", indexable=True)
        announced = hub.activity("Announce", stranger.serve(stranger.proposal(1))["id"])
        crawling.push_and_work(hub, hub.activity("Undo", announced))
        crawling.push_and_work(hub, announced)

        assert crawling.titles() == []


def test_a_hub_that_blocks_us_is_left_out(crawling: Crawling, hub: HubServer) -> None:
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(1)))
    crawling.push_and_work(hub, hub.activity("Block", "http://testserver/actor"))

    assert crawling.titles() == []
    assert crawling.peer(hub).state is PeerState.BLOCKED
    crawling.push_and_work(hub, hub.activity("Create", hub.proposal(2)))
    assert crawling.titles() == []

    hub.publish_outbox([hub.activity("Create", hub.proposal(3))])
    crawling.register(hub)
    crawling.work()
    crawling.push_and_work(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    assert crawling.titles() == ["Bicycle repair 3"]


def test_a_member_who_blocks_us_is_left_out(crawling: Crawling, hub: HubServer) -> None:
    ines, moss = hub.proposal(1), hub.proposal(2, member="moss")
    crawling.push_and_work(hub, hub.activity("Create", ines), hub.activity("Create", moss))
    block = hub.activity("Block", "http://testserver/actor", by=ines["attributedTo"])
    crawling.push_and_work(hub, block)

    assert crawling.titles() == ["Bicycle repair 2"]
    assert crawling.peer(hub).state is PeerState.LIVE


def test_what_means_nothing_here_does_nothing_and_its_words_are_forgotten_at_once(
    crawling: Crawling, hub: HubServer
) -> None:
    note = {"id": f"{hub.base}/notes/1", "type": "Note", "attributedTo": hub.member()}
    private = {**note, "content": "Secret trumpet", "to": [hub.member("moss")]}
    secret = {"content": "Secret trumpet"}
    crawling.push_and_work(
        hub,
        hub.activity("Create", private),
        hub.activity("Announce", hub.serve({**private, "id": f"{hub.base}/notes/2"})),
        hub.activity("Offer", {"type": "Agreement", "stipulates": {}}, **secret),
        hub.activity("Accept", f"{hub.base}/offers/1", **secret),
        hub.activity("Reject", f"{hub.base}/offers/2", **secret),
        hub.activity("Undo", f"{hub.base}/likes/1", **secret),
        hub.activity("Dance", hub.actor_uri, **secret),
    )

    assert (crawling.titles(), crawling.put_aside()) == ([], {})
    assert crawling.count(InboxMessage) == 8  # these and the Accept
    assert "trumpet" not in kept_words(crawling)


def story(hub: HubServer, start: int) -> list[Json]:
    """Activities about five listings, whose end is known: the origin serves the last versions."""
    told: list[Json] = []
    for number in range(start, start + 5):
        first = hub.proposal(number, name=f"First {number}")
        last = hub.serve(hub.proposal(number, hours=2, name=f"Last {number}"))
        middle = hub.proposal(number, hours=1, name=f"Middle {number}")
        told += [hub.activity("Create", first), hub.activity("Update", middle)]
        told += [hub.activity("Update", last), hub.activity("Announce", last["id"])]
    for number in (start + 1, start + 3):
        told.append(hub.delete(hub.proposal(number), hours=3))
        hub.gone(f"/proposals/{number}")
    undone = hub.activity("Announce", f"{hub.base}/proposals/{start + 2}")
    return [*told, undone, hub.activity("Undo", undone)]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_activities_does_not_matter(
    crawling: Crawling, hub: HubServer, seed: int
) -> None:
    shuffled = random.Random(seed)  # noqa: S311 (an order is no secret)
    starts = range(10, 60, 10)
    for start in starts:
        told = story(hub, start)
        shuffled.shuffle(told)
        while told:
            together = shuffled.randint(1, 12)
            crawling.push_and_work(hub, *told[:together])
            del told[:together]

    ends = [number for start in starts for number in (start, start + 2, start + 4)]
    assert crawling.titles() == sorted(f"Last {number}" for number in ends)
    with reading(crawling.engine) as session:
        found = session.scalars(select(Listing)).all()
    assert len(found) == 25
    versions = {row.updated.isoformat() for row in found if row.withdrawn_at is None}
    assert versions == {at(2).replace("Z", "+00:00")}


def test_a_push_that_asks_for_too_many_fetches_is_put_aside(
    crawling: Crawling, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = hub.serve(hub.proposal(1))  # this and its author are two fetches
    monkeypatch.setattr(activities, "FETCHES_MOST", 1)
    crawling.push_and_work(hub, hub.activity("Announce", announced["id"]))

    assert crawling.titles() == []
    assert "more would have to be fetched" in crawling.put_aside()[announced["id"]]

    monkeypatch.setattr(activities, "FETCHES_MOST", 2)
    crawling.push_and_work(hub, hub.activity("Announce", announced["id"]))
    assert crawling.titles() == ["Bicycle repair 1"]
