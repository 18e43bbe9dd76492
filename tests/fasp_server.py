"""A fediverse server on loopback that shares content with a provider, as FASP 0.1 documents it."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import httpx2
from hub_server import HubServer, Json
from served import Served

from commons.errors import LocalPayError
from commons.signatures import (
    REQUEST_WITH_BODY,
    RESPONSE,
    Message,
    PrivateKey,
    generate_ed25519,
    sign,
    verify,
)
from crawler.fasp.signing import read_key, written_key

JSON: Final = "application/json"
NODEINFO: Final = "http://nodeinfo.diaspora.software/ns/schema/2.0"
FASP_ID: Final = "dfkl3msw6ps3"


@dataclass(frozen=True)
class Called:
    """A call that the provider made and signed as it should."""

    method: str
    path: str
    body: Any


class FediServer(HubServer):
    """A server with accounts and posts, and an interface for providers below `/fasp`.

    `spoil` changes an answer's status, headers or body before it leaves; answers are signed as if
    at `signed_at`, and name the key where `names_key`, which widespread software leaves out.
    """

    def __init__(self, name: str = "fedi") -> None:
        super().__init__(name)
        self.server_key = generate_ed25519()
        self.provider: Any = {}
        self.calls: list[Called] = []
        self.unsigned: list[str] = []
        self.more = True
        self.names_key = False
        self.signed_at: datetime | None = None
        self.spoil: Callable[[int, list[tuple[str, str]], bytes], Any] | None = None
        self.ids: dict[str, int] = {}
        self.numbers = iter(range(3446, 9999))
        self._server.RequestHandlerClass = type("Handler", (_Handler,), {"hub": self})
        self.publish_nodeinfo({"faspBaseUrl": f"{self.base}/fasp"})

    def publish_nodeinfo(self, metadata: Json) -> None:
        link = {"rel": NODEINFO, "href": f"{self.base}/nodeinfo/2.0"}
        self.put("/.well-known/nodeinfo", {"links": [link]})
        software = {"name": "fediexample", "version": "6.2.7"}
        self.put("/nodeinfo/2.0", {"version": "2.0", "software": software, "metadata": metadata})
        for path in ("/.well-known/nodeinfo", "/nodeinfo/2.0"):
            self.headers[path] = {"Content-Type": JSON}

    def post(self, number: int, *, member: str = "ines", **more: Any) -> Json:  # noqa: ANN401 (any JSON)
        """Publish an offer of somebody who lets it be found, unless `more` says otherwise."""
        if f"/members/{member}" not in self.documents:
            self.member(member, indexable=True)
        return self.serve(self.proposal(number, member=member, audience=None, **more))

    def paths(self) -> list[str]:
        """What the provider called."""
        return [f"{call.method} {call.path}" for call in self.calls]

    def request(  # noqa: PLR0913 (a forger may change each)
        self,
        service: Served,
        method: str,
        path: str,
        document: object = None,
        *,
        key: PrivateKey | None = None,
        key_id: str | None = None,
        covered: tuple[str, ...] = REQUEST_WITH_BODY,
        created: datetime | None = None,
    ) -> httpx2.Request:
        """Make a call at the provider, signed as documented unless told otherwise."""
        body = b"" if document is None else json.dumps(document).encode()
        headers = [("Content-Type", JSON)]
        message = Message(method, f"{service.url}/fasp{path}", headers, body)
        added = sign(
            message,
            key or self.server_key,
            key_id or self.provider["serverId"],
            nonce=None,
            created=created or datetime.now(UTC),
            covered=covered,
        )
        return service.client.build_request(
            method, f"/fasp{path}", content=body, headers=[*headers, *added.items()]
        )

    def call(
        self,
        service: Served,
        method: str,
        path: str,
        document: object = None,
        **how: Any,  # noqa: ANN401 (what `request` takes)
    ) -> httpx2.Response:
        return service.client.send(self.request(service, method, path, document, **how))

    def announce(self, service: Served, *uris: str, **more: object) -> httpx2.Response:
        """Announce objects in answer to the subscription, unless `more` says otherwise."""
        said = {
            "source": {"subscription": {"id": self.made("event_subscriptions")}},
            "category": "content",
            "eventType": "new",
            "objectUris": list(uris),
            **more,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        return self.call(service, "POST", "/data_sharing/v0/announcements", kept)

    def fill_back(self, service: Served, *uris: str, more: bool) -> httpx2.Response:
        """Announce objects in answer to the back-fill request."""
        source = {"backfillRequest": {"id": self.made("backfill_requests")}}
        return self.announce(
            service, *uris, source=source, eventType=None, moreObjectsAvailable=more
        )

    def made(self, what: str) -> str:
        """The id of the latest thing of a kind that the provider made here."""
        return str(self.ids[what])

    def is_ours(self, answer: httpx2.Response) -> bool:
        """Tell whether the provider signed an answer as it is registered here."""
        headers = list(answer.headers.multi_items())
        message = Message("", "", headers, answer.content, status=answer.status_code)
        key = read_key(self.provider["publicKey"])
        found = verify(message, key, required=RESPONSE, now=datetime.now(UTC))
        return found.key_id == FASP_ID


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FediServer

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        status, document = self.hub.documents.get(self.path, (404, {}))
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        told = {"Content-Type": "application/activity+json", **self.hub.headers.get(self.path, {})}
        self._send(503 if self.hub.is_down else status, list(told.items()), body)

    def do_POST(self) -> None:
        self._interface("POST")

    def do_DELETE(self) -> None:
        self._interface("DELETE")

    def _interface(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.removeprefix("/fasp")
        said = json.loads(body) if body else None
        if path == "/registration":
            self.hub.provider = said
        if not self._is_signed(method, body):
            self.hub.unsigned.append(f"{method} {path}")
            self._answer(401, None)
            return
        self.hub.calls.append(Called(method, path, said))
        if self.hub.is_down:
            self._answer(503, None)
            return
        self._answer(*self._do(method, path))

    def _do(self, method: str, path: str) -> tuple[int, Json | None]:
        if path == "/registration":
            key = written_key(self.hub.server_key.public_key())
            done = f"{self.hub.base}/admin/fasps"
            return 201, {"faspId": FASP_ID, "publicKey": key, "registrationCompletionUri": done}
        kind = path.split("/")[3]
        if method == "DELETE":
            return 204, None
        if path.endswith("/continuation"):
            return (204, None) if self.hub.more else (404, None)
        self.hub.ids[kind] = next(self.hub.numbers)
        name = {"event_subscriptions": "subscription", "backfill_requests": "backfillRequest"}[kind]
        return 201, {name: {"id": self.hub.ids[kind]}}  # numbers, as widespread software has them

    def _is_signed(self, method: str, body: bytes) -> bool:
        url = self.hub.base + self.path
        message = Message(method, url, list(self.headers.items()), body)
        key = read_key(self.hub.provider["publicKey"])
        try:
            found = verify(message, key, required=REQUEST_WITH_BODY, now=datetime.now(UTC))
        except LocalPayError:
            return False
        known_as = self.hub.provider["serverId"] if self.path.endswith("registration") else FASP_ID
        return found.key_id == known_as

    def _answer(self, status: int, document: Json | None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        message = Message("", "", [("Content-Type", JSON)], body, status=status)
        moment = self.hub.signed_at or datetime.now(UTC)
        added = sign(message, self.hub.server_key, "left-out", nonce=None, created=moment)
        if not self.hub.names_key:
            added = self._without_key_id(status, added["Content-Digest"], moment)
        headers = [("Content-Type", JSON), *added.items()]
        if self.hub.spoil is not None:
            status, headers, body = self.hub.spoil(status, headers, body)
        self._send(status, headers, body)

    def _without_key_id(self, status: int, digest: str, moment: datetime) -> dict[str, str]:
        """Sign an answer by hand, without naming the key."""
        told = f'("@status" "content-digest");created={int(moment.timestamp())}'
        lines = (
            f'"@status": {status}',
            f'"content-digest": {digest}',
            f'"@signature-params": {told}',
        )
        signature = self.hub.server_key.sign("\n".join(lines).encode())
        return {
            "Content-Digest": digest,
            "Signature-Input": f"sig1={told}",
            "Signature": f"sig1=:{b64encode(signature).decode()}:",
        }

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""
