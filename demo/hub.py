"""The example hub: a small server that publishes a group's listings and makes its payments.

Read it as the answer to "what must my software do to take part in LocalPay?":

1. serve the documents of `demo.documents` at fixed addresses (`demo.routes`);
2. register once, signed (`Hub.register`), and wait for the operator to admit the group;
3. answer LocalPay's Follow with an Accept (`Hub.receive`), so that it reads the outbox;
4. push every change to the followers, signed (`publish`, `edit`, `withdraw`);
5. pay and be paid (`demo.payments`), and look now and then what waits for an answer.

It keeps everything in memory. Hubs in earnest keep it in their database.
"""

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import orjson
import structlog
import uvicorn

from clearing.client import Client, Signer
from commons.errors import ForbiddenError, LocalPayError, MalformedError, NotFoundError
from commons.signatures import Message, generate_ed25519, generate_rsa
from demo import documents, routes
from demo.documents import PAGE_SIZE, Addresses, Json, Publication
from demo.listings import GroupProfile, Listing
from demo.payments import Payments
from demo.wire import Wire

LOOPBACK: Final = "127.0.0.1"
POLL_SECONDS: Final = 0.2

log = structlog.get_logger()


class Hub:
    """The hub of one group, on a loopback port of its own; a context manager that serves.

    `port` 0 takes any free port. `localpay_url` is LocalPay's base URL, without a path.
    """

    def __init__(self, group: GroupProfile, localpay_url: str, port: int = 0) -> None:
        self.group = group
        self._socket = socket.create_server((LOOPBACK, port))
        self.at = Addresses(f"http://{LOOPBACK}:{self._socket.getsockname()[1]}")
        self._rsa = generate_rsa()
        self._ed25519 = generate_ed25519()
        self.wire = Wire(self.at, self._rsa, localpay_url)
        # What it remembers is gone with the demo; a hub in earnest gives it a `FileStore`.
        signer = Signer(self.at.ed25519_key, self._ed25519)
        self.client = Client(localpay_url, group.id, signer)
        self.payments = Payments(self.client, frozenset(group.members))
        self.followers: dict[str, str] = {}  # actor's id: its inbox
        self._publications: dict[int, Publication] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._outgoing = ThreadPoolExecutor(1, f"{group.id}-outgoing")
        for listing in group.listings:
            self._keep(listing)
        config = uvicorn.Config(
            routes.make_app(self), log_level="warning", access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._threads = (
            threading.Thread(target=self._server.run, args=([self._socket],), name=group.id),
            threading.Thread(target=self._answer_transfers, name=f"{group.id}-payments"),
        )

    def __enter__(self) -> Self:
        # The socket listens already: whoever connects before the server runs just waits.
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._outgoing.shutdown()
        self._server.should_exit = True
        for thread in self._threads:
            thread.join()
        self._socket.close()
        self.wire.close()
        self.client.close()

    # What LocalPay is told

    def register(self) -> Json:
        """Register with LocalPay: who acts for the group, in what currency it keeps its books.

        `listings` is the hub's word that its members' public listings may be indexed; a member's
        own no (`indexable`) still counts more. Registering again changes nothing.
        """
        currency = self.group.currency
        body = {
            "actor": self.at.actor,
            "group": self.group.id,
            "listings": True,
            "currency": {
                "uri": self.at.currency,
                "code": currency.code,
                "name": currency.name,
                "scale": currency.scale,
                "kind": currency.kind,
                "rate": currency.rate,
            },
        }
        return self.client.register(body)

    def publish(self, listing: Listing) -> Publication:
        """Publish a member's new listing and tell all followers."""
        publication = self._keep(listing, datetime.now(UTC))
        activity = documents.create(self.at, publication)
        self._push(activity)
        if self.group.announces:
            self._push(documents.announce(self.at, activity))
        return publication

    def edit(self, number: int, listing: Listing) -> Publication:
        """Put `listing` in the place of the one published under `number`, and tell followers."""
        with self._lock:
            publication = replace(
                self.publication(number), listing=listing, updated=datetime.now(UTC)
            )
            self._publications[number] = publication
        self._push(documents.update(self.at, publication))
        return publication

    def withdraw(self, number: int) -> Publication:
        """Withdraw a listing: a Tombstone stands in its place, and followers are told."""
        with self._lock:
            publication = replace(self.publication(number), deleted=datetime.now(UTC))
            self._publications[number] = publication
        self._push(documents.delete(self.at, publication))
        return publication

    def receive(self, message: Message) -> None:
        """Take what was posted to the inbox: Follow and Undo(Follow), from whoever signed.

        Anything else is taken and not acted on. Raises UnauthenticatedError for a missing or
        wrong signature, ForbiddenError where it speaks for somebody else.
        """
        sender = self.wire.sender_of(message)
        activity = _activity(message.body)
        if activity.get("actor") != sender["id"]:
            msg = "the activity is not its signer's"
            raise ForbiddenError(msg)
        if activity.get("type") == "Follow" and activity.get("object") == self.at.actor:
            self.followers[sender["id"]] = sender["inbox"]
            # Later and elsewhere: the follower first wants the answer to this request.
            self._outgoing.submit(self._accept, sender["inbox"], activity)
        elif activity.get("type") == "Undo" and _is_follow(activity.get("object")):
            self.followers.pop(sender["id"], None)

    # What is served

    def actor(self) -> Json:
        """Return the group actor."""
        return documents.group_actor(
            self.at, self.group, self._rsa.public_key(), self._ed25519.public_key()
        )

    def member(self, name: str) -> Json:
        """Return a member's actor, or raise NotFoundError."""
        if name not in self.group.members:
            msg = f"there is no member {name!r}"
            raise NotFoundError(msg)
        return documents.member_actor(self.at, name, unlisted=name in self.group.unlisted)

    def publication(self, number: int) -> Publication:
        """Return what was published under a number, withdrawn or not, or raise NotFoundError."""
        if number not in self._publications:
            msg = f"there is no proposal {number}"
            raise NotFoundError(msg)
        return self._publications[number]

    def published(self, member: str | None = None) -> list[Publication]:
        """Return what is published now, newest first; only one member's where one is named."""
        with self._lock:
            newest_first = reversed(list(self._publications.values()))
        return [
            publication
            for publication in newest_first
            if publication.deleted is None and member in {None, publication.listing.member}
        ]

    def outbox(self) -> Json:
        """Return the outbox without its pages."""
        return documents.collection(self.at.outbox, len(self.published()))

    def outbox_page(self, number: int) -> Json:
        """Return one page of the outbox, from 1; raises NotFoundError beyond the last."""
        published = self.published()
        start = (number - 1) * PAGE_SIZE
        if number < 1 or start >= max(1, len(published)):
            msg = f"the outbox has no page {number}"
            raise NotFoundError(msg)
        items = self._creates(published[start : start + PAGE_SIZE])
        is_last = start + PAGE_SIZE >= len(published)
        return documents.page(self.at.outbox, number, items, is_last=is_last)

    def member_outbox(self, name: str) -> Json:
        """Return everything that one member publishes."""
        items = self._creates(self.published(name))
        return documents.collection(f"{self.at.member(name)}/outbox", len(items), items)

    def _creates(self, publications: Sequence[Publication]) -> list[Json]:
        return [documents.create(self.at, publication) for publication in publications]

    # Inside

    def _keep(self, listing: Listing, moment: datetime | None = None) -> Publication:
        with self._lock:
            number = len(self._publications) + 1
            # What was there from the start was published an hour apart, one after the other.
            age = timedelta(hours=len(self.group.listings) - number + 1)
            publication = Publication(number, listing, moment or datetime.now(UTC) - age)
            self._publications[number] = publication
        return publication

    def _push(self, activity: Json) -> None:
        for inbox in list(self.followers.values()):
            self.wire.deliver(inbox, activity)

    def _accept(self, inbox: str, follow: Json) -> None:
        try:
            self.wire.deliver(inbox, documents.accept(self.at, follow))
        except LocalPayError as error:
            log.warning("accept_not_delivered", hub=self.group.id, reason=error.detail)

    def _answer_transfers(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            if not self.followers:
                continue  # not admitted yet, so nobody could pay us
            try:
                self.payments.answer_waiting()
            except LocalPayError as error:
                # The next look comes anyway; what waits, waits until it expires.
                log.warning("transfers_not_answered", hub=self.group.id, reason=error.detail)


def _activity(body: bytes) -> Json:
    try:
        activity = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        msg = f"this is no JSON: {error}"
        raise MalformedError(msg) from error
    if not isinstance(activity, dict):
        msg = "an activity is a JSON object"
        raise MalformedError(msg)
    return activity


def _is_follow(value: object) -> bool:
    return isinstance(value, dict) and value.get("type") == "Follow"
