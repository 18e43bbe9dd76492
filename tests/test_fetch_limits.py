"""The one door's limits: bodies, time, pace, and hosts that are better left alone."""

import asyncio
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from internet import Clock, Internet, answer, page, zipped

from commons.answers import BODY_MAX_BYTES
from commons.errors import FetchError
from commons.fetch import Door
from commons.key_formats import generate_rsa, private_pem
from commons.politeness import (
    BURST,
    FAILURE_WINDOW_SECONDS,
    FAILURES_TO_OPEN,
    HOSTS_MAX,
    LIFETIME_SECONDS,
    OPEN_SECONDS,
    RETRY_AFTER_MAX_SECONDS,
    Hosts,
)
from commons.settings import Settings

ACTOR = "https://hub.example/actor"
KEY = "hub.example/actor"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/activity+json\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def door(settings: Settings, internet: Internet, **others: Any) -> Door:  # noqa: ANN401 (passed on as it is)
    return Door(settings, network=internet, resolve=internet.resolve, **{"polite": False, **others})


def run(opened: Door, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 (passed on as it is)
    async def whole() -> object:
        try:
            return await work
        finally:
            await opened.aclose()

    return asyncio.run(whole())


def get(settings: Settings, response: bytes) -> Any:  # noqa: ANN401 (passed on as it is)
    opened = door(settings, Internet(pages={KEY: response}))
    return run(opened, opened.get_json(ACTOR)).body


def of_size(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def test_a_mebibyte_is_read_and_a_byte_more_is_not(settings: Settings) -> None:
    assert len(of_size(BODY_MAX_BYTES)) == BODY_MAX_BYTES
    for write in (answer, zipped):
        assert len(get(settings, write(of_size(BODY_MAX_BYTES)))["a"]) == BODY_MAX_BYTES - 8
        with pytest.raises(FetchError, match="more than"):
            get(settings, write(of_size(BODY_MAX_BYTES + 1)))


def test_a_gzip_bomb_is_refused_and_never_inflated(settings: Settings) -> None:
    bomb = gzip.compress(b"\0" * 64 * 1024 * 1024)
    assert len(bomb) < BODY_MAX_BYTES
    tracemalloc.start()
    with pytest.raises(FetchError, match="more than"):
        get(settings, answer(bomb, Content_Encoding="gzip"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * BODY_MAX_BYTES


def test_deflate_is_undone_and_no_encoding_is_one(settings: Settings) -> None:
    assert get(settings, answer(zlib.compress(b'{"a":1}'), Content_Encoding="deflate")) == {"a": 1}
    assert get(settings, answer(b'{"a":1}', Content_Encoding="Identity")) == {"a": 1}


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(b"{}")[:-1], "gzip"),
        (gzip.compress(b"{}") + b"more", "gzip"),
        (gzip.compress(b"{}") * 2, "gzip"),
        (b"{}", "gzip"),
        (b"", "br"),
        (b"{}", "zstd"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip"),
    ],
    ids=["cut", "longer", "twice", "plain", "brotli", "zstd", "stacked"],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    settings: Settings, body: bytes, coding: str
) -> None:
    with pytest.raises(FetchError, match=r"enc"):
        get(settings, answer(body, Content_Encoding=coding))


@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[]", b'"text"', b"", b"null"],
    ids=["bomb", "twice", "NaN", "bytes", "list", "text", "empty", "null"],
)
def test_a_document_that_is_no_sound_object_is_refused(settings: Settings, body: bytes) -> None:
    with pytest.raises(FetchError):
        get(settings, answer(body))


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a loopback port of a real socket."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def ask(settings: Settings, handler: Handler, **others: Any) -> Any:  # noqa: ANN401 (passed on as it is)
    """Fetch from a real server on the loopback."""

    async def whole() -> object:
        opened = Door(settings, polite=False, **others)
        async with serving(handler) as port:
            try:
                return await opened.get_json(f"http://127.0.0.1:{port}/actor")
            finally:
                await opened.aclose()

    return asyncio.run(whole())


def answering(head: bytes, chunk: bytes, *, pause_seconds: float | None = None) -> Handler:
    """Answer with a head and then with one chunk over and over, as long as anybody reads."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        try:
            while chunk and not reader.at_eof():
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause_seconds or 0)
            await reader.read()
        except ConnectionError:
            writer.transport.abort()
        finally:
            writer.close()

    return handler


def test_a_document_is_read_from_a_real_server(settings: Settings) -> None:
    head = JSON_HEAD + b'Content-Length: 8\r\n\r\n{"a": 1}'
    assert ask(settings, answering(head, b"")).body == {"a": 1}


def test_an_endless_body_is_cut_off(settings: Settings) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with pytest.raises(FetchError, match="more than"):
        ask(settings, answering(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk))


def test_an_endless_head_is_cut_off(settings: Settings) -> None:
    with pytest.raises(FetchError, match="could not be asked"):
        ask(settings, answering(JSON_HEAD, b"X-More: " + b"x" * 4096 + b"\r\n"))


def test_a_trickling_body_meets_the_deadline(settings: Settings) -> None:
    handler = answering(JSON_HEAD + b"Content-Length: 1000\r\n\r\n", b" ", pause_seconds=0.01)
    with pytest.raises(FetchError, match=r"not done in 0\.2 s"):
        ask(settings, handler, deadline_seconds=0.2)


def test_a_server_that_says_nothing_meets_the_deadline(settings: Settings) -> None:
    with pytest.raises(FetchError, match="not done"):
        ask(settings, answering(b"", b""), deadline_seconds=0.1)


def test_a_closed_port_fails_and_may_be_tried_again(settings: Settings) -> None:
    async def whole() -> None:
        async with serving(answering(b"", b"")) as port:
            pass
        opened = Door(settings, polite=False)
        with pytest.raises(FetchError, match="could not be asked") as caught:
            await opened.get_json(f"http://127.0.0.1:{port}/actor")
        assert not caught.value.final
        await opened.aclose()

    asyncio.run(whole())


def own_certificate(folder: Path) -> ssl.SSLContext:
    """Make a server's context with a certificate that nobody but itself vouches for."""
    key, name = generate_rsa(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    path = folder / "server.pem"
    pem = certificate.public_bytes(Encoding.PEM).decode()
    path.write_text(private_pem(key) + pem, encoding="ascii")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_server_whose_certificate_nobody_vouches_for_is_not_asked(
    settings: Settings, tmp_path: Path
) -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))
        writer.close()

    async def whole() -> None:
        opened = Door(settings, polite=False)
        async with serving(handler, own_certificate(tmp_path)) as port:
            with pytest.raises(FetchError, match="certificate"):
                await opened.get_json(f"https://localhost:{port}/actor")
            await opened.aclose()

    asyncio.run(whole())
    assert [data for data in asked if data] == []


@pytest.mark.parametrize(("polite", "most"), [(True, 1), (False, 3)])
def test_one_request_is_in_flight_per_host(settings: Settings, most: int, *, polite: bool) -> None:
    async def whole() -> int:
        internet = Internet(pages={KEY: page({})}, hold=asyncio.Event())
        opened = door(settings, internet, polite=polite)
        asked = [asyncio.create_task(opened.get_json(ACTOR)) for _ in range(3)]
        for _ in range(200):  # as many turns of the loop as all three would need
            await asyncio.sleep(0)
        assert internet.hold is not None
        internet.hold.set()
        await asyncio.gather(*asked)
        await opened.aclose()
        return internet.most_in_flight

    assert asyncio.run(whole()) == most


def test_after_a_burst_of_five_the_next_waits_its_second(settings: Settings) -> None:
    clock, internet = Clock(), Internet(pages={KEY: page({}), "other.example/": page({})})
    opened = door(settings, internet, polite=True, clock=clock, deadline_seconds=0.1)

    async def whole() -> None:
        for _ in range(BURST):
            await opened.get_json(ACTOR)
        with pytest.raises(FetchError, match="not done"):
            await opened.get_json(ACTOR)
        await opened.get_json("https://other.example/")
        assert len(internet.requests) == BURST + 1
        clock.seconds += 1
        await opened.get_json(ACTOR)
        with pytest.raises(FetchError, match="not done"):
            await opened.get_json(ACTOR)
        clock.seconds += 3600
        for _ in range(BURST):
            await opened.get_json(ACTOR)
        with pytest.raises(FetchError, match="not done"):
            await opened.get_json(ACTOR)

    run(opened, whole())


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "120", 120),
        (503, "120", 120),
        (503, "999999999999", RETRY_AFTER_MAX_SECONDS),
        (429, None, 7200),  # as a date, told when the test runs
    ],
)
def test_a_host_that_asks_to_wait_is_left_alone(
    settings: Settings, status: int, value: str | None, seconds: int
) -> None:
    clock = Clock()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    internet = Internet(pages={KEY: answer(b"", status, Retry_After=value or date)})
    opened = door(settings, internet, clock=clock)

    async def whole() -> None:
        with pytest.raises(FetchError, match=f"answered {status}"):
            await opened.get_json(ACTOR)
        internet.pages[KEY] = page({})
        clock.seconds += seconds - 60
        with pytest.raises(FetchError, match="left alone"):
            await opened.get_json(ACTOR)
        assert len(internet.requests) == 1
        clock.seconds += 61
        await opened.get_json(ACTOR)

    run(opened, whole())


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "Fri, 99 Foo 0000"])
def test_a_retry_after_that_says_nothing_is_passed_over(settings: Settings, value: str) -> None:
    internet = Internet(pages={KEY: answer(b"", 429, Retry_After=value)})
    opened = door(settings, internet, clock=Clock())

    async def whole() -> None:
        for _ in range(2):
            with pytest.raises(FetchError, match="answered 429"):
                await opened.get_json(ACTOR)

    run(opened, whole())


async def fails(opened: Door, match: str) -> None:
    with pytest.raises(FetchError, match=match):
        await opened.get_json(ACTOR)


def test_a_failing_host_is_probed_every_half_hour_until_it_is_well(settings: Settings) -> None:
    clock, internet = Clock(), Internet(deaf={"8.8.8.8"}, pages={KEY: page({})})
    opened = door(settings, internet, clock=clock)

    async def whole() -> None:
        for _ in range(FAILURES_TO_OPEN):
            await fails(opened, "could not be asked")
        await fails(opened, "left alone")
        assert len(internet.connected) == FAILURES_TO_OPEN
        clock.seconds += OPEN_SECONDS + 1
        await fails(opened, "could not be asked")
        await fails(opened, "left alone")
        internet.deaf.clear()
        clock.seconds += OPEN_SECONDS + 1
        await opened.get_json(ACTOR)
        internet.pages[KEY] = answer(b"", 500)
        for _ in range(FAILURES_TO_OPEN):
            await fails(opened, "answered 500")
        await fails(opened, "left alone")

    run(opened, whole())


def test_failures_far_apart_and_refusals_do_not_open_the_breaker(settings: Settings) -> None:
    clock, internet = Clock(), Internet(pages={KEY: answer(b"", 502)})
    opened = door(settings, internet, clock=clock)

    async def whole() -> None:
        for _ in range(3 * FAILURES_TO_OPEN):
            await fails(opened, "answered 502")
            clock.seconds += FAILURE_WINDOW_SECONDS / 3
        internet.pages[KEY] = answer(b"", 404)
        for _ in range(3 * FAILURES_TO_OPEN):
            await fails(opened, "answered 404")

    run(opened, whole())


def test_a_deadline_that_the_host_let_pass_counts_as_its_failure(settings: Settings) -> None:
    async def whole() -> None:
        internet = Internet(hold=asyncio.Event())
        opened = door(settings, internet, clock=Clock(), deadline_seconds=0.01)
        for _ in range(FAILURES_TO_OPEN):
            await fails(opened, "not done")
        await fails(opened, "left alone")
        await opened.aclose()

    asyncio.run(whole())


def test_the_records_of_hosts_are_capped_in_number_and_in_age() -> None:
    hosts = Hosts()
    for number in range(HOSTS_MAX + 10):
        hosts.get(f"{number}.example", 0.0)
    assert len(hosts) == HOSTS_MAX
    first = hosts.get("late.example", LIFETIME_SECONDS + 1.0)
    assert len(hosts) == 1
    assert hosts.get("late.example", LIFETIME_SECONDS + 2.0) is first
