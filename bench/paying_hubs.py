"""Hubs with accounts that pay each other: made in a database, signing calls as hubs do."""

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from clearing.accounts import DEFAULT_UNION, open_account
from clearing.rates import Rate
from commons.database import now, transaction
from commons.groups import Currency, Group, Hub, HubKey, HubState, KeyAlgorithm
from commons.money import CurrencyKind
from commons.signatures import generate_ed25519, public_pem
from demo.service import LOOPBACK

NO_ANSWER: Final = (OSError, EOFError)
"""What is raised where a connection breaks before the whole answer is there."""

_RATE_KNOWN: Final = timedelta(days=1_000)
"""Since when rates apply, so that there can be payments of the past."""

Json = dict[str, Any]


@dataclass(frozen=True)
class PayingHub:
    """A hub with a group, an account and the key that it signs with."""

    group_id: str
    key: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        """The address of its key."""
        return f"https://{self.group_id}.example/group#key"

    def call(self, base_url: str, method: str, path: str, document: Json | None = None) -> bytes:
        """Return a signed request as it goes over the wire.

        The signature is put together here: a library would take longer to sign than the service
        to verify, on the same processors.
        """
        body = b"" if document is None else json.dumps(document).encode()
        lines = [f'"@method": {method}', f'"@target-uri": {base_url}{path}']
        head = [f"{method} {path} HTTP/1.1", f"Host: {base_url.partition('://')[2]}"]
        covered = '"@method" "@target-uri"'
        if method != "GET":
            digest = f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"
            head += [f"Content-Length: {len(body)}", f"Content-Digest: {digest}"]
            head += ["Content-Type: application/json"] if body else []
            lines.append(f'"content-digest": {digest}')
            covered += ' "content-digest"'
        said = f'({covered});created={int(time.time())};keyid="{self.key_id}"'
        said += f';nonce="{secrets.token_urlsafe(16)}"'
        lines.append(f'"@signature-params": {said}')
        signature = base64.b64encode(self.key.sign("\n".join(lines).encode())).decode()
        head += [f"Signature-Input: sig1={said}", f"Signature: sig1=:{signature}:"]
        return "\r\n".join([*head, "\r\n"]).encode() + body


def admit_hubs(
    engine: Engine, count: int, *, credit: int | None, surplus: int | None
) -> list[PayingHub]:
    """Admit hubs with accounts in the default union, all of one currency, rate and limits."""
    hubs = [PayingHub(f"hub-{number:05d}", generate_ed25519()) for number in range(count)]
    with transaction(engine) as session:
        currency = Currency(
            uri="https://currency.example/hour",
            code="HOUR",
            name="hour",
            scale=4,
            kind=CurrencyKind.TIME,
        )
        session.add(currency)
        session.flush()
        for hub in hubs:
            _admit(session, hub, currency.id)
            open_account(session, hub.group_id, DEFAULT_UNION, credit, surplus)
    return hubs


def _admit(session: Session, hub: PayingHub, currency_id: int) -> None:
    moment = now(session)
    uri = f"https://{hub.group_id}.example/group"
    session.add(
        Group(
            id=hub.group_id,
            uri=uri,
            name=hub.group_id,
            currency_id=currency_id,
            created_at=moment,
        )
    )
    session.flush()
    session.add(
        Hub(
            group_id=hub.group_id,
            state=HubState.ADMITTED,
            inbox_uri=f"{uri}/inbox",
            rate_wanted="1/1",
            registered_at=moment,
            admitted_at=moment,
        )
    )
    session.add(
        HubKey(
            key_id=hub.key_id,
            group_id=hub.group_id,
            algorithm=KeyAlgorithm.ED25519,
            public_key_pem=public_pem(hub.key.public_key()),
            added_at=moment,
            confirmed_at=moment,
        )
    )
    long_ago = moment - _RATE_KNOWN
    session.add(Rate(group_id=hub.group_id, rate="1/1", valid_from=long_ago, known_from=long_ago))


class Line:
    """A kept connection to a service, over which calls are made one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the answer's status and body; OSError or EOFError where none comes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(LOOPBACK, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        return int(head.split(" ", 2)[1]), await reader.readexactly(int(length or 0))

    async def close(self) -> None:
        """Hang up; the next call makes a new connection."""
        if self._streams is None:
            return
        writer, self._streams = self._streams[1], None
        writer.close()
        with contextlib.suppress(OSError):  # the other end was gone already
            await writer.wait_closed()


async def ask_all(
    ports: Sequence[int], requests: Sequence[bytes], connections: int
) -> list[tuple[float, int, bytes]]:
    """Ask everything once; return the seconds, status and body of each, in the order of ending."""
    waiting = iter(requests)
    taken: list[tuple[float, int, bytes]] = []

    async def ask_on(line: Line) -> None:
        for request in waiting:
            start = time.perf_counter()
            status, body = await line.ask(request)
            taken.append((time.perf_counter() - start, status, body))
        await line.close()

    lines = [Line(ports[number % len(ports)]) for number in range(connections)]
    await asyncio.gather(*(ask_on(line) for line in lines))
    return taken
