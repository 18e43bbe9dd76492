"""An answer is sent once: who has it asks whether it holds; HEAD tells what GET would."""

from collections.abc import Iterator

import pytest
from market import NOW, add_groups, draft, publish, unpublish
from served import Served, served
from sqlalchemy import Engine

from api import caching
from commons.database import transaction
from commons.groups import Hub, HubState
from commons.settings import Settings
from marketplace.drafts import listing_id

PATHS = (
    "/listings?q=bread",
    "/listings.rss?q=bread",
    "/listings.geojson?q=bread",
    "/listings/{bread}",
    "/listings/map?bbox=-10,35,30,60&zoom=5",
    "/suggest?q=br",
    "/categories",
    "/groups",
    "/groups/river",
    "/?q=bread",
)


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    add_groups(sqlite_engine)
    with transaction(sqlite_engine) as session:
        inbox = "https://river.example/inbox"
        session.add(
            Hub(
                group_id="river",
                state=HubState.ADMITTED,
                inbox_uri=inbox,
                rate_wanted="1",
                registered_at=NOW,
            )
        )
    publish(sqlite_engine, draft("bread", "Bread"), group_id="river")
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def address(path: str) -> str:
    return path.replace("{bread}", listing_id("https://hub.example/bread"))


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test from crossing from one epoch into the next."""
    monkeypatch.setattr(caching, "EPOCH_SECONDS", 10**12)


@pytest.mark.parametrize("path", PATHS)
def test_what_a_client_has_is_not_sent_again(service: Served, path: str) -> None:
    first = service.get(address(path))
    assert first.status_code == 200, first.text
    etag = first.headers["etag"]
    assert etag.startswith('W/"')
    assert first.headers["cache-control"] == "public, max-age=30"
    for told in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        again = service.client.get(address(path), headers={"If-None-Match": told})
        assert (again.status_code, again.content) == (304, b""), told
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "public, max-age=30"
    other = service.client.get(address(path), headers={"If-None-Match": 'W/"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_head_tells_what_get_would(service: Served, path: str) -> None:
    got, head = service.get(address(path)), service.client.head(address(path))
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "cache-control", "content-type"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("path", ["/listings?q=jam", "/listings.rss", "/?q=bread"])
def test_a_change_of_the_listings_changes_the_etag(
    service: Served, sqlite_engine: Engine, path: str
) -> None:
    etag = service.get(path).headers["etag"]
    publish(sqlite_engine, draft("brick", "Bread and jam"))
    service.work()
    answer = service.client.get(path, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != etag


def test_another_question_has_another_etag(service: Served) -> None:
    etags = {service.get(path).headers["etag"] for path in ("/listings?q=a", "/listings?q=b")}
    assert len(etags) == 2


def test_an_etag_ends_with_its_epoch_since_listings_expire_without_a_change(
    service: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = service.get("/listings").headers["etag"]
    monkeypatch.setattr(caching, "EPOCH_SECONDS", 10**6)
    answer = service.client.get("/listings", headers={"If-None-Match": etag})
    assert answer.status_code == 200


def test_problems_are_not_kept(service: Served, sqlite_engine: Engine) -> None:
    gone = address("/listings/{bread}")
    etag = service.get(gone).headers["etag"]
    unpublish(sqlite_engine, "bread")
    for path in (gone, "/listings?limit=0", "/groups/nobody"):
        answer = service.client.get(path, headers={"If-None-Match": f"{etag}, *"})
        assert answer.status_code in {404, 422}
        assert "etag" not in answer.headers
        assert "cache-control" not in answer.headers


def test_a_broken_question_is_refused_whatever_the_client_has(service: Served) -> None:
    answer = service.client.get("/listings?colour=red", headers={"If-None-Match": "*"})
    assert answer.status_code == 422
