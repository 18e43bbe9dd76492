"""A server on a loopback port that answers as other software of the fediverse does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any
from urllib.parse import quote

from hub_server import Crawling, rsa_key
from sqlalchemy import Engine, func, select

from commons.database import Base, reading
from commons.groups import Group, Hub, HubKey
from commons.key_formats import public_pem
from crawler import joining
from crawler.joining import Joined
from crawler.peers import Peer

ACTIVITY = "application/activity+json"
DESCRIPTOR = "application/jrd+json"
NODEINFO = "http://nodeinfo.diaspora.software/ns/schema/"

Json = dict[str, Any]
Answer = tuple[int, str, dict[str, str], bytes | Callable[[BufferedIOBase], None]]


@cache
def pem() -> str:
    return public_pem(rsa_key().public_key())


class Site:
    """What is served by path and query, what was asked for, and what its inboxes took."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.taken: list[Json] = []
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.base = f"http://{self.host}"

    @contextmanager
    def serving(self) -> Iterator["Site"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def put(
        self,
        path: str,
        document: Json | bytes | Callable[[BufferedIOBase], None],
        media_type: str = ACTIVITY,
        status: int = 200,
        **headers: str,
    ) -> str:
        body = json.dumps(document).encode() if isinstance(document, dict) else document
        self.answers[path] = (status, media_type, headers, body)
        return self.base + path

    def redirect(self, path: str, location: str) -> str:
        return self.put(path, b"", status=302, Location=location)

    def actor(self, path: str, kind: str, name: str, **more: object) -> str:
        uri = self.base + path
        document = {
            "@context": ["https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"],
            "id": uri,
            "type": kind,
            "preferredUsername": name,
            "name": name.title(),
            "inbox": f"{uri}/inbox",
            "outbox": f"{uri}/outbox",
            "publicKey": {"id": f"{uri}#main-key", "owner": uri, "publicKeyPem": pem()},
        }
        self.put(path, {**document, **more})
        self.put(f"{path}/outbox", {"id": f"{uri}/outbox", "type": "OrderedCollection"})
        return uri

    def webfinger(self, resource: str, href: str, rel: str = "self", **more: object) -> None:
        links: list[Json] = [
            {"rel": "http://webfinger.net/rel/profile-page", "type": "text/html", "href": href},
            {"rel": rel, "type": ACTIVITY, "href": href},
            {"rel": "http://ostatus.org/schema/1.0/subscribe", "template": "{uri}"},
        ]
        document = {"subject": resource, "aliases": [href], "links": links, **more}
        self.put(webfinger_path(resource), document, DESCRIPTOR)

    def nodeinfo(self, software: str, version: str = "2.0", **links: str) -> None:
        where = f"{self.base}/nodeinfo/{version}"
        listed = [{"rel": NODEINFO + version, "href": where}]
        listed += [
            {"rel": f"https://www.w3.org/ns/activitystreams#{name}", "href": href}
            for name, href in links.items()
        ]
        self.put("/.well-known/nodeinfo", {"links": listed}, "application/json")
        told = {"version": version, "software": {"name": software, "version": "1"}}
        profile = f'application/json; profile="{NODEINFO}{version}#"'
        self.put(f"/nodeinfo/{version}", {**told, "protocols": ["activitypub"]}, profile)


def webfinger_path(resource: str) -> str:
    return f"/.well-known/webfinger?resource={quote(resource, safe='')}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        missing: Answer = (404, "text/html; charset=utf-8", {}, b"<!doctype html><p>Not here</p>")
        status, media_type, headers, body = self.site.answers.get(self.path, missing)
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        for name, value in headers.items():
            self.send_header(name, value)
        if isinstance(body, bytes):
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # who is sent too much hangs up
            body(self.wfile)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.site.taken.append(json.loads(body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""


def join(crawling: Crawling, address: str, **more: str) -> Joined:
    return crawling.run(
        lambda door: joining.join(crawling.engine, door, crawling.settings, address, **more)
    )


def count(engine: Engine, *tables: type[Base]) -> int:
    with reading(engine) as session:
        return sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def peer_of(engine: Engine, uri: str) -> Peer:
    with reading(engine) as session:
        return session.scalars(select(Peer).where(Peer.actor_uri == uri)).one()


def nothing_kept(engine: Engine) -> bool:
    return count(engine, Peer, Group, Hub, HubKey) == 0
