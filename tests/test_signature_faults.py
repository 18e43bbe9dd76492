"""Faulty signatures through POST /inbox, by both schemes: nothing is stored, no handler runs."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from conftest import disposed
from hub_server import ACTIVITY, HubServer, rsa_key
from served import Served, served
from signed_by import PARTS, by_cavage, by_rfc9421
from sqlalchemy import func, select

from commons.cavage import digest_of
from commons.database import make_engine, reading
from commons.key_formats import generate_ed25519, generate_rsa, public_pem
from commons.settings import Settings
from commons.signatures import Message, PrivateKey, content_digest
from crawler.kept import InboxMessage, PutAside
from marketplace.listings import Listing

RSA9421: Final = ("@method", "@target-uri", "content-digest")
SCHEMES: Final[dict[str, Callable[..., Message]]] = {"rfc9421": by_rfc9421, "cavage": by_cavage}
OTHER_RSA: Final = generate_rsa()


@dataclass
class World:
    """A service and a hub that it knows, whose member signs by one scheme."""

    service: Served
    hub: HubServer
    scheme: str
    numbers: Iterator[int]

    @property
    def is_older(self) -> bool:
        return self.scheme == "cavage"

    @property
    def key_id(self) -> str:
        return f"{self.hub.base}/members/ines#main-key"

    def message(self, by: str | None = None) -> Message:
        """Return a new activity of the member's, unsigned."""
        number = next(self.numbers)
        document = self.hub.activity("Create", self.hub.proposal(number), by=by)
        return Message(
            "POST",
            f"{self.service.url}/inbox",
            [("Content-Type", ACTIVITY)],
            json.dumps(document).encode(),
        )

    def sign(
        self,
        message: Message | None = None,
        key: PrivateKey | None = None,
        key_id: str | None = None,
        **how: Any,  # noqa: ANN401 (what the scheme's signer takes)
    ) -> Message:
        signer = SCHEMES[self.scheme]
        return signer(message or self.message(), key or rsa_key(), key_id or self.key_id, **how)

    def without(self, part: str) -> Message:
        """Sign all that must be covered, but for one part."""
        if self.is_older:
            return self.sign(parts=[one for one in PARTS if one != part])
        return self.sign(covered=[one for one in RSA9421 if one != part])

    def aged(self, seconds: float) -> Message:
        """Sign that many seconds ago; negative is in the future."""
        moment = datetime.now(UTC) - timedelta(seconds=seconds)
        return self.sign(date=moment) if self.is_older else self.sign(created=moment)

    def change(self, message: Message, name: str, change: Callable[[str], str]) -> Message:
        headers = [(key, change(text) if key == name else text) for key, text in message.headers]
        assert headers != list(message.headers)
        return replace(message, headers=headers)

    def reword(self, change: Callable[[str], str]) -> Message:
        """Change what the signature says of itself."""
        return self.change(self.sign(), "Signature" if self.is_older else "Signature-Input", change)

    def doubled(self, name: str) -> Message:
        message = self.sign()
        again = [header for header in message.headers if header[0] == name]
        return replace(message, headers=[*message.headers, *(again or [(name, "x")] * 2)])

    def send(self, message: Message) -> int:
        """Send a message as it is, its headers too; return the status of the answer."""
        parts = urlsplit(self.service.url)
        path = message.target_uri.removeprefix(self.service.url)
        headers = [*message.headers, ("Content-Length", str(len(message.body)))]
        if "Host" not in dict(headers):
            headers.append(("Host", parts.netloc))
        with closing(HTTPConnection(parts.netloc, timeout=30)) as connection:
            connection.putrequest(message.method, path, skip_host=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(message.body)
            return connection.getresponse().status

    def kept(self) -> list[int]:
        """Return how much is stored of what is pushed, and of what became of it."""
        return [self.count(table) for table in (InboxMessage, PutAside, Listing)]

    def count(self, table: type[Any]) -> int:
        with reading(self.service.services.engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture(scope="module")
def known(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, HubServer]]:
    """A service, and a hub that is followed; shared, since none of these tests may change it."""
    folder = tmp_path_factory.mktemp("faults")
    path = folder / "localpay.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    settings = Settings(data_dir=folder / "data", base_url="http://testserver", allow_loopback=True)
    settings.data_dir.mkdir()
    with (
        disposed(make_engine(f"sqlite:///{path}")) as engine,
        served(settings, engine) as service,
        HubServer().serving() as hub,
    ):
        service.register(hub)
        service.admit(hub.name)
        owner = f"{hub.base}/members/ines"
        pem = public_pem(rsa_key().public_key())
        key = {"id": f"{owner}#main-key", "owner": owner, "publicKeyPem": pem}
        hub.member("ines", publicKey=key)
        yield service, hub


_NUMBERS: Final = count(1)


@pytest.fixture(params=SCHEMES)
def world(known: tuple[Served, HubServer], request: pytest.FixtureRequest) -> World:
    return World(*known, request.param, _NUMBERS)


def other_owner(world: World) -> Message:
    """Name a key that another member's actor describes, with an owner who does not name it."""
    owner, thief = f"{world.hub.base}/members/ada", f"{world.hub.base}/members/thief"
    pem = public_pem(OTHER_RSA.public_key())
    world.hub.member("ada")
    key = {"id": f"{thief}#main-key", "owner": owner, "publicKeyPem": pem}
    world.hub.member("thief", publicKey=key)
    return world.sign(world.message(by=owner), OTHER_RSA, f"{thief}#main-key")


def member_for_member(world: World) -> Message:
    """Sign with a member's good key what another member is said to do."""
    return world.sign(world.message(by=f"{world.hub.base}/members/ada"))


def by_cut(text: str) -> str:
    return re.sub(r"[^\"=:]{8}(=*[:\"])$", r"\1", text)


def elsewhere(world: World, target: str) -> Message:
    """Sign for another place, and send it here."""
    signed = world.sign(replace(world.message(), target_uri=target))
    kept = [header for header in signed.headers if header[0] != "Host"]
    return replace(signed, target_uri=f"{world.service.url}/inbox", headers=kept)


def of_digest(world: World, newer: str, older: str) -> Message:
    """Send a digest that is signed as it stands."""
    if world.is_older:
        return world.sign(digest=older)
    message = world.message()
    digest = ("Content-Digest", newer)
    return world.sign(replace(message, headers=[*message.headers, digest]))


def by_sha512(world: World) -> Message:
    sha512 = "sha-512=:" + "A" * 86 + "==:"
    return of_digest(world, sha512, "SHA-512=" + "A" * 86 + "==")


FAULTS: Final[dict[str, tuple[int, Callable[[World], Message]]]] = {
    "unsigned": (401, lambda w: w.message()),
    "the method or the target left out": (
        401,
        lambda w: w.without("(request-target)" if w.is_older else "@method"),
    ),
    "the address or the host left out": (
        401,
        lambda w: w.without("host" if w.is_older else "@target-uri"),
    ),
    "the digest left out": (
        401,
        lambda w: w.without("digest" if w.is_older else "content-digest"),
    ),
    "the time left out": (
        401,
        lambda w: w.without("date")
        if w.is_older
        else w.reword(lambda text: re.sub(r";created=\d+", "", text)),
    ),
    "the digest of another body": (
        401,
        lambda w: of_digest(w, content_digest(b"other"), digest_of(b"other")),
    ),
    "a digest by sha-512 alone": (401, by_sha512),
    "a digest that is none": (
        401,
        lambda w: w.sign(digest="SHA-256=AAAA")
        if w.is_older
        else w.change(w.sign(), "Content-Digest", lambda _: "sha-256=:AAAA:"),
    ),
    "a body with one byte more": (401, lambda w: replace((m := w.sign()), body=m.body + b" ")),
    "a body with one byte changed": (
        401,
        lambda w: replace((m := w.sign()), body=m.body.replace(b"Brakes", b"Breaks")),
    ),
    "two Signature headers": (400, lambda w: w.doubled("Signature")),
    "two Digest headers": (400, lambda w: w.doubled("Digest")),
    "two Date headers": (400, lambda w: w.doubled("Date")),
    "two Host headers": (400, lambda w: w.doubled("Host")),
    "two signatures": (
        400,
        lambda w: w.change(
            w.sign(), "Signature", lambda text: f"{text},{text}" if w.is_older else text + ", ="
        ),
    ),
    "a key whose owner does not name it": (401, other_owner),
    "a member's key for another member": (403, member_for_member),
    "a key of a server that is not known": (
        401,
        lambda w: w.sign(key_id="https://nobody.example/users/eve#main-key"),
    ),
    "a key id that nobody has": (401, lambda w: w.sign(key_id=f"{w.hub.base}/keys/none")),
    "a key id that is no address": (401, lambda w: w.sign(key_id="main-key")),
    "another RSA key": (401, lambda w: w.sign(key=OTHER_RSA)),
    "an RSA key's id on an Ed25519 signature": (401, lambda w: w.sign(key=generate_ed25519())),
    "an RSA key with the label of Ed25519": (
        401,
        lambda w: w.sign(algorithm="ed25519")
        if w.is_older
        else w.reword(lambda text: f'{text};alg="ed25519"'),
    ),
    "the label of HMAC": (
        401,
        lambda w: w.sign(algorithm="hmac-sha256")
        if w.is_older
        else w.reword(lambda text: f'{text};alg="hmac-sha256"'),
    ),
    "the label none": (
        401,
        lambda w: w.sign(algorithm="none")
        if w.is_older
        else w.reword(lambda text: f'{text};alg="none"'),
    ),
    "too old": (401, lambda w: w.aged(3902 if w.is_older else 302)),
    "too far ahead": (401, lambda w: w.aged(-3610 if w.is_older else -310)),
    "expired": (
        401,
        lambda w: w.sign(
            parts=[*PARTS, "(expires)"],
            algorithm="hs2019",
            said=f"expires={int(datetime.now(UTC).timestamp()) - 3700}",
        )
        if w.is_older
        else w.reword(lambda text: f"{text};expires=1000000000"),
    ),
    "made for another host": (401, lambda w: elsewhere(w, "https://evil.example/inbox")),
    "made for another path": (401, lambda w: elsewhere(w, f"{w.service.url}/outbox")),
    "made for another query": (401, lambda w: elsewhere(w, f"{w.service.url}/inbox?a=1")),
    "made for another method": (
        401,
        lambda w: replace(w.sign(replace(w.message(), method="PUT")), method="POST"),
    ),
    "sent to another host": (
        400,
        lambda w: replace((m := w.sign()), headers=[
            *(h for h in m.headers if h[0] != "Host"), ("Host", "evil.example")
        ]),
    ),
    "a signature cut short": (401, lambda w: w.change(w.sign(), "Signature", by_cut)),
    "a signature of nothing": (
        400,
        lambda w: w.change(w.sign(), "Signature", lambda text: text[: text.index("=")] + "="),
    ),
    "no key named": (400, lambda w: w.reword(lambda text: re.sub(r"(?i)keyid", "key", text))),
    "a key id that does not end": (400, lambda w: w.sign(key_id=w.key_id + "x" * 2100)),
    "a header that cannot be read": (400, lambda w: w.reword(lambda _: "(((")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stores_nothing_and_runs_nothing(world: World, fault: str) -> None:
    status, made = FAULTS[fault]
    before = world.kept()
    assert world.send(made(world)) == status
    world.service.work()
    assert world.kept() == before


def test_without_a_fault_it_is_stored_and_handled(world: World) -> None:
    before = world.kept()
    assert world.send(world.sign()) == 202
    world.service.work()
    assert world.kept() == [before[0] + 1, before[1], before[2] + 1]


def test_a_push_that_is_sent_again_has_no_effect(world: World) -> None:
    message = world.sign()
    assert [world.send(message) for _ in range(2)] == [202, 202]
    stored = world.count(InboxMessage)
    world.service.work()
    handled = world.kept()
    assert world.send(message) == 202
    world.service.work()
    assert world.count(InboxMessage) == stored
    assert world.kept() == handled
