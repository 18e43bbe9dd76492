"""Collections without an end or a sense: each is read in parts, each page once, and ends."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import disposed
from hub_server import Crawling, HubServer, Json
from sqlalchemy import delete, update

from commons.database import make_engine, transaction
from commons.settings import Settings
from crawler.backfill import Budget, crawl
from crawler.peers import CrawledPage, Peer, PeerState

PAGES_IN_ALL: Final = 12


@pytest.fixture(scope="module")
def followed(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Crawling, HubServer]]:
    """A crawler and a hub that it follows, shared: each test publishes listings of its own."""
    folder = tmp_path_factory.mktemp("collections")
    path = folder / "localpay.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    settings = Settings(data_dir=folder, base_url="http://testserver", allow_loopback=True)
    with (
        disposed(make_engine(f"sqlite:///{path}")) as engine,
        Crawling(engine, settings) as crawling,
        HubServer("evil").serving() as hub,
    ):
        crawling.follow(hub)
        hub.member()
        yield crawling, hub


@pytest.fixture
def crawling(followed: tuple[Crawling, HubServer]) -> Crawling:
    return followed[0]


@pytest.fixture
def hub(followed: tuple[Crawling, HubServer]) -> Iterator[HubServer]:
    crawling, hub = followed
    hub.asked.clear()
    with transaction(crawling.engine) as session:
        session.execute(delete(CrawledPage))
        session.execute(update(Peer).values(crawl_page=None, crawl_offset=0))
    before = dict(hub.documents)
    yield hub
    hub.documents = before


_NUMBERS: Final = count(1_000_000_000)


def page(hub: HubServer, path: str, following: object, items: list[Any] | None = None) -> Json:
    told: Json = {"id": hub.base + path, "type": "OrderedCollectionPage", "next": following}
    return {**told, "orderedItems": items or []}


def creates(hub: HubServer, *numbers: int) -> list[Json]:
    return [hub.activity("Create", hub.proposal(number)) for number in numbers]


class Endless(dict[str, tuple[int, Any]]):
    """Documents among which a page is made up for whatever is asked of the outbox."""

    def __init__(self, hub: HubServer, made: Callable[[HubServer, str], Json]) -> None:
        super().__init__(hub.documents)
        self._hub, self._made = hub, made

    def get(self, path: str, default: Any = None) -> Any:  # noqa: ANN401 (as dict has it)
        if not path.startswith("/outbox"):
            return super().get(path, default)
        return 200, {"id": self._hub.base + path, **self._made(self._hub, path)}


def number_in(path: str) -> int:
    digits = "".join(one for one in path if one.isdigit())
    return int(digits[-9:] or 0)


def to(hub: HubServer, path: str, *numbers: int) -> Json:
    return page(hub, path, hub.base + path, creates(hub, *numbers))


def one_by_one(hub: HubServer, path: str) -> Json:
    """Ever new pages, each of one listing, of a total that nobody has."""
    number = number_in(path) + 1
    told = page(hub, path, f"{hub.base}/outbox?page={number}", creates(hub, number))
    return {**told, "totalItems": 10**12}


def longer_and_longer(hub: HubServer, path: str) -> Json:
    return page(hub, path, f"{hub.base}{path}/x", creates(hub, len(path)))


def ever_firsts(hub: HubServer, path: str) -> Json:
    first = f"{hub.base}/outbox?first={number_in(path) + 1}"
    return {"type": "OrderedCollection", "first": first, "totalItems": 10**12}


def by_fragments(hub: HubServer, path: str) -> Json:
    """The same page under ever new names, none of which goes on the wire."""
    return page(hub, path, f"{hub.base}/outbox#{len(hub.asked)}", creates(hub, 1))


def by_queries(hub: HubServer, path: str) -> Json:
    return page(hub, path, f"{hub.base}/outbox?{'&' * len(hub.asked)}", creates(hub, 1))


def empty_pages(hub: HubServer, path: str) -> Json:
    return page(hub, path, f"{hub.base}/outbox?empty={number_in(path) + 1}")


def embedded_firsts(hub: HubServer, path: str) -> Json:
    """Each first page is embedded, and leads to another collection."""
    inner = page(hub, path, f"{hub.base}/outbox?c={number_in(path) + 1}", creates(hub, 1))
    return {"type": "OrderedCollection", "first": inner}


def both_ways(hub: HubServer, path: str) -> Json:
    """Back and forth between pages, with a first page besides."""
    other = f"{hub.base}/outbox?page={1 - number_in(path) % 2}"
    return {**page(hub, path, other, creates(hub, 1)), "first": f"{hub.base}/outbox"}


ENDLESS: Final = (
    *(one_by_one, longer_and_longer, ever_firsts, by_fragments, by_queries, empty_pages),
    *(embedded_firsts, both_ways),
)


def read(crawling: Crawling, hub: HubServer, **budget: int) -> bool:
    peer = crawling.peer(hub)
    outbox = f"{hub.base}/outbox"
    return crawling.run(
        lambda door: crawl(crawling.engine, door, peer.id, outbox, Budget(**budget))
    )


def outbox_asked(hub: HubServer) -> list[str]:
    return [path for path in hub.asked if path.startswith("/outbox")]


@pytest.mark.parametrize("made", ENDLESS)
def test_what_has_no_end_is_left_after_its_budget(
    crawling: Crawling, hub: HubServer, made: Callable[[HubServer, str], Json]
) -> None:
    hub.documents = Endless(hub, made)
    crawls = 1
    while not read(crawling, hub, pages=5, pages_in_all=PAGES_IN_ALL):
        assert len(outbox_asked(hub)) <= 5 * crawls
        crawls += 1
        assert crawls <= 4
    assert len(outbox_asked(hub)) <= PAGES_IN_ALL
    assert crawling.count(CrawledPage) == 0  # nothing is kept of it, and the next crawl begins anew


def test_the_budgets_are_those_that_are_promised() -> None:
    assert (Budget().pages, Budget().items) == (50, 1_000)


def test_one_visit_reads_no_more_than_its_budget_of_pages(
    crawling: Crawling, hub: HubServer
) -> None:
    hub.documents = Endless(hub, empty_pages)
    assert not read(crawling, hub)
    assert len(outbox_asked(hub)) == 50


def test_one_visit_takes_no_more_than_its_budget_of_items(
    crawling: Crawling, hub: HubServer
) -> None:
    items = [{"id": f"{hub.base}/{n}", "type": "Note"} for n in range(2_500)]
    hub.put("/outbox", page(hub, "/outbox", None, items))
    visits = [read(crawling, hub) for _ in range(3)]
    assert visits == [False, False, True]


CYCLES: Final[dict[str, list[tuple[str, object]]]] = {
    "itself": [("/outbox", "/outbox")],
    "there and back": [("/outbox", "/b"), ("/b", "/outbox")],
    "three": [("/outbox", "/b"), ("/b", "/c"), ("/c", "/b")],
    "a list of pages": [("/outbox", ["/b", "/outbox"]), ("/b", "/outbox")],
    "no address": [("/outbox", "next")],
    "a number": [("/outbox", 2)],
    "a truth": [("/outbox", True)],
    "nothing": [("/outbox", "")],
    "another server": [("/outbox", "http://127.0.0.2/outbox")],
    "another port": [("/outbox", "http://127.0.0.1/outbox")],
    "another scheme": [("/outbox", "file:///etc/passwd")],
    "a user": [("/outbox", "http://eve@127.0.0.1/outbox")],
    "too long an address": [("/outbox", "/outbox?" + "x" * 3000)],
    "what is not there": [("/outbox", "/nowhere")],
    "what is no collection": [("/outbox", "/members/ines")],
    "an actor": [("/outbox", "/group")],
}


@pytest.mark.parametrize("kind", CYCLES)
def test_a_chain_of_pages_that_leads_nowhere_ends(
    crawling: Crawling, hub: HubServer, kind: str
) -> None:
    def led(following: object) -> object:
        if isinstance(following, list):
            return [led(one) for one in following]
        is_path = isinstance(following, str) and following.startswith("/")
        return f"{hub.base}{following}" if is_path else following

    before = len(crawling.titles())
    for path, following in CYCLES[kind]:
        hub.put(path, page(hub, path, led(following), creates(hub, next(_NUMBERS))))
    assert read(crawling, hub)
    asked = [path for path in hub.asked if path not in {"/robots.txt", "/members/ines"}]
    assert len(asked) == len(set(asked))
    assert len(asked) <= len(CYCLES[kind]) + 1
    assert len(crawling.titles()) == before + len(CYCLES[kind])


ODD: Final[dict[str, Json]] = {
    "items that are no list": {"orderedItems": "x"},
    "items by number": {"orderedItems": 7},
    "items in an object": {"orderedItems": {"type": "Create"}},
    "nested lists": {"orderedItems": [[[[]]]]},
    "nothing in the list": {"orderedItems": [None, None]},
    "scalars": {"orderedItems": [1, True, 1.5, "x", ""]},
    "a total below nought": {"totalItems": -1, "orderedItems": []},
    "a total in words": {"totalItems": "many", "orderedItems": []},
    "a first that is a number": {"first": 1},
    "a first that is empty": {"first": {}},
    "a first within a first": {"first": {"first": {"first": {}}}},
    "itself among the items": {"orderedItems": ["ITSELF"]},
    "itself as what is done": {"orderedItems": [{"type": "Create", "object": "ITSELF"}]},
    "twenty of itself": {"orderedItems": ["ITSELF"] * 20},
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_collection_brings_nothing_and_stops_nothing(
    crawling: Crawling, hub: HubServer, kind: str
) -> None:
    outbox = f"{hub.base}/outbox"

    def named(value: object) -> object:
        if isinstance(value, list):
            return [named(one) for one in value]
        if isinstance(value, dict):
            return {name: named(one) for name, one in value.items()}
        return outbox if value == "ITSELF" else value

    odd = {name: named(value) for name, value in ODD[kind].items()}
    hub.put("/outbox", {"id": outbox, "type": "OrderedCollection", **odd})
    before = crawling.titles()
    crawling.make_due(Peer)
    crawling.work()
    assert crawling.titles() == before
    assert crawling.peer(hub).state is PeerState.LIVE

    hub.publish_outbox(creates(hub, next(_NUMBERS)))
    crawling.make_due(Peer)
    crawling.work()
    assert len(crawling.titles()) == len(before) + 1
