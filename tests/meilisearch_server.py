"""A server on loopback that records what is asked of it and answers as Meilisearch documents it.

It keeps documents by index, so that what was written can be read, and searches nothing: what a
search answers is put into `answers`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple

Json = Any
TASKS = {
    r"POST /indexes": "indexCreation",
    r"DELETE /indexes/([^/]+)": "indexDeletion",
    r"PATCH /indexes/([^/]+)/settings": "settingsUpdate",
    r"POST /indexes/([^/]+)/documents": "documentAdditionOrUpdate",
    r"POST /indexes/([^/]+)/documents/delete": "documentDeletion",
    r"POST /swap-indexes": "indexSwap",
}
MOMENT = "2026-01-02T03:04:05.678901Z"


class Request(NamedTuple):
    method: str
    path: str
    body: Json


class Recorder:
    """`failing` gives task types the error they fail with; `silent` ends the paths not answered."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.keys: set[str] = set()
        self.indexes: dict[str, dict[str, dict[str, Json]]] = {}
        self.tasks: list[dict[str, Json]] = []
        self.answers: list[Json] = []
        self.failing: dict[str, dict[str, str]] = {}
        self.silent = ""
        self.given_up = Event()
        self.pending = 0
        self.url = ""

    def sent(self) -> list[Request]:
        """What was asked so far, without the looks after tasks; forgets it."""
        sent = [each for each in self.requests if not each.path.startswith("/tasks/")]
        self.requests.clear()
        return sent

    def answer(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        for pattern, kind in TASKS.items():
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return self._accept(kind, found[1] if found.groups() else None, body)
        if found := re.fullmatch(r"GET /tasks/(\d+)", f"{method} {path}"):
            return 200, self._task(int(found[1]))
        if path == "/multi-search":
            return (200, self.answers.pop(0)) if self.answers else (404, missing("listings"))
        if path == "/stats":
            return 200, {"databaseSize": 4096, "lastUpdate": MOMENT, "indexes": {}}
        _, _, uid, *rest = path.split("/")
        return self._read(uid, "/".join(rest))

    def _read(self, uid: str, what: str) -> tuple[int, Json]:
        if uid not in self.indexes:
            return 404, missing(uid)
        documents = list(self.indexes[uid].values())
        read = {
            "documents/fetch": {"results": documents, "offset": 0, "limit": 100, "total": 0},
            "stats": {
                "numberOfDocuments": len(documents),
                "isIndexing": False,
                "fieldDistribution": {},
            },
        }
        return 200, read.get(what) or self.answers.pop(0)

    def _accept(self, kind: str, uid: str | None, body: Json) -> tuple[int, Json]:
        number = len(self.tasks)
        uid = uid or (body["uid"] if kind == "indexCreation" else None)
        error = self.failing.get(kind)
        if error is None and kind == "indexDeletion" and uid not in self.indexes:
            error = missing(str(uid))
        task = {"uid": number, "indexUid": uid, "type": kind, "error": error}
        self.tasks.append(task | {"status": "failed" if error else "succeeded"})
        if error is None:
            self._do(kind, uid or "", body)
        accepted = {"taskUid": number, "indexUid": uid, "type": kind, "status": "enqueued"}
        return 202, accepted | {"enqueuedAt": MOMENT}

    def _do(self, kind: str, uid: str, body: Json) -> None:
        if kind == "indexDeletion":
            del self.indexes[uid]
        elif kind == "indexSwap":
            for one, other in (pair["indexes"] for pair in body):
                swapped = self.indexes[other], self.indexes[one]
                self.indexes[one], self.indexes[other] = swapped
        elif kind == "documentAdditionOrUpdate":
            self.indexes[uid] |= {document["id"]: document for document in body}
        elif kind == "documentDeletion":
            listed = body["filter"].removeprefix("id IN ")
            for gone in json.loads(listed):
                self.indexes[uid].pop(gone, None)
        else:
            self.indexes.setdefault(uid, {})

    def _task(self, uid: int) -> Json:
        times = {"enqueuedAt": MOMENT, "startedAt": MOMENT, "finishedAt": MOMENT}
        if self.pending:
            self.pending -= 1
            return self.tasks[uid] | times | {"status": "processing", "error": None}
        return self.tasks[uid] | times | {"duration": "PT0.1S", "canceledBy": None, "details": {}}


def missing(uid: str) -> dict[str, str]:
    return {
        "message": f"Index `{uid}` not found.",
        "code": "index_not_found",
        "type": "invalid_request",
        "link": "https://docs.meilisearch.com/errors#index_not_found",
    }


@contextmanager
def recording() -> Iterator[Recorder]:
    """Serve a recorder on loopback."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, json.loads(body) if body else None)
            recorder.requests.append(request)
            recorder.keys.add(self.headers["Authorization"])
            if recorder.silent and self.path.endswith(recorder.silent):
                recorder.given_up.wait(10)
                return
            status, answer = recorder.answer(*request)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815 (http.server's names)

        def log_message(self, *_arguments: object) -> None:
            """Keep pytest's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield recorder
    finally:
        recorder.given_up.set()
        server.shutdown()
        thread.join()
        server.server_close()
