"""Double knock: RFC 9421 first, draft-cavage where that is refused, remembered for each host."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hub_server import rsa_key
from internet import Clock, Internet, answer, header, read_request

from commons import cavage, signatures
from commons.errors import FetchError, LocalPayError
from commons.fetch import Door
from commons.knocking import KNOCKS_MAX, NEITHER_SECONDS, TRIED_AGAIN_SECONDS, Knocks, Scheme
from commons.settings import Settings
from commons.signatures import Message

KEY_ID = "https://pay.example/actor#main-key"
ACTOR = "https://hub.example/actor"
INBOX = "https://hub.example/inbox"
JSON = "application/activity+json"
RFC9421, CAVAGE = Scheme.RFC9421, Scheme.CAVAGE


def scheme_of(message: Message) -> Scheme | None:
    """Return by which scheme a request is signed with our key, None where by none."""
    key, moment = rsa_key().public_key(), datetime.now(UTC)
    try:
        if header(message, "signature-input") is None:
            cavage.verify(message, key, now=moment)
            return CAVAGE
        required = signatures.required_parts(message)
        signatures.verify(message, key, required=required, now=moment)
    except LocalPayError:
        return None
    return RFC9421


@dataclass
class Choosy(Internet):
    """An internet whose hosts take only some schemes; `taken` is by host, else both."""

    taken: dict[str, set[Scheme]] = field(default_factory=dict)
    refusal: int = 401

    async def answer_to(self, raw: bytes) -> bytes:
        found = await super().answer_to(raw)
        message = read_request(raw)
        taken = self.taken.get(message.target_uri.split("/")[2], {RFC9421, CAVAGE})
        return found if scheme_of(message) in taken else answer(b"", self.refusal)

    def schemes(self) -> list[Scheme | None]:
        """Return the schemes of all requests since this was asked last."""
        found = [scheme_of(message) for message in self.requests]
        self.requests.clear()
        return found


@pytest.fixture
def public(settings: Settings) -> Settings:
    """Settings as in production: nothing but the public internet."""
    return settings.model_copy(update={"allow_loopback": False, "base_url": "https://pay.example"})


@pytest.fixture
def internet() -> Choosy:
    return Choosy(
        pages={
            "hub.example/actor": answer(),
            "hub.example/inbox": answer(b"", 202),
            "other.example/actor": answer(),
        },
        taken={"hub.example": {CAVAGE}},
    )


def run(
    settings: Settings,
    internet: Internet,
    work: Callable[[Door], Awaitable[None]],
    **others: Any,  # noqa: ANN401 (passed on as it is)
) -> None:
    async def whole() -> None:
        told = {"polite": False, "network": internet, "resolve": internet.resolve, **others}
        door = Door(settings, KEY_ID, rsa_key(), **told)
        try:
            await work(door)
        finally:
            await door.aclose()

    asyncio.run(whole())


async def get(door: Door, url: str = ACTOR) -> None:
    await door.get_json(url)


async def post(door: Door) -> None:
    await door.post(INBOX, b'{"type":"Follow"}', JSON)


async def refused(asking: Awaitable[None]) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await asking
    return caught.value


@pytest.mark.parametrize("ask", [get, post])
@pytest.mark.parametrize("refusal", [401, 403])
def test_a_host_that_refuses_the_newer_scheme_is_asked_once_more(
    public: Settings, internet: Choosy, ask: Callable[[Door], Awaitable[None]], refusal: int
) -> None:
    internet.refusal = refusal

    async def work(door: Door) -> None:
        await ask(door)
        assert internet.schemes() == [RFC9421, CAVAGE]
        await ask(door)
        assert internet.schemes() == [CAVAGE]

    run(public, internet, work)


def test_a_host_that_takes_the_newer_scheme_is_asked_once(
    public: Settings, internet: Choosy
) -> None:
    internet.taken = {"hub.example": {RFC9421}}

    async def work(door: Door) -> None:
        await get(door)
        await post(door)
        assert internet.schemes() == [RFC9421, RFC9421]

    run(public, internet, work)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500])
def test_another_failure_is_no_reason_to_knock_again(
    public: Settings, internet: Choosy, status: int
) -> None:
    internet.taken["hub.example"] = set()
    internet.refusal = status

    async def work(door: Door) -> None:
        assert (await refused(get(door))).status == status
        assert len(internet.requests) == 1

    run(public, internet, work)


def test_what_a_host_takes_is_its_own_and_of_one_method(public: Settings, internet: Choosy) -> None:
    async def work(door: Door) -> None:
        await get(door)
        internet.schemes()
        await get(door, "https://other.example/actor")
        assert internet.schemes() == [RFC9421]
        # Many take any fetch and check deliveries alone, so the one says nothing of the other.
        await post(door)
        assert internet.schemes() == [RFC9421, CAVAGE]

    run(public, internet, work)


def test_after_thirty_days_the_newer_scheme_is_tried_again(
    public: Settings, internet: Choosy
) -> None:
    clock = Clock()

    async def work(door: Door) -> None:
        await get(door)
        internet.schemes()
        clock.seconds += TRIED_AGAIN_SECONDS - 1
        await get(door)
        assert internet.schemes() == [CAVAGE]
        clock.seconds += 1
        internet.taken["hub.example"] = {RFC9421}
        await get(door)
        await get(door)
        assert internet.schemes() == [RFC9421, RFC9421]

    run(public, internet, work, clock=clock)


def test_a_host_that_refuses_both_is_asked_once_from_then_on(
    public: Settings, internet: Choosy
) -> None:
    internet.taken["hub.example"] = set()
    clock = Clock()

    async def work(door: Door) -> None:
        assert (await refused(get(door))).status == 401
        assert len(internet.requests) == 2
        await refused(get(door))
        assert len(internet.requests) == 3
        clock.seconds += NEITHER_SECONDS
        await refused(get(door))
        assert len(internet.requests) == 5

    run(public, internet, work, clock=clock)


def test_a_document_that_is_refused_does_not_unlearn_what_the_host_takes(
    public: Settings, internet: Choosy
) -> None:
    internet.pages["hub.example/secret"] = answer(b"", 403)

    async def work(door: Door) -> None:
        await get(door)
        internet.schemes()
        await refused(get(door, "https://hub.example/secret"))
        await get(door)
        assert internet.schemes() == [CAVAGE, RFC9421, CAVAGE]

    run(public, internet, work)


def test_a_document_that_is_refused_first_says_nothing_of_its_host(
    public: Settings, internet: Choosy
) -> None:
    internet.pages["hub.example/secret"] = answer(b"", 403)

    async def work(door: Door) -> None:
        await refused(get(door, "https://hub.example/secret"))
        internet.schemes()
        await get(door)
        assert internet.schemes() == [RFC9421, CAVAGE]
        await refused(get(door, "https://hub.example/secret"))
        assert internet.schemes() == [CAVAGE]

    run(public, internet, work)


def test_a_host_that_drops_the_older_scheme_is_asked_by_the_newer_at_once(
    public: Settings, internet: Choosy
) -> None:
    async def work(door: Door) -> None:
        await get(door)
        internet.schemes()
        internet.taken["hub.example"] = {RFC9421}
        await get(door)
        assert internet.schemes() == [CAVAGE, RFC9421]
        await get(door)
        assert internet.schemes() == [RFC9421]

    run(public, internet, work)


def test_a_second_knock_counts_as_a_request(public: Settings, internet: Choosy) -> None:
    async def work(door: Door) -> None:
        error = await refused(get(door.errand(ACTOR, fetches=1)))
        assert error.status is None
        assert internet.schemes() == [RFC9421]
        await get(door.errand(ACTOR, fetches=2))
        assert internet.schemes() == [RFC9421, CAVAGE]

    run(public, internet, work)


def test_a_second_knock_waits_for_its_turn(
    public: Settings, internet: Choosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, waited = Clock(), []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.seconds += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    internet.taken["hub.example"] = set()

    async def work(door: Door) -> None:
        for _ in range(5):
            await refused(get(door))

    run(public, internet, work, clock=clock, polite=True)
    # A burst of five, then one a second; the first fetch alone knocks twice.
    assert len(internet.requests) == 6
    assert waited == [0, 0, 0, 0, 0, 1.0]


def test_a_door_without_a_key_knocks_once(public: Settings, internet: Choosy) -> None:
    async def whole() -> None:
        door = Door(public, network=internet, resolve=internet.resolve, polite=False)
        await refused(get(door))
        await door.aclose()

    asyncio.run(whole())
    assert len(internet.requests) == 1


def test_a_robots_txt_that_is_refused_is_none_and_teaches_nothing(
    public: Settings, internet: Choosy
) -> None:
    async def work(door: Door) -> None:
        await get(door.errand(ACTOR, crawling=True))
        paths = [message.target_uri.rpartition("/")[2] for message in internet.requests]
        assert paths == ["robots.txt", "actor", "actor"]

    run(public, internet, work)


def test_what_is_remembered_has_a_cap() -> None:
    knocks = Knocks()
    for number in range(KNOCKS_MAX + 10):
        knocks.took("GET", f"h{number}.example", CAVAGE, 0.0)
    assert len(knocks) == KNOCKS_MAX
    assert knocks.schemes("GET", "h0.example", ACTOR, 1.0) == (RFC9421, CAVAGE)
    assert knocks.schemes("GET", f"h{KNOCKS_MAX}.example", ACTOR, 1.0) == (CAVAGE, RFC9421)
    assert knocks.schemes("GET", f"h{KNOCKS_MAX}.example", ACTOR, 1e9) == (RFC9421, CAVAGE)
    assert len(knocks) == KNOCKS_MAX - 1


@contextmanager
def older_server(seen: list[Scheme | None]) -> Iterator[str]:
    """Serve on loopback as a server that takes draft-cavage alone, delivery and fetch alike."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._judge(b"")

        def do_POST(self) -> None:
            self._judge(self.rfile.read(int(self.headers["Content-Length"])))

        def _judge(self, body: bytes) -> None:
            uri = f"http://{self.headers['Host']}{self.path}"
            scheme = scheme_of(Message(self.command, uri, list(self.headers.items()), body))
            seen.append(scheme)
            self.send_response(200 if scheme is CAVAGE else 401)
            self.send_header("Content-Type", JSON)
            content = json.dumps({"id": uri}).encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_real_server_of_the_older_kind_is_fetched_from_and_delivered_to(
    settings: Settings,
) -> None:
    seen: list[Scheme | None] = []

    async def whole(base: str) -> None:
        door = Door(settings, KEY_ID, rsa_key(), polite=False)
        document = await door.get_json(f"{base}/actor?page=1")
        assert document.body == {"id": f"{base}/actor?page=1"}
        await door.post(f"{base}/inbox", b'{"type":"Follow"}', JSON)
        await door.post(f"{base}/inbox", b'{"type":"Undo"}', JSON)
        await door.aclose()

    with older_server(seen) as base:
        asyncio.run(whole(base))
    assert seen == [RFC9421, CAVAGE, RFC9421, CAVAGE, CAVAGE]
