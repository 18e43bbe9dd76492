"""The one door as a crawler's: robots.txt, what has not changed, new hosts and dead ones."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from internet import PUBLIC_ADDRESS, Clock, Internet, answer, header, page, redirect

from commons.answers import HELD_MAX_BYTES, HELD_MOST, Held, Response
from commons.errors import AddressRefusedError, FetchError
from commons.fetch import ROBOTS_SECONDS, Door
from commons.politeness import (
    DEAD_AFTER_SECONDS,
    DEAD_OPEN_SECONDS,
    HOSTS_MAX,
    NEWCOMERS_A_DAY,
    OPEN_SECONDS,
    Host,
    Newcomers,
    registrable_domain,
)
from commons.settings import Settings

ACTOR = "https://hub.example/actor"
KEY = "hub.example/actor"
ROBOTS = "hub.example/robots.txt"


def door(settings: Settings, internet: Internet, **others: Any) -> Door:  # noqa: ANN401 (passed on as it is)
    return Door(settings, network=internet, resolve=internet.resolve, **{"polite": False, **others})


def run(opened: Door, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 (passed on as it is)
    async def whole() -> object:
        try:
            return await work
        finally:
            await opened.aclose()

    return asyncio.run(whole())


def robots(*lines: str) -> bytes:
    return answer("\n".join(("User-agent: *", *lines)).encode(), media_type="text/plain")


def asked(internet: Internet) -> list[str]:
    return [request.target_uri.partition("://")[2] for request in internet.requests]


def crawl(settings: Settings, internet: Internet, url: str = ACTOR) -> Any:  # noqa: ANN401 (passed on as it is)
    opened = door(settings, internet)
    return run(opened, opened.errand(url, crawling=True).get_json(url))


def test_a_crawler_asks_robots_txt_first_and_once_a_day(settings: Settings) -> None:
    clock = Clock()
    internet = Internet(pages={KEY: page({}), ROBOTS: robots("Disallow: /private")})
    opened = door(settings, internet, clock=clock)
    crawler = opened.errand(ACTOR, crawling=True)

    async def whole() -> None:
        for _ in range(3):
            await crawler.get_json(ACTOR)
        with pytest.raises(FetchError, match=r"robots\.txt of hub\.example") as caught:
            await crawler.get_json("https://hub.example/private?x")
        assert caught.value.final
        assert asked(internet) == [ROBOTS, KEY, KEY, KEY]
        clock.seconds += ROBOTS_SECONDS + 1
        internet.pages[ROBOTS] = robots("Disallow: /")
        with pytest.raises(FetchError, match="does not let LocalPay read"):
            await crawler.get_json(ACTOR)
        assert asked(internet)[4:] == [ROBOTS]
        await opened.get_json(ACTOR)  # whoever pushed this asked for it to be fetched

    run(opened, whole())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_host_without_robots_txt_allows_all(settings: Settings, status: int) -> None:
    internet = Internet(pages={KEY: page({"id": ACTOR}), ROBOTS: answer(b"", status)})
    assert crawl(settings, internet).body == {"id": ACTOR}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_crawled_while_robots_txt_cannot_be_had(settings: Settings, status: int) -> None:
    internet = Internet(pages={KEY: page({}), ROBOTS: answer(b"", status)})
    with pytest.raises(FetchError, match=r"robots\.txt") as caught:
        crawl(settings, internet)
    assert not caught.value.final
    assert asked(internet) == [ROBOTS]


def test_a_redirect_of_robots_txt_is_followed_and_checked(settings: Settings) -> None:
    elsewhere = {"other.example/robots.txt": robots("Disallow: /actor")}
    moved = redirect("https://other.example/robots.txt")
    with pytest.raises(FetchError, match="does not let LocalPay read"):
        crawl(settings, Internet(pages={KEY: page({}), ROBOTS: moved} | elsewhere))
    public = settings.model_copy(update={"allow_loopback": False})
    internet = Internet(pages={KEY: page({}), ROBOTS: redirect("https://10.0.0.1/robots.txt")})
    with pytest.raises(FetchError, match="not a public address"):
        crawl(public, internet)
    assert {address for address, _ in internet.connected} == {PUBLIC_ADDRESS}


def test_the_host_that_a_redirect_leads_to_is_asked_for_its_rules_too(settings: Settings) -> None:
    internet = Internet(
        pages={
            KEY: redirect("https://other.example/actor"),
            "other.example/actor": page({}),
            "other.example/robots.txt": robots("Disallow: /"),
        }
    )
    with pytest.raises(FetchError, match=r"of other\.example"):
        crawl(settings, internet)
    assert "other.example/actor" not in asked(internet)


def test_a_crawl_delay_is_waited_for_outside_the_deadline(settings: Settings) -> None:
    clock = Clock()
    internet = Internet(pages={KEY: page({}), ROBOTS: robots("Crawl-delay: 30")})
    opened = door(settings, internet, polite=True, clock=clock, deadline_seconds=0.1)
    crawler = opened.errand(ACTOR, crawling=True)

    async def whole() -> None:
        await crawler.get_json(ACTOR)
        clock.seconds += 29.85
        await crawler.get_json(ACTOR)  # waits longer than its deadline
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await crawler.get_json(ACTOR)
        await opened.get_json(ACTOR)
        assert asked(internet) == [ROBOTS, KEY, KEY, KEY]

    run(opened, whole())


@pytest.mark.parametrize(
    ("validator", "condition"),
    [({"ETag": "first"}, "if-none-match"), ({"Last_Modified": "first"}, "if-modified-since")],
)
def test_what_has_not_changed_is_not_sent_again(
    settings: Settings, validator: dict[str, Any], condition: str
) -> None:
    tagged = answer(b'{"version": 1}', **validator)
    internet = Internet(pages={KEY: tagged})
    opened = door(settings, internet)

    async def whole() -> None:
        first = await opened.get_json(ACTOR)
        internet.pages[KEY] = answer(b"", 304)
        again = await opened.errand(ACTOR, crawling=True).get_json(ACTOR)
        assert (again.body, again.url) == (first.body, first.url) == ({"version": 1}, ACTOR)
        internet.pages[KEY] = answer(b'{"version": 2}')
        assert (await opened.get_json(ACTOR)).body == {"version": 2}
        internet.pages[KEY] = tagged
        await opened.get_json(ACTOR)

    run(opened, whole())
    actors = [request for request in internet.requests if request.target_uri == ACTOR]
    assert [header(request, condition) for request in actors] == [None, "first", "first", None]


def test_what_is_gone_is_held_no_longer(settings: Settings) -> None:
    internet = Internet(pages={KEY: answer(b"{}", ETag='"1"')})
    opened = door(settings, internet)

    async def whole() -> None:
        await opened.get_json(ACTOR)
        internet.pages[KEY] = answer(b"", 410)
        with pytest.raises(FetchError, match="410"):
            await opened.get_json(ACTOR)
        internet.pages[KEY] = answer(b"", 304)
        with pytest.raises(FetchError):
            await opened.get_json(ACTOR)

    run(opened, whole())
    assert header(internet.requests[2], "if-none-match") is None


def test_what_is_held_is_capped_in_number_and_in_size() -> None:
    held, tags = Held(), [("etag", '"1"')]
    for number in range(HELD_MOST + 10):
        held.keep(f"https://hub.example/{number}", "", Response(200, tags, b"{}"))
        assert held.get("https://hub.example/0", "")
    assert len(held) == HELD_MOST
    assert held.get("https://hub.example/1", "") is None
    for number in range(5):
        held.keep(
            f"https://hub.example/{number}", "", Response(200, tags, bytes(HELD_MAX_BYTES // 4))
        )
    assert len(held) == 3
    held.drop("https://hub.example/4", "")
    held.keep("https://hub.example/3", "", Response(200, [], b"{}"))
    assert len(held) == 1


def test_an_errand_ends_when_its_requests_are_used_up(settings: Settings) -> None:
    internet = Internet(pages={KEY: redirect("/a"), "hub.example/a": page({})})
    opened = door(settings, internet)
    errand = opened.errand(ACTOR, fetches=3)

    async def whole() -> None:
        await errand.get_json(ACTOR)
        with pytest.raises(FetchError, match="for one message") as caught:
            await errand.get_json(ACTOR)
        assert caught.value.final
        assert asked(internet) == [KEY, "hub.example/a", KEY]
        await opened.get_json(ACTOR)
        await opened.errand(ACTOR, fetches=3).get_json(ACTOR)

    run(opened, whole())


def test_ten_new_hosts_of_a_domain_are_asked_a_day(settings: Settings) -> None:
    clock = Clock()
    names = [f"{number}.hub.co.uk" for number in range(NEWCOMERS_A_DAY + 3)]
    internet = Internet(pages={f"{name}/": page({}) for name in [*names, "b.co.uk"]})
    opened = door(settings, internet, clock=clock)
    late, registered = f"https://{names[-1]}/", f"https://{names[-2]}/"

    async def whole() -> None:
        for _ in range(2):
            for name in names[:NEWCOMERS_A_DAY]:
                await opened.get_json(f"https://{name}/")
        with pytest.raises(FetchError, match="new hosts") as caught:
            await opened.get_json(late)
        assert not caught.value.final
        assert names[-1] not in internet.looked_up
        await opened.get_json("https://b.co.uk/")
        await opened.errand(f"{registered}group").get_json(registered)
        await opened.post(f"https://{names[-3]}/", b"{}", "application/json")
        clock.seconds += 24 * 3600
        await opened.get_json(late)

    run(opened, whole())


def test_a_redirect_counts_new_hosts_too(settings: Settings) -> None:
    internet = Internet()
    for number in range(NEWCOMERS_A_DAY + 1):
        following = f"https://{number + 1}.hub.example/"
        internet.pages[f"{number}.hub.example/"] = redirect(following)
    opened = door(settings, internet)

    async def whole() -> None:
        for number in range(0, NEWCOMERS_A_DAY, 3):
            with pytest.raises(FetchError):
                await opened.get_json(f"https://{number}.hub.example/")

    run(opened, whole())
    assert len(set(internet.looked_up)) == NEWCOMERS_A_DAY


def test_this_machines_own_addresses_are_never_too_many(settings: Settings) -> None:
    hosts = [f"127.0.0.{number}" for number in range(1, NEWCOMERS_A_DAY + 5)]
    internet = Internet(
        names={host: [[host]] for host in hosts}, pages={f"{host}/": page({}) for host in hosts}
    )
    opened = door(settings, internet)

    async def whole() -> None:
        for host in hosts:
            await opened.get_json(f"http://{host}/")

    run(opened, whole())
    public = settings.model_copy(update={"allow_loopback": False})
    with pytest.raises(AddressRefusedError):
        crawl(public, internet, "https://127.0.0.1/")


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.hub.org", "hub.org"),
        ("a.hub.co.uk", "hub.co.uk"),
        ("ines.github.io", "ines.github.io"),
        ("hub.example.", "hub.example"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
        ("8.8.8.8", ""),
        ("2a00:1450::1", ""),
    ],
)
def test_a_host_belongs_to_the_name_that_was_registered(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


def test_the_domains_that_are_counted_are_capped() -> None:
    newcomers = Newcomers()
    for number in range(HOSTS_MAX + 5):
        assert newcomers.admit(f"{number}.example", 0.0)
    assert len(newcomers) == HOSTS_MAX


def test_a_host_that_is_silent_for_a_week_is_probed_once_a_day() -> None:
    host, now = Host(seen_at=0.0), 0.0
    for _ in range(5):
        host.failed(now)
    probes = 0
    while now < DEAD_AFTER_SECONDS:
        assert host.closed_seconds(now) == OPEN_SECONDS
        now += OPEN_SECONDS
        host.failed(now)
        probes += 1
    assert probes == DEAD_AFTER_SECONDS / OPEN_SECONDS
    assert host.closed_seconds(now) == DEAD_OPEN_SECONDS
    host.failed(now + DEAD_OPEN_SECONDS)
    assert host.closed_seconds(now + DEAD_OPEN_SECONDS) == DEAD_OPEN_SECONDS
    host.answered()
    assert host.closed_seconds(now) == 0
    for _ in range(5):
        host.failed(now)
    assert host.closed_seconds(now) == OPEN_SECONDS


def test_an_errand_that_begins_anew_goes_by_no_robots_txt_of_before_it(settings: Settings) -> None:
    internet = Internet(pages={KEY: page({}), ROBOTS: robots("Disallow: /")})
    clock = Clock()
    opened = door(settings, internet, clock=clock)

    async def whole() -> None:
        with pytest.raises(FetchError, match="does not let LocalPay read"):
            await opened.errand(ACTOR, crawling=True).get_json(ACTOR)
        internet.pages[ROBOTS] = robots("Disallow:")
        clock.seconds += 1
        with pytest.raises(FetchError, match="does not let LocalPay read"):
            await opened.errand(ACTOR, crawling=True).get_json(ACTOR)
        crawler = opened.errand(ACTOR, crawling=True, anew=True)
        for _ in range(3):
            await crawler.get_json(ACTOR)
        assert asked(internet) == [ROBOTS, ROBOTS, KEY, KEY, KEY]

    run(opened, whole())
