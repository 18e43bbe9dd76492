"""Hubs of made-up listings on loopback ports, run as a program beside what is measured."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.corpus import Corpus
from commons.signatures import encode_multikey
from demo.documents import PUBLIC
from demo.service import LOOPBACK
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans

PAGE: Final = 50
LISTINGS_A_MEMBER: Final = 10
HUBS_A_PROCESS: Final = 10
SEED: Final = 3
ACTIVITY: Final = "application/activity+json"
_HUGE_LISTINGS: Final = 1_000_000  # the corpus is made as it is asked for

Json = dict[str, Any]


@dataclass(frozen=True)
class BenchHub:
    """A hub by its number and the address that it lives at."""

    number: int
    base: str

    @property
    def actor(self) -> str:
        """Id of the group actor."""
        return f"{self.base}/group"

    @property
    def key_id(self) -> str:
        """Id of the key that signs its pushes."""
        return f"{self.actor}#key"

    @cached_property
    def key(self) -> Ed25519PrivateKey:
        """Key that both the hub's process and ours can tell; it guards nothing."""
        return Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(f"bench {self.number}".encode()).digest()
        )

    def actor_document(self) -> Json:
        """Return the group actor, whose key signs."""
        key = {
            "id": self.key_id,
            "type": "Multikey",
            "controller": self.actor,
            "publicKeyMultibase": encode_multikey(self.key.public_key()),
        }
        return {
            "id": self.actor,
            "type": "Group",
            "name": f"Group {self.number}",
            "preferredUsername": f"hub-{self.number}",
            "inbox": f"{self.base}/inbox",
            "outbox": f"{self.base}/outbox",
            "assertionMethod": [key],
        }

    def member(self, listing: int) -> str:
        """Id of the member whose listing it is."""
        return f"{self.base}/members/{listing // LISTINGS_A_MEMBER}"

    def proposal(self, number: int, draft: Draft) -> Json:
        """Write a made-up listing as this hub's own, by FEP-0837."""
        document: Json = {
            "id": f"{self.base}/proposals/{number}",
            "type": "Proposal",
            "purpose": "offer" if draft.type is ListingType.OFFER else "request",
            "attributedTo": self.member(number),
            "audience": self.actor,
            "to": [PUBLIC],
            "name": draft.title,
            "content": draft.body,
            "tag": [{"type": "Hashtag", "name": name} for name in draft.categories],
            "published": _written(draft.published or datetime.now(UTC)),
        }
        if draft.language is not None:
            document["contentMap"] = {draft.language: draft.body}
        if draft.image is not None:
            document["attachment"] = [{"type": "Image", "url": draft.image}]
        if draft.lat is not None:
            place = {"name": draft.place_name, "latitude": draft.lat, "longitude": draft.lon}
            document["location"] = {"type": "Place", **place}
        for payment in draft.payments[:1]:
            document["reciprocal"] = self._reciprocal(payment)
        return document

    def create(self, proposal: Json, kind: str = "Create", version: int = 0) -> Json:
        """Return the activity by which a member publishes or changes a listing."""
        number = proposal["id"].rpartition("/")[2]
        return {
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": f"{self.base}/activities/{kind}/{number}/{version}",
            "type": kind,
            "actor": proposal["attributedTo"],
            "to": [PUBLIC],
            "object": proposal,
        }

    def documents(self, listings: int) -> dict[str, bytes]:
        """Return all that the hub serves, by path."""
        served: dict[str, Json] = {"/group": self.actor_document()}
        proposals = [self.proposal(n, draft) for n, draft in enumerate(self.drafts(listings))]
        for proposal in proposals:
            member = proposal["attributedTo"]
            served[member.removeprefix(self.base)] = {
                "id": member,
                "type": "Person",
                "name": member.rpartition("/")[2],
            }
        outbox = f"{self.base}/outbox"
        served["/outbox"] = {
            "id": outbox,
            "type": "OrderedCollection",
            "first": f"{outbox}?page=1",
        }
        for number, start in enumerate(range(0, listings, PAGE), start=1):
            items = [self.create(proposal) for proposal in proposals[start : start + PAGE]]
            page: Json = {
                "id": f"{outbox}?page={number}",
                "type": "OrderedCollectionPage",
                "partOf": outbox,
                "orderedItems": items,
            }
            if start + PAGE < listings:
                page["next"] = f"{outbox}?page={number + 1}"
            served[f"/outbox?page={number}"] = page
        return {path: json.dumps(document).encode() for path, document in served.items()}

    def drafts(self, listings: int) -> Iterator[Draft]:
        """Make up this hub's listings, always the same."""
        corpus = Corpus(_HUGE_LISTINGS, SEED + self.number, datetime.now(UTC))
        return islice(corpus.drafts(), listings)

    def _reciprocal(self, payment: Payment) -> Json:
        means = PaymentMeans.LOCAL, PaymentMeans.TIME
        unit = f"{self.base}/currency" if payment.means in means else payment.currency or "EUR"
        quantity = {"hasUnit": "one", "hasNumericalValue": payment.amount or "1"}
        return {
            "type": "Intent",
            "action": "transfer",
            "resourceConformsTo": unit,
            "resourceQuantity": quantity,
        }


@contextmanager
def hubs_apart(hubs: int, listings: int) -> Iterator[list[BenchHub]]:
    """Run hubs of so many listings each in processes of their own; yield them."""
    command = [sys.executable, "-m", "bench.crawl_hubs"]
    with ExitStack() as stack:
        programs = []
        for first in range(0, hubs, HUBS_A_PROCESS):
            asked = (first, min(HUBS_A_PROCESS, hubs - first), listings)
            program = stack.enter_context(
                subprocess.Popen([*command, *map(str, asked)], stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own program)
            )
            stack.callback(program.terminate)
            programs.append(program)
        bases: list[str] = []
        for program in programs:
            if program.stdout is None:
                raise RuntimeError(command)
            bases += json.loads(program.stdout.readline())
        yield [BenchHub(number, base) for number, base in enumerate(bases)]


async def _serve(first: int, count: int, listings: int) -> None:
    bases = []
    for number in range(first, first + count):
        served: dict[str, bytes] = {}
        server = await asyncio.start_server(_Answering(served).answer, LOOPBACK, 0)
        hub = BenchHub(number, f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
        served.update(hub.documents(listings))
        bases.append(hub.base)
    sys.stdout.write(json.dumps(bases) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@dataclass(frozen=True)
class _Answering:
    """Answers each request with what is ready, so that hubs take little of the machine."""

    served: dict[str, bytes]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                await reader.readexactly(_length(head.splitlines()[1:]))
                body = b"" if method == "POST" else self.served.get(path)
                status = "202 Accepted" if method == "POST" else "200 OK"
                if body is None:
                    status, body = "404 Not Found", b""
                lines = f"HTTP/1.1 {status}\r\nContent-Type: {ACTIVITY}\r\n"
                writer.write(f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _length(lines: Sequence[str]) -> int:
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
