"""Any method, path, body and header at every route: an answer that is no fault of ours."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute
from hub_server import HubServer
from served import Served, served
from sqlalchemy import Engine

from api.allowances import Allowance
from api.app import _PARTS
from commons.settings import Settings
from marketplace.drafts import listing_id

EACH: Final = {"sqlite": 25, "postgresql": 5}
"""How many odd requests each route gets."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
PARTS: Final = (
    *("0", "-1", "x", "%00", "%2e%2e", "%2f", "%ff", "%ED%A0%80", "%F0%9F%8D%9E", "a" * 3_000),
    *("'", '"', "%0a", "%22", "{}", "null", "%25", ";", "*", "9" * 400, "%E2%80%AE", "a%20b"),
    "00000000-0000-0000-0000-000000000000",
)
QUERIES: Final = (
    *("", "x", "=", "&&&", "q=%00", "q=%ff", "limit=-1", "limit=1e9", "cursor=x", "hub=x@y", "%"),
    *("union=%00", "union=a%00", "text=%00"),
    *("hub=a@127.0.0.1:1", "hub=%00@x", "since=x", "round=9", "x=" + "y" * 5_000, "a[]=1&a[b]=2"),
    *("resource=acct:x", "address=%00", "limit=9" + "9" * 400, "near=1,2&radius_km=nan"),
)
BODIES: Final[tuple[bytes, ...]] = (
    *(b"", b"{}", b"[]", b"null", b"1", b'"x"', b"{", b"\xff\xfe", b"\0", b"NaN", b"[1e999]"),
    *(b"[" * 50_000, b'{"a":1,"a":2}', b'{"id":"\\ud800"}', b'{"id":"\\u0000"}', b"x" * 70_000),
    *(b"address=", b"address=%00", b"address=%ff", b"address=a@b&invitation=%F0%9F", b"a=1&" * 99),
    *(b'{"id":{}, "type":[[]], "actor":1}', b'{"server":"http://[::1"}', b'{"listings":[{}]}'),
    *(b'{"listings":[1,null,{"id":9}],"complete":"x"}', b'{"objectUris":[1,{}],"source":[]}'),
    *(b'{"actor":[],"group":"\xf0\x9f\x8d\x9e","currency":{"rate":"1/0","scale":1e400}}',),
    *(b'{"amount":"NaN","payer":"a/b","payee":"c/d"}', b'{"member":"x","message":"\\u202e"}'),
    b'{"type":"Offer","object":{"stipulates":[[]]},"id":"x","actor":{"id":[]}}',
)
TYPES: Final = (
    *("application/json", "application/activity+json", "application/x-www-form-urlencoded"),
    *("multipart/form-data", "multipart/form-data; boundary=", "text/plain", "", "x", "/", ";;"),
    *("application/json; charset=utf-16", "application/ld+json; profile*0*=x''"),
)
HEADERS: Final[tuple[tuple[str, bytes], ...]] = (
    *(("Signature", b""), ("Signature", b'keyId="x"'), ("Signature", b"sig=:x:")),
    *(("Signature-Input", b""), ("Signature-Input", b"((("), ("Signature-Input", b"sig=()")),
    ("Signature-Input", b'sig=("@method" "@target-uri");created=1;keyid="x";nonce="y"'),
    ("Signature-Input", b'sig=();created=99999999999999999999;keyid="http://x"'),
    ("Signature", b'keyId="http://127.0.0.1:1/a#b",headers="(request-target)",signature="AAAA"'),
    *(("Digest", b"SHA-256="), ("Content-Digest", b"sha-256=:x:"), ("Date", b"yesterday")),
    *(("Accept", b"\xff"), ("Accept", b"text/html;q=x"), ("Accept", b"*/*" * 500)),
    *(("If-None-Match", b"W/"), ("If-Modified-Since", b"x"), ("Range", b"bytes=9-1")),
    *(("Accept-Language", b"x" * 3_000), ("Cookie", b"\xff=\xfe"), ("Authorization", b"Basic x")),
    *(("X-Forwarded-For", b"x"), ("Content-Encoding", b"gzip"), ("Expect", b"x"), ("Origin", b"x")),
    *(("Host", b"evil.example"), ("Upgrade", b"websocket"), ("Connection", b"upgrade")),
)
Odd = tuple[str, str, bytes, list[tuple[str, bytes]]]


def routes() -> Iterator[tuple[str, list[str]]]:
    """Yield every route's path and methods."""
    for part in _PARTS:
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            yield route.path, sorted(route.methods or ())
    yield "/static/{path}", ["GET"]
    yield "/nowhere/{path}", ["GET"]


@pytest.fixture
def service(settings: Settings, engine: Engine) -> Iterator[Served]:
    with served(settings, engine) as service:
        # So that none is refused before it is read.
        for name in vars(service.services.allowances):
            setattr(service.services.allowances, name, Allowance(1_000_000, 60.0))
        yield service


@pytest.fixture
def known(service: Served) -> Iterator[tuple[str, ...]]:
    """What there is, so that more than a 404 is tried: a group and a listing."""
    with HubServer("leeds").serving() as hub:
        service.register(hub)
        service.admit(hub.name)
        service.work()
        service.push(hub, hub.activity("Create", hub.proposal(1)))
        service.work()
        yield (hub.name, listing_id(hub.proposal(1)["id"]))


def odd(path: str, methods: list[str], known: tuple[str, ...], drawn: random.Random) -> Odd:
    parts = path.split("/")
    filled = [
        drawn.choice((*known, *known, *PARTS)) if part.startswith("{") else part for part in parts
    ]
    query = drawn.choice(QUERIES)
    target = "/".join(filled) + (f"?{query}" if query else "")
    chosen = drawn.choice(methods) if drawn.random() < 0.7 else drawn.choice(METHODS)
    headers = [("Content-Type", drawn.choice(TYPES).encode())]
    headers += drawn.sample(HEADERS, drawn.randint(0, 4))
    return chosen, target, drawn.choice(BODIES), headers


def answered(service: Served, asked: Odd) -> tuple[int, bytes]:
    """Send a request as it is, and return what is answered."""
    method, target, body, headers = asked
    parts = urlsplit(service.url)
    with closing(HTTPConnection(parts.netloc, timeout=30)) as connection:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if "Host" not in dict(headers):
            connection.putheader("Host", parts.netloc)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_no_request_is_answered_by_a_fault_of_ours(
    service: Served, known: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    drawn = random.Random(4)  # noqa: S311 (the same requests each time)
    faults, statuses = [], set()
    for path, methods in routes():
        for _ in range(EACH[request.node.callspec.params["engine"]]):
            asked = odd(path, methods, known, drawn)
            status, told = answered(service, asked)
            statuses.add(status)
            if status >= 500 and not _is_said(status, told):
                faults.append((status, asked[0], asked[1][:200], asked[2][:80], asked[3]))
    assert faults == []
    assert {200, 400, 401, 404, 405, 415, 422} <= statuses
    service.work()  # and what was taken in by all that spoils nothing
    assert service.get("/health").status_code == 200
    assert service.get("/listings").json()["total"] == 1


def _is_said(status: int, told: bytes) -> bool:
    """Tell whether it is said that another server cannot be reached, which is no fault of ours."""
    document: Any = json.loads(told) if told.startswith(b"{") else {}
    is_page = b"does not answer" in told
    return status == 503 and (is_page or "unreachable" in str(document.get("type")))
