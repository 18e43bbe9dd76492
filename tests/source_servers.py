"""Other sources on loopback ports, which answer in the shapes that their software documents."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
JSON_API = "application/vnd.api+json"
JSON = "application/json"
CSV = "text/csv; charset=utf-8"
UPDATED = "2024-10-30T10:00:00Z"


class Answer(NamedTuple):
    """What is answered at an address."""

    body: bytes
    media_type: str = JSON
    status: int = 200


class SourceServer:
    """A server: what it was asked, in order, and what it answers whatever it would say itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.unchanged: list[str] = []
        self.answers: dict[str, Answer] = {}
        handler = type("Handler", (_Handler,), {"source": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def put(self, path: str, body: bytes | str, media_type: str = CSV, status: int = 200) -> str:
        raw = body.encode() if isinstance(body, str) else body
        self.answers[path] = Answer(raw, media_type, status)
        return self.base + path

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Answer what no test has put there."""
        assert isinstance(query, dict)
        return Answer(b"{}", JSON, 404 if path else 400)

    def asked_paths(self) -> list[str]:
        return [path for path in self.asked if path != "/robots.txt"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    source: SourceServer

    def do_GET(self) -> None:
        self.source.asked.append(self.path)
        parts = urlsplit(self.path)
        known = self.source.answers.get(self.path) or self.source.answers.get(parts.path)
        query = {name: told[0] for name, told in parse_qs(parts.query).items()}
        body, media_type, status = known or self.source.answer(parts.path, query)
        tag = f'"{hash(body)}"'
        if self.headers["If-None-Match"] == tag:
            self.source.unchanged.append(self.path)
            status, body = 304, b""
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        with suppress(ConnectionError):  # who is sent too much hangs up
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""


class Komunitin(SourceServer):
    """Komunitin's social interface with one group, GRP0, and its sloppy commas."""

    def __init__(self) -> None:
        super().__init__()
        self.page_size = 2
        self.includes = True
        self.resources: dict[str, list[Json]] = {
            "groups": [self._resource("groups", "GRP0", "/GRP0", name="Group 0")],
            "offers": [],
            "needs": [],
            "categories": [self._resource("categories", "food", cpa=["10.7"], name="Food")],
            "members": [
                self._resource(
                    "members",
                    "GRP00012",
                    name="Forn de pa",
                    state="active",
                    location={"type": "Point", "coordinates": [2.8249, 41.9794], "name": "Girona"},
                )
            ],
        }

    @property
    def address(self) -> str:
        return f"{self.base}/GRP0"

    def _resource(self, kind: str, code: str, path: str = "", **attributes: object) -> Json:
        return {
            "type": kind,
            "id": f"{kind}-{code}",
            "attributes": {"code": code, "access": "public", **attributes},
            "links": {"self": f"{self.base}{path or f'/GRP0/{kind}/{code}'}"},
        }

    def add(self, kind: str, code: str, name: str = "Sourdough bread", **more: object) -> Json:
        told: Json = {
            "name": name,
            "content": "Whole wheat, **baked on Fridays**",
            "images": [f"{self.base}/{code}.jpg"],
            "price": "0.5 h each",
            "state": "published",
            "expires": "2037-01-31T00:00:00Z",
            "created": "2024-05-02T10:00:00Z",
            "updated": UPDATED,
            **more,
        }
        resource = self._resource(kind, code, **told)
        resource["relationships"] = {
            name: {
                "data": {"type": f"{kind}", "id": f"{kind}-{code}"},
                "links": {"related": f"{self.base}/GRP0/{kind}/{code}"},
            }
            for name, kind, code in (
                ("category", "categories", "food"),
                ("member", "members", "GRP00012"),
            )
        }
        self.resources[kind].append(resource)
        return resource

    def group(self, code: str, **more: object) -> None:
        self.resources["groups"].append(self._resource("groups", code, f"/{code}", **more))

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        *group, kind = path.strip("/").split("/")[:2]
        name = path.strip("/").partition(f"{kind}/")[2]
        if kind not in self.resources or bool(group) is (kind == "groups"):
            return Answer(b'{"errors":[{"status":404}]}', JSON_API, 404)
        known = self.resources[kind]
        if name:
            one = next((one for one in known if one["attributes"]["code"] == name), None)
            return self._told({"data": one}) if one else Answer(b"{}", JSON_API, 404)
        start = int(query.get("page[after]", "0"))
        page = known[start : start + self.page_size]
        end = start + len(page)
        more = f"?include=category,member&page[after]={end}"
        document: Json = {
            "data": page,
            "links": {"next": f"{self.base}{path}{more}" if end < len(known) else None},
            "meta": {"count": len(known)},
        }
        if self.includes and "include" in query:
            document["included"] = [*self.resources["categories"], *self.resources["members"]]
        return self._told(document)

    def _told(self, document: Json) -> Answer:
        """Write JSON as the samples do: with a comma behind the last of each list and object."""
        written = json.dumps(document, indent=1)
        sloppy = written.replace("\n", ",\n")
        for opening in "[{,":
            sloppy = sloppy.replace(f"{opening},\n", f"{opening}\n")
        return Answer(sloppy.removesuffix(",").encode(), JSON_API)


class MurmurationsIndex(SourceServer):
    """An index whose nodes are kept by schema; profiles are put at their own addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, list[Json]] = {}
        self.page_size = 50

    def node(self, schema: str, profile_url: str, **more: object) -> Json:
        node = {"profile_url": profile_url, "status": "posted", "last_updated": 1733300000, **more}
        self.nodes.setdefault(schema, []).append(node)
        return node

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        if path != "/v2/nodes" or "schema" not in query:
            return super().answer(path, query)
        status = query.get("status", "posted")
        known = [one for one in self.nodes.get(query["schema"], []) if one["status"] == status]
        size = min(int(query.get("page_size", "30")), self.page_size)
        page = int(query.get("page", "1"))
        pages = -(-len(known) // size)
        document: Json = {"data": known[(page - 1) * size : page * size]}
        if page <= pages:
            following = f"{self.base}/v2/nodes?page={page + 1}"
            document["links"] = {"self": self.base, **({"next": following} if page < pages else {})}
            document["meta"] = {"number_of_results": len(known), "total_pages": pages}
        return Answer(json.dumps(document).encode(), JSON)


def profile(**more: object) -> Json:
    """Return a profile of an offer, as the schema has it."""
    told: Json = {
        "linked_schemas": ["offers_wants_schema-v0.1.0"],
        "exchange_type": "offer",
        "item_type": "service",
        "transaction_type": ["buy-sell", "receive-donate"],
        "tags": ["sewing", "repair"],
        "title": "Mending and alterations",
        "description": "Zips, hems, patches.",
        "geolocation": {"lat": 50.8503, "lon": 4.3517},
        "geographic_scope": "local",
        "contact_details": {"email": "mend@mend.example"},
        "expires_at": 2114380800,
    }
    return {**told, **more}
