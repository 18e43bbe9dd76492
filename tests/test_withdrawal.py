"""Each way to say no takes a listing away everywhere, within one round of work, and to the word."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from hub_server import PUBLIC, HubServer, Json
from served import Served, served
from sqlalchemy import Engine, select

from api.tables import metadata
from commons.database import reading
from commons.robots import index_rules
from commons.settings import Settings
from commons.signatures import generate_rsa
from crawler.delivery import Delivery
from crawler.interest.rows import Interest
from crawler.kept import InboxMessage, PutAside
from marketplace.drafts import listing_id

# Words that stand nowhere else: of the title, the text, a category, the place, and of an answer.
WORDS = ("quibbletorp", "zumblefritz", "yarrowmint", "vintlehollow", "wexlibrand")


class World:
    """A service that holds one listing in every place where a listing leaves traces."""

    def __init__(self, service: Served, hub: HubServer) -> None:
        self.service, self.hub = service, hub
        self.inbox = f"{hub.base}/members/ines/inbox"
        self.author = hub.member("ines", inbox=self.inbox)
        service.register(hub)
        self.rounds()
        service.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
        self.rounds()
        self.proposal = hub.serve(
            hub.proposal(
                1,
                name="Quibbletorp lessons",
                content="<p>Zumblefritz by ear</p>",
                tag=[{"type": "Hashtag", "name": "#yarrowmint"}],
                location={"type": "Place", "name": "Vintlehollow", "latitude": 41, "longitude": 2},
            )
        )
        self.id = listing_id(self.proposal["id"])
        service.push(hub, hub.activity("Create", self.proposal))
        self.rounds()
        bad = {**self.proposal, "updated": "2026-10-01T09:00:00Z", "location": {"latitude": 91}}
        service.push(hub, hub.activity("Update", bad))
        self.rounds()
        hub.trusted = generate_rsa().public_key()  # nothing more is delivered there
        message = {"id": str(uuid4()), "member": self.author, "message": "Wexlibrand, please"}
        told = service.call(hub, "POST", f"/listings/{self.id}/interest", message)
        assert told.status_code == 201, told.text
        self.rounds()

    def rounds(self) -> None:
        for _ in range(3):
            self.service.work()

    def push(self, activity: Json) -> None:
        assert self.service.push(self.hub, activity).status_code == 202

    def update(self, **said: object) -> None:
        """The author's hub tells of a newer version that says more, or less."""
        newer = {**self.proposal, "updated": "2026-10-01T10:00:00Z", **said}
        self.push(self.hub.activity("Update", self.hub.serve(newer)))

    def author_says(self, **said: object) -> None:
        self.hub.member("ines", inbox=self.inbox, **said)
        self.push(self.hub.activity("Update", self.author, by=self.author))

    def group_says(self, **said: object) -> None:
        self.hub.publish_actor(**said)
        self.push(self.hub.activity("Update", self.hub.actor_uri, by=self.hub.actor_uri))

    def words_left(self) -> set[tuple[str, str]]:
        """Where one of the words stands in the database, whatever the table."""
        found = set()
        with reading(self.service.services.engine) as session:
            for table in metadata.sorted_tables:
                for row in session.execute(select(table)):
                    told = " ".join(str(value) for value in row).lower()
                    found |= {(table.name, word) for word in WORDS if word in told}
        return found

    def pages(self) -> Iterator[tuple[str, int, str]]:
        """What anybody can look at: path, status and text."""
        of_one = ("", "/why", "/proof", "/interest")
        paths = [f"/listings/{self.id}{end}" for end in of_one]
        paths += [f"/l/{self.id}", "/", "/listings", "/listings.rss", "/listings.geojson"]
        paths += ["/listings/map?bbox=-10,30,20,60&zoom=5", "/categories", "/about/groups"]
        paths += [f"/hubs/{self.hub.name}", f"/hubs/{self.hub.name}/health"]
        for word in WORDS:
            paths += [f"/listings?q={word}", f"/suggest?q={word[:5]}", f"/listings.rss?q={word}"]
        for path in paths:
            answer = self.service.client.get(path)
            yield path, answer.status_code, answer.text


@pytest.fixture
def world(settings: Settings, sqlite_engine: Engine) -> Iterator[World]:
    with served(settings, sqlite_engine) as service, HubServer().serving() as hub:
        yield World(service, hub)


def test_the_words_are_where_a_no_has_to_take_them_from(world: World) -> None:
    tables = {table for table, _ in world.words_left()}
    held = {"listings", "inbox_messages", "put_aside", "deliveries"}
    assert held <= tables, tables
    shown = {path for path, _, text in world.pages() if any(word in text.lower() for word in WORDS)}
    assert {f"/listings/{world.id}", "/listings", "/listings.rss", "/listings.geojson"} <= shown
    assert {f"/l/{world.id}", "/suggest?q=quibb", "/listings?q=quibbletorp"} <= shown
    assert world.service.get(f"/listings/{world.id}/why").status_code == 200


def register_without(world: World) -> None:
    wanted = {**world.hub.registration(), "listings": False}
    assert world.service.call(world.hub, "POST", "/hubs", wanted).status_code == 200


def announce_what_its_header_refuses(world: World) -> None:
    path = world.proposal["id"].removeprefix(world.hub.base)
    world.hub.headers[path] = {"X-Robots-Tag": "localpay: noindex"}
    world.push(world.hub.activity("Announce", world.proposal["id"], by=world.hub.actor_uri))


def refuse_by_the_authors_header(world: World) -> None:
    world.hub.headers["/members/ines"] = {"X-Robots-Tag": "max-snippet: 5, none"}
    world.author_says()


def announce_a_tombstone(world: World) -> None:
    world.hub.gone("/proposals/1", 200)
    delete = world.hub.activity("Delete", world.proposal["id"], by=world.author)
    world.push(world.hub.activity("Announce", delete, by=world.hub.actor_uri))


def delete_the_author(world: World) -> None:
    world.hub.gone("/members/ines")
    world.push(world.hub.activity("Delete", world.author, by=world.author))


NOES: dict[str, Callable[[World], None]] = {
    "searchableBy of the object": lambda world: world.update(searchableBy=[world.author]),
    "empty searchableBy of the object": lambda world: world.update(searchableBy=[]),
    "searchableBy of the actor": lambda world: world.author_says(searchableBy=world.author),
    "indexable false": lambda world: world.author_says(indexable=False),
    "public only in cc": lambda world: world.update(to=[world.author], cc=[PUBLIC]),
    "xRobotsTag of the object": lambda world: world.update(xRobotsTag="noindex"),
    "xRobotsTag of the actor": lambda world: world.author_says(xRobotsTag="noindex, nofollow"),
    "X-Robots-Tag of the object": announce_what_its_header_refuses,
    "X-Robots-Tag of the actor": refuse_by_the_authors_header,
    "suspended": lambda world: world.author_says(suspended=True),
    "Delete": lambda world: world.push(
        world.hub.activity("Delete", world.proposal["id"], by=world.author)
    ),
    "Tombstone": lambda world: world.push(world.hub.delete(world.proposal, 5)),
    "Tombstone at its origin": announce_a_tombstone,
    "author gone": delete_the_author,
    "Block by the author": lambda world: world.push(
        world.hub.activity("Block", f"{world.service.url}/actor", by=world.author)
    ),
    "Block by the hub": lambda world: world.push(
        world.hub.activity("Block", f"{world.service.url}/actor", by=world.hub.actor_uri)
    ),
    "indexable false of the group": lambda world: world.group_says(indexable=False),
    "listings false": register_without,
}


@pytest.mark.parametrize("no", NOES)
def test_a_no_takes_everything_away(world: World, no: str) -> None:
    NOES[no](world)
    world.service.work()

    assert world.words_left() == set()
    for path, status, text in world.pages():
        assert not any(word in text.lower() for word in WORDS if f"q={word}" not in path), path
        if world.id in path:
            assert status == 404, path
        assert '"hits":[{' not in text, path


def test_nothing_waits_to_bring_it_back(world: World) -> None:
    world.author_says(indexable=False)
    world.service.work()
    with reading(world.service.services.engine) as session:
        assert session.scalars(select(PutAside)).all() == []
        assert session.scalars(select(Interest)).all() == []
        of_interest = select(Delivery).where(Delivery.interest_id.is_not(None))
        assert session.scalars(of_interest).all() == []
        waiting = select(InboxMessage).where(InboxMessage.due_at.is_not(None))
        assert session.scalars(waiting).all() == []
    world.rounds()
    assert world.words_left() == set()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("X-Robots-Tag", "noindex")], ["noindex"]),
        ([("x-robots-tag", "none"), ("X-Robots-Tag", "noarchive")], ["none", "noarchive"]),
        ([("X-Robots-Tag", "LocalPay: noindex")], [" noindex"]),
        ([("X-Robots-Tag", "googlebot: noindex")], []),
        ([("X-Robots-Tag", "otherbot: noindex, nofollow")], []),
        ([("X-Robots-Tag", "max-snippet: 5, noindex")], ["max-snippet: 5, noindex"]),
        ([("X-Robots-Tag", "noindex, max-snippet: 5")], ["noindex, max-snippet: 5"]),
        ([("X-Robots-Tagged", "noindex"), ("Link", "noindex")], []),
    ],
)
def test_what_a_header_says_to_others_is_not_for_us(
    headers: list[tuple[str, str]], said: list[str]
) -> None:
    assert index_rules(headers) == said
