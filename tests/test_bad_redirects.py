"""Redirects and answers of the name system that lead astray: followed no further, believed never.

What is asked of whom is taken down by a recorder under the door; where an id is at stake, nothing
counts as the id's that another origin answers.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from internet import Internet, answer, page, redirect

from commons.errors import AddressRefusedError, FetchError, InvalidError
from commons.fetch import Door
from commons.guarded_network import TRIED_MOST
from commons.settings import Settings
from crawler.origins import fetch_actor, fetch_object

PUBLIC = "8.8.8.8"
ID = "https://hub.example/proposals/1"
HERE = "hub.example/proposals/1"
THERE = "evil.example/proposals/1"
PROPOSAL = {"id": ID, "type": "Proposal"}


@pytest.fixture
def public(settings: Settings) -> Settings:
    """Settings as in production: nothing but the public internet."""
    return settings.model_copy(update={"allow_loopback": False, "base_url": "https://pay.example"})


def run(
    public: Settings,
    internet: Internet,
    work: Callable[[Door], Awaitable[object]],
    *,
    blocked: str = "",
) -> object:
    async def refuses(host: str) -> bool:
        return host == blocked

    async def whole() -> object:
        door = Door(
            public, network=internet, resolve=internet.resolve, polite=False, refuses=refuses
        )
        try:
            return await work(door)
        finally:
            await door.aclose()

    return asyncio.run(whole())


def asked(internet: Internet) -> list[str]:
    return [request.target_uri.partition("://")[2] for request in internet.requests]


# What the first page answers, and whether anybody else is asked at all.
ASTRAY: dict[str, bytes] = {
    "to loopback": redirect("https://127.0.0.1/"),
    "to an inner name": redirect("https://inner.example/"),
    "to one of mixed answers": redirect("https://mixed.example/"),
    "to a name without an address": redirect("https://empty.example/"),
    "to http": redirect("http://hub.example/proposals/1"),
    "to a file": redirect("file:///etc/passwd"),
    "to data": redirect("data:application/activity+json,{}"),
    "to javascript": redirect("javascript:alert(1)"),
    "to a user": redirect("https://eve@hub.example/"),
    "to another port": redirect("https://hub.example:8443/"),
    "to a host without scheme": redirect("//10.0.0.1/"),
    "to a host with backslashes": redirect("\\\\10.0.0.1\\"),
    "to a host after one slash": redirect("/\\10.0.0.1/"),
    "to many slashes": redirect("////10.0.0.1/"),
    "to a scheme without slashes": redirect("https:10.0.0.1"),
    "to a bracket": redirect("https://[::1"),
    "to nothing": redirect(""),
    "without a Location": answer(b"", 302),
    "to too long an address": redirect("https://hub.example/" + "x" * 3000),
    "to bytes that are no text": redirect("https://\xff\xfe.example/"),
    "with a body that refreshes": answer(
        b'<meta http-equiv="refresh" content="0;url=https://evil.example/proposals/1">',
        media_type="text/html",
    ),
    "with a header that refreshes": answer(
        b"", media_type="text/html", Refresh="0; url=https://evil.example/proposals/1"
    ),
    "with a Location and no redirect": answer(
        b"", 200, Location="https://evil.example/proposals/1", media_type="text/html"
    ),
    "with a choice of many": answer(b"", 300, Location="https://evil.example/proposals/1"),
    "to a proxy": answer(b"", 305, Location="https://evil.example/proposals/1"),
    "with another status": answer(b"", 399, Location="https://evil.example/proposals/1"),
    "not modified, unasked": answer(b"", 304, Location="https://evil.example/proposals/1"),
    "with NUL": redirect("https://evil.example/\0"),
    "with a return": redirect("https://evil.example/\rX: y"),
}


@pytest.mark.parametrize("kind", ASTRAY)
def test_a_redirect_that_leads_astray_asks_nobody_else(public: Settings, kind: str) -> None:
    internet = Internet(
        names={
            "inner.example": [["10.0.0.1"]],
            "mixed.example": [["8.8.4.4", "192.168.0.1"]],
            "empty.example": [[]],
        },
        pages={HERE: ASTRAY[kind], THERE: page(PROPOSAL), "hub.example/": page(PROPOSAL)},
    )
    with pytest.raises((FetchError, InvalidError)):
        run(public, internet, lambda door: fetch_object(door, ID))
    assert {address for address, _ in internet.connected} == {PUBLIC}
    assert {uri.partition("/")[0] for uri in asked(internet)} == {"hub.example"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_another_origin_answers_is_not_the_ids(public: Settings, status: int) -> None:
    elsewhere = redirect(f"https://{THERE}", status)
    internet = Internet(pages={HERE: elsewhere, THERE: page(PROPOSAL)})
    with pytest.raises(InvalidError):
        run(public, internet, lambda door: fetch_object(door, ID))


@pytest.mark.parametrize(
    "told", [PROPOSAL, {"type": "Proposal"}, {"id": [ID]}, {"id": {"id": ID}}, {"id": 1}]
)
def test_a_redirect_of_ones_own_does_not_vouch_for_anothers_id(
    public: Settings, told: dict[str, object]
) -> None:
    """An open redirect at the origin leads to a liar, and a liar's redirect leads to the origin."""
    there = "https://evil.example/proposals/1"
    lies = {HERE: redirect(f"https://{THERE}"), THERE: page(told)}
    internet = Internet(pages=lies)
    with pytest.raises(InvalidError):
        run(public, internet, lambda door: fetch_object(door, ID))
    back = Internet(pages={HERE: page(PROPOSAL), THERE: redirect(f"https://{HERE}")})
    with pytest.raises(InvalidError):
        run(public, back, lambda door: fetch_object(door, there))


def test_an_actor_is_what_its_own_address_says(public: Settings) -> None:
    other = {"id": "https://hub.example/b", "type": "Group", "inbox": "https://hub.example/inbox"}
    for first in (page(other), redirect("/b")):
        internet = Internet(pages={"hub.example/a": first, "hub.example/b": page(other)})
        with pytest.raises(InvalidError):
            run(public, internet, lambda door: fetch_actor(door, "https://hub.example/a"))


@pytest.mark.parametrize("hops", [3, 4, 10])
def test_three_redirects_are_followed_and_no_fourth(public: Settings, hops: int) -> None:
    pages = {f"hub.example/{hop}": redirect(f"/{hop + 1}") for hop in range(hops)}
    internet = Internet(pages={**pages, f"hub.example/{hops}": page({"id": "end"})})
    if hops == 3:
        run(public, internet, lambda door: door.get_json("https://hub.example/0"))
    else:
        with pytest.raises(FetchError, match="more than 3 times"):
            run(public, internet, lambda door: door.get_json("https://hub.example/0"))
    assert len(internet.requests) == 4


@pytest.mark.parametrize(
    "leads",
    ["/proposals/1", "?", "#x", ".", "./1", "1#again", "https://HUB.example:443/proposals/1"],
)
def test_a_loop_however_it_is_written_ends(public: Settings, leads: str) -> None:
    pages = {one: redirect(leads) for one in (HERE, f"{HERE}?", "hub.example/proposals/")}
    internet = Internet(pages=pages)
    with pytest.raises(FetchError):
        run(public, internet, lambda door: door.get_json(ID))
    assert 1 < len(internet.requests) <= 4


def test_a_redirect_with_a_body_to_a_blocked_domain_is_not_followed(public: Settings) -> None:
    body = answer(b'{"id": "x"}' * 1000, 302, Location=f"https://{THERE}")
    internet = Internet(pages={HERE: body, THERE: page(PROPOSAL)})
    with pytest.raises(AddressRefusedError, match="blocks"):
        run(public, internet, lambda door: door.get_json(ID), blocked="evil.example")
    assert internet.looked_up == ["hub.example"]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_delivery_goes_nowhere_else_whatever_it_is_told(public: Settings, status: int) -> None:
    internet = Internet(
        pages={
            "hub.example/inbox": redirect("https://evil.example/inbox", status),
            "evil.example/inbox": answer(b"", 202),
        }
    )
    with pytest.raises(FetchError):
        run(public, internet, lambda door: door.post("https://hub.example/inbox", b"{}", "x/y"))
    assert asked(internet) == ["hub.example/inbox"]
    assert [request.method for request in internet.requests] == ["POST"]


# Successive answers of the name system, of which the last stays; refused at which fetch.
NAMES: dict[str, tuple[list[list[str]], int]] = {
    "bound anew to loopback": ([["8.8.4.4"], ["127.0.0.1"]], 1),
    "bound anew to metadata": ([["8.8.4.4"], ["8.8.4.4"], ["169.254.169.254"]], 2),
    "bound anew to an IPv6 of loopback": ([["8.8.4.4"], ["::1"]], 1),
    "bound anew to none": ([["8.8.4.4"], []], 1),
    "mixed, the public one first": ([["8.8.4.4", "10.0.0.1"]], 0),
    "mixed, the public one last": ([["10.0.0.1", "8.8.4.4"]], 0),
    "mixed families": ([["8.8.4.4", "::ffff:10.0.0.1"]], 0),
    "one in a thousand": ([[*(f"8.8.{n // 250}.{n % 250}" for n in range(999)), "10.0.0.1"]], 0),
    "empty": ([[]], 0),
    "a name for an address": ([["inner.example"]], 0),
    "an alias with a dot": ([["localhost."]], 0),
    "an address with a port": ([["8.8.8.8:22"]], 0),
    "a network": ([["8.8.8.8/8"]], 0),
    "an address with a zone": ([["2a00:1450::1%eth0"]], 0),
    "an address and a blank": ([[" 8.8.8.8"]], 0),
    "an address in octal": ([["010.8.8.8"]], 0),
    "a short address": ([["127.1"]], 0),
    "NUL": ([["8.8.8.8\0"]], 0),
    "text of other digits": ([["\uff18.8.8.8"]], 0),
    "nothing written": ([[""]], 0),
}


@pytest.mark.parametrize("kind", NAMES)
def test_no_answer_of_the_name_system_leads_inside(public: Settings, kind: str) -> None:
    answers, good = NAMES[kind]
    pages = {HERE: answer(b"{}", Connection="close")}
    internet = Internet(names={"hub.example": [list(one) for one in answers]}, pages=pages)

    async def again_and_again(door: Door) -> None:
        for _ in range(good):
            await door.get_json(ID)
        with pytest.raises(AddressRefusedError):
            await door.get_json(ID)

    run(public, internet, again_and_again)
    assert internet.connected == [("8.8.4.4", 443)] * good
    assert len(internet.looked_up) == good + 1  # once for each, never again between


def test_an_open_connection_is_not_taken_for_another_name(public: Settings) -> None:
    """A host that shares an address with one that is known is looked up for itself."""
    internet = Internet(
        names={"evil.example": [["127.0.0.1"]]}, pages={HERE: page({}), THERE: page({})}
    )

    async def both(door: Door) -> None:
        await door.get_json(ID)
        with pytest.raises(AddressRefusedError):
            await door.get_json("https://evil.example/proposals/1")

    run(public, internet, both)
    assert internet.looked_up == ["hub.example", "evil.example"]
    assert len(internet.connected) == 1


def test_of_very_many_addresses_a_few_are_tried(public: Settings) -> None:
    many = [f"8.8.{n // 250}.{n % 250}" for n in range(1000)]
    internet = Internet(names={"hub.example": [many]}, pages={HERE: page({})}, deaf=set(many))
    with pytest.raises(FetchError, match="could not be asked"):
        run(public, internet, lambda door: door.get_json(ID))
    assert internet.connected == [(one, 443) for one in many[:TRIED_MOST]]
    internet.deaf.discard(many[TRIED_MOST - 1])
    run(public, internet, lambda door: door.get_json(ID))
