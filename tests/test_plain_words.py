"""Errors of the one door are told in plain words, which hold nothing of anybody's inside."""

import asyncio
import json
import socket
import ssl

import httpcore2
import pytest
from internet import Internet, answer, page, redirect

from commons.errors import FetchError
from commons.fetch import Door
from commons.settings import Settings
from crawler.plain_words import REMEDIES, StepName, explain, known
from crawler.refusals import BLOCKED, NO_HUB
from marketplace.consent import Signals, decide

HUB = "https://hub.example/group"
INSIDE = "10.1.2.3"


class Broken(Internet):
    """An internet on which connecting fails with an error of choice."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def connect_tcp(self, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        raise self.error


class Nameless(Internet):
    """An internet that knows no name."""

    async def resolve(self, host: str, port: int) -> list[str]:
        assert host == "hub.example"
        assert port
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def untrusted(why: str) -> Exception:
    """Return what the client makes of a certificate that Python's TLS does not take."""
    refused = ssl.SSLCertVerificationError(1, f"[SSL] certificate verify failed: {why}")
    return httpcore2.ConnectError(str(refused))


def said_by_the_door(
    settings: Settings,
    internet: Internet,
    url: str = HUB,
    *,
    times: int = 1,
    crawling: bool = False,
) -> str:
    """Return what the door says of the last of some fetches, which all fail."""

    async def fetch() -> str:
        strict = settings.model_copy(update={"allow_loopback": False})
        door = Door(strict, network=internet, resolve=internet.resolve, polite=False)
        said = ""
        for _ in range(times):
            with pytest.raises(FetchError) as raised:
                await door.errand(url, crawling=crawling).get_json(url)
            said = raised.value.detail
        await door.aclose()
        return said

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (untrusted("certificate has expired"), "has expired"),
        (untrusted("Hostname mismatch"), "for another name"),
        (untrusted("self-signed certificate"), "signed by itself"),
        (untrusted("unable to get local issuer"), "cannot be verified"),
        (httpcore2.ConnectError("[SSL: WRONG_VERSION_NUMBER]"), "No secure connection"),
        (ConnectionRefusedError(111, f"Connect call failed ('{INSIDE}', 443)"), "Nothing answers"),
        (httpcore2.ConnectError("All connection attempts failed"), "Nothing answers"),
        (OSError(101, "Network is unreachable"), "Nothing answers"),
        (httpcore2.RemoteProtocolError(f"at {INSIDE}"), "broke off"),
        (httpcore2.ConnectTimeout(), "broke off"),
    ],
)
def test_what_keeps_a_connection_from_being_made_is_told(
    settings: Settings, error: Exception, words: str
) -> None:
    trouble = explain(said_by_the_door(settings, Broken(error)))
    assert trouble.step is StepName.CONNECTION
    assert words in trouble.said
    assert trouble.mend
    assert INSIDE not in trouble.said + trouble.mend


def test_a_name_without_an_address_is_told(settings: Settings) -> None:
    trouble = explain(said_by_the_door(settings, Nameless()))
    assert trouble.step is StepName.CONNECTION
    assert "no address in DNS" in trouble.said


def test_a_host_that_is_left_alone_is_told(settings: Settings) -> None:
    internet = Internet(deaf={"8.8.8.8"})
    trouble = explain(said_by_the_door(settings, internet, times=6))
    assert "left alone" in trouble.said
    assert len(internet.connected) == 5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hub.example/group", "Only https"),
        ("https://hub.example:8443/group", "usual port"),
        ("https://user@hub.example/group", "user name"),
        (f"https://{INSIDE}/group", "not public"),
        ("https://10.1.515/group", "no address that can be asked"),
        ("https://" + "x" * 2100, "no address that can be asked"),
    ],
)
def test_an_address_that_is_refused_is_told_and_not_asked(
    settings: Settings, url: str, words: str
) -> None:
    internet = Internet()
    trouble = explain(said_by_the_door(settings, internet, url))
    assert trouble.step is StepName.ADDRESS
    assert words in trouble.said
    assert internet.connected == []


def test_where_a_name_leads_inside_is_not_told(settings: Settings) -> None:
    internet = Internet(names={"hub.example": [[INSIDE]]})
    detail = said_by_the_door(settings, internet)
    assert INSIDE in detail
    trouble = explain(detail)
    assert trouble.step is StepName.ADDRESS
    assert INSIDE not in trouble.said + trouble.mend


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (answer(b"", 401), "It answers 401: we are not let in"),
        (answer(b"", 403), "It answers 403: we are not let in"),
        (answer(b"", 404), "It answers 404: there is nothing"),
        (answer(b"", 410), "It answers 410: there is nothing"),
        (answer(b"", 429), "It answers 429: it asks us to come back"),
        (answer(b"", 500), "It answers 500: the hub itself has a fault"),
        (answer(b"", 418), "It answers 418"),
        (answer(b"<html>", media_type="text/html; charset=utf-8"), "page for people"),
        (answer(b"{}", media_type="application/json"), "another media type"),
        (answer(b"no JSON"), "no well-formed JSON"),
        (page([1]), "no well-formed JSON"),
        (answer(b'{"a": 1, "a": 2}'), "no well-formed JSON"),
        (answer(b'{"a":' * 200 + b"1" + b"}" * 200), "no well-formed JSON"),
        (answer(b'{"a": 99999999999999999999}'), "no well-formed JSON"),
        (answer(b'{"a": "\\u0000"}'), "no text has"),
        (answer(json.dumps({"x": "y" * 1_100_000}).encode()), "larger than 1 MiB"),
        (answer(b"x", Content_Encoding="br"), "packed"),
        (redirect(HUB), "from address to address"),
        (redirect("http://hub.example/group"), "Only https"),
    ],
)
def test_what_a_hub_answers_is_told(settings: Settings, raw: bytes, words: str) -> None:
    internet = Internet(pages={"hub.example/group": raw})
    trouble = explain(said_by_the_door(settings, internet))
    assert words in trouble.said
    assert trouble.mend


def test_what_robots_txt_refuses_is_told(settings: Settings) -> None:
    refusing = answer(b"User-agent: *\nDisallow: /group\n", media_type="text/plain")
    internet = Internet(pages={"hub.example/robots.txt": refusing})
    trouble = explain(said_by_the_door(settings, internet, crawling=True))
    assert trouble.step is StepName.ROBOTS
    assert "does not let LocalPay" in trouble.said
    internet = Internet(pages={"hub.example/robots.txt": answer(b"", 500)})
    trouble = explain(said_by_the_door(settings, internet, crawling=True))
    assert trouble.step is StepName.ROBOTS
    assert "does not answer" in trouble.said


def test_a_field_that_breaks_its_rule_is_named() -> None:
    trouble = explain("attributedTo: must be of the origin of the id")
    assert trouble.said == "`attributedTo` must be of the origin of the id."
    assert trouble.mend == (
        "Have whoever runs the hub's software mend `attributedTo` where it is published."
    )


@pytest.mark.parametrize(
    "detail",
    [
        "(sqlite3.OperationalError) database is locked [SQL: UPDATE peers]",
        f"id: https://{INSIDE}/secret",
        "KeyError",
        "",
    ],
)
def test_what_nobody_foresaw_is_not_repeated(detail: str) -> None:
    trouble = explain(detail)
    assert trouble.said == "It went wrong in a way that there is no word for here."
    assert known(detail) is None


def test_a_blocked_domain_is_told(settings: Settings) -> None:
    async def blocked(_host: str) -> bool:
        return True

    async def fetch() -> str:
        internet = Internet()
        door = Door(settings, network=internet, resolve=internet.resolve, refuses=blocked)
        with pytest.raises(FetchError) as raised:
            await door.get_json(HUB)
        await door.aclose()
        assert internet.connected == []
        return raised.value.detail

    trouble = explain(asyncio.run(fetch()))
    assert trouble.said == "The operator of this service blocks its domain."


def test_each_reason_of_consent_has_its_remedy() -> None:
    refused = [
        Signals(to=()),
        Signals(actor_indexable=False),
        Signals(object_searchable_by=()),
        Signals(noindex=True),
        Signals(suspended=True),
        Signals(blocked=True),
        Signals(),
    ]
    reasons = {decide(signals).reason for signals in refused}
    assert reasons | {BLOCKED, NO_HUB} == set(REMEDIES)
