"""Other software is found in its own shape; what is wrong or hostile ends soon and is told."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from io import BufferedIOBase

import pytest
from hub_server import Crawling
from other_software import (
    ACTIVITY,
    DESCRIPTOR,
    Site,
    count,
    join,
    nothing_kept,
    webfinger_path,
)
from sqlalchemy import Engine

from commons.errors import ConflictError
from commons.fetch import Door
from commons.groups import Group
from commons.settings import Settings
from crawler import finding, joining
from crawler.finding import FETCHES_MOST
from crawler.peers import Peer, PeerKind


@pytest.fixture
def crawling(engine: Engine, settings: Settings) -> Iterator[Crawling]:
    with Crawling(engine, settings) as crawling:
        yield crawling


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().serving() as serving:
        yield serving


# Other software, in its own shapes


def mobilizon(site: Site) -> str:
    relay = site.actor("/relay", "Application", "relay", indexable=True)
    site.webfinger(f"acct:relay@{site.host}", relay)
    site.nodeinfo("mobilizon", "2.1")
    site.put(webfinger_path(f"{site.base}/"), b"", status=400)
    return site.host


def flohmarkt(site: Site) -> str:
    site.actor("/users/instance", "Person", "instance", indexable=True)
    where = f"{site.host}/users/instance"  # it writes addresses without their scheme
    site.webfinger(f"acct:instance@{site.host}", where)
    path = webfinger_path(f"acct:instance@{site.host}")
    status, _, headers, body = site.answers[path]
    site.answers[path] = (status, "application/json", headers, body)
    site.nodeinfo("flohmarkt")
    return site.base


def mastodon_group(site: Site) -> str:
    uri = site.actor("/users/barcelona", "Group", "barcelona", indexable=True, discoverable=True)
    site.webfinger(f"acct:barcelona@{site.host}", uri)
    site.put("/@barcelona", {"id": uri, "type": "Group"})
    site.nodeinfo("mastodon")
    return f"{site.base}/@barcelona"


def mitra(site: Site) -> str:
    application = site.actor("/actor", "Application", "mitra", indexable=True)
    site.nodeinfo("mitra", "2.1", Application=application)
    return site.base


def epicyon(site: Site) -> str:
    uri = site.actor("/users/barcelona", "Group", "barcelona", indexable=True)
    profile = '; profile="https://www.w3.org/ns/activitystreams"'
    path = "/users/barcelona"
    status, _, headers, body = site.answers[path]
    site.answers[path] = (status, f"application/ld+json{profile}", headers, body)
    site.webfinger(f"acct:barcelona@{site.host}", uri)
    site.nodeinfo("epicyon")
    return f"barcelona@{site.host}"


def bonfire(site: Site) -> str:
    uri = site.actor("/pub/actors/barcelona", "Group", "barcelona", indexable=True)
    site.webfinger(f"acct:barcelona@{site.host}", uri)
    site.nodeinfo("bonfire", "2.1")
    return f"@barcelona@{site.host}"


def gotosocial(site: Site) -> str:
    uri = site.actor("/users/barcelona", "Service", "barcelona", indexable=True)
    site.webfinger(f"acct:barcelona@{site.host}", uri, aliases=[uri, f"{site.base}/@barcelona"])
    site.nodeinfo("gotosocial")
    return f"acct:barcelona@{site.host}"


def lemmy(site: Site) -> str:
    uri = site.actor("/c/barcelona", "Group", "barcelona", indexable=True)
    site.webfinger(f"acct:barcelona@{site.host}", uri)
    site.actor("/", "Application", "lemmy")
    site.nodeinfo("lemmy", "2.1")
    return uri


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (mobilizon, PeerKind.INSTANCE),
        (flohmarkt, PeerKind.INSTANCE),
        (mastodon_group, PeerKind.ACTIVITYPUB),
        (mitra, PeerKind.INSTANCE),
        (epicyon, PeerKind.ACTIVITYPUB),
        (bonfire, PeerKind.ACTIVITYPUB),
        (gotosocial, PeerKind.ACTIVITYPUB),
        (lemmy, PeerKind.ACTIVITYPUB),
    ],
)
def test_other_software_is_found_in_its_own_shape_and_followed(
    crawling: Crawling, site: Site, make: Callable[[Site], str], kind: PeerKind
) -> None:
    joined = join(crawling, make(site))
    crawling.work()

    assert joined.to_mend is None, joined.tried
    assert joined.kind is kind
    assert joined.software == make.__name__.removesuffix("_group")
    assert joined.group_id == ("127-0-0-1" if kind is PeerKind.INSTANCE else "barcelona")
    assert any(step.asked == "NodeInfo" for step in joined.tried)
    (follow,) = site.taken
    assert (follow["type"], follow["object"]) == ("Follow", joined.actor_uri)


def test_a_server_that_names_no_actor_is_told_to_give_the_groups_account(
    crawling: Crawling, site: Site
) -> None:
    site.nodeinfo("wordpress")

    joined = join(crawling, site.base)

    assert joined.software == "wordpress"
    assert joined.to_mend is not None
    assert f"@group@{site.host}" in joined.to_mend
    assert nothing_kept(crawling.engine)


def test_an_account_on_another_host_counts_where_that_host_names_it_back(
    crawling: Crawling, site: Site
) -> None:
    with Site().serving() as other:
        uri = other.actor("/group", "Group", "barcelona", indexable=True)
        site.webfinger(f"acct:barcelona@{site.host}", uri)

        stolen = join(crawling, f"@barcelona@{site.host}")
        assert stolen.to_mend is not None
        assert nothing_kept(crawling.engine)

        other.webfinger(f"acct:barcelona@{other.host}", uri)
        assert join(crawling, f"@barcelona@{site.host}").group_id == "barcelona"


# What is wrong, missing or hostile


def endless(stream: BufferedIOBase) -> None:
    while True:
        stream.write(b"[" * 65536)


def wrong_host(site: Site) -> str:
    """Serve an actor that claims to be another host's."""
    site.put(
        "/group", {"id": "https://elsewhere.example/group", "type": "Group", "indexable": True}
    )
    return f"{site.base}/group"


def other_id(site: Site) -> str:
    """Serve at a second address an actor whose own address answers as somebody else."""
    site.actor("/real", "Group", "real", indexable=True)
    site.put("/real", {"id": f"{site.base}/third", "type": "Group", "indexable": True})
    return site.put("/group", {"id": f"{site.base}/real", "type": "Group", "indexable": True})


def redirects(site: Site) -> str:
    for number in range(9):
        site.redirect(f"/r{number}", f"/r{number + 1}")
    return f"{site.base}/r0"


def redirect_loop(site: Site) -> str:
    return site.redirect("/group", "/group")


def html(site: Site) -> str:
    return site.put("/group", b"<!doctype html><p>Hello", "text/html")


def html_as_json(site: Site) -> str:
    return site.put("/group", b"<!doctype html><p>Hello")


def never_ending(site: Site) -> str:
    return site.put("/group", endless)


def huge(site: Site) -> str:
    return site.put("/group", b'{"id":"' + b"x" * (2 * 1024 * 1024) + b'"}')


def no_id(site: Site) -> str:
    return site.put("/group", {"type": "Group", "indexable": True})


def many_types(site: Site) -> str:
    uri = f"{site.base}/group"
    return site.put("/group", {"id": uri, "type": [f"T{number}" for number in range(50_000)]})


def bare_list(site: Site) -> str:
    return site.put("/group", b"[1, 2]")


def odd_members(site: Site) -> str:
    uri = f"{site.base}/group"
    odd = {"inbox": [[]], "publicKey": 7, "name": {"x": 1}, "location": [9], "attributedTo": {}}
    return site.put("/group", {"id": uri, "type": [["Group"], 3, None], **odd})


def cycle(site: Site) -> str:
    one, two = f"{site.base}/one", f"{site.base}/two"
    site.put("/one", {"id": one, "type": "Note", "attributedTo": two})
    site.put("/two", {"id": two, "type": "Note", "attributedTo": one})
    return one


def own_cycle(site: Site) -> str:
    site.put("/one", {"id": f"{site.base}/two", "type": "Group", "indexable": True})
    site.put("/two", {"id": f"{site.base}/one", "type": "Group", "indexable": True})
    return f"{site.base}/one"


def chain(site: Site) -> str:
    for number in range(30):
        links = [f"{site.base}/n{number * 3 + step}" for step in (1, 2, 3)]
        document = {"id": f"{site.base}/n{number}", "type": "Note", "attributedTo": links}
        site.put(f"/n{number}", document)
    return f"{site.base}/n0"


def odd_descriptor(site: Site) -> str:
    links = [None, 7, {"rel": 7, "href": []}, {"rel": "self", "href": "javascript:alert(1)"},
             {"rel": "self", "href": "file:///etc/passwd"}, {"rel": "self"}]  # fmt: skip
    path = webfinger_path(f"acct:group@{site.host}")
    site.put(path, {"links": links}, DESCRIPTOR)
    return f"@group@{site.host}"


def odd_nodeinfo(site: Site) -> str:
    site.put("/.well-known/nodeinfo", {"links": {"rel": "x"}}, "application/json")
    return site.base


def inner_address(site: Site) -> str:
    site.webfinger(f"acct:group@{site.host}", "http://169.254.169.254/latest/meta-data")
    return f"@group@{site.host}"


HOSTILE = [
    wrong_host, other_id, redirects, redirect_loop, html, html_as_json, never_ending, huge, no_id,
    bare_list, many_types, odd_members, cycle, own_cycle, chain, odd_descriptor, odd_nodeinfo,
    inner_address,
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE)
def test_what_is_wrong_or_hostile_ends_soon_keeps_nothing_and_is_told(
    sqlite_engine: Engine, settings: Settings, site: Site, make: Callable[[Site], str]
) -> None:
    with Crawling(sqlite_engine, settings) as crawling:
        joined = join(crawling, make(site))

    assert joined.to_mend
    assert joined.actor_uri is None
    assert joined.tried
    assert all(step.address and step.asked and step.outcome for step in joined.tried)
    assert all(len(step.outcome) <= 500 for step in joined.tried)
    assert len(site.asked) <= FETCHES_MOST
    assert nothing_kept(sqlite_engine)


@pytest.mark.parametrize(
    "address",
    ["https://127.0.0.1", "@group@10.0.0.1", "https://localhost", "http://[::1]/group",
     "https://169.254.169.254/latest", "https://hub.example:8443/group", "https://0x7f000001/"],
)  # fmt: skip
def test_no_address_within_is_asked(
    sqlite_engine: Engine, settings: Settings, site: Site, address: str
) -> None:
    public = settings.model_copy(update={"allow_loopback": False})
    with Crawling(sqlite_engine, public) as crawling:
        joined = join(crawling, address)

    assert "give another address" in (joined.to_mend or "")
    assert nothing_kept(sqlite_engine)
    assert site.asked == []


def test_a_server_that_is_down_is_said_to_be_so(crawling: Crawling) -> None:
    with Site().serving() as site:
        base = site.base

    joined = join(crawling, base)

    assert (joined.to_mend or "").startswith(f"let {base} answer")


def test_the_media_type_of_another_thing_is_no_actor(crawling: Crawling, site: Site) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)
    status, _, headers, body = site.answers["/group"]
    for media_type in ("application/json", "text/plain", "application/ld+json", ""):
        site.answers["/group"] = (status, media_type, headers, body)
        assert join(crawling, uri).actor_uri is None
    site.answers["/group"] = (status, ACTIVITY, headers, body)
    assert join(crawling, uri).to_mend is None


def test_a_search_that_takes_too_long_ends_and_tells_what_was_tried(
    sqlite_engine: Engine, settings: Settings, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "SECONDS_MOST", 0.3)
    released = threading.Event()

    def hold(_stream: BufferedIOBase) -> None:
        released.wait(10)

    site.webfinger(f"acct:barcelona@{site.host}", f"{site.base}/group")
    site.put("/group", hold)
    with Crawling(sqlite_engine, settings) as crawling:
        joined = join(crawling, f"barcelona@{site.host}")
        released.set()

    assert [step.outcome for step in joined.tried] == [
        f"names {site.base}/group",
        "not done within 0.3 s",
    ]
    assert joined.to_mend
    assert nothing_kept(sqlite_engine)


def test_two_joins_in_one_moment_make_one_group(crawling: Crawling, site: Site) -> None:
    uri = site.actor("/group", "Group", "barcelona", indexable=True)

    async def both(door: Door) -> list[object]:
        joins = (joining.join(crawling.engine, door, crawling.settings, uri) for _ in range(2))
        return [*await asyncio.gather(*joins, return_exceptions=True)]

    for told in crawling.run(both):
        assert isinstance(told, ConflictError) or getattr(told, "group_id", "") == "barcelona"
    assert count(crawling.engine, Group) == count(crawling.engine, Peer) == 1
