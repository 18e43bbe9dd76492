"""Address tricks through the one door: no packet leaves, seen by a recorder and by real sockets.

A recorder under the door takes down who is connected to, so a guard that fails is seen to connect
without anything leaving the machine. The same list runs over real sockets on loopback addresses.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import httpcore2
import pytest
from internet import Internet, answer, redirect

from commons import guarded_network
from commons.addresses import Address, check_addresses, is_loopback
from commons.errors import AddressRefusedError, FetchError
from commons.fetch import Door
from commons.guarded_network import resolve
from commons.settings import Settings

# Refused as they are written: nobody is even asked where they are.
WRITTEN = {
    "plain": "https://127.0.0.1/",
    "short": "https://127.1/",
    "three parts": "https://127.0.1/",
    "one part": "https://2130706433/",
    "more than 32 bits": "https://6425673729/",
    "hex": "https://0x7f000001/",
    "hex in capitals": "https://0X7F.0X0.0X0.0X1/",
    "hex of one part": "https://0x7f.1/",
    "hex of no digits": "https://127.0.0.0x/",
    "octal": "https://0177.0.0.1/",
    "octal of one part": "https://017700000001/",
    "octal of many noughts": "https://0000000177.0.0.01/",
    "mixed": "https://0x7f.0.0.01/",
    "too many parts": "https://127.0.0.0.1/",
    "nought": "https://0/",
    "this host": "https://0.0.0.0/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata as a number": "https://2852039166/",
    "inner": "https://10.0.0.1/",
    "a dot behind": "https://127.0.0.1./",
    "two dots behind": "https://127.0.0.1../",
    "loopback in IPv6": "https://[::1]/",
    "loopback at length": "https://[0:0:0:0:0:0:0:1]/",
    "unspecified in IPv6": "https://[::]/",
    "mapped": "https://[::ffff:127.0.0.1]/",
    "mapped in hex": "https://[::ffff:7f00:1]/",
    "mapped and public": "https://[::ffff:8.8.8.8]/",
    "compatible": "https://[::127.0.0.1]/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "NAT64 of one's own": "https://[64:ff9b:1::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "Teredo": "https://[2001:0:7f00:1::1]/",
    "site-local": "https://[fec0::1]/",
    "unique local": "https://[fd00::1]/",
    "multicast": "https://[ff02::1]/",
    "a zone": "https://[fe80::1%25lo]/",
    "a zone of the loopback": "https://[::1%25lo]/",
    "a zone not escaped": "https://[::1%lo]/",
    "a bracket left out": "https://[::1/",
    "no brackets": "https://::1/",
    "percent-encoded": "https://%31%32%37.0.0.1/",
    "percent-encoded dots": "https://127%2e0%2e0%2e1/",
    "percent-encoded name": "https://%6cocalhost/",
    "full-width digits": "https://\uff11\uff12\uff17.0.0.1/",
    "circled digits": "https://\u2460\u2461\u2466.0.0.1/",
    "ideographic dots": "https://127\u30020\u30020\u30021/",
    "half-width dots": "https://127\uff610\uff610\uff611/",
    "Arabic digits": "https://\u0661\u0662\u0667.0.0.1/",
    "mathematical digits": "https://\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1/",
    "a soft hyphen": "https://127.0.0.1\u00ad/",
    "a zero-width space": "https://127.0.0.1\u200b/",
    "a name in full-width letters": "https://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",
    "a name in circled letters": "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/",
    "a name with a soft hyphen": "https://lo\u00adcalhost/",
    "a name with a long s": "https://LOCALHO\u017fT/",
    "a user": "https://hub.example@127.0.0.1/",
    "a user and a public host": "https://127.0.0.1@hub.example/",
    "a user of no name": "https://@hub.example/",
    "a password": "https://:secret@hub.example/",
    "a backslash": "https://hub.example\\@127.0.0.1/",
    "a backslash before": "https://127.0.0.1\\.hub.example/",
    "backslashes for slashes": "https:\\\\127.0.0.1\\",
    "a hash in the host": "https://hub.example#@127.0.0.1:22/\n",
    "a tab": "https://127.0.\t0.1/",
    "a newline": "https://hub.example\n.evil.example/",
    "a return": "https://hub.example/\r\nHost: 127.0.0.1",
    "a blank before": " https://127.0.0.1/",
    "a blank in the host": "https://hub .example/",
    "NUL in the host": "https://hub.example\0.evil.example/",
    "NUL, percent-encoded": "https://hub.example%00.evil.example/",
    "another port": "https://hub.example:22/",
    "the port of http": "https://hub.example:80/",
    "port nought": "https://hub.example:0/",
    "a port too many": "https://hub.example:65979/",
    "a port below nought": "https://hub.example:-443/",
    "a port in other digits": "https://hub.example:\uff12\uff12/",
    "two ports": "https://hub.example:443:22/",
    "http": "http://hub.example/",
    "http in capitals": "HTTP://127.0.0.1/",
    "file": "file:///etc/passwd",
    "file of a host": "file://127.0.0.1/etc/passwd",
    "gopher": "gopher://127.0.0.1:70/_",
    "ftp": "ftp://127.0.0.1/",
    "data": "data:application/activity+json,{}",
    "ws": "wss://hub.example/",
    "dict": "dict://127.0.0.1:11211/stats",
    "javascript": "javascript:alert(1)",
    "a scheme in other letters": "\uff48ttps://127.0.0.1/",
    "a scheme with a long s": "http\u017f://127.0.0.1/",
    "a scheme twice": "https:https://127.0.0.1/",
    "one slash": "https:/127.0.0.1/",
    "three slashes": "https:///127.0.0.1/",
    "no scheme": "//127.0.0.1/",
    "no host": "https:///",
    "no host but a port": "https://:443/",
    "a dot for a host": "https://./",
    "dots for a host": "https://../",
    "a star for a host": "https://*/",
    "a path alone": "/inbox",
    "nothing": "",
}
# Good names, which a resolver knows: what it says is what is refused.
NAMED = {
    "localhost": "127.0.0.1",
    "LOCALHOST": "127.0.0.1",
    "localhost.": "127.0.0.1",
    "hub.localhost": "127.0.0.1",
    "a.b.localhost.": "::1",
    "localhost6": "::1",
    "ip6-loopback": "::1",
    "localhost.localdomain": "127.0.0.1",
    "localtest.example": "127.0.0.1",
    "127.0.0.1.nip.example": "127.0.0.1",
    "far.example": "127.9.9.9",
    "zone.example": "::1%lo",
    "mapped.example": "::ffff:127.0.0.1",
    "compatible.example": "::127.0.0.1",
    "nat64.example": "64:ff9b::7f00:1",
    "everything.example": "0.0.0.0",  # noqa: S104 (an address that is refused)
    "everything6.example": "::",
    "xn--lcalhost-54a.example": "127.0.0.1",
}
TRICKS = {**WRITTEN, **{f"name {name}": f"https://{name}/" for name in NAMED}}


@pytest.fixture
def public(settings: Settings) -> Settings:
    """Settings as in production: nothing but the public internet."""
    return settings.model_copy(update={"allow_loopback": False, "base_url": "https://pay.example"})


def inner_internet() -> Internet:
    """An internet in which any name may lead inside, and everybody answers."""
    names = {name.lower(): [[address]] for name, address in NAMED.items()}
    internet = Internet(names=names)
    internet.names["localhost"] = [["127.0.0.1"]]  # what other spellings of it come out as
    return internet


async def tried(door: Door, url: str) -> list[Exception]:
    """Fetch from a URL, crawl it, and deliver to it; return what each was refused with."""
    crawler = door.errand(url, crawling=True)
    ways: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: door.get_json(url),
        lambda: crawler.get_json(url),
        lambda: door.post(url, b"{}", "application/activity+json"),
    )
    refused: list[Exception] = []
    for way in ways:
        with pytest.raises(FetchError) as caught:
            await way()
        refused.append(caught.value)
    await door.aclose()
    return refused


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_connects_to_nobody(public: Settings, trick: str) -> None:
    internet = inner_internet()
    door = Door(public, network=internet, resolve=internet.resolve, polite=False)
    refused = asyncio.run(tried(door, TRICKS[trick]))
    assert internet.connected == []
    assert internet.requests == []
    got, _, delivered = map(type, refused)  # a crawler tells of the robots.txt that it cannot have
    assert {got, delivered} == {AddressRefusedError}
    if trick in WRITTEN:
        assert internet.looked_up == []


# What a Location header can say; one without a scheme is taken for a host.
TOLD = [
    trick
    for trick, url in TRICKS.items()
    if url and url.isascii() and url.isprintable() and url == url.strip()
]


@pytest.mark.parametrize("trick", TOLD)
def test_a_trick_to_which_a_hub_redirects_connects_to_nobody_else(
    public: Settings, trick: str
) -> None:
    internet = inner_internet()
    internet.pages["hub.example/actor"] = redirect(TRICKS[trick])
    door = Door(public, network=internet, resolve=internet.resolve, polite=False)

    async def whole() -> None:
        with pytest.raises(FetchError):
            await door.get_json("https://hub.example/actor")
        await door.aclose()

    asyncio.run(whole())
    assert {address for address, _ in internet.connected} == {"8.8.8.8"}


NAMES = [trick for trick in TRICKS if trick not in WRITTEN]


@pytest.mark.parametrize("trick", NAMES)
def test_a_guard_that_fails_is_seen_to_connect(
    public: Settings, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_them(_host: str, texts: list[str], *, allow_loopback: bool) -> list[str]:
        assert not allow_loopback
        return texts

    monkeypatch.setattr(guarded_network, "check_addresses", all_of_them)
    internet = inner_internet()
    door = Door(public, network=internet, resolve=internet.resolve, polite=False)
    asyncio.run(tried(door, TRICKS[trick]))
    assert internet.connected


class LoopbackSockets(httpcore2.AnyIOBackend):
    """Real connections, whatever port is asked for, to a listener; to loopback addresses only."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the listener at an address of this machine's own."""
        assert port
        assert host in {"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"}  # noqa: S104 (compared)
        return await super().connect_tcp(host, self._port, timeout, local_address, socket_options)


async def system_or_told(host: str, port: int) -> list[str]:
    """Resolve as the system does where no name server is asked, else as the tests' names say."""
    told = {name.lower(): address for name, address in NAMED.items()}
    if host in told:
        return [told[host]]
    return await resolve(host, port)


async def heard(settings: Settings, work: Callable[[Door], Awaitable[object]]) -> int:
    """Return how often somebody connected to a listener on all of this machine's addresses."""
    connections = 0

    async def listener(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(1)
        writer.write(answer(b"{}"))
        writer.close()

    first = await asyncio.start_server(listener, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(listener, "::1", port)
    third = await asyncio.start_server(listener, "127.9.9.9", port)
    door = Door(settings, network=LoopbackSockets(port), resolve=system_or_told, polite=False)
    async with first, second, third:
        await work(door)
        await door.aclose()
    return connections


def test_a_trick_reaches_no_socket_of_this_machine(public: Settings) -> None:
    async def all_of_them(door: Door) -> None:
        for trick, url in TRICKS.items():
            for way in (door.get_json(url), door.post(url, b"{}", "application/json")):
                with pytest.raises(FetchError) as caught:
                    await way
                assert isinstance(caught.value, AddressRefusedError), trick

    assert asyncio.run(heard(public, all_of_them)) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.9.9.9"])
def test_the_listener_hears_who_does_connect(settings: Settings, host: str) -> None:
    assert settings.allow_loopback

    async def once(door: Door) -> None:
        await door.get_json(f"http://{host}/")

    assert asyncio.run(heard(settings, once)) == 1


@pytest.mark.parametrize("trick", ["mapped.example", "compatible.example", "everything.example"])
def test_a_guard_that_fails_is_heard(
    public: Settings, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_loopback(_host: str, texts: list[str], *, allow_loopback: bool) -> list[str]:
        assert not allow_loopback
        assert texts == [NAMED[trick]]
        return ["127.0.0.1"]

    monkeypatch.setattr(guarded_network, "check_addresses", as_loopback)

    async def once(door: Door) -> None:
        with pytest.raises(FetchError):  # it is spoken TLS to, and answers in plain text
            await door.get_json(f"https://{trick}/")

    assert asyncio.run(heard(public, once)) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.9.9.9"])
def test_development_opens_only_what_is_plainly_this_machine(host: str) -> None:
    read: Address | None = check_addresses(host, [host], allow_loopback=True)[0]
    assert read is not None
    assert is_loopback(read)
