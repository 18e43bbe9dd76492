"""Who speaks for what is not theirs: by POST /inbox and by an outbox, and nothing of it is believed.

Each spoof is judged by its effect: the listings, hubs and keys of the others are what they were.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import disposed
from hub_server import PUBLIC, HubServer, Json
from served import Served, served
from signed_by import RSA, pem_key
from sqlalchemy import func, or_, select, update

from commons.database import Base, make_engine, reading, transaction
from commons.groups import HubKey
from commons.settings import Settings
from crawler.authors import Author
from crawler.kept import InboxMessage, PutAside
from crawler.peers import Peer, PeerState
from marketplace.listings import Listing

FAKE: Final = "Fake"


@dataclass
class World:
    """A service, an honest hub with listings, one that has not answered yet, and a hostile one."""

    service: Served
    honest: HubServer
    waiting: HubServer
    evil: HubServer
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(100, 1_000_000)))

    @property
    def listing(self) -> Json:
        """What the honest hub publishes and what is known of it."""
        return self.honest.proposal(1)

    @property
    def fake(self) -> Json:
        """The same as somebody else would like it to be, and newer."""
        return self.honest.proposal(1, hours=50, name=FAKE)

    @property
    def eve(self) -> str:
        return f"{self.evil.base}/members/eve"

    @property
    def ines(self) -> str:
        return f"{self.honest.base}/members/ines"

    def own(self, **more: object) -> Json:
        """A new listing of the hostile hub's own, but for what is said."""
        number = next(self.numbers)
        return self.evil.proposal(number, member="eve", name=FAKE, hours=50, **more)

    def says(self, kind: str, thing: object, **more: object) -> Json:
        """An activity of the hostile hub's member."""
        told = {"by": self.eve, **more}
        return self.evil.activity(kind, thing, **told)  # type: ignore[arg-type] # `by` is a text

    def held(self) -> tuple[object, ...]:
        """Everything of others that a spoof might change."""
        mine = f"{self.evil.base}/%"
        with reading(self.service.services.engine) as session:
            listings = session.execute(
                select(
                    *(Listing.uri, Listing.title, Listing.updated, Listing.withdrawn_at),
                    *(Listing.group_id, Listing.author_uri, Listing.consent_basis),
                )
                # What it withdraws of its own is its own affair.
                .where(or_(Listing.withdrawn_at.is_(None), Listing.uri.not_like(mine)))
                .order_by(Listing.uri)
            ).all()
            peers = session.execute(
                select(Peer.actor_uri, Peer.state, Peer.consented_at, Peer.follow_uri)
                .where(Peer.group_id != self.evil.name)
                .order_by(Peer.id)
            ).all()
            keys = session.execute(
                select(HubKey.key_id, HubKey.group_id, HubKey.public_key_pem, HubKey.revoked_at)
                .where(HubKey.group_id != self.evil.name)
                .order_by(HubKey.key_id)
            ).all()
            authors = session.execute(
                select(Author.uri, Author.indexable, Author.blocked)
                .where(Author.uri.not_like(mine))
                .order_by(Author.uri)
            ).all()
        return listings, peers, keys, authors

    def count(self, table: type[Base]) -> int:
        with reading(self.service.services.engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def work(self, times: int = 1) -> None:
        for _ in range(times):
            self.service.work()


def opened(stack: ExitStack, template: Path, folder: Path) -> World:
    path = folder / "localpay.sqlite"
    path.write_bytes(template.read_bytes())
    settings = Settings(data_dir=folder / "data", base_url="http://testserver", allow_loopback=True)
    settings.data_dir.mkdir()
    engine = stack.enter_context(disposed(make_engine(f"sqlite:///{path}")))
    service = stack.enter_context(served(settings, engine))
    hubs = [
        stack.enter_context(HubServer(name).serving()) for name in ("honest", "waiting", "evil")
    ]
    honest, waiting, evil = hubs
    world = World(service, honest, waiting, evil)
    honest.serve(honest.proposal(1))
    honest.serve(honest.proposal(2, member="moss"))
    honest.publish_outbox([honest.activity("Create", honest.proposal(n)) for n in (1,)])
    evil.member("eve", indexable=True, publicKey=pem_key(f"{world.eve}#main-key", world.eve))
    evil.member("ivy")
    for hub in hubs:
        assert service.register(hub).status_code == 201
        service.admit(hub.name)
    world.work(3)
    for hub in (honest, evil):
        service.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
    service.push(honest, honest.activity("Create", honest.proposal(2, member="moss")))
    with transaction(engine) as session:
        session.execute(update(Author).values(due_at=None))
    world.work(3)
    return world


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Shared, since none of these tests may change what it looks at."""
    with ExitStack() as stack:
        world = opened(stack, sqlite_template, tmp_path_factory.mktemp("spoofs"))
        listings, *_ = world.held()
        assert [row.title for row in listings] == ["Bicycle repair 1", "Bicycle repair 2"]  # type: ignore[attr-defined] # rows
        yield world


def served_at(hub: HubServer, path: str, document: Json | bytes, media_type: str) -> str:
    hub.headers[path] = {"Content-Type": media_type}
    return hub.put(path, document)


def upload(w: World, media_type: str) -> str:
    """What a user of the honest server put there as a file: a listing of another member's."""
    number = next(w.numbers)
    path = f"/uploads/{number}.json"
    told = w.honest.proposal(number, name=FAKE, id=w.honest.base + path)
    return served_at(w.honest, path, told, media_type)


def leading(hub: HubServer, path: str, to: str) -> str:
    """A page that redirects."""
    hub.headers[path] = {"Location": to}
    return hub.put(path, {}, 302)


def copy(w: World, document: Json) -> str:
    """Serve on the hostile hub what names another's id as its own."""
    return w.evil.put(f"/copies/{next(w.numbers)}", document)


def misspelt(base: str, change: Callable[[str, str], str]) -> str:
    """Write a server's address otherwise."""
    host, _, port = base.removeprefix("http://").partition(":")
    return change(host, port)


def under(w: World, start: str) -> Json:
    """A listing, pushed by the hostile hub, whose id begins so."""
    return w.says("Create", {**w.own(), "id": f"{start}/proposals/1"})


# Refused at the door: status, and what is sent there.
Spoof = Callable[[World], Json]
REFUSED: Final[dict[str, tuple[int, Spoof]]] = {
    "a Create by another hub's member": (403, lambda w: w.honest.activity("Create", w.fake)),
    "a Create by another hub": (
        403,
        lambda w: w.says("Create", w.fake, actor=w.honest.actor_uri),
    ),
    "an Update by another hub's member": (403, lambda w: w.says("Update", w.fake, actor=w.ines)),
    "a Delete by another hub's member": (
        403,
        lambda w: w.says("Delete", w.listing["id"], actor=w.ines),
    ),
    "a Delete by another hub of itself": (
        403,
        lambda w: w.says("Delete", w.honest.actor_uri, actor=w.honest.actor_uri),
    ),
    "a Block in another's name": (
        403,
        lambda w: w.says("Block", f"{w.service.url}/actor", actor=w.honest.actor_uri),
    ),
    "an Accept in another's name": (
        403,
        lambda w: w.says("Accept", w.waiting.taken[-1]["id"], actor=w.waiting.actor_uri),
    ),
    "a Reject in another's name": (
        403,
        lambda w: w.says("Reject", w.honest.taken[-1]["id"], actor=w.honest.actor_uri),
    ),
    "a Move in another's name": (
        403,
        lambda w: w.says(
            "Move", w.honest.actor_uri, actor=w.honest.actor_uri, target=w.evil.actor_uri
        ),
    ),
    "an Undo in another's name": (
        403,
        lambda w: w.says("Undo", {"type": "Accept"}, actor=w.honest.actor_uri),
    ),
    "an embedded actor of another": (
        403,
        lambda w: w.says("Create", w.fake, actor={"id": w.ines, "type": "Person"}),
    ),
    "another's actor first of two": (403, lambda w: w.says("Create", w.fake, actor=[w.ines, w.eve])),
    "an activity of another's origin": (
        403,
        lambda w: w.says("Create", w.own(), id=f"{w.honest.base}/activities/1"),
    ),
    "an activity with a user in its id": (
        403,
        lambda w: w.says("Create", w.own(), id=w.evil.base.replace("//", "//honest@") + "/a"),
    ),
    "an activity with a backslash in its id": (
        403,
        lambda w: w.says("Create", w.own(), id=w.evil.base.replace("//", "//honest\\@") + "/a"),
    ),
    "an actor with a user": (
        403,
        lambda w: w.says("Create", w.own(), actor=w.eve.replace("//", "//ines@")),
    ),
    "an actor of another port": (
        403,
        lambda w: w.says("Create", w.own(), actor=misspelt(w.evil.base, lambda h, _: f"http://{h}/e")),
    ),
    "an actor of another spelling": (
        403,
        lambda w: w.says(
            "Create", w.own(), actor=misspelt(w.honest.base, lambda _, p: f"http://127.1:{p}/members/ines")
        ),
    ),
    "an actor by another scheme": (
        403,
        lambda w: w.says("Create", w.own(), actor=w.eve.replace("http:", "https:")),
    ),
    "no id": (400, lambda w: {**w.says("Create", w.fake), "id": None}),
    "an empty id": (400, lambda w: w.says("Create", w.fake, id="")),
    "an array of ids": (400, lambda w: w.says("Create", w.fake, id=[f"{w.evil.base}/a"])),
    "a number for an id": (400, lambda w: w.says("Create", w.fake, id=7)),
    "a truth for an id": (400, lambda w: w.says("Create", w.fake, id=True)),
    "no actor": (400, lambda w: {**w.says("Create", w.fake), "actor": None}),
    "an attribution for an actor": (
        400,
        lambda w: {**w.says("Create", w.fake), "actor": [], "attributedTo": w.eve},
    ),
    "no type": (400, lambda w: {**w.says("Create", w.fake), "type": None}),
    "an id that is no address": (403, lambda w: w.says("Create", w.fake, id="urn:uuid:1")),
    "an id without a host": (403, lambda w: w.says("Create", w.fake, id="http:///a")),
    "an id in a script": (403, lambda w: w.says("Create", w.fake, id="javascript:alert(1)")),
}  # fmt: skip

# Taken in, or read in an outbox; what it says of others is not believed.
BELIEVED_BY_NOBODY: Final[dict[str, Spoof]] = {
    "another's listing, embedded": lambda w: w.says("Create", w.fake),
    "another's listing, newer": lambda w: w.says("Update", w.fake),
    "another's listing, added": lambda w: w.says("Add", w.fake, target=w.honest.base + "/outbox"),
    "another's listing in an array": lambda w: w.says("Create", [w.fake, w.own()]),
    "another's listing, one deeper": lambda w: w.says("Create", w.says("Create", w.fake)),
    "another's listing by its author, one deeper": lambda w: w.says(
        "Create", w.honest.activity("Update", w.fake)
    ),
    "an announcement of what was altered": lambda w: w.says("Announce", w.fake),
    "an announcement of an altered Create": lambda w: w.says(
        "Announce", w.honest.activity("Create", w.fake)
    ),
    "an announcement of another's Delete": lambda w: w.says(
        "Announce", w.honest.delete(w.listing, hours=60)
    ),
    "an announcement of another's Tombstone": lambda w: w.says(
        "Announce", {"id": w.listing["id"], "type": "Tombstone"}
    ),
    "an own listing that another is to have written": lambda w: w.says(
        "Create", w.own(attributedTo=w.ines)
    ),
    "an own listing that another wrote with one": lambda w: w.says(
        "Create", w.own(attributedTo=[w.ines, w.eve])
    ),
    "an author whose id only begins like the own": lambda w: w.says(
        "Create", w.own(attributedTo=f"{w.evil.base}.evil.example/members/eve")
    ),
    "an author with a user": lambda w: w.says(
        "Create", w.own(attributedTo=w.eve.replace("//", "//ines@"))
    ),
    "an author with a query for a host": lambda w: w.says(
        "Create", w.own(attributedTo=w.honest.base + "?@" + w.evil.base)
    ),
    "a listing with a user in its id": lambda w: under(
        w, w.evil.base.replace("//", "//" + w.honest.base.removeprefix("http://") + "@")
    ),
    "a listing with a backslash in its id": lambda w: under(
        w, w.evil.base.replace("//", "//honest.example\\@")
    ),
    "a listing with a backslash before its path": lambda w: under(
        w, w.evil.base + "\\@honest.example"
    ),
    "a listing with a tab in its id": lambda w: under(w, w.evil.base.replace("//", "/\t/")),
    "a listing with a blank before its id": lambda w: under(w, " " + w.evil.base),
    "a listing of a dotted host": lambda w: under(
        w, misspelt(w.evil.base, lambda h, p: f"http://{h}.:{p}")
    ),
    "a listing of a host in other digits": lambda w: under(
        w, misspelt(w.evil.base, lambda h, p: f"http://{h.replace('1', chr(0xFF11))}:{p}")
    ),
    "a listing of another's host in other digits": lambda w: under(
        w, misspelt(w.honest.base, lambda h, p: f"http://{h.replace('.', chr(0x3002))}:{p}")
    ),
    "a listing of another's host in hex": lambda w: under(
        w, misspelt(w.honest.base, lambda _, p: f"http://0x7f000001:{p}")
    ),
    "a listing of another's alias": lambda w: under(
        w, misspelt(w.honest.base, lambda _, p: f"http://localhost:{p}")
    ),
    "a listing of a letter that looks alike": lambda w: under(w, "https://h\u043enest.example"),
    "a Delete of another's listing": lambda w: w.says("Delete", w.listing["id"]),
    "a Delete of another's Tombstone": lambda w: w.says(
        "Delete", {"id": w.listing["id"], "type": "Tombstone", "attributedTo": w.eve}
    ),
    "a Delete of two": lambda w: w.says("Delete", [f"{w.evil.base}/proposals/9", w.listing["id"]]),
    "a Delete of another's member": lambda w: w.says("Delete", w.ines),
    "a Delete of another hub": lambda w: w.says(
        "Delete", w.honest.actor_uri, by=w.evil.actor_uri
    ),
    "an Undo of what another announced": lambda w: w.says(
        "Undo", {"type": "Announce", "id": f"{w.honest.base}/a", "object": w.listing["id"]}
    ),
    "an Undo of what another accepted": lambda w: w.says(
        "Undo", {"type": "Accept", "actor": w.honest.actor_uri, "object": w.honest.taken[-1]["id"]}
    ),
    "an Undo of what another blocked": lambda w: w.says(
        "Undo", {"type": "Block", "actor": w.honest.actor_uri, "object": f"{w.service.url}/actor"}
    ),
    "a Move of another hub": lambda w: w.says(
        "Move", w.honest.actor_uri, by=w.evil.actor_uri, target=w.evil.actor_uri
    ),
    "a Move of another's member": lambda w: w.says("Move", w.ines, target=w.eve),
    "a Move to another hub that does not know of it": lambda w: w.says(
        "Move", w.evil.actor_uri, by=w.evil.actor_uri, target=w.waiting.actor_uri
    ),
    "an Accept of what another was asked": lambda w: w.says(
        "Accept", w.waiting.taken[-1]["id"], by=w.evil.actor_uri
    ),
    "an Accept that embeds what another was asked": lambda w: w.says(
        "Accept", w.waiting.taken[-1], by=w.evil.actor_uri
    ),
    "a Reject of what another was asked": lambda w: w.says(
        "Reject", w.honest.taken[-1], by=w.evil.actor_uri
    ),
    "a Block of another hub": lambda w: w.says("Block", w.honest.actor_uri, by=w.evil.actor_uri),
    "an Update of another's actor": lambda w: w.says(
        "Update", {"id": w.ines, "type": "Person", "indexable": False}
    ),
    "an Update of another hub's actor": lambda w: w.says(
        "Update", {"id": w.honest.actor_uri, "type": "Group", "indexable": False, "movedTo": w.eve}
    ),
    "a copy that names another's id": lambda w: w.says("Announce", copy(w, w.fake)),
    "a copy without an id": lambda w: w.says("Announce", copy(w, {**w.fake, "id": None})),
    "a copy with an array of ids": lambda w: w.says("Announce", copy(w, {**w.fake, "id": [w.eve]})),
    "a redirect to another's listing": lambda w: w.says(
        "Announce", leading(w.evil, f"/to/{next(w.numbers)}", w.listing["id"])
    ),
    "an open redirect of another's to a copy": lambda w: w.says(
        "Announce", leading(w.honest, f"/out/{next(w.numbers)}", copy(w, w.fake))
    ),
    "a file that somebody uploaded there, as JSON": lambda w: w.says(
        "Announce", upload(w, "application/json")
    ),
    "a file that somebody uploaded there, as text": lambda w: w.says(
        "Announce", upload(w, "text/plain; charset=utf-8")
    ),
    "a file that somebody uploaded there, as an image": lambda w: w.says(
        "Announce", upload(w, "image/png")
    ),
    "a file that somebody uploaded there, as linked data": lambda w: w.says(
        "Announce", upload(w, 'application/ld+json; profile="https://evil.example"')
    ),
    "a file that somebody uploaded there, as two types": lambda w: w.says(
        "Announce", upload(w, "text/html, application/activity+json")
    ),
    "a file that somebody uploaded there, as no type": lambda w: w.says("Announce", upload(w, "")),
    "an announced listing of nobody who agreed": lambda w: w.says(
        "Announce", w.evil.serve(w.own(to=[f"{w.evil.base}/followers"]))["id"]
    ),
    "a proof that is not one": lambda w: w.says(
        "Announce",
        {
            **w.fake,
            "proof": {
                "type": "DataIntegrityProof",
                "cryptosuite": "eddsa-jcs-2022",
                "verificationMethod": w.evil.key_id,
                "proofPurpose": "assertionMethod",
                "proofValue": "z" + "1" * 88,
                "created": "2026-10-01T00:00:00Z",
            },
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoof", REFUSED)
def test_a_push_in_anothers_name_is_refused_and_stores_nothing(world: World, spoof: str) -> None:
    status, made = REFUSED[spoof]
    document, before = made(world), world.held()
    stored = [world.count(table) for table in (InboxMessage, PutAside, Listing)]
    answer = world.service.push(world.evil, document)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    world.work()
    assert [world.count(table) for table in (InboxMessage, PutAside, Listing)] == stored
    assert world.held() == before


@pytest.mark.parametrize("spoof", BELIEVED_BY_NOBODY)
def test_a_push_about_what_is_anothers_has_no_effect(world: World, spoof: str) -> None:
    document, before = BELIEVED_BY_NOBODY[spoof](world), world.held()
    answer = world.service.push(world.evil, document)
    assert answer.status_code == 202
    world.work()
    assert world.held() == before


# But for those of the hub's own listings: an outbox says nothing of who vouches for an activity.
OUTBOX: Final = {
    **BELIEVED_BY_NOBODY,
    **{name: made for name, (_, made) in REFUSED.items() if "own" not in made.__code__.co_names},
}


def test_an_outbox_in_others_names_has_no_effect(world: World) -> None:
    """All at once, since a crawl reads on whatever an item says."""
    items = [made(world) for made in OUTBOX.values()]
    assert len(items) > 70
    before = world.held()
    world.evil.publish_outbox(*[items[start : start + 10] for start in range(0, len(items), 10)])
    with transaction(world.service.services.engine) as session:
        session.execute(
            update(Peer)
            .where(Peer.group_id == world.evil.name)
            .values(due_at=datetime.now(UTC), state=PeerState.LIVE)
        )
    world.evil.asked.clear()
    world.work(3)
    pages = {path for path in world.evil.asked if path.startswith("/outbox?page=")}
    assert len(pages) == -(-len(items) // 10)
    assert world.held() == before


@pytest.mark.parametrize(
    ("path", "status"),
    [("key", 401), ("members/eve#main-key", 401), ("group#nobodys", 401), ("../group", 401)],
)
def test_a_key_id_that_is_anothers_or_nobodys_opens_nothing(
    world: World, path: str, status: int
) -> None:
    """What signs is the hostile hub's own key, under an id of another's path."""
    before, stored = world.held(), world.count(InboxMessage)
    for base in (world.honest.base, world.evil.base):
        if path == "members/eve#main-key" and base == world.evil.base:
            continue
        answer = world.service.push(
            world.evil, world.honest.activity("Create", world.fake), key_id=f"{base}/{path}"
        )
        assert answer.status_code == status
    answer = world.service.push(
        world.evil, world.honest.activity("Create", world.fake), key_id=world.honest.key_id
    )
    assert answer.status_code == 401
    world.work()
    assert (world.held(), world.count(InboxMessage)) == (before, stored)


@pytest.mark.parametrize(
    "owner",
    [
        lambda w: w.ines,
        lambda w: w.honest.actor_uri,
        lambda w: [w.ines],
        lambda w: {"id": w.ines},
        lambda w: w.evil.base.replace("//", "//ines@") + "/members/ivy",
        lambda w: None,
    ],
)
def test_a_key_that_says_it_is_anothers_is_nobodys(
    world: World, owner: Callable[[World], Any]
) -> None:
    number = next(world.numbers)
    key_id = f"{world.evil.base}/keys/{number}"
    described = {**pem_key(key_id, "", RSA), "owner": owner(world)}
    world.evil.put(f"/keys/{number}", described)
    world.evil.put(f"/members/{number}", {"id": world.eve, "type": "Person", "publicKey": described})
    before, stored = world.held(), world.count(InboxMessage)
    for named in (key_id, f"{world.evil.base}/members/{number}#main-key"):
        activity = world.honest.activity("Create", world.fake)
        answer = world.service.push(world.evil, activity, key=RSA, key_id=named)
        assert answer.status_code in {401, 403}
    world.work()
    assert (world.held(), world.count(InboxMessage)) == (before, stored)


def test_what_the_hostile_hub_says_of_itself_is_taken(world: World) -> None:
    """These tests could fail: what is its own arrives, and what is another's own does too."""
    before, _, _, _ = world.held()
    own = world.own(to=[PUBLIC])
    assert world.service.push(world.evil, world.says("Create", own)).status_code == 202
    newer = world.honest.serve(world.honest.proposal(1, hours=1, name="Newer"))
    activity = world.says("Announce", json.loads(json.dumps({**newer, "name": FAKE})))
    assert world.service.push(world.evil, activity).status_code == 202
    world.work()
    after, _, _, _ = world.held()
    titles = sorted(row.title for row in after)  # type: ignore[attr-defined] # rows
    assert titles == ["Bicycle repair 2", FAKE, "Newer"]
    assert after != before
