"""The one door to the network: whom it connects to, what it sends, where it follows."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from internet import PUBLIC_ADDRESS, Internet, answer, header, page, redirect

from commons.answers import is_activity_media_type
from commons.errors import AddressRefusedError, FetchError
from commons.fetch import DESCRIPTOR, Door
from commons.settings import Settings
from commons.signatures import generate_ed25519, key_id_of, required_parts, verify

KEY_ID = "https://pay.example/actor#main-key"
KEY = generate_ed25519()
ACTOR = "https://hub.example/actor"
PRIVATE_ANSWERS = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.fixture
def public(settings: Settings) -> Settings:
    """Settings as in production: nothing but the public internet."""
    return settings.model_copy(
        update={
            "allow_loopback": False,
            "base_url": "https://pay.example",
            "contact": "mailto:ops@pay.example",
        }
    )


def door(settings: Settings, internet: Internet, **others: Any) -> Door:  # noqa: ANN401 (passed on as it is)
    return Door(
        settings,
        KEY_ID,
        KEY,
        network=internet,
        resolve=internet.resolve,
        **{"polite": False, **others},
    )


def run(opened: Door, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 (passed on as it is)
    async def whole() -> object:
        try:
            return await work
        finally:
            await opened.aclose()

    return asyncio.run(whole())


def get(settings: Settings, internet: Internet, url: str = ACTOR, **others: Any) -> Any:  # noqa: ANN401 (passed on as it is)
    opened = door(settings, internet)
    return run(opened, opened.get_json(url, **others))


def test_a_document_is_fetched_signed_from_the_address_that_was_checked(public: Settings) -> None:
    internet = Internet(pages={"hub.example/actor?x=1": page({"id": ACTOR})})
    document = get(public, internet, f"{ACTOR}?x=1#main")
    assert document.body == {"id": ACTOR}
    assert document.url == f"{ACTOR}?x=1"
    assert internet.looked_up == ["hub.example"]
    assert internet.connected == [(PUBLIC_ADDRESS, 443)]
    assert internet.tls_names == ["hub.example"]
    request = internet.requests[0]
    assert header(request, "host") == "hub.example"
    agent = "LocalPay/0.1 (+https://pay.example; mailto:ops@pay.example)"
    assert header(request, "user-agent") == agent
    assert key_id_of(request) == KEY_ID
    now = datetime.now(UTC)
    required = required_parts(request)
    verified = verify(request, KEY.public_key(), required=required, now=now, nonce_required=True)
    assert verified.key_id == KEY_ID


def test_a_door_without_a_key_signs_nothing(public: Settings) -> None:
    internet = Internet(pages={"hub.example/actor": page({})})
    opened = Door(public, network=internet, resolve=internet.resolve)
    run(opened, opened.get_json(ACTOR))
    assert header(internet.requests[0], "signature") is None


def test_a_delivery_arrives_whole_and_signed_with_its_digest(public: Settings) -> None:
    internet = Internet(pages={"hub.example/inbox": answer(b"", 202)})
    opened = door(public, internet)
    body = json.dumps({"type": "Follow"}).encode()
    response = run(opened, opened.post("https://hub.example/inbox", body, "application/json"))
    assert (response.status, response.body) == (202, b"")
    request = internet.requests[0]
    assert (request.method, request.body) == ("POST", body)
    required, now = required_parts(request), datetime.now(UTC)
    assert "content-digest" in required
    verify(request, KEY.public_key(), required=required, now=now, nonce_required=True)


def test_an_environment_proxy_is_ignored(public: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://10.0.0.1:3128")
    internet = Internet(pages={"hub.example/actor": page({})})
    get(public, internet)
    assert internet.connected == [(PUBLIC_ADDRESS, 443)]


@pytest.mark.parametrize("address", PRIVATE_ANSWERS)
def test_a_name_that_leads_to_an_inner_address_is_never_connected_to(
    public: Settings, address: str
) -> None:
    internet = Internet(names={"hub.example": [[address]]})
    with pytest.raises(AddressRefusedError) as caught:
        get(public, internet)
    assert caught.value.final
    assert internet.looked_up == ["hub.example"]
    assert internet.connected == []


@pytest.mark.parametrize("place", [0, 1])
def test_a_mixed_answer_of_the_resolver_is_never_connected_to(public: Settings, place: int) -> None:
    answers = ["8.8.4.4"]
    answers.insert(place, "10.0.0.1")
    internet = Internet(names={"hub.example": [answers]})
    with pytest.raises(AddressRefusedError):
        get(public, internet)
    assert internet.connected == []


def test_a_name_that_is_bound_anew_after_the_check_is_not_connected_to(public: Settings) -> None:
    pages = {"hub.example/actor": answer(b"{}", Connection="close")}
    internet = Internet(names={"hub.example": [["8.8.4.4"], ["127.0.0.1"]]}, pages=pages)
    opened = door(public, internet)

    async def twice() -> None:
        await opened.get_json(ACTOR)
        assert internet.looked_up == ["hub.example"]  # looked up once, and connected to that
        with pytest.raises(AddressRefusedError):
            await opened.get_json(ACTOR)

    run(opened, twice())
    assert internet.connected == [("8.8.4.4", 443)]


def test_the_next_address_is_tried_where_one_is_deaf(public: Settings) -> None:
    internet = Internet(
        names={"hub.example": [["2a00:1450::1", "8.8.4.4"]]},
        pages={"hub.example/actor": page({})},
        deaf={"2a00:1450::1"},
    )
    get(public, internet)
    assert internet.connected == [("2a00:1450::1", 443), ("8.8.4.4", 443)]


@pytest.mark.parametrize(
    "url",
    [
        "http://hub.example/actor",
        "https://hub.example:8443/actor",
        "https://user@hub.example/actor",
        "https://127.0.0.1/actor",
        "https://2130706433/actor",
        "https://0x7f.1/actor",
        "https://[::ffff:127.0.0.1]/actor",
    ],
)
def test_a_refused_url_is_not_even_looked_up(public: Settings, url: str) -> None:
    internet = Internet()
    with pytest.raises(AddressRefusedError):
        get(public, internet, url)
    opened = door(public, internet)
    with pytest.raises(AddressRefusedError):
        run(opened, opened.post(url, b"", "application/json"))
    assert (internet.looked_up, internet.connected) == ([], [])


def test_redirects_are_followed_and_each_is_signed_anew(public: Settings) -> None:
    internet = Internet(
        pages={
            "hub.example/actor": redirect("/@oak", 301),
            "hub.example/@oak": redirect("https://other.example/oak#x", 308),
            "other.example/oak": redirect("oak.json", 307),
            "other.example/oak.json": page({"id": "oak"}),
        }
    )
    document = get(public, internet)
    assert (document.url, document.body) == ("https://other.example/oak.json", {"id": "oak"})
    assert len(internet.requests) == 4
    for request in internet.requests:
        verify(request, KEY.public_key(), required=required_parts(request), now=datetime.now(UTC))
    nonces = {header(request, "signature-input") for request in internet.requests}
    assert len(nonces) == 4


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("https://10.0.0.1/", AddressRefusedError),
        ("https://inner.example/", AddressRefusedError),
        ("https://[::1]/", AddressRefusedError),
        ("http://hub.example/actor", AddressRefusedError),
        ("https://user@hub.example/actor", AddressRefusedError),
        ("https://hub.example:22/", AddressRefusedError),
        ("file:///etc/passwd", AddressRefusedError),
        ("https://[/", FetchError),
        ("/actor", FetchError),
    ],
)
def test_a_redirect_that_leads_astray_is_not_followed(
    public: Settings, location: str, error: type[FetchError]
) -> None:
    internet = Internet(
        names={"inner.example": [["10.0.0.1"]]}, pages={"hub.example/actor": redirect(location)}
    )
    with pytest.raises(error):
        get(public, internet)
    assert {address for address, _ in internet.connected} == {PUBLIC_ADDRESS}


def test_a_redirect_loop_ends_after_three(public: Settings) -> None:
    pages = {"hub.example/a": redirect("/b"), "hub.example/b": redirect("/a")}
    internet = Internet(pages=pages)
    with pytest.raises(FetchError, match="more than 3 times"):
        get(public, internet, "https://hub.example/a")
    assert len(internet.requests) == 4


def test_a_redirect_to_nowhere_fails(public: Settings) -> None:
    with pytest.raises(FetchError, match="nowhere"):
        get(public, Internet(pages={"hub.example/actor": answer(b"", 302)}))


def test_a_redirect_in_development_does_not_change_the_scheme(public: Settings) -> None:
    development = public.model_copy(update={"allow_loopback": True})
    internet = Internet(pages={"hub.example/actor": redirect("http://hub.example/actor")})
    with pytest.raises(AddressRefusedError, match="another scheme"):
        get(development, internet)


def test_a_delivery_is_not_redirected(public: Settings) -> None:
    internet = Internet(pages={"hub.example/inbox": redirect("https://other.example/inbox", 307)})
    opened = door(public, internet)
    with pytest.raises(FetchError, match="redirects a delivery"):
        run(opened, opened.post("https://hub.example/inbox", b"{}", "application/json"))
    assert len(internet.requests) == 1


@pytest.mark.parametrize(
    ("status", "final"),
    [(status, status in {404, 410, 451}) for status in (400, 401, 403, 404, 410, 429, 451, 500)],
)
def test_a_refusal_is_final_only_where_asking_again_is_useless(
    public: Settings, status: int, *, final: bool
) -> None:
    internet = Internet(pages={"hub.example/actor": answer(b"x" * 100, status)})
    with pytest.raises(FetchError) as caught:
        get(public, internet)
    assert (caught.value.status, caught.value.final) == (status, final)
    opened = door(public, internet)
    with pytest.raises(FetchError) as caught:
        run(opened, opened.post(ACTOR, b"{}", "application/json"))
    assert (caught.value.status, caught.value.final) == (status, final)


MEDIA_TYPES = {
    "application/activity+json": True,
    "Application/Activity+JSON; charset=utf-8": True,
    'application/ld+json; profile="https://www.w3.org/ns/activitystreams"': True,
    'application/ld+json;profile="http://x.example https://www.w3.org/ns/activitystreams"': True,
    "application/ld+json": False,
    'application/ld+json; profile="https://www.w3.org/ns/activitystreams-x"': False,
    "application/ld+json; profile*0*=x; profile*1=y": False,
    "application/json": False,
    "text/html": False,
    "text/html; application/activity+json": False,
    "application/activity+json, text/html": False,
    "": False,
    ";": False,
}


@pytest.mark.parametrize(("media_type", "taken"), MEDIA_TYPES.items(), ids=MEDIA_TYPES.keys())
def test_only_the_media_types_of_activitypub_are_taken(
    public: Settings, media_type: str, *, taken: bool
) -> None:
    assert is_activity_media_type(media_type) is taken
    pages = {"hub.example/actor": answer(b"{}", media_type=media_type)}
    if taken:
        assert get(public, Internet(pages=pages)).body == {}
    else:
        with pytest.raises(FetchError, match="media type"):
            get(public, Internet(pages=pages))


def test_no_media_type_is_not_taken() -> None:
    assert not is_activity_media_type(None)


def test_a_descriptor_has_its_own_media_types(public: Settings) -> None:
    url = "https://hub.example/.well-known/webfinger?resource=x"
    key = url.removeprefix("https://")
    for media_type in ("application/jrd+json", "application/json; charset=utf-8"):
        internet = Internet(pages={key: answer(b"{}", media_type=media_type)})
        assert get(public, internet, url, accept=DESCRIPTOR).body == {}
        assert header(internet.requests[0], "accept") == DESCRIPTOR
    with pytest.raises(FetchError, match="media type"):
        get(public, Internet(pages={key: answer(b"{}")}), url, accept=DESCRIPTOR)


def test_a_url_that_no_signature_can_name_fails_for_good(public: Settings) -> None:
    with pytest.raises(FetchError) as caught:
        get(public, Internet(), "https://hub.example/%zz")
    assert caught.value.final


def test_a_forged_copy_of_what_was_sent_does_not_verify(public: Settings) -> None:
    internet = Internet(pages={"hub.example/actor": page({})})
    get(public, internet)
    forged = replace(internet.requests[0], target_uri="https://hub.example/other")
    with pytest.raises(Exception, match="not valid"):
        verify(forged, KEY.public_key(), required=required_parts(forged), now=datetime.now(UTC))
