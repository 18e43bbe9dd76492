"""Answers that would fill memory or never end: bounded, by what a process of its own comes to."""

import asyncio
import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest
from internet import Internet, answer

from commons.answers import BODY_MAX_BYTES
from commons.errors import FetchError
from commons.fetch import DEADLINE_SECONDS, Door
from commons.json_reading import VALUES_MAX
from commons.settings import Settings

MEMORY_MAX_KIB: Final = 16 * 1024
HEAD: Final = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/activity+json\r\n"
END: Final = b"Content-Length: 2\r\n\r\n{}"
ZEROS: Final = b"\0" * 65536
REPOSITORY: Final = Path(__file__).resolve().parent.parent


def whole(body: bytes, *headers: bytes) -> list[bytes]:
    lines = b"".join(line + b"\r\n" for line in headers)
    return [HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def chunked(*parts: bytes) -> list[bytes]:
    return [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *parts]


def many(part: bytes, times: int, start: bytes = b"") -> Iterator[bytes]:
    """Repeat a part; what is endless ends by itself when nobody reads any more."""
    yield start
    for _ in range(times):
        yield part


def deflated(size: int) -> bytes:
    return zlib.compress(b"\0" * size, 9)


def wide(unit: bytes) -> bytes:
    return b'{"a":[' + b",".join([unit] * (1_000_000 // (len(unit) + 1))) + b"]}"


def members(most: int) -> bytes:
    told = b",".join(b'"%x":"%x"' % (n, n) for n in range(0x1000, 0x1000 + most))
    return (b"{" + told + b"}").ljust(BODY_MAX_BYTES)


def nested(most: int) -> bytes:
    one = b'{"a":' * 98 + b"1" + b"}" * 98
    return (b'{"a":[' + b",".join([one] * (most // 100)) + b"]}").ljust(BODY_MAX_BYTES)


BOMB: Final = gzip.compress(b"\0" * 64 * 1024 * 1024, 9)
CODED: Final = b"Content-Encoding: gzip"
ANSWERS: Final[dict[str, Iterable[bytes]]] = {
    "good": whole(b'{"a": 1}'),
    "gzip-bomb": whole(BOMB, CODED),
    "gzip-bomb-in-pieces": many(b"", 0),  # filled below
    "gzip-of-gzip": whole(gzip.compress(BOMB), CODED),
    "two-codings": whole(gzip.compress(BOMB), b"Content-Encoding: gzip, gzip"),
    "two-coding-lines": whole(gzip.compress(BOMB), CODED, CODED),
    "deflate-bomb": whole(deflated(64 * 1024 * 1024), b"Content-Encoding: deflate"),
    "brotli": whole(b"\x8b\x07\x80", b"Content-Encoding: br"),
    "many-empty-gzips": whole(gzip.compress(b"") * 40_000, CODED),
    "deep": whole(b"[" * 100_000),
    "deep-and-closed": whole(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "wide-arrays": whole(wide(b"[]")),
    "wide-objects": whole(wide(b'{"a":1}')),
    "deep-and-wide": whole(b'{"a":[' + b",".join([b"[" * 90 + b"]" * 90] * 5_000) + b"]}"),
    "many-members": whole(members(VALUES_MAX + 10)),
    "as-many-members-as-may-be": whole(members(VALUES_MAX - 10)),
    "as-many-objects-as-may-be": whole(nested(VALUES_MAX)),
    "one-long-text": whole(b'{"a":"' + b"x" * (BODY_MAX_BYTES - 8) + b'"}'),
    "long-number": whole(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "long-exponent": whole(b'{"a":1' + b"0" * 500_000 + b"e-500000}"),
    "many-headers": [HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + END],
    "long-header": [HEAD + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n{}"],
    "long-status": [b"HTTP/1.1 200 " + b"y" * 1_000_000 + b"\r\n\r\n"],
    "endless-header": many(b"y" * 65536, 1_000_000, HEAD + b"X: "),
    "endless-informational": many(b"HTTP/1.1 103 Hint\r\nLink: x\r\n\r\n" * 100, 10_000_000),
    "endless-body": many(b" " * 65536, 1_000_000, HEAD + b"\r\n"),
    "endless-chunks": many(b"10000\r\n" + ZEROS + b"\r\n", 1_000_000, chunked()[0]),
    "tiny-chunks": many(b"1\r\n \r\n" * 1_000, 10_000_000, chunked()[0]),
    "long-chunk-extension": many(b"x" * 65536, 1_000_000, chunked()[0] + b"1;"),
    "endless-trailers": many(b"X: y\r\n" * 1_000, 10_000_000, chunked()[0] + b"0\r\n"),
    "huge-chunk": many(ZEROS, 1_000_000, chunked()[0] + b"fffffffffffffff\r\n"),
    "negative-chunk": chunked(b"-1\r\n{}\r\n0\r\n\r\n"),
    "chunk-in-words": chunked(b"two\r\n{}\r\n0\r\n\r\n"),
    "chunk-cut-short": chunked(b"ff\r\n{}"),
    "length-and-chunks": [HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"],
    "two-lengths": [HEAD + b"Content-Length: 2\r\nContent-Length: 900\r\n\r\n{}"],
    "length-too-long": [HEAD + b"Content-Length: 900\r\n\r\n{}"],
    "length-of-a-terabyte": many(ZEROS, 1_000_000, HEAD + b"Content-Length: 9999999999999\r\n\r\n"),
    "length-below-nought": [HEAD + b"Content-Length: -1\r\n\r\n{}"],
    "no-http": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "http-0.9": [b'{"a": 1}'],
    "http-2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "folded-header": [HEAD + b"X: y\r\n z\r\n \r\n\r\n"],
    "NUL-in-a-header": [HEAD + b"X: \0\r\n\r\n{}"],
    "silence": [b""],
    "hangs-up": [],
}  # fmt: skip


# What is no harm, and within the limits.
TAKEN = {"good", "one-long-text", "long-exponent", "many-headers"}
TAKEN |= {"as-many-members-as-may-be", "as-many-objects-as-may-be"}


def pieces() -> Iterator[bytes]:
    """The bomb in chunks of a few bytes, each of which inflates to many."""
    yield chunked()[0] + b""
    for start in range(0, len(BOMB), 64):
        part = BOMB[start : start + 64]
        yield b"%x\r\n" % len(part) + part + b"\r\n"


@contextmanager
def serving() -> Iterator[int]:
    """Answer on a loopback port, by path, as long as anybody reads."""
    ready, port, stop = Event(), [0], []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            name = asked.split(b" ")[1].decode().lstrip("/")
            if name == "gzip-bomb-in-pieces":
                writer.write(chunked()[0].replace(b"\r\n\r\n", b"\r\n" + CODED + b"\r\n\r\n"))
            parts = pieces() if name == "gzip-bomb-in-pieces" else ANSWERS[name]
            for place, part in enumerate(parts):
                if place or name != "gzip-bomb-in-pieces":
                    writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if name == "silence":
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port[0] = server.sockets[0].getsockname()[1]
        ended = asyncio.Event()
        stop.append((asyncio.get_running_loop(), ended))
        ready.set()
        async with server:
            await ended.wait()

    thread = Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield port[0]
    finally:
        loop, ended = stop[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[int, str]]:
    """Fetch all of them, each at its address, in one process that does nothing else."""
    with serving() as port:
        names = ["good", *ANSWERS]
        urls = "\n".join(f"http://127.0.0.1:{port}/{name}" for name in names)
        done = subprocess.run(
            [sys.executable, "-m", "tests.fetching_alone"],
            input=urls,
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
            timeout=120,
        )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {url.rpartition("/")[2]: (kib, outcome) for url, kib, outcome in told}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", ANSWERS)
def test_no_answer_takes_more_than_its_memory_and_time(
    outcomes: dict[str, tuple[int, str]], name: str
) -> None:
    kib, outcome = outcomes[name]
    assert kib <= MEMORY_MAX_KIB, outcome
    assert "left alone" not in outcome
    assert (outcome == "taken") == (name in TAKEN), outcome


def test_the_deadline_of_a_door_is_what_is_promised() -> None:
    assert DEADLINE_SECONDS <= 15


@pytest.mark.parametrize(
    "place", ["before the head", "in the head", "in the body", "in a redirect"]
)
def test_a_trickle_anywhere_meets_the_deadline(settings: Settings, place: str) -> None:
    """Byte by byte, each before any time-out of a single read would pass."""
    heads = {
        "before the head": b"",
        "in the head": HEAD + b"X: ",
        "in the body": HEAD + b"Content-Length: 100000\r\n\r\n",
        "in a redirect": b"HTTP/1.1 302 Found\r\nLocation: /",
    }

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(heads[place])
            while not reader.at_eof():
                writer.write(b"y")
                await writer.drain()
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    async def whole_story() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            door = Door(settings, polite=False, deadline_seconds=0.2)
            with pytest.raises(FetchError, match=r"not done|could not be asked"):
                await door.get_json(f"http://127.0.0.1:{port}/")
            await door.aclose()

    asyncio.run(whole_story())


@pytest.mark.parametrize("status", [200, 202, 400, 500])
def test_the_answer_to_a_delivery_is_bounded_too(settings: Settings, status: int) -> None:
    body = answer(b"x" * (BODY_MAX_BYTES + 1), status)
    internet = Internet(pages={"hub.example/inbox": body})

    async def whole_story() -> None:
        door = Door(settings, network=internet, resolve=internet.resolve, polite=False)
        with pytest.raises(FetchError):
            await door.post("https://hub.example/inbox", b"{}", "application/activity+json")
        await door.aclose()

    asyncio.run(whole_story())
    assert len(internet.requests) == 1
